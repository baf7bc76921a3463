//! Translation tables that need no heap: an identity map in blocks of 2 MiB, which boot extends until it knows enough to make the
//! final map.

use core::ops::Range;

const ENTRIES: usize = 512;
const BLOCK_BYTES: u64 = 1 << 21;

/// What kind of memory is at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RAM that may contain code as well as data.
    Code,
    /// RAM that is never executed.
    Ram,
    /// Device registers.
    Device,
}

impl Kind {
    /// The block descriptor (Arm ARM, D8.3.1) without its address: valid, accessed, not global. The attribute indices are those
    /// of MAIR_EL1 in boot_map.s.
    const fn descriptor(self) -> u64 {
        const BLOCK: u64 = 0x1 | 1 << 10 | 1 << 11;
        const NORMAL: u64 = 1 << 2 | 3 << 8;
        const NEVER_EXECUTE: u64 = 3 << 53;
        match self {
            Self::Code => BLOCK | NORMAL,
            Self::Ram => BLOCK | NORMAL | NEVER_EXECUTE,
            Self::Device => BLOCK | NEVER_EXECUTE,
        }
    }
}

/// Why a range cannot be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// It reaches this address, the first one that the CPU cannot address.
    #[error("the CPU's physical addresses end at {0:#x}")]
    BeyondLimit(u64),
    /// This block is already mapped as another kind: as device registers instead of memory, or the reverse.
    #[error("the 2 MiB at {0:#x} hold memory and device registers")]
    Conflict(u64),
    /// There are no more tables.
    #[error("there are no more translation tables")]
    NoTables,
    /// The boot map has been replaced.
    #[error("the boot map has been replaced")]
    NotInUse,
}

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Table([u64; ENTRIES]);

/// An identity map with room for `N` tables, the first of which is the root (level 0, 48-bit addresses). The tables must lie at
/// their physical addresses.
pub struct BootMap<const N: usize> {
    tables: [Table; N],
    used: usize,
}

impl<const N: usize> Default for BootMap<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> BootMap<N> {
    /// An empty map. It must not be moved once something has been mapped.
    pub const fn new() -> Self {
        Self { tables: [Table([0; ENTRIES]); N], used: 0 }
    }

    /// Physical address of the root table.
    pub fn root_address(&self) -> u64 {
        self.tables.as_ptr().addr() as u64
    }

    /// Maps the blocks that `range` touches, on a CPU whose physical addresses end at `limit`. Blocks that are already mapped as
    /// RAM, with or without code, stay as they are.
    ///
    /// # Errors
    /// [`MapError`]; the blocks before the address that failed stay mapped.
    pub fn map(&mut self, range: Range<u64>, kind: Kind, limit: u64) -> Result<(), MapError> {
        if range.is_empty() {
            return Ok(());
        }
        if range.end > limit {
            return Err(MapError::BeyondLimit(limit));
        }
        let first = range.start / BLOCK_BYTES;
        let last = (range.end - 1) / BLOCK_BYTES;
        (first..=last).try_for_each(|block| self.map_block(block * BLOCK_BYTES, kind))
    }

    fn map_block(&mut self, address: u64, kind: Kind) -> Result<(), MapError> {
        const VALID: u64 = 0x1;
        const MEMORY_TYPE: u64 = 7 << 2;
        self.used = self.used.max(1);
        let mut table = 0;
        for shift in [39, 30] {
            let index = index(address, shift);
            table = self.next_table(table, index)?;
        }
        let entry = &mut self.tables[table].0[index(address, 21)];
        let descriptor = address | kind.descriptor();
        if *entry & VALID == 0 {
            *entry = descriptor;
        } else if (*entry ^ descriptor) & MEMORY_TYPE != 0 {
            return Err(MapError::Conflict(address));
        }
        Ok(())
    }

