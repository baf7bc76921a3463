use crate::{LLAMA, fail_saying, logits, scratch_file, succeed, synthesize};

/// A file with text to be predicted.
fn text(name: &str) -> String {
    let path = scratch_file(name);
    std::fs::write(&path, "a bb ccc dddd a bb ccc dddd ".repeat(20)).unwrap();
    path
}

/// The perplexity that the program prints, and the number of tokens that it counts.
fn run(model: &str, text: &str, options: &[&str]) -> (f64, usize) {
    let printed = succeed(&[&["perplexity", "--model", model, "--file", text], options].concat());
    let words: Vec<&str> = printed.split([' ', '(', ')']).collect();
    assert_eq!(words[0], "perplexity", "{printed}");
    let counted = words.iter().position(|&word| word == "tokens").unwrap() - 1;
    (words[1].parse().unwrap(), words[counted].parse().unwrap())
}

#[test]
fn it_is_what_the_logits_say() {
    let text = text("perplexity-windows.txt");
    let (found, counted) = run(&LLAMA, &text, &["--ctx", "16"]);
    let ids = succeed(&["tokenize", "--model", &LLAMA, "--file", &text]);
    let ids: Vec<usize> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
    let (mut sum, mut n) = (0.0, 0);
    for window in ids.chunks(16) {
        let tokens: Vec<String> = window.iter().map(|id| id.to_string()).collect();
        let output = scratch_file("perplexity.logits");
        succeed(&["logits", "--model", &LLAMA, "--tokens", &tokens.join(","), "-o", &output]);
        for (row, &target) in logits::read(&output).chunks_exact(512).zip(&window[1..]) {
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            sum += total.ln() - f64::from(row[target]);
            n += 1;
        }
    }
    let expected = (sum / f64::from(n)).exp();
    assert_eq!(counted, n as usize);
    assert!((found - expected).abs() < 1e-3 * expected, "{found} is not {expected}");
}

#[test]
fn caches_of_fewer_bits_change_it_little() {
    // Heads of 32 elements, one block.
    let model = synthesize("perplexity.gguf", "n_embd=64,n_head=2,n_ff=96,n_ctx=64");
    let text = text("perplexity-caches.txt");
    let (exact, _) = run(&model, &text, &["--kv-type", "f32"]);
    for kv_type in ["f16", "q8_0"] {
        let (found, _) = run(&model, &text, &["--kv-type", kv_type]);
        assert!((found / exact - 1.0).abs() < 0.01, "{kv_type}: {found}, not {exact}");
    }
    // Each option means its half, before the one for both.
    let (both, _) = run(&model, &text, &["--type-k", "q8_0", "--type-v", "q8_0"]);
    assert_eq!(both, run(&model, &text, &["--kv-type", "q8_0"]).0);
    let (apart, _) = run(&model, &text, &["--kv-type", "q4_0", "--type-k", "f16"]);
    assert_eq!(apart, run(&model, &text, &["--type-v", "q4_0"]).0);
    assert_ne!(apart, run(&model, &text, &["--type-k", "q4_0"]).0);
}

#[test]
fn mistakes_are_explained() {
    let empty = scratch_file("perplexity-empty.txt");
    std::fs::write(&empty, "").unwrap();
    fail_saying(&["perplexity", "--model", &LLAMA, "--file", &empty], &["tokens", "at least 2"]);
    fail_saying(&["perplexity", "--model", &LLAMA, "--file", "no-such-file"], &["no-such-file"]);
    // Heads of 16 elements.
    let text = text("perplexity-mistakes.txt");
    let cache = ["perplexity", "--model", &LLAMA, "--file", &text, "--kv-type", "q8_0"];
    fail_saying(&cache, &["16 elements", "blocks of 32"]);
}
