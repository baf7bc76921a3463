//! Stacks: two for every core, each with an unmapped page below it.
//!
//! The boot core's stacks are part of the image. The other cores' stacks lie in RAM that boot sets aside, in one slot per core:
//! guard page, main stack, guard page, exception stack.

use super::image::{self, GUARD_BYTES};
use crate::memory::regions::Use;
use core::{fmt, ops::Range};
use spin::Once;

const MAIN_BYTES: u64 = 256 * 1024;
const EXCEPTION_BYTES: u64 = 64 * 1024;

/// Size of a secondary core's stacks, including their guard pages.
pub const SLOT_BYTES: u64 = GUARD_BYTES + MAIN_BYTES + GUARD_BYTES + EXCEPTION_BYTES;

/// The slots; core 1 has the first one.
static SLOTS: Once<Range<u64>> = Once::new();

/// Uses this RAM, a whole number of [slots](SLOT_BYTES), for the stacks of the secondary cores.
pub fn set_aside(slots: Range<u64>) {
    SLOTS.call_once(|| slots);
}

/// The two stacks of a core, without their guard pages.
#[derive(Debug, Clone)]
pub struct Stacks {
    /// The stack that is used outside of exception handlers.
    pub main: Range<u64>,
    /// The stack of exception handlers.
    pub exception: Range<u64>,
}

/// The stacks of a core, if it has any.
pub fn of_core(core: usize) -> Option<Stacks> {
    let Some(slot) = core.checked_sub(1) else {
        return Some(Stacks { main: image::main_stack(), exception: image::exception_stack() });
    };
    let slots = SLOTS.get()?;
    let main = slots.start + slot as u64 * SLOT_BYTES + GUARD_BYTES;
    let exception = main + MAIN_BYTES + GUARD_BYTES;
    let stacks = Stacks { main: main..main + MAIN_BYTES, exception: exception..exception + EXCEPTION_BYTES };
    (stacks.exception.end <= slots.end).then_some(stacks)
}

/// Passes the stacks of the secondary cores, and the guard pages below them, to `add`.
pub fn secondary_regions(add: &mut dyn FnMut(Range<u64>, Use)) {
    for core in 1.. {
        let Some(Stacks { main, exception }) = of_core(core.into()) else { break };
        for (stack, purpose) in [(main, Use::Stack(core)), (exception, Use::ExceptionStack(core))] {
            add(stack.start - GUARD_BYTES..stack.start, Use::Guard);
            add(stack, purpose);
        }
    }
}

/// A stack that has overflowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow {
    core: usize,
    name: &'static str,
}

impl Overflow {
    /// The stack whose guard page contains `address`, if any.
    pub fn at(address: u64) -> Option<Self> {
        (0..).map_while(of_core).enumerate().find_map(|(core, Stacks { main, exception })| {
            let is_below = |stack: Range<u64>| (stack.start - GUARD_BYTES..stack.start).contains(&address);
            let name = match () {
                () if is_below(main) => "main stack",
                () if is_below(exception) => "exception stack",
                () => return None,
            };
            Some(Self { core, name })
        })
    }
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} overflow", self.name)?;
        match self.core {
            0 => Ok(()),
            core => write!(f, " of core {core}"),
        }
    }
}
