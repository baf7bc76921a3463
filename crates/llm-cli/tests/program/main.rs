//! Runs the program `llm` as a user does: each subcommand, and mistakes in its use.

mod batch;
mod bench;
mod chat;
mod convert;
mod embed;
mod infer;
mod info;
mod logits;
mod lora;
mod perplexity;
#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
mod pull;
mod receipts;
mod sampling;
mod serve;
mod sign;
mod split;
mod synth;
mod tokenize;
mod verify;
mod verify_audit;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// Runs `llm` and waits for it.
fn llm(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the program starts")
}

/// Standard output of a run that must succeed and print nothing to standard error.
fn succeed(arguments: &[&str]) -> String {
    let output = llm(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("standard output is UTF-8")
}

/// Standard error of a run that must fail: exit status 1, one line, nothing on standard output.
fn fail(arguments: &[&str]) -> String {
    let output = llm(arguments);
    let errors = String::from_utf8(output.stderr).expect("standard error is UTF-8");
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed something");
    assert!(errors.starts_with("llm: ") && errors.ends_with('\n'), "{arguments:?}: {errors:?}");
    assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors:?}");
    errors
}

/// Asserts that the run fails and its message contains all these parts.
fn fail_saying(arguments: &[&str], parts: &[&str]) {
    let message = fail(arguments);
    for part in parts {
        assert!(message.contains(part), "{arguments:?}: `{part}` is not in {message:?}");
    }
}

/// A file for one test to write.
fn scratch_file(name: &str) -> String {
    text_path(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
}

/// A small random model with a SentencePiece-style vocabulary, the same for all tests.
static LLAMA: LazyLock<String> = LazyLock::new(|| synthesize("llama.gguf", "n_embd=64,n_ff=96,n_ctx=64"));

/// A small random model with a byte-level BPE vocabulary.
static GPT2: LazyLock<String> =
    LazyLock::new(|| synthesize("gpt2.gguf", "arch=gpt2,n_embd=64,n_ff=96,n_ctx=64"));

fn synthesize(name: &str, shape: &str) -> String {
    let path = scratch_file(name);
    succeed(&["synth", "--shape", shape, "--type", "Q4_0", "-o", &path]);
    path
}

fn text_path(path: &Path) -> String {
    path.to_str().expect("paths of the tests are UTF-8").to_owned()
}

#[test]
fn usage_mistakes_are_one_line() {
    fail_saying(&["frobnicate"], &["unrecognized subcommand 'frobnicate'"]);
    fail_saying(&["infer", "--model", "x.gguf"], &["required", "<PROMPT>"]);
    fail_saying(&["bench", "--model", "x.gguf", "-p", "0"], &["-p", "at least 1"]);
    fail_saying(&["bench", "--model", "x.gguf", "--kv-type", "q3"], &["'q3'", "f16, f32"]);
}

#[test]
fn help_tells_of_every_subcommand() {
    let help = succeed(&["--help"]);
    for name in [
        "infer",
        "batch",
        "chat",
        "logits",
        "tokenize",
        "info",
        "bench",
        "verify",
        "verify-receipt",
        "sign",
        "synth",
        "quantize",
        "convert",
        "merge",
        "pull",
    ] {
        assert!(help.contains(name), "{name}");
        assert!(succeed(&[name, "--help"]).contains("Usage: llm"), "{name}");
    }
}

#[test]
fn files_that_are_no_models_are_refused() {
    fail_saying(&["info", "--model", "/nowhere/x.gguf"], &["/nowhere/x.gguf", "No such file"]);
    let noise = scratch_file("noise.gguf");
    std::fs::write(&noise, b"neither here nor there").unwrap();
    fail_saying(&["info", "--model", &noise], &[&noise, "GGUF"]);
    let empty = scratch_file("empty.gguf");
    std::fs::write(&empty, b"").unwrap();
    fail_saying(&["info", "--model", &empty], &[&empty]);
    let truncated = scratch_file("truncated.gguf");
    let whole = std::fs::read(&*LLAMA).unwrap();
    std::fs::write(&truncated, &whole[..whole.len() - 100]).unwrap();
    fail_saying(
        &["logits", "--model", &truncated, "--tokens", "1", "-o", "/dev/null"],
        &[&truncated, "bytes"],
    );
}

#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm"));
    command.args(["info", "--model", &LLAMA, "--metadata", "--tensors"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
