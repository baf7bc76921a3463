//! NVMe: disks behind PCI functions of class 01.08.02 (NVM Express Base 2.0, NVM Command Set 1.0).
//!
//! [`Nvme`] implements a controller for `requests::controller`. It has two pairs of queues: one for administration and one for
//! reads. Code that waits checks for completions, and sleeps between two checks until the controller interrupts, if it can. The
//! driver accesses the hardware only through `registers`, for which tests have a simulated controller. `queue` has the queues,
//! `identify` decodes what the controller reports about itself, and `prp` describes to it where data goes.

mod identify;
mod prp;
mod queue;
pub mod registers;

use self::{
    identify::Structure,
    queue::{Command, Completion, LONGEST, Pair},
    registers::{
        ACQ, AQA, ASQ, CAP, CC, CSTS, ENABLE, ENTRY_SIZES, FATAL, INTMS, NOT_THERE, READY, Registers,
        SHUTDOWN, SHUTDOWN_DONE, SHUTDOWN_NORMAL,
    },
};
use super::{
    dma::{PAGE_BYTES, Pages},
    requests::{
        Broken, Geometry, LARGEST_REQUEST_BYTES, Surroundings,
        controller::{Controller, FoundUnit, MAX_IN_FLIGHT, SEARCH_US, SILENT, SLOW, Unit, Units},
    },
};
use alloc::{format, string::String, vec::Vec};
use core::{fmt, mem::take, ptr::NonNull};

/// Operation codes (NVM Express Base 2.0, 5; NVM Command Set 1.0, 3).
mod operation {
    pub const CREATE_COMMANDS: u32 = 0x01;
    pub const READ: u32 = 0x02;
    pub const CREATE_COMPLETIONS: u32 = 0x05;
    pub const IDENTIFY: u32 = 0x06;
    pub const SET_FEATURES: u32 = 0x09;
}

/// Indices of double words in a command.
mod word {
    pub const NAMESPACE: usize = 1;
    pub const DATA: usize = 6;
    pub const CDW10: usize = 10;
}

/// Class, subclass and interface of NVMe controllers among PCI functions (PCI Code and ID Assignment Specification 1.11, 1.2.9).
pub const CLASS: (u8, u8, u8) = (0x01, 0x08, 0x02);

/// How long an admin command may take.
const ADMIN_US: u64 = 5_000_000;

/// The status of commands for a namespace that does not exist: invalid namespace or format (NVM Express Base 2.0, 3.3.3.2.1).
const INVALID_NAMESPACE: u16 = 0x0b;

/// The number of the pair of queues for reads.
const READS: u16 = 1;

/// Why a controller is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// No registers respond.
    #[error("its registers do not answer")]
    NotThere,
    /// Its memory pages are larger than this kernel's.
    #[error("its memory pages have more than 4096 bytes")]
    PageSize,
    /// It does not have the NVM command set.
    #[error("it does not have the NVM command set")]
    NoNvm,
    /// It has not become ready, or not stopped, in time.
    #[error(
        "its status is {status:#x} after {waited_ms} of the {limit_ms} ms that it may take to start or stop{}",
        if .waited_ms < .limit_ms { "; a rescan waits longer" } else { "" }
    )]
    NotReady {
        /// Its status.
        status: u32,
        /// How long the driver has waited.
        waited_ms: u64,
        /// How long the controller says that this may take.
        limit_ms: u64,
    },
    /// A command has failed.
    #[error(fmt = failed_command)]
    Command(Fault),
}

/// Why an admin command has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no answer yet.
    Silent,
    /// It has failed.
    Failed {
        /// The operation.
        operation: u8,
        /// Status code in bits 7:0, its type in bits 10:8.
        status: u16,
    },
    /// The controller has answered something that it was not asked.
    Broken,
}

fn failed_command(fault: &Fault, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match fault {
        Fault::Failed { operation, status } => {
            write!(f, "its admin command {operation:#x} fails with status {status:#x}")
        }
        Fault::Silent | Fault::Broken => f.write_str("it does not answer admin commands"),
    }
}

