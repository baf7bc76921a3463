//! What a core other than the boot core needs to start: its map, its stacks, its number.

use super::{cpu, stacks};
use aarch64_cpu::registers::{Readable, TTBR0_EL1};
use core::cell::UnsafeCell;
use team::MAX_CORES;

/// The values that `secondary_entry` in entry.s reads; the order must match.
#[repr(C)]
struct Start {
    translation_table: u64,
    main_stack_top: u64,
    exception_stack_top: u64,
    core: u64,
}

/// One per core. They are kept for ever, since it is not known when the core has read its own. They lie within the image, which
/// is all that the core can see before it has the final map.
struct Starts([UnsafeCell<Start>; MAX_CORES]);

// SAFETY: only the boot core writes to it, and it writes each element before it starts the respective core.
unsafe impl Sync for Starts {}

static STARTS: Starts = Starts(
    [const { UnsafeCell::new(Start { translation_table: 0, main_stack_top: 0, exception_stack_top: 0, core: 0 }) };
        MAX_CORES],
);

/// The arguments with which a core is to be started.
#[derive(Debug, Clone, Copy)]
pub struct EntryPoint {
    /// Physical address of the first instruction.
    pub address: u64,
    /// The value that the core must have in its first register.
    pub context: u64,
}

unsafe extern "C" {
    fn secondary_entry() -> !;
}

/// The entry point of core number `core`, which continues in `secondary_main` with the map that is active here. `None` if there
/// are no stacks for it.
pub fn entry_point(core: usize) -> Option<EntryPoint> {
    let stacks = stacks::of_core(core)?;
    let start = STARTS.0.get(core)?.get();
    // SAFETY: only the boot core creates entry points, and each core is started only once, after this.
    unsafe {
        start.write(Start {
            translation_table: TTBR0_EL1.get(),
            main_stack_top: stacks.main.end,
            exception_stack_top: stacks.exception.end,
            core: core as u64,
        });
    }
    cpu::finish_stores();
    let address = secondary_entry as unsafe extern "C" fn() -> ! as usize as u64;
    Some(EntryPoint { address, context: start.expose_provenance() as u64 })
}
