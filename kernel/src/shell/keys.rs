//! Decodes the bytes of a terminal into keys.
//!
//! [`KeyDecoder`] knows UTF-8, the control characters and Alt keys of Emacs-like editing, the cursor keys of VT100, xterm, rxvt,
//! PuTTY and the Linux console, the three ways to end a line, bracketed paste, and the report of the cursor position. It swallows
//! unknown sequences whole, so that none of their letters end up in the line.
//!
//! Neighbours: `escape_sequences` finds the sequences.

use super::escape_sequences::{Event, INTERRUPT_BYTE, Parser, Sequence};

/// What a key press asks of the line editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A printable character, or a line feed or tab that was pasted.
    Char(char),
    /// A byte that is not part of valid UTF-8.
    InvalidByte(u8),
    /// Carriage return, line feed, or the pair of them.
    Enter,
    /// Left arrow, Ctrl-B.
    Left,
    /// Right arrow, Ctrl-F.
    Right,
    /// Up arrow, Ctrl-P.
    Up,
    /// Down arrow, Ctrl-N.
    Down,
    /// Home, Ctrl-A.
    Home,
    /// End, Ctrl-E.
    End,
    /// Left arrow with Ctrl or Alt, Alt-B.
    WordLeft,
    /// Right arrow with Ctrl or Alt, Alt-F.
    WordRight,
    /// Backspace, Ctrl-H.
    Backspace,
    /// Delete.
    Delete,
    /// Ctrl-D: deletes a character, or in an empty line ends the input.
    DeleteOrEnd,
    /// Ctrl-U.
    KillToStart,
    /// Ctrl-K.
    KillToEnd,
    /// Ctrl-W: deletes back to the previous space.
    KillWord,
    /// Alt-Backspace: deletes back to the beginning of a word.
    KillWordLeft,
    /// Alt-D, Delete with Ctrl or Alt.
    KillWordRight,
    /// Ctrl-Y.
    Yank,
    /// Alt-U.
    UpperCaseWord,
    /// Alt-L.
    LowerCaseWord,
    /// Alt-C.
    CapitalizeWord,
    /// Tab: completes a word.
    Complete,
    /// Ctrl-R: looks for an earlier line.
    SearchBack,
    /// Ctrl-G, or Esc if nothing follows it: ends a search without a result.
    Abort,
    /// Ctrl-L.
    ClearScreen,
    /// Ctrl-C.
    Interrupt,
    /// The terminal's answer to the query for its cursor position: the column, counted from 1.
    CursorReport {
        /// The column.
        column: u16,
    },
}

/// The most keys that one byte can complete: those of a broken character before it, a press of Esc, and its own.
pub const MAX_KEYS: usize = 5;

/// If the next byte of a paste takes longer than this, the end mark was lost.
const PASTE_TIMEOUT_US: u64 = 2_000_000;

/// Assembles keys from single bytes.
#[derive(Debug)]
pub struct KeyDecoder {
    parser: Parser,
    /// The bytes of a UTF-8 character that is not complete yet.
    partial: [u8; 4],
    partial_len: usize,
    /// The character that has begun was typed with Alt; since no such key is defined, it is ignored.
    partial_has_alt: bool,
    after_carriage_return: bool,
    /// Between the marks of a bracketed paste.
    is_pasting: bool,
    last_byte_us: u64,
}

impl Default for KeyDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyDecoder {
    /// A decoder at the beginning of a key.
    pub const fn new() -> Self {
        Self {
            parser: Parser::new(),
            partial: [0; 4],
            partial_len: 0,
            partial_has_alt: false,
            after_carriage_return: false,
            is_pasting: false,
            last_byte_us: 0,
        }
    }

    /// When [`idle`](Self::idle) must be called unless another byte comes first.
    pub fn idle_us(&self) -> Option<u64> {
        self.parser.escape_until_us()
    }

