//! The image of a kernel that makes faults on purpose: the kernel with the feature `selftest`, linked.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use ferrite_kernel as _;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "This program is a kernel image: build it for aarch64-unknown-none, or FERRITE_SELFTEST=yes ./scripts/run"
    );
    std::process::exit(1);
}