impl From<Fault> for InitError {
    fn from(fault: Fault) -> Self {
        Self::Command(fault)
    }
}

/// The queues of a controller that is enabled.
struct Queues {
    admin: Pair,
    reads: Pair,
    /// The page that admin commands return data in.
    page: Pages,
}

/// A controller.
pub struct Nvme<R: Registers> {
    registers: R,
    /// Whether it interrupts by the message of vector 0.
    has_messages: bool,
    surroundings: Surroundings,
    /// `None` while it is stopped.
    queues: Option<Queues>,
    /// For each request, the pages of its list of addresses.
    lists: Vec<Option<Pages>>,
    /// The identifier of the last admin command.
    last_id: u16,
    /// Set while that command has not been answered.
    is_waiting: bool,
    /// Set when it has answered something that it was not asked, until it is restarted.
    has_lied: bool,
    identity: identify::Controller,
    request_bytes: usize,
    max_in_flight: usize,
    /// How long it says that starting or stopping may take.
    limit_us: u64,
    /// The most that the driver waits for it.
    patience_us: u64,
}

impl<R: Registers> Nvme<R> {
    /// Starts the controller behind `registers`. `has_messages` says whether its messages reach an interrupt handler.
    /// `patience_us` limits the time that it may take to become ready, even if it says that it may take longer.
    ///
    /// # Errors
    /// [`InitError`].
    pub fn new(
        registers: R,
        has_messages: bool,
        surroundings: Surroundings,
        patience_us: u64,
    ) -> Result<Self, InitError> {
        let mut nvme = Self {
            registers,
            has_messages,
            surroundings,
            queues: None,
            lists: Vec::new(),
            last_id: 0,
            is_waiting: false,
            has_lied: false,
            identity: identify::Controller::default(),
            request_bytes: 0,
            max_in_flight: 1,
            limit_us: 0,
            patience_us,
        };
        let started = nvme.initialise();
        // Without queues the controller uses none of our memory, so there is no need to wait for it again.
        if started.is_err() && nvme.queues.is_some() {
            let _ = nvme.halt();
        }
        nvme.patience_us = u64::MAX;
        started.map(|()| nvme)
    }

    /// Starts it (NVM Express Base 2.0, 3.5.1).
    fn initialise(&mut self) -> Result<(), InitError> {
        let (low, high) = (self.registers.read(CAP), self.registers.read(CAP + 4));
        if low == NOT_THERE && high == NOT_THERE {
            return Err(InitError::NotThere);
        }
        const NVM_COMMANDS: u32 = 1 << 5;
        if high & NVM_COMMANDS == 0 {
            return Err(InitError::NoNvm);
        }
        let smallest_page = high >> 16 & 0xf;
        if smallest_page != 0 {
            return Err(InitError::PageSize);
        }
        // The field counts half seconds.
        self.limit_us = u64::from(low >> 24).max(1) * 500_000;
        let doorbell_bytes = 4 << (high & 0xf);
        if !self.stop() {
            return Err(self.not_ready());
        }

        let length = ((low & 0xffff) + 1).min(u32::from(LONGEST)) as u16;
        let admin = Pair::new(0, length, doorbell_bytes);
        let reads = Pair::new(READS, length, doorbell_bytes);
        self.max_in_flight = usize::from(reads.len() - 1).min(MAX_IN_FLIGHT);
        (self.is_waiting, self.has_lied) = (false, false);
        let last = u32::from(admin.len() - 1);
        // If messages are used, this register must not be accessed (NVM Express Base 2.0, 3.1.3.3).
        if !self.has_messages {
            self.registers.write(INTMS, u32::MAX);
        }
        self.registers.write(AQA, last << 16 | last);
        for (register, address) in [(ASQ, admin.commands_address()), (ACQ, admin.completions_address())] {
            self.registers.write(register, address as u32);
            self.registers.write(register + 4, (address >> 32) as u32);
        }
        self.queues = Some(Queues { admin, reads, page: Pages::new(1) });
        self.registers.write(CC, ENABLE | ENTRY_SIZES);
        let mut status = 0;
        let registers = &self.registers;
        self.surroundings.wait_until(self.waited_us(), &mut || {
            status = registers.read(CSTS);
            status & (READY | FATAL) != 0
        });
        if status & (READY | FATAL) != READY {
            return Err(self.not_ready());
        }

        self.identify(Structure::Controller, 0)?;
        self.identity = identify::Controller::new(self.page());
        let shift = self.identity.max_transfer_shift.map_or(usize::BITS, u32::from);
        let limit = PAGE_BYTES.checked_shl(shift).filter(|limit| limit >> shift == PAGE_BYTES);
        self.request_bytes = limit.unwrap_or(usize::MAX).min(LARGEST_REQUEST_BYTES);
        self.create_queues()
    }