    /// The number of the table that an entry of another table points to; if it points nowhere, a new table is added.
    fn next_table(&mut self, table: usize, index: usize) -> Result<usize, MapError> {
        const TABLE: u64 = 0x3;
        let base = self.root_address();
        let size = size_of::<Table>() as u64;
        let entry = self.tables[table].0[index];
        if entry != 0 {
            return Ok(((entry - TABLE - base) / size) as usize);
        }
        if self.used == N {
            return Err(MapError::NoTables);
        }
        let new = self.used;
        self.used += 1;
        self.tables[table].0[index] = base + new as u64 * size + TABLE;
        Ok(new)
    }
}

fn index(address: u64, shift: u32) -> usize {
    (address >> shift) as usize % ENTRIES
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;
    const LIMIT: u64 = 1 << 48;

    /// What a CPU's table walk would find.
    fn descriptor<const N: usize>(map: &BootMap<N>, address: u64) -> Option<u64> {
        let mut table = &map.tables[0];
        for shift in [39, 30] {
            let entry = table.0[index(address, shift)];
            if entry & 3 != 3 {
                return None;
            }
            table = &map.tables[((entry - 3 - map.root_address()) / 4096) as usize];
        }
        let entry = table.0[index(address, 21)];
        (entry & 3 == 1).then_some(entry)
    }

    fn is_mapped<const N: usize>(map: &BootMap<N>, address: u64, kind: Kind) -> bool {
        descriptor(map, address) == Some((address / BLOCK_BYTES * BLOCK_BYTES) | kind.descriptor())
    }

    #[test]
    fn maps_what_a_range_touches_and_nothing_else() {
        let mut map = Box::new(BootMap::<8>::new());
        map.map(0x4020_0123..0x4040_0001, Kind::Code, LIMIT).unwrap();
        map.map(0x900_0000..0x900_1000, Kind::Device, LIMIT).unwrap();
        assert!(is_mapped(&map, 0x4020_0000, Kind::Code));
        assert!(is_mapped(&map, 0x405f_ffff, Kind::Code));
        assert!(is_mapped(&map, 0x900_0000, Kind::Device));
        for address in [0, 0x8f_ffff_u64, 0x920_0000, 0x4000_0000, 0x4060_0000, 0x80_0900_0000] {
            assert_eq!(descriptor(&map, address), None, "{address:#x}");
        }
    }

    #[test]
    fn a_tree_may_lie_anywhere_and_across_any_border() {
        let places = [2 * GIB - 5 * MIB, 512 * GIB - MIB, 256 * GIB + 1, LIMIT - 2 * MIB, 0];
        for place in places {
            let mut map = Box::new(BootMap::<8>::new());
            let range = place..place + 2 * MIB;
            map.map(range.clone(), Kind::Ram, LIMIT).unwrap();
            assert!(is_mapped(&map, range.start, Kind::Ram), "{place:#x}");
            assert!(is_mapped(&map, range.end - 1, Kind::Ram), "{place:#x}");
        }
    }

    #[test]
    fn memory_and_registers_do_not_share_a_block() {
        let mut map = Box::new(BootMap::<4>::new());
        map.map(0..MIB, Kind::Code, LIMIT).unwrap();
        map.map(MIB..2 * MIB, Kind::Ram, LIMIT).unwrap();
        assert!(is_mapped(&map, MIB, Kind::Code));
        assert_eq!(map.map(MIB..MIB + 1, Kind::Device, LIMIT), Err(MapError::Conflict(0)));
        map.map(2 * MIB..2 * MIB + 1, Kind::Device, LIMIT).unwrap();
        assert_eq!(map.map(0..3 * MIB, Kind::Ram, LIMIT), Err(MapError::Conflict(2 * MIB)));
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        let mut map = Box::new(BootMap::<3>::new());
        assert_eq!(map.map(1 << 40..(1 << 40) + 1, Kind::Ram, 1 << 40), Err(MapError::BeyondLimit(1 << 40)));
        assert_eq!(map.map(u64::MAX - 1..u64::MAX, Kind::Ram, LIMIT), Err(MapError::BeyondLimit(LIMIT)));
        map.map(0..0, Kind::Ram, LIMIT).unwrap();
        map.map(0..MIB, Kind::Ram, LIMIT).unwrap();
        assert_eq!(map.map(GIB..GIB + 1, Kind::Ram, LIMIT), Err(MapError::NoTables));
    }
}
