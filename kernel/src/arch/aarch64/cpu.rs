//! The core that runs this: identity, features, stopping.

use crate::system::{CpuFeatures, CpuModel};
use aarch64_cpu::{
    asm::wfi,
    registers::{
        DAIF, ID_AA64ISAR0_EL1, ID_AA64ISAR1_EL1, ID_AA64PFR0_EL1, MIDR_EL1, MPIDR_EL1, Readable, Writeable,
    },
};

/// The affinity fields of `MPIDR_EL1`: which core this is, as the device tree names it.
pub fn mpidr() -> u64 {
    const AFFINITY: u64 = 0xff_00ff_ffff;
    MPIDR_EL1.get() & AFFINITY
}

/// Implementer and part number of this core.
pub fn model() -> CpuModel {
    CpuModel::from_midr(MIDR_EL1.get())
}

/// Instruction sets of this core.
pub fn features() -> CpuFeatures {
    CpuFeatures::from_id_registers(ID_AA64ISAR0_EL1.get(), ID_AA64ISAR1_EL1.get(), ID_AA64PFR0_EL1.get())
}

/// Stops this core for good.
pub fn stop() -> ! {
    DAIF.write(DAIF::D::Masked + DAIF::A::Masked + DAIF::I::Masked + DAIF::F::Masked);
    loop {
        wfi();
    }
}
