//! The example `minimal-kernel`: it boots, gives the same answer as the host program, and is as short as README.md says.

use std::{
    fs,
    process::{Command, Stdio},
};

use qemu_tests::{build_host_program, repository, target_directory};

/// The maximum number of lines of its own, not counting blank lines and comments.
const MAX_LINES: usize = 150;

/// A command that runs in its folder: Cargo, with the target folder of this run; if it boots, it is ended after five minutes.
fn cargo(command: &str) -> String {
    let limit = if command == "run" { "300" } else { "0" };
    let output = Command::new("timeout")
        .args([limit, "cargo", command, "--release", "--quiet"])
        .current_dir(repository().join("examples/minimal-kernel"))
        .env("CARGO_TARGET_DIR", target_directory())
        .stdin(Stdio::null())
        .output()
        .expect("timeout starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it writes text")
}

#[test]
fn it_answers_as_the_host_program_does() {
    let source = fs::read_to_string(repository().join("examples/minimal-kernel/src/kernel.rs")).unwrap();
    let (_, prompt) = source.split_once("const PROMPT: &str = \"").expect("it has a prompt");
    let (prompt, _) = prompt.split_once('"').unwrap();
    let host = Command::new(build_host_program())
        .args(["infer", "--model", "test_models/tiny.gguf", "-n", "64", "--prompt", prompt])
        .current_dir(repository())
        .output()
        .unwrap();
    let expected = String::from_utf8(host.stdout).unwrap();
    assert!(expected.len() > 20, "{expected:?}");
    cargo("build");
    assert_eq!(cargo("run").trim_end(), expected.trim_end());
    let readme = fs::read_to_string(repository().join("examples/minimal-kernel/README.md")).unwrap();
    assert!(readme.contains(expected.trim_end()), "README.md shows another text");
}

#[test]
fn it_is_small_and_depends_on_the_engine_alone() {
    let folder = repository().join("examples/minimal-kernel");
    let sources = fs::read_dir(folder.join("src")).unwrap().map(|entry| entry.unwrap().path());
    let n_lines: usize = sources
        .chain([folder.join("build.rs")])
        .map(|file| {
            let source = fs::read_to_string(file).unwrap();
            let lines = source.lines().map(str::trim_start);
            lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
        })
        .sum();
    assert!(n_lines > 100 && n_lines <= MAX_LINES, "{n_lines} lines");

    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
    let dependencies: Vec<&str> = dependencies.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(dependencies, ["llm.workspace = true"]);
}
