//! Sets up the interrupt controller as firmware normally does: gives all interrupts to the non-secure state, and wakes the boot
//! core's redistributor of a GICv3. Used on machines where the kernel was entered at EL3.

use crate::{
    arch::{cpu, monitor::Monitor},
    machine::{InterruptController, Registers},
};
use core::hint::spin_loop;
use log::warn;

/// GICD_IGROUPR and GICR_IGROUPR0: one bit per interrupt, 1 for the non-secure group. GICR_IGROUPR0 is followed by the registers
/// of the extended interrupts.
const GROUPS_OFFSET: u64 = 0x80;

/// GICD_IGROUPRnE.
const EXTENDED_GROUPS_OFFSET: u64 = 0x1000;

/// Offset of a redistributor's second frame, which is the size of a frame.
const FRAME_BYTES: u64 = 0x1_0000;

/// How often a register is polled for a change: far more often than any controller needs.
const PATIENCE: usize = 1_000_000;

/// Puts every interrupt into the non-secure group.
///
/// # Safety
/// `controller` must describe registers that are mapped.
pub unsafe fn open(monitor: Monitor, controller: &InterruptController) {
    // SAFETY: the offsets are those of registers of the architecture (GICv2, 4.3.4 and 4.4.2; GICv3, 12.9.9 and 12.11.9), in
    // blocks that the caller promises are mapped.
    unsafe {
        match controller {
            InterruptController::GicV2 { distributor, cpu_interface } => {
                const PRIORITY_MASK_OFFSET: u64 = 0x4;
                let groups = distributor.address + GROUPS_OFFSET;
                (0..group_count(distributor)).for_each(|index| monitor.write(groups + 4 * index, u32::MAX));
                // If the secure state left a mask below 0x80, the non-secure state could not change it.
                monitor.write(cpu_interface.address + PRIORITY_MASK_OFFSET, 0xff);
            }
            InterruptController::GicV3 { distributor, redistributors, stride_bytes } => {
                enable_affinity_routing(monitor, distributor);
                let groups = distributor.address + GROUPS_OFFSET;
                (1..group_count(distributor)).for_each(|index| monitor.write(groups + 4 * index, u32::MAX));
                let groups = distributor.address + EXTENDED_GROUPS_OFFSET;
                let extended = 0..extended_group_count(distributor);
                extended.for_each(|index| monitor.write(groups + 4 * index, u32::MAX));
                for region in redistributors {
                    open_redistributors(monitor, region, *stride_bytes);
                }
            }
        }
    }
}

/// Makes a GICv3 route interrupts to cores by affinity, in both states. Otherwise it behaves like a GICv2, and its redistributors
/// have no groups (GICv3, 12.9.4 and 12.11.9). The bits can be set only while no group is enabled.
///
/// # Safety
/// `distributor` must describe a mapped distributor.
unsafe fn enable_affinity_routing(monitor: Monitor, distributor: &Registers) {
    const ENABLE_GROUPS: u32 = 0b111;
    const ROUTING: u32 = 1 << 4 | 1 << 5;
    const IS_WRITE_PENDING: u32 = 1 << 31;
    // GICD_CTLR.
    let control = distributor.address;
    // SAFETY: the caller promises that the distributor's registers are mapped.
    unsafe {
        let before = monitor.read(control);
        if before & ROUTING == ROUTING {
            return;
        }
        for value in [before & !ENABLE_GROUPS, before & !ENABLE_GROUPS | ROUTING] {
            monitor.write(control, value & !IS_WRITE_PENDING);
            if !wait_until(|| monitor.read(control) & IS_WRITE_PENDING == 0) {
                warn!("interrupt controller: the distributor does not finish a write");
            }
        }
    }
}

