//! The Interrupt Translation Service of a GICv3: turns messages of devices into locality-specific interrupts of the boot core
//! (GIC architecture, Arm IHI 0069H, chapter 5).
//!
//! [`Its`] sets up the service and the boot core's redistributor, and maps one event per device to an interrupt. It accesses the
//! hardware only through [`Block`], for which tests have a simulated service. `commands` has the service's commands, `tables` the
//! memory in which it keeps its state. A service that does not answer, or that breaks the rules, is given up: every wait has a
//! limit, and memory that the service may use is never reused.

mod commands;
mod tables;

#[cfg(test)]
mod tests;

use self::{
    commands::{Command, Commands, clean_pages},
    tables::{DeviceTable, MessageTables, set_base},
};
use crate::{
    drivers::dma::{PAGE_BYTES, Pages},
    machine::FIRST_LPI,
    pci::msix::Message,
};
use alloc::{boxed::Box, vec::Vec};
use core::{hint::spin_loop, ops::Range};

/// Registers of the service (12.19).
const GITS_CTLR: usize = 0x0000;
const GITS_TYPER: usize = 0x0008;
const GITS_CBASER: usize = 0x0080;
const GITS_CWRITER: usize = 0x0088;
const GITS_CREADR: usize = 0x0090;
const GITS_BASER: usize = 0x0100;

/// The register that devices write to; it is in a frame of its own, after the other registers.
const GITS_TRANSLATER: u64 = 0x1_0040;

/// Bits of GITS_CTLR: the service is enabled; the service is quiescent.
const ENABLED: u32 = 1 << 0;
const QUIESCENT: u32 = 1 << 31;

/// Bits of GITS_TYPER: it has physical interrupts; targets are given by address, not by number.
const PHYSICAL: u64 = 1 << 0;
const TARGETS_ARE_ADDRESSES: u64 = 1 << 19;

/// Registers of a redistributor (12.11).
const GICR_CTLR: usize = 0x0000;
const GICR_TYPER: usize = 0x0008;
const GICR_PROPBASER: usize = 0x0070;
const GICR_PENDBASER: usize = 0x0078;

/// Bits of GICR_CTLR: locality-specific interrupts are enabled; a write has not taken effect everywhere yet.
const ENABLE_LPIS: u32 = 1 << 0;
const IS_WRITE_PENDING: u32 = 1 << 3;

/// Bit of GICR_TYPER: locality-specific interrupts are supported.
const HAS_LPIS: u64 = 1 << 0;

/// Bit of GICR_PENDBASER: the table is zero.
const PENDING_IS_ZERO: u64 = 1 << 62;

/// The most interrupts that are assigned to devices.
const MAX_INTERRUPTS: u32 = 64;

/// Size of a device's table of events: two entries of at most 16 bytes, at a multiple of 256.
const EVENTS_BYTES: usize = 256;

/// How often a register is polled for a change: far more often than any service needs.
const PATIENCE: usize = 1_000_000;

/// Registers, by byte offset.
pub trait Block: Send {
    /// Reads a 32-bit register.
    fn read(&self, offset: usize) -> u32;

    /// Writes a 32-bit register.
    fn write(&mut self, offset: usize, value: u32);

    /// Reads a 64-bit register.
    fn read_u64(&self, offset: usize) -> u64;

    /// Writes a 64-bit register.
    fn write_u64(&mut self, offset: usize, value: u64);
}

/// Why the service cannot raise interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ItsError {
    /// The controller has no locality-specific interrupts, or the service does not support them.
    #[error("there are no locality-specific interrupts")]
    NoInterrupts,
    /// A boot loader has enabled them, and they cannot be disabled.
    #[error("a loader's locality-specific interrupts cannot be disabled")]
    InUse,
    /// There is not enough memory for a table.
    #[error("there is no memory for its tables")]
    NoMemory,
    /// The service does not stop, or does not carry out a command.
    #[error("it does not do what it is told")]
    NoAnswer,
    /// Its table has no room for a device of this number.
    #[error("it has no room for device {device:#x}")]
    NoRoom {
        /// The device.
        device: u32,
    },
    /// All interrupts have been assigned.
    #[error("it has no interrupt left")]
    NoneLeft,
}

/// The redistributor whose core takes the interrupts.
pub struct Target {
    /// Its registers.
    pub registers: Box<dyn Block>,
    /// The address of these.
    pub address: u64,
    /// Number of locality-specific interrupts that the controller has.
    pub n_interrupts: u32,
    /// The registers of all other redistributors.
    pub others: Vec<Box<dyn Block>>,
}

/// The service.
pub struct Its {
    registers: Box<dyn Block>,
    /// The address that devices write to.
    translater: u64,
    commands: Commands,
    devices: DeviceTable,
    messages: MessageTables,
    /// The target, as it is encoded in commands.
    target: u64,
    /// Each page holds the events of some devices.
    events: Vec<Pages>,
    /// The interrupt numbers that are not assigned yet, from [`FIRST_LPI`] on.
    left: Range<u32>,
    clean: fn(Range<usize>),
    /// Set when it does not carry out a command; it is given no more commands then.
    is_broken: bool,
}

