//! What a CPU's ID registers say about it.

use core::fmt;

/// Identification of a CPU: `MIDR_EL1` (Arm ARM, D23.2.122).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuModel {
    /// Implementer code: 0x41 is Arm.
    pub implementer: u8,
    /// Part number: 0xd08 is Cortex-A72.
    pub part: u16,
    /// Major revision, the `r` of `r1p3`.
    pub variant: u8,
    /// Minor revision, the `p` of `r1p3`.
    pub revision: u8,
}

impl CpuModel {
    /// Decodes the fields of `MIDR_EL1`.
    pub fn from_midr(midr: u64) -> Self {
        Self {
            implementer: (midr >> 24) as u8,
            part: (midr >> 4 & 0xfff) as u16,
            variant: (midr >> 20 & 0xf) as u8,
            revision: (midr & 0xf) as u8,
        }
    }

    /// The name, for the cores that QEMU can emulate by name; other cores are shown by their numbers.
    fn name(&self) -> Option<&'static str> {
        Some(match (self.implementer, self.part) {
            (0x41, 0xd03) => "Cortex-A53",
            (0x41, 0xd07) => "Cortex-A57",
            (0x41, 0xd08) => "Cortex-A72",
            (0x41, 0xd0b) => "Cortex-A76",
            (0x41, 0xd0c) => "Neoverse N1",
            (0x00, 0x051) => "QEMU max",
            _ => return None,
        })
    }
}

impl fmt::Display for CpuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}")?,
            None => write!(f, "implementer {:#04x} part {:#05x}", self.implementer, self.part)?,
        }
        write!(f, " r{}p{}", self.variant, self.revision)
    }
}

/// Instruction sets that inference can use beyond base NEON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstructionSets {
    /// `sdot`, `udot`: `FEAT_DotProd`.
    pub dotprod: bool,
    /// `smmla`: `FEAT_I8MM`.
    pub i8mm: bool,
    /// Arithmetic on f16 vectors: `FEAT_FP16`.
    pub fp16: bool,
    /// SHA-256 instructions: `FEAT_SHA256`.
    pub sha2: bool,
}

impl InstructionSets {
    /// Reads the features from `ID_AA64ISAR0_EL1`, `ID_AA64ISAR1_EL1` and `ID_AA64PFR0_EL1`
    /// (Arm ARM, D23.2).
    pub fn from_id_registers(isar0: u64, isar1: u64, pfr0: u64) -> Self {
        let field = |register: u64, bit: u32| register >> bit & 0xf;
        Self {
            dotprod: field(isar0, 44) >= 1,
            i8mm: field(isar1, 52) >= 1,
            fp16: field(pfr0, 20) == 1,
            sha2: field(isar0, 12) >= 1,
        }
    }

    /// The features in the form that the engine's inner loops are selected by.
    #[cfg(target_arch = "aarch64")]
    pub fn for_inference(self) -> ::llm::simd::CpuFeatures {
        let Self { dotprod, i8mm, fp16, .. } = self;
        ::llm::simd::CpuFeatures { dotprod, i8mm, fp16 }
    }

    /// True if `self` has every feature of `other`.
    pub fn include(&self, other: &Self) -> bool {
        let Self { dotprod, i8mm, fp16, sha2 } = *other;
        dotprod <= self.dotprod && i8mm <= self.i8mm && fp16 <= self.fp16 && sha2 <= self.sha2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    // Register values are from Arm's technical reference manuals of the cores.
    #[test]
    fn names_known_cores() {
        assert_eq!(CpuModel::from_midr(0x410f_d083).to_string(), "Cortex-A72 r0p3");
        assert_eq!(CpuModel::from_midr(0x413f_d0c1).to_string(), "Neoverse N1 r3p1");
        assert_eq!(CpuModel::from_midr(0x610f_0221).to_string(), "implementer 0x61 part 0x022 r0p1");
    }

    #[test]
    fn features_of_cortex_a72_and_a76() {
        let a72 = InstructionSets::from_id_registers(0x0000_0000_0001_1120, 0, 0x2222);
        assert_eq!(a72, InstructionSets { sha2: true, ..InstructionSets::default() });
        let a76 = InstructionSets::from_id_registers(0x0000_1000_1021_1120, 0x10_0001, 0x1100_0000_1011_2222);
        assert!(a76.dotprod && a76.sha2 && !a76.i8mm);
        assert!(InstructionSets::from_id_registers(0, 0, 1 << 20).fp16);
        assert!(!InstructionSets::from_id_registers(0, 0, 0xf << 20).fp16);
    }
}
