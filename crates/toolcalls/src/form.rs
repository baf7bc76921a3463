//! [`Form`]: how a family of models calls tools.

use core::fmt::{self, Write};

/// How a family of models calls tools.
///
/// The calls in an answer are written as `before`, then for each call `open`, the name, `name_end`, the arguments and `close`,
/// with `separator` between calls, then `after`. If `each` is set, every call has its own `before` and `after`. White space at
/// the ends of these texts is as in templates; a parser does not require it.
#[derive(Debug, PartialEq, Eq)]
pub struct Form {
    /// The form's name in this crate.
    pub name: &'static str,
    /// Texts that all occur in a template of such a model, or in the call that it writes.
    pub evidence: &'static [&'static str],
    /// Before the calls.
    pub before: &'static str,
    /// An alternative to `before`.
    pub also_before: &'static str,
    /// Before a name.
    pub open: &'static str,
    /// Between a name and the arguments.
    pub name_end: &'static str,
    /// After the arguments.
    pub close: &'static str,
    /// Between calls.
    pub separator: &'static str,
    /// After the calls.
    pub after: &'static str,
    /// Whether each call has its own `before` and `after`.
    pub each: bool,
    /// Whether an answer that begins with a JSON object may be a call without marks.
    pub bare: bool,
    /// How arguments are written.
    pub arguments: Arguments,
}

/// How the arguments of a call are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// The call is a JSON object with keys of these names; the value of the second one is an object. If the first name is empty,
    /// the object has a single key, which is the tool's name, and its value is the arguments.
    Object(&'static str, &'static str),
    /// A JSON object after the name.
    Json,
    /// Like JSON, but with unquoted keys, and with unescaped texts between two of these marks.
    Quoted(&'static str),
    /// Keys and values, each between marks; texts are unescaped, other values are JSON.
    Keyed {
        /// Before a key.
        key_open: &'static str,
        /// After a key.
        key_close: &'static str,
        /// Before a value.
        value_open: &'static str,
        /// After a value.
        value_close: &'static str,
    },
    /// Keyword arguments of Python, in parentheses.
    Python,
    /// gpt-oss's channels: the name is the recipient of a message in JSON.
    Channels,
}

/// The values that most rows have.
const PLAIN: Form = Form {
    name: "",
    evidence: &[],
    before: "",
    also_before: "",
    open: "{\"name\": \"",
    name_end: "\", \"arguments\": ",
    close: "}",
    separator: ", ",
    after: "",
    each: false,
    bare: false,
    arguments: Arguments::Object("name", "arguments"),
};

/// The form that a model is asked to use if its template says nothing about tools.
pub static GENERIC: Form = Form {
    name: "generic",
    before: "<tool_call>\n",
    after: "\n</tool_call>",
    separator: "\n",
    each: true,
    bare: true,
    ..PLAIN
};

/// The form for a model without tools: there are no marks.
pub static NO_CALLS: Form = Form { name: "none", open: "", name_end: "", close: "", separator: "", ..PLAIN };

const LFM2: Form = Form {
    name: "lfm2",
    evidence: &["<|tool_call_start|>"],
    before: "<|tool_call_start|>[",
    open: "",
    name_end: "(",
    close: ")",
    after: "]<|tool_call_end|>",
    arguments: Arguments::Python,
    ..PLAIN
};

