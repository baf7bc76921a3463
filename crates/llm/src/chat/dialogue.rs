//! A conversation that grows: what was said so far, owned.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::{Answer, ChatError, Format, Message};

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whoever sets the model's task.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// What templates call it.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// What was said so far.
///
/// Each turn begins with [`ask`](Self::ask) and ends with [`answer`](Self::answer) or, if there was
/// none, with [`take_back`](Self::take_back).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dialogue {
    turns: Vec<Turn>,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Turn {
    role: Role,
    content: String,
    /// What the model thought before.
    reasoning: String,
}

impl Dialogue {
    /// Begins anew, with a system message if there is one.
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`].
    pub fn begin(&mut self, system: Option<&str>) -> Result<(), ChatError> {
        self.turns.clear();
        system.map_or(Ok(()), |system| self.push(Role::System, system))
    }

    /// Adds what the user says.
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`].
    pub fn ask(&mut self, message: &str) -> Result<(), ChatError> {
        self.push(Role::User, message)
    }

    /// Adds what the model said and thought, as it generated it in this format. The template decides whether it is
    /// told again what it thought.
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`].
    pub fn answer(&mut self, generated: &str, format: Format) -> Result<(), ChatError> {
        let out_of_memory = |_| ChatError::OutOfMemory { needed_bytes: generated.len() };
        let Answer { content, reasoning, .. } = Answer::of(generated, format).map_err(out_of_memory)?;
        self.push_turn(Turn { role: Role::Assistant, content, reasoning })
    }

    /// Forgets the last message.
    pub fn take_back(&mut self) {
        self.turns.pop();
    }

    /// The messages, as a template takes them.
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`].
    pub fn messages(&self) -> Result<Vec<Message<'_>>, ChatError> {
        self.messages_without(0)
    }

    /// How many turns can be forgotten: all that the user began, but the last.
    pub(super) fn n_forgettable(&self) -> usize {
        self.questions().count().saturating_sub(1)
    }

    /// The messages without the `n_turns` oldest turns. What stands before the first turn, the system's
    /// message, stays.
    pub(super) fn messages_without(&self, n_turns: usize) -> Result<Vec<Message<'_>>, ChatError> {
        let forgotten = self.oldest(n_turns);
        let kept = self.turns[..forgotten.start].iter().chain(&self.turns[forgotten.end..]);
        let mut messages = Vec::new();
        let needed_bytes = self.turns.len() * size_of::<Message<'_>>();
        messages.try_reserve(self.turns.len()).map_err(|_| ChatError::OutOfMemory { needed_bytes })?;
        messages.extend(kept.map(|Turn { role, content, reasoning }| Message {
            reasoning_content: reasoning,
            ..Message::new(role.name(), content)
        }));
        Ok(messages)
    }

    /// Forgets the `n_turns` oldest turns, as far as there are so many.
    pub fn forget(&mut self, n_turns: usize) {
        let forgotten = self.oldest(n_turns);
        self.turns.drain(forgotten);
    }

    /// The places of the `n_turns` oldest turns.
    fn oldest(&self, n_turns: usize) -> Range<usize> {
        let start = self.questions().next().unwrap_or(self.turns.len());
        start..self.questions().nth(n_turns).unwrap_or(self.turns.len())
    }

    /// The places of what the user says, with which turns begin.
    fn questions(&self) -> impl Iterator<Item = usize> + '_ {
        self.turns.iter().enumerate().filter(|(_, turn)| turn.role == Role::User).map(|(place, _)| place)
    }

    fn push(&mut self, role: Role, content: &str) -> Result<(), ChatError> {
        let out_of_memory = |_| ChatError::OutOfMemory { needed_bytes: content.len() };
        let mut copy = String::new();
        copy.try_reserve_exact(content.len()).map_err(out_of_memory)?;
        copy.push_str(content);
        self.push_turn(Turn { role, content: copy, reasoning: String::new() })
    }

    fn push_turn(&mut self, turn: Turn) -> Result<(), ChatError> {
        let needed_bytes = size_of::<Turn>();
        self.turns.try_reserve(1).map_err(|_| ChatError::OutOfMemory { needed_bytes })?;
        self.turns.push(turn);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(dialogue: &Dialogue) -> Vec<(&str, &str)> {
        dialogue.messages().unwrap().iter().map(|message| (message.role, message.content)).collect()
    }

    #[test]
    fn turns_come_and_go() {
        let mut dialogue = Dialogue::default();
        dialogue.ask("lost").unwrap();
        dialogue.begin(Some("be brief")).unwrap();
        dialogue.ask("a").unwrap();
        dialogue.answer("b", Format::default()).unwrap();
        dialogue.ask("c").unwrap();
        dialogue.take_back();
        assert_eq!(contents(&dialogue), [("system", "be brief"), ("user", "a"), ("assistant", "b")]);
        dialogue.begin(None).unwrap();
        assert_eq!(contents(&dialogue), []);
    }

    #[test]
    fn thoughts_are_kept_apart() {
        for (template, generated, thought, said) in [
            ("", "plain <think> text", "", "plain <think> text"),
            ("<think>", "<think>\nHm.\n</think>\n\nFour.", "Hm.", "Four."),
            ("<|channel|><|message|>", "<|channel|>final<|message|>Four.", "", "Four."),
            (
                "<|channel|><|message|>",
                "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Four.",
                "Hm.",
                "Four.",
            ),
            ("<|channel|><|message|>", "<|channel|>analysis<|message|>Cut off", "Cut off", ""),
        ] {
            let mut dialogue = Dialogue::default();
            dialogue.answer(generated, Format::of(&[template]).without_calls()).unwrap();
            let messages = dialogue.messages().unwrap();
            let expected = Message { reasoning_content: thought, ..Message::new("assistant", said) };
            assert_eq!(messages, [expected], "{generated}");
        }
    }
}
