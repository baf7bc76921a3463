//! 64-bit Arm: everything that the rest of the kernel cannot do without assembly.

pub mod boot_map;
pub mod counters;
pub mod cpu;
pub mod entry;
pub mod exceptions;
pub mod image;
pub mod interrupts;
mod memory_functions;
pub mod monitor;
pub mod paging;
pub mod probe;
pub mod protection;
pub mod random;
pub mod secondary;
pub mod sha256;
pub mod stacks;
pub mod time;
#[cfg(feature = "selftest")]
pub mod vector_test;
