//! A pair of queues: commands to the controller, completions from it (NVM Express Base 2.0, 3.3.1 and 4.6).

use super::registers::Registers;
use crate::drivers::dma::Pages;
use core::sync::atomic::{Ordering, fence};

/// The length limit of queues: as many commands as fit into a page.
pub const LONGEST: u16 = 64;

/// The first doorbell (NVMe over PCIe Transport 1.0, 3.1.2).
const DOORBELLS: usize = 0x1000;

/// Double words per command, and per completion.
const COMMAND_WORDS: usize = 16;
const COMPLETION_WORDS: usize = 4;

/// A command. The low byte of its first double word is the operation, and the upper half is the identifier.
pub type Command = [u32; COMMAND_WORDS];

/// The controller's report on a command that it has completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// The command's identifier.
    pub id: u16,
    /// Status code in bits 7:0, its type in bits 10:8; 0 is success.
    pub status: u16,
}

/// Both queues, of the same length.
pub struct Pair {
    number: u16,
    length: u16,
    doorbell_bytes: usize,
    commands: Pages,
    completions: Pages,
    /// Index for the next command.
    tail: u16,
    /// Index of the next completion.
    head: u16,
    /// The phase bit of a new completion; it flips on each round.
    phase: bool,
}

impl Pair {
    /// An empty pair of queues with a number and a length, on a controller whose doorbells are `doorbell_bytes` apart.
    pub fn new(number: u16, length: u16, doorbell_bytes: usize) -> Self {
        Self {
            number,
            length: length.clamp(2, LONGEST),
            doorbell_bytes,
            commands: Pages::new(1),
            completions: Pages::new(1),
            tail: 0,
            head: 0,
            phase: true,
        }
    }

    /// Entries in each queue: one more than the possible number of commands.
    pub fn len(&self) -> u16 {
        self.length
    }

    /// Address of the queue of commands.
    pub fn commands_address(&self) -> u64 {
        self.commands.address()
    }

    /// Address of the queue of completions.
    pub fn completions_address(&self) -> u64 {
        self.completions.address()
    }

    /// Leaves the memory to the controller for ever, and returns its size.
    pub fn give_away(self) -> usize {
        let n_bytes = self.commands.size_bytes() + self.completions.size_bytes();
        self.commands.give_away();
        self.completions.give_away();
        n_bytes
    }

    fn ring(&self, registers: &mut impl Registers, is_completions: usize, place: u16) {
        let doorbell = usize::from(self.number) * 2 + is_completions;
        registers.write(DOORBELLS + doorbell * self.doorbell_bytes, u32::from(place));
    }

    /// Gives the controller a command. The number of commands without a completion must stay below the queue's length.
    pub fn push(&mut self, registers: &mut impl Registers, command: &Command) {
        let start = usize::from(self.tail) * COMMAND_WORDS;
        for (index, &word) in command.iter().enumerate() {
            self.commands.write(start + index, word);
        }
        self.tail = (self.tail + 1) % self.length;
        // The command must be in memory before the controller is told.
        fence(Ordering::SeqCst);
        self.ring(registers, 0, self.tail);
    }

    /// The next completion, if there is one.
    pub fn pop(&mut self, registers: &mut impl Registers) -> Option<Completion> {
        const PHASE: u32 = 1 << 16;
        let last = self.completions.read(usize::from(self.head) * COMPLETION_WORDS + 3);
        if (last & PHASE != 0) != self.phase {
            return None;
        }
        // Data that the command has written must be read after its completion.
        fence(Ordering::SeqCst);
        self.head = (self.head + 1) % self.length;
        if self.head == 0 {
            self.phase = !self.phase;
        }
        self.ring(registers, 1, self.head);
        Some(Completion { id: last as u16, status: (last >> 17) as u16 & 0x7ff })
    }
}
