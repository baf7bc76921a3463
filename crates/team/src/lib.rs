//! Cores that run one closure together: [`Team`], the engine's [`Workers`](llm::parallel::Workers) for the kernel's
//! cores and the host's threads alike.
//!
//! How a core waits is the caller's ([`Waiting`]). `team` is the handshake, with the argument why no core can run a
//! closure that is gone; `interleavings` tries every order of its steps, as a model has them, and `under_loom` runs the
//! code itself in the orders, and with the stale values, that the memory model allows.
#![cfg_attr(not(test), no_std)]

#[cfg(test)]
mod interleavings;
mod sync;
mod team;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod under_loom;

pub use team::{CALLER, MAX_CORES, Team, Waiting};
