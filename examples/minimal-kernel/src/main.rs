//! The smallest kernel with a language model inside: boots in QEMU's machine `virt`, answers one prompt at the UART, powers
//! off. The crate `llm` is all that it depends on.
//!
//!     cd examples/minimal-kernel && cargo run --release
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod kernel;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("This is a kernel: cd examples/minimal-kernel && cargo run --release");
    std::process::exit(1);
}
