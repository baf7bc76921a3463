//! A growing conversation that owns its messages.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;

use super::{Answer, Call, ChatError, Format, Message, Tool, ToolCall, parser};

/// The speaker of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one who sets the model's task.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

impl Role {
    /// Its name in templates.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// A conversation so far.
///
/// Each turn begins with [`ask`](Self::ask) and ends with [`answer`](Self::answer) or, if there was no answer, with
/// [`take_back`](Self::take_back). In between, the model may [call](Self::called) tools: each [call](Self::next_call)
/// needs a [`result`](Self::result) before the model continues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dialogue {
    pub(super) turns: Vec<Turn>,
    /// Number of calls since the beginning. The id of each call contains its number.
    n_calls: u32,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub role: Role,
    pub content: String,
    /// The thoughts of the model before it.
    pub reasoning: String,
    /// The tools that it called.
    pub calls: Vec<KeptCall>,
}

/// A call with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptCall {
    pub id: String,
    pub call: Call,
}

/// An answer that was taken out of a dialogue.
#[derive(Debug)]
pub struct Retracted(Vec<Turn>);

/// Length of ids. Mistral's templates accept only this length.
const ID_BYTES: usize = 9;

impl Dialogue {
    /// Starts a new conversation, with a system message if one is given.
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`].
    pub fn begin(&mut self, system: Option<&str>) -> Result<(), ChatError> {
        self.turns.clear();
        self.n_calls = 0;
        system.map_or(Ok(()), |system| self.push(Role::System, system))
    }

    /// Forgets all messages but the system message.
    pub fn clear(&mut self) {
        let has_system = self.system().is_some();
        self.turns.truncate(usize::from(has_system));
        self.n_calls = 0;
    }

    /// The system message.
    pub fn system(&self) -> Option<&str> {
        let first = self.turns.first().filter(|turn| turn.role == Role::System);
        first.map(|turn| &*turn.content)
    }

    /// Changes the system message; the other messages stay.
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`]; nothing has changed then.
    pub fn set_system(&mut self, system: &str) -> Result<(), ChatError> {
        self.push(Role::System, system)?;
        if let Some(turn) = self.turns.pop() {
            match self.system() {
                Some(_) => self.turns[0] = turn,
                // There is room for it: it was there a moment ago.
                None => self.turns.insert(0, turn),
            }
        }
        Ok(())
    }

    /// Takes out everything after the last message of the user, so that it can be answered again; `None` if there is no such message,
    /// or nothing after it.
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`]; nothing has changed then.
    pub fn retract(&mut self) -> Result<Option<Retracted>, ChatError> {
        let Some(last) = self.questions().last() else { return Ok(None) };
        let n_turns = self.turns.len() - (last + 1);
        let mut answer = Vec::new();
        let needed_bytes = n_turns.saturating_mul(size_of::<Turn>());
        answer.try_reserve_exact(n_turns).map_err(|_| ChatError::OutOfMemory { needed_bytes })?;
        answer.extend(self.turns.drain(last + 1..));
        Ok((n_turns > 0).then_some(Retracted(answer)))
    }

    /// Puts an answer that was taken out in the place of what now follows the last message of the user.
    pub fn put_back(&mut self, Retracted(answer): Retracted) {
        let last = self.questions().last();
        self.turns.truncate(last.map_or(0, |last| last + 1));
        self.turns.extend(answer);
    }

    /// Adds a message of the user.
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`].
    pub fn ask(&mut self, message: &str) -> Result<(), ChatError> {
        self.push(Role::User, message)
    }

    /// Adds the model's answer and thoughts, parsed from its output in this format, without any calls. The template
    /// decides whether the model sees its thoughts again.
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`].
    pub fn answer(&mut self, generated: &str, format: Format) -> Result<(), ChatError> {
        let out_of_memory = |_| ChatError::OutOfMemory { needed_bytes: generated.len() };
        let Answer { content, reasoning, .. } = Answer::of(generated, format).map_err(out_of_memory)?;
        self.push_turn(Turn { role: Role::Assistant, content, reasoning, calls: Vec::new() })
    }

    /// Adds the model's answer, thoughts and calls, parsed from its output in this format. It may have called these
    /// tools, or unknown ones. The results of the calls come next, in order.
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`]; [`ChatError::Parameters`] if a tool's parameters are not a JSON object.
    pub fn called(&mut self, generated: &str, format: Format, tools: &[Tool<'_>]) -> Result<(), ChatError> {
        let answer = Answer::parsed(generated, parser(format, tools)?);
        let out_of_memory = |_| ChatError::OutOfMemory { needed_bytes: generated.len() };
        let Answer { content, reasoning, calls } = answer.map_err(out_of_memory)?;
        let needed_bytes = calls.len().saturating_mul(size_of::<KeptCall>());
        let mut kept = Vec::new();
        kept.try_reserve_exact(calls.len()).map_err(|_| ChatError::OutOfMemory { needed_bytes })?;
        for call in calls {
            let mut id = String::new();
            let out_of_memory = ChatError::OutOfMemory { needed_bytes: ID_BYTES };
            id.try_reserve_exact(ID_BYTES).map_err(|_| out_of_memory)?;
            self.n_calls = self.n_calls % 99_999 + 1;
            // Cannot fail: the text has room.
            let _ = write!(id, "call{:05}", self.n_calls);
            kept.push(KeptCall { id, call });
        }
        self.push_turn(Turn { role: Role::Assistant, content, reasoning, calls: kept })
    }

    /// The first call of the last answer that has no result yet.
    pub fn next_call(&self) -> Option<&Call> {
        let n_results = self.turns.iter().rev().take_while(|turn| turn.role == Role::Tool).count();
        let caller = self.turns.iter().rev().nth(n_results)?;
        caller.calls.get(n_results).map(|kept| &kept.call)
    }

    /// Adds the result of the [next call](Self::next_call).
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`].
    pub fn result(&mut self, content: &str) -> Result<(), ChatError> {
        self.push(Role::Tool, content)
    }

    /// Forgets the last message of the user and everything after it.
    pub fn take_back(&mut self) {
        let last = self.turns.iter().rposition(|turn| turn.role == Role::User);
        self.turns.truncate(last.unwrap_or(self.turns.len()));
    }

    /// The calls of all messages, to be passed to [`messages`](Self::messages).
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`].
    pub fn calls(&self) -> Result<Vec<ToolCall<'_>>, ChatError> {
        let kept = || self.turns.iter().flat_map(|turn| &turn.calls);
        let n_calls = kept().count();
        let needed_bytes = n_calls.saturating_mul(size_of::<ToolCall<'_>>());
        let mut calls = Vec::new();
        calls.try_reserve_exact(n_calls).map_err(|_| ChatError::OutOfMemory { needed_bytes })?;
        calls.extend(kept().map(|KeptCall { id, call: Call { name, arguments } }| ToolCall {
            id,
            name,
            arguments,
        }));
        Ok(calls)
    }

    /// The messages in the form that a template takes, with these [calls](Self::calls).
    ///
    /// # Errors
    /// [`ChatError::OutOfMemory`].
    pub fn messages<'m>(&'m self, calls: &'m [ToolCall<'m>]) -> Result<Vec<Message<'m>>, ChatError> {
        self.messages_without(calls, 0)
    }

    /// How many turns can be forgotten: all turns except the last.
    pub(super) fn n_forgettable(&self) -> usize {
        self.questions().count().saturating_sub(1)
    }

    /// The messages without the `n_turns` oldest turns. The system message before the first turn stays.
    pub(super) fn messages_without<'m>(
        &'m self,
        calls: &'m [ToolCall<'m>],
        n_turns: usize,
    ) -> Result<Vec<Message<'m>>, ChatError> {
        let forgotten = self.oldest(n_turns);
        let mut messages = Vec::new();
        let needed_bytes = self.turns.len() * size_of::<Message<'_>>();
        messages.try_reserve(self.turns.len()).map_err(|_| ChatError::OutOfMemory { needed_bytes })?;
        let (mut later, mut without_result) = (calls, &calls[..0]);
        for (place, Turn { role, content, reasoning, calls }) in self.turns.iter().enumerate() {
            let mut message = Message { reasoning_content: reasoning, ..Message::new(role.name(), content) };
            if *role != Role::Tool {
                (message.tool_calls, later) = later.split_at(calls.len().min(later.len()));
                without_result = message.tool_calls;
            } else if let Some((call, others)) = without_result.split_first() {
                (message.tool_call_id, message.name) = (call.id, call.name);
                without_result = others;
            }
            if !forgotten.contains(&place) {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    /// Forgets the `n_turns` oldest turns, or as many as there are.
    pub fn forget(&mut self, n_turns: usize) {
        let forgotten = self.oldest(n_turns);
        self.turns.drain(forgotten);
    }

    /// The indices of the messages in the `n_turns` oldest turns.
    fn oldest(&self, n_turns: usize) -> Range<usize> {
        let start = self.questions().next().unwrap_or(self.turns.len());
        start..self.questions().nth(n_turns).unwrap_or(self.turns.len())
    }

    /// The indices of the user's messages, with which turns begin.
    fn questions(&self) -> impl Iterator<Item = usize> + '_ {
        self.turns.iter().enumerate().filter(|(_, turn)| turn.role == Role::User).map(|(place, _)| place)
    }

    fn push(&mut self, role: Role, content: &str) -> Result<(), ChatError> {
        let out_of_memory = |_| ChatError::OutOfMemory { needed_bytes: content.len() };
        let mut copy = String::new();
        copy.try_reserve_exact(content.len()).map_err(out_of_memory)?;
        copy.push_str(content);
        self.push_turn(Turn { role, content: copy, reasoning: String::new(), calls: Vec::new() })
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
        dialogue.messages(&[]).unwrap().iter().map(|message| (message.role, message.content)).collect()
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
    fn an_answer_is_retracted_and_the_system_message_changed() {
        let mut dialogue = Dialogue::default();
        assert!(dialogue.retract().unwrap().is_none());
        dialogue.ask("a").unwrap();
        assert!(dialogue.retract().unwrap().is_none());
        dialogue.answer("b", Format::default()).unwrap();
        let answer = dialogue.retract().unwrap().unwrap();
        assert_eq!(contents(&dialogue), [("user", "a")]);
        dialogue.answer("half", Format::default()).unwrap();
        dialogue.put_back(answer);
        assert_eq!(contents(&dialogue), [("user", "a"), ("assistant", "b")]);
        for system in ["s", "t"] {
            dialogue.set_system(system).unwrap();
            assert_eq!(contents(&dialogue), [("system", system), ("user", "a"), ("assistant", "b")]);
        }
        dialogue.clear();
        assert_eq!((contents(&dialogue), dialogue.system()), (alloc::vec![("system", "t")], Some("t")));
    }

    #[test]
    fn calls_have_results_and_are_forgotten_with_their_turn() {
        let call =
            |name| alloc::format!("<tool_call>{{\"name\": \"{name}\", \"arguments\": {{}}}}</tool_call>");
        let generated = alloc::format!("Well.{}{}", call("f"), call("g"));
        let mut dialogue = Dialogue::default();
        dialogue.begin(Some("s")).unwrap();
        for question in ["a", "b"] {
            dialogue.ask(question).unwrap();
            assert_eq!(dialogue.next_call(), None);
            dialogue.called(&generated, Format::default(), &[]).unwrap();
            for result in ["1", "2"] {
                let name = if result == "1" { "f" } else { "g" };
                assert_eq!(dialogue.next_call().map(|call| &*call.name), Some(name));
                dialogue.result(result).unwrap();
            }
            assert_eq!(dialogue.next_call(), None);
            dialogue.answer("So.", Format::default()).unwrap();
        }
        let shown = |dialogue: &Dialogue| -> Vec<String> {
            let calls = dialogue.calls().unwrap();
            let messages = dialogue.messages(&calls).unwrap();
            let show = |message: &Message<'_>| {
                let ids: Vec<_> = message.tool_calls.iter().map(|call| call.id).collect();
                alloc::format!(
                    "{} {} {}{}",
                    message.content,
                    ids.join(","),
                    message.tool_call_id,
                    message.name
                )
            };
            messages.iter().map(show).collect()
        };
        let of_b = ["b  ", "Well. call00003,call00004 ", "1  call00003f", "2  call00004g", "So.  "];
        assert_eq!(shown(&dialogue)[..2], ["s  ", "a  "]);
        assert_eq!(shown(&dialogue)[6..], of_b);
        let calls = dialogue.calls().unwrap();
        let shorter = dialogue.messages_without(&calls, 1).unwrap();
        assert_eq!(shorter.len(), 6);
        assert_eq!((shorter[2].tool_calls[0].id, shorter[3].tool_call_id), ("call00003", "call00003"));
        dialogue.forget(1);
        assert_eq!(shown(&dialogue)[1..], of_b);
        dialogue.take_back();
        assert_eq!(shown(&dialogue), ["s  "]);
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
            let messages = dialogue.messages(&[]).unwrap();
            let expected = Message { reasoning_content: thought, ..Message::new("assistant", said) };
            assert_eq!(messages, [expected], "{generated}");
        }
    }
}
