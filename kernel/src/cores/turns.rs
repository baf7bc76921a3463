//! Lets the boot core do other work while the cores compute: [`meanwhile`].
//!
//! A product of a long prompt takes an emulated core a second, which is too long for clients that wait for an answer from the network.

use crate::arch;
use core::{cell::Cell, ptr::NonNull};
use team::CALLER;

/// A function that is called between two items.
type Look<'a> = dyn Fn() + 'a;

/// A value that only the boot core can access.
struct BootCores<T>(T);

// SAFETY: `with` does not give other cores access to the value.
unsafe impl<T> Sync for BootCores<T> {}

impl<T> BootCores<T> {
    fn with<R>(&self, work: impl FnOnce(&T) -> R) -> Option<R> {
        (arch::cpu::number() == CALLER).then(|| work(&self.0))
    }
}

static LOOK: BootCores<Cell<Option<NonNull<Look<'static>>>>> = BootCores(Cell::new(None));

/// Runs `run`. Between the items that `run` has the cores compute, `look` is called on the boot core. If `look` itself computes,
/// it is not called again within its own call.
///
/// # Panics
/// If it is called on a core other than the boot core.
pub fn meanwhile(look: &Look<'_>, run: &mut dyn FnMut()) {
    let pointer = NonNull::from(look);
    // SAFETY: only the lifetime changes, and the pointer is removed from `LOOK` before this function returns or unwinds.
    let pointer = unsafe { core::mem::transmute::<NonNull<Look<'_>>, NonNull<Look<'static>>>(pointer) };
    let before = LOOK.with(|cell| cell.replace(Some(pointer))).expect("only the boot core calls");
    let _restored = Restore(before);
    run();
}

/// Restores the previous value of [`LOOK`] when dropped.
struct Restore(Option<NonNull<Look<'static>>>);

impl Drop for Restore {
    fn drop(&mut self) {
        LOOK.with(|cell| cell.set(self.0));
    }
}

/// Calls the function that [`meanwhile`] was given, if this is the boot core.
pub fn yield_now() {
    // It is taken out of `LOOK` during the call, so that it is not called again within its own call.
    if let Some(Some(look)) = LOOK.with(Cell::take) {
        let _restored = Restore(Some(look));
        // SAFETY: `meanwhile` has not returned, since it would have removed the pointer; until then it holds the reference.
        let look = unsafe { look.as_ref() };
        look();
    }
}
