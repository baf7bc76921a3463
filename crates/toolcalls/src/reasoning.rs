//! [`Reasoning`]: how a family of models marks its thoughts.

/// How a family of models marks its thoughts.
#[derive(Debug, PartialEq, Eq)]
pub struct Reasoning {
    /// Its name in this crate.
    pub name: &'static str,
    /// Texts that all occur in a template of such a model.
    pub evidence: &'static [&'static str],
    /// The mark before a thought, unless the prompt already ends with it.
    pub open: &'static str,
    /// The mark after it.
    pub close: &'static str,
    /// Other marks that end a thought although they should not: they begin another message, or end the answer.
    pub also_close: &'static [&'static str],
    /// The text with which a model whose thoughts have become too long must continue.
    pub forced_close: &'static str,
    /// Marks around the text for the user.
    pub around_content: &'static [&'static str],
}

const THINK: Reasoning = Reasoning {
    name: "think",
    evidence: &["<think>"],
    open: "<think>",
    close: "</think>",
    also_close: &[],
    forced_close: "\n</think>\n\n",
    around_content: &[],
};

/// All rows. A row comes before those that share only some of its evidence.
static REASONINGS: &[Reasoning] = &[
    Reasoning {
        name: "gpt-oss",
        evidence: &["<|channel|>", "<|message|>"],
        open: "<|channel|>analysis<|message|>",
        close: "<|end|>",
        also_close: &["<|call|>", "<|return|>", "<|start|>", "<|channel|>"],
        forced_close: "<|end|><|start|>assistant<|channel|>final<|message|>",
        around_content: &[],
    },
    Reasoning {
        name: "gemma",
        evidence: &["<|channel>"],
        open: "<|channel>thought",
        close: "<channel|>",
        also_close: &[],
        forced_close: "<channel|>",
        around_content: &[],
    },
    Reasoning {
        name: "mistral",
        evidence: &["[THINK]"],
        open: "[THINK]",
        close: "[/THINK]",
        also_close: &[],
        forced_close: "[/THINK]",
        around_content: &[],
    },
    Reasoning {
        name: "command-a",
        evidence: &["<|START_THINKING|>"],
        open: "<|START_THINKING|>",
        close: "<|END_THINKING|>",
        also_close: &[],
        forced_close: "<|END_THINKING|><|START_RESPONSE|>",
        around_content: &["<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"],
    },
    Reasoning {
        name: "command-r-response",
        evidence: &["<|START_RESPONSE|>"],
        open: "<|START_THINKING|>",
        close: "<|END_THINKING|>",
        also_close: &[],
        forced_close: "<|END_THINKING|><|START_RESPONSE|>",
        around_content: &["<|START_RESPONSE|>", "<|END_RESPONSE|>"],
    },
    Reasoning {
        name: "seed-oss",
        evidence: &["<seed:think>"],
        open: "<seed:think>",
        close: "</seed:think>",
        also_close: &[],
        forced_close: "</seed:think>",
        around_content: &[],
    },
    Reasoning {
        name: "minimax",
        evidence: &["<mm:think>"],
        open: "<mm:think>",
        close: "</mm:think>",
        also_close: &[],
        forced_close: "</mm:think>",
        around_content: &[],
    },
    Reasoning {
        name: "apriel",
        evidence: &["[BEGIN FINAL RESPONSE]"],
        open: "Here are my reasoning steps:",
        close: "[BEGIN FINAL RESPONSE]",
        also_close: &[],
        forced_close: "\n[BEGIN FINAL RESPONSE]\n",
        around_content: &["[END FINAL RESPONSE]"],
    },
    Reasoning {
        name: "think-response",
        evidence: &["<think>", "<response>"],
        around_content: &["<response>", "</response>"],
        ..THINK
    },
    THINK,
    // Some templates only cut thoughts off.
    Reasoning { name: "think-cut", evidence: &["</think>"], ..THINK },
];

impl Reasoning {
    /// The row with all its evidence in one of these texts, if there is one.
    pub fn of(texts: &[&str]) -> Option<&'static Self> {
        let has = |evidence: &&str| texts.iter().any(|text| text.contains(evidence));
        REASONINGS.iter().find(|reasoning| reasoning.evidence.iter().all(has))
    }

    /// The row with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        REASONINGS.iter().find(|reasoning| reasoning.name == name)
    }
}
