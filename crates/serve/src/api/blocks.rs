//! [`Blocks`]: an answer as a sequence of texts, thoughts and calls.

use alloc::string::String;
use alloc::vec::Vec;

use llm::chat::Part;

use crate::error::ApiError;

/// The kind of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Text for the user.
    Text,
    /// A thought.
    Reasoning,
    /// A call of a tool. The block's text is the arguments, a JSON object.
    Call {
        /// The id by which the result refers to the call.
        id: String,
        /// The tool's name.
        name: String,
    },
}

/// A part of an answer that is of one kind throughout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its kind.
    pub kind: Kind,
    /// Its text, as far as it has arrived and is kept.
    pub text: String,
    /// Whether a stream has announced its beginning.
    pub is_begin_told: bool,
    /// How many bytes of the text a stream has sent.
    pub n_told: usize,
    /// Whether a stream has announced its end.
    pub is_end_told: bool,
    /// Whether it is a call that turned out not to be one after a stream had announced it.
    pub is_broken: bool,
}

/// An answer, block by block.
#[derive(Debug, Default)]
pub struct Blocks {
    blocks: Vec<Block>,
    /// The answer as the model wrote it, kept if a call may turn out not to be one.
    raw: String,
    keeps_raw: bool,
    /// If a stream has sent something as a call that turns out not to be one: whether it is not sent again as text.
    pub says_once: bool,
    /// The last block is a call that ends here, as a range of bytes of the answer. It is not a call if more of the answer
    /// follows.
    broken: Option<(usize, usize)>,
    /// A call that turned out not to be one, as a range of bytes of the answer; not all of the range has arrived.
    unsaid: Option<(usize, usize)>,
}

/// Number of characters in a call's id. Mistral's templates require nine letters or digits.
const ID_LEN: usize = 9;

/// An id for call number `call` in the answer of this name. The same arguments give the same id.
fn call_id(answer: &str, choice: usize, call: usize) -> Result<String, ApiError> {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // FNV-1a of both numbers and the name.
    let bytes = answer.bytes().chain((choice as u32).to_le_bytes()).chain((call as u32).to_le_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut id = String::new();
    id.try_reserve_exact(ID_LEN).map_err(|_| ApiError::out_of_memory())?;
    for _ in 0..ID_LEN {
        id.push(char::from(DIGITS[(hash % 36) as usize]));
        hash /= 36;
    }
    Ok(id)
}

impl Blocks {
    /// No blocks yet. `keeps_raw` must be set if there may be calls.
    pub fn new(keeps_raw: bool) -> Self {
        Self { keeps_raw, ..Self::default() }
    }

    /// The blocks so far.
    pub fn all(&self) -> &[Block] {
        &self.blocks
    }

    /// Number of blocks that are certain to be sent.
    fn n_certain(&self) -> usize {
        let is_uncertain =
            self.broken.is_some() && self.blocks.last().is_some_and(|block| !block.is_begin_told);
        self.blocks.len() - usize::from(is_uncertain)
    }

    /// The blocks that a stream may send.
    pub fn certain_mut(&mut self) -> &mut [Block] {
        let n_certain = self.n_certain();
        &mut self.blocks[..n_certain]
    }

    /// Whether there is something that a stream has not sent.
    pub fn has_news(&self) -> bool {
        let certain = &self.blocks[..self.n_certain()];
        certain.iter().any(|block| !block.is_begin_told || block.n_told < block.text.len())
    }

    /// Whether a tool is called.
    pub fn has_calls(&self) -> bool {
        self.blocks.iter().any(|block| matches!(block.kind, Kind::Call { .. }) && !block.is_broken)
    }

    /// Adds text.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn say(&mut self, text: &str) -> Result<(), ApiError> {
        self.append(Kind::Text, text)
    }

    /// Notes a piece of the answer as the model wrote it. Its parts are added afterwards.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn note_raw(&mut self, text: &str) -> Result<(), ApiError> {
        if !self.keeps_raw {
            return Ok(());
        }
        append(&mut self.raw, text)
    }

    /// Adds a part of the answer of this name and number.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn take(&mut self, part: &Part<'_>, answer: &str, choice: usize) -> Result<(), ApiError> {
        self.unmake_broken()?;
        match *part {
            Part::Content(text) => self.append(Kind::Text, text),
            Part::Reasoning(text) => self.append(Kind::Reasoning, text),
            Part::ToolCallBegin { index, name } => {
                let mut own_name = String::new();
                append(&mut own_name, name)?;
                self.begin(Kind::Call { id: call_id(answer, choice, index)?, name: own_name })
            }
            Part::ToolCallArguments(text) => match self.blocks.last_mut() {
                Some(block) => append(&mut block.text, text),
                None => Ok(()),
            },
            Part::ToolCallEnd => Ok(()),
            Part::ToolCallBroken { start, end } => {
                let call = self.blocks.last_mut().filter(|block| matches!(block.kind, Kind::Call { .. }));
                if let Some(call) = call {
                    call.is_broken = true;
                    self.broken = Some((start, end));
                }
                Ok(())
            }
        }
    }

    /// If the last block is a call that turned out not to be one, turns it into text.
    fn unmake_broken(&mut self) -> Result<(), ApiError> {
        let Some((start, end)) = self.broken.take() else { return Ok(()) };
        // A stream that has announced the call cannot take it back.
        match self.blocks.last().map(|block| block.is_begin_told) {
            Some(true) if self.says_once => return Ok(()),
            Some(false) => drop(self.blocks.pop()),
            _ => {}
        }
        match self.raw.get(start..end) {
            Some(text) => {
                let mut own = String::new();
                append(&mut own, text)?;
                self.say(&own)
            }
            None => {
                self.unsaid = Some((start, end));
                Ok(())
            }
        }
    }

    /// The answer has ended, and `output` is all that the model wrote. If the answer was cut, a call at its end remains a call,
    /// as far as it has arrived.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn finish(&mut self, output: &str, is_cut: bool) -> Result<(), ApiError> {
        if is_cut {
            self.broken = None;
        }
        self.unmake_broken()?;
        let unsaid = self.unsaid.take().and_then(|(start, end)| output.get(start..end));
        unsaid.map_or(Ok(()), |text| self.say(text))
    }

    /// Forgets texts that a stream has sent, but not that they existed.
    pub fn forget_told(&mut self) {
        for block in &mut self.blocks {
            if block.n_told == block.text.len() {
                block.text.clear();
                block.n_told = 0;
            }
        }
    }

    fn append(&mut self, kind: Kind, text: &str) -> Result<(), ApiError> {
        if text.is_empty() {
            return Ok(());
        }
        if self.blocks.last().is_none_or(|block| block.kind != kind) {
            self.begin(kind)?;
        }
        match self.blocks.last_mut() {
            Some(block) => append(&mut block.text, text),
            None => Ok(()),
        }
    }

    fn begin(&mut self, kind: Kind) -> Result<(), ApiError> {
        self.blocks.try_reserve(1).map_err(|_| ApiError::out_of_memory())?;
        self.blocks.push(Block {
            kind,
            text: String::new(),
            is_begin_told: false,
            n_told: 0,
            is_end_told: false,
            is_broken: false,
        });
        Ok(())
    }
}