impl Its {
    /// Sets up the service with these registers at `address`, so that its interrupts go to `target`. `clean` writes memory back
    /// from the caches, for readers that bypass them.
    ///
    /// # Errors
    /// [`ItsError`]; the service is then disabled, or does not answer.
    pub fn new(
        registers: Box<dyn Block>,
        address: u64,
        target: Target,
        clean: fn(Range<usize>),
    ) -> Result<Self, ItsError> {
        let mut registers = registers;
        let Target { registers: mut redistributor, address: target, n_interrupts, others } = target;
        let kind = registers.read_u64(GITS_TYPER);
        let kind_of_target = redistributor.read_u64(GICR_TYPER);
        if kind & PHYSICAL == 0 || kind_of_target & HAS_LPIS == 0 || n_interrupts == 0 {
            return Err(ItsError::NoInterrupts);
        }
        stop(&mut *registers)?;
        disable(&mut *redistributor)?;
        // All redistributors share the same property table, which must not change while any of them uses it (5.1.1).
        for mut other in others {
            disable(&mut *other)?;
        }

        let messages = MessageTables::new(clean).ok_or(ItsError::NoMemory)?;
        let devices = tables::set_up(&mut *registers, kind, clean)?;
        let commands = Commands::new(clean).ok_or(ItsError::NoMemory)?;
        const VALID: u64 = 1 << 63;
        set_base(&mut *registers, GITS_CBASER, commands.address() | VALID, tables::SERVICE);
        registers.write_u64(GITS_CWRITER, 0);

        let (properties, pending) = messages.bases();
        set_base(&mut *redistributor, GICR_PROPBASER, properties, tables::REDISTRIBUTOR);
        set_base(&mut *redistributor, GICR_PENDBASER, pending | PENDING_IS_ZERO, tables::REDISTRIBUTOR);
        redistributor.write(GICR_CTLR, redistributor.read(GICR_CTLR) | ENABLE_LPIS);
        registers.write(GITS_CTLR, registers.read(GITS_CTLR) | ENABLED);

        let number = kind_of_target >> 8 & 0xffff;
        let target = if kind & TARGETS_ARE_ADDRESSES != 0 { target & !0xffff } else { number << 16 };
        let mut its = Self {
            registers,
            translater: address + GITS_TRANSLATER,
            commands,
            devices,
            messages,
            target,
            events: Vec::new(),
            left: 0..n_interrupts.min(MAX_INTERRUPTS),
            clean,
            is_broken: false,
        };
        match its.order(&[Command::map_collection(its.target), Command::sync(its.target)]) {
            Ok(()) => Ok(its),
            Err(error) => {
                // The service may keep running and use its tables.
                core::mem::forget(its);
                Err(error)
            }
        }
    }

    /// Assigns an interrupt to a device, and returns the message that the device must write to raise it.
    ///
    /// # Errors
    /// [`ItsError`].
    pub fn message(&mut self, device: u32) -> Result<Message, ItsError> {
        if self.is_broken {
            return Err(ItsError::NoAnswer);
        }
        self.devices.make_room(device)?;
        let index = self.left.next().ok_or(ItsError::NoneLeft)?;
        let events = self.events(index as usize).ok_or(ItsError::NoMemory)?;
        let interrupt = FIRST_LPI + index;
        self.messages.enable(index as usize);
        self.order(&[
            Command::map_device(device, events),
            Command::map_event(device, interrupt),
            Command::invalidate(device),
            Command::sync(self.target),
        ])?;
        Ok(Message { address: self.translater, data: commands::EVENT, interrupt })
    }

    /// The address of the table of events with this index.
    fn events(&mut self, index: usize) -> Option<u64> {
        const PER_PAGE: usize = PAGE_BYTES / EVENTS_BYTES;
        if index / PER_PAGE == self.events.len() {
            self.events.push(clean_pages(1, PAGE_BYTES, self.clean)?);
        }
        let page = self.events.get(index / PER_PAGE)?;
        Some(page.address() + (index % PER_PAGE * EVENTS_BYTES) as u64)
    }

    /// Gives the service commands, and waits until it has carried them out.
    fn order(&mut self, commands: &[Command]) -> Result<(), ItsError> {
        const STALLED: u64 = 1;
        for command in commands {
            self.commands.push(command);
        }
        let end = self.commands.end();
        self.registers.write_u64(GITS_CWRITER, end);
        let registers = &*self.registers;
        // A stalled queue does not advance.
        let is_done = wait_until(|| registers.read_u64(GITS_CREADR) & !STALLED == end);
        self.is_broken = !is_done;
        is_done.then_some(()).ok_or(ItsError::NoAnswer)
    }
}

/// Stops the service, which is necessary before its tables are changed.
fn stop(registers: &mut dyn Block) -> Result<(), ItsError> {
    registers.write(GITS_CTLR, registers.read(GITS_CTLR) & !ENABLED);
    let is_quiet = wait_until(|| registers.read(GITS_CTLR) & QUIESCENT != 0);
    is_quiet.then_some(()).ok_or(ItsError::NoAnswer)
}

/// Disables a redistributor's locality-specific interrupts, which is not always possible.
fn disable(redistributor: &mut dyn Block) -> Result<(), ItsError> {
    let control = redistributor.read(GICR_CTLR);
    if control & ENABLE_LPIS == 0 {
        return Ok(());
    }
    redistributor.write(GICR_CTLR, control & !ENABLE_LPIS);
    let is_done = wait_until(|| redistributor.read(GICR_CTLR) & (ENABLE_LPIS | IS_WRITE_PENDING) == 0);
    is_done.then_some(()).ok_or(ItsError::InUse)
}

/// Polls until the condition is true; false if that takes too long.
fn wait_until(is_so: impl Fn() -> bool) -> bool {
    (0..PATIENCE).any(|_| {
        spin_loop();
        is_so()
    })
}
