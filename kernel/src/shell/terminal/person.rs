//! [`Person`]: a console with a simulated person at a simulated screen, for tests.

use std::{collections::VecDeque, vec::Vec};

use crate::{
    console::{Background, Console},
    logging::Row,
    shell::{escape_sequences::INTERRUPT_BYTE, screen::Screen},
};

/// A simulated person at a screen.
pub struct Person {
    pub screen: Screen,
    pub input: VecDeque<u8>,
    /// How many keys are read before the screen's answer arrives.
    pub n_keys_before_answer: usize,
    pub written: Vec<u8>,
    /// The console has dropped input.
    pub loses: bool,
    /// A log record arrives when this many bytes are still to be typed.
    pub record: Option<(usize, &'static Row)>,
}

impl Person {
    /// A person before this screen who types nothing yet.
    pub fn before(screen: Screen) -> Self {
        Person {
            screen,
            input: VecDeque::new(),
            n_keys_before_answer: 0,
            written: Vec::new(),
            loses: false,
            record: None,
        }
    }
}

impl Console for Person {
    fn read_byte(&mut self) -> Option<u8> {
        if self.n_keys_before_answer > 0 && !self.input.is_empty() {
            self.n_keys_before_answer -= 1;
            return self.input.pop_front();
        }
        self.screen.read_byte().or_else(|| self.input.pop_front())
    }

    fn wait_for_byte(&mut self, background: &mut Background<'_>) -> Option<u8> {
        if let Some((n_bytes, row)) = self.record
            && self.input.len() == n_bytes
        {
            self.record = None;
            self.write_bytes(row.take());
            self.write_bytes(b"[    1.000000] INFO  serve: GET / 200\n");
        }
        background(self);
        self.read_byte()
    }

    fn is_interrupted(&mut self) -> bool {
        self.input.contains(&INTERRUPT_BYTE)
    }

    fn take_loss(&mut self) -> bool {
        core::mem::take(&mut self.loses)
    }

    fn write_bytes(&mut self, bytes: &[u8]) {
        self.written.extend(bytes);
        self.screen.write_bytes(bytes);
    }
}

/// The time, which stands still.
pub fn now_us() -> u64 {
    0
}
