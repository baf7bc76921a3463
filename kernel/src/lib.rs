//! The Ferrite kernel: bare-metal aarch64 with an LLM inside.
//!
//! # Layers
//!
//! Each module uses only those below it (`scripts/check-layers` makes sure of it).
//!
//! | module | what it is |
//! |---|---|
//! | `boot` | from the entry point to the shell, in order |
//! | [`shell`], `self_test` | the user's way to everything; faults and checks that tests ask for |
//! | [`serving`] | requests over the network, answered by the models |
//! | [`llm`] | models and inference |
//! | `panic` | the end of a kernel that failed |
//! | [`cores`] | all of them, computing together |
//! | [`drivers`] | registers behind one type a device: UART, interrupt controller, virtio, PCIe, power, the host |
//! | `arch` | everything in assembly: entry, exceptions, page tables, counters |
//! | [`boot_args`], [`acpi`], [`device_tree`] | what the boot loader and the firmware tell |
//! | [`system`] | the machine as the shell gets to see it |
//! | [`storage`], [`net`], [`offload`], [`piped_console`] | disks; the network; a GPU behind PCIe; a console whose input ends |
//! | [`memory`], [`pci`], [`console`] | the machine's resources, without registers |
//! | [`entropy`], [`firmware`], [`machine`], [`cpu`], [`wide_counter`], [`steady_clock`], [`logging`] | random numbers; what UEFI firmware tells; what a machine consists of; what a CPU says of itself; counts beyond 32 bits; time that never goes back; the log |
//! | [`undriven`] | what may have a disk behind it and is not driven |
//!
//! `self_test` is compiled with the feature `selftest` only, which no kernel has that is released. `boot`, `arch` and most of `drivers` exist on
//! bare metal only; all the rest builds and is tested on the host. The
//! package `image` links it.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::single_range_in_vec_init, reason = "lists of address ranges are values here")
)]

extern crate alloc;
// What stands in for a machine on a host.
#[cfg(not(any(test, target_os = "none")))]
extern crate std;

pub mod acpi;
#[cfg(target_os = "none")]
#[allow(unsafe_code, reason = "assembly")]
pub mod arch;
#[cfg(target_os = "none")]
#[allow(unsafe_code, reason = "maps memory, hands out the heap")]
mod boot;
pub mod boot_args;
pub mod console;
#[allow(unsafe_code, reason = "starts cores")]
pub mod cores;
pub mod cpu;
pub mod device_tree;
#[allow(unsafe_code, reason = "registers of devices")]
pub mod drivers;
pub mod entropy;
pub mod firmware;
pub mod llm;
pub mod logging;
pub mod machine;
#[allow(unsafe_code, reason = "hands out memory")]
pub mod memory;
pub mod net;
pub mod offload;
#[cfg(target_os = "none")]
pub mod panic;
pub mod pci;
pub mod piped_console;
#[cfg(all(target_os = "none", feature = "selftest"))]
#[allow(unsafe_code, reason = "faults are made on purpose")]
pub mod self_test;
pub mod serving;
pub mod shell;
pub mod steady_clock;
pub mod storage;
pub mod system;
pub mod undriven;
pub mod wide_counter;

/// README.md's Rust, which `cargo test` compiles.
#[cfg(all(doctest, feature = "llm-transformer"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
