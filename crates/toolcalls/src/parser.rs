//! [`Parser`]: divides an answer into its parts, piece by piece.

use alloc::string::String;

use crate::call::{Match, look_up};
use crate::channels::MARKS;
use crate::form::{Arguments, mark};
use crate::format::Format;
pub use crate::state::Event;
use crate::state::{Mode, State, To};

/// The heap has no room for the part of an answer that is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the heap has no {needed_bytes} bytes left for an answer")]
pub struct OutOfMemory {
    /// Number of bytes that were requested.
    pub needed_bytes: usize,
}

/// Parses an answer that comes in pieces, which may be cut anywhere; the reported parts do not depend on the cuts.
///
/// White space around marks is dropped; everything else that is not part of a call or a mark is content or reasoning. Only text
/// that may become a mark, or a call whose name is not known yet, is held back: some 64 KiB at most. Each character takes a
/// bounded number of steps.
/// most. A character takes a bounded number of steps.
#[derive(Debug, Clone)]
pub struct Parser {
    state: State,
}

/// The meaning of a mark in a text.
#[derive(Clone, Copy)]
enum Mark {
    Reasoning,
    EndOfReasoning,
    Calls,
    /// A call begins; its name follows.
    Call,
    AroundContent,
    OfChannel(&'static str),
}

impl Parser {
    /// An answer in this format.
    pub fn new(format: Format) -> Self {
        let mut state = State::new(format);
        if format.form.arguments == Arguments::Channels {
            state.mode = Mode::Header;
        } else if format.starts_open {
            state.mode = Mode::Thought;
            state.drops_space = true;
        }
        Self { state }
    }

    /// Declares that the argument `key` of `tool` is a text. Some forms write texts without quotes: in these, `3` is a number
    /// unless the argument is known to be a text.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn add_text_argument(&mut self, tool: &str, key: &str) -> Result<(), OutOfMemory> {
        let needed_bytes = tool.len().saturating_add(key.len()).saturating_add(size_of::<(String, String)>());
        let out_of_memory = |_| OutOfMemory { needed_bytes };
        let (mut own_tool, mut own_key) = (String::new(), String::new());
        own_tool.try_reserve_exact(tool.len()).map_err(out_of_memory)?;
        own_key.try_reserve_exact(key.len()).map_err(out_of_memory)?;
        own_tool.push_str(tool);
        own_key.push_str(key);
        self.state.texts.try_reserve(1).map_err(out_of_memory)?;
        self.state.texts.push((own_tool, own_key));
        Ok(())
    }

    /// Takes the next piece and reports what has become certain.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing has been reported then.
    pub fn push(&mut self, piece: &str, on_event: &mut dyn FnMut(Event<'_>)) -> Result<(), OutOfMemory> {
        let state = &mut self.state;
        state.reserve(piece.len()).map_err(|needed_bytes| OutOfMemory { needed_bytes })?;
        for character in piece.chars() {
            while take(state, character, on_event) {}
            state.n_bytes += character.len_utf8();
        }
        state.tell(on_event);
        Ok(())
    }

    /// Ends the answer, and reports what was held back.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing has been reported then.
    pub fn finish(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<(), OutOfMemory> {
        let state = &mut self.state;
        state.reserve(0).map_err(|needed_bytes| OutOfMemory { needed_bytes })?;
        match state.mode {
            Mode::Text | Mode::Thought => {
                let held = core::mem::take(&mut state.held);
                held.chars().for_each(|character| state.say(character, on_event));
                // Nothing follows, so the white space does not surround a mark.
                if !state.drops_space && !state.space.is_empty() {
                    state.raw.clear();
                    let is_thought = state.mode == Mode::Thought;
                    if !is_thought {
                        state.say_raw(on_event);
                    }
                }
            }
            _ if state.has_begun => {
                state.break_off(on_event);
            }
            // A call is complete even without its last mark.
            Mode::Between if state.n_in_section > 0 => {}
            _ if state.raw.is_empty() => {}
            _ => state.say_raw(on_event),
        }
        state.tell(on_event);
        Ok(())
    }
}

/// Takes a character; returns whether it must be taken again.
fn take(state: &mut State, character: char, to: To<'_>) -> bool {
    match state.mode {
        Mode::Text | Mode::Thought => {
            take_text(state, character, to);
            false
        }
        Mode::Header => state.take_of_header(character, to),
        _ => state.take_of_call(character, to),
    }
}

/// Takes a character of text or of a thought.
fn take_text(state: &mut State, character: char, to: To<'_>) {
    state.held.push(character);
    loop {
        match look_up(&state.held, marks(state)) {
            Match::Beginning => return,
            Match::Whole(mark) => return take_mark(state, mark, character, to),
            Match::Nothing => {}
        }
        let first = state.held.remove(0);
        let Format { form, is_held, .. } = state.format;
        let is_bare = form.bare && !is_held && !state.has_said && state.n_calls == 0;
        if first == '{' && is_bare && state.mode == Mode::Text && state.held.is_empty() {
            state.open(Mode::Between, "{", state.n_bytes);
            state.is_bare = true;
            state.open_object();
            return;
        }
        state.say(first, to);
        if state.held.is_empty() {
            return;
        }
    }
}

/// The marks in text or thoughts.
fn marks(state: &State) -> impl Iterator<Item = (Mark, &'static str)> {
    let Format { form, reasoning, .. } = state.format;
    let is_thought = state.mode == Mode::Thought;
    let has_channels = state.has_channels();
    let of_channels = MARKS.iter().filter(move |_| has_channels).map(|&mark| (Mark::OfChannel(mark), mark));
    let reasoning = reasoning.filter(|_| !has_channels);
    let of_thought =
        reasoning.filter(|_| is_thought).map(|reasoning| (Mark::EndOfReasoning, reasoning.close));
    let reasoning = reasoning.filter(|_| !is_thought);
    let begins = reasoning.map(|reasoning| (Mark::Reasoning, reasoning.open));
    let around = reasoning.map_or(&[][..], |reasoning| reasoning.around_content);
    let around = around.iter().map(|&mark| (Mark::AroundContent, mark));
    let has_names = !matches!(form.arguments, Arguments::Object(..) | Arguments::Python);
    let before = mark(form.before);
    let open = if before.is_empty() && has_names { mark(form.open) } else { "" };
    let calls = [(Mark::Calls, before), (Mark::Calls, form.also_before), (Mark::Call, open)];
    let calls = calls.into_iter().filter(move |_| !is_thought && !has_channels);
    // Once text that is bound by a grammar has begun, nothing in it is a mark.
    let has_marks = is_thought || !state.format.is_held || !state.has_said;
    let all = of_channels.chain(of_thought).chain(begins).chain(around).chain(calls);
    all.filter(move |_| has_marks)
}

fn take_mark(state: &mut State, mark: Mark, character: char, to: To<'_>) {
    let held = core::mem::take(&mut state.held);
    let start = (state.n_bytes + character.len_utf8()).saturating_sub(held.len());
    match mark {
        Mark::Reasoning | Mark::EndOfReasoning | Mark::AroundContent => {
            state.drop_space();
            match mark {
                Mark::Reasoning => state.mode = Mode::Thought,
                Mark::EndOfReasoning => {
                    state.mode = Mode::Text;
                    state.has_said = false;
                }
                _ => {}
            }
        }
        Mark::Calls => {
            state.open(Mode::Between, &held, start);
        }
        Mark::Call => state.open(Mode::Name, &held, start),
        Mark::OfChannel(mark) => state.end_message(mark, to),
    }
    state.held = held;
    state.held.clear();
}
