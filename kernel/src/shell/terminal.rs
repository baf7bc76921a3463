//! The console as commands use it: text out, and an ear for Ctrl-C.

use alloc::collections::VecDeque;
use core::{
    fmt::{self, Write},
    ops::ControlFlow,
};

use super::keys::INTERRUPT_BYTE;
use super::line_editor::{Entered, LineEditor};
use crate::{
    console::{Console, Text},
    system::Shutdown,
};

/// How much may be typed, or piped in, while a command runs; the rest waits in the console.
const MAX_TYPE_AHEAD_BYTES: usize = 64 * 1024;

/// A console with what was typed ahead.
pub struct Terminal<'a> {
    console: &'a mut dyn Console,
    type_ahead: VecDeque<u8>,
    interactive: bool,
}

impl<'a> Terminal<'a> {
    /// A terminal on `console`; in command mode (`interactive` false) it shows what a command
    /// prints and nothing else.
    pub fn new(console: &'a mut dyn Console, interactive: bool) -> Self {
        Self { console, type_ahead: VecDeque::new(), interactive }
    }

    fn console(&mut self) -> &mut dyn Console {
        self.console
    }

    /// The next byte typed; waits for it. `None` at the end of the input.
    fn wait_for_byte(&mut self) -> Option<u8> {
        self.type_ahead.pop_front().or_else(|| self.console.wait_for_byte())
    }

    /// Whether somebody is there to type.
    pub fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// What a key of the machine itself has asked for.
    pub fn shutdown_request(&self) -> Option<Shutdown> {
        self.console.shutdown_request()
    }

    /// Lets the user edit a line. The end of the input ends a line that has begun as Enter does; a
    /// [shutdown request](Self::shutdown_request) is an end too, but the line is forgotten.
    pub fn read_line(&mut self, editor: &mut LineEditor) -> Entered {
        editor.begin(self.console());
        loop {
            let byte = self.wait_for_byte();
            if self.shutdown_request().is_some() {
                self.print(format_args!("\n"));
                return Entered::EndOfInput;
            }
            let Some(byte) = byte else {
                return editor.end_of_input(self.console());
            };
            if let Some(entered) = editor.feed(byte, self.console()) {
                return entered;
            }
        }
    }

    /// Prints what a command was asked for.
    pub fn print(&mut self, text: fmt::Arguments<'_>) {
        // The console never fails to take bytes.
        let _ = Text(self.console).write_fmt(text);
    }

    /// Prints a status line: to the user if there is one, else to the log.
    pub fn note(&mut self, text: fmt::Arguments<'_>) {
        if self.interactive {
            self.print(format_args!("{text}\n"));
        } else {
            log::info!("{text}");
        }
    }

    /// Shows, in one line that is overwritten, how far something has come.
    pub fn progress(&mut self, text: fmt::Arguments<'_>) {
        if self.interactive {
            self.print(format_args!("\r{text}\x1b[K"));
        }
    }

    /// Ends the line of [`progress`](Self::progress).
    pub fn end_progress(&mut self) {
        if self.interactive {
            self.print(format_args!("\n"));
        }
    }

    /// Says why a command failed: to the user if there is one, else to the log.
    pub fn error(&mut self, error: &dyn fmt::Display) {
        if self.interactive {
            self.print(format_args!("error: {error}\n"));
        } else {
            log::error!("{error}");
        }
    }

    /// Looks whether Ctrl-C was typed; what was typed before it is forgotten, anything else is kept
    /// for the next line. A shutdown request counts as Ctrl-C.
    pub fn check_interrupt(&mut self) -> ControlFlow<()> {
        if self.shutdown_request().is_some() {
            return ControlFlow::Break(());
        }
        while self.type_ahead.len() < MAX_TYPE_AHEAD_BYTES {
            match self.console.read_byte() {
                None => break,
                Some(INTERRUPT_BYTE) => {
                    self.type_ahead.clear();
                    return ControlFlow::Break(());
                }
                Some(byte) => self.type_ahead.push_back(byte),
            }
        }
        ControlFlow::Continue(())
    }
}
