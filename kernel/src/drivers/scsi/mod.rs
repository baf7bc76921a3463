//! SCSI: finds the disks behind a host adapter, and reads them (SPC-4, SBC-3).
//!
//! [`find_units`] does not depend on an adapter: a [`Carrier`] carries commands to logical units, which is `virtio::scsi` in the
//! kernel and a list in tests. `request` is virtio's encoding of commands and their results.

pub mod request;

use super::requests::{
    Geometry, LARGEST_REQUEST_BYTES,
    controller::{FoundUnit, SEARCH_US, SILENT, SLOW, Unit, Units},
};
use crate::storage::{legible, sectors::SECTOR_BYTES};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

/// A command descriptor block.
pub type Cdb = [u8; 16];

/// The most data that a command of [`find_units`] returns.
pub const MAX_ANSWER_BYTES: usize = 8 + 8 * MAX_UNITS;

/// The most logical units of a target that are examined.
const MAX_UNITS: usize = 64;

/// Operation codes.
mod operation {
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const INQUIRY: u8 = 0x12;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_16: u8 = 0x88;
    pub const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub const REPORT_LUNS: u8 = 0xa0;
}

/// Pages of vital product data.
mod page {
    pub const SERIAL_NUMBER: u8 = 0x80;
    pub const BLOCK_LIMITS: u8 = 0xb0;
}

/// The address of a logical unit: target and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The target.
    pub target: u8,
    /// The logical unit's number, below 2^14.
    pub lun: u16,
}

impl Address {
    /// The address as one number, for [`Unit`].
    pub fn number(self) -> u64 {
        u64::from(self.target) << 16 | u64::from(self.lun)
    }

    /// The unit with this address.
    pub fn from_number(number: u64) -> Self {
        Self { target: (number >> 16) as u8, lun: number as u16 }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scsi {}:{}", self.target, self.lun)
    }
}

/// Why a command has failed: sense data (SPC-4, 4.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sense {
    /// The sense key: the kind of failure.
    pub key: u8,
    /// The additional sense code and its qualifier: the failure and its cause.
    pub code: [u8; 2],
}

impl Sense {
    /// The unit has changed since the last command, which must be repeated.
    pub const UNIT_ATTENTION: u8 = 6;
    const NOT_READY: u8 = 2;

    /// Decodes sense data in either of its formats; all zero if it is in neither.
    pub fn new(data: &[u8]) -> Self {
        let byte = |index: usize| data.get(index).copied().unwrap_or(0);
        match byte(0) & 0x7f {
            0x70 | 0x71 => Self { key: byte(2) & 0xf, code: [byte(12), byte(13)] },
            0x72 | 0x73 => Self { key: byte(1) & 0xf, code: [byte(2), byte(3)] },
            _ => Self::default(),
        }
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, code: [code, qualifier] } = self;
        write!(f, "sense {key:x}/{code:02x}/{qualifier:02x}")
    }
}

/// Why a command did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such target or unit.
    #[error("it is not there")]
    NoUnit,
    /// There has been no answer yet.
    #[error("it does not answer")]
    Silent,
    /// The unit is busy; the command should be repeated.
    #[error("it stays busy")]
    Busy,
    /// The unit reports an error with sense data.
    #[error("it does not say what it is: {0}")]
    Check(Sense),
    /// The unit has said what it is, but cannot be used yet.
    #[error("it is not ready: {0}")]
    NotReady(Sense),
    /// Anything else.
    #[error("it does not say what it is: its commands fail")]
    Failed,
}

impl Refusal {
    /// Whether the same command may succeed if it is repeated.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy | Self::Check(Sense { key: Sense::UNIT_ATTENTION, .. }))
    }

    /// Whether there is no such unit, according to the adapter or to the target (illegal request: logical unit not supported).
    fn is_absence(&self) -> bool {
        matches!(self, Self::NoUnit | Self::Check(Sense { key: 5, code: [0x25, _] }))
    }

    /// Whether the unit may have another medium, size or identity now (SPC-4, table F.2): not-ready to ready transition,
    /// parameters or capacity changed, operating conditions or inquiry data changed.
    pub fn is_change(&self) -> bool {
        matches!(self, Self::Check(Sense { key: Sense::UNIT_ATTENTION, code: [0x28 | 0x2a | 0x3f, _] }))
    }
}

