//! The final memory map: everything at its physical address, nothing both writable and executable.
//!
//! `aarch64_paging` builds the tables, with blocks of 2 MiB and 1 GiB wherever they fit; [`compare`] reads them as the CPU does.

use super::{image, protection, stacks};
use crate::memory::{
    regions::{self, Finding, Plan, Region, Use},
    translation::{Access, ENTRIES, Registers, WalkError},
};
use aarch64_cpu::registers::{MAIR_EL1, Readable, SCTLR_EL1, TTBR0_EL1};
use aarch64_paging::{
    descriptor::El1Attributes,
    idmap::IdMap,
    paging::{El1And0, MemoryRegion},
};
use core::ops::Range;
use spin::Once;

/// Another than the boot map's 0, so that no stale translation of that one is used.
const ASID: usize = 1;
const ROOT_LEVEL: usize = 0;

/// The active map; kept, because its tables are in use.
struct Map {
    _tables: IdMap<El1And0>,
    plan: Plan,
    /// Where tables can be.
    heap: Range<u64>,
}

static MAP: Once<Map> = Once::new();

/// What descriptors say for a use. The attribute indices are those of MAIR_EL1 as set in boot_map.s. Nothing is executable at EL0.
fn attributes(access: Access) -> El1Attributes {
    const BASE: El1Attributes = El1Attributes::VALID
        .union(El1Attributes::ACCESSED)
        .union(El1Attributes::NON_GLOBAL)
        .union(El1Attributes::UXN);
    let when = |condition, attributes| if condition { attributes } else { El1Attributes::empty() };
    let normal = El1Attributes::ATTRIBUTE_INDEX_1 | El1Attributes::INNER_SHAREABLE;
    BASE | when(access.has(Access::CACHED), normal)
        | when(!access.has(Access::WRITE), El1Attributes::READ_ONLY)
        | when(!access.has(Access::EXECUTE), El1Attributes::PXN)
}

/// Replaces the boot map: RAM and the kernel's data are writable, code is executable, constants neither, `devices` are device
/// memory, and everything else, the guard pages among it, is not mapped. From here on, this core never executes what it can write.
///
/// # Panics
/// If a range cannot be mapped: it then has addresses of more than 48 bits.
///
/// # Safety
/// `ram` and `shared` must be memory, with the heap in it, and `devices` must not be; together they must hold all that the kernel
/// touches afterwards. To be called once.
pub unsafe fn activate(heap: Range<u64>, ram: &[Range<u64>], shared: &[Range<u64>], devices: &[Range<u64>]) {
    let mut plan = Plan::default();
    let mut add = |range, purpose| plan.add(range, purpose);
    image::regions(&mut add);
    stacks::secondary_regions(&mut add);
    add(heap.clone(), Use::Heap);
    plan.complete(ram, shared, devices);
    let mut map = IdMap::with_asid(ASID, ROOT_LEVEL, El1And0);
    // Neighbours that are alike in one go, in blocks as large as may be.
    let is_alike =
        |a: &Region, b: &Region| a.range.end == b.range.start && a.purpose.access() == b.purpose.access();
    for alike in plan.regions().chunk_by(is_alike) {
        if let [first, ..] = alike
            && let [.., last] = alike
            && let Some(access) = first.purpose.access()
        {
            let region = MemoryRegion::new(first.range.start as usize, last.range.end as usize);
            map.map_range(&region, attributes(access))
                .unwrap_or_else(|error| panic!("cannot map {region}: {error}"));
        }
    }
    // SAFETY: the map contains the kernel image with its stacks, the heap and everything else that
    // the caller names, at the addresses that they have now.
    unsafe {
        map.activate();
        core::arch::asm!("tlbi vmalle1", "dsb nsh", "isb", options(nostack));
    }
    protection::enable();
    MAP.call_once(|| Map { _tables: map, plan, heap });
}

/// What this core takes for its translation tables: address and ASID, as `TTBR0_EL1` has them.
pub fn active_tables() -> u64 {
    TTBR0_EL1.get()
}

/// Gives all that the live tables say, beside what they should say, to `visit`, and returns how many tables there are: none before
/// the final map is active.
///
/// # Errors
/// If the tables cannot be read to their end.
pub fn compare(visit: &mut dyn FnMut(Finding)) -> Result<usize, WalkError> {
    const TABLE_BYTES: u64 = 8 * ENTRIES as u64;
    let Some(Map { plan, heap, .. }) = MAP.get() else { return Ok(0) };
    let table = |address: u64| {
        let is_there = heap.contains(&address) && heap.contains(&(address + TABLE_BYTES - 1));
        let place = core::ptr::with_exposed_provenance::<[u64; ENTRIES]>(address as usize);
        // SAFETY: within the heap, where all tables are; they are never changed.
        is_there.then(|| unsafe { &*place })
    };
    let registers = Registers {
        root: TTBR0_EL1.get_baddr(),
        memory_types: MAIR_EL1.get(),
        write_implies_never_execute: SCTLR_EL1.is_set(SCTLR_EL1::WXN),
    };
    regions::compare(plan.regions(), &registers, &table, visit)
}

/// Makes sure that the live tables are as planned.
///
/// # Panics
/// If they are not.
pub fn check() {
    compare(&mut |finding| assert!(finding.is_right(), "memory map: {finding}"))
        .unwrap_or_else(|error| panic!("memory map: {error}"));
}
