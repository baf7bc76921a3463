//! The resources that a rendering may still use, and checks that there is memory for it.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{ErrorKind, Limits};

/// Bytes of texts and lists that may be made between two checks of the memory.
const LOOK_BYTES: usize = 1024;

/// Bytes that must be free in addition to those of texts and lists.
const SPARE_BYTES: usize = 8192;

/// Makes sure that this many bytes are available in one piece, by allocating and freeing them. Shared texts and many of the
/// library's routines cannot report a lack of memory.
///
/// # Errors
/// [`ErrorKind::NoMemory`].
pub(crate) fn ensure_room(bytes: usize) -> Result<(), ErrorKind> {
    let mut probe: Vec<u8> = Vec::new();
    probe.try_reserve_exact(bytes).map_err(|_| ErrorKind::NoMemory)
}

/// The remaining part of [`Limits`].
#[derive(Debug)]
pub(crate) struct Budget {
    steps: u64,
    bytes: usize,
    /// Bytes made since the last check of the memory.
    unseen: usize,
    /// Upper bound of the capacity of the longest text that was written piece by piece.
    longest: usize,
}

impl Budget {
    pub fn new(limits: &Limits) -> Self {
        Self { steps: limits.steps, bytes: limits.bytes, unseen: 0, longest: 0 }
    }

    pub fn step(&mut self) -> Result<(), ErrorKind> {
        self.steps(1)
    }

    pub fn steps(&mut self, steps: usize) -> Result<(), ErrorKind> {
        self.steps = self.steps.checked_sub(steps as u64).ok_or(ErrorKind::TooManySteps)?;
        Ok(())
    }

    /// Must be called before the bytes are allocated.
    pub fn bytes(&mut self, bytes: usize) -> Result<(), ErrorKind> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(ErrorKind::TooMuchMemory)?;
        self.unseen = self.unseen.saturating_add(bytes);
        if self.unseen > LOOK_BYTES { self.look() } else { Ok(()) }
    }

    /// Makes sure that there is memory for the bytes that were announced and for their growth, and for doubling the longest text
    /// or making a value.
    fn look(&mut self) -> Result<(), ErrorKind> {
        let room = self.unseen.saturating_mul(4).saturating_add(2 * self.longest).saturating_add(SPARE_BYTES);
        ensure_room(room)?;
        self.unseen = 0;
        Ok(())
    }

    pub fn append(&mut self, out: &mut String, text: &str) -> Result<(), ErrorKind> {
        self.bytes(text.len())?;
        let len = out.len() + text.len();
        if len > out.capacity() && len > LOOK_BYTES {
            self.longest = self.longest.max(2 * len);
            self.look()?;
        }
        out.try_reserve(text.len()).map_err(|_| ErrorKind::NoMemory)?;
        out.push_str(text);
        Ok(())
    }
}