/// Writes a JSON object that was cut off, with only its complete members; writes an empty object if `cut` is empty.
///
/// # Errors
/// If there is no memory for it.
pub fn close_object(cut: &str, out: &mut String) -> Result<(), ApiError> {
    let mut closers = String::new();
    let (mut is_text, mut is_escaped, mut is_key, mut n_whole) = (false, false, false, 0);
    for (index, byte) in cut.bytes().enumerate() {
        if is_text {
            is_text = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
            if !is_text && !is_key {
                n_whole = index + 1;
            }
            continue;
        }
        match byte {
            b'"' => is_text = true,
            b'{' | b'[' => {
                append(&mut closers, if byte == b'{' { "}" } else { "]" })?;
                (is_key, n_whole) = (byte == b'{', index + 1);
            }
            b'}' | b']' => {
                closers.pop();
                (is_key, n_whole) = (false, index + 1);
            }
            b',' => (is_key, n_whole) = (closers.ends_with('}'), index),
            b':' => is_key = false,
            _ => {}
        }
    }
    let whole = if n_whole == 0 { "{" } else { &cut[..n_whole] };
    append(out, whole)?;
    let rest = if n_whole == 0 { "}" } else { &*closers };
    rest.chars().rev().try_for_each(|closer| append(out, if closer == '}' { "}" } else { "]" }))
}