    /// The time limit for starting or stopping.
    fn waited_us(&self) -> u64 {
        self.limit_us.min(self.patience_us)
    }

    fn not_ready(&self) -> InitError {
        let status = self.registers.read(CSTS);
        InitError::NotReady { status, waited_ms: self.waited_us() / 1000, limit_ms: self.limit_us / 1000 }
    }

    /// Creates the queues for reads.
    fn create_queues(&mut self) -> Result<(), InitError> {
        const NUMBER_OF_QUEUES: u32 = 7;
        const CONTIGUOUS: u32 = 1;
        const INTERRUPTS: u32 = 1 << 1;
        let Some(Queues { reads, .. }) = &self.queues else { return Err(Fault::Silent.into()) };
        let size = u32::from(reads.len() - 1) << 16 | u32::from(READS);
        let (commands, completions) = (reads.commands_address(), reads.completions_address());
        // One pair, which every controller has, so the answer does not matter.
        match self.administer(operation::SET_FEATURES, 0, 0, [NUMBER_OF_QUEUES, 0]) {
            Ok(()) | Err(Fault::Failed { .. }) => {}
            Err(fault) => return Err(fault.into()),
        }
        // They use vector 0, like the admin queues.
        let how = if self.has_messages { CONTIGUOUS | INTERRUPTS } else { CONTIGUOUS };
        self.administer(operation::CREATE_COMPLETIONS, 0, completions, [size, how])?;
        let of_completions = u32::from(READS) << 16;
        self.administer(operation::CREATE_COMMANDS, 0, commands, [size, of_completions | CONTIGUOUS])?;
        Ok(())
    }

    /// Disables the controller; true if it confirms that, or if it is no longer there.
    fn stop(&mut self) -> bool {
        let configuration = self.registers.read(CC);
        if configuration & ENABLE != 0 {
            self.registers.write(CC, configuration & !ENABLE);
        }
        let registers = &self.registers;
        self.surroundings.wait_until(self.waited_us(), &mut || {
            let status = registers.read(CSTS);
            status & READY == 0 || status == NOT_THERE
        })
    }

    /// Has the controller carry out an admin command, and waits for the answer.
    fn administer(
        &mut self,
        operation: u32,
        namespace: u32,
        data: u64,
        words: [u32; 2],
    ) -> Result<(), Fault> {
        if self.is_waiting {
            // The page belongs to the controller until the last command has been answered.
            let _ = self.answer(0)?;
        }
        let Some(Queues { admin, .. }) = &mut self.queues else { return Err(Fault::Silent) };
        self.last_id = self.last_id.wrapping_add(1);
        let mut command: Command = [0; _];
        command[0] = operation | u32::from(self.last_id) << 16;
        command[word::NAMESPACE] = namespace;
        command[word::DATA] = data as u32;
        command[word::DATA + 1] = (data >> 32) as u32;
        command[word::CDW10..word::CDW10 + 2].copy_from_slice(&words);
        admin.push(&mut self.registers, &command);
        self.is_waiting = true;
        match self.answer(ADMIN_US)? {
            0 => Ok(()),
            status => Err(Fault::Failed { operation: operation as u8, status }),
        }
    }

