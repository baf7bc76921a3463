//! Cores that run one closure together: [`Team`] implements the engine's [`Workers`](llm::parallel::Workers) both for the
//! kernel's cores and for the host's threads.
//!
//! The caller decides how a core waits ([`Waiting`]). `team` is the handshake, with a proof that no core can run a closure that
//! is gone. `interleavings` tries every order of its steps in a model; `under_loom` runs the code itself in the orders, and with
//! the stale values, that the memory model allows.
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
