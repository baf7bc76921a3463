//! What every address is for, and a check that the translation tables agree.
//!
//! The tables are made from a [`Plan`]. [`compare`] compares the plan with what is read from the tables.

use super::{
    layout,
    translation::{self, Access, Mapping, ReadTable, Registers, WalkError},
};
use alloc::vec::Vec;
use core::{fmt, ops::Range};

/// The purpose of a range of addresses, which determines what is allowed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Code.
    Text,
    /// Constants.
    Constants,
    /// Variables.
    Data,
    /// A page below a stack that is never mapped.
    Guard,
    /// The stack of a core.
    Stack(u16),
    /// The stack of a core's exception handlers.
    ExceptionStack(u16),
    /// The small heap.
    Heap,
    /// All other RAM.
    Pool,
    /// Memory that the hypervisor writes to.
    Shared,
    /// Registers and windows of devices.
    Devices,
}

impl Use {
    /// Exactly what is allowed there; `None` if nothing must be mapped. No purpose allows both writing and executing, or allows
    /// EL0 anything.
    pub const fn access(self) -> Option<Access> {
        Some(match self {
            Self::Text => Access::CACHED.and(Access::EXECUTE),
            Self::Constants => Access::CACHED,
            Self::Guard => return None,
            Self::Devices => Access::DEVICE.and(Access::WRITE),
            _ => Access::CACHED.and(Access::WRITE),
        })
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Constants => "constants",
            Self::Data => "data",
            Self::Guard => "guard page",
            Self::Stack(core) => return write!(f, "stack of core {core}"),
            Self::ExceptionStack(core) => return write!(f, "exception stack of core {core}"),
            Self::Heap => "heap",
            Self::Pool => "pool",
            Self::Shared => "shared with the hypervisor",
            Self::Devices => "devices",
        })
    }
}

/// A range of addresses and its purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The addresses.
    pub range: Range<u64>,
    /// What they are for.
    pub purpose: Use,
}

/// The purpose of every address: regions in ascending order that do not overlap. Addresses outside of all regions must not be mapped.
#[derive(Default)]
pub struct Plan(Vec<Region>);

impl Plan {
    /// Adds a range that has a place of its own in RAM: a part of the image, a stack, a guard page, the heap. These must not overlap.
    pub fn add(&mut self, range: Range<u64>, purpose: Use) {
        if !range.is_empty() {
            let place = self.0.partition_point(|region| region.range.start < range.start);
            self.0.insert(place, Region { range, purpose });
        }
    }

    /// Adds the rest of the RAM as pool, then memory that the hypervisor writes to, then devices. Where these overlap each other
    /// or earlier regions, the earlier purpose wins.
    pub fn complete(&mut self, ram: &[Range<u64>], shared: &[Range<u64>], devices: &[Range<u64>]) {
        // Joined, since the two stacks of a core are next to each other.
        let mut taken = layout::join(self.0.iter().map(|region| region.range.clone()).collect());
        let ram = layout::remaining(ram, &taken);
        for (ranges, purpose) in [(&*ram, Use::Pool), (shared, Use::Shared), (devices, Use::Devices)] {
            let free = layout::without(ranges, &taken);
            taken.extend_from_slice(&free);
            layout::join(free).into_iter().for_each(|range| self.add(range, purpose));
        }
    }

    /// All of them.
    pub fn regions(&self) -> &[Region] {
        &self.0
    }
}

/// A range of addresses with the same purpose, for which the tables say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The addresses.
    pub range: Range<u64>,
    /// What the tables allow; `None` if nothing is mapped.
    pub access: Option<Access>,
    /// The purpose of the addresses; `None` if they have none.
    pub purpose: Option<Use>,
}

impl Finding {
    /// Whether the tables allow exactly what the purpose requires.
    pub fn is_right(&self) -> bool {
        self.access == self.expected()
    }

    fn expected(&self) -> Option<Access> {
        self.purpose.and_then(Use::access)
    }
}

