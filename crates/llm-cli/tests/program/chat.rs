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
fn a_conversation_is_saved_answered_again_and_goes_on_with_another_model() {
    let file = std::env::temp_dir().join(format!("ferrite-chat-{}.json", std::process::id()));
    let lines =
        format!("/system s\nab\n/save {}\n/model {}\n/save\n/regen\n/stats\n", file.display(), *MODEL);
    let output = chat(&["--template", "chatml"], &lines);
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.starts_with("llm: temperature 0.8, seed "), "{errors}");
    let saved = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let messages: serde_json::Value = serde_json::from_str(&saved).unwrap();
    let first = infer(&["--chat", "--template", "chatml", "--system", "s", "--prompt", "ab"]);
    assert_eq!(messages[0], serde_json::json!({"role": "system", "content": "s"}));
    assert_eq!(messages[1], serde_json::json!({"role": "user", "content": "ab"}));
    assert_eq!(messages[2]["content"], *first.strip_suffix('\n').unwrap());
    assert!(said.starts_with(&format!("{first}{saved}")), "{said}");
    assert!(said.contains("\nanswers  2: "), "{said}");
    let wrong = chat(&["--template", "chatml"], "/frob\nab\n");
    assert_eq!((wrong.status.code(), &*wrong.stdout), (Some(1), &b""[..]));
    assert_eq!(wrong.stderr, b"llm: unknown command /frob; /help lists the commands\n");
}

#[test]
fn the_oldest_messages_are_forgotten_once_the_context_is_full() {
    let options = ["--template", "chatml", "--system", "Be brief."];
    let message = |n: usize| format!("{n} {}", "word ".repeat(15));
    let lines: String = (0..8).map(|n| message(n) + "\n").collect();
    let output = chat(&options, &lines);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), 8, "{said}");
    let errors = String::from_utf8(output.stderr).unwrap();
    let forgotten: Vec<_> = errors.lines().collect();
    assert!(!forgotten.is_empty() && forgotten.len() < 4, "{errors}");
    for line in forgotten {
        let n_turns = line.strip_prefix("llm: the context of 512 tokens is full: the oldest ");
        assert!(n_turns.is_some_and(|rest| rest.ends_with(" forgotten")), "{errors}");
    }
}

#[test]
fn a_message_longer_than_the_context_is_refused() {
    let output = chat(&["--template", "chatml"], &format!("ab\n{}\n", "word ".repeat(200)));
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stdout.is_empty(), "the first answer was lost");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("the message is too long") && errors.contains("context has 512"), "{errors}");
}

#[test]
fn an_answer_ends_at_a_stop_text() {
    let options = ["--template", "chatml"];
    let whole = answers(&options, "ab");
    let text = whole.trim_end_matches('\n');
    let start = text.char_indices().nth(2).expect("an answer of some characters").0;
    let stopped = answers(&[&options[..], &["--stop", "-never-", "--stop", &text[start..]]].concat(), "ab");
    assert_eq!(stopped.trim_end_matches('\n'), &text[..text.find(&text[start..]).unwrap()]);
}

#[test]
fn thinking_can_be_turned_on_and_off() {
    let asked =
        |options: &[&str]| infer(&[&["--chat", "--template", "qwen-3", "--prompt", "ab"], options].concat());
    let off = asked(&["--no-thinking"]);
    let on = asked(&["--thinking"]);
    assert_ne!(on, off);
    assert_eq!(asked(&[]), on);
    // Of both, the last counts.
    assert_eq!(asked(&["--no-thinking", "--thinking"]), on);
    assert_eq!(asked(&["--thinking", "--no-thinking"]), off);
    fail_saying(&["infer", "--model", &MODEL, "--prompt", "x", "--thinking"], &["--chat"]);
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

#[test]
fn one_message_can_be_an_argument() {
    let asked = infer(&["--chat", "--template", "chatml", "--prompt", "ab"]);
    assert_eq!(succeed(&["chat", "-m", &MODEL, "--template", "chatml", "ab", "6"]), asked);
}
