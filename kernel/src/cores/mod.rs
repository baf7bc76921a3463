//! The machine's cores as one [`Team`](team::Team) that computes together.
//!
//! The crate `team` has the handshake; `start` brings the cores up and `turns` lets the boot core do something else between
//! what it computes, both on bare metal only.

#[cfg(target_os = "none")]
pub mod start;
#[cfg(target_os = "none")]
pub mod turns;
