//! Reads translation tables as the CPU's table walk does, and reports what they allow.
//!
//! [`walk`] goes through the tables of stage 1 in the EL1&0 regime with a granule of 4 KiB (Arm ARM, D8.3) and passes on every
//! [`Mapping`]; neighbours that allow the same are joined. The caller says where the tables are and how to read them, so the same
//! code reads the live tables and those that a test constructs.

use core::{fmt, ops::Range};

/// Descriptors in a table.
pub const ENTRIES: usize = 512;

/// The most tables that are read, so that a loop in broken tables ends. 512 cores and 1 TiB need some hundred tables.
const MAX_TABLES: usize = 1 << 14;

/// Which accesses are allowed to whom: the combined effect of descriptors and system registers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Access(u16);

impl Access {
    /// Normal memory, write-back cacheable, both inner and outer.
    pub const CACHED: Self = Self(1 << 0);
    /// Device memory of any kind. Memory that is neither cached nor device memory is normal memory of another kind.
    pub const DEVICE: Self = Self(1 << 1);
    /// EL1 may write.
    pub const WRITE: Self = Self(1 << 2);
    /// EL1 may execute.
    pub const EXECUTE: Self = Self(1 << 3);
    /// EL0 may read.
    pub const EL0: Self = Self(1 << 4);
    /// EL0 may execute, which does not require that it may read.
    pub const EL0_EXECUTE: Self = Self(1 << 5);
    /// The translation holds for all ASIDs.
    pub const GLOBAL: Self = Self(1 << 6);
    /// The access flag is clear: the first access faults.
    pub const UNTOUCHABLE: Self = Self(1 << 7);
    /// Indirect branches must land on `BTI` (`FEAT_BTI`).
    pub const GUARDED: Self = Self(1 << 8);
    /// The physical address differs from the virtual address.
    pub const MOVED: Self = Self(1 << 9);

    /// The union of both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everything in `other` is included.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    const fn when(self, condition: bool) -> u16 {
        if condition { self.0 } else { 0 }
    }
}

/// `r-x`, followed by what is unusual: `rw- device, EL0`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNUSUAL: [(Access, &str); 6] = [
            (Access::EL0, "EL0"),
            (Access::EL0_EXECUTE, "executable at EL0"),
            (Access::GLOBAL, "global"),
            (Access::UNTOUCHABLE, "access flag clear"),
            (Access::GUARDED, "guarded"),
            (Access::MOVED, "not at its physical address"),
        ];
        let letter = |access, letter| if self.has(access) { letter } else { '-' };
        write!(f, "r{}{} ", letter(Self::WRITE, 'w'), letter(Self::EXECUTE, 'x'))?;
        f.write_str(match () {
            () if self.has(Self::CACHED) => "cached",
            () if self.has(Self::DEVICE) => "device",
            () => "uncached",
        })?;
        let mut unusual = UNUSUAL.iter().filter(|(access, _)| self.has(*access));
        unusual.try_for_each(|(_, name)| write!(f, ", {name}"))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The system registers that affect the tables.
#[derive(Clone, Copy)]
pub struct Registers {
    /// Address of the table of level 0, from `TTBR0_EL1`, with addresses of 48 bits.
    pub root: u64,
    /// `MAIR_EL1`: eight memory types (D23.2.100).
    pub memory_types: u64,
    /// `SCTLR_EL1.WXN`: writable memory is never executed.
    pub write_implies_never_execute: bool,
}

/// A range of virtual addresses that is mapped in the same way throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The addresses.
    pub range: Range<u64>,
    /// What is allowed.
    pub access: Access,
}

/// Why tables cannot be read completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// A descriptor names this address, where there cannot be a table.
    #[error("a descriptor names {0:#x}, where no table is")]
    NoTable(u64),
    /// There are more than 16384 tables: they form a loop.
    #[error("more than {MAX_TABLES} translation tables")]
    TooMany,
}

/// Returns the table at an address, or `None` if there cannot be one.
pub type ReadTable<'r, 't> = &'r dyn Fn(u64) -> Option<&'t [u64; ENTRIES]>;

/// Passes everything that is mapped to `visit`, in ascending order, and returns the number of tables.
///
/// # Errors
/// [`WalkError`]; the mappings up to there have been passed on.
pub fn walk(
    registers: &Registers,
    table: ReadTable<'_, '_>,
    visit: &mut dyn FnMut(Mapping),
) -> Result<usize, WalkError> {
    let mut walk = Walk { registers, table, visit, pending: None, n_tables: 0 };
    walk.table(registers.root, 0, 0, 0)?;
    walk.give();
    Ok(walk.n_tables)
}

