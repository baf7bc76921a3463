//! Models that could be run, but whose vocabulary makes no sense.

use alloc::vec::Vec;

use llm::gguf::{Value, ValueType};

use crate::file::{Entry, File};

pub(crate) fn kinds(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let without = |key: &str| {
        file.with(|file| {
            file.entry(key);
            file.remove(key);
        })
    };
    let set = |key: &str, value| file.with(|file| file.set(key, value));
    let id = |key: &str, id| set(key, Value::U32(id));
    let array = |key: &str, ty: ValueType, len: u64, elements: &[u8]| {
        let entry = Entry::array(key, ty.id(), len, elements);
        file.with(|file| *file.entry(key) = entry)
    };
    let mut good = file.clone();
    let n_vocab =
        u64::from_le_bytes(*good.entry("tokenizer.ggml.scores").value[4..].first_chunk().expect("a length"));
    let integers = [0; 4].repeat(n_vocab as usize);
    let texts = [0; 8].repeat(n_vocab as usize);
    let not_numbers = f32::NAN.to_le_bytes().repeat(n_vocab as usize);
    [
        ("no-tokenizer-model", without("tokenizer.ggml.model")),
        ("tokenizer-model-unknown", set("tokenizer.ggml.model", Value::String("runes".into()))),
        ("tokenizer-model-number", id("tokenizer.ggml.model", 1)),
        ("no-tokens", without("tokenizer.ggml.tokens")),
        ("tokens-are-numbers", array("tokenizer.ggml.tokens", ValueType::I32, n_vocab, &integers)),
        ("scores-too-few", array("tokenizer.ggml.scores", ValueType::F32, 2, &[0; 8])),
        ("scores-are-texts", array("tokenizer.ggml.scores", ValueType::String, n_vocab, &texts)),
        ("scores-not-numbers", array("tokenizer.ggml.scores", ValueType::F32, n_vocab, &not_numbers)),
        ("token-types-too-few", array("tokenizer.ggml.token_type", ValueType::I32, 2, &[0; 8])),
        ("bos-text", set("tokenizer.ggml.bos_token_id", Value::String("<s>".into()))),
    ]
    .into()
}
