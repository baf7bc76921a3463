//! What tests of several modules need.

use qemu_tests::{Directory, Outcome, Run, repository};
use std::{path::Path, sync::OnceLock};

/// The shell's prompt, as a terminal that shows no colours gets it.
pub const PROMPT: &str = "\rferrite> \x1b[K";

/// The exit status of scripts that are given wrong arguments.
pub const USAGE_ERROR: i32 = 2;

/// A line that generates a text.
pub const COMMAND: &str = r#"llm infer "Hello" 10"#;

/// What [`COMMAND`] prints with the default model on the default machine, which boots once for all tests.
pub fn expected() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let run = Run::new().emulated().model(&repository().join("test_models/tiny.gguf"));
        let text = run.command(COMMAND).finish().expect_status(0).text();
        assert!(text.len() > 20 && text.ends_with('\n'), "{text:?}");
        text
    })
}

/// The bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// QEMU's arguments for a file as a block node.
pub fn blockdev(node: &str, file: &Path) -> String {
    format!(
        "-blockdev driver=raw,read-only=on,node-name={node},file.driver=file,file.filename={}",
        file.display()
    )
}

/// The checksum of the kernel's disk self-test.
pub fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum: u32, &byte| sum.rotate_left(5) ^ u32::from(byte))
}

/// Runs `scripts/run` with a program in QEMU's place, which runs `script`.
pub fn in_place_of_qemu(run: Run, directory: &Directory, script: &str) -> Outcome {
    let program = directory.program("qemu-system-aarch64", script);
    let path = std::env::var("PATH").unwrap();
    let bin = program.parent().unwrap().display().to_string();
    run.env("PATH", format!("{bin}:{path}")).finish()
}

/// The arguments that QEMU would get, one per line: a program in QEMU's place prints them.
pub fn qemu_arguments(run: Run, directory: &Directory) -> Vec<String> {
    let outcome = in_place_of_qemu(run, directory, "printf '%s\\n' \"$@\"").expect_status(0);
    outcome.text().lines().map(String::from).collect()
}