struct Walk<'w, 't> {
    registers: &'w Registers,
    table: ReadTable<'w, 't>,
    visit: &'w mut dyn FnMut(Mapping),
    pending: Option<Mapping>,
    n_tables: usize,
}

/// Fields of descriptors (D8.3.1, D8.3.2).
const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const ADDRESS: u64 = 0xffff_ffff_f000;
const AP_EL0: u64 = 1 << 6;
const AP_READ_ONLY: u64 = 1 << 7;
const ACCESS_FLAG: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const GUARDED: u64 = 1 << 50;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;

impl Walk<'_, '_> {
    /// Reads the table at `address`, whose first descriptor is for the address `base`. `limits` are the restrictions that tables
    /// above impose, as bits in the positions of a page's descriptor; [`AP_EL0`] means that EL0 is excluded.
    fn table(&mut self, address: u64, level: u32, base: u64, limits: u64) -> Result<(), WalkError> {
        const LAST_LEVEL: u32 = 3;
        if self.n_tables == MAX_TABLES {
            return Err(WalkError::TooMany);
        }
        self.n_tables += 1;
        let entries = (self.table)(address).ok_or(WalkError::NoTable(address))?;
        let size = 1 << (39 - 9 * level);
        for (index, &entry) in (0..).zip(entries) {
            if entry & VALID == 0 {
                continue;
            }
            let start = base + index * size;
            match (entry & TABLE_OR_PAGE != 0, level) {
                (true, LAST_LEVEL) | (false, 1 | 2) => {
                    let output = entry & ADDRESS & !(size - 1);
                    let access = self.access(entry, limits).0 | Access::MOVED.when(output != start);
                    self.add(Mapping { range: start..start + size, access: Access(access) });
                }
                (true, _) => {
                    self.table(entry & ADDRESS, level + 1, start, limits | table_limits(entry))?;
                }
                // Reserved, which is treated like invalid.
                (false, _) => {}
            }
        }
        Ok(())
    }

    fn access(&self, entry: u64, limits: u64) -> Access {
        let memory_type = (self.registers.memory_types >> ((entry >> 2 & 7) * 8)) as u8;
        let writable = (entry | limits) & AP_READ_ONLY == 0;
        let el0 = entry & AP_EL0 != 0 && limits & AP_EL0 == 0;
        let never_execute = entry | limits;
        let wxn = self.registers.write_implies_never_execute && writable;
        // Memory that EL0 may write is never executed at EL1 (D8.4.1).
        let execute = never_execute & PXN == 0 && !wxn && !(writable && el0);
        let el0_execute = never_execute & UXN == 0 && !(wxn && el0);
        Access(
            Access::CACHED.when(memory_type == 0xff)
                | Access::DEVICE.when(memory_type >> 4 == 0)
                | Access::WRITE.when(writable)
                | Access::EXECUTE.when(execute)
                | Access::EL0.when(el0)
                | Access::EL0_EXECUTE.when(el0_execute)
                | Access::GLOBAL.when(entry & NOT_GLOBAL == 0)
                | Access::UNTOUCHABLE.when(entry & ACCESS_FLAG == 0)
                | Access::GUARDED.when(entry & GUARDED != 0),
        )
    }

    fn add(&mut self, mapping: Mapping) {
        match &mut self.pending {
            Some(last) if last.range.end == mapping.range.start && last.access == mapping.access => {
                last.range.end = mapping.range.end;
            }
            _ => {
                self.give();
                self.pending = Some(mapping);
            }
        }
    }

    fn give(&mut self) {
        if let Some(mapping) = self.pending.take() {
            (self.visit)(mapping);
        }
    }
}

