//! A terminal for tests: a grid of cells that obeys the shell's control sequences, and wraps and scrolls like a VT100.

use std::{collections::VecDeque, string::String, vec, vec::Vec};

use unicode_width::UnicodeWidthChar;

use crate::console::{Background, Console};

/// A screen; the second cell of a wide character contains `'\0'`.
#[derive(Debug)]
pub struct Screen {
    rows: Vec<Vec<char>>,
    column: usize,
    row: usize,
    /// Whether text continues in the next row.
    wraps: bool,
    /// The last column has been written; the next character goes to the next row.
    wraps_next: bool,
    escape: Option<String>,
    /// What the terminal has sent on its own.
    replies: VecDeque<u8>,
    /// Whether it answers queries for its cursor position.
    answers: bool,
    /// How often it was queried.
    pub n_asked: usize,
    /// Whether it was told to mark pasted text.
    pub marks_pastes: bool,
}

impl Screen {
    pub fn new(columns: usize, rows: usize) -> Self {
        Screen {
            rows: vec![vec![' '; columns]; rows],
            column: 0,
            row: 0,
            wraps: true,
            wraps_next: false,
            escape: None,
            replies: VecDeque::new(),
            answers: true,
            n_asked: 0,
            marks_pastes: false,
        }
    }

    /// A screen that does not report its cursor position.
    pub fn silent(columns: usize) -> Self {
        Screen { answers: false, ..Self::new(columns, 10) }
    }

    /// Column and row of the cursor, counted from 0.
    pub fn cursor(&self) -> (usize, usize) {
        (self.column, self.row)
    }

    /// Whether text that reaches the right edge continues in the next row.
    pub fn wraps(&self) -> bool {
        self.wraps
    }

    pub fn row(&self, row: usize) -> &[char] {
        &self.rows[row]
    }

    /// The rows down to the cursor's row, without trailing spaces.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows[..=self.row] {
            let row: String = row.iter().filter(|&&c| c != '\0').collect();
            text += row.trim_end();
            text.push('\n');
        }
        text
    }

    fn line_feed(&mut self) {
        if self.row + 1 < self.rows.len() {
            self.row += 1;
        } else {
            let columns = self.rows[0].len();
            self.rows.remove(0);
            self.rows.push(vec![' '; columns]);
        }
    }

    fn put(&mut self, c: char) {
        if let Some(escape) = &mut self.escape {
            escape.push(c);
            if c.is_ascii_alphabetic() {
                let escape = self.escape.take().unwrap();
                self.obey(&escape);
            }
            return;
        }
        match c {
            '\x1b' => self.escape = Some(String::new()),
            '\r' => (self.column, self.wraps_next) = (0, false),
            '\n' => {
                (self.column, self.wraps_next) = (0, false);
                self.line_feed();
            }
            '\x07' => {}
            _ => self.put_printable(c),
        }
    }

    fn put_printable(&mut self, c: char) {
        let width = c.width().expect("no control character");
        let columns = self.rows[0].len();
        if width == 0 {
            return;
        }
        if !self.wraps {
            self.column = self.column.min(columns - width);
        } else if self.wraps_next || self.column + width > columns {
            (self.column, self.wraps_next) = (0, false);
            self.line_feed();
        }
        for cell in 0..width {
            self.rows[self.row][self.column + cell] = if cell == 0 { c } else { '\0' };
        }
        self.column += width;
        if self.column == columns {
            self.column -= 1;
            self.wraps_next = self.wraps;
        }
    }

    fn obey(&mut self, escape: &str) {
        let last_column = self.rows[0].len() - 1;
        self.wraps_next = false;
        match escape {
            "[K" => self.rows[self.row][self.column..].fill(' '),
            "[H" => (self.column, self.row) = (0, 0),
            "[2J" => self.rows.iter_mut().for_each(|row| row.fill(' ')),
            "[6n" => {
                self.n_asked += 1;
                if self.answers {
                    let reply = std::format!("\x1b[{};{}R", self.row + 1, self.column + 1);
                    self.replies.extend(reply.bytes());
                }
            }
            "[m" | "[2m" | "[31m" | "[32m" => {}
            "[?7h" => self.wraps = true,
            "[?7l" => self.wraps = false,
            "[?2004h" => self.marks_pastes = true,
            "[?2004l" => self.marks_pastes = false,
            _ => {
                let columns = escape.strip_prefix('[').and_then(|e| e.strip_suffix('C'));
                let columns: usize = columns.unwrap_or_else(|| panic!("{escape:?}")).parse().unwrap();
                self.column = (self.column + columns).min(last_column);
            }
        }
    }
}

impl Console for Screen {
    fn read_byte(&mut self) -> Option<u8> {
        self.replies.pop_front()
    }

    fn wait_for_byte(&mut self, _: &mut Background<'_>) -> Option<u8> {
        self.read_byte()
    }

    fn write_bytes(&mut self, bytes: &[u8]) {
        std::str::from_utf8(bytes).unwrap().chars().for_each(|c| self.put(c));
    }
}
