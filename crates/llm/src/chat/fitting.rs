//! Makes a dialogue fit a context: when there is no room left, the oldest turns are forgotten.

use alloc::vec::Vec;
use core::fmt;

use super::{ChatError, ChatTemplate, Conversation, Dialogue, Format};
use crate::tokenizer::Tokenizer;

/// The room for a prompt and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Positions of the context.
    pub n_ctx: usize,
    /// Most tokens of the answer.
    pub max_tokens: usize,
}

/// What was forgotten. Its `Display` is a message to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Turns, each a message of the user with its answer.
    pub n_turns: usize,
    /// Positions of the full context.
    pub n_ctx: usize,
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_turns, n_ctx } = self;
        write!(f, "the context of {n_ctx} tokens is full: the oldest ")?;
        match n_turns {
            1 => f.write_str("turn is forgotten"),
            _ => write!(f, "{n_turns} turns are forgotten"),
        }
    }
}

impl Room {
    /// The room to keep free for an answer: `max_tokens`, but no more than a quarter of the context.
    fn for_an_answer(self) -> usize {
        self.max_tokens.min(self.n_ctx / 4)
    }
}

impl ChatTemplate {
    /// Appends the ids of a dialogue, up to where the model answers, to `out`.
    ///
    /// If the dialogue and an answer do not fit the context, the oldest turns are left out until half of the context is free, so that it is
    /// not full again at the next message. The system message and the user's last message stay. Returns how to parse the answer, and what
    /// was left out. The dialogue can [forget](Dialogue::forget) these turns when the prompt is used. Everything except the messages is
    /// taken from `settings`.
    ///
    /// # Errors
    /// [`ChatError::MessageTooLong`] if the last message alone is longer than the context, and those of
    /// [`encode`](Self::encode).
    pub fn encode_dialogue(
        &self,
        tokenizer: &Tokenizer<'_>,
        dialogue: &Dialogue,
        settings: &Conversation<'_>,
        room: Room,
        out: &mut Vec<u32>,
    ) -> Result<(Format, Option<Forgotten>), ChatError> {
        let start = out.len();
        let n_ctx = room.n_ctx;
        let n_forgettable = dialogue.n_forgettable();
        let calls = dialogue.calls()?;
        let mut encode = |dialogue: &Dialogue, n_turns| {
            let messages = dialogue.messages_without(&calls, n_turns)?;
            out.truncate(start);
            let conversation = Conversation { messages: &messages, ..*settings };
            let format = self.encode(tokenizer, &conversation, out)?;
            Ok::<_, ChatError>((format, out.len() - start))
        };
        let most = n_ctx - room.for_an_answer();
        let (format, n_tokens) = encode(dialogue, 0)?;
        if n_tokens <= most || (n_forgettable == 0 && n_tokens <= n_ctx) {
            return Ok((format, None));
        }
        let n_least = if n_forgettable == 0 { n_tokens } else { encode(dialogue, n_forgettable)?.1 };
        if n_least > n_ctx {
            return Err(ChatError::MessageTooLong { n_tokens: n_least, n_ctx });
        }
        // Keep as many turns as fit into half of the context or, if an answer needs more than half, into what it
        // leaves.
        let limit = if n_least <= n_ctx / 2 { n_ctx / 2 } else { most };
        let (mut too_few, mut enough) = (0, n_forgettable);
        while too_few + 1 < enough {
            let middle = too_few.midpoint(enough);
            if encode(dialogue, middle)?.1 <= limit {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        let (format, _) = encode(dialogue, enough)?;
        Ok((format, Some(Forgotten { n_turns: enough, n_ctx })))
    }
}
