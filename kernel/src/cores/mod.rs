//! The machine's cores as one [`Team`] that computes together.
//!
//! `team` is the handshake, which runs and is tested on the host too, `interleavings` a search for orders in
//! which it would fail; `start` brings the cores up, on bare metal only.

#[cfg(test)]
mod interleavings;
#[cfg(target_os = "none")]
pub mod start;
mod team;

pub use team::{CALLER, MAX_CORES, Team, Waiting};
