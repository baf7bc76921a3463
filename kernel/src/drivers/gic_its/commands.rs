//! The commands of an Interrupt Translation Service, and the queue from which it reads them (GIC architecture, 5.3).
//!
//! Each device has one event, number 0. There is one collection, number 0, whose interrupts go to the boot core.

use crate::drivers::dma::{PAGE_BYTES, Pages};
use core::ops::Range;

/// The queue must begin at a multiple of this.
const ALIGN_BYTES: usize = 0x1_0000;

/// The number of a device's event.
pub const EVENT: u32 = 0;

const VALID: u64 = 1 << 63;

/// A command of four double words. The low byte of the first one is the command's number, and its upper half is the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command([u64; 4]);

const COMMAND_BYTES: usize = size_of::<Command>();

impl Command {
    fn of_device(number: u64, device: u32, second: u64, third: u64) -> Self {
        Self([number | u64::from(device) << 32, second, third, 0])
    }

    /// MAPC: sends the collection's interrupts to the target.
    pub fn map_collection(target: u64) -> Self {
        Self([0x09, 0, VALID | target, 0])
    }

    /// MAPD: gives a device its table of events, which has room for two.
    pub fn map_device(device: u32, events: u64) -> Self {
        const BITS_LESS_ONE: u64 = 0;
        Self::of_device(0x08, device, BITS_LESS_ONE, VALID | events)
    }

    /// MAPTI: makes the device's event raise an interrupt of the collection.
    pub fn map_event(device: u32, interrupt: u32) -> Self {
        Self::of_device(0x0a, device, u64::from(interrupt) << 32 | u64::from(EVENT), 0)
    }

    /// INV: announces that the properties of the event's interrupt have changed.
    pub fn invalidate(device: u32) -> Self {
        Self::of_device(0x0c, device, EVENT.into(), 0)
    }

    /// SYNC: completes the effects of the previous commands at the target.
    pub fn sync(target: u64) -> Self {
        Self([0x05, 0, target, 0])
    }
}

/// The queue.
pub struct Commands {
    pages: Pages,
    /// Offset of the next command in bytes.
    end: usize,
    clean: fn(Range<usize>),
}

impl Commands {
    /// An empty queue; `None` if there is no memory.
    pub fn new(clean: fn(Range<usize>)) -> Option<Self> {
        Some(Self { pages: clean_pages(1, ALIGN_BYTES, clean)?, end: 0, clean })
    }

    /// Its address.
    pub fn address(&self) -> u64 {
        self.pages.address()
    }

    /// Offset of the next command from the start.
    pub fn end(&self) -> u64 {
        self.end as u64
    }

    /// Adds a command. The service must have completed all but a few of the earlier ones.
    pub fn push(&mut self, command: &Command) {
        for (index, double_word) in command.0.into_iter().enumerate() {
            self.pages.write_u64(self.end / size_of::<u32>() + 2 * index, double_word);
        }
        let start = self.pages.address() as usize + self.end;
        (self.clean)(start..start + COMMAND_BYTES);
        self.end = (self.end + COMMAND_BYTES) % PAGE_BYTES;
    }
}

/// Zeroed pages, written back so that a reader that bypasses the caches sees the zeros too.
pub fn clean_pages(count: usize, align_bytes: usize, clean: fn(Range<usize>)) -> Option<Pages> {
    let pages = Pages::aligned(count, align_bytes)?;
    let start = pages.address() as usize;
    clean(start..start + pages.size_bytes());
    Some(pages)
}
