use crate::{fail_saying, scratch_file, succeed};

#[test]
fn equal_requests_give_equal_files() {
    let [first, second] = ["equal-1.gguf", "equal-2.gguf"].map(|name| {
        let path = scratch_file(name);
        succeed(&["synth", "--shape", "n_layer=1", "-o", &path]);
        std::fs::read(path).unwrap()
    });
    assert!(first == second);
}

#[test]
fn every_type_can_be_run() {
    for ty in ["F32", "f16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "q4_k_m", "Q5_K_M"] {
        let path = scratch_file(&format!("type-{ty}.gguf"));
        succeed(&["synth", "--shape", "n_layer=1,n_embd=64,n_ff=64", "--type", ty, "-o", &path]);
        let logits = scratch_file(&format!("type-{ty}.logits"));
        succeed(&["logits", "--model", &path, "--tokens", "1,2", "-o", &logits]);
        let values: Vec<f32> = crate::logits::read(&logits);
        // The output matrix preserves the size of its input, which the norm before it sets to 1.
        let mean_square = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!((0.5..2.0).contains(&mean_square), "{ty}: {mean_square}");
    }
}

#[test]
fn mistakes_are_explained() {
    let output = scratch_file("never.gguf");
    fail_saying(&["synth", "--shape", "gpt-5", "-o", &output], &["`gpt-5`", "llm synth --help"]);
    fail_saying(&["synth", "--shape", "tiny-10m", "--type", "Q9", "-o", &output], &["Q9", "Q4_0"]);
    fail_saying(&["synth", "--shape", "tiny-10m", "--type", "IQ1_S", "-o", &output], &["IQ1_S", "Q4_0"]);
    fail_saying(&["synth", "--shape", "n_embd=72", "-o", &output], &["token_embd.weight", "72", "32"]);
    fail_saying(&["synth", "--shape", "tiny-10m", "-o", "/nowhere/x.gguf"], &["/nowhere/x.gguf"]);
}
