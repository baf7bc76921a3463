//! [`Typist`]: types into a line editor at a simulated screen, for tests.

use std::{string::String, vec::Vec};

use unicode_width::UnicodeWidthStr;

use super::{Entered, LineEditor};
use crate::shell::{
    completion::Completions,
    keys::{Key, KeyDecoder},
    screen::Screen,
    words::unfinished,
};

const PROMPT: &str = "> ";

/// Types on a screen, and checks after each key that the screen shows the line.
pub struct Typist {
    pub editor: LineEditor,
    decoder: KeyDecoder,
    pub screen: Screen,
    pub columns: usize,
    has_begun: bool,
}

impl Typist {
    /// At a screen of 80 columns.
    pub fn new() -> Self {
        Self::on(80)
    }

    /// At a screen of this width.
    pub fn on(columns: usize) -> Self {
        let (editor, decoder) = (LineEditor::new(), KeyDecoder::new());
        Typist { editor, decoder, screen: Screen::new(columns, 24), columns, has_begun: false }
    }

    /// Types bytes, of which only the last may end the line.
    pub fn enter(&mut self, bytes: &[u8]) -> Option<Entered> {
        if !core::mem::replace(&mut self.has_begun, true) {
            self.editor.begin(PROMPT, self.columns, &mut self.screen);
        }
        let mut entered = None;
        for &byte in bytes {
            let mut keys = Vec::new();
            self.decoder.feed(byte, 0, |key| keys.push(key));
            for key in keys {
                assert_eq!(entered, None, "keys after the end of the line");
                let row = self.screen.cursor().1;
                match key {
                    Key::Complete => self.editor.complete(&mut complete, &mut self.screen),
                    _ => entered = self.editor.press(key, &mut self.screen),
                }
                if entered.is_none() {
                    if !matches!(key, Key::ClearScreen | Key::Complete) {
                        assert_eq!(self.screen.cursor().1, row, "the line left its row");
                    }
                    self.check_screen();
                }
            }
        }
        if let Some(Entered::Line(line)) = &entered {
            self.editor.remember(line);
        }
        self.has_begun = entered.is_none();
        entered
    }

    /// Checks that the row shows a part of the line that contains the cursor, and nothing else.
    pub fn check_screen(&self) {
        let Self { editor: LineEditor { line, view, .. }, screen, .. } = self;
        // Draw the whole line on a separate, wide enough screen, to get its visible form.
        let mut wide = Screen::new(2 * line.bytes().len() + 2, 1);
        let mut at = 0;
        let mut cursor = 0;
        while at < line.bytes().len() {
            let glyph = line.next_glyph(at);
            at = glyph.end;
            line.write_glyph(glyph, &mut wide);
            if at <= line.cursor() {
                cursor = wide.cursor().0;
            }
        }
        let whole = wide.row(0);
        let shown = screen.row(screen.cursor().1);
        let (prompt, shown) = shown.split_at(view.shown_prompt().width());
        let prompt_text: String = prompt.iter().filter(|&&c| c != '\0').collect();
        assert!(prompt_text.contains(view.shown_prompt().trim_end()), "{prompt_text:?}");
        let offset = screen.cursor().0 - prompt.len();
        let start = cursor.checked_sub(offset).expect("the cursor is before the line");
        let text_columns = view.text_columns();
        for column in 0..text_columns {
            let expected = whole.get(start + column).copied().unwrap_or(' ');
            let is_cut = expected == '\0' || whole.get(start + column + 1) == Some(&'\0');
            let is_edge = column + 1 == text_columns && is_cut;
            assert!(shown[column] == expected || is_edge && shown[column] == ' ', "{shown:?} of {whole:?}");
        }
        assert!(shown[text_columns..].iter().all(|&c| c == ' '), "something is in the last column");
    }

    /// Types bytes that enter a line of text, and returns it.
    pub fn line(&mut self, bytes: &[u8]) -> String {
        match self.enter(bytes) {
            Some(Entered::Line(line)) => String::from_utf8(line).unwrap(),
            other => panic!("no line, but {other:?}"),
        }
    }
}

/// Completes as a shell with a handful of words does.
fn complete(before: &[u8]) -> Completions {
    let Some(unfinished) = unfinished(before) else { return Completions::of_text(b"\0") };
    let mut completions = Completions::of(unfinished);
    for word in ["llm", "log", "mem", "a very long word with blanks"] {
        completions.offer(word);
    }
    completions
}
