//! A console whose input can end, because it is a pipe or a file on the host.
//!
//! A serial line cannot signal that its input has ended. Therefore the program that starts the machine sends a mark after the
//! last byte: the byte 0x19 ("end of medium" in ASCII), followed by a text that does not occur in the input, such as a random
//! number. It passes that text to the kernel beforehand (`ferrite.input-end`). [`PipedConsole`] removes the mark from the input
//! and reports the end of input instead.

use crate::{
    console::{Background, Console},
    machine::KeyAction,
};

/// The first byte of the mark. It is held back until the next byte arrives, which would be noticeable only for Ctrl-Y on a terminal.
const END_OF_MEDIUM: u8 = 0x19;

/// A console and the mark that ends its input.
pub struct PipedConsole<'a> {
    console: &'a mut dyn Console,
    /// The text that follows [`END_OF_MEDIUM`] in the mark.
    text: &'a [u8],
    /// How many bytes of the mark the most recent input matches.
    matched: usize,
    /// How many bytes that matched the mark's beginning turned out to be input, and how many of these were passed on.
    released: usize,
    passed: usize,
    /// The byte that came after them.
    behind: Option<u8>,
}

impl<'a> PipedConsole<'a> {
    /// A console whose input ends at the byte 0x19 followed by `text`.
    pub fn new(console: &'a mut dyn Console, text: &'a str) -> Self {
        Self { console, text: text.as_bytes(), matched: 0, released: 0, passed: 0, behind: None }
    }

    fn mark(&self, index: usize) -> u8 {
        match index {
            0 => END_OF_MEDIUM,
            _ => self.text[index - 1],
        }
    }

    fn has_ended(&self) -> bool {
        self.matched == self.text.len() + 1
    }

    /// The next byte that was held back but turned out to be input.
    fn next_released(&mut self) -> Option<u8> {
        if self.passed < self.released {
            self.passed += 1;
            return Some(self.mark(self.passed - 1));
        }
        (self.passed, self.released) = (0, 0);
        self.behind.take()
    }

    /// Takes a byte from the console when no held-back bytes are left.
    fn take(&mut self, byte: u8) {
        if byte == self.mark(self.matched) {
            self.matched += 1;
            return;
        }
        self.released = self.matched;
        // The text has no control characters (see `BootArgs`), so a mark can never begin inside another.
        if byte == END_OF_MEDIUM {
            self.matched = 1;
        } else {
            self.matched = 0;
            self.behind = Some(byte);
        }
    }

    fn next(&mut self, mut read: impl FnMut(&mut dyn Console) -> Option<u8>) -> Option<u8> {
        loop {
            if let Some(byte) = self.next_released() {
                return Some(byte);
            }
            if self.has_ended() {
                return None;
            }
            let byte = read(self.console)?;
            self.take(byte);
        }
    }
}

impl Console for PipedConsole<'_> {
    fn read_byte(&mut self) -> Option<u8> {
        self.next(|console| console.read_byte())
    }

    fn wait_for_byte(&mut self, background: &mut Background<'_>) -> Option<u8> {
        self.next(|console| console.wait_for_byte(background))
    }

    fn is_interrupted(&mut self) -> bool {
        self.console.is_interrupted()
    }

    fn expect_person(&mut self) {
        self.console.expect_person();
    }

    fn take_loss(&mut self) -> bool {
        self.console.take_loss()
    }

    fn shutdown_request(&self) -> Option<KeyAction> {
        self.console.shutdown_request()
    }

    fn write_bytes(&mut self, bytes: &[u8]) {
        self.console.write_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    struct Bytes<'a>(&'a [u8]);

    impl Console for Bytes<'_> {
        fn read_byte(&mut self) -> Option<u8> {
            let (&first, rest) = self.0.split_first()?;
            self.0 = rest;
            Some(first)
        }

        fn wait_for_byte(&mut self, _: &mut Background<'_>) -> Option<u8> {
            Some(self.read_byte().expect("the reader waits, but all is read"))
        }

        fn write_bytes(&mut self, _: &[u8]) {}
    }

    /// The input before its end.
    fn input(bytes: &[u8]) -> Vec<u8> {
        let mut serial = Bytes(bytes);
        let mut console = PipedConsole::new(&mut serial, "abab");
        let input = std::iter::from_fn(|| console.wait_for_byte(&mut |_| u64::MAX)).collect();
        assert_eq!(console.wait_for_byte(&mut |_| u64::MAX), None, "the end stays");
        assert_eq!(console.read_byte(), None);
        input
    }

    #[test]
    fn the_mark_ends_the_input() {
        assert_eq!(input(b"\x19abab"), b"");
        assert_eq!(input(b"help\n\x04\x00\xff\x19abab more"), b"help\n\x04\x00\xff");
    }

    #[test]
    fn what_only_begins_like_the_mark_is_input() {
        for text in [&b"\x19"[..], b"\x19\x19", b"a\x19ab\x19aba\x19ac", b"abab", b"\x19abaa"] {
            assert_eq!(input(&[text, b"\x19abab"].concat()), text);
        }
    }

    #[test]
    fn a_console_that_has_nothing_yet_has_not_ended() {
        let mut serial = Bytes(b"x\x19a");
        let mut console = PipedConsole::new(&mut serial, "abab");
        assert_eq!(console.read_byte(), Some(b'x'));
        assert_eq!(console.read_byte(), None);
        assert!(!console.has_ended());
    }
}
