//! What firmware does to the interrupt controller where there is firmware: gives all interrupts to the non-secure
//! state. For a machine that was entered at EL3.

use crate::{
    arch::monitor::Monitor,
    machine::{InterruptController, Registers},
};

/// GICD_IGROUPR and GICR_IGROUPR0: one bit an interrupt, 1 for the non-secure group.
const GROUPS_OFFSET: u64 = 0x80;

/// Puts every interrupt into the non-secure group.
///
/// # Safety
/// `controller` must describe registers that are mapped.
pub unsafe fn open(monitor: Monitor, controller: &InterruptController) {
    // SAFETY: registers of the architecture (GICv2, 4.3.4 and 4.4.2; GICv3, 12.9.9 and 12.11.9), in blocks that
    // the caller promises.
    unsafe {
        match controller {
            InterruptController::GicV2 { distributor, cpu_interface } => {
                const PRIORITY_MASK_OFFSET: u64 = 0x4;
                let groups = distributor.address + GROUPS_OFFSET;
                (0..group_count(distributor)).for_each(|index| monitor.write(groups + 4 * index, u32::MAX));
                // Below a secure mask of 0x80, the non-secure state could set none.
                monitor.write(cpu_interface.address + PRIORITY_MASK_OFFSET, 0xff);
            }
            InterruptController::GicV3 { distributor, redistributors } => {
                let groups = distributor.address + GROUPS_OFFSET;
                (1..group_count(distributor)).for_each(|index| monitor.write(groups + 4 * index, u32::MAX));
                redistributors.iter().for_each(|region| open_redistributors(monitor, region));
            }
        }
    }
}

/// The private interrupts of all cores.
///
/// # Safety
/// `region` must describe mapped redistributors.
unsafe fn open_redistributors(monitor: Monitor, region: &Registers) {
    const TYPE_OFFSET: u64 = 0x8;
    const HAS_VIRTUAL_LPIS: u32 = 1 << 1;
    const IS_LAST: u32 = 1 << 4;
    const FRAME_BYTES: u64 = 0x1_0000;
    let mut offset = 0;
    while offset + 2 * FRAME_BYTES <= region.size_bytes {
        let redistributor = region.address + offset;
        // SAFETY: within the region, which the caller promises.
        let kind = unsafe {
            monitor.write(redistributor + FRAME_BYTES + GROUPS_OFFSET, u32::MAX);
            read(redistributor + TYPE_OFFSET)
        };
        if kind & IS_LAST != 0 {
            return;
        }
        let frames = if kind & HAS_VIRTUAL_LPIS != 0 { 4 } else { 2 };
        offset += frames * FRAME_BYTES;
    }
}

/// How many registers of one bit an interrupt the distributor has (GICD_TYPER.ITLinesNumber).
///
/// # Safety
/// `distributor` must describe a mapped distributor.
unsafe fn group_count(distributor: &Registers) -> u64 {
    const TYPE_OFFSET: u64 = 0x4;
    // SAFETY: the caller's promise.
    u64::from(unsafe { read(distributor.address + TYPE_OFFSET) } & 0x1f) + 1
}

/// # Safety
/// A mapped device register must be at `address`.
unsafe fn read(address: u64) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::with_exposed_provenance::<u32>(address as usize).read_volatile() }
}
