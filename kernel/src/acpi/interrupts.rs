//! Reads the interrupt controller, and the interrupts of per-core devices.

use super::{Table, registers};
use crate::machine::{Interrupt, InterruptController, Msi, MsiController, Trigger};
use alloc::vec::Vec;

/// Types of structures in MADT (5.2.12).
mod kind {
    pub const CPU_INTERFACE: u8 = 0xb;
    pub const DISTRIBUTOR: u8 = 0xc;
    pub const MESSAGE_FRAME: u8 = 0xd;
    pub const REDISTRIBUTORS: u8 = 0xe;
    pub const TRANSLATION_SERVICE: u8 = 0xf;
}

/// Offset of the structures in MADT.
const STRUCTURES: usize = 44;

/// Sizes of register blocks, from the GIC architecture (Arm IHI 0048B, IHI 0069H).
const DISTRIBUTOR_V2_BYTES: u64 = 0x1000;
const DISTRIBUTOR_V3_BYTES: u64 = 0x1_0000;
const CPU_INTERFACE_BYTES: u64 = 0x2000;
const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;
const ALIGN_V2: u64 = 0x1000;
const ALIGN_V3: u64 = 0x1_0000;

const MESSAGE_FRAME_BYTES: u64 = 0x1000;
const TRANSLATION_SERVICE_BYTES: u64 = 0x2_0000;

/// The most regions of redistributors.
const MAX_REGIONS: usize = 512;

fn structures<'a>(madt: Table<'a>, wanted: u8) -> impl Iterator<Item = Table<'a>> {
    madt.structures(STRUCTURES).filter(move |&(kind, _)| kind == wanted).map(|(_, structure)| structure)
}

/// The GIC CPU interfaces, one for each core.
pub(super) fn cpu_interfaces(madt: Table<'_>) -> impl Iterator<Item = Table<'_>> {
    structures(madt, kind::CPU_INTERFACE)
}

/// The interfaces of cores that exist or may be added.
fn usable(madt: Table<'_>) -> impl Iterator<Item = Table<'_>> {
    cpu_interfaces(madt).filter(|interface| is_usable(*interface))
}

/// Whether a core exists or may be added.
pub(super) fn is_usable(interface: Table<'_>) -> bool {
    const ENABLED: u32 = 1;
    const ONLINE_CAPABLE: u32 = 1 << 3;
    interface.u32(12).is_some_and(|flags| flags & (ENABLED | ONLINE_CAPABLE) != 0)
}

/// The GIC: a version 3 if there are redistributors, whatever the distributor says about its own version.
pub(super) fn controller(madt: Table<'_>) -> Option<InterruptController> {
    let distributor = structures(madt, kind::DISTRIBUTOR).next()?.u64(8)?;
    let regions = structures(madt, kind::REDISTRIBUTORS);
    let mut redistributors: Vec<_> = regions
        .filter_map(|region| registers(region.u64(4)?, u64::from(region.u32(12)?), ALIGN_V3))
        .filter(|region| region.size_bytes >= REDISTRIBUTOR_BYTES)
        .take(MAX_REGIONS)
        .collect();
    let mut stride_bytes = None;
    if redistributors.is_empty() {
        let own = |interface: Table<'_>| registers(interface.u64(60)?, REDISTRIBUTOR_BYTES, ALIGN_V3);
        redistributors.extend(usable(madt).filter_map(own).take(MAX_REGIONS));
        // Each region holds one redistributor, even where a GICv4 has more frames per redistributor.
        stride_bytes = Some(REDISTRIBUTOR_BYTES);
    }
    if redistributors.is_empty() {
        let cpu_interface = registers(usable(madt).next()?.u64(32)?, CPU_INTERFACE_BYTES, ALIGN_V2)?;
        let distributor = registers(distributor, DISTRIBUTOR_V2_BYTES, ALIGN_V2)?;
        return Some(InterruptController::GicV2 { distributor, cpu_interface });
    }
    let distributor = registers(distributor, DISTRIBUTOR_V3_BYTES, ALIGN_V3)?;
    Some(InterruptController::GicV3 { distributor, redistributors, stride_bytes })
}

/// The controller that receives the messages of PCI functions: the first translation service, or else the first frame (5.2.12.18
/// and 5.2.12.16). Functions are assumed to be identified by their requester IDs; IORT, which could say otherwise, is not read.
pub(super) fn messages(madt: Table<'_>) -> Option<Msi> {
    let service = structures(madt, kind::TRANSLATION_SERVICE)
        .find_map(|service| registers(service.u64(8)?, TRANSLATION_SERVICE_BYTES, ALIGN_V3));
    let frame = |structure: Table<'_>| {
        const ARE_OVERRIDDEN: u32 = 1;
        let frame = registers(structure.u64(8)?, MESSAGE_FRAME_BYTES, ALIGN_V2)?;
        let is_overridden = structure.u32(16)? & ARE_OVERRIDDEN != 0;
        let number = |at| structure.u16(at).filter(|_| is_overridden).map(u32::from);
        Some(MsiController::V2m { frame, first: number(22), count: number(20) })
    };
    let service = service.map(|registers| MsiController::Its { registers });
    let controller = service.or_else(|| structures(madt, kind::MESSAGE_FRAME).find_map(frame))?;
    Some(Msi { controller, requester_mask: u16::MAX, map: Vec::new() })
}

fn private(number: u32, is_edge: bool) -> Option<Interrupt> {
    let trigger = if is_edge { Trigger::Edge } else { Trigger::Level };
    (16..32).contains(&number).then_some(Interrupt { number, trigger })
}

/// The virtual timer's interrupt (5.2.25).
pub(super) fn virtual_timer(gtdt: Table<'_>) -> Option<Interrupt> {
    private(gtdt.u32(64)?, gtdt.u32(68)? & 1 != 0)
}

/// The performance counters' interrupt on the first core that exists.
pub(super) fn performance_counters(madt: Table<'_>) -> Option<Interrupt> {
    let interface = usable(madt).next()?;
    private(interface.u32(20)?, interface.u32(12)? & 0b10 != 0)
}
