//! Everything that the kernel hands to the shell once the machine has booted.

use crate::{
    console::Console,
    cpu::{CpuModel, InstructionSets},
    memory::{heap::HeapUsage, pool::Pool, regions::Finding, translation::WalkError},
    net::{Network, VsockDevice},
    offload::Offload,
    pci,
    storage::Disks,
};
use ::llm::{parallel::Workers, simd::Kernels};
use ::serve::{KeyFileError, Keys};
use alloc::{boxed::Box, vec::Vec};
use core::{cell::RefCell, fmt};
use trust::sha256::Compress;

/// The machine after boot. Every field is a value or a function, so that tests can construct one.
pub struct System<'a> {
    /// Where commands are typed and answered.
    pub console: &'a mut dyn Console,
    /// Width of the terminal on the console; 0 if the console is a file or a program; `None` if the boot arguments do not say.
    pub columns: Option<usize>,
    /// Whether the user wants no colours, whatever the console is.
    pub no_colour: bool,
    /// Facts about the machine, and its functions.
    pub machine: Machine,
    /// The disks, in the order in which they were given on the host's command line.
    pub disks: Disks,
    /// The PCI functions.
    pub pci: Vec<pci::Function>,
    /// The network, if there is a card.
    pub network: Option<&'a RefCell<Network>>,
    /// A vsock device, through which the host can be reached without a network, if there is one.
    pub vsock: Option<Box<dyn VsockDevice>>,
    /// How models are served over the network.
    pub serve: ServeSettings,
    /// A display or 3D controller, if one was found.
    pub offload: Option<Box<dyn Offload>>,
}

/// Facts about a machine and its functions, for every part of the kernel that needs them.
#[derive(Clone, Copy)]
pub struct Machine {
    /// Microseconds since the machine started; never goes back.
    pub clock_us: fn() -> u64,
    /// Seconds since the beginning of 1970 in universal time; `None` if the machine has no clock that knows the date.
    pub now_seconds: fn() -> Option<u64>,
    /// An unpredictable number to use as a seed; a different one on each call.
    pub random_seed: fn() -> u64,
    /// Bytes that nobody can guess, to use as a key; different ones on each call. `None` if the machine has no source of random numbers.
    pub secret: fn() -> Option<[u8; 32]>,
    /// The digest of the kernel's Image, if the build recorded it there.
    pub image_sha256: Option<[u8; 32]>,
    /// Instructions that this core has retired since the counter was started, or `None` if the CPU does not count them. Only
    /// differences between two values are meaningful.
    pub instructions_retired: fn() -> Option<u64>,
    /// The boot core's implementer and part number.
    pub cpu_model: CpuModel,
    /// The boot core's instruction sets.
    pub instruction_sets: InstructionSets,
    /// The inner loops of inference that suit these instruction sets best.
    pub kernels: &'static Kernels,
    /// All sets of inner loops that these instruction sets can run.
    pub all_kernels: &'static [&'static Kernels],
    /// The compression function of SHA-256 that suits these instruction sets.
    pub sha256: Compress,
    /// All cores that the device tree lists, with their current states; the boot core comes first.
    pub cores: fn() -> Vec<Core>,
    /// The cores that compute.
    pub workers: &'static dyn Workers,
    /// Runs the second function, while the workers compute. The first function is called now and then, between the items that
    /// they compute.
    pub meanwhile: fn(&dyn Fn(), &mut dyn FnMut()),
    /// How many interrupts the boot core has taken.
    pub n_interrupts: fn() -> u64,
    /// Does the machine's pending background work. Every loop that waits, computes or loads must call it regularly. `None` if
    /// there is no such work. The argument is true if nothing is being computed.
    pub turn: Option<fn(bool) -> Turn>,
    /// How much memory the host has taken, if there is a balloon device.
    pub balloon: fn() -> Option<BalloonUsage>,
    /// How often this interrupt has been taken.
    pub interrupt_count: fn(u32) -> u64,
    /// Passes everything that the live translation tables map to the callback, together with what the kernel intends there, and
    /// returns the number of tables.
    pub memory_map: fn(&mut dyn FnMut(Finding)) -> Result<usize, WalkError>,
    /// Accesses that the boot core is set to refuse, whatever the translation tables say.
    pub protections: fn() -> Protections,
    /// State of the small heap.
    pub heap_usage: fn() -> HeapUsage,
    /// Whether the heap has no room for anything new.
    pub is_heap_low: fn() -> bool,
    /// All memory beyond the kernel image and the heap.
    pub pool: &'static Pool,
}

