//! How a conversation becomes a prompt, from the command line: [`ChatArguments`] and [`ChatFormat`].

use anyhow::{Error, Result, anyhow};
use clap::Args;
use jiff::ZonedDateTime;
use llm::chat::{ChatError, ChatTemplate, Conversation, Dialogue, FamilyNames, Forgotten, Room};
use llm::gguf::Gguf;
use llm::tokenizer::Tokenizer;

/// Options of every command that chats.
#[derive(Args)]
#[command(next_help_heading = "Chat")]
pub struct ChatArguments {
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,

    /// Use the chat format of this name, such as chatml, llama-3 or gemma, instead of the one that the
    /// model's file brings.
    #[arg(long, value_name = "NAME")]
    template: Option<String>,

    /// Ask a model that can think before it answers to think, where its format would rather have it not.
    #[arg(long, overrides_with = "no_thinking")]
    thinking: bool,

    /// Ask a model that can think before it answers not to.
    #[arg(long, overrides_with = "thinking")]
    no_thinking: bool,
}

impl ChatArguments {
    /// Whether any of them was given.
    pub fn are_given(&self) -> bool {
        self.system.is_some() || self.template.is_some() || self.enable_thinking().is_some()
    }

    fn enable_thinking(&self) -> Option<bool> {
        match (self.thinking, self.no_thinking) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }

    /// A conversation of which only the system message has been said.
    pub fn dialogue(&self) -> Result<Dialogue> {
        let mut dialogue = Dialogue::default();
        dialogue.begin(self.system.as_deref())?;
        Ok(dialogue)
    }

    /// The format asked for, or the file's.
    pub fn format(&self, gguf: &Gguf<'_>, tokenizer: &Tokenizer<'_>) -> Result<ChatFormat> {
        let template = match &self.template {
            Some(name) => ChatTemplate::by_name(name, tokenizer)?,
            None => ChatTemplate::from_gguf(gguf, tokenizer).map_err(with_the_way_out)?,
        };
        let is_of_the_file = self.template.is_none();
        Ok(ChatFormat { template, enable_thinking: self.enable_thinking(), is_of_the_file })
    }
}

/// A template, and what it is told.
pub struct ChatFormat {
    template: ChatTemplate,
    enable_thinking: Option<bool>,
    is_of_the_file: bool,
}

impl ChatFormat {
    /// Appends the ids of the dialogue, up to where the model answers; what has no room is forgotten.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer<'_>,
        dialogue: &mut Dialogue,
        room: Room,
        ids: &mut Vec<u32>,
    ) -> Result<Option<Forgotten>> {
        let settings = Conversation {
            messages: &[],
            add_generation_prompt: true,
            enable_thinking: self.enable_thinking,
            now_seconds: local_seconds(&ZonedDateTime::now()),
        };
        let encoded = self.template.encode_dialogue(tokenizer, dialogue, &settings, room, ids);
        encoded.map_err(|error| if self.is_of_the_file { with_the_way_out(error) } else { error.into() })
    }
}

fn with_the_way_out(error: ChatError) -> Error {
    match error.is_about_the_template() {
        true => anyhow!("{error}; --template NAME uses another: {FamilyNames}"),
        false => error.into(),
    }
}

/// What a clock on the wall shows, in seconds since the beginning of 1970; `None` before that.
fn local_seconds(now: &ZonedDateTime) -> Option<u64> {
    let seconds = now.timestamp().as_second() + i64::from(now.offset().seconds());
    u64::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_time_zone() {
        let seconds = |text: &str| local_seconds(&text.parse().unwrap());
        // The same moment, which is the next day in Kolkata.
        assert_eq!(seconds("2024-07-26T23:30:00+00:00[UTC]"), Some(1_722_036_600));
        assert_eq!(seconds("2024-07-27T05:00:00+05:30[+05:30]"), Some(1_722_036_600 + 19_800));
        assert_eq!(seconds("2024-07-26T16:30:00-07:00[-07:00]"), Some(1_722_036_600 - 25_200));
        assert_eq!(seconds("1969-12-31T23:59:59+00:00[UTC]"), None);
    }
}
