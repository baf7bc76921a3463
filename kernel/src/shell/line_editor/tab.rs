//! The key Tab: completes a word, or lists what it can become.

use super::{BELL, LineEditor, lacking_bytes};
use crate::{console::Console, shell::completion::Completions};

impl LineEditor {
    /// Completes the word before the cursor, or types as much of it as is certain. `complete` is given the line up to the cursor.
    /// If it leaves a choice twice in a row, the candidates are listed.
    pub fn complete(&mut self, complete: &mut dyn FnMut(&[u8]) -> Completions, terminal: &mut dyn Console) {
        self.end_search(terminal);
        if lacking_bytes(self.line.bytes().len()).is_some() {
            terminal.write_bytes(BELL);
            return;
        }
        let completions = complete(&self.line.bytes()[..self.line.cursor()]);
        let had_choice = core::mem::replace(&mut self.has_choice, completions.candidates().len() > 1);
        let mut addition = &*completions.addition();
        let follows_blank = self.line.bytes().get(self.line.cursor()) == Some(&b' ');
        let is_certain = completions.candidates().len() == 1;
        if is_certain
            && follows_blank
            && let Some(rest) = addition.strip_suffix(' ')
        {
            addition = rest;
            self.insert(addition.as_bytes(), terminal);
            self.move_to(self.line.cursor() + 1, terminal);
        } else if !addition.is_empty() {
            self.insert(addition.as_bytes(), terminal);
        } else if self.has_choice && had_choice {
            completions.list(self.view.terminal_columns(), terminal);
            self.redraw(terminal);
        } else {
            terminal.write_bytes(BELL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::typist::Typist;

    #[test]
    fn tab_completes_what_is_certain_and_lists_the_rest() {
        let mut typist = Typist::new();
        assert_eq!(typist.line(b"m\tx\r"), "mem x");
        assert_eq!(typist.line(b"x 'm\t\r"), "x 'mem' ");
        assert_eq!(typist.line(b"a\t\r"), "a\\ very\\ long\\ word\\ with\\ blanks ");
        assert_eq!(
            typist.line(b"m x\x1b[D\x1b[D\ty\r"),
            "mem yx",
            "a blank that is there is not typed again"
        );
        assert_eq!(typist.line(b"frob\t\tx\r"), "frobx");
        assert_eq!(typist.line(b"l\to\t\r"), "log ");
        let shown = |typist: &Typist| typist.screen.text();
        typist.enter(b"l\t");
        assert!(!shown(&typist).contains("\nllm  log\n"), "{}", shown(&typist));
        typist.enter(b"\t");
        assert!(shown(&typist).ends_with("> l\nllm  log\n> l\n"), "{}", shown(&typist));
        // Another key between the two is not the second Tab.
        typist.enter(b"\x05\t");
        assert!(shown(&typist).ends_with("> l\nllm  log\n> l\n"), "{}", shown(&typist));
        assert_eq!(typist.line(b"l\t\r"), "llm ");
    }
}