    /// The status of the last admin command.
    fn answer(&mut self, limit_us: u64) -> Result<u16, Fault> {
        let Some(Queues { admin, .. }) = &mut self.queues else { return Err(Fault::Silent) };
        let (registers, mut completion) = (&mut self.registers, None);
        self.surroundings.wait_until(limit_us, &mut || {
            completion = admin.pop(registers);
            completion.is_some()
        });
        let Completion { id, status } = completion.ok_or(Fault::Silent)?;
        if id != self.last_id {
            self.has_lied = true;
            return Err(Fault::Broken);
        }
        self.is_waiting = false;
        Ok(status)
    }

    /// Has the controller put a data structure into the page.
    fn identify(&mut self, structure: Structure, namespace: u32) -> Result<(), Fault> {
        let page = self.queues.as_ref().map_or(0, |queues| queues.page.address());
        self.administer(operation::IDENTIFY, namespace, page, [structure as u32, 0])
    }

    /// The page with the data of the last admin command.
    fn page(&self) -> &[u8] {
        match &self.queues {
            // SAFETY: the controller writes to the page only while a command is not answered, which `is_waiting` excludes.
            Some(queues) if !self.is_waiting => unsafe { queues.page.bytes() },
            _ => &[],
        }
    }

    /// The geometry of a namespace; `None` if it is not active.
    fn geometry(&mut self, namespace: u32) -> Result<Option<Result<Geometry, String>>, Fault> {
        self.identify(Structure::Namespace, namespace)?;
        Ok(identify::geometry(self.page(), self.request_bytes))
    }

    fn namespaces(&mut self) -> Result<Vec<u32>, Fault> {
        match self.identify(Structure::ActiveNamespaces, 0) {
            Ok(()) => Ok(identify::active_namespaces(self.page())),
            // Controllers before version 1.1 do not have this list.
            Err(Fault::Failed { .. }) => Ok(identify::all_namespaces(self.identity.n_namespaces)),
            Err(fault) => Err(fault),
        }
    }

    fn find_units(&mut self, units: &mut Units) -> Result<(), Fault> {
        let start_us = (self.surroundings.clock_us)();
        for id in self.namespaces()? {
            // If the controller is slow, not all of its namespaces are examined.
            if (self.surroundings.clock_us)() - start_us > SEARCH_US {
                units.unfinished = Some(SLOW);
                return Ok(());
            }
            let name = format!("namespace {id}");
            let geometry = match self.geometry(id) {
                Ok(Some(geometry)) => geometry,
                Ok(None) | Err(Fault::Failed { status: INVALID_NAMESPACE, .. }) => continue,
                Err(fault @ Fault::Failed { .. }) => {
                    units.unsure.push(name.clone());
                    Err(format!("{}", InitError::Command(fault)))
                }
                Err(fault) => return Err(fault),
            };
            match geometry {
                Ok(geometry) => {
                    let serial = match units.disks.len() {
                        0 => self.identity.serial.clone(),
                        _ => format!("{}-{id}", self.identity.serial),
                    };
                    let unit = Unit { number: id.into(), geometry };
                    units.disks.push(FoundUnit { unit, name, serial });
                }
                Err(reason) => units.refused.push((name, "an NVMe namespace", reason)),
            }
        }
        Ok(())
    }
}

impl<R: Registers> Controller for Nvme<R> {
    fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    fn units(&mut self) -> Units {
        let mut units = Units::default();
        if self.find_units(&mut units).is_err() {
            units.unfinished = Some(SILENT);
        }
        units
    }

