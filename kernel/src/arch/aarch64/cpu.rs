//! The core that runs the code: its identity, its features, and how to stop it.

use crate::cpu::{CpuModel, InstructionSets};
use aarch64_cpu::{
    asm::{
        barrier::{self, ISHST, dsb},
        sev, wfe, wfi,
    },
    registers::{
        DAIF, ID_AA64ISAR0_EL1, ID_AA64ISAR1_EL1, ID_AA64PFR0_EL1, MIDR_EL1, MPIDR_EL1, Readable,
        TPIDRRO_EL0, Writeable,
    },
};

/// The affinity fields of `MPIDR_EL1`, which identify this core in the device tree.
pub fn mpidr() -> u64 {
    const AFFINITY: u64 = 0xff_00ff_ffff;
    MPIDR_EL1.get() & AFFINITY
}

/// The number of this core: 0 for the boot core; the others are numbered in the order in which they were started.
pub fn number() -> usize {
    TPIDRRO_EL0.get() as usize
}

/// Waits until all earlier writes of this core are visible to the other cores.
pub fn finish_stores() {
    dsb(ISHST);
}

/// Writes a range of addresses back from the caches to memory, for hardware that bypasses the caches, and waits until that is
/// done. Such hardware sees the range before any later writes.
pub fn clean(range: core::ops::Range<usize>) {
    let kind: usize;
    // SAFETY: the register may be read at every exception level (Arm ARM, D19.2.34).
    unsafe { core::arch::asm!("mrs {}, ctr_el0", out(reg) kind, options(nomem, nostack)) };
    // DminLine is the logarithm of the line size in words of four bytes.
    let line_bytes = 4 << (kind >> 16 & 0xf);
    for address in (range.start / line_bytes * line_bytes..range.end).step_by(line_bytes) {
        // SAFETY: this does not change the contents of memory.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) address, options(nostack)) };
    }
    dsb(barrier::SY);
}

/// Waits for a short time, or until another core [sends an event](send_event).
pub fn wait_for_event() {
    wfe();
}

/// Wakes every core that is in [`wait_for_event`], or is about to enter it.
pub fn send_event() {
    finish_stores();
    sev();
}

/// Implementer and part number of this core.
pub fn model() -> CpuModel {
    CpuModel::from_midr(MIDR_EL1.get())
}

/// Instruction sets of this core.
pub fn features() -> InstructionSets {
    InstructionSets::from_id_registers(ID_AA64ISAR0_EL1.get(), ID_AA64ISAR1_EL1.get(), ID_AA64PFR0_EL1.get())
}

/// Stops this core for good.
pub fn stop() -> ! {
    DAIF.write(DAIF::D::Masked + DAIF::A::Masked + DAIF::I::Masked + DAIF::F::Masked);
    loop {
        wfi();
    }
}
