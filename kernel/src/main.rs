//! The kernel image: the parts of the kernel, wired in boot order.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("This program is a kernel image: build it for aarch64-unknown-none, or ./scripts/run");
    std::process::exit(1);
}

#[cfg(target_os = "none")]
mod boot;