    fn shut_down(&mut self) {
        if self.queues.is_none() || self.is_broken() {
            return;
        }
        let configuration = self.registers.read(CC) & !SHUTDOWN;
        self.registers.write(CC, configuration | SHUTDOWN_NORMAL);
        let registers = &self.registers;
        // Power may be cut only after this, so the wait cannot be interrupted.
        let surroundings = Surroundings { is_interrupted: || false, ..self.surroundings };
        surroundings.wait_until(self.identity.shutdown_us.clamp(1_000_000, ADMIN_US), &mut || {
            // If the controller is gone, all bits read as one.
            registers.read(CSTS) & SHUTDOWN_DONE == SHUTDOWN_DONE
        });
    }

    fn sector_count(&mut self, unit: &Unit) -> Option<u64> {
        match self.geometry(unit.number as u32) {
            Ok(Some(Ok(geometry))) if geometry.block_bytes == unit.geometry.block_bytes => {
                Some(geometry.sector_count)
            }
            Ok(_) | Err(Fault::Failed { status: INVALID_NAMESPACE, .. }) => Some(0),
            Err(_) => None,
        }
    }

    unsafe fn start(
        &mut self,
        tag: usize,
        unit: &Unit,
        first: u64,
        place: NonNull<[u8]>,
    ) -> Result<(), Broken> {
        let Some(Queues { reads, .. }) = &mut self.queues else { return Err(Broken) };
        let n_blocks = place.len() / unit.geometry.block_bytes;
        if n_blocks == 0
            || n_blocks > 1 << 16
            || place.len() > self.request_bytes
            || tag >= self.max_in_flight
        {
            return Err(Broken);
        }
        if self.lists.len() <= tag {
            self.lists.resize_with(tag + 1, || None);
        }
        let list = self.lists[tag].get_or_insert_with(|| Pages::new(prp::list_pages(self.request_bytes)));
        let address = place.cast::<u8>().as_ptr().expose_provenance() as u64;
        let [data, more] = prp::entries(address, place.len(), list);
        let mut command: Command = [0; _];
        command[0] = operation::READ | (tag as u32) << 16;
        command[word::NAMESPACE] = unit.number as u32;
        let words = [data, more].map(|entry| [entry as u32, (entry >> 32) as u32]);
        command[word::DATA..word::DATA + 4].copy_from_slice(words.as_flattened());
        command[word::CDW10] = first as u32;
        command[word::CDW10 + 1] = (first >> 32) as u32;
        command[word::CDW10 + 2] = n_blocks as u32 - 1;
        reads.push(&mut self.registers, &command);
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken> {
        let Some(Queues { reads, .. }) = &mut self.queues else { return Err(Broken) };
        let completion = reads.pop(&mut self.registers);
        Ok(completion.map(|Completion { id, status }| (id.into(), status == 0)))
    }

    fn is_broken(&self) -> bool {
        // If the controller is gone, all bits read as one.
        self.has_lied || self.registers.read(CSTS) & (READY | FATAL) != READY
    }

    fn halt(&mut self) -> Result<(), usize> {
        if self.stop() {
            self.unplugged();
            return Ok(());
        }
        let queues = self.queues.take();
        let lists = take(&mut self.lists);
        let n_bytes = queues.map_or(0, |Queues { admin, reads, page }| {
            let n_bytes = page.size_bytes();
            page.give_away();
            n_bytes + admin.give_away() + reads.give_away()
        });
        let lists = lists.into_iter().flatten().map(|list| {
            let n_bytes = list.size_bytes();
            list.give_away();
            n_bytes
        });
        Err(n_bytes + lists.sum::<usize>())
    }

    fn restart(&mut self) -> Result<(), Broken> {
        let request_bytes = self.request_bytes;
        let max_in_flight = self.max_in_flight;
        let started = self.initialise();
        if started.is_ok() && self.request_bytes >= request_bytes && self.max_in_flight >= max_in_flight {
            self.request_bytes = request_bytes;
            return Ok(());
        }
        let _ = self.halt();
        Err(Broken)
    }

    fn unplugged(&mut self) {
        self.queues = None;
        self.lists.clear();
    }
}

#[cfg(test)]
mod tests;