/// Accesses that a core is set to refuse, whatever the translation tables say.
#[derive(Clone, Copy)]
pub struct Protections {
    /// Refuses to execute writable memory: `SCTLR_EL1.WXN`.
    pub wxn: bool,
    /// Refuses a stack pointer that is not a multiple of 16: `SCTLR_EL1.SA`.
    pub stack_alignment: bool,
    /// Refuses to access memory that EL0 can access: `PSTATE.PAN`; `None` without `FEAT_PAN`.
    pub pan: Option<bool>,
}

impl Protections {
    /// Whether every protection that the core has is on.
    pub fn are_on(&self) -> bool {
        self.wxn && self.stack_alignment && self.pan != Some(false)
    }
}

/// The result of one turn of the background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// When the next turn must take place, in microseconds of the machine's clock; [`u64::MAX`] if it need not.
    pub wake_us: u64,
    /// How often the machine has been restored from a snapshot.
    pub n_restored: u64,
}

impl Turn {
    /// The result on a machine without background work.
    pub const NOTHING: Self = Self { wake_us: u64::MAX, n_restored: 0 };
}

/// How much of the memory the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalloonUsage {
    /// Bytes of the pool that the host wants for itself.
    pub wanted_bytes: usize,
    /// Bytes of the pool that the host has taken.
    pub given_bytes: usize,
    /// Free bytes that were reported to the host, which may use them until the kernel needs them.
    pub reported_bytes: usize,
}

/// How the shell runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunMode {
    /// Prompt for lines until told to stop.
    Interactive,
    /// Run this one line; only its output goes to the console.
    Command(Vec<u8>),
}

/// How models are served over the network.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServeSettings {
    /// The port; `None` if models are not served on the network.
    pub port: Option<u16>,
    /// The port on the vsock device, if models are served there.
    pub vsock_port: Option<u32>,
    /// The accepted keys; if there are any, every request must present one.
    pub keys: Keys,
    /// Whether requests may load and unload models.
    pub admin: bool,
    /// Whether requests that carry clients' texts are accepted only with encrypted bodies.
    pub sealed_only: bool,
    /// The seed of the keys that sign receipts and decrypt request bodies, if it was given.
    pub receipt_key: Option<[u8; 32]>,
}

impl ServeSettings {
    /// Makes the keys in a file the accepted ones, see [`Keys::parse`].
    ///
    /// # Errors
    /// If the file is not a valid list of keys; the error says what is expected.
    pub fn take_keys(&mut self, file: &[u8]) -> Result<(), KeyFileError> {
        let refused = |expected| KeyFileError { line: 0, expected };
        if !self.keys.is_empty() {
            return Err(refused("no second key beside ferrite.api_key"));
        }
        let text = str::from_utf8(file).map_err(|_| refused("keys in UTF-8"))?;
        self.keys = Keys::parse(text)?;
        Ok(())
    }
}

/// Leaves the keys out, since they are secret.
impl fmt::Debug for ServeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_key = !self.keys.is_empty();
        f.debug_struct("ServeSettings")
            .field("port", &self.port)
            .field("vsock_port", &self.vsock_port)
            .field("has_key", &has_key)
            .field("admin", &self.admin)
            .field("sealed_only", &self.sealed_only)
            .finish()
    }
}

/// How the machine is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Power off; `success` becomes the exit status if the host can be told.
    PowerOff {
        /// False if the single command of command mode failed.
        success: bool,
    },
    /// Reboot.
    Reboot,
}

/// One core of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Core {
    /// Affinity fields of `MPIDR_EL1`.
    pub mpidr: u64,
    /// Its state.
    pub state: CoreState,
}

/// The state of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CoreState {
    /// It has not been started.
    Off,
    /// It has been started but has not reported yet.
    Starting,
    /// It runs the kernel.
    Online,
    /// It could not be started.
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

    #[test]
    fn keys_come_from_one_place() {
        let taken = |file: &[u8]| {
            let mut settings = ServeSettings::default();
            settings.take_keys(file).map(|()| settings.keys)
        };
        for file in ["open sesame", "open sesame\n", " open sesame \r\n"] {
            assert_eq!(taken(file.as_bytes()), Ok(Keys::one("open sesame")));
        }
        assert_eq!(taken(b"open\nsesame running=1").unwrap().all()[1].limits.running, Some(1));
        for file in [&b""[..], b"\n", b"open sesame\nand more", b"sesame\xff"] {
            assert!(taken(file).is_err());
        }
        let mut settings = ServeSettings { keys: Keys::one("first"), ..ServeSettings::default() };
        assert!(settings.take_keys(b"second").is_err());
        assert_eq!(settings.keys, Keys::one("first"));
    }
}
