//! Passes the linker script to the bare-metal image; host builds link as usual.

fn main() {
    const LINKER_SCRIPT: &str = "../src/arch/aarch64/image.ld";
    println!("cargo::rerun-if-changed={LINKER_SCRIPT}");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets the directory");
        println!("cargo::rustc-link-arg-bins=-T{directory}/{LINKER_SCRIPT}");
        // Of functions that are the same code one is kept.
        for argument in [
            "-pie",
            "--no-dynamic-linker",
            "-znotext",
            "--pack-dyn-relocs=relr",
            "--hash-style=gnu",
            "--icf=all",
        ] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