/// One line: `0x0040200000..0x00404d1000 r-x cached  text`; if it is wrong, followed by what is wrong and what would be right.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Allowed(Option<Access>);
        impl fmt::Display for Allowed {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match &self.0 {
                    Some(access) => access.fmt(f),
                    None => f.write_str("--- nothing"),
                }
            }
        }
        write!(f, "{:#012x}..{:#012x} {}  ", self.range.start, self.range.end, Allowed(self.access))?;
        match &self.purpose {
            Some(purpose) => purpose.fmt(f)?,
            None => f.write_str("no use")?,
        }
        if self.is_right() {
            return Ok(());
        }
        write!(f, ": WRONG, expected {}", Allowed(self.expected()))
    }
}

/// Passes what the tables say about every region of the plan, and everything else that they map, to `visit`, in ascending order.
/// Returns the number of tables.
///
/// # Errors
/// If the tables cannot be read completely; the findings up to there have been passed on.
pub fn compare(
    plan: &[Region],
    registers: &Registers,
    table: ReadTable<'_, '_>,
    visit: &mut dyn FnMut(Finding),
) -> Result<usize, WalkError> {
    let mut sweep = Sweep { plan, done: 0, visit };
    let n_tables = translation::walk(registers, table, &mut |mapping| sweep.mapping(&mapping))?;
    sweep.unmapped(u64::MAX);
    Ok(n_tables)
}

struct Sweep<'s> {
    /// The regions that have not been completed.
    plan: &'s [Region],
    /// All addresses below have been passed on.
    done: u64,
    visit: &'s mut dyn FnMut(Finding),
}

