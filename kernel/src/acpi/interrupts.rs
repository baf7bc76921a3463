//! The interrupt controller, and the interrupts of what each core has.

use super::Table;
use crate::machine::{Interrupt, InterruptController, Registers, Trigger};
use alloc::vec::Vec;

/// Types of structures in MADT (5.2.12).
mod kind {
    pub const CPU_INTERFACE: u8 = 0xb;
    pub const DISTRIBUTOR: u8 = 0xc;
    pub const REDISTRIBUTORS: u8 = 0xe;
}

/// Where the structures of MADT begin.
const STRUCTURES: usize = 44;

/// Sizes of register blocks: those of the GIC's architecture (Arm IHI 0048B, IHI 0069H).
const DISTRIBUTOR_V2_BYTES: u64 = 0x1000;
const DISTRIBUTOR_V3_BYTES: u64 = 0x1_0000;
const CPU_INTERFACE_BYTES: u64 = 0x2000;
const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;

fn structures<'a>(madt: Table<'a>, wanted: u8) -> impl Iterator<Item = Table<'a>> {
    madt.structures(STRUCTURES).filter(move |&(kind, _)| kind == wanted).map(|(_, structure)| structure)
}

/// The GIC CPU interfaces, one for each core.
pub(super) fn cpu_interfaces(madt: Table<'_>) -> impl Iterator<Item = Table<'_>> {
    structures(madt, kind::CPU_INTERFACE)
}

fn registers(address: u64, size_bytes: u64) -> Option<Registers> {
    address.checked_add(size_bytes)?;
    (address != 0).then_some(Registers { address, size_bytes })
}

/// The GIC: version 3 if there are redistributors, whatever the distributor says of its own version.
pub(super) fn controller(madt: Table<'_>) -> Option<InterruptController> {
    let distributor = structures(madt, kind::DISTRIBUTOR).next()?.u64(8)?;
    let regions = structures(madt, kind::REDISTRIBUTORS);
    let mut redistributors: Vec<_> = regions
        .filter_map(|region| registers(region.u64(4)?, u64::from(region.u32(12)?)))
        .filter(|region| region.size_bytes >= REDISTRIBUTOR_BYTES)
        .collect();
    if redistributors.is_empty() {
        let own =
            cpu_interfaces(madt).filter_map(|interface| registers(interface.u64(60)?, REDISTRIBUTOR_BYTES));
        redistributors.extend(own);
    }
    if redistributors.is_empty() {
        let cpu_interface = registers(cpu_interfaces(madt).next()?.u64(32)?, CPU_INTERFACE_BYTES)?;
        let distributor = registers(distributor, DISTRIBUTOR_V2_BYTES)?;
        return Some(InterruptController::GicV2 { distributor, cpu_interface });
    }
    let distributor = registers(distributor, DISTRIBUTOR_V3_BYTES)?;
    Some(InterruptController::GicV3 { distributor, redistributors, stride_bytes: None })
}

fn private(number: u32, is_edge: bool) -> Option<Interrupt> {
    let trigger = if is_edge { Trigger::Edge } else { Trigger::Level };
    (16..32).contains(&number).then_some(Interrupt { number, trigger })
}

/// The virtual timer's interrupt (5.2.25).
pub(super) fn virtual_timer(gtdt: Table<'_>) -> Option<Interrupt> {
    private(gtdt.u32(64)?, gtdt.u32(68)? & 1 != 0)
}

/// The interrupt of the first core's performance counters.
pub(super) fn performance_counters(madt: Table<'_>) -> Option<Interrupt> {
    let interface = cpu_interfaces(madt).next()?;
    private(interface.u32(20)?, interface.u32(12)? & 0b10 != 0)
}