/// Carries commands to logical units.
pub trait Carrier {
    /// Gives a unit a command and waits for it; it may return up to [`MAX_ANSWER_BYTES`] of data. Returns how many bytes of
    /// `data` were filled.
    ///
    /// # Errors
    /// [`Refusal`].
    fn execute(&mut self, unit: Address, command: &Cdb, data: &mut [u8]) -> Result<usize, Refusal>;

    /// Waits while a unit is busy.
    fn pause(&mut self, duration_us: u64);

    /// Microseconds since some fixed moment in the past.
    fn now_us(&self) -> u64;
}

/// How long to leave a busy unit alone after `n_tries` attempts: the time doubles with each attempt.
pub fn pause_us(n_tries: u32) -> u64 {
    10_000 << n_tries.min(8)
}

#[inline(never)]
fn number(data: &[u8]) -> u64 {
    data.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// A command that reads blocks.
pub fn read(first: u64, n_blocks: u32) -> Cdb {
    let mut command = [0; 16];
    command[0] = operation::READ_16;
    command[2..10].copy_from_slice(&first.to_be_bytes());
    command[10..14].copy_from_slice(&n_blocks.to_be_bytes());
    command
}

/// A logical unit, and the carrier through which it is asked.
struct Asked<'c> {
    carrier: &'c mut dyn Carrier,
    unit: Address,
}

