use crate::{GPT2, LLAMA, fail_saying, scratch_file, succeed};

#[test]
fn a_text_and_a_file_give_the_same_ids() {
    let file = scratch_file("text.txt");
    std::fs::write(&file, "the cat\nsat").unwrap();
    for model in [&*LLAMA, &*GPT2] {
        let of_text = succeed(&["tokenize", "--model", model, "the cat\nsat"]);
        assert_eq!(succeed(&["tokenize", "--model", model, "--file", &file]), of_text);
        assert_eq!(of_text.lines().count(), 1);
        assert!(of_text.split_whitespace().count() > 3, "{of_text}");
    }
}

#[test]
fn the_start_token_can_be_left_out() {
    let with = succeed(&["tokenize", "--model", &LLAMA, "abc"]);
    let without = succeed(&["tokenize", "--model", &LLAMA, "abc", "--no-bos"]);
    assert_eq!(with, format!("1 {without}"));
}

#[test]
fn special_tokens_are_text_unless_asked_for() {
    let plain = succeed(&["tokenize", "--model", &GPT2, "<|endoftext|>"]);
    assert!(plain.split_whitespace().count() > 1, "{plain}");
    assert_eq!(succeed(&["tokenize", "--model", &GPT2, "--special", "<|endoftext|>"]), "511\n");
}

#[test]
fn an_empty_text_is_an_empty_line() {
    assert_eq!(succeed(&["tokenize", "--model", &GPT2, ""]), "\n");
}

#[test]
fn mistakes_are_explained() {
    fail_saying(&["tokenize", "--model", &LLAMA], &["<TEXT>"]);
    fail_saying(&["tokenize", "--model", &LLAMA, "--file", "/nowhere"], &["/nowhere"]);
    let file = scratch_file("latin1.txt");
    std::fs::write(&file, b"caf\xe9").unwrap();
    fail_saying(&["tokenize", "--model", &LLAMA, "--file", &file], &["not UTF-8 at byte 3"]);
}

#[test]
fn each_text_gets_a_line() {
    let one = |text: &str| succeed(&["tokenize", "-m", &LLAMA, text]);
    assert_eq!(
        succeed(&["tokenize", "-m", &LLAMA, "-x", "the cat", "--special", "sat"]),
        one("-x") + &one("the cat") + &one("sat")
    );
}
