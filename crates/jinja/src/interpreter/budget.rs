//! What a rendering may still use.

use alloc::string::String;

use crate::{ErrorKind, Limits};

/// What is left of [`Limits`].
#[derive(Debug)]
pub(crate) struct Budget {
    steps: u64,
    bytes: usize,
}

impl Budget {
    pub fn new(limits: &Limits) -> Self {
        Self { steps: limits.steps, bytes: limits.bytes }
    }

    pub fn step(&mut self) -> Result<(), ErrorKind> {
        self.steps(1)
    }

    pub fn steps(&mut self, steps: usize) -> Result<(), ErrorKind> {
        self.steps = self.steps.checked_sub(steps as u64).ok_or(ErrorKind::TooManySteps)?;
        Ok(())
    }

    /// To be asked before the bytes are allocated.
    pub fn bytes(&mut self, bytes: usize) -> Result<(), ErrorKind> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(ErrorKind::TooMuchMemory)?;
        Ok(())
    }

    pub fn append(&mut self, out: &mut String, text: &str) -> Result<(), ErrorKind> {
        self.bytes(text.len())?;
        out.push_str(text);
        Ok(())
    }
}
