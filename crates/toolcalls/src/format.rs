//! [`Format`]: what a template's text reveals about its model.

use crate::form::{Arguments, Form, GENERIC, NO_CALLS};
use crate::reasoning::Reasoning;

/// How a model writes its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// How it calls tools.
    pub form: &'static Form,
    /// How it marks thoughts, if it does.
    pub reasoning: Option<&'static Reasoning>,
    /// Whether the prompt ends inside a thought.
    pub starts_open: bool,
    /// Whether the prompt ends after a thought.
    pub has_thought: bool,
    /// Whether the text is bound by a grammar of its own: once it has begun, nothing in it is a mark.
    pub is_held: bool,
}

impl Default for Format {
    /// The format of an unknown model.
    fn default() -> Self {
        Self { form: &GENERIC, reasoning: None, starts_open: false, has_thought: false, is_held: false }
    }
}

impl Format {
    /// The format that these texts show: the template, and the call that it writes.
    pub fn of(texts: &[&str]) -> Self {
        Self { form: Form::of(texts), reasoning: Reasoning::of(texts), ..Self::default() }
    }

    /// The same format after this prompt.
    pub fn behind(self, prompt: &str) -> Self {
        let ends_with = |mark: fn(&Reasoning) -> &'static str| {
            self.reasoning.is_some_and(|reasoning| prompt.trim_end().ends_with(mark(reasoning)))
        };
        let starts_open = ends_with(|reasoning| reasoning.open);
        // gpt-oss's closing mark of a thought ends other messages, too.
        let has_channels = self.form.arguments == Arguments::Channels;
        let has_thought = !has_channels && ends_with(|reasoning| reasoning.close);
        Self { starts_open, has_thought, ..self }
    }

    /// The same format without tools: text that looks like a call is text. gpt-oss's channels stay.
    pub fn without_calls(self) -> Self {
        let form = if self.form.arguments == Arguments::Channels { self.form } else { &NO_CALLS };
        Self { form, ..self }
    }

    /// Whether a token of this name is part of a mark. If so, such a token must be passed on as its name even though it has no
    /// text of its own.
    pub fn has_mark(&self, name: &str) -> bool {
        let is_in = |text: &&str| text.contains(name);
        // Other tokens in the heads of gpt-oss's messages.
        const HEADS: [&str; 6] =
            ["<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>", "<|call|>"];
        let of_reasoning = self.reasoning.is_some_and(|reasoning| {
            let Reasoning { open, close, around_content, .. } = reasoning;
            [open, close].into_iter().chain(around_content.iter()).any(is_in)
        });
        let of_form = match self.form.arguments {
            Arguments::Channels => HEADS.contains(&name),
            Arguments::Quoted(quote) => is_in(&quote),
            Arguments::Keyed { key_open, key_close, value_open, value_close } => {
                [key_open, key_close, value_open, value_close].iter().any(is_in)
            }
            _ => false,
        };
        !name.is_empty()
            && (of_reasoning || of_form || self.form.marks().iter().any(is_in) || name == "[CALL_ID]")
    }
}
