//! The machine's cores as one [`Team`](team::Team) that computes together.
//!
//! The crate `team` has the handshake; `start` brings the cores up, on bare metal only.

#[cfg(target_os = "none")]
pub mod start;
