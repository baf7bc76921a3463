use crate::{GPT2, LLAMA, fail_saying, scratch_file, succeed};

/// The values of a file that `llm logits` wrote.
pub fn read(path: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn run(model: &str, tokens: &str, name: &str, options: &[&str]) -> Vec<f32> {
    let output = scratch_file(name);
    succeed(&[&["logits", "--model", model, "--tokens", tokens, "-o", &output], options].concat());
    read(&output)
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_token_has_a_row_that_later_tokens_do_not_change() {
    for model in [&*LLAMA, &*GPT2] {
        let all = run(model, "1,300,17,2", "rows-4", &[]);
        assert_eq!(all.len(), 4 * 512);
        let first = run(model, "1,300", "rows-2", &[]);
        assert!(largest_difference(&all[..2 * 512], &first) < 1e-5);
        let other = run(model, "1,301", "rows-other", &[]);
        assert!(largest_difference(&other, &first) > 0.1);
    }
}

#[test]
fn options_of_the_engine_change_the_arithmetic_only_a_little() {
    let tokens = "1,5,9,300,301,302";
    let expected = run(&LLAMA, tokens, "option-none", &["--kv-type", "f32", "--exact"]);
    let variants: [(&[&str], f32); 4] = [
        (&["--kv-type", "f32", "--exact", "--threads", "3"], 1e-4),
        (&["--kv-type", "f32", "--exact", "--kernels", "scalar"], 1e-4),
        (&["--kv-type", "f16", "--exact"], 0.01),
        (&["--kv-type", "f32"], 0.2),
    ];
    for (options, bound) in variants {
        let found = run(&LLAMA, tokens, &format!("option-{}", options.concat()), options);
        let difference = largest_difference(&found, &expected);
        assert!(difference < bound, "{options:?}: {difference}");
    }
}

#[test]
fn without_a_file_they_are_shown_to_the_last_bit() {
    let written = run(&LLAMA, "1,300,17", "shown", &[]);
    let shown = succeed(&["logits", "-m", &LLAMA, "1,300,17"]);
    assert_eq!(shown.lines().count(), 3);
    let shown: Vec<f32> = shown.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(shown, written);
}

#[test]
fn mistakes_are_explained() {
    let logits = |tokens, options: &[&str], parts: &[&str]| {
        let output = scratch_file("never.logits");
        fail_saying(
            &[&["logits", "--model", &LLAMA, "--tokens", tokens, "-o", &output], options].concat(),
            parts,
        );
    };
    logits("1,512", &[], &["512", "vocabulary"]);
    logits("1,two", &[], &["'two'"]);
    logits("", &[], &["--tokens"]);
    logits("1,2,3", &["--ctx", "2"], &["3 tokens", "context of 2"]);
    logits("1,2,3", &["--ctx", "65"], &["65", "64"]);
    logits("1", &["--kernels", "abacus"], &["\"abacus\"; expected scalar"]);
    let many = vec!["1"; 65].join(",");
    logits(&many, &[], &["65 tokens", "context of 64"]);
}