impl Sweep<'_> {
    /// Passes on that nothing more is mapped up to `end`.
    fn unmapped(&mut self, end: u64) {
        while let Some((region, rest)) = self.plan.split_first()
            && region.range.start < end
        {
            self.give(region.range.start, region.range.end.min(end), None, Some(region.purpose));
            if region.range.end > end {
                break;
            }
            self.plan = rest;
        }
        self.done = self.done.max(end);
    }

    fn mapping(&mut self, mapping: &Mapping) {
        let Mapping { range, access } = mapping;
        self.unmapped(range.start);
        while self.done < range.end {
            match self.plan.split_first() {
                Some((region, rest)) if region.range.end <= self.done => self.plan = rest,
                Some((region, _)) if region.range.start <= self.done => {
                    self.give(
                        self.done,
                        region.range.end.min(range.end),
                        Some(*access),
                        Some(region.purpose),
                    );
                }
                next => {
                    let end = next.map_or(u64::MAX, |(region, _)| region.range.start);
                    self.give(self.done, end.min(range.end), Some(*access), None);
                }
            }
        }
    }

    fn give(&mut self, start: u64, end: u64, access: Option<Access>, purpose: Option<Use>) {
        let range = start.max(self.done)..end;
        if !range.is_empty() {
            self.done = end;
            (self.visit)(Finding { range, access, purpose });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::translation::tests::{Forged, READ};
    use std::string::{String, ToString};

    const WRITE: u64 = READ & !(1 << 7);
    const EXECUTE: u64 = READ & !(1 << 53);
    const DEVICE: u64 = WRITE & !(7 << 2);
    const PAGE: u64 = 4096;

    /// The image at 2 MiB with its stacks, the stacks of another core, the heap, the pool, devices.
    fn machine() -> Vec<Region> {
        let pages = |first: u64, count: u64, purpose| {
            let start = 0x20_0000 + first * PAGE;
            Region { range: start..start + count * PAGE, purpose }
        };
        let own = [
            pages(15, 1, Use::Guard),
            pages(0, 4, Use::Text),
            pages(4, 2, Use::Constants),
            pages(6, 2, Use::Data),
            pages(8, 1, Use::Guard),
            pages(9, 2, Use::Stack(0)),
            pages(11, 1, Use::Guard),
            pages(12, 2, Use::ExceptionStack(0)),
            pages(14, 0, Use::Data),
            pages(16, 1, Use::Stack(1)),
            pages(17, 1, Use::Guard),
            pages(18, 1, Use::ExceptionStack(1)),
            pages(20, 4, Use::Heap),
        ];
        let ram = [0x0..0x3_0000, 0x20_0000..0x40_0000];
        plan(&own, &ram, &[0x50_0000..0x50_1000], &[0x900_0000..0x900_1000, 0x3f_0000..0x41_0000])
    }

    fn plan(
        own: &[Region],
        ram: &[Range<u64>],
        shared: &[Range<u64>],
        devices: &[Range<u64>],
    ) -> Vec<Region> {
        let mut plan = Plan::default();
        own.iter().for_each(|region| plan.add(region.range.clone(), region.purpose));
        plan.complete(ram, shared, devices);
        plan.0
    }

    /// The tables that implement a plan correctly.
    fn tables(plan: &[Region]) -> Forged {
        let mut tables = Forged::new();
        for region in plan {
            let descriptor = match region.purpose {
                Use::Text => EXECUTE,
                Use::Constants => READ,
                Use::Guard => continue,
                Use::Devices => DEVICE,
                _ => WRITE,
            };
            tables.pages(region.range.clone(), descriptor);
        }
        tables
    }

    fn findings(plan: &[Region], tables: &Forged) -> Vec<Finding> {
        let mut findings = Vec::new();
        compare(plan, &tables.registers, &tables.read(), &mut |finding| findings.push(finding)).unwrap();
        findings
    }

    /// The lines that report something wrong after `change` has altered correct tables.
    fn wrong(change: impl FnOnce(&mut Forged)) -> Vec<String> {
        let plan = machine();
        let mut tables = tables(&plan);
        change(&mut tables);
        let findings = findings(&plan, &tables);
        findings.iter().filter(|finding| !finding.is_right()).map(ToString::to_string).collect()
    }

    #[test]
    fn no_use_allows_what_must_not_be() {
        let with_core = [Use::Stack(3), Use::ExceptionStack(3)];
        let others = [Use::Text, Use::Constants, Use::Data, Use::Heap, Use::Pool, Use::Shared, Use::Devices];
        for purpose in others.into_iter().chain(with_core) {
            let access = purpose.access().unwrap();
            assert!(!access.has(Access::WRITE.and(Access::EXECUTE)), "{purpose}");
            assert!(!access.has(Access::EL0) && !access.has(Access::EL0_EXECUTE), "{purpose}");
            assert_eq!(access.has(Access::EXECUTE), purpose == Use::Text);
        }
        assert_eq!(Use::Guard.access(), None);
    }

    #[test]
    fn the_plan_names_everything_once_and_leaves_page_0_out() {
        let plan = machine();
        assert!(plan.is_sorted_by(|a, b| a.range.end <= b.range.start), "{plan:x?}");
        let pool: Vec<_> =
            plan.iter().filter(|region| region.purpose == Use::Pool).map(|region| &region.range).collect();
        assert_eq!(
            pool,
            [&(0x1000..0x3_0000), &(0x20_e000..0x20_f000), &(0x21_3000..0x21_4000), &(0x21_8000..0x40_0000)]
        );
        let devices = plan.iter().filter(|region| region.purpose == Use::Devices);
        assert!(devices.map(|region| &region.range).eq([&(0x40_0000..0x41_0000), &(0x900_0000..0x900_1000)]));
    }

    #[test]
    fn an_image_or_a_device_at_page_0_keeps_it() {
        let text = Region { range: 0..0x2000, purpose: Use::Text };
        assert_eq!(plan(core::slice::from_ref(&text), &[0..0x8000], &[], &[])[0], text);
        let devices = Region { range: 0..0x1000, purpose: Use::Devices };
        assert_eq!(plan(&[], &[0..0x8000], &[], &[0..0x1000])[0], devices);
    }

    #[test]
    fn tables_as_planned_are_right_and_every_region_is_given() {
        let plan = machine();
        let findings = findings(&plan, &tables(&plan));
        assert!(findings.iter().all(Finding::is_right), "{findings:x?}");
        let ranges = |purpose| {
            let of = findings.iter().filter(move |finding| finding.purpose == Some(purpose));
            of.map(|finding| finding.range.clone()).collect::<Vec<_>>()
        };
        assert_eq!(findings.len(), plan.len());
        assert_eq!(ranges(Use::Text), [0x20_0000..0x20_4000]);
        assert_eq!(
            ranges(Use::Guard),
            [0x20_8000..0x20_9000, 0x20_b000..0x20_c000, 0x20_f000..0x21_0000, 0x21_1000..0x21_2000]
        );
        let line = findings.iter().find(|finding| finding.purpose == Some(Use::Text)).unwrap().to_string();
        assert_eq!(line, "0x0000200000..0x0000204000 r-x cached  text");
    }

    #[test]
    fn each_violation_is_found() {
        assert_eq!(wrong(|_| {}), [""; 0]);
        assert_eq!(
            wrong(|tables| _ = tables.set(3, 0x20_1000, EXECUTE & !(1 << 7))),
            ["0x0000201000..0x0000202000 rwx cached  text: WRONG, expected r-x cached"]
        );
        assert_eq!(
            wrong(|tables| _ = tables.set(3, 0x20_5000, EXECUTE)),
            ["0x0000205000..0x0000206000 r-x cached  constants: WRONG, expected r-- cached"]
        );
        assert_eq!(
            wrong(|tables| _ = tables.set(3, 0x20_6000, READ)),
            ["0x0000206000..0x0000207000 r-- cached  data: WRONG, expected rw- cached"]
        );
        assert_eq!(
            wrong(|tables| _ = tables.set(3, 0x21_1000, WRITE)),
            ["0x0000211000..0x0000212000 rw- cached  guard page: WRONG, expected --- nothing"]
        );
        assert_eq!(
            wrong(|tables| _ = tables.set(3, 0, READ)),
            ["0x0000000000..0x0000001000 r-- cached  no use: WRONG, expected --- nothing"]
        );
        assert_eq!(
            wrong(|tables| _ = tables.set(3, 0x21_0000, 0)),
            ["0x0000210000..0x0000211000 --- nothing  stack of core 1: WRONG, expected rw- cached"]
        );
        assert_eq!(
            wrong(|tables| _ = tables.set(3, 0x900_0000, WRITE)),
            ["0x0009000000..0x0009001000 rw- cached  devices: WRONG, expected rw- device"]
        );
        // Code without UXN, and a whole GiB that the plan does not contain.
        assert_eq!(
            wrong(|tables| _ = tables.set(3, 0x20_3000, EXECUTE & !(1 << 54))),
            ["0x0000203000..0x0000204000 r-x cached, executable at EL0  text: WRONG, expected r-x cached"]
        );
        assert_eq!(
            wrong(|tables| _ = tables.set(1, 0x1_0000_0000, WRITE | 1 << 6)),
            ["0x0100000000..0x0140000000 rw- cached, EL0  no use: WRONG, expected --- nothing"]
        );
    }

    #[test]
    fn a_mapping_beyond_a_region_is_cut_where_the_region_ends() {
        let plan = [Region { range: 0x1000..0x3000, purpose: Use::Heap }];
        let mut tables = Forged::new();
        tables.pages(0x2000..0x5000, WRITE);
        let lines: Vec<_> = findings(&plan, &tables).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "0x0000001000..0x0000002000 --- nothing  heap: WRONG, expected rw- cached",
                "0x0000002000..0x0000003000 rw- cached  heap",
                "0x0000003000..0x0000005000 rw- cached  no use: WRONG, expected --- nothing",
            ]
        );
    }
}
