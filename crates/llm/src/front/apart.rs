//! [`Apart`] shows an answer whose parts are told apart.

use super::Event;
use crate::chat::Part;

/// Shows the content of an answer. On a terminal it also shows the thoughts, under a line that says that they are
/// thoughts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Apart {
    /// Whether thoughts are shown.
    shows_thoughts: bool,
    in_thought: bool,
    in_call: bool,
}

impl Apart {
    /// Shows answers with or without thoughts.
    pub fn new(shows_thoughts: bool) -> Self {
        Self { shows_thoughts, ..Self::default() }
    }

    /// Shows the text of an event, in pieces.
    pub fn show(&mut self, event: &Event<'_>, out: &mut dyn FnMut(&str)) {
        let Event::Part(part) = event else { return };
        match *part {
            Part::Reasoning(_) if !self.shows_thoughts => {}
            Part::Reasoning(text) => {
                if !core::mem::replace(&mut self.in_thought, true) {
                    out("[thinking]\n");
                }
                out(text);
            }
            Part::Content(text) => {
                if core::mem::take(&mut self.in_thought) {
                    out("\n[answer]\n");
                }
                out(text);
            }
            // Some models call tools even though the request names none.
            Part::ToolCallBegin { name, .. } => {
                self.in_call = true;
                self.in_thought = false;
                out("\n[calls ");
                out(name);
                out(" ");
            }
            Part::ToolCallArguments(text) => out(text),
            Part::ToolCallEnd | Part::ToolCallBroken { .. } => {
                if core::mem::take(&mut self.in_call) {
                    out("]\n");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn thoughts_are_shown_under_a_line_or_not_at_all() {
        let parts = [
            Part::Reasoning("Hm"),
            Part::Reasoning("."),
            Part::Content("Fo"),
            Part::Content("ur."),
            Part::ToolCallBegin { index: 0, name: "f" },
            Part::ToolCallArguments("{}"),
            Part::ToolCallEnd,
        ];
        let shown = |shows_thoughts| {
            let (mut apart, mut shown) = (Apart::new(shows_thoughts), String::new());
            parts.iter().for_each(|&part| apart.show(&Event::Part(part), &mut |text| shown += text));
            shown
        };
        assert_eq!(shown(true), "[thinking]\nHm.\n[answer]\nFour.\n[calls f {}]\n");
        assert_eq!(shown(false), "Four.\n[calls f {}]\n");
    }
}
