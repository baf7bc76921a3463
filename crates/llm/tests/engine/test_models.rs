//! The models of `test_models` answer as llama.cpp does: the ids of texts, logits, and texts continued greedily.

use crate::golden_models::{ids, test_model};
use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Precision};
use llm::session::{Logits, Session, SessionOptions};
use llm::simd::Kernels;
use llm::tokenizer::{EncodeOptions, Tokenizer};
use serde_json::Value;

const MODELS: [&str; 2] = ["micro", "tiny"];
/// The longest list of ids that llama.cpp continued a prompt by.
const N_GREEDY: usize = 32;

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().unwrap().iter()
}

#[test]
fn texts_have_the_ids_that_llama_cpp_gives_them() {
    for name in MODELS {
        let (case, golden) = test_model(name);
        let file = case.file();
        let tokenizer = Tokenizer::from_gguf(&file.gguf()).unwrap();
        let encoded = |text: &str, add_special| {
            let mut ids = Vec::new();
            tokenizer.encode(text, EncodeOptions { add_special, parse_special: false }, &mut ids).unwrap();
            ids
        };
        for entry in entries(&golden["tokenizer"]) {
            let text = entry["text"].as_str().unwrap();
            assert_eq!(encoded(text, false), ids(&entry["ids"]), "{name}: {text:?}");
        }
        for entry in entries(&golden["greedy"]) {
            let prompt = entry["prompt"].as_str().unwrap();
            assert_eq!(encoded(prompt, true), ids(&entry["prompt_ids"]), "{name}: {prompt:?}");
        }
    }
}

#[test]
fn logits_are_those_of_llama_cpp() {
    let failures: Vec<String> = MODELS.iter().flat_map(|name| test_model(name).0.check()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn texts_continue_as_in_llama_cpp() {
    for name in MODELS {
        let (case, golden) = test_model(name);
        let file = case.file();
        let gguf = file.gguf();
        let eos = Tokenizer::from_gguf(&gguf).unwrap().eos_id();
        let mut n_tokens = 0;
        for entry in entries(&golden["greedy"]) {
            let (prompt, expected) = (ids(&entry["prompt_ids"]), ids(&entry["ids"]));
            let mut found = greedy(&gguf, &prompt, expected.len() + 1);
            let next = found.pop();
            assert_eq!(found, expected, "{name}: {}", entry["prompt"]);
            match entry["ended"].as_str().unwrap() {
                "end of text" => assert_eq!(next, eos, "{name}: {}", entry["prompt"]),
                "length" => assert_eq!(expected.len(), N_GREEDY, "{name}: {}", entry["prompt"]),
                // Here other activations of 8 bits may choose another token.
                "near tie" => (),
                other => panic!("{name}: {other}"),
            }
            n_tokens += found.len();
        }
        assert!(n_tokens >= 100, "{name}: only {n_tokens} tokens were compared");
    }
}

/// The `n` most probable tokens after a prompt, each after the one before it.
fn greedy(gguf: &Gguf<'_>, prompt: &[u32], n: usize) -> Vec<u32> {
    let options = SessionOptions {
        n_ctx: prompt.len() + n,
        n_batch: prompt.len(),
        n_logits: 1,
        kv_type: KvType::F32,
        precision: Precision::Quantized,
    };
    let model = Model::load(gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let bytes = Session::required_bytes(model.config(), &options).unwrap();
    let mut memory = vec![0; bytes + llm::arena::ALIGN];
    let mut session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    let mut tokens = Vec::new();
    let mut fed = prompt.to_vec();
    while tokens.len() < n {
        let logits = session.forward(&fed, Logits::Last).unwrap();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        tokens.push(best as u32);
        fed = vec![best as u32];
    }
    tokens
}
