use crate::{GPT2, LLAMA, fail_saying, scratch_file, succeed};

#[test]
fn the_summary_has_shape_types_and_tokenizer() {
    let info = succeed(&["info", "--model", &LLAMA]);
    for part in ["llama", "heads           4 (4 for", "context         64", "512 tokens", "of Q4_0", "of F32"]
    {
        assert!(info.contains(part), "{part}: {info}");
    }
    assert!(!info.contains("tokenizer.ggml.tokens"));
    let info = succeed(&["info", "--model", &GPT2]);
    assert!(info.contains("gpt2, pre-tokenizer gpt-2, 512 tokens"), "{info}");
}

#[test]
fn metadata_and_tensors_are_listed_on_demand() {
    let info = succeed(&["info", "--model", &LLAMA, "--metadata", "--tensors"]);
    assert!(info.contains("llama.embedding_length = 64"), "{info}");
    assert!(info.contains("tokenizer.ggml.tokens = 512 of string: [\"<unk>\", \"<s>\","), "{info}");
    assert!(info.contains("blk.1.ffn_down.weight Q4_0 [96 x 64]"), "{info}");
}

#[test]
fn a_model_of_an_unknown_family_is_described_all_the_same() {
    let bytes = std::fs::read(&*LLAMA).unwrap();
    let at = bytes.windows(5).position(|window| window == b"llama").unwrap();
    let mut renamed = bytes;
    renamed[at..at + 5].copy_from_slice(b"alpac");
    let path = scratch_file("alpac.gguf");
    std::fs::write(&path, renamed).unwrap();
    let info = succeed(&["info", "--model", &path]);
    assert!(info.contains("cannot be run: ") && info.contains("alpac"), "{info}");
}

#[test]
fn the_kernels_of_this_cpu_are_listed() {
    let kernels = succeed(&["info", "--kernels"]);
    assert_eq!(kernels.lines().next(), Some("scalar"));
    fail_saying(&["info"], &["--model"]);
}
