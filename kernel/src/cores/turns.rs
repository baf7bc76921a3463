//! What the boot core does besides while the cores compute: [`meanwhile`].
//!
//! A product of a long prompt takes an emulated core a second, which is too long for whoever waits for an answer from the network.

use crate::arch;
use core::{cell::Cell, ptr::NonNull};
use team::CALLER;

/// What has its turn between two items.
type Look<'a> = dyn Fn() + 'a;

/// Something that only the boot core reaches.
struct BootCores<T>(T);

// SAFETY: `with` gives nothing to other cores.
unsafe impl<T> Sync for BootCores<T> {}

impl<T> BootCores<T> {
    fn with<R>(&self, work: impl FnOnce(&T) -> R) -> Option<R> {
        (arch::cpu::number() == CALLER).then(|| work(&self.0))
    }
}

static LOOK: BootCores<Cell<Option<NonNull<Look<'static>>>>> = BootCores(Cell::new(None));

/// Runs `run`; between the items of what it has the cores compute, `look` has its turn on the boot core. If `look` computes
/// as well, it has no turn within its own.
///
/// # Panics
/// On another core.
pub fn meanwhile(look: &Look<'_>, run: &mut dyn FnMut()) {
    let pointer = NonNull::from(look);
    // SAFETY: only the lifetime changes, and the pointer is gone from `LOOK` before this function returns or unwinds.
    let pointer = unsafe { core::mem::transmute::<NonNull<Look<'_>>, NonNull<Look<'static>>>(pointer) };
    let before = LOOK.with(|cell| cell.replace(Some(pointer))).expect("only the boot core calls");
    let _restored = Restore(before);
    run();
}

/// Gives [`LOOK`] back what it was when dropped.
struct Restore(Option<NonNull<Look<'static>>>);

impl Drop for Restore {
    fn drop(&mut self) {
        LOOK.with(|cell| cell.set(self.0));
    }
}

/// Gives what [`meanwhile`] was told its turn, if this is the boot core.
pub fn yield_now() {
    // It is taken away meanwhile, so that it has no turn within its own.
    if let Some(Some(look)) = LOOK.with(Cell::take) {
        let _restored = Restore(Some(look));
        // SAFETY: `meanwhile` has not returned, or it would have taken it away; until then it holds the reference.
        let look = unsafe { look.as_ref() };
        look();
    }
}
