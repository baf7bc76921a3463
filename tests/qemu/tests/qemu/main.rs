//! Everything that only a boot of the kernel in QEMU shows. One program, because each takes its own time to link, and because the tests of
//! all modules then share the threads that run them.

#[allow(dead_code, reason = "the server's own tests need more of it")]
#[path = "../../../../crates/serve/tests/common/ehbp.rs"]
mod ehbp;

mod adapter;
mod client;
mod common;

mod boot;
mod cores;
mod device_trees;
mod devices;
mod disks;
mod encrypted_bodies;
mod faults;
mod guest;
mod hub;
mod interrupts;
mod loaders;
mod machines;
mod memory_map;
mod minimal_kernel;
mod monitors;
mod network;
mod newcomer;
mod refused_blocks;
mod run_script;
mod serving;
mod setup_script;
mod shell_models;
mod trust;
mod uefi;
