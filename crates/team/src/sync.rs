//! What cores share, from `core`. Under loom, [`team`](crate::team) is built with loom's instead.

pub use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A value that who knows that nobody else does may read or write.
pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// With this value.
    pub const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// Lends the value to be read.
    #[inline(always)]
    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Lends the value to be written.
    #[inline(always)]
    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