/// The restrictions that a table's descriptor imposes on everything below: `PXNTable`, `UXNTable`, `APTable` (D8.3.1.2).
fn table_limits(entry: u64) -> u64 {
    let when = |bit: u32, limit: u64| if entry >> bit & 1 != 0 { limit } else { 0 };
    when(59, PXN) | when(60, UXN) | when(61, AP_EL0) | when(62, AP_READ_ONLY)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::{boxed::Box, collections::BTreeMap, string::ToString, vec, vec::Vec};

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    /// A leaf descriptor for normal memory that EL1 may read: accessed, not global, never executed, read-only.
    pub(in crate::memory) const READ: u64 =
        VALID | 1 << 2 | 3 << 8 | ACCESS_FLAG | NOT_GLOBAL | AP_READ_ONLY | PXN | UXN;
    const TABLE: u64 = VALID | TABLE_OR_PAGE;
    const TYPES: u64 = 0x44_ff04;

    /// Tables that a test constructs, at made-up addresses.
    pub(in crate::memory) struct Forged {
        tables: BTreeMap<u64, Box<[u64; ENTRIES]>>,
        pub(in crate::memory) registers: Registers,
    }

    impl Forged {
        pub(in crate::memory) fn new() -> Self {
            let registers =
                Registers { root: 0x1000, memory_types: TYPES, write_implies_never_execute: false };
            Self { tables: BTreeMap::from([(0x1000, Box::new([0; ENTRIES]))]), registers }
        }

        /// Sets the descriptor of `address` at a level. Unless it is invalid, the address is added to it; missing tables above
        /// are created.
        pub(in crate::memory) fn set(&mut self, level: u32, address: u64, descriptor: u64) -> &mut Self {
            let mut table = self.registers.root;
            for above in 0..level {
                let next = 0x1000 * (self.tables.len() as u64 + 1);
                let entry = &mut self.tables.get_mut(&table).unwrap()[index(above, address)];
                if *entry == 0 {
                    *entry = next | TABLE;
                }
                table = *entry & ADDRESS;
                self.tables.entry(table).or_insert_with(|| Box::new([0; ENTRIES]));
            }
            let page = if level == 3 { TABLE_OR_PAGE } else { 0 };
            self.tables.get_mut(&table).unwrap()[index(level, address)] = address | descriptor | page;
            self
        }

        /// Sets bits in the table descriptor of `address` at a level.
        pub(in crate::memory) fn limit(&mut self, level: u32, address: u64, bits: u64) -> &mut Self {
            let mut table = self.registers.root;
            for above in 0..level {
                table = self.tables[&table][index(above, address)] & ADDRESS;
            }
            self.tables.get_mut(&table).unwrap()[index(level, address)] |= bits;
            self
        }

        /// Maps pages, all with the same descriptor.
        pub(in crate::memory) fn pages(&mut self, range: Range<u64>, descriptor: u64) -> &mut Self {
            for page in range.step_by(4096) {
                self.set(3, page, descriptor);
            }
            self
        }

        pub(in crate::memory) fn read<'t>(&'t self) -> impl Fn(u64) -> Option<&'t [u64; ENTRIES]> {
            |address| self.tables.get(&address).map(|table| &**table)
        }

        fn walked(&self) -> Vec<(Range<u64>, std::string::String)> {
            let mut found = Vec::new();
            let count = walk(&self.registers, &self.read(), &mut |mapping| {
                found.push((mapping.range, mapping.access.to_string()))
            });
            assert_eq!(count, Ok(self.tables.len()));
            found
        }
    }

    fn index(level: u32, address: u64) -> usize {
        (address >> (39 - 9 * level)) as usize % ENTRIES
    }

    fn access_of(descriptor: u64, change: impl FnOnce(&mut Forged)) -> std::string::String {
        let mut tables = Forged::new();
        tables.set(3, 0x5000, descriptor);
        change(&mut tables);
        tables.walked().remove(0).1
    }

    #[test]
    fn blocks_of_every_size_are_found_where_they_are() {
        let mut tables = Forged::new();
        tables.set(1, 3 * GIB, READ).set(2, 8 * MIB, READ).set(3, 512 * GIB + 20 * KIB, READ);
        let top = 1 << 48;
        tables.set(3, top - 4 * KIB, READ);
        let text = || "r-- cached".to_string();
        assert_eq!(
            tables.walked(),
            [
                (8 * MIB..10 * MIB, text()),
                (3 * GIB..4 * GIB, text()),
                (512 * GIB + 20 * KIB..512 * GIB + 24 * KIB, text()),
                (top - 4 * KIB..top, text()),
            ]
        );
    }

    #[test]
    fn neighbours_are_one_across_tables_and_levels_if_they_allow_the_same() {
        let mut tables = Forged::new();
        tables.pages(GIB - 8 * KIB..GIB, READ).set(1, GIB, READ).set(2, 2 * GIB, READ);
        tables.pages(2 * GIB + 2 * MIB..2 * GIB + 2 * MIB + 8 * KIB, READ);
        let end = 2 * GIB + 2 * MIB + 8 * KIB;
        assert_eq!(tables.walked(), [(GIB - 8 * KIB..end, "r-- cached".into())]);
        tables.set(1, GIB, READ & !AP_READ_ONLY);
        assert_eq!(
            tables.walked(),
            [
                (GIB - 8 * KIB..GIB, "r-- cached".into()),
                (GIB..2 * GIB, "rw- cached".into()),
                (2 * GIB..end, "r-- cached".into()),
            ]
        );
        tables.set(2, 2 * GIB, 0);
        assert_eq!(tables.walked().pop().unwrap().0.start, 2 * GIB + 2 * MIB);
    }

    #[test]
    fn every_bit_says_what_it_says_to_the_cpu() {
        let text = |descriptor| access_of(descriptor, |_| {});
        assert_eq!(text(READ & !AP_READ_ONLY), "rw- cached");
        assert_eq!(text(READ & !PXN), "r-x cached");
        assert_eq!(text(READ & !UXN), "r-- cached, executable at EL0");
        assert_eq!(text(READ | AP_EL0), "r-- cached, EL0");
        assert_eq!(text(READ & !(PXN | UXN | AP_READ_ONLY)), "rwx cached, executable at EL0");
        // EL1 does not execute what EL0 may write.
        assert_eq!(text(READ & !(PXN | AP_READ_ONLY) | AP_EL0), "rw- cached, EL0");
        assert_eq!(text(READ & !NOT_GLOBAL), "r-- cached, global");
        assert_eq!(text(READ & !ACCESS_FLAG), "r-- cached, access flag clear");
        assert_eq!(text(READ | GUARDED), "r-- cached, guarded");
        assert_eq!(text(READ & !(7 << 2)), "r-- device");
        assert_eq!(text(READ & !(7 << 2) | 2 << 2), "r-- uncached");
        assert_eq!(text(READ | 0x10_0000), "r-- cached, not at its physical address");
    }

    #[test]
    fn write_implies_never_execute_is_taken_into_account() {
        let wxn = |tables: &mut Forged| tables.registers.write_implies_never_execute = true;
        let writable = READ & !(PXN | AP_READ_ONLY);
        assert_eq!(access_of(writable, wxn), "rw- cached");
        assert_eq!(access_of(READ & !PXN, wxn), "r-x cached");
    }

    #[test]
    fn tables_limit_what_is_below_them() {
        let open = READ & !(PXN | UXN | AP_READ_ONLY) | AP_EL0;
        assert_eq!(access_of(open, |_| {}), "rw- cached, EL0, executable at EL0");
        for level in 0..3 {
            let text = |bit: u32| {
                access_of(open, |tables| {
                    tables.limit(level, 0x5000, 1 << bit);
                })
            };
            assert_eq!(text(59), "rw- cached, EL0, executable at EL0");
            assert_eq!(text(60), "rw- cached, EL0");
            assert_eq!(text(61), "rwx cached, executable at EL0");
            assert_eq!(text(62), "r-x cached, EL0, executable at EL0");
        }
    }

    #[test]
    fn reserved_descriptors_map_nothing() {
        let mut tables = Forged::new();
        // A block at level 0, and a page whose second bit is missing.
        tables.set(0, 512 * GIB, READ).set(3, 0x5000, READ).limit(3, 0x6000, 0x6000 | READ);
        assert_eq!(tables.walked(), [(0x5000..0x6000, "r-- cached".into())]);
    }

    #[test]
    fn broken_tables_are_an_error() {
        let mut tables = Forged::new();
        tables.limit(0, 0, 0x1000 | TABLE);
        let mut mappings = vec![];
        // Each descriptor of the last level maps the table itself.
        let result = walk(&tables.registers, &tables.read(), &mut |mapping| mappings.push(mapping));
        assert_eq!(result, Ok(4));
        tables.limit(0, 512 * GIB, 0x1000 | TABLE);
        (2..512).for_each(|index| {
            tables.limit(0, index * 512 * GIB, 0x1000 | TABLE);
        });
        assert_eq!(walk(&tables.registers, &tables.read(), &mut |_| {}), Err(WalkError::TooMany));
        let mut tables = Forged::new();
        tables.set(3, 0x5000, READ).limit(0, 512 * GIB, 0x77_7000 | TABLE);
        assert_eq!(walk(&tables.registers, &tables.read(), &mut |_| {}), Err(WalkError::NoTable(0x77_7000)));
    }
}
