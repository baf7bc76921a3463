//! The examples, called as their `main` calls them: what they print for the models in `test_models`.

use std::path::{Path, PathBuf};

#[path = "../../examples/batch.rs"]
#[expect(dead_code, reason = "main")]
mod batch;
#[path = "../../examples/chat.rs"]
#[expect(dead_code, reason = "main")]
mod chat;
#[path = "../../examples/embed.rs"]
#[expect(dead_code, reason = "main")]
mod embed;
#[path = "../../examples/generate.rs"]
#[expect(dead_code, reason = "main")]
mod generate;

fn model(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_models").join(name);
    path.to_str().unwrap().to_owned()
}

/// The output of `example`.
fn written(example: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    example(&mut out);
    String::from_utf8(out).unwrap()
}

fn generated(prompt: &str) -> String {
    written(|out| generate::run(&model("micro.gguf"), prompt, out).unwrap())
}

#[test]
fn generate_continues_a_prompt() {
    // llama.cpp's text: test_models/golden/micro.json.
    assert_eq!(generated("Why"), " do we eat?\nIt is whindy.\n[end of text]\n");
}

#[test]
fn a_batch_has_the_text_that_each_prompt_has_alone() {
    let prompts = ["Hello", "Why", "Once upon a time", "The kernel", "One day"];
    let text = written(|out| batch::run(&model("micro.gguf"), &prompts, out).unwrap());
    let mut rest = text.as_str();
    for (index, prompt) in prompts.iter().enumerate() {
        let (answer, after) = rest.split_once(&format!(" [{index}]\n")).unwrap();
        // Alone it was given more tokens.
        assert!(answer.len() > 20 && generated(prompt).starts_with(answer), "{prompt}: {answer}");
        rest = after;
    }
    assert!(rest.is_empty(), "{rest}");
}

#[test]
fn chat_answers_each_line() {
    // README.md shows how `tiny` answers this, over HTTP.
    let (_, shown) = include_str!("../../../../README.md").split_once("\n\"content\":\"").unwrap();
    let (expected, _) = shown.split_once('"').unwrap();
    let input = "What is Ferrite?\nWho are you?\n";
    let text = written(|out| chat::run(&model("tiny.gguf"), &mut input.as_bytes(), out).unwrap());
    let rest = text.strip_prefix(expected).unwrap_or_else(|| panic!("{text:?} instead of {expected:?}"));
    assert!(rest.trim().len() > 10, "no second answer: {text:?}");
}

#[test]
fn embed_finds_like_texts_near_each_other() {
    let texts = ["There was a small robot.", "There was a little robot.", "llm verify"];
    let text = written(|out| embed::run(&model("micro.gguf"), &texts, out).unwrap());
    let cosines: Vec<f32> = text.lines().map(|line| line[..6].trim().parse().unwrap()).collect();
    assert!(text.lines().zip(texts).all(|(line, text)| line.ends_with(&format!("  {text}"))), "{text}");
    assert_eq!(cosines[0], 1.0);
    assert!(cosines[1] > cosines[2] + 0.1, "{text}");
}
