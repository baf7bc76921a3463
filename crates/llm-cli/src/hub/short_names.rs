//! The short names of small models that the engine runs: which file of the hub each one means.
//!
//! `scripts/run --model` and the option `--model` of this program take them through this table too. docs/models.md shows it to
//! readers; a test below compares the two.

use std::cmp::Reverse;
use std::fmt;

/// A small model with a short name.
#[derive(Debug)]
pub struct ShortName {
    pub name: &'static str,
    /// The repository on the hub that has its file, `ORG/REPO`.
    pub repository: &'static str,
    /// The file in the repository.
    pub file: &'static str,
    /// About how many parameters the model has.
    pub parameters: &'static str,
    /// About how large the file is, in millions of bytes. What the hub says about the file decides, not this.
    pub megabytes: Megabytes,
    pub licence: &'static str,
    /// What to expect of a conversation with it.
    pub chat: &'static str,
}

/// Millions of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Megabytes(pub u16);

impl fmt::Display for Megabytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n @ ..1000 => f.pad(&format!("{n} MB")),
            n => f.pad(&format!("{:.1} GB", f64::from(n) / 1000.0)),
        }
    }
}

/// All models with a short name: those that chat, by family and size, then those that only make vectors of texts.
pub const SHORT_NAMES: &[ShortName] = &[
    ShortName {
        name: "smollm2-135m",
        repository: "bartowski/SmolLM2-135M-Instruct-GGUF",
        file: "SmolLM2-135M-Instruct-Q8_0.gguf",
        parameters: "135M",
        megabytes: Megabytes(145),
        licence: "Apache-2.0",
        chat: "Short, simple answers in English, which are often wrong.",
    },
    ShortName {
        name: "smollm2-360m",
        repository: "HuggingFaceTB/SmolLM2-360M-Instruct-GGUF",
        file: "smollm2-360m-instruct-q8_0.gguf",
        parameters: "362M",
        megabytes: Megabytes(386),
        licence: "Apache-2.0",
        chat: "Simple conversations in English; do not rely on its facts.",
    },
    ShortName {
        name: "smollm2-1.7b",
        repository: "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF",
        file: "smollm2-1.7b-instruct-q4_k_m.gguf",
        parameters: "1.7B",
        megabytes: Megabytes(1056),
        licence: "Apache-2.0",
        chat: "Good English for its size: rewriting, summaries, everyday questions.",
    },
    ShortName {
        name: "smollm3-3b",
        repository: "ggml-org/SmolLM3-3B-GGUF",
        file: "SmolLM3-Q4_K_M.gguf",
        parameters: "3.1B",
        megabytes: Megabytes(1915),
        licence: "Apache-2.0",
        chat: "Can think before it answers; six European languages, tools.",
    },
    ShortName {
        name: "qwen2.5-0.5b",
        repository: "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        file: "qwen2.5-0.5b-instruct-q4_k_m.gguf",
        parameters: "494M",
        megabytes: Megabytes(491),
        licence: "Apache-2.0",
        chat: "Follows short instructions in many languages; knows little.",
    },
    ShortName {
        name: "qwen2.5-1.5b",
        repository: "Qwen/Qwen2.5-1.5B-Instruct-GGUF",
        file: "qwen2.5-1.5b-instruct-q4_k_m.gguf",
        parameters: "1.5B",
        megabytes: Megabytes(1117),
        licence: "Apache-2.0",
        chat: "A small assistant in many languages; simple code and JSON.",
    },
    ShortName {
        name: "qwen3-0.6b",
        repository: "Qwen/Qwen3-0.6B-GGUF",
        file: "Qwen3-0.6B-Q8_0.gguf",
        parameters: "0.6B",
        megabytes: Megabytes(639),
        licence: "Apache-2.0",
        chat: "Thinks before it answers, which helps with sums and tools; knows little.",
    },
    ShortName {
        name: "qwen3-1.7b",
        repository: "Qwen/Qwen3-1.7B-GGUF",
        file: "Qwen3-1.7B-Q8_0.gguf",
        parameters: "1.7B",
        megabytes: Megabytes(1834),
        licence: "Apache-2.0",
        chat: "Thinks before it answers; many languages, simple code, tools.",
    },
    ShortName {
        name: "qwen3-4b",
        repository: "Qwen/Qwen3-4B-GGUF",
        file: "Qwen3-4B-Q4_K_M.gguf",
        parameters: "4.0B",
        megabytes: Megabytes(2497),
        licence: "Apache-2.0",
        chat: "The best answers here, after long thought: code, mathematics, tools.",
    },
    ShortName {
        name: "llama3.2-1b",
        repository: "bartowski/Llama-3.2-1B-Instruct-GGUF",
        file: "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
        parameters: "1.2B",
        megabytes: Megabytes(808),
        licence: "Llama 3.2",
        chat: "Fluent small talk and summaries; weak at reasoning.",
    },
    ShortName {
        name: "llama3.2-3b",
        repository: "bartowski/Llama-3.2-3B-Instruct-GGUF",
        file: "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        parameters: "3.2B",
        megabytes: Megabytes(2019),
        licence: "Llama 3.2",
        chat: "An all-round assistant in eight languages that follows instructions well.",
    },
    ShortName {
        name: "gemma3-270m",
        repository: "ggml-org/gemma-3-270m-it-GGUF",
        file: "gemma-3-270m-it-Q8_0.gguf",
        parameters: "268M",
        megabytes: Megabytes(292),
        licence: "Gemma",
        chat: "Follows simple instructions; knows very little, as it is meant for fine-tuning.",
    },
    ShortName {
        name: "gemma3-1b",
        repository: "ggml-org/gemma-3-1b-it-GGUF",
        file: "gemma-3-1b-it-Q4_K_M.gguf",
        parameters: "1.0B",
        megabytes: Megabytes(806),
        licence: "Gemma",
        chat: "Pleasant English prose for its size; do not rely on its facts.",
    },
    ShortName {
        name: "lfm2-350m",
        repository: "LiquidAI/LFM2-350M-GGUF",
        file: "LFM2-350M-Q4_K_M.gguf",
        parameters: "354M",
        megabytes: Megabytes(229),
        licence: "LFM 1.0",
        chat: "Quick short answers; finds facts in a text that it is given.",
    },
    ShortName {
        name: "lfm2-1.2b",
        repository: "LiquidAI/LFM2-1.2B-GGUF",
        file: "LFM2-1.2B-Q4_K_M.gguf",
        parameters: "1.2B",
        megabytes: Megabytes(731),
        licence: "LFM 1.0",
        chat: "Quick for how well it answers; eight languages.",
    },
    ShortName {
        name: "granite4-350m",
        repository: "ibm-granite/granite-4.0-350m-GGUF",
        file: "granite-4.0-350m-Q8_0.gguf",
        parameters: "352M",
        megabytes: Megabytes(378),
        licence: "Apache-2.0",
        chat: "Plain, short answers; made for business texts and tool calls.",
    },
    ShortName {
        name: "bge-small-en",
        repository: "CompendiumLabs/bge-small-en-v1.5-gguf",
        file: "bge-small-en-v1.5-q8_0.gguf",
        parameters: "33M",
        megabytes: Megabytes(37),
        licence: "MIT",
        chat: "None: `llm embed` makes vectors of 384 numbers of English texts.",
    },
    ShortName {
        name: "nomic-embed-1.5",
        repository: "nomic-ai/nomic-embed-text-v1.5-GGUF",
        file: "nomic-embed-text-v1.5.Q8_0.gguf",
        parameters: "137M",
        megabytes: Megabytes(146),
        licence: "Apache-2.0",
        chat: "None: `llm embed` makes vectors of 768 numbers of longer English texts.",
    },
];

