//! The only supported architecture: 64-bit Arm.

mod aarch64;

pub use aarch64::*;
