//! The Ferrite kernel: bare-metal aarch64 with an LLM inside.
//!
//! # Layers
//!
//! Each module uses only modules in rows below its own (`scripts/check-layers` checks this).
//!
//! | module | what it is |
//! |---|---|
//! | `boot` | the boot sequence, in order, from the entry point to the shell |
//! | [`shell`], `self_test` | the user's commands; faults and checks that tests request |
//! | [`serving`] | the models as an API on the network |
//! | [`llm`] | models and inference |
//! | `panic` | how the kernel ends after a failure |
//! | [`cores`] | starting the other cores and computing on all of them |
//! | [`drivers`] | one type per device, which hides its registers: UART, interrupt controller, virtio, PCIe, power, the host |
//! | `arch` | everything in assembly: entry, exceptions, page tables, counters |
//! | [`boot_args`], [`acpi`], [`device_tree`] | parsers for what the boot loader and the firmware pass to the kernel |
//! | [`system`] | the machine as the shell sees it |
//! | [`storage`], [`net`], [`offload`], [`piped_console`] | disks; the network; a GPU behind PCIe; a console whose input can end |
//! | [`memory`], [`pci`], [`console`] | memory, PCI and the console, independent of hardware registers |
//! | [`entropy`], [`firmware`], [`machine`], [`cpu`], [`wide_counter`], [`steady_clock`], [`logging`] | random numbers; data from UEFI firmware; the description of a machine; a CPU's ID registers; counts beyond 32 bits; a clock that never goes back; the log |
//! | [`undriven`] | controllers that may have disks but have no driver here |
//!
//! `self_test` is compiled only with the feature `selftest`, which released kernels do not have. `boot`, `arch` and most of
//! `drivers` exist only on bare metal; everything else also builds on the host, where it is tested. The package `image` links
//! this crate.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::single_range_in_vec_init, reason = "lists of address ranges are values here")
)]

extern crate alloc;
// On a host, these replace parts of a machine.
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

/// The Rust code in README.md, which `cargo test` compiles.
#[cfg(all(doctest, feature = "llm-transformer"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
