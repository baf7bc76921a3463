//! Physical memory: who may use which part of it.
//!
//! [`layout`] places the [`heap`] beside the kernel image; all the rest becomes the [`pool`], from
//! which model weights and inference memory are reserved and to which they return. [`boot_map`] makes memory
//! reachable until all of it is known; the final tables are made from the plan in [`regions`], which holds against it what [`translation`] reads
//! in them.

pub mod boot_map;
pub mod heap;
pub mod layout;
pub mod pool;
pub mod regions;
pub mod translation;
