//! What another core needs to begin with: its map, its stacks, its number.

use super::{cpu, stacks};
use aarch64_cpu::registers::{Readable, TTBR0_EL1};
use alloc::boxed::Box;

/// What `secondary_entry` in entry.s reads, in its order.
#[repr(C)]
struct Start {
    translation_table: u64,
    main_stack_top: u64,
    exception_stack_top: u64,
    core: u64,
}

/// Where and with what a core is to be started.
#[derive(Debug, Clone, Copy)]
pub struct EntryPoint {
    /// Physical address of the first instruction.
    pub address: u64,
    /// What the core must have in its first register.
    pub context: u64,
}

unsafe extern "C" {
    fn secondary_entry() -> !;
}

/// The entry point of core number `core`, which continues in `secondary_main` with the map that is
/// active here. `None` if no stacks have been set aside for it.
pub fn entry_point(core: usize) -> Option<EntryPoint> {
    let stacks = stacks::of_core(core)?;
    // For ever: there is no telling when the core has read it.
    let start = Box::leak(Box::new(Start {
        translation_table: TTBR0_EL1.get(),
        main_stack_top: stacks.main.end,
        exception_stack_top: stacks.exception.end,
        core: core as u64,
    }));
    cpu::finish_stores();
    let address = secondary_entry as unsafe extern "C" fn() -> ! as usize as u64;
    Some(EntryPoint { address, context: core::ptr::from_mut(start).expose_provenance() as u64 })
}
