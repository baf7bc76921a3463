//! Splits the bytes of a terminal into characters, control characters and escape sequences.
//!
//! [`Parser`] is a state machine like the VT500's (ECMA-48, and Paul Williams' table of the states), but for what a terminal
//! *sends*: key presses and reports. Because people type this input, it differs from a parser for what a terminal receives. An
//! escape character begins a sequence only if the rest follows soon, so that pressing Esc does no harm. Ctrl-C always takes
//! effect at once, and Return does everywhere except in a control string.
//!
//! Neighbours: [`keys`](super::keys) gives the events a meaning.

/// A sequence is abandoned if its next byte takes longer than this: either somebody pressed Esc, or a report was cut off. GNU
/// readline's default is the same.
const SEQUENCE_TIMEOUT_US: u64 = 500_000;
/// Longest control sequence; xterm's longest report has about 30 bytes.
const MAX_SEQUENCE_BYTES: usize = 128;
/// Longest control string; it may contain the clipboard.
const MAX_STRING_BYTES: usize = 64 * 1024;

const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// Ctrl-C, as a terminal in raw mode sends it.
pub const INTERRUPT_BYTE: u8 = 0x03;

/// What a byte completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A byte of text: a printable ASCII character, or a byte of at least 0x80.
    Text(u8),
    /// A control character (C0, DEL), alone or within a sequence.
    Control(u8),
    /// A byte typed with Alt: `ESC` followed by the byte, which is at least 0x20 or Backspace. If it is at least 0x80, it is the
    /// first byte of a UTF-8 character, whose other bytes follow as text.
    Alt(u8),
    /// A control sequence, `ESC [ ...`, or a key sent as a single shift, `ESC O ...`.
    Sequence(Sequence),
}

/// A control sequence or single shift (ECMA-48, 5.4 and 8.3.143).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// True for `ESC O`, false for `ESC [`.
    pub is_single_shift: bool,
    /// The final byte.
    pub last: u8,
    /// The first two parameters; 0 if absent.
    pub parameters: [u16; 2],
    /// Whether another escape character came first, which is how some terminals send Alt.
    pub has_alt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    /// After ESC; after two of them, Alt is held.
    Escape {
        has_alt: bool,
    },
    /// After `ESC [` or `ESC O`.
    Sequence,
    /// After `ESC [ [`, which begins the function keys of the Linux console: one byte follows.
    ConsoleFunction,
    /// After `ESC (` and similar ones, which designate character sets: one byte follows.
    Designation,
    /// After `ESC [ M`: three bytes follow, with the mouse's button, column and row.
    Mouse {
        n_left: usize,
    },
    /// In a control string: DCS, OSC, APC, PM or SOS.
    ControlString {
        after_escape: bool,
    },
}

/// Parses the bytes that a terminal sends.
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// The control sequence so far, without its final byte.
    sequence: Sequence,
    n_parameters: usize,
    /// Whether there were private marks (`<`, `=`, `>`, `?`) or intermediate bytes, which no known key has.
    is_extended: bool,
    /// Bytes of the sequence or string so far.
    n_bytes: usize,
    last_byte_us: u64,
}

impl Parser {
    /// A parser outside of any sequence.
    pub const fn new() -> Self {
        let sequence = Sequence { is_single_shift: false, last: 0, parameters: [0; 2], has_alt: false };
        Self {
            state: State::Ground,
            sequence,
            n_parameters: 0,
            is_extended: false,
            n_bytes: 0,
            last_byte_us: 0,
        }
    }

