//! Places the kernel for QEMU's machine `virt`: RAM begins at 1 GiB, and its first 2 MiB are left to the device tree. On a host,
//! where the program only says what it is, the linker is told nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bins=--image-base=0x40200000");
        println!("cargo::rustc-link-arg-bins=--entry=start");
    }
}
