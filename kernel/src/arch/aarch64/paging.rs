//! The final memory map: everything is at its physical address, and nothing is both writable and executable.
//!
//! `aarch64_paging` builds the tables, with blocks of 2 MiB and 1 GiB wherever possible; [`compare`] reads them as the CPU does.

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

/// Differs from the boot map's 0, so that no stale translation of that map is used.
const ASID: usize = 1;
const ROOT_LEVEL: usize = 0;

/// The active map, which is kept because the CPU uses its tables.
struct Map {
    _tables: IdMap<El1And0>,
    plan: Plan,
    /// The range that contains all tables.
    heap: Range<u64>,
}

static MAP: Once<Map> = Once::new();

/// The descriptor attributes for an access. The attribute indices are those of MAIR_EL1, as boot_map.s sets it. Nothing is
/// executable at EL0.
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

/// Replaces the boot map. RAM and the kernel's data become writable, code executable, and constants neither; `devices` become
/// device memory. Everything else, including the guard pages, is not mapped. From here on, this core never executes writable
/// memory.
///
/// # Panics
/// If a range cannot be mapped, because it has addresses of more than 48 bits.
///
/// # Safety
/// `ram` and `shared` must be memory, the heap must lie in it, and `devices` must not be memory; together they must contain
/// everything that the kernel accesses afterwards. It must be called only once.
pub unsafe fn activate(heap: Range<u64>, ram: &[Range<u64>], shared: &[Range<u64>], devices: &[Range<u64>]) {
    let mut plan = Plan::default();
    let mut add = |range, purpose| plan.add(range, purpose);
    image::regions(&mut add);
    stacks::secondary_regions(&mut add);
    add(heap.clone(), Use::Heap);
    plan.complete(ram, shared, devices);
    let mut map = IdMap::with_asid(ASID, ROOT_LEVEL, El1And0);
    // Adjacent regions with the same attributes are mapped together, in blocks as large as possible.
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
    // SAFETY: the map contains the kernel image with its stacks, the heap, and everything else that the caller names, at their
    // current addresses.
    unsafe {
        map.activate();
        core::arch::asm!("tlbi vmalle1", "dsb nsh", "isb", options(nostack));
    }
    protection::enable();
    MAP.call_once(|| Map { _tables: map, plan, heap });
}

/// The address and ASID of the translation tables that this core uses, as in `TTBR0_EL1`.
pub fn active_tables() -> u64 {
    TTBR0_EL1.get()
}

/// Passes what the live tables map to `visit`, together with what they should map, and returns the number of tables; 0 before the
/// final map is active.
///
/// # Errors
/// If the tables cannot be read completely.
pub fn compare(visit: &mut dyn FnMut(Finding)) -> Result<usize, WalkError> {
    const TABLE_BYTES: u64 = 8 * ENTRIES as u64;
    let Some(Map { plan, heap, .. }) = MAP.get() else { return Ok(0) };
    let table = |address: u64| {
        let is_there = heap.contains(&address) && heap.contains(&(address + TABLE_BYTES - 1));
        let place = core::ptr::with_exposed_provenance::<[u64; ENTRIES]>(address as usize);
        // SAFETY: the table lies within the heap, where all tables are; they are never changed.
        is_there.then(|| unsafe { &*place })
    };
    let registers = Registers {
        root: TTBR0_EL1.get_baddr(),
        memory_types: MAIR_EL1.get(),
        write_implies_never_execute: SCTLR_EL1.is_set(SCTLR_EL1::WXN),
    };
    regions::compare(plan.regions(), &registers, &table, visit)
}

/// Checks that the live tables match the plan.
///
/// # Panics
/// If they do not.
pub fn check() {
    compare(&mut |finding| assert!(finding.is_right(), "memory map: {finding}"))
        .unwrap_or_else(|error| panic!("memory map: {error}"));
}
