//! Physical memory: who may use which part of it.
//!
//! [`layout`] places the [`heap`] beside the kernel image; all other RAM becomes the [`pool`], from which memory for model
//! weights and inference is reserved, and to which it returns. [`boot_map`] makes memory accessible until all of it is known. The
//! final tables are made from the plan in [`regions`], which also compares the plan with what [`translation`] reads from the
//! tables.
//! in them.

pub mod boot_map;
pub mod heap;
pub mod layout;
pub mod pool;
pub mod regions;
pub mod translation;
