//! Checkpoints with a single fault: the error says what is wrong; there is no panic and no large allocation.

use std::collections::BTreeMap;
use std::path::Path;

use convert::{Matrices, MatrixTypes, convert};
use llm::gguf::Gguf;
use llm::quant::GgmlType;
use serde_json::{Value, json};

/// The files of a good checkpoint.
fn checkpoint(name: &str) -> BTreeMap<String, Vec<u8>> {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../llm-cli/tests/golden/checkpoints").join(name);
    let names = ["config.json", "tokenizer.json", "model.safetensors"];
    names.map(|name| (name.to_owned(), std::fs::read(directory.join(name)).unwrap())).into()
}

fn change(files: &mut BTreeMap<String, Vec<u8>>, name: &str, change: impl FnOnce(&mut Value)) {
    let file = files.get_mut(name).unwrap();
    let mut value = serde_json::from_slice(file).unwrap();
    change(&mut value);
    *file = serde_json::to_vec(&value).unwrap();
}

#[track_caller]
fn refuse(files: &BTreeMap<String, Vec<u8>>, matrices: Matrices, parts: &[&str]) {
    let error = format!("{:#}", convert(files, matrices, std::io::sink()).unwrap_err());
    for part in parts {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

const F16: Matrices = Matrices::Plain(MatrixTypes::All(GgmlType::F16));

#[test]
fn numbers_that_the_tensors_do_not_bear_out() {
    for (key, number, parts) in [
        ("vocab_size", u32::MAX, &["model.embed_tokens.weight", "4294967295"][..]),
        ("hidden_size", 0, &["heads have 0 elements"]),
        ("hidden_size", 4_000_000_000, &["model.embed_tokens.weight", "4000000000"]),
        ("intermediate_size", 0, &["gate_proj", "[0, "]),
        ("num_hidden_layers", 0, &["num_hidden_layers is 0"]),
        ("num_hidden_layers", u32::MAX, &["model.layers.2.", "missing"]),
        ("num_attention_heads", 0, &["num_attention_heads"]),
        ("num_key_value_heads", 3, &["num_key_value_heads"]),
        ("head_dim", 0, &["heads have 0 elements"]),
        ("head_dim", 15, &["heads have 15 elements"]),
        ("head_dim", 4_294_967_294, &["q_proj", "17179869176"]),
    ] {
        let mut files = checkpoint("qwen2-plain");
        change(&mut files, "config.json", |config| config[key] = number.into());
        refuse(&files, F16, parts);
    }
}

#[test]
fn a_multiple_of_nothing_is_none() {
    let mut files = checkpoint("qwen2-plain");
    change(&mut files, "config.json", |config| {
        config["block_auto_adjust_ff_dim"] = true.into();
        config["block_multiple_of"] = 0.into();
    });
    convert(&files, F16, std::io::sink()).unwrap();
}

/// There are as many factors as a head has pairs: no more may be made than the tensors hold.
#[test]
fn rope_factors_of_heads_that_are_not_there() {
    let mut files = checkpoint("qwen2-plain");
    change(&mut files, "config.json", |config| {
        config["head_dim"] = 4_294_967_294_u32.into();
        config["rope_scaling"] = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        });
    });
    refuse(&files, F16, &["q_proj"]);
}

#[test]
fn tensors_without_elements() {
    let mut files = checkpoint("qwen2-plain");
    // A product that overflows nothing, of numbers that would.
    let tensor = json!({ "dtype": "F16", "shape": [0, 1_u64 << 62], "data_offsets": [0, 0] });
    let header = json!({ "model.embed_tokens.weight": tensor }).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    files.insert("model.safetensors".to_owned(), file);
    refuse(&files, F16, &["model.embed_tokens.weight is empty"]);
}

#[test]
fn added_tokens_beyond_the_vocabulary() {
    let mut files = checkpoint("qwen2-plain");
    change(&mut files, "tokenizer.json", |tokenizer| {
        let added = tokenizer["added_tokens"].as_array_mut().unwrap();
        let mut token = added[0].clone();
        token["id"] = 4_000_000_000_u32.into();
        token["content"] = "<beyond>".into();
        added.push(token);
    });
    refuse(&files, F16, &["<beyond>", "has id 4000000000, expected 3"]);
}

/// The crate `tokenizers` panics on some of these.
#[test]
fn parts_of_a_tokenizer_that_make_no_sense() {
    for (pointer, value) in [
        ("/decoder", json!({ "type": "Strip", "content": "\u{1f600}\u{1f600}" })),
        (
            "/post_processor",
            json!({ "type": "Sequence", "processors": [[], { "type": "TemplateProcessing" }] }),
        ),
        ("/model/unk_token", json!(7)),
        ("/model/dropout", json!(-1e300)),
    ] {
        let mut files = checkpoint("qwen2-plain");
        change(&mut files, "tokenizer.json", |tokenizer| *tokenizer.pointer_mut(pointer).unwrap() = value);
        // They have no effect on the tokens.
        convert(&files, F16, std::io::sink()).unwrap();
    }
    for (pointer, value, part) in [
        ("/model", json!([]), "merges"),
        ("/model", json!({ "type": "Unigram", "vocab": [] }), "Unigram"),
        ("/model/vocab", json!({ "a": -1 }), "-1"),
        ("/model/merges", json!(["a"]), "\"a\" is no pair"),
        ("/model/merges", json!([["a", "nowhere"]]), "nowhere"),
        ("/model/continuing_subword_prefix", json!("##"), "continuing_subword_prefix"),
        ("/pre_tokenizer", json!({ "type": "Split", "pattern": { "Regex": "(" } }), "pre-tokenizer"),
        ("/added_tokens/0/content", json!(""), "added token 0"),
        (
            "/normalizer",
            json!({ "type": "Precompiled", "precompiled_charsmap": "////" }),
            "normalizer Precompiled",
        ),
        ("/normalizer", json!("NFC"), "normalizer"),
        ("/pre_tokenizer", json!({ "type": "Sequence", "pretokenizers": 7 }), "pre-tokenizer Sequence"),
        ("/pre_tokenizer", json!([]), "no type"),
    ] {
        let mut files = checkpoint("qwen2-plain");
        change(&mut files, "tokenizer.json", |tokenizer| *tokenizer.pointer_mut(pointer).unwrap() = value);
        refuse(&files, F16, &["tokenizer.json", part]);
    }
}

#[test]
fn tokens_are_found_by_name_where_config_json_has_no_id() {
    let mut files = checkpoint("qwen2-plain");
    change(&mut files, "config.json", |config| {
        config.as_object_mut().unwrap().remove("eos_token_id");
    });
    let settings = json!({ "eos_token": { "content": "<|im_end|>" }, "pad_token": "<|endoftext|>" });
    files.insert("tokenizer_config.json".to_owned(), settings.to_string().into_bytes());
    let mut output = Vec::new();
    convert(&files, F16, &mut output).unwrap();
    let gguf = Gguf::parse(&output, output.len() as u64).unwrap();
    assert_eq!(gguf.u32_value("tokenizer.ggml.eos_token_id"), Ok(Some(2)));
    assert_eq!(gguf.u32_value("tokenizer.ggml.padding_token_id"), Ok(Some(0)));
    assert_eq!(gguf.u32_value("tokenizer.ggml.bos_token_id"), Ok(Some(1)));
}