impl Asked<'_> {
    /// Gives the unit a command: its operation, and further bytes with their positions. Data that the unit does not return is set to 0.
    fn ask(&mut self, operation: u8, bytes: &[(usize, u8)], data: &mut [u8]) -> Result<usize, Refusal> {
        /// A unit may have to report several changes, one per command.
        const TRIES: u32 = 8;
        let mut command = [0; 16];
        command[0] = operation;
        bytes.iter().for_each(|&(place, byte)| command[place] = byte);
        let mut outcome = Err(Refusal::Busy);
        for n_tries in 0..TRIES {
            if n_tries > 0 && outcome == Err(Refusal::Busy) {
                self.carrier.pause(pause_us(n_tries - 1));
            }
            data.fill(0);
            outcome = self.carrier.execute(self.unit, &command, data);
            if !outcome.is_err_and(|refusal| refusal.is_passing()) {
                break;
            }
        }
        outcome
    }

    /// The logical units of the target (SPC-4, 6.33).
    fn luns(&mut self) -> Result<Vec<u16>, Refusal> {
        let mut data = [0; MAX_ANSWER_BYTES];
        let [.., high, low] = (data.len() as u32).to_be_bytes();
        let n_bytes = match self.ask(operation::REPORT_LUNS, &[(8, high), (9, low)], &mut data) {
            Ok(n_bytes) => n_bytes,
            Err(Refusal::Check(_)) => return Ok(Vec::from([0])),
            Err(refusal) => return Err(refusal),
        };
        let end = n_bytes.min((number(&data[..4]) as usize).saturating_add(8));
        let listed = data.get(8..end).unwrap_or_default().chunks_exact(8);
        let mut luns = Vec::new();
        for entry in listed {
            let lun = match (entry[0] >> 6, entry[0] & 0x3f) {
                // Peripheral device addressing on bus 0, and flat space addressing.
                (0, 0) => u16::from(entry[1]),
                (1, high) => u16::from(high) << 8 | u16::from(entry[1]),
                _ => continue,
            };
            if !luns.contains(&lun) {
                luns.push(lun);
            }
        }
        Ok(luns)
    }

    /// Asks the unit for its standard inquiry data, or for a page of vital product data (SPC-4, 6.6).
    fn inquire(&mut self, page: Option<u8>, data: &mut [u8]) -> Result<usize, Refusal> {
        let length = (4, data.len() as u8);
        match page {
            None => self.ask(operation::INQUIRY, &[length], data),
            Some(page) => {
                let n_bytes = self.ask(operation::INQUIRY, &[(1, 1), (2, page), length], data)?;
                if data[1] != page {
                    return Err(Refusal::Failed);
                }
                Ok(n_bytes.min(4 + number(&data[2..4]) as usize))
            }
        }
    }

    /// The serial number, empty if there is none (SPC-4, 7.8.15).
    fn serial(&mut self) -> String {
        let mut data = [0; 255];
        let n_bytes = self.inquire(Some(page::SERIAL_NUMBER), &mut data).unwrap_or(0);
        legible(data.get(4..n_bytes).unwrap_or_default())
    }

    /// The number of blocks and their size (SBC-3, 5.15 and 5.16).
    fn capacity(&mut self) -> Result<(u64, u64), Refusal> {
        const READ_CAPACITY_16: u8 = 0x10;
        let mut data = [0; 32];
        let long = [(1, READ_CAPACITY_16), (13, data.len() as u8)];
        let (last, block_bytes) = match self.ask(operation::SERVICE_ACTION_IN_16, &long, &mut data) {
            Ok(12..) => (number(&data[..8]), number(&data[8..12])),
            Ok(_) => return Err(Refusal::Failed),
            Err(Refusal::Silent) => return Err(Refusal::Silent),
            Err(_) => match self.ask(operation::READ_CAPACITY_10, &[], &mut data[..8])? {
                8.. => (number(&data[..4]), number(&data[4..8])),
                _ => return Err(Refusal::Failed),
            },
        };
        Ok((last.saturating_add(1), block_bytes))
    }

    /// The geometry of a disk whose commands transfer up to `limit_bytes`.
    fn geometry(&mut self, limit_bytes: usize) -> Result<Result<Geometry, String>, Refusal> {
        const LARGEST_BLOCK_BYTES: u64 = 64 << 10;
        match self.ask(operation::TEST_UNIT_READY, &[], &mut []) {
            Err(Refusal::Check(Sense { key: Sense::NOT_READY, code: [0x3a, _] })) => {
                return Ok(Err("there is no medium in it".into()));
            }
            Err(Refusal::Check(sense)) => return Err(Refusal::NotReady(sense)),
            other => other?,
        };
        let (n_blocks, block_bytes) = self.capacity()?;
        if !block_bytes.is_power_of_two()
            || !(SECTOR_BYTES as u64..=LARGEST_BLOCK_BYTES).contains(&block_bytes)
        {
            return Ok(Err(format!(
                "its blocks have {block_bytes} bytes; expected a power of two from {SECTOR_BYTES} to {LARGEST_BLOCK_BYTES}"
            )));
        }
        // The limit counts blocks; 0 means no limit (SBC-3, 6.5.3).
        let mut data = [0; 64];
        let n_bytes = self.inquire(Some(page::BLOCK_LIMITS), &mut data).unwrap_or(0);
        let most = number(data.get(8..12.min(n_bytes)).unwrap_or_default());
        let limit_bytes = match most {
            0 => limit_bytes as u64,
            _ => (most * block_bytes).min(limit_bytes as u64),
        };
        let request_bytes = (limit_bytes / block_bytes * block_bytes) as usize;
        if request_bytes == 0 {
            return Ok(Err(format!("its blocks have {block_bytes} bytes, more than a command transfers")));
        }
        let sector_count = n_blocks.saturating_mul(block_bytes / SECTOR_BYTES as u64);
        let block_bytes = block_bytes as usize;
        Ok(Ok(Geometry { sector_count, block_bytes, request_bytes, align_bytes: 1 }))
    }

    /// Adds the unit if it exists. A unit that says it is a disk but fails other commands exists too.
    fn add(&mut self, limit_bytes: usize, units: &mut Units) -> Result<(), Refusal> {
        const DISK: u8 = 0x00;
        let mut data = [0; 36];
        self.inquire(None, &mut data)?;
        // A non-zero qualifier in the upper bits means that nothing is attached.
        let kind = match data[0] {
            DISK => "a SCSI disk",
            0x01 => "a SCSI tape drive",
            0x05 => "a SCSI CD-ROM drive",
            0x02..0x20 => "a SCSI device",
            _ => return Ok(()),
        };
        let name = self.unit.to_string();
        let geometry = match data[0] {
            DISK => match self.geometry(limit_bytes) {
                Ok(geometry) => geometry,
                Err(refusal @ (Refusal::NoUnit | Refusal::Silent)) => return Err(refusal),
                Err(refusal) => {
                    units.unsure.push(name.clone());
                    Err(format!("{refusal}"))
                }
            },
            _ => Err("models are read from disks only".into()),
        };
        match geometry {
            Ok(geometry) => {
                let unit = Unit { number: self.unit.number(), geometry };
                units.disks.push(FoundUnit { unit, name, serial: self.serial() });
            }
            Err(reason) => units.refused.push((name, kind, reason)),
        }
        Ok(())
    }
}

