//! What the kernel hands to the shell: the machine, found and ready.

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

/// The machine after boot. Everything is a value or a function, so that a test can make one up.
pub struct System<'a> {
    /// Where commands are typed and answered.
    pub console: &'a mut dyn Console,
    /// Width of the terminal on the console; 0 if it is none, but a file or a program; `None` if nobody has said.
    pub columns: Option<usize>,
    /// What the machine is and can do.
    pub machine: Machine,
    /// The disks, in the order in which they were given on the host's command line.
    pub disks: Disks,
    /// The PCI functions.
    pub pci: Vec<pci::Function>,
    /// The network, if there is a card.
    pub network: Option<&'a RefCell<Network>>,
    /// The way to the host without a network, if there is one.
    pub vsock: Option<Box<dyn VsockDevice>>,
    /// What the network may ask for.
    pub serve: ServeSettings,
    /// A display or 3D controller, if one was found.
    pub offload: Option<Box<dyn Offload>>,
}

/// What a machine is and can do, for whoever needs it.
#[derive(Clone, Copy)]
pub struct Machine {
    /// Microseconds since the machine started; never goes back.
    pub clock_us: fn() -> u64,
    /// Seconds since the beginning of 1970 in universal time; `None` where the machine has no clock that knows them.
    pub now_seconds: fn() -> Option<u64>,
    /// A number that nobody could have told beforehand, for a seed; another one each time.
    pub random_seed: fn() -> u64,
    /// Bytes that nobody can guess, for a key, other ones each time; `None` on a machine without a source of random numbers.
    pub secret: fn() -> Option<[u8; 32]>,
    /// The digest of the kernel's Image, if whoever built it has noted it there.
    pub image_sha256: Option<[u8; 32]>,
    /// Instructions that this core has retired since the counter was started, or `None` where the
    /// CPU does not count them. Differences are what is meaningful.
    pub instructions_retired: fn() -> Option<u64>,
    /// The boot core's implementer and part number.
    pub cpu_model: CpuModel,
    /// The boot core's instruction sets.
    pub instruction_sets: InstructionSets,
    /// The inner loops of inference that suit these instruction sets best.
    pub kernels: &'static Kernels,
    /// All that these instruction sets allow.
    pub all_kernels: &'static [&'static Kernels],
    /// The compression function of SHA-256 that suits these instruction sets.
    pub sha256: Compress,
    /// All cores that the device tree lists, as they are now; the boot core first.
    pub cores: fn() -> Vec<Core>,
    /// The cores that compute.
    pub workers: &'static dyn Workers,
    /// Runs the second function. The first has its turn meanwhile, between the items of what the workers compute.
    pub meanwhile: fn(&dyn Fn(), &mut dyn FnMut()),
    /// How many interrupts the boot core has taken.
    pub n_interrupts: fn() -> u64,
    /// Is to be called each time that whoever waits, computes or loads looks up: what the machine is owed is done then. None if
    /// it is owed nothing. The argument says whether nobody computes.
    pub turn: Option<fn(bool) -> Turn>,
    /// What the host has of the memory, if there is a balloon.
    pub balloon: fn() -> Option<BalloonUsage>,
    /// How often this interrupt has been taken.
    pub interrupt_count: fn(u32) -> u64,
    /// Gives all that the live translation tables say, beside what they should say, and returns how many tables there are.
    pub memory_map: fn(&mut dyn FnMut(Finding)) -> Result<usize, WalkError>,
    /// What the boot core refuses itself, whatever the tables say.
    pub protections: fn() -> Protections,
    /// State of the small heap.
    pub heap_usage: fn() -> HeapUsage,
    /// Whether it has no room for anything new.
    pub is_heap_low: fn() -> bool,
    /// All memory beyond the kernel image and the heap.
    pub pool: &'static Pool,
}

/// What a core refuses itself.
#[derive(Clone, Copy)]
pub struct Protections {
    /// To execute what can be written, whatever else the tables say: `SCTLR_EL1.WXN`.
    pub wxn: bool,
    /// A stack pointer that is no multiple of 16: `SCTLR_EL1.SA`.
    pub stack_alignment: bool,
    /// To access what EL0 can: `PSTATE.PAN`; `None` without `FEAT_PAN`.
    pub pan: Option<bool>,
}

impl Protections {
    /// Whether all is on that the core has.
    pub fn are_on(&self) -> bool {
        self.wxn && self.stack_alignment && self.pan != Some(false)
    }
}

/// What a turn of the main loop has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// When the next one must be, in microseconds of the machine's clock; never if it is [`u64::MAX`].
    pub wake_us: u64,
    /// How often the machine has been restored from a snapshot.
    pub n_restored: u64,
}

impl Turn {
    /// That of a machine that is owed nothing.
    pub const NOTHING: Self = Self { wake_us: u64::MAX, n_restored: 0 };
}

/// What the host has of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalloonUsage {
    /// What it wants of the pool for itself.
    pub wanted_bytes: usize,
    /// What it has of that.
    pub given_bytes: usize,
    /// What is free and it has been told of, so that it may use it until it is wanted here.
    pub reported_bytes: usize,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunMode {
    /// Prompt and wait for lines until told to stop.
    Interactive,
    /// Run this one line; nothing but its output goes to the console.
    Command(Vec<u8>),
}

/// How models are served over the network.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServeSettings {
    /// The port; `None` if they are not served.
    pub port: Option<u16>,
    /// The port of a vsock device, if they are served there.
    pub vsock_port: Option<u32>,
    /// The keys of which requests must bring one, if any.
    pub keys: Keys,
    /// Whether requests may load and unload models.
    pub admin: bool,
    /// Whether requests with clients' texts are taken only if their bodies are encrypted.
    pub sealed_only: bool,
    /// The seed of the keys that sign receipts and open encrypted bodies, if it was given.
    pub receipt_key: Option<[u8; 32]>,
}

impl ServeSettings {
    /// Takes the keys in a file as those that requests must bring one of, see [`Keys::parse`].
    ///
    /// # Errors
    /// What is expected instead.
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

/// The keys are nobody's business.
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
