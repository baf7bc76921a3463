//! [`Answer`]: the parts of a whole answer.

use alloc::string::String;
use alloc::vec::Vec;

use crate::format::Format;
use crate::parser::{Event, OutOfMemory, Parser};

/// The parts of a whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The text for the user, including calls that were not completed, as they are in the answer.
    pub content: String,
    /// The thoughts.
    pub reasoning: String,
    /// The complete calls.
    pub calls: Vec<Call>,
}

/// A call of a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The tool's name.
    pub name: String,
    /// The arguments, as the text of a JSON object.
    pub arguments: String,
}

impl Answer {
    /// The parts of an answer in this format.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn of(text: &str, format: Format) -> Result<Self, OutOfMemory> {
        Self::parsed(text, Parser::new(format))
    }

    /// The parts of an answer. Nothing may have been pushed to the parser before.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn parsed(text: &str, mut parser: Parser) -> Result<Self, OutOfMemory> {
        let mut answer = Self::default();
        let mut result = Ok(());
        let mut take = |event: Event<'_>| result = result.and_then(|()| answer.take(&event, text));
        parser.push(text, &mut take)?;
        parser.finish(&mut take)?;
        result.map(|()| answer)
    }

    /// Adds an event; `text` is the answer so far.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn take(&mut self, event: &Event<'_>, text: &str) -> Result<(), OutOfMemory> {
        match *event {
            Event::Content(content) => append(&mut self.content, content),
            Event::Reasoning(thought) => append(&mut self.reasoning, thought),
            Event::ToolCallBegin { name, .. } => {
                let needed_bytes = size_of::<Call>();
                self.calls.try_reserve(1).map_err(|_| OutOfMemory { needed_bytes })?;
                self.calls.push(Call::default());
                self.calls.last_mut().map_or(Ok(()), |call| append(&mut call.name, name))
            }
            Event::ToolCallArguments(arguments) => {
                self.calls.last_mut().map_or(Ok(()), |call| append(&mut call.arguments, arguments))
            }
            Event::ToolCallEnd => Ok(()),
            Event::ToolCallBroken { start, end } => {
                self.calls.pop();
                append(&mut self.content, text.get(start..end).unwrap_or(""))
            }
        }
    }
}

fn append(text: &mut String, more: &str) -> Result<(), OutOfMemory> {
    let needed_bytes = text.len().saturating_add(more.len());
    text.try_reserve(more.len()).map_err(|_| OutOfMemory { needed_bytes })?;
    text.push_str(more);
    Ok(())
}
