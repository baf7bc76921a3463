//! The Ferrite kernel: bare-metal aarch64 with an LLM inside.
//!
//! From the hardware up:
//!
//! - `arch`: everything in assembly. Entry, exceptions, page tables, counters.
//! - `drivers`: registers behind one type a device. UART, interrupt controller, virtio, PCIe,
//!   power, the host.
//! - [`machine`]: what a machine consists of.
//! - [`device_tree`], [`boot_args`]: what the boot loader tells.
//! - [`memory`], [`pci`], [`storage`], [`offload`]: the machine's resources, without registers.
//! - [`cores`]: all of them, computing together.
//! - [`sha256`], [`wide_counter`]: checksums of model files; counts beyond 32 bits.
//! - [`console`], [`piped_console`], [`logging`], [`system`]: what the layers above get to see.
//! - [`llm`], [`shell`]: models and inference, and the user's way to them.
//!
//! The image's `boot.rs` wires them in boot order. `arch` and most of `drivers` exist on bare metal only; all the
//! rest builds and is tested on the host.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(clippy::single_range_in_vec_init, reason = "lists of address ranges are values here")
)]

extern crate alloc;

#[cfg(target_os = "none")]
pub mod arch;
pub mod boot_args;
pub mod console;
pub mod cores;
pub mod device_tree;
pub mod drivers;
pub mod llm;
pub mod logging;
pub mod machine;
pub mod memory;
pub mod offload;
#[cfg(target_os = "none")]
pub mod panic;
pub mod pci;
pub mod piped_console;
#[cfg(target_os = "none")]
pub mod self_test;
pub mod sha256;
pub mod shell;
pub mod storage;
pub mod system;
pub mod wide_counter;
