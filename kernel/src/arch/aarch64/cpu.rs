//! The core that runs this: identity, features, stopping.

use crate::cpu::{CpuModel, InstructionSets};
use aarch64_cpu::{
    asm::{
        barrier::{ISHST, dsb},
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
