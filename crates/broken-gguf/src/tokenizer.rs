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
    let unigram = |change: &dyn Fn(&mut File)| {
        file.with(|file| {
            file.set("tokenizer.ggml.model", Value::String("t5".into()));
            change(file);
        })
    };
    let charsmap = |ty: ValueType, len: u64, elements: &[u8]| {
        let entry = Entry::array("tokenizer.ggml.precompiled_charsmap", ty.id(), len, elements);
        unigram(&|file| file.metadata.push(entry.clone()))
    };
    let endless = unigram(&|file| {
        let mut elements = Vec::new();
        for id in 0..n_vocab {
            let len = if id == n_vocab - 1 { 5000 } else { 1 };
            elements.extend(u64::to_le_bytes(len));
            elements.resize(elements.len() + len as usize, b'a');
        }
        *file.entry("tokenizer.ggml.tokens") =
            Entry::array("tokenizer.ggml.tokens", ValueType::String.id(), n_vocab, &elements);
    });
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
        ("charsmap-numbers", charsmap(ValueType::I32, 2, &[0; 8])),
        ("charsmap-without-size", charsmap(ValueType::U8, 3, &[0; 3])),
        ("charsmap-shorter-than-it-says", charsmap(ValueType::U8, 9, &[8, 0, 0, 0, 1, 2, 3, 4, 0])),
        ("charsmap-size-huge", charsmap(ValueType::I8, 8, &[0xff; 8])),
        ("charsmap-without-replacements", charsmap(ValueType::U8, 8, &[4, 0, 0, 0, 0, 0, 0, 0])),
        ("token-endless", endless),
        ("bos-text", set("tokenizer.ggml.bos_token_id", Value::String("<s>".into()))),
    ]
    .into()
}
