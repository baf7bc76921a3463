//! The core that runs this: identity, features, stopping.

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

/// The affinity fields of `MPIDR_EL1`: which core this is, as the device tree names it.
pub fn mpidr() -> u64 {
    const AFFINITY: u64 = 0xff_00ff_ffff;
    MPIDR_EL1.get() & AFFINITY
}

/// The number of the core that runs this: 0 for the boot core, the others as they were started.
pub fn number() -> usize {
    TPIDRRO_EL0.get() as usize
}

/// Waits until everything that this core has written can be seen by the others.
pub fn finish_stores() {
    dsb(ISHST);
}

/// Writes what the caches have of a range of addresses back to memory, for who does not see the caches, and waits until that is done. Whoever
/// does sees before what is written afterwards.
pub fn clean(range: core::ops::Range<usize>) {
    let kind: usize;
    // SAFETY: reads a register that every level may read (Arm ARM, D19.2.34).
    unsafe { core::arch::asm!("mrs {}, ctr_el0", out(reg) kind, options(nomem, nostack)) };
    // DminLine counts words of four bytes.
    let line_bytes = 4 << (kind >> 16 & 0xf);
    for address in (range.start / line_bytes * line_bytes..range.end).step_by(line_bytes) {
        // SAFETY: changes no contents.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) address, options(nostack)) };
    }
    dsb(barrier::SY);
}

/// Waits for a moment, or until another core [sends an event](send_event).
pub fn wait_for_event() {
    wfe();
}

/// Ends [`wait_for_event`] on every core, in which it is or which it is about to enter.
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