/// All forms. A form comes before those that share only some of its evidence.
pub static FORMS: &[Form] = &[
    Form {
        name: "gpt-oss",
        evidence: &["<|channel|>", "<|message|>"],
        open: " to=functions.",
        name_end: "<|channel|>commentary json<|message|>",
        close: "",
        separator: "",
        arguments: Arguments::Channels,
        ..PLAIN
    },
    Form {
        name: "kimi-k2",
        evidence: &["<|tool_calls_section_begin|>"],
        before: "<|tool_calls_section_begin|>",
        open: "<|tool_call_begin|>functions.",
        name_end: ":0<|tool_call_argument_begin|>",
        close: "<|tool_call_end|>",
        separator: "",
        after: "<|tool_calls_section_end|>",
        arguments: Arguments::Json,
        ..PLAIN
    },
    Form {
        name: "deepseek-r1",
        evidence: &["<｜tool▁sep｜>", "```json"],
        before: "<｜tool▁calls▁begin｜>",
        open: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
        name_end: "\n```json\n",
        close: "\n```<｜tool▁call▁end｜>",
        separator: "\n",
        after: "<｜tool▁calls▁end｜>",
        arguments: Arguments::Json,
        ..PLAIN
    },
    Form {
        name: "deepseek-3.1",
        evidence: &["<｜tool▁sep｜>"],
        before: "<｜tool▁calls▁begin｜>",
        open: "<｜tool▁call▁begin｜>",
        name_end: "<｜tool▁sep｜>",
        close: "<｜tool▁call▁end｜>",
        separator: "",
        after: "<｜tool▁calls▁end｜>",
        arguments: Arguments::Json,
        ..PLAIN
    },
    Form {
        name: "mistral",
        evidence: &["[TOOL_CALLS]", "[ARGS]"],
        open: "[TOOL_CALLS]",
        name_end: "[ARGS]",
        close: "",
        separator: "",
        arguments: Arguments::Json,
        ..PLAIN
    },
    Form { name: "mistral-array", evidence: &["[TOOL_CALLS]"], before: "[TOOL_CALLS][", after: "]", ..PLAIN },
    Form {
        name: "command-r",
        evidence: &["<|START_ACTION|>"],
        before: "<|START_ACTION|>[\n    ",
        open: "{\"tool_call_id\": \"0\", \"tool_name\": \"",
        name_end: "\", \"parameters\": ",
        separator: ",\n    ",
        after: "\n]<|END_ACTION|>",
        arguments: Arguments::Object("tool_name", "parameters"),
        ..PLAIN
    },
    Form {
        name: "gemma-4",
        evidence: &["<|tool_call>call:"],
        open: "<|tool_call>call:",
        name_end: "",
        close: "<tool_call|>",
        separator: "",
        arguments: Arguments::Quoted("<|\"|>"),
        ..PLAIN
    },
    Form {
        name: "function-gemma",
        evidence: &["<start_function_call>"],
        open: "<start_function_call>call:",
        name_end: "",
        close: "<end_function_call>",
        separator: "",
        arguments: Arguments::Quoted("<escape>"),
        ..PLAIN
    },
    LFM2,
    Form { evidence: &["List of tools: "], ..LFM2 },
    Form {
        name: "minimax-m2",
        evidence: &["<minimax:tool_call>", "<invoke name="],
        before: "<minimax:tool_call>\n",
        open: "<invoke name=\"",
        name_end: "\">\n",
        close: "</invoke>\n",
        separator: "",
        after: "</minimax:tool_call>",
        arguments: Arguments::Keyed {
            key_open: "<parameter name=\"",
            key_close: "\">",
            value_open: "",
            value_close: "</parameter>\n",
        },
        ..PLAIN
    },
    Form {
        name: "seed",
        evidence: &["<seed:tool_call>"],
        before: "<seed:tool_call>\n",
        open: "<function=",
        name_end: ">\n",
        close: "</function>\n",
        separator: "\n",
        after: "</seed:tool_call>",
        each: true,
        arguments: Arguments::Keyed {
            key_open: "<parameter=",
            key_close: ">",
            value_open: "",
            value_close: "</parameter>\n",
        },
        ..PLAIN
    },
    Form {
        name: "qwen3-coder",
        evidence: &["<tool_call>", "<function=", "<parameter="],
        before: "<tool_call>\n",
        open: "<function=",
        name_end: ">\n",
        close: "</function>\n",
        separator: "\n",
        after: "</tool_call>",
        each: true,
        arguments: Arguments::Keyed {
            key_open: "<parameter=",
            key_close: ">\n",
            value_open: "",
            value_close: "\n</parameter>\n",
        },
        ..PLAIN
    },
    Form {
        name: "glm-4.5",
        evidence: &["<arg_key>", "<tool_call>"],
        open: "<tool_call>",
        name_end: "\n",
        close: "</tool_call>",
        separator: "\n",
        arguments: Arguments::Keyed {
            key_open: "<arg_key>",
            key_close: "</arg_key>\n",
            value_open: "<arg_value>",
            value_close: "</arg_value>\n",
        },
        ..PLAIN
    },
    Form {
        name: "minicpm5",
        evidence: &["<function name=", "<param name="],
        open: "<function name=\"",
        name_end: "\">",
        close: "</function>",
        separator: "\n",
        arguments: Arguments::Keyed {
            key_open: "<param name=\"",
            key_close: "\">",
            value_open: "",
            value_close: "</param>",
        },
        ..PLAIN
    },
    Form {
        name: "functionary-3.1",
        evidence: &["<function=", "</function>"],
        open: "<function=",
        name_end: ">",
        close: "</function>",
        separator: "",
        arguments: Arguments::Json,
        ..PLAIN
    },
    Form {
        name: "phi-4-mini",
        evidence: &["<|tool_call|>", "<|/tool_call|>"],
        before: "<|tool_call|>[",
        after: "]<|/tool_call|>",
        ..PLAIN
    },
    Form { name: "granite", evidence: &["<|tool_call|>"], before: "<|tool_call|>[", after: "]", ..PLAIN },
    Form { name: "gigachat-3", evidence: &["<|function_call|>"], before: "<|function_call|>", ..PLAIN },
    Form {
        name: "apertus",
        evidence: &["<|tools_prefix|>"],
        before: "<|tools_prefix|>[",
        open: "{\"",
        name_end: "\": ",
        after: "]<|tools_suffix|>",
        arguments: Arguments::Object("", ""),
        ..PLAIN
    },
    Form {
        name: "nemotron",
        evidence: &["<TOOLCALL>"],
        before: "<TOOLCALL>[",
        after: "]</TOOLCALL>",
        ..PLAIN
    },
    Form {
        name: "apriel",
        evidence: &["<tool_calls>"],
        before: "<tool_calls>[",
        after: "]</tool_calls>",
        ..PLAIN
    },
    Form {
        name: "hermes",
        evidence: &["<tool_call>"],
        before: "<tool_call>\n",
        after: "\n</tool_call>",
        separator: "\n",
        each: true,
        ..PLAIN
    },
    Form {
        name: "llama-3",
        evidence: &["<|start_header_id|>", "ipython"],
        also_before: "<|python_tag|>",
        name_end: "\", \"parameters\": ",
        separator: "; ",
        bare: true,
        arguments: Arguments::Object("name", "parameters"),
        ..PLAIN
    },
];

