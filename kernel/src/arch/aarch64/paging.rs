//! The final memory map: everything at its physical address, nothing both writable and executable.
//!
//! `aarch64_paging` builds the tables, with blocks of 2 MiB and 1 GiB wherever they fit.

use super::{image, stacks};
use aarch64_paging::{
    descriptor::El1Attributes,
    idmap::IdMap,
    paging::{El1And0, MemoryRegion},
};
use alloc::vec::Vec;
use core::ops::Range;
use spin::Mutex;

/// Another than the boot map's 0, so that no stale translation of that one is used.
const ASID: usize = 1;
const ROOT_LEVEL: usize = 0;

/// The attribute indices are those of MAIR_EL1 as set in entry.s.
const DEVICE: El1Attributes = BASE.union(El1Attributes::ATTRIBUTE_INDEX_0).union(NEVER_EXECUTE);
const NORMAL: El1Attributes =
    BASE.union(El1Attributes::ATTRIBUTE_INDEX_1).union(El1Attributes::INNER_SHAREABLE);
const BASE: El1Attributes =
    El1Attributes::VALID.union(El1Attributes::ACCESSED).union(El1Attributes::NON_GLOBAL);
const NEVER_EXECUTE: El1Attributes = El1Attributes::PXN.union(El1Attributes::UXN);

/// The active map; kept, because its tables are in use.
static MAP: Mutex<Option<IdMap<El1And0>>> = Mutex::new(None);

/// Replaces the boot map: RAM and the kernel's data are writable, code is executable, constants
/// neither, `devices` are device memory, and everything else, the guard pages among it, is not
/// mapped.
///
/// # Panics
/// If a range cannot be mapped: it then overlaps another or has addresses of more than 48 bits.
///
/// # Safety
/// `ram` must be memory and `devices` must not be; together they must hold all that the kernel
/// touches afterwards.
pub unsafe fn activate(ram: &[Range<u64>], devices: &[Range<u64>]) {
    let mut map = IdMap::with_asid(ASID, ROOT_LEVEL, El1And0);
    let image = image::whole();
    let mut map_range = |range: &Range<u64>, attributes: El1Attributes| {
        if !range.is_empty() {
            let region = MemoryRegion::new(range.start as usize, range.end as usize);
            map.map_range(&region, attributes)
                .unwrap_or_else(|error| panic!("cannot map {range:#x?}: {error}"));
        }
    };
    for device in devices {
        map_range(device, DEVICE);
    }
    let unmapped: Vec<_> = stacks::secondary_guards().chain([image]).collect();
    let outside_image = crate::memory::layout::remaining(ram, &unmapped);
    for range in
        outside_image.into_iter().chain([image::data(), image::main_stack(), image::exception_stack()])
    {
        map_range(&range, NORMAL | NEVER_EXECUTE);
    }
    map_range(&image::text(), NORMAL | El1Attributes::READ_ONLY);
    let rodata = NORMAL | El1Attributes::READ_ONLY | NEVER_EXECUTE;
    map_range(&image::rodata(), rodata);

    // SAFETY: the map contains the kernel image with its stacks, the heap and everything else that
    // the caller names, at the addresses that they have now.
    unsafe {
        map.activate();
        core::arch::asm!("tlbi vmalle1", "dsb nsh", "isb", options(nostack));
    }
    *MAP.lock() = Some(map);
}
