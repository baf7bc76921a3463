use std::sync::LazyLock;

use crate::{LLAMA, fail_saying, llm, scratch_file, succeed, synthesize};

/// A model whose context has room for a chat format.
static LONG: LazyLock<String> = LazyLock::new(|| synthesize("long.gguf", "n_embd=64,n_ff=96,n_ctx=256"));

const PROMPTS: [&str; 5] = ["the cat sat", "a", "the cat sat on", "mat", "the cat sat"];

/// Standard output of a batch that must succeed, and its report.
fn batch(options: &[&str]) -> (String, String) {
    let output = llm(&[&["batch", "--model", &LONG, "-n", "12"], options].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{options:?}: {said}");
    (String::from_utf8(output.stdout).unwrap(), said)
}

/// The results of `infer` for each prompt, as numbered lines.
fn each_alone(options: &[&str]) -> String {
    let mut lines = String::new();
    for (index, prompt) in PROMPTS.iter().enumerate() {
        let text = succeed(&[&["infer", "-m", &LONG, "-n", "12", "-p", prompt], options].concat());
        // The last line end is the program's.
        let text = text.strip_suffix('\n').unwrap();
        let text = text.strip_suffix('\n').unwrap_or(text);
        lines.extend(text.split('\n').map(|line| format!("[{}] {line}\n", index + 1)));
    }
    lines
}

#[test]
fn answers_are_those_of_infer_in_any_number_at_once() {
    let sampled: &[&str] = &["--temp", "1.2", "--seed", "9", "--stop", "e"];
    for options in [&[][..], &["--ids"], sampled, &["--chat", "--template", "chatml", "--system", "Hush"]] {
        let expected = each_alone(options);
        for parallel in ["1", "2", "5"] {
            let (shown, said) = batch(&[options, &["--parallel", parallel], &PROMPTS].concat());
            assert_eq!(shown, expected, "{options:?}, {parallel}");
            assert!(said.starts_with("llm: 5 prompts of ") && said.ends_with(" tokens/s\n"), "{said}");
        }
    }
}

#[test]
fn prompts_can_be_the_lines_of_a_file() {
    let file = scratch_file("prompts.txt");
    std::fs::write(&file, PROMPTS.join("\r\n\n")).unwrap();
    let (of_file, said) = batch(&["--prompts", &file, "--verbose", "--parallel", "2"]);
    assert_eq!(of_file, batch(&PROMPTS).0);
    assert!(said.contains("llm: [5] ") && said.contains(" batches; "), "{said}");
    std::fs::write(&file, " \n").unwrap();
    fail_saying(&["batch", "-m", &LLAMA, "-f", &file], &["no prompts in the file"]);
    fail_saying(&["batch", "-m", &LLAMA, "-f", &file, "a"], &["cannot be used with"]);
    fail_saying(&["batch", "-m", &LLAMA], &["required", "<PROMPT>"]);
    fail_saying(&["batch", "-m", &LLAMA, "a", "--special", "--chat"], &["--special"]);
}

#[test]
fn a_prompt_that_cannot_be_answered_keeps_no_other_from_being() {
    let long = "cat ".repeat(100);
    let run = ["batch", "-m", &LLAMA, "-n", "5", "--ctx", "64", "a", &long, "mat"];
    let output = llm(&run);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with("[1] ") && shown.contains("\n[3] ") && !shown.contains("[2]"), "{shown}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("llm: [2] the prompt has "), "{said}");
    assert!(said.ends_with("llm: 1 of 3 prompts were not answered\n"), "{said}");
}

/// Answers that would take a minute, or ten on a busy machine.
#[test]
#[cfg(unix)]
fn ctrl_c_ends_a_batch_and_leaves_what_was_generated() {
    use std::io::Read;
    use std::process::{Command, Stdio};

    const N_LEAST: usize = 30;
    let model = synthesize("endless.gguf", "n_embd=64,n_ff=96,n_ctx=40000");
    let run = ["batch", "-m", &model, "--parallel", "2", "the cat sat", "a", "mat", "-n"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_llm"))
        .args(run)
        .arg("40000")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = vec![0; N_LEAST];
    child.stdout.as_mut().unwrap().read_exact(&mut shown).unwrap();
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let output = child.wait_with_output().unwrap();
    shown.extend(output.stdout);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.starts_with("llm: 3 prompts of ") && said.ends_with(", stopped\n"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let shown = shown.strip_suffix(b"\n").expect("the line that has begun is ended");

    let whole = llm(&[&run[..], &["400"]].concat()).stdout;
    let n_alike = whole.iter().zip(shown).take_while(|(one, other)| one == other).count();
    let (_, n_generated) = said.split_once(" tokens, ").unwrap();
    let n_generated: usize = n_generated.split_once(' ').unwrap().0.parse().unwrap();
    assert!(n_alike >= N_LEAST && n_generated > 0, "{n_alike}, {said}");
    assert!(n_alike == shown.len() || n_alike > 300, "{n_alike} of {}", shown.len());
}
