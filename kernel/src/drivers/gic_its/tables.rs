//! The tables in which an Interrupt Translation Service and a redistributor keep their state (GIC architecture, 5.1 and 5.2).

use super::{Block, GITS_BASER, ItsError, commands::clean_pages};
use crate::drivers::dma::{PAGE_BYTES, Pages};
use alloc::vec::Vec;
use core::ops::Range;

/// The position of the cacheability field in registers that hold an address: in those of the service, and in those of redistributors.
pub const SERVICE: u32 = 59;
pub const REDISTRIBUTOR: u32 = 7;

/// Inner shareable, in bits 11:10.
const INNER_SHAREABLE: u64 = 1 << 10;
const SHAREABILITY: u64 = 3 << 10;

/// Cacheability: write-back with read and write allocation; not cacheable.
const WRITE_BACK: u64 = 7;
const NOT_CACHEABLE: u64 = 1;

const VALID: u64 = 1 << 63;

/// Writes the address of a table that the CPU caches to a register. If the hardware cannot see the caches, it reads the memory directly.
pub fn set_base(registers: &mut dyn Block, offset: usize, value: u64, cacheability: u32) {
    registers.write_u64(offset, value | INNER_SHAREABLE | WRITE_BACK << cacheability);
    if registers.read_u64(offset) & SHAREABILITY == 0 {
        registers.write_u64(offset, value | NOT_CACHEABLE << cacheability);
    }
}

/// The service's table of devices: either a flat table, or a table that points to pages.
pub struct DeviceTable {
    table: Pages,
    /// Number of bits in device numbers. The service ignores commands for larger numbers, possibly without reporting an error.
    device_bits: u32,
    /// Number of devices per page, or in the flat table.
    per_page: usize,
    /// The page for each entry of the first level; empty if the table is flat.
    pages: Vec<Option<Pages>>,
    page_bytes: usize,
    clean: fn(Range<usize>),
}

/// Gives the service its tables: one for devices and, if it keeps collections in memory, one for these.
pub fn set_up(
    registers: &mut dyn Block,
    kind: u64,
    clean: fn(Range<usize>),
) -> Result<DeviceTable, ItsError> {
    const N_TABLES: usize = 8;
    const DEVICES: u64 = 1;
    const COLLECTIONS: u64 = 4;
    const INDIRECT: u64 = 1 << 62;
    /// Bits 9:8: pages of 4, 16 or 64 KiB.
    const PAGE_SIZE_SHIFT: u32 = 8;
    /// The size limit of a flat table.
    const FLAT_BYTES: usize = 64 << 10;
    let device_bits = (kind >> 13 & 0x1f) as u32 + 1;
    let mut devices = None;
    for offset in (GITS_BASER..).step_by(size_of::<u64>()).take(N_TABLES) {
        let what = registers.read_u64(offset) >> 56 & 7;
        // Ask for the smallest pages and, if the service supports that, two levels.
        let wanted = if what == DEVICES { INDIRECT } else { 0 };
        registers.write_u64(offset, wanted);
        let has = registers.read_u64(offset);
        let page_bytes = PAGE_BYTES << (2 * (has >> PAGE_SIZE_SHIFT & 3).min(2));
        let entry_bytes = (has >> 48 & 0x1f) as usize + 1;
        let is_indirect = has & wanted != 0;
        let bytes = match what {
            DEVICES if is_indirect => page_bytes,
            DEVICES => entry_bytes << device_bits.min(16),
            COLLECTIONS => page_bytes,
            _ => continue,
        };
        let n_pages = bytes.min(FLAT_BYTES).div_ceil(page_bytes);
        let bytes = n_pages * page_bytes;
        let table = clean_pages(bytes / PAGE_BYTES, page_bytes, clean).ok_or(ItsError::NoMemory)?;
        let page_size = has & 3 << PAGE_SIZE_SHIFT;
        let value = VALID | wanted & has | table.address() | page_size | (n_pages as u64 - 1);
        set_base(registers, offset, value, SERVICE);
        if what == DEVICES {
            let per_page = if is_indirect { page_bytes } else { bytes } / entry_bytes;
            let mut pages = Vec::new();
            if is_indirect {
                pages.resize_with(page_bytes / size_of::<u64>(), || None);
            }
            devices = Some(DeviceTable { table, device_bits, per_page, pages, page_bytes, clean });
        } else {
            // The table belongs to the service for ever.
            table.give_away();
        }
    }
    devices.ok_or(ItsError::NoInterrupts)
}

impl DeviceTable {
    /// Makes sure that the table has room for a device.
    ///
    /// # Errors
    /// If this is not possible.
    pub fn make_room(&mut self, device: u32) -> Result<(), ItsError> {
        let no_room = ItsError::NoRoom { device };
        if u64::from(device) >> self.device_bits != 0 {
            return Err(no_room);
        }
        let index = device as usize / self.per_page.max(1);
        if self.pages.is_empty() {
            return (index == 0).then_some(()).ok_or(no_room);
        }
        let page = self.pages.get_mut(index).ok_or(no_room)?;
        if page.is_none() {
            let new = clean_pages(self.page_bytes / PAGE_BYTES, self.page_bytes, self.clean);
            let new = new.ok_or(ItsError::NoMemory)?;
            self.table.write_u64(2 * index, VALID | new.address());
            *page = Some(new);
            let entry = self.table.address() as usize + size_of::<u64>() * index;
            (self.clean)(entry..entry + size_of::<u64>());
        }
        Ok(())
    }
}

/// The redistributors' tables of the first 8192 locality-specific interrupts: their properties, and which are pending.
pub struct MessageTables {
    properties: Pages,
    pending: Pages,
    clean: fn(Range<usize>),
}

/// The number of bits in the highest interrupt number.
const NUMBER_BITS: u64 = 14;

/// One byte per interrupt: the priority in its upper bits, one bit that must be set, and one bit that says whether the interrupt
/// is enabled.
const PROPERTIES: u32 = 0xa0 | 1 << 1;
const IS_ENABLED: u32 = 1;

impl MessageTables {
    /// Tables with all interrupts disabled and none pending; `None` if there is no memory.
    pub fn new(clean: fn(Range<usize>)) -> Option<Self> {
        const PENDING_ALIGN_BYTES: usize = 0x1_0000;
        let mut properties = clean_pages(2, PAGE_BYTES, clean)?;
        for word in 0..properties.size_bytes() / size_of::<u32>() {
            properties.write(word, PROPERTIES * 0x0101_0101);
        }
        let start = properties.address() as usize;
        clean(start..start + properties.size_bytes());
        Some(Self { properties, pending: clean_pages(1, PENDING_ALIGN_BYTES, clean)?, clean })
    }

    /// The values of GICR_PROPBASER and GICR_PENDBASER, without attributes.
    pub fn bases(&self) -> (u64, u64) {
        (self.properties.address() | (NUMBER_BITS - 1), self.pending.address())
    }

    /// Enables the interrupt with this index, which counts from 0 and must be below 8192.
    pub fn enable(&mut self, index: usize) {
        let word = index / size_of::<u32>();
        let bit = IS_ENABLED << (index % size_of::<u32>() * 8);
        self.properties.write(word, self.properties.read(word) | bit);
        let start = self.properties.address() as usize + index;
        (self.clean)(start..start + 1);
    }
}
