//! The terminal as the shell sees it: bytes in, bytes out.

use crate::machine::KeyAction;
use core::fmt;

/// What is done while a [`Console`] waits; returns the time at which it is to be called again.
pub type Background<'a> = dyn FnMut(&mut dyn Console) -> u64 + 'a;

/// A serial console, or whatever stands in for one in a test.
pub trait Console {
    /// The next byte that was typed, if there is one; never waits.
    fn read_byte(&mut self) -> Option<u8>;

    /// The next byte that was typed; the core sleeps until there is one. `None` once the input has ended,
    /// which a terminal's never does, or when there is a [shutdown request](Self::shutdown_request).
    ///
    /// Meanwhile `background` is called after each interrupt, and at the time, by the machine's clock in microseconds, that it has
    /// returned. It may write to the console.
    fn wait_for_byte(&mut self, background: &mut Background<'_>) -> Option<u8>;

    /// Whether a Ctrl-C waits among what has come and was not read yet.
    fn is_interrupted(&mut self) -> bool {
        false
    }

    /// Says that a person types, before a screen, and no program or file whose every byte counts: what is typed while
    /// nobody reads may be forgotten, if it is too much to be kept, for the sake of a Ctrl-C behind it.
    fn expect_person(&mut self) {}

    /// Whether something that was typed has been forgotten since this was last asked. What can be read now was typed
    /// later, and may begin in the middle of a line.
    fn take_loss(&mut self) -> bool {
        false
    }

    /// What a key of the machine itself, such as the power key, has asked for.
    fn shutdown_request(&self) -> Option<KeyAction> {
        None
    }

    /// Writes all of `bytes`; returns when the hardware has taken the last one.
    fn write_bytes(&mut self, bytes: &[u8]);
}

/// Formats text onto a console: `write!(Text(console), ...)` never fails.
pub struct Text<'a>(pub &'a mut dyn Console);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_bytes(text.as_bytes());
        Ok(())
    }
}
