use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use crate::{fail_saying, succeed, synthesize};

/// A small random model with room for a few turns.
static MODEL: LazyLock<String> = LazyLock::new(|| synthesize("chat.gguf", "n_embd=64,n_ff=96,n_ctx=512"));

/// Runs `llm chat` on lines from a pipe.
fn chat(options: &[&str], lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm"));
    command.args(["chat", "--model", &MODEL, "-n", "6"]).args(options);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn answers(options: &[&str], lines: &str) -> String {
    let output = chat(options, lines);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn infer(options: &[&str]) -> String {
    succeed(&[&["infer", "--model", &MODEL, "-n", "6"], options].concat())
}

#[test]
fn a_prompt_can_be_asked_as_a_message() {
    let asked = infer(&["--chat", "--template", "chatml", "--system", "s", "--prompt", "ab"]);
    let written = "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(asked, infer(&["--special", "--prompt", written]));
    assert_ne!(asked, infer(&["--prompt", "ab"]));
}

#[test]
fn each_answer_is_to_the_whole_conversation() {
    let first = infer(&["--chat", "--template", "chatml", "--prompt", "ab"]);
    let said = first.strip_suffix('\n').unwrap();
    let written = format!(
        "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>\n\
         <|im_start|>user\ncd<|im_end|>\n<|im_start|>assistant\n"
    );
    let second = infer(&["--special", "--prompt", &written]);
    assert_eq!(answers(&["--template", "chatml"], "ab\n\n  cd \n"), format!("{first}{second}"));
    assert_eq!(answers(&["--template", "chatml"], "ab\n/clear\nab\n/quit\ncd"), first.repeat(2));
    assert_eq!(answers(&["--template", "chatml"], ""), "");
}

#[test]
fn a_conversation_that_outgrows_the_context_is_refused() {
    let output = chat(&["--template", "chatml"], &format!("ab\n{}\n", "word ".repeat(200)));
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stdout.is_empty(), "the first answer was lost");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("tokens, the context 512 positions"), "{errors}");
}

#[test]
fn a_file_without_a_template_needs_one_by_name() {
    for command in [&["chat"][..], &["infer", "--chat", "--prompt", "x"]] {
        fail_saying(
            &[command, &["--model", &MODEL]].concat(),
            &["no tokenizer.chat_template", "--template NAME", "chatml", "llama-3"],
        );
        fail_saying(
            &[command, &["--model", &MODEL, "--template", "chatgml"]].concat(),
            &["\"chatgml\"", "chatml", "llama-3"],
        );
    }
    fail_saying(&["infer", "--model", &MODEL, "--prompt", "x", "--system", "y"], &["--chat"]);
}
