//! What the kernel hands to the shell: the machine, found and ready.

use crate::{
    console::Console,
    memory::{heap::HeapUsage, pool::Pool},
    offload::Offload,
    pci,
    sha256::Compress,
    storage::Disks,
};
use ::llm::{parallel::Workers, simd::Kernels};
use alloc::{boxed::Box, vec::Vec};
use core::fmt;

/// The machine after boot. Everything is a value or a function, so that a test can make one up.
pub struct System<'a> {
    /// Where commands are typed and answered.
    pub console: &'a mut dyn Console,
    /// Width of the terminal on the console; 0 if it is none, but a file or a program; `None` if nobody has said.
    pub columns: Option<usize>,
    /// Microseconds since the machine started; never goes back.
    pub clock_us: fn() -> u64,
    /// Seconds since the beginning of 1970 in universal time; `None` where the machine has no clock that knows them.
    pub now_seconds: fn() -> Option<u64>,
    /// A number that nobody could have told beforehand, for a seed; another one each time.
    pub random_seed: fn() -> u64,
    /// Instructions that this core has retired since the counter was started, or `None` where the
    /// CPU does not count them. Differences are what is meaningful.
    pub instructions_retired: fn() -> Option<u64>,
    /// The boot core's implementer and part number.
    pub cpu_model: CpuModel,
    /// The boot core's instruction sets.
    pub cpu_features: CpuFeatures,
    /// The inner loops of inference that suit these instruction sets.
    pub kernels: &'static Kernels,
    /// The compression function of SHA-256 that suits these instruction sets.
    pub sha256: Compress,
    /// All cores that the device tree lists, as they are now; the boot core first.
    pub cores: fn() -> Vec<Core>,
    /// The cores that compute.
    pub workers: &'static dyn Workers,
    /// State of the small heap.
    pub heap_usage: fn() -> HeapUsage,
    /// All memory beyond the kernel image and the heap.
    pub pool: &'static Pool,
    /// The disks, in the order in which they were given on the host's command line.
    pub disks: Disks,
    /// The PCI functions.
    pub pci: Vec<pci::Function>,
    /// A display or 3D controller, if one was found.
    pub offload: Option<Box<dyn Offload>>,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunMode {
    /// Prompt and wait for lines until told to stop.
    Interactive,
    /// Run this one line; nothing but its output goes to the console.
    Command(Vec<u8>),
}

/// How the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Power off; `success` becomes the exit status where the host can be told.
    PowerOff {
        /// False if the one command of command mode failed.
        success: bool,
    },
    /// Start again.
    Reboot,
}

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
    /// Takes the fields of `MIDR_EL1` apart.
    pub fn from_midr(midr: u64) -> Self {
        Self {
            implementer: (midr >> 24) as u8,
            part: (midr >> 4 & 0xfff) as u16,
            variant: (midr >> 20 & 0xf) as u8,
            revision: (midr & 0xf) as u8,
        }
    }

    /// The name of the cores that QEMU emulates by name; others show their numbers.
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
pub struct CpuFeatures {
    /// `sdot`, `udot`: `FEAT_DotProd`.
    pub dotprod: bool,
    /// `smmla`: `FEAT_I8MM`.
    pub i8mm: bool,
    /// Arithmetic on f16 vectors: `FEAT_FP16`.
    pub fp16: bool,
    /// SHA-256 instructions: `FEAT_SHA256`.
    pub sha2: bool,
}

impl CpuFeatures {
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

    /// True if everything in `other` is there.
    pub fn include(&self, other: &Self) -> bool {
        let Self { dotprod, i8mm, fp16, sha2 } = *other;
        dotprod <= self.dotprod && i8mm <= self.i8mm && fp16 <= self.fp16 && sha2 <= self.sha2
    }
}

/// One core of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Core {
    /// Affinity fields of `MPIDR_EL1`.
    pub mpidr: u64,
    /// What it does.
    pub state: CoreState,
}

/// What a core does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CoreState {
    /// Nothing: it has not been started.
    Off,
    /// It has been started and has not said so yet.
    Starting,
    /// It runs the kernel.
    Online,
    /// It cannot be started.
    Failed,
}

impl CoreState {
    /// The state with this discriminant; other numbers are [`Off`](Self::Off).
    pub fn from_raw(raw: u8) -> Self {
        let all = [Self::Starting, Self::Online, Self::Failed];
        all.into_iter().find(|&state| state as u8 == raw).unwrap_or(Self::Off)
    }
}

impl fmt::Display for CoreState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Online => "online",
            Self::Failed => "cannot be started",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    // Register values: Arm's technical reference manuals of the cores.
    #[test]
    fn names_known_cores() {
        assert_eq!(CpuModel::from_midr(0x410f_d083).to_string(), "Cortex-A72 r0p3");
        assert_eq!(CpuModel::from_midr(0x413f_d0c1).to_string(), "Neoverse N1 r3p1");
        assert_eq!(CpuModel::from_midr(0x610f_0221).to_string(), "implementer 0x61 part 0x022 r0p1");
    }

    #[test]
    fn features_of_cortex_a72_and_a76() {
        let a72 = CpuFeatures::from_id_registers(0x0000_0000_0001_1120, 0, 0x2222);
        assert_eq!(a72, CpuFeatures { sha2: true, ..CpuFeatures::default() });
        let a76 = CpuFeatures::from_id_registers(0x0000_1000_1021_1120, 0x10_0001, 0x1100_0000_1011_2222);
        assert!(a76.dotprod && a76.sha2 && !a76.i8mm);
        assert!(CpuFeatures::from_id_registers(0, 0, 1 << 20).fp16);
        assert!(!CpuFeatures::from_id_registers(0, 0, 0xf << 20).fp16);
    }
}
