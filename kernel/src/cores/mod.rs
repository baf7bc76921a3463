//! The machine's cores as one [`Team`](team::Team), which computes together.
//!
//! The crate `team` implements the cooperation. `start` starts the cores, and `turns` lets the boot core do other work between
//! items of the computation; both exist only on bare metal.

#[cfg(target_os = "none")]
pub mod start;
#[cfg(target_os = "none")]
pub mod turns;