    /// Emits the press of Esc alone, if `now_us` is so late that it cannot be the beginning of a sequence.
    pub fn idle(&mut self, now_us: u64, mut emit: impl FnMut(Key)) {
        if self.parser.take_escape(now_us) && !self.is_pasting {
            self.flush_partial(&mut emit);
            emit(Key::Abort);
        }
    }

    /// Takes one byte, which arrived at `now_us`, and emits the keys that it completes: often one, rarely several, at most
    /// [`MAX_KEYS`]. If a byte breaks off a UTF-8 character, the bytes before it are emitted first.
    pub fn feed(&mut self, byte: u8, now_us: u64, mut emit: impl FnMut(Key)) {
        self.is_pasting &= now_us.saturating_sub(self.last_byte_us) <= PASTE_TIMEOUT_US;
        self.idle(now_us, &mut emit);
        self.last_byte_us = now_us;
        let after_carriage_return = core::mem::take(&mut self.after_carriage_return);
        let Some(event) = self.parser.feed(byte, now_us) else {
            return;
        };
        if let Event::Text(byte @ 0x80..) = event {
            return self.feed_utf8(byte, emit);
        }
        self.flush_partial(&mut emit);
        let key = match event {
            Event::Control(b'\n') if after_carriage_return => None,
            Event::Control(byte) => {
                self.after_carriage_return = byte == b'\r';
                self.control_key(byte)
            }
            Event::Text(byte) => Some(Key::Char(char::from(byte))),
            Event::Alt(byte @ 0x80..) => {
                self.partial_has_alt = true;
                return self.feed_utf8(byte, emit);
            }
            Event::Sequence(Sequence {
                is_single_shift: false,
                last: b'~',
                parameters: [mark @ (200 | 201), _],
                ..
            }) => {
                self.is_pasting = mark == 200;
                None
            }
            _ if self.is_pasting => None,
            Event::Alt(byte) => alt_key(byte),
            Event::Sequence(sequence) => sequence_key(&sequence),
        };
        if let Some(key) = key {
            emit(key);
        }
    }

    fn control_key(&mut self, byte: u8) -> Option<Key> {
        if self.is_pasting {
            return match byte {
                b'\r' | b'\n' => Some(Key::Char('\n')),
                b'\t' => Some(Key::Char('\t')),
                INTERRUPT_BYTE => {
                    self.is_pasting = false;
                    Some(Key::Interrupt)
                }
                _ => None,
            };
        }
        control_key(byte)
    }

    fn feed_utf8(&mut self, byte: u8, mut emit: impl FnMut(Key)) {
        self.partial[self.partial_len] = byte;
        self.partial_len += 1;
        while self.partial_len > 0 {
            match core::str::from_utf8(&self.partial[..self.partial_len]) {
                Ok(text) => {
                    if !core::mem::take(&mut self.partial_has_alt) {
                        text.chars().for_each(|c| emit(Key::Char(c)));
                    }
                    self.partial_len = 0;
                }
                Err(error) => match error.error_len() {
                    None => return,
                    Some(invalid) => {
                        self.partial_has_alt = false;
                        self.partial[..invalid].iter().for_each(|&byte| emit(Key::InvalidByte(byte)));
                        self.partial.copy_within(invalid..self.partial_len, 0);
                        self.partial_len -= invalid;
                    }
                },
            }
        }
    }

    fn flush_partial(&mut self, emit: &mut impl FnMut(Key)) {
        self.partial[..self.partial_len].iter().for_each(|&byte| emit(Key::InvalidByte(byte)));
        self.partial_len = 0;
        self.partial_has_alt = false;
    }
}

fn control_key(byte: u8) -> Option<Key> {
    Some(match byte {
        0x01 => Key::Home,
        0x02 => Key::Left,
        INTERRUPT_BYTE => Key::Interrupt,
        0x04 => Key::DeleteOrEnd,
        0x05 => Key::End,
        0x06 => Key::Right,
        0x08 | 0x7f => Key::Backspace,
        0x07 => Key::Abort,
        b'\t' => Key::Complete,
        b'\r' | b'\n' => Key::Enter,
        0x0b => Key::KillToEnd,
        0x0c => Key::ClearScreen,
        0x0e => Key::Down,
        0x10 => Key::Up,
        0x12 => Key::SearchBack,
        0x15 => Key::KillToStart,
        0x17 => Key::KillWord,
        0x19 => Key::Yank,
        _ => return None,
    })
}