impl Form {
    /// The form with all its evidence in one of these texts (a template, or a call that it writes); [`GENERIC`] if there is none.
    pub fn of(texts: &[&str]) -> &'static Self {
        let has = |evidence: &&str| texts.iter().any(|text| text.contains(evidence));
        FORMS.iter().find(|form| form.evidence.iter().all(has)).unwrap_or(&GENERIC)
    }

    /// The form with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        [&GENERIC, &NO_CALLS].into_iter().chain(FORMS).find(|form| form.name == name)
    }

    /// The text that a call begins with. A grammar that does not apply before can apply after it. It is empty if a call can only
    /// be recognised at the beginning of the answer, see [`bare`](Self::bare).
    pub fn trigger(&self) -> &'static str {
        let text = if self.before.is_empty() { self.open } else { self.before };
        match self.arguments {
            Arguments::Object(..) if self.before.is_empty() => "",
            _ => mark(text),
        }
    }

    /// Whether arguments are JSON between fixed texts, as a grammar for JSON requires.
    pub fn has_json_arguments(&self) -> bool {
        matches!(self.arguments, Arguments::Object(..) | Arguments::Json | Arguments::Channels)
    }

    /// Writes an example of a call, to be shown to a model.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn write_example(&self, out: &mut dyn Write) -> fmt::Result {
        let Self { before, open, name_end, close, after, .. } = self;
        write!(out, "{before}{open}NAME{name_end}")?;
        match self.arguments {
            Arguments::Object(..) | Arguments::Json | Arguments::Channels => {
                out.write_str("{\"ARGUMENT\": \"VALUE\"}")?;
            }
            Arguments::Quoted(quote) => write!(out, "{{ARGUMENT:{quote}VALUE{quote}}}")?,
            Arguments::Keyed { key_open, key_close, value_open, value_close } => {
                write!(out, "{key_open}ARGUMENT{key_close}{value_open}VALUE{value_close}")?;
            }
            Arguments::Python => out.write_str("ARGUMENT=\"VALUE\"")?,
        }
        write!(out, "{close}{after}")
    }

    /// Writes a call with these arguments, which are the text of a JSON object. Forms whose arguments are not JSON are written as
    /// [`GENERIC`].
    ///
    /// # Errors
    /// If `out` fails.
    pub fn write_call(&self, name: &str, arguments: &str, out: &mut dyn Write) -> fmt::Result {
        let form = if self.has_json_arguments() { self } else { &GENERIC };
        let Self { before, open, name_end, close, after, .. } = form;
        write!(out, "{before}{open}{name}{name_end}{arguments}{close}{after}")
    }

    /// All its texts, reduced to their marks.
    pub(crate) fn marks(&self) -> [&'static str; 6] {
        [self.before, self.also_before, self.open, self.name_end, self.close, self.after]
    }
}

/// A text without the white space and brackets at its ends: the part that a parser looks for.
pub(crate) fn mark(text: &'static str) -> &'static str {
    let text = text.trim();
    let text = text.strip_suffix('[').unwrap_or(text);
    text.strip_prefix(']').unwrap_or(text).trim()
}