    /// Takes one byte, which arrived at `now_us`.
    pub fn feed(&mut self, byte: u8, now_us: u64) -> Option<Event> {
        if now_us.saturating_sub(self.last_byte_us) > SEQUENCE_TIMEOUT_US {
            self.state = State::Ground;
        }
        self.last_byte_us = now_us;
        self.n_bytes += 1;
        if let State::ControlString { after_escape } = self.state {
            return self.feed_string(byte, after_escape);
        }
        match byte {
            ESCAPE => {
                let has_alt = matches!(self.state, State::Escape { .. });
                self.state = State::Escape { has_alt };
                None
            }
            CANCEL | SUBSTITUTE => {
                self.state = State::Ground;
                None
            }
            BACKSPACE | DELETE if matches!(self.state, State::Escape { .. }) => {
                self.state = State::Ground;
                Some(Event::Alt(byte))
            }
            0..0x20 | DELETE => {
                // The line ends here, so an unfinished sequence must not continue in the next line.
                let ends = matches!(byte, INTERRUPT_BYTE | b'\r' | b'\n');
                if ends || matches!(self.state, State::Escape { .. }) {
                    self.state = State::Ground;
                }
                Some(Event::Control(byte))
            }
            _ => self.feed_printable(byte),
        }
    }

    /// When a lone press of Esc is known to be one, if it may have been pressed: nothing has followed until then.
    pub fn escape_until_us(&self) -> Option<u64> {
        let is_escape = matches!(self.state, State::Escape { .. });
        is_escape.then(|| self.last_byte_us.saturating_add(SEQUENCE_TIMEOUT_US))
    }

    /// Whether Esc alone was pressed, and nothing has followed up to `now_us`. It is told once.
    pub fn take_escape(&mut self, now_us: u64) -> bool {
        let is_pressed = self.escape_until_us().is_some_and(|until_us| now_us > until_us);
        if is_pressed {
            self.state = State::Ground;
        }
        is_pressed
    }

    fn feed_printable(&mut self, byte: u8) -> Option<Event> {
        match self.state {
            State::Ground => Some(Event::Text(byte)),
            State::Escape { has_alt } => self.feed_escape(byte, has_alt),
            State::Sequence => self.feed_sequence(byte),
            State::ConsoleFunction | State::Designation => {
                self.state = State::Ground;
                (byte >= 0x80).then_some(Event::Text(byte))
            }
            State::Mouse { n_left } => {
                self.state = if n_left > 1 { State::Mouse { n_left: n_left - 1 } } else { State::Ground };
                None
            }
            State::ControlString { .. } => unreachable!("strings are fed elsewhere"),
        }
    }

    fn feed_escape(&mut self, byte: u8, has_alt: bool) -> Option<Event> {
        self.n_bytes = 0;
        self.state = match byte {
            b'[' | b'O' => {
                let is_single_shift = byte == b'O';
                self.sequence = Sequence { is_single_shift, last: 0, parameters: [0; 2], has_alt };
                self.n_parameters = 0;
                self.is_extended = false;
                State::Sequence
            }
            b'P' | b']' | b'X' | b'^' | b'_' => State::ControlString { after_escape: false },
            // A terminal sends no other intermediate bytes, but people press Alt with a full stop.
            b'(' | b')' | b'*' | b'+' | b'#' | b'%' => State::Designation,
            _ => {
                self.state = State::Ground;
                return Some(Event::Alt(byte));
            }
        };
        None
    }

    fn feed_sequence(&mut self, byte: u8) -> Option<Event> {
        let is_single_shift = self.sequence.is_single_shift;
        match byte {
            b'0'..=b'9' | b';' | b':' => self.feed_parameter(byte),
            // rxvt's keys with Shift; for other terminals this is an intermediate byte.
            b'$' if self.n_parameters == 1 && !self.is_extended && !is_single_shift => {
                return self.end_sequence(byte);
            }
            b'[' if self.n_bytes == 1 && !is_single_shift => self.state = State::ConsoleFunction,
            0x20..=0x3f => self.is_extended = true,
            b'M' if self.n_bytes == 1 && !is_single_shift => self.state = State::Mouse { n_left: 3 },
            0x40..=0x7e => return self.end_sequence(byte),
            _ => {
                self.state = State::Ground;
                return Some(Event::Text(byte));
            }
        }
        if self.n_bytes > MAX_SEQUENCE_BYTES {
            self.state = State::Ground;
        }
        None
    }

