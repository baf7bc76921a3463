//! Physical memory: who may use which part of it.
//!
//! [`layout`] places the [`heap`] beside the kernel image; all other RAM becomes the [`pool`], from which memory for model
//! weights and inference is reserved, and to which it returns. [`boot_map`] makes memory accessible until all of it is known. The
//! final tables are made from the plan in [`regions`], which also compares the plan with what [`translation`] reads from the
//! tables.
//!
//! `refusals`, in kernels that are built for tests, lets heap and pool refuse on purpose.

pub mod boot_map;
pub mod heap;
pub mod layout;
pub mod pool;
#[cfg(any(test, feature = "selftest"))]
pub mod refusals;
pub mod regions;
pub mod translation;
