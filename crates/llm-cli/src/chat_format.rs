//! How a conversation becomes a prompt, from the command line: [`ChatArguments`].

use anyhow::{Error, Result};
use clap::Args;
use jiff::ZonedDateTime;
use llm::chat::Dialogue;
use llm::front::{ChatFormat, Task};

/// Options of every command that chats.
#[derive(Args)]
#[command(next_help_heading = "Chat")]
pub struct ChatArguments {
    #[arg(long, allow_hyphen_values = true)]
    system: Option<String>,

    #[arg(long)]
    template: Option<String>,

    #[arg(long, overrides_with = "no_thinking")]
    thinking: bool,

    #[arg(long, overrides_with = "thinking")]
    no_thinking: bool,

    #[arg(long)]
    reasoning_effort: Option<String>,
}

impl ChatArguments {
    /// How a command with `--chat` and `--special` treats a text.
    pub fn task(
        &self,
        is_chat: bool,
        parse_special: bool,
        thinking_budget: Option<usize>,
    ) -> Result<Task<'_>> {
        let task = Task::new(is_chat, parse_special, self.system.as_deref(), self.format(), thinking_budget);
        task.map_err(Error::msg)
    }

    fn enable_thinking(&self) -> Option<bool> {
        match (self.thinking, self.no_thinking) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }

    /// A conversation that consists only of the system message.
    pub fn dialogue(&self) -> Result<Dialogue> {
        let mut dialogue = Dialogue::default();
        dialogue.begin(self.system.as_deref())?;
        Ok(dialogue)
    }

    /// The requested format, or the file's, with the local time.
    pub fn format(&self) -> ChatFormat<'_> {
        ChatFormat {
            template: self.template.as_deref(),
            enable_thinking: self.enable_thinking(),
            reasoning_effort: self.reasoning_effort.as_deref(),
            tools: &[],
            now_seconds: local_seconds(&ZonedDateTime::now()),
        }
    }
}

/// The local time in seconds since the beginning of 1970; `None` before that.
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
        // The same moment; it is already the next day in Kolkata.
        assert_eq!(seconds("2024-07-26T23:30:00+00:00[UTC]"), Some(1_722_036_600));
        assert_eq!(seconds("2024-07-27T05:00:00+05:30[+05:30]"), Some(1_722_036_600 + 19_800));
        assert_eq!(seconds("2024-07-26T16:30:00-07:00[-07:00]"), Some(1_722_036_600 - 25_200));
        assert_eq!(seconds("1969-12-31T23:59:59+00:00[UTC]"), None);
    }
}
