//! Ctrl-C: it ends an answer if there is one, and otherwise the program.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

static ANSWERING: AtomicBool = AtomicBool::new(false);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The exit status of a program that was ended by Ctrl-C, as in shells.
const STATUS: i32 = 130;

/// Handles Ctrl-C from now on.
pub fn listen() -> Result<()> {
    let handler = || {
        // A second Ctrl-C means that the first one took too long.
        if !ANSWERING.load(Ordering::Relaxed) || INTERRUPTED.swap(true, Ordering::Relaxed) {
            exit();
        }
    };
    ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")
}

/// Ends the program as Ctrl-C does.
pub fn exit() -> ! {
    std::process::exit(STATUS)
}

/// Means that one or more answers are being generated.
pub struct Answering;

/// Marks that an answer is being generated, until the result is dropped.
pub fn while_answering() -> Answering {
    INTERRUPTED.store(false, Ordering::Relaxed);
    ANSWERING.store(true, Ordering::Relaxed);
    Answering
}

impl Answering {
    /// Whether Ctrl-C has been pressed since then.
    pub fn is_interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        ANSWERING.store(false, Ordering::Relaxed);
    }
}
