//! From the bytes of a terminal to keys.
//!
//! [`KeyDecoder`] knows UTF-8, the control characters of Emacs-like editing, the escape sequences
//! that VT100 and xterm send (ECMA-48 `CSI` and `SS3`) and the three ways to end a line. What it does not
//! know, it swallows whole, so that no stray letter of an unknown sequence ends up in the line.

/// What a key press asks of the line editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A printable character.
    Char(char),
    /// A byte that is no part of valid UTF-8.
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
    /// Backspace, Ctrl-H.
    Backspace,
    /// Delete, Ctrl-D.
    Delete,
    /// Ctrl-U.
    KillToStart,
    /// Ctrl-K.
    KillToEnd,
    /// Ctrl-W.
    KillWord,
    /// Ctrl-L.
    ClearScreen,
    /// Ctrl-C.
    Interrupt,
}

/// Ctrl-C, as a terminal in raw mode sends it.
pub const INTERRUPT_BYTE: u8 = 0x03;

const ESCAPE: u8 = 0x1b;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// After ESC.
    Escape,
    /// After `ESC [`; the first parameter so far.
    ControlSequence {
        parameter: u16,
    },
    /// After `ESC O`.
    SingleShift,
}

/// Assembles keys out of single bytes.
#[derive(Debug)]
pub struct KeyDecoder {
    state: State,
    /// The beginning of a UTF-8 character.
    partial: [u8; 4],
    partial_len: usize,
    after_carriage_return: bool,
}

impl KeyDecoder {
    /// A decoder at the beginning of a key.
    pub const fn new() -> Self {
        Self { state: State::Text, partial: [0; 4], partial_len: 0, after_carriage_return: false }
    }

    /// Takes one byte and passes on the keys that it completes, often one, rarely several: a byte
    /// that breaks off a UTF-8 character first lets out the bytes before it.
    pub fn feed(&mut self, byte: u8, mut emit: impl FnMut(Key)) {
        let after_carriage_return = core::mem::take(&mut self.after_carriage_return);
        match self.state {
            State::Text if byte >= 0x80 => self.feed_utf8(byte, emit),
            State::Text => {
                self.flush_partial(&mut emit);
                match byte {
                    b'\n' if after_carriage_return => {}
                    ESCAPE => self.state = State::Escape,
                    _ => {
                        self.after_carriage_return = byte == b'\r';
                        if let Some(key) = control_or_ascii(byte) {
                            emit(key);
                        }
                    }
                }
            }
            State::Escape => {
                self.state = match byte {
                    b'[' => State::ControlSequence { parameter: 0 },
                    b'O' => State::SingleShift,
                    ESCAPE => State::Escape,
                    _ => State::Text,
                };
            }
            State::SingleShift => {
                self.state = State::Text;
                if let Some(key) = cursor_key(byte) {
                    emit(key);
                }
            }
            State::ControlSequence { parameter } => match byte {
                b'0'..=b'9' => {
                    let parameter = parameter.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
                    self.state = State::ControlSequence { parameter };
                }
                // Further parameters and intermediate bytes carry modifiers, which change nothing here.
                0x20..=0x3f => {}
                _ => {
                    self.state = State::Text;
                    let key = match (byte, parameter) {
                        (b'~', 1 | 7) => Some(Key::Home),
                        (b'~', 4 | 8) => Some(Key::End),
                        (b'~', 3) => Some(Key::Delete),
                        _ => cursor_key(byte),
                    };
                    if let Some(key) = key {
                        emit(key);
                    }
                }
            },
        }
    }

    fn feed_utf8(&mut self, byte: u8, mut emit: impl FnMut(Key)) {
        self.partial[self.partial_len] = byte;
        self.partial_len += 1;
        while self.partial_len > 0 {
            match core::str::from_utf8(&self.partial[..self.partial_len]) {
                Ok(text) => {
                    text.chars().for_each(|c| emit(Key::Char(c)));
                    self.partial_len = 0;
                }
                Err(error) => match error.error_len() {
                    None => return,
                    Some(invalid) => {
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
    }
}

fn control_or_ascii(byte: u8) -> Option<Key> {
    Some(match byte {
        0x01 => Key::Home,
        0x02 => Key::Left,
        INTERRUPT_BYTE => Key::Interrupt,
        0x04 => Key::Delete,
        0x05 => Key::End,
        0x06 => Key::Right,
        0x08 | 0x7f => Key::Backspace,
        b'\t' => Key::Char(' '),
        b'\r' | b'\n' => Key::Enter,
        0x0b => Key::KillToEnd,
        0x0c => Key::ClearScreen,
        0x0e => Key::Down,
        0x10 => Key::Up,
        0x15 => Key::KillToStart,
        0x17 => Key::KillWord,
        0x20..=0x7e => Key::Char(char::from(byte)),
        _ => return None,
    })
}

fn cursor_key(byte: u8) -> Option<Key> {
    Some(match byte {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'F' => Key::End,
        b'H' => Key::Home,
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
            decoder.feed(byte, |key| keys.push(key));
        }
        keys
    }

    #[test]
    fn every_line_ending_is_one_enter() {
        assert_eq!(keys(b"\r"), [Key::Enter]);
        assert_eq!(keys(b"\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\n"), [Key::Enter]);
        assert_eq!(keys(b"\n\n\r\r"), [Key::Enter; 4]);
        assert_eq!(keys(b"\ra\n"), [Key::Enter, Key::Char('a'), Key::Enter]);
    }

    #[test]
    fn both_spellings_of_the_cursor_keys_are_known() {
        assert_eq!(
            keys(b"\x1b[A\x1b[B\x1b[C\x1b[D\x1b[H\x1b[F"),
            [Key::Up, Key::Down, Key::Right, Key::Left, Key::Home, Key::End]
        );
        assert_eq!(
            keys(b"\x1bOA\x1bOB\x1bOC\x1bOD\x1bOH\x1bOF"),
            [Key::Up, Key::Down, Key::Right, Key::Left, Key::Home, Key::End]
        );
        assert_eq!(
            keys(b"\x1b[1~\x1b[7~\x1b[4~\x1b[8~\x1b[3~"),
            [Key::Home, Key::Home, Key::End, Key::End, Key::Delete]
        );
    }

    #[test]
    fn a_sequence_with_modifiers_acts_like_the_plain_key() {
        assert_eq!(keys(b"\x1b[1;5D"), [Key::Left]);
    }

    #[test]
    fn unknown_sequences_leave_nothing_behind() {
        assert_eq!(keys(b"\x1b[200~x"), [Key::Char('x')]);
        assert_eq!(keys(b"\x1b[?25hx"), [Key::Char('x')]);
        assert_eq!(keys(b"\x1bqx"), [Key::Char('x')]);
        assert_eq!(keys(b"\x1b[99999999999999~x"), [Key::Char('x')]);
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
    }
}
