//! What cores share, built from loom's types, with what loom lacks.
//!
//! Loom treats sequentially consistent accesses like acquiring and releasing ones, which may miss the newest value. Here they
//! therefore read and write at once, which makes them see the newest value. A team is made by a constant function, but loom's
//! values must be made at run time; here they are made on first use.

use std::sync::OnceLock;

pub use loom::sync::atomic::Ordering;
use loom::{cell, sync::atomic};

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        pub struct $name {
            first: $value,
            inner: OnceLock<atomic::$name>,
        }

        impl $name {
            pub const fn new(first: $value) -> Self {
                Self { first, inner: OnceLock::new() }
            }

            fn inner(&self) -> &atomic::$name {
                self.inner.get_or_init(|| atomic::$name::new(self.first))
            }

            pub fn load(&self, order: Ordering) -> $value {
                match order {
                    Ordering::SeqCst => self.inner().fetch_or(<$value>::default(), Ordering::AcqRel),
                    _ => self.inner().load(order),
                }
            }

            pub fn store(&self, value: $value, order: Ordering) {
                match order {
                    Ordering::SeqCst => {
                        self.inner().swap(value, Ordering::AcqRel);
                    }
                    _ => self.inner().store(value, order),
                }
            }
        }
    };
    ($name:ident, $value:ty, $($operation:ident)*) => {
        atomic!($name, $value);

        impl $name {
            $(pub fn $operation(&self, value: $value, order: Ordering) -> $value {
                self.inner().$operation(value, order)
            })*
        }
    };
}

atomic!(AtomicBool, bool, swap);
atomic!(AtomicUsize, usize, fetch_add fetch_sub);
atomic!(AtomicU64, u64, fetch_and fetch_or fetch_sub);

impl AtomicU64 {
    pub fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.inner().compare_exchange(current, new, success, failure)
    }
}

pub struct UnsafeCell<T> {
    first: T,
    inner: OnceLock<cell::UnsafeCell<T>>,
}

impl<T: Copy> UnsafeCell<T> {
    pub const fn new(first: T) -> Self {
        Self { first, inner: OnceLock::new() }
    }

    fn inner(&self) -> &cell::UnsafeCell<T> {
        self.inner.get_or_init(|| cell::UnsafeCell::new(self.first))
    }

    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        self.inner().with(read)
    }

    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        self.inner().with_mut(write)
    }
}
