//! Ctrl-C, which ends an answer while there is one and the program otherwise.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

static ANSWERING: AtomicBool = AtomicBool::new(false);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Exit status of a program that Ctrl-C ended, as shells give it.
const STATUS: i32 = 130;

/// Listens for it from now on.
pub fn listen() -> Result<()> {
    let handler = || {
        // A second one means that the first took too long.
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

/// That there is an answer, or are several.
pub struct Answering;

/// Says that there is one, until that is dropped.
pub fn while_answering() -> Answering {
    INTERRUPTED.store(false, Ordering::Relaxed);
    ANSWERING.store(true, Ordering::Relaxed);
    Answering
}

impl Answering {
    /// Whether Ctrl-C was pressed since.
    pub fn is_interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        ANSWERING.store(false, Ordering::Relaxed);
    }
}