    fn feed_parameter(&mut self, byte: u8) {
        self.n_parameters = self.n_parameters.max(1);
        if !byte.is_ascii_digit() {
            self.n_parameters += 1;
        } else if let Some(parameter) = self.sequence.parameters.get_mut(self.n_parameters - 1) {
            *parameter = parameter.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
        }
    }

    fn end_sequence(&mut self, last: u8) -> Option<Event> {
        self.state = State::Ground;
        self.sequence.last = last;
        (!self.is_extended).then_some(Event::Sequence(self.sequence))
    }

    /// Swallows everything up to BEL or ST (`ESC \`), including line ends, which ECMA-48 allows in strings.
    fn feed_string(&mut self, byte: u8, after_escape: bool) -> Option<Event> {
        self.state = State::ControlString { after_escape: false };
        match byte {
            INTERRUPT_BYTE => {
                self.state = State::Ground;
                return Some(Event::Control(byte));
            }
            BELL | CANCEL | SUBSTITUTE => self.state = State::Ground,
            ESCAPE => self.state = State::ControlString { after_escape: true },
            b'\\' if after_escape => self.state = State::Ground,
            _ if after_escape => {
                self.state = State::Escape { has_alt: false };
                return self.feed(byte, self.last_byte_us);
            }
            _ if self.n_bytes > MAX_STRING_BYTES => self.state = State::Ground,
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    /// The events for bytes that arrive all at once.
    fn events(bytes: &[u8]) -> Vec<Event> {
        let mut parser = Parser::new();
        bytes.iter().filter_map(|&byte| parser.feed(byte, 0)).collect()
    }

    fn text(bytes: &[u8]) -> Vec<Event> {
        bytes.iter().map(|&byte| Event::Text(byte)).collect()
    }

    #[test]
    fn control_characters_are_obeyed_within_sequences() {
        let left = |parameters, has_alt| {
            Event::Sequence(Sequence { is_single_shift: false, last: b'D', parameters, has_alt })
        };
        assert_eq!(events(b"\x1b[1;\x085D"), [Event::Control(8), left([1, 5], false)]);
        assert_eq!(events(b"\x1b[1;\x7f5D"), [Event::Control(0x7f), left([1, 5], false)]);
        for end in [b'\r', b'\n', INTERRUPT_BYTE] {
            for beginning in
                [&b"\x1b"[..], b"\x1b[", b"\x1b[1;", b"\x1bO", b"\x1b[[", b"\x1b[M", b"\x1b[M!", b"\x1b("]
            {
                let expected = [Event::Control(end), Event::Text(b'A')];
                assert_eq!(events(&[beginning, &[end, b'A']].concat()), expected, "{beginning:?} {end}");
            }
        }
        assert_eq!(events(b"\x1b]0;t\x03a"), [Event::Control(3), Event::Text(b'a')]);
        assert_eq!(events(b"\x1b[1\x1b[D"), [left([0, 0], false)]);
        assert_eq!(events(b"\x1b\x1b[D"), [left([0, 0], true)]);
        for abort in [CANCEL, SUBSTITUTE] {
            for beginning in [&b"\x1b"[..], b"\x1b[1", b"\x1bO", b"\x1b]0;", b"\x1bP", b"\x1b[M"] {
                assert_eq!(events(&[beginning, &[abort], b"D"].concat()), text(b"D"), "{beginning:?}");
            }
        }
    }

    #[test]
    fn strings_are_swallowed_up_to_their_end() {
        for introducer in [b'P', b']', b'X', b'^', b'_'] {
            for end in [&b"\x07"[..], b"\x1b\\"] {
                let string = [&[ESCAPE, introducer], "0;a [;\rb\n\té”".as_bytes(), end, b"x"].concat();
                assert_eq!(events(&string), text(b"x"), "{string:?}");
            }
            let aborted = [&[ESCAPE, introducer], &b"ab\x1b[12~x"[..]].concat();
            assert_eq!(events(&aborted).len(), 2);
        }
        let endless = [&b"\x1b]"[..], &vec![b'x'; MAX_STRING_BYTES + 10]].concat();
        assert!((1..=10).contains(&events(&endless).len()));
        let endless = [&b"\x1b["[..], &[b'1'; MAX_SEQUENCE_BYTES + 10]].concat();
        assert!((1..=10).contains(&events(&endless).len()));
    }

    #[test]
    fn reports_and_keys_leave_nothing_behind() {
        let silent: [&[u8]; 12] = [
            b"\x1b[[A",
            b"\x1b[M !!",
            b"\x1b[M\xff\xff\xff",
            b"\x1b[<0;10;12M",
            b"\x1b[?1;2c",
            b"\x1b[?25;1$y",
            b"\x1b[>0;276;0c",
            b"\x1b(B",
            b"\x1b#8",
            b"\x1b]11;rgb:0000/0000/0000\x1b\\",
            b"\x1bP1$r0m\x1b\\",
            b"\x1b_Gi=1;OK\x1b\\",
        ];
        for sequence in silent {
            assert_eq!(events(&[sequence, b"x"].concat()), text(b"x"), "{sequence:?}");
        }
        for sequence in
            [&b"\x1b[32;1M"[..], b"\x1b[I", b"\x1b[24;80R", b"\x1b[3$", b"\x1bOP", b"\x1b[27;5;13~"]
        {
            let events = events(&[sequence, b"x"].concat());
            assert!(
                matches!(events[..], [Event::Sequence(_), Event::Text(b'x')]),
                "{sequence:?}: {events:?}"
            );
        }
    }

    #[test]
    fn text_beyond_ascii_ends_a_sequence_and_is_kept() {
        let e_acute = "é".as_bytes();
        for beginning in [&b"\x1b["[..], b"\x1b[1;", b"\x1bO", b"\x1b[[", b"\x1b("] {
            assert_eq!(events(&[beginning, e_acute].concat()), text(e_acute), "{beginning:?}");
        }
        assert_eq!(events(b"\x9b1~\x9c"), text(b"\x9b1~\x9c"), "UTF-8 has no 8-bit control characters");
    }

    #[test]
    fn what_comes_late_is_no_part_of_a_sequence() {
        for beginning in
            [&b"\x1b"[..], b"\x1b[", b"\x1b[1;5", b"\x1bO", b"\x1b]0;t", b"\x1bP", b"\x1b[M", b"\x1b[["]
        {
            let mut parser = Parser::new();
            let mut now_us = 7_000_000;
            for &byte in beginning {
                now_us += SEQUENCE_TIMEOUT_US;
                assert_eq!(parser.feed(byte, now_us), None, "{beginning:?}");
            }
            now_us += SEQUENCE_TIMEOUT_US + 1;
            assert_eq!(parser.feed(b'u', now_us), Some(Event::Text(b'u')), "{beginning:?}");
        }
    }

    #[test]
    fn any_bytes_leave_a_parser_that_works() {
        let mut state = 1u64;
        let mut parser = Parser::new();
        for _ in 0..100_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let pool = b"\x1b\x1b\x1b[[OP]M\\;1$?(\x07\x03\r\x7f\xc3a";
            let byte = pool[(state >> 40) as usize % pool.len()];
            parser.feed(byte, 0);
            let mut copy = Parser { state: parser.state, ..Parser::new() };
            assert_eq!(copy.feed(INTERRUPT_BYTE, 0), Some(Event::Control(INTERRUPT_BYTE)));
            assert_eq!(copy.feed(b'a', 0), Some(Event::Text(b'a')));
        }
    }
}
