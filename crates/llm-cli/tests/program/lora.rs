//! Adapters: listed, applied, refused.

use crate::{LLAMA, fail_saying, logits, scratch_file, succeed};

/// A file of the engine's golden numbers.
fn golden(path: &str) -> String {
    format!("{}/../llm/tests/golden/{path}", env!("CARGO_MANIFEST_DIR"))
}

fn logits_with(options: &[&str]) -> Vec<f32> {
    let (model, output) = (golden("architectures/llama.gguf"), scratch_file("lora.logits"));
    let arguments = ["logits", "--model", &model, "--tokens", "1,5,9,2", "--exact", "--kv-type", "f32"];
    succeed(&[&arguments, &["-o", &output][..], options].concat());
    logits::read(&output)
}

#[test]
fn adapters_are_listed_with_what_they_change() {
    let (model, first, second) =
        (golden("architectures/llama.gguf"), golden("lora/llama-0.gguf"), golden("lora/llama-1.gguf"));
    let listed = succeed(&["lora", "--model", &model, &first, &second]);
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("0  ") && lines[0].contains("llama-0, rank 4, alpha 8, changes "),
        "{listed}"
    );
    assert!(
        lines[1].starts_with("1  ") && lines[1].contains("llama-1, rank 3, alpha 0, changes "),
        "{listed}"
    );
    fail_saying(&["lora", "--model", &LLAMA, &first], &["llama-0.gguf", "the adapter is of another model"]);
    fail_saying(&["lora", "--model", &model, &LLAMA], &["`general.type` is missing, expected \"adapter\""]);
}

#[test]
fn adapters_change_the_model_as_much_as_their_scales_say() {
    let (first, second) = (golden("lora/llama-0.gguf"), golden("lora/llama-1.gguf"));
    let plain = logits_with(&[]);
    let once = logits_with(&["--lora", &first]);
    assert_ne!(plain, once);
    assert_eq!(once, logits_with(&["--lora", &format!("{first}:1.0")]));
    assert_eq!(plain, logits_with(&["--lora", &format!("{first}:0"), "--lora", &format!("{second}:0")]));
    let both = logits_with(&["--lora", &first, "--lora", &format!("{second}:-0.5")]);
    assert!(both != once && both != plain);
    let infer = |options: &[&str]| {
        let model = golden("architectures/llama.gguf");
        fail_saying(
            &[&["infer", "--model", &model, "--prompt", "x", "-n", "1"], options].concat(),
            &["no-such-file"],
        );
    };
    infer(&["--lora", "no-such-file"]);
    infer(&["--lora", &first, "--lora", "no-such-file:2"]);
}