/// Records that a unit may exist but could not be identified, and how often this has happened in a row.
///
/// # Errors
/// Why the search ends.
fn note(
    units: &mut Units,
    n_failures: &mut usize,
    (name, what): (String, &'static str),
    refusal: Refusal,
) -> Result<(), &'static str> {
    /// If this many units fail in a row, the adapter itself is the problem.
    const MAX_FAILURES: usize = 8;
    if refusal.is_absence() {
        return Ok(());
    }
    if refusal == Refusal::Silent {
        return Err(SILENT);
    }
    units.unsure.push(name.clone());
    units.refused.push((name, what, format!("{refusal}")));
    *n_failures += 1;
    if *n_failures < MAX_FAILURES {
        Ok(())
    } else {
        Err("it is not searched further: all that it is asked fails")
    }
}

/// Adds the units behind an adapter.
///
/// # Errors
/// Why the search is incomplete.
fn search(
    carrier: &mut dyn Carrier,
    max_target: u8,
    limit_bytes: usize,
    units: &mut Units,
) -> Result<(), &'static str> {
    let until_us = carrier.now_us().saturating_add(SEARCH_US);
    let limit_bytes = limit_bytes.min(LARGEST_REQUEST_BYTES);
    let mut n_failures = 0;
    for target in 0..=max_target {
        let mut asked = Asked { carrier, unit: Address { target, lun: 0 } };
        // If the adapter is slow, not all targets, and not all units of a target, are examined.
        let is_late = |asked: &Asked<'_>| asked.carrier.now_us() >= until_us;
        if is_late(&asked) {
            return Err(SLOW);
        }
        let listed = asked.luns();
        if let Err(refusal) = listed {
            note(units, &mut n_failures, (format!("scsi {target}:"), "a SCSI target"), refusal)?;
        }
        for lun in listed.unwrap_or_default() {
            if is_late(&asked) {
                return Err(SLOW);
            }
            asked.unit.lun = lun;
            match asked.add(limit_bytes, units) {
                Ok(()) => n_failures = 0,
                Err(refusal) => {
                    note(units, &mut n_failures, (asked.unit.to_string(), "a SCSI unit"), refusal)?;
                }
            }
        }
    }
    Ok(())
}

/// Finds the units behind an adapter with targets up to `max_target`, whose commands transfer up to `limit_bytes`.
pub fn find_units(carrier: &mut dyn Carrier, max_target: u8, limit_bytes: usize) -> Units {
    let mut units = Units::default();
    units.unfinished = search(carrier, max_target, limit_bytes, &mut units).err();
    units
}

/// Asks for the size of a disk in sectors; `None` if there is no answer, 0 if the disk is gone or its blocks have another size.
pub fn sector_count(carrier: &mut dyn Carrier, unit: &Unit) -> Option<u64> {
    let mut asked = Asked { carrier, unit: Address::from_number(unit.number) };
    match asked.capacity() {
        Ok((n_blocks, block_bytes)) if block_bytes == unit.geometry.block_bytes as u64 => {
            Some(n_blocks.saturating_mul(block_bytes / SECTOR_BYTES as u64))
        }
        Ok(_) => Some(0),
        Err(refusal) => refusal.is_absence().then_some(0),
    }
}

/// Whether a read may be repeated on a unit that says that it [may have changed](Refusal::is_change): its blocks up to `end` must
/// still exist and have the same size.
pub fn still_has(carrier: &mut dyn Carrier, unit: &Unit, end: u64) -> bool {
    let sectors_per_block = (unit.geometry.block_bytes / SECTOR_BYTES) as u64;
    sector_count(carrier, unit).is_some_and(|sectors| end.saturating_mul(sectors_per_block) <= sectors)
}

#[cfg(test)]
mod tests;