/// How many names an error suggests.
const N_SUGGESTIONS: usize = 3;

/// The model with this short name.
pub fn find(name: &str) -> Option<&'static ShortName> {
    SHORT_NAMES.iter().find(|model| model.name.eq_ignore_ascii_case(name))
}

/// The short names that are most like `name`, the likest first.
pub fn nearest(name: &str) -> [&'static str; N_SUGGESTIONS] {
    let name = name.to_ascii_lowercase();
    let likeness = |model: &ShortName| (strsim::jaro_winkler(model.name, &name) * 1e6) as u32;
    let mut models: Vec<&ShortName> = SHORT_NAMES.iter().collect();
    models.sort_by_key(|model| Reverse(likeness(model)));
    std::array::from_fn(|index| models[index].name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn docs_models_md_has_the_same_table() {
        let document = include_str!("../../../../docs/models.md");
        let (_, section) = document.split_once("\n### Short names\n").unwrap();
        let section = section.split("\n#").next().unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = SHORT_NAMES
            .iter()
            .map(|ShortName { name, repository, file, parameters, megabytes, licence, chat }| {
                format!(
                    "| `{name}` | {parameters} | [{file}](https://huggingface.co/{repository}) | {megabytes} | {licence} | {chat} |"
                )
            })
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn names_are_different_and_no_paths() {
        let names: BTreeSet<&str> = SHORT_NAMES.iter().map(|model| model.name).collect();
        assert_eq!(names.len(), SHORT_NAMES.len());
        for model in SHORT_NAMES {
            // `scripts/run` tells names from files by this.
            assert!(!model.name.contains(['/', ':']) && !model.name.ends_with(".gguf"), "{}", model.name);
            assert_eq!(find(&model.name.to_uppercase()).unwrap().file, model.file);
            assert_eq!(model.repository.split('/').count(), 2, "{}", model.repository);
            assert!(model.file.ends_with(".gguf"), "{}", model.file);
        }
    }

    #[test]
    fn a_mistyped_name_is_near_the_right_one() {
        assert_eq!(nearest("smolm2-360m")[0], "smollm2-360m");
        assert_eq!(nearest("Qwen-3-4b")[0], "qwen3-4b");
        assert_eq!(nearest("llama-3.2-1b")[0], "llama3.2-1b");
        assert_eq!(nearest("gemma")[0], "gemma3-1b");
    }
}
