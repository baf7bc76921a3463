//! Cores that run one closure together: [`Team`], the engine's [`Workers`](llm::parallel::Workers) for the kernel's
//! cores and the host's threads alike.
//!
//! How a core waits is the caller's ([`Waiting`]). `team` is the handshake, with the argument why no core can run a
//! closure that is gone; `interleavings` tries every order of its steps.
#![cfg_attr(not(test), no_std)]

#[cfg(test)]
mod interleavings;
mod team;

pub use team::{CALLER, MAX_CORES, Team, Waiting};
