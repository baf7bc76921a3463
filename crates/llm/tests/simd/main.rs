//! The inner loops of every set of instructions, in a program whose allocator lets nothing behind a block be accessed.

#[path = "../fence/mod.rs"]
mod fence;
#[path = "../random/mod.rs"]
mod random;
#[path = "../threads/mod.rs"]
mod threads;

mod attend;
mod matmul;
mod recurrence;
mod vectors;
