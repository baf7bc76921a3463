//! The memory map until the RAM is known: it contains the image, and boot adds ranges to it.

use super::image;
use crate::memory::boot_map::{BootMap, Kind, MapError};
use aarch64_cpu::{
    asm::barrier,
    registers::{ID_AA64MMFR0_EL1, Readable, TTBR0_EL1, Writeable},
};
use core::ops::Range;
use spin::Mutex;

/// Enough tables for the image, the device tree, the heap and the console, each of them crossing a 512 GiB boundary; or for the
/// firmware's data, its tables and the ECAM.
const TABLES: usize = 24;

static MAP: Mutex<BootMap<TABLES>> = Mutex::new(BootMap::new());

/// Replaces the map of entry.s by one that can be extended.
///
/// # Panics
/// If the image lies beyond the addresses that can be mapped, where it could not run.
pub fn activate() {
    let mut map = MAP.lock();
    map.map(image::whole(), Kind::Code, address_limit()).expect("the image runs where it is");
    barrier::dsb(barrier::ISHST);
    TTBR0_EL1.set(map.root_address());
    barrier::isb(barrier::SY);
    // SAFETY: every translation that was valid before is the same in the new map.
    unsafe { core::arch::asm!("tlbi vmalle1", "dsb nsh", "isb", options(nostack)) };
}

/// Maps `range` at its physical address, in blocks of 2 MiB, if the boot map is still active.
///
/// # Errors
/// [`MapError`] if the range exceeds the CPU's addresses, a block is already mapped as something else, there are no more tables,
/// or the boot map is not in use.
pub fn map(range: Range<u64>, kind: Kind) -> Result<(), MapError> {
    // A core that has faulted may hold the lock.
    let Some(mut map) = MAP.try_lock() else {
        return Err(MapError::NotInUse);
    };
    if TTBR0_EL1.get_baddr() != map.root_address() {
        return Err(MapError::NotInUse);
    }
    map.map(range, kind, address_limit())?;
    barrier::dsb(barrier::ISHST);
    barrier::isb(barrier::SY);
    Ok(())
}

/// The end of the physical addresses that both this CPU and these tables support (Arm ARM, D19.2.64).
fn address_limit() -> u64 {
    const BITS: [u32; 6] = [32, 36, 40, 42, 44, 48];
    let range = ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange);
    1 << BITS.get(range as usize).copied().unwrap_or(48)
}