/// The key for `ESC` and `byte`, as in GNU readline.
fn alt_key(byte: u8) -> Option<Key> {
    Some(match byte.to_ascii_lowercase() {
        b'b' => Key::WordLeft,
        b'f' => Key::WordRight,
        b'd' => Key::KillWordRight,
        0x08 | 0x7f => Key::KillWordLeft,
        b'u' => Key::UpperCaseWord,
        b'l' => Key::LowerCaseWord,
        b'c' => Key::CapitalizeWord,
        _ => return None,
    })
}

/// The key of a sequence. xterm writes `ESC [ 1 ; MODIFIERS D` and `ESC [ KEY ; MODIFIERS ~`, where the modifiers minus one are
/// bits: Shift, Alt, Ctrl. Older terminals leave out the 1, put the modifiers after `ESC O`, or use lower-case letters (rxvt).
fn sequence_key(sequence: &Sequence) -> Option<Key> {
    let &Sequence { is_single_shift, last, parameters, has_alt } = sequence;
    if last == b'R' && !is_single_shift && parameters[1] > 0 {
        return Some(Key::CursorReport { column: parameters[1] });
    }
    let modifiers = match parameters {
        [_, modifiers] if modifiers > 0 || matches!(last, b'~' | b'^' | b'$' | b'@') => modifiers,
        [modifiers, _] => modifiers,
    };
    let by_words = has_alt || modifiers.saturating_sub(1) & 0b110 != 0;
    Some(match (last, parameters[0]) {
        (b'~' | b'$' | b'^' | b'@', 1 | 7) | (b'H', _) => Key::Home,
        (b'~' | b'$' | b'^' | b'@', 4 | 8) | (b'F', _) => Key::End,
        (b'~' | b'$', 3) => {
            if by_words {
                Key::KillWordRight
            } else {
                Key::Delete
            }
        }
        (b'^' | b'@', 3) => Key::KillWordRight,
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => {
            if by_words {
                Key::WordRight
            } else {
                Key::Right
            }
        }
        (b'D', _) => {
            if by_words {
                Key::WordLeft
            } else {
                Key::Left
            }
        }
        (b'c', _) if is_single_shift => Key::WordRight,
        (b'd', _) if is_single_shift => Key::WordLeft,
        (b'c', 0) => Key::Right,
        (b'd', 0) => Key::Left,
        // The keypad in application mode.
        (b'M', 0) if is_single_shift => Key::Enter,
        (b'j'..=b'y', 0) if is_single_shift => Key::Char(char::from(last - 0x40)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = KeyDecoder::new();
        let mut keys = Vec::new();
        for &byte in bytes {
            decoder.feed(byte, 0, |key| keys.push(key));
        }
        keys
    }

    fn chars(text: &str) -> Vec<Key> {
        text.chars().map(Key::Char).collect()
    }

    #[test]
    fn every_line_ending_is_one_enter() {
        assert_eq!(keys(b"\r"), [Key::Enter]);
        assert_eq!(keys(b"\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\n"), [Key::Enter]);
        assert_eq!(keys(b"\n\n\r\r"), [Key::Enter; 4]);
        assert_eq!(keys(b"\ra\n"), [Key::Enter, Key::Char('a'), Key::Enter]);
        assert_eq!(keys(b"\x1b\r\x1b\n\x1bOM"), [Key::Enter; 3]);
    }

    #[test]
    fn the_cursor_keys_of_all_terminals_are_known() {
        for (spellings, key) in [
            (&[&b"\x1b[A"[..], b"\x1bOA", b"\x10", b"\x1b[1;2A"][..], Key::Up),
            (&[b"\x1b[B", b"\x1bOB", b"\x0e", b"\x1b[1;2B"], Key::Down),
            (&[b"\x1b[C", b"\x1bOC", b"\x06", b"\x1b[1;2C", b"\x1b[c"], Key::Right),
            (&[b"\x1b[D", b"\x1bOD", b"\x02", b"\x1b[1;2D", b"\x1b[d"], Key::Left),
            (
                &[
                    b"\x1b[H",
                    b"\x1bOH",
                    b"\x1b[1~",
                    b"\x1b[7~",
                    b"\x1b[7$",
                    b"\x1b[7^",
                    b"\x1b[1;5H",
                    b"\x01",
                ],
                Key::Home,
            ),
            (
                &[
                    b"\x1b[F",
                    b"\x1bOF",
                    b"\x1b[4~",
                    b"\x1b[8~",
                    b"\x1b[8$",
                    b"\x1b[8@",
                    b"\x1b[1;5F",
                    b"\x05",
                ],
                Key::End,
            ),
            (&[b"\x1b[3~", b"\x1b[3;2~", b"\x1b[3$"], Key::Delete),
            (&[b"\x1b[3;5~", b"\x1b[3;3~", b"\x1b[3^", b"\x1bd", b"\x1bD"], Key::KillWordRight),
            (&[b"\x1b\x7f", b"\x1b\x08"], Key::KillWordLeft),
            (
                &[
                    b"\x1b[1;5D",
                    b"\x1b[1;3D",
                    b"\x1b[5D",
                    b"\x1bO5D",
                    b"\x1bO1;5D",
                    b"\x1bOd",
                    b"\x1b\x1b[D",
                    b"\x1b\x1bOD",
                    b"\x1bb",
                    b"\x1bB",
                ],
                Key::WordLeft,
            ),
            (
                &[
                    b"\x1b[1;5C",
                    b"\x1b[1;3C",
                    b"\x1b[5C",
                    b"\x1bO5C",
                    b"\x1bO1;5C",
                    b"\x1bOc",
                    b"\x1b\x1b[C",
                    b"\x1b\x1bOC",
                    b"\x1bf",
                    b"\x1bF",
                ],
                Key::WordRight,
            ),
        ] {
            for spelling in spellings {
                assert_eq!(keys(&[spelling, &b"x"[..]].concat()), [key, Key::Char('x')], "{spelling:?}");
            }
        }
        assert_eq!(keys(b"\x1bOp\x1bOy\x1bOk"), chars("09+"));
    }

    #[test]
    fn unknown_keys_and_reports_leave_nothing_behind() {
        for silent in [
            &b"\x1b[?25h"[..],
            b"\x1bq",
            b"\x1b.",
            b"\x1b/",
            b"\x1b ",
            b"\x1b5",
            b"\x1b\xc3\xa9",
            b"\x1b[99999999999999~",
            b"\x1b[2~",
            b"\x1b[5~",
            b"\x1b[15;5~",
            b"\x1bOP",
            b"\x1b[[E",
            b"\x1b[Z",
            b"\x1b[M !!",
            b"\x1b[<0;1;1M",
            b"\x1b]0;title\x07",
            b"\x1bP>|xterm(370)\x1b\\",
            b"\0",
            b"\x1d",
        ] {
            assert_eq!(keys(&[silent, b"x"].concat()), chars("x"), "{silent:?}");
        }
    }

    #[test]
    fn return_ctrl_c_and_backspace_get_through_after_escape() {
        assert_eq!(keys(b"\x1b\x03"), [Key::Interrupt]);
        assert_eq!(keys(b"\x1b[\x03"), [Key::Interrupt]);
        assert_eq!(keys(b"\x1b]0;x\x03"), [Key::Interrupt]);
        assert_eq!(keys(b"\x1b[1\r"), [Key::Enter]);
        assert_eq!(keys(b"\x1b[\x08C"), [Key::Backspace, Key::Right]);
    }

    #[test]
    fn a_late_key_after_escape_is_that_key() {
        let mut decoder = KeyDecoder::new();
        let mut keys = Vec::new();
        for (byte, now_us) in [(0x1b, 0), (b'b', 600_000), (0x1b, 700_000), (b'b', 710_000)] {
            decoder.feed(byte, now_us, |key| keys.push(key));
        }
        assert_eq!(keys, [Key::Abort, Key::Char('b'), Key::WordLeft]);
    }

    #[test]
    fn escape_alone_is_a_key_once_nothing_follows() {
        let mut decoder = KeyDecoder::new();
        let mut keys = Vec::new();
        decoder.feed(0x1b, 1000, |key| keys.push(key));
        let until_us = decoder.idle_us().expect("it may have been Esc");
        decoder.idle(until_us, |key| keys.push(key));
        assert_eq!(keys, []);
        decoder.idle(until_us + 1, |key| keys.push(key));
        decoder.idle(until_us + 2, |key| keys.push(key));
        assert_eq!((&keys[..], decoder.idle_us()), (&[Key::Abort][..], None));
        // The key after it is another.
        decoder.feed(b'[', until_us + 3, |key| keys.push(key));
        assert_eq!(keys, [Key::Abort, Key::Char('[')]);
    }

    #[test]
    fn tab_and_the_keys_of_a_search_are_known_and_no_keys_in_a_paste() {
        assert_eq!(keys(b"\t\x12\x07"), [Key::Complete, Key::SearchBack, Key::Abort]);
        assert_eq!(keys(b"\x1b[200~\t\x12\x07\x1b[201~"), chars("\t"));
    }

    #[test]
    fn a_paste_keeps_its_lines_and_presses_no_keys() {
        let pasted = keys(b"\x1b[200~a\r\nb\tc\rd\n\x04\x15\x1b[A\x1bbe\x1b[201~\r");
        let mut expected = chars("a\nb\tc\nd\ne");
        expected.push(Key::Enter);
        assert_eq!(pasted, expected);
        assert_eq!(keys(b"\x1b[200~a\x03\r"), [Key::Char('a'), Key::Interrupt, Key::Enter]);
        let mut decoder = KeyDecoder::new();
        let mut late = Vec::new();
        b"\x1b[200~a\r".iter().for_each(|&byte| decoder.feed(byte, 0, |key| late.push(key)));
        decoder.feed(b'\r', PASTE_TIMEOUT_US + 1, |key| late.push(key));
        assert_eq!(late, [Key::Char('a'), Key::Char('\n'), Key::Enter], "a paste without an end");
    }

    #[test]
    fn the_place_of_the_cursor_is_a_report() {
        assert_eq!(
            keys(b"a\x1b[24;132Rb"),
            [Key::Char('a'), Key::CursorReport { column: 132 }, Key::Char('b')]
        );
        assert_eq!(keys(b"\x1b[R\x1bOR"), [], "F3");
    }

    #[test]
    fn characters_of_every_length_arrive_whole() {
        assert_eq!(keys("aé€😀".as_bytes()), ['a', 'é', '€', '😀'].map(Key::Char));
    }

    #[test]
    fn broken_utf8_comes_out_byte_by_byte_in_order() {
        use Key::{Char, InvalidByte};
        assert_eq!(keys(b"\xffx"), [InvalidByte(0xff), Char('x')]);
        assert_eq!(keys(b"\xe2\x82x"), [InvalidByte(0xe2), InvalidByte(0x82), Char('x')]);
        assert_eq!(keys(b"\xf0\x9f\xc3\xa9"), [InvalidByte(0xf0), InvalidByte(0x9f), Char('é')]);
        assert_eq!(keys(b"\xe2\x82\r"), [InvalidByte(0xe2), InvalidByte(0x82), Key::Enter]);
        assert_eq!(keys(b"\xe2\x82\x1b[D"), [InvalidByte(0xe2), InvalidByte(0x82), Key::Left]);
    }
}
