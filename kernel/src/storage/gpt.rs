//! The GUID Partition Table of a disk (UEFI 2.10, 5.3).
//!
//! A table is read completely, both of its checksums are compared, and it is used only if everything in it is possible. The
//! second table, at the end of the disk, is used if the first one is broken.

use super::{BlockDevice, ReadError};
use alloc::{string::String, vec, vec::Vec};
use core::ops::Range;

/// The most entries that a table may have: eight times the usual number.
const MAX_ENTRIES: u32 = 1024;

/// Sizes of entries; they must be powers of two.
const ENTRY_BYTES: Range<u32> = 128..4097;

/// Size of a header, without the reserved rest of the block.
const HEADER_BYTES: usize = 92;

/// The block of the first header.
const FIRST_HEADER: u64 = 1;

/// Type of the partition that firmware boots from, C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
const EFI_SYSTEM: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the table, from 1.
    pub number: u32,
    /// Its name, empty if it has none.
    pub label: String,
    /// Its place on the disk.
    pub bytes: Range<u64>,
    /// True for the partition that firmware boots from.
    pub is_efi_system: bool,
    /// Its unique identifier.
    pub guid: [u8; 16],
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its partitions, in the order of their numbers.
    pub entries: Vec<Entry>,
    /// What is wrong with the first table, if this is the second one.
    pub instead_of: Option<Fault>,
}

/// Why a table is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no header.
    #[error("no header is in block {block}, of {block_bytes} bytes")]
    NoHeader {
        /// The block where it should be.
        block: u64,
        /// The block size.
        block_bytes: usize,
    },
    /// The header's length, revision or own address is wrong.
    #[error("the header has another length, revision or place")]
    Header,
    /// The header's checksum is wrong.
    #[error("the header's checksum is wrong")]
    HeaderChecksum,
    /// The number, the size or the place of the entries is impossible.
    #[error("{count} entries of {entry_bytes} bytes from block {block} on cannot be")]
    Entries {
        /// Their number.
        count: u32,
        /// The size of each.
        entry_bytes: u32,
        /// The first block.
        block: u64,
    },
    /// The table's checksum is wrong.
    #[error("the checksum of the entries is wrong")]
    EntriesChecksum,
    /// A partition has an impossible place.
    #[error("partition {number} cannot have the blocks {first} to {last}")]
    Place {
        /// Its number.
        number: u32,
        /// Its first block.
        first: u64,
        /// Its last block.
        last: u64,
    },
    /// Two partitions overlap.
    #[error("the partitions {} and {} overlap", .numbers[0], .numbers[1])]
    Overlap {
        /// Their numbers.
        numbers: [u32; 2],
    },
    /// The disk could not be read.
    #[error("{0}")]
    Read(ReadError),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// CRC-32, computed piece by piece (UEFI 2.10, 5.3.2: the CCITT polynomial, as in Ethernet).
struct Checksum(u32);

impl Checksum {
    fn new() -> Self {
        Self(u32::MAX)
    }

    fn add(&mut self, bytes: &[u8]) {
        const POLYNOMIAL: u32 = 0xedb8_8320;
        for &byte in bytes {
            self.0 ^= u32::from(byte);
            for _ in 0..8 {
                self.0 = self.0 >> 1 ^ if self.0 & 1 != 0 { POLYNOMIAL } else { 0 };
            }
        }
    }

    fn is(&self, expected: u32) -> bool {
        !self.0 == expected
    }
}

#[inline(never)]
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn number_32(bytes: &[u8]) -> u32 {
    number(bytes) as u32
}

/// The table of a disk. `None` if its first block says that it is not divided (UEFI 2.10, 5.2.3), or if that cannot be read.
///
/// # Errors
/// What is wrong with the first table, if the second one is broken too.
pub fn read(disk: &mut dyn BlockDevice) -> Result<Option<Table>, Fault> {
    match is_divided(disk) {
        Ok(true) => read_either(disk).map(Some),
        Ok(false) | Err(_) => Ok(None),
    }
}

/// Whether the first block of a disk says that there is a table.
///
/// # Errors
/// If the block cannot be read, although the disk is long enough to have a table.
pub fn is_divided(disk: &mut dyn BlockDevice) -> Result<bool, ReadError> {
    const RECORDS: Range<usize> = 446..510;
    const TYPE: usize = 4;
    const PROTECTIVE: u8 = 0xee;
    let mut boot_record = [0; 512];
    match disk.read_at(0, &mut boot_record) {
        Ok(()) => {}
        Err(ReadError::OutOfRange { .. }) => return Ok(false),
        Err(error) => return Err(error),
    }
    let mut records = boot_record[RECORDS].chunks_exact(16);
    Ok(boot_record[RECORDS.end..] == [0x55, 0xaa] && records.any(|record| record[TYPE] == PROTECTIVE))
}

/// The table of a disk that has one.
///
/// # Errors
/// Those of [`read`].
pub fn read_either(disk: &mut dyn BlockDevice) -> Result<Table, Fault> {
    let n_blocks = disk.capacity_bytes() / disk.block_bytes() as u64;
    let fault = match read_table(disk, FIRST_HEADER, n_blocks) {
        Ok(entries) => return Ok(Table { entries, instead_of: None }),
        Err(fault) => fault,
    };
    match read_table(disk, n_blocks.saturating_sub(1), n_blocks) {
        Ok(entries) => Ok(Table { entries, instead_of: Some(fault) }),
        Err(_) => Err(fault),
    }
}

