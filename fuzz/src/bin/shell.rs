//! Anything typed at the console of the whole shell, on a machine without disks: it ends when the input does, and all that it prints is text.
//!
//! The first byte says what the console is: a terminal of some width, one whose width is not known, a pipe, or one command.
#![no_main]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrite_kernel::console::{Background, Console};
use ferrite_kernel::llm::host;
use ferrite_kernel::memory::pool::Pool;
use ferrite_kernel::shell::run;
use ferrite_kernel::storage::Disks;
use ferrite_kernel::system::{Machine, RunMode, ServeSettings, System};
use libfuzzer_sys::fuzz_target;

static POOL: Pool = Pool::new();
static NOW_US: AtomicU64 = AtomicU64::new(0);
static MACHINE: LazyLock<Machine> = LazyLock::new(|| Machine {
    // Time goes on by being asked for.
    clock_us: || NOW_US.fetch_add(1000, Ordering::Relaxed),
    now_seconds: || Some(1_700_000_000),
    secret: || None,
    ..host::machine(&POOL)
});

/// What is typed, and what is printed.
struct Pipe<'i> {
    input: &'i [u8],
    output: Vec<u8>,
}

impl Console for Pipe<'_> {
    fn read_byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(first)
    }

    fn wait_for_byte(&mut self, _: &mut Background<'_>) -> Option<u8> {
        self.read_byte()
    }

    fn write_bytes(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&kind, input)) = input.split_first() else { return };
    // It takes seconds.
    if input.windows(5).any(|word| word == b"bench") {
        return;
    }
    let (columns, mode, input) = match kind {
        0..8 => (None, RunMode::Interactive, input),
        8..16 => (Some(0), RunMode::Interactive, input),
        16..24 => (Some(0), RunMode::Command(input.to_vec()), &b""[..]),
        _ => (Some(usize::from(kind)), RunMode::Interactive, input),
    };
    let is_command = mode != RunMode::Interactive;
    let mut console = Pipe { input, output: Vec::new() };
    let system = System {
        console: &mut console,
        columns,
        no_colour: kind % 2 == 1,
        machine: *MACHINE,
        disks: Disks::from(Vec::new()),
        pci: Vec::new(),
        network: None,
        vsock: None,
        serve: ServeSettings::default(),
        offload: None,
    };
    let _ = run(system, mode);
    let output = str::from_utf8(&console.output).expect("what the shell prints is text");
    // What no command prints must come from its input: a terminal would obey it.
    assert!(!is_command || !output.contains(|c: char| c.is_control() && c != '\n'), "{output:?}");
});
