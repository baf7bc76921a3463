//! The terminal as the shell sees it: bytes in, bytes out.

use crate::machine::KeyAction;
use core::fmt;

/// Work to do while a [`Console`] waits for input; returns the time at which it must be called again.
pub type Background<'a> = dyn FnMut(&mut dyn Console) -> u64 + 'a;

/// A serial console, or a replacement in a test.
pub trait Console {
    /// The next byte that was typed, if there is one; never waits.
    fn read_byte(&mut self) -> Option<u8>;

    /// The next byte that was typed; the core sleeps until there is one. Returns `None` when the input has ended (a terminal's
    /// input never does), or when there is a [shutdown request](Self::shutdown_request).
    ///
    /// While it waits, it calls `background` after each interrupt, and at the time that `background` last returned (microseconds
    /// of the machine's clock). `background` may write to the console.
    fn wait_for_byte(&mut self, background: &mut Background<'_>) -> Option<u8>;

    /// Whether there is a Ctrl-C in the input that has arrived but has not been read.
    fn is_interrupted(&mut self) -> bool {
        false
    }

    /// Tells the console that a person types at a terminal, as opposed to a program or file whose every byte counts. If more is
    /// typed than the console can keep while nobody reads it, it may then drop the input, so that a following Ctrl-C is still
    /// noticed.
    fn expect_person(&mut self) {}

    /// Whether input has been dropped since the last call. What can be read now was typed later, and may begin in the middle of a line.
    fn take_loss(&mut self) -> bool {
        false
    }

    /// What a key on the machine itself, such as the power key, has requested.
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