fn append(text: &mut String, more: &str) -> Result<(), ApiError> {
    text.try_reserve(more.len()).map_err(|_| ApiError::out_of_memory())?;
    text.push_str(more);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(blocks: &Blocks) -> Vec<&str> {
        blocks.all().iter().map(|block| block.text.as_str()).collect()
    }

    #[test]
    fn parts_of_a_kind_are_one_block_and_a_broken_call_is_said() {
        let mut blocks = Blocks::new(true);
        let parts = [
            ("<t>hm.</t>", &[Part::Reasoning("h"), Part::Reasoning("m.")][..]),
            ("Yes", &[Part::Content("Yes")]),
            (
                "{f",
                &[
                    Part::ToolCallBegin { index: 0, name: "f" },
                    Part::ToolCallArguments("{"),
                    Part::ToolCallArguments("}"),
                    Part::ToolCallEnd,
                ],
            ),
            ("<c>{g", &[Part::ToolCallBegin { index: 1, name: "g" }, Part::ToolCallArguments("{")]),
            ("x", &[Part::ToolCallBroken { start: 15, end: 21 }]),
        ];
        for (raw, parts) in parts {
            blocks.note_raw(raw).unwrap();
            parts.iter().for_each(|part| blocks.take(part, "a", 0).unwrap());
        }
        blocks.finish("", false).unwrap();
        assert_eq!(texts(&blocks), ["hm.", "Yes", "{}", "<c>{gx"]);
        assert!(blocks.has_calls() && blocks.has_news());
        let Kind::Call { id, name } = &blocks.all()[2].kind else { panic!("no call") };
        assert!(name == "f" && id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert_ne!(*id, call_id("a", 0, 1).unwrap());
        assert_ne!(*id, call_id("a", 1, 0).unwrap());

        let mut blocks = Blocks::new(true);
        blocks.note_raw("<c>{g").unwrap();
        blocks.take(&Part::ToolCallBegin { index: 0, name: "g" }, "a", 0).unwrap();
        blocks.take(&Part::ToolCallBroken { start: 0, end: 7 }, "a", 0).unwrap();
        assert!(!blocks.has_news(), "it may be none");
        blocks.finish("<c>{g((", false).unwrap();
        assert_eq!(texts(&blocks), ["<c>{g(("]);
        assert!(!blocks.has_calls());

        let mut blocks = Blocks::new(true);
        blocks.note_raw("<c>{g").unwrap();
        blocks.take(&Part::ToolCallBegin { index: 0, name: "g" }, "a", 0).unwrap();
        blocks.certain_mut()[0].is_begin_told = true;
        blocks.take(&Part::ToolCallBroken { start: 0, end: 5 }, "a", 0).unwrap();
        blocks.finish("<c>{g", false).unwrap();
        assert!(blocks.all().len() == 2 && !blocks.has_calls(), "what was told stays, but is no call");

        let mut blocks = Blocks { says_once: true, ..Blocks::new(true) };
        blocks.note_raw("<c>{g").unwrap();
        blocks.take(&Part::ToolCallBegin { index: 0, name: "g" }, "a", 0).unwrap();
        blocks.certain_mut()[0].is_begin_told = true;
        blocks.take(&Part::ToolCallBroken { start: 0, end: 5 }, "a", 0).unwrap();
        blocks.take(&Part::Content(""), "a", 0).unwrap();
        assert!(blocks.all().len() == 1 && !blocks.has_calls(), "it is not told again as a text");
    }

    #[test]
    fn a_call_that_is_cut_stays_one_whether_a_stream_has_told_of_it_or_not() {
        for is_told in [false, true] {
            let mut blocks = Blocks::new(true);
            blocks.note_raw("<c>{g: [1").unwrap();
            blocks.take(&Part::ToolCallBegin { index: 0, name: "g" }, "a", 0).unwrap();
            blocks.take(&Part::ToolCallArguments("[1"), "a", 0).unwrap();
            blocks.certain_mut()[0].is_begin_told = is_told;
            blocks.take(&Part::ToolCallBroken { start: 0, end: 9 }, "a", 0).unwrap();
            blocks.finish("<c>{g: [1", true).unwrap();
            assert_eq!(texts(&blocks), ["[1"]);
            assert!(!blocks.has_calls() && blocks.has_news(), "it is not whole");
        }
    }

    #[test]
    fn an_object_that_was_cut_has_the_members_that_are_whole() {
        let whole = r#"{"a": "x\\\"y,", "b": [1, {"c": true}, -2.5], "d": {}, "e": "]}"}"#;
        let value: serde_json::Value = serde_json::from_str(whole).unwrap();
        let mut n_members = 0;
        for end in 0..=whole.len() {
            let mut text = String::new();
            close_object(&whole[..end], &mut text).unwrap();
            let closed: serde_json::Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let closed = closed.as_object().unwrap();
            assert!(closed.len() >= n_members, "{text}");
            n_members = closed.len();
            let is_whole = |(key, member): (&String, &serde_json::Value)| value[key] == *member || key == "b";
            assert!(closed.iter().all(is_whole), "{text}");
        }
        assert_eq!(n_members, 4);
    }

    #[test]
    fn what_a_stream_has_told_is_forgotten_and_what_follows_is_news() {
        let mut blocks = Blocks::new(false);
        blocks.say("one").unwrap();
        for block in blocks.certain_mut() {
            (block.is_begin_told, block.n_told) = (true, block.text.len());
        }
        blocks.forget_told();
        assert!(!blocks.has_news());
        blocks.say(" two").unwrap();
        assert!(blocks.has_news());
        assert_eq!(texts(&blocks), [" two"]);
    }
}