/// Puts the private interrupts of all cores into the non-secure group, and wakes the boot core's redistributor.
///
/// # Safety
/// `region` must describe mapped redistributors.
unsafe fn open_redistributors(monitor: Monitor, region: &Registers, stride_bytes: Option<u64>) {
    const TYPE_OFFSET: u64 = 0x8;
    const AFFINITY_OFFSET: u64 = 0xc;
    const HAS_VIRTUAL_LPIS: u32 = 1 << 1;
    const IS_LAST: u32 = 1 << 4;
    /// PPInum: the number of additional registers for extended private interrupts.
    const EXTENDED_SHIFT: u32 = 27;
    const MOST_EXTENDED: u32 = 2;
    let own = cpu::mpidr();
    let own = (own >> 8) as u32 & 0xff00_0000 | own as u32 & 0x00ff_ffff;
    let mut offset = 0;
    while offset + 2 * FRAME_BYTES <= region.size_bytes {
        let redistributor = region.address + offset;
        // SAFETY: the address lies within the region, which the caller promises is mapped.
        let kind = unsafe {
            if read(redistributor + AFFINITY_OFFSET) == own {
                wake(monitor, redistributor);
            }
            let kind = read(redistributor + TYPE_OFFSET);
            for index in 0..=(kind >> EXTENDED_SHIFT).min(MOST_EXTENDED) {
                let group = redistributor + FRAME_BYTES + GROUPS_OFFSET + 4 * u64::from(index);
                monitor.write(group, u32::MAX);
            }
            kind
        };
        if kind & IS_LAST != 0 {
            return;
        }
        let frames = if kind & HAS_VIRTUAL_LPIS != 0 { 4 } else { 2 };
        offset += stride_bytes.unwrap_or(frames * FRAME_BYTES);
    }
}

/// Tells a redistributor that its core is awake. On a controller with two security states, only the secure one can do this
/// (GICR_WAKER; GICv3, 12.11.42).
///
/// # Safety
/// `redistributor` must be the address of a mapped redistributor.
unsafe fn wake(monitor: Monitor, redistributor: u64) {
    const WAKER_OFFSET: u64 = 0x14;
    const PROCESSOR_SLEEP: u32 = 1 << 1;
    const CHILDREN_ASLEEP: u32 = 1 << 2;
    let waker = redistributor + WAKER_OFFSET;
    // SAFETY: the caller promises that the redistributor's registers are mapped.
    unsafe {
        monitor.write(waker, monitor.read(waker) & !PROCESSOR_SLEEP);
        if !wait_until(|| monitor.read(waker) & CHILDREN_ASLEEP == 0) {
            warn!("interrupt controller: this core's redistributor does not wake");
        }
    }
}

/// Polls until the condition is true; false if that takes too long.
fn wait_until(is_so: impl Fn() -> bool) -> bool {
    (0..PATIENCE).any(|_| {
        spin_loop();
        is_so()
    })
}

/// GICD_TYPER.
///
/// # Safety
/// `distributor` must describe a mapped distributor.
unsafe fn distributor_type(distributor: &Registers) -> u32 {
    const TYPE_OFFSET: u64 = 0x4;
    // SAFETY: the caller promises that the distributor's registers are mapped.
    unsafe { read(distributor.address + TYPE_OFFSET) }
}

/// Number of distributor registers with one bit per interrupt (GICD_TYPER.ITLinesNumber).
///
/// # Safety
/// `distributor` must describe a mapped distributor.
unsafe fn group_count(distributor: &Registers) -> u64 {
    // SAFETY: the caller promises that the distributor's registers are mapped.
    u64::from(unsafe { distributor_type(distributor) } & 0x1f) + 1
}

/// The same for extended shared interrupts (GICD_TYPER.ESPI and ESPI_range).
///
/// # Safety
/// `distributor` must describe a mapped distributor.
unsafe fn extended_group_count(distributor: &Registers) -> u64 {
    const HAS_EXTENDED: u32 = 1 << 8;
    // SAFETY: the caller promises that the distributor's registers are mapped.
    let kind = unsafe { distributor_type(distributor) };
    if kind & HAS_EXTENDED == 0 { 0 } else { u64::from(kind >> 27) + 1 }
}

/// # Safety
/// A mapped device register must be at `address`.
unsafe fn read(address: u64) -> u32 {
    // SAFETY: the caller promises that a register is mapped at `address`.
    unsafe { core::ptr::with_exposed_provenance::<u32>(address as usize).read_volatile() }
}