/// The entries of the table whose header is in block `place`.
fn read_table(disk: &mut dyn BlockDevice, place: u64, n_blocks: u64) -> Result<Vec<Entry>, Fault> {
    const REVISION: u32 = 0x0001_0000;
    const CHECKSUM: Range<usize> = 16..20;
    let block_bytes = disk.block_bytes();
    let mut header = vec![0; block_bytes];
    disk.read_at(place.saturating_mul(block_bytes as u64), &mut header)?;
    if !header.starts_with(b"EFI PART") {
        return Err(Fault::NoHeader { block: place, block_bytes });
    }
    let length = number_32(&header[12..16]) as usize;
    if number_32(&header[8..12]) != REVISION
        || !(HEADER_BYTES..=block_bytes).contains(&length)
        || number(&header[24..32]) != place
    {
        return Err(Fault::Header);
    }
    let expected = number_32(&header[CHECKSUM]);
    header[CHECKSUM].fill(0);
    let mut checksum = Checksum::new();
    checksum.add(&header[..length]);
    if !checksum.is(expected) {
        return Err(Fault::HeaderChecksum);
    }

    let usable = number(&header[40..48])..=number(&header[48..56]);
    let block = number(&header[72..80]);
    let (count, entry_bytes) = (number_32(&header[80..84]), number_32(&header[84..88]));
    let n_bytes = u64::from(count) * u64::from(entry_bytes);
    let is_within = block >= 2
        && block.checked_add(n_bytes.div_ceil(block_bytes as u64)).is_some_and(|end| end <= n_blocks);
    if count > MAX_ENTRIES
        || !ENTRY_BYTES.contains(&entry_bytes)
        || !entry_bytes.is_power_of_two()
        || !is_within
    {
        return Err(Fault::Entries { count, entry_bytes, block });
    }
    let expected = number_32(&header[88..92]);
    let entries = read_entries(disk, block * block_bytes as u64, count, entry_bytes as usize, expected)?;
    // Until here, places count blocks.
    let placed = entries.into_iter().map(|entry| entry.placed(block_bytes as u64, n_blocks, &usable));
    let entries = placed.collect::<Result<Vec<_>, _>>()?;
    check_overlap(&entries)?;
    Ok(entries)
}

/// Rejects overlapping partitions, which are not allowed (UEFI 2.10, 5.3.1).
fn check_overlap(entries: &[Entry]) -> Result<(), Fault> {
    for (index, second) in entries.iter().enumerate() {
        let overlaps =
            |first: &&Entry| first.bytes.start < second.bytes.end && second.bytes.start < first.bytes.end;
        if let Some(first) = entries[..index].iter().find(overlaps) {
            return Err(Fault::Overlap { numbers: [first.number, second.number] });
        }
    }
    Ok(())
}

/// The entries in use. Their places count blocks and include the last one.
fn read_entries(
    disk: &mut dyn BlockDevice,
    start: u64,
    count: u32,
    entry_bytes: usize,
    expected: u32,
) -> Result<Vec<Entry>, Fault> {
    let mut checksum = Checksum::new();
    let mut entries = Vec::new();
    let mut page = [0; 4096];
    let mut numbers = 1..=count;
    let n_bytes = count as usize * entry_bytes;
    for from in (0..n_bytes).step_by(page.len()) {
        let page = &mut page[..(n_bytes - from).min(4096)];
        disk.read_at(start + from as u64, page)?;
        checksum.add(page);
        for (entry, number) in page.chunks_exact(entry_bytes).zip(&mut numbers) {
            entries.extend(Entry::new(entry, number));
        }
    }
    if checksum.is(expected) { Ok(entries) } else { Err(Fault::EntriesChecksum) }
}

impl Entry {
    /// Decodes an entry (UEFI 2.10, 5.3.3), with its place in blocks; `None` if it is not in use.
    fn new(entry: &[u8], place: u32) -> Option<Self> {
        let (kind, guid) = (entry[..16].as_array()?, entry[16..32].as_array()?);
        if *kind == [0; 16] {
            return None;
        }
        let units = entry[56..128].chunks_exact(2).map(|unit| number(unit) as u16);
        let label = char::decode_utf16(units.take_while(|&unit| unit != 0));
        // Control characters, which a terminal would obey, are left out of the name.
        let legible =
            |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        Some(Self {
            number: place,
            label: label.map(|character| legible(character.unwrap_or(char::REPLACEMENT_CHARACTER))).collect(),
            bytes: number(&entry[32..40])..number(&entry[40..48]),
            is_efi_system: *kind == EFI_SYSTEM,
            guid: *guid,
        })
    }

    /// Converts the place to bytes.
    fn placed(
        self,
        block_bytes: u64,
        n_blocks: u64,
        usable: &core::ops::RangeInclusive<u64>,
    ) -> Result<Self, Fault> {
        let Range { start: first, end: last } = self.bytes;
        if first > last || last >= n_blocks || !usable.contains(&first) || !usable.contains(&last) {
            return Err(Fault::Place { number: self.number, first, last });
        }
        Ok(Self { bytes: first * block_bytes..(last + 1) * block_bytes, ..self })
    }
}

#[cfg(test)]
pub(super) mod tests;
