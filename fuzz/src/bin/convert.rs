//! Any files as a checkpoint: an error of one line, or a GGUF file that the reader takes.
//!
//! The input's first byte says what matrices are to become. Then come files: a byte that chooses the name, two with
//! the length, the bytes. Of a safetensors file they are the header alone; the length before it and the data
//! behind it are made up, so that mutations get further than the length, unless the name is chosen to have them as they
//! are.
#![no_main]

use std::collections::BTreeMap;

use convert::{Matrices, MatrixTypes, Mixture, convert};
use libfuzzer_sys::fuzz_target;
use llm::gguf::Gguf;
use llm::model::Model;
use llm::quant::{GgmlType, ModelBytes};
use llm::tokenizer::Tokenizer;
use serde_json::Value;

const NAMES: [&str; 7] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors.index.json",
    "model.safetensors",
    "a.safetensors",
    "b.safetensors",
];
/// Files that few families have; the last choices are these.
const MORE_NAMES: [&str; 5] =
    ["tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "added_tokens.json", "modules.json"];
const TYPES: [MatrixTypes; 7] = [
    MatrixTypes::All(GgmlType::F32),
    MatrixTypes::All(GgmlType::F16),
    MatrixTypes::All(GgmlType::BF16),
    MatrixTypes::All(GgmlType::Q4_0),
    MatrixTypes::All(GgmlType::Q5_1),
    MatrixTypes::All(GgmlType::Q8_0),
    MatrixTypes::Mixture(Mixture::Q6K),
];
/// Data of one file that is made up at most.
const MAX_DATA_BYTES: u64 = 1 << 18;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, mut rest)) = input.split_first() else { return };
    let matrices = match TYPES.get(usize::from(kind) % (TYPES.len() + 1)) {
        Some(&types) => Matrices::Plain(types),
        None => Matrices::Awq,
    };
    let mut files = BTreeMap::new();
    while let [choice, low, high, behind @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (bytes, behind) = behind.split_at(len);
        let name = match MORE_NAMES.get(usize::from(u8::MAX - *choice)) {
            Some(name) => name,
            None => NAMES[usize::from(*choice) % NAMES.len()],
        };
        let is_header = name.ends_with(".safetensors") && *choice < 128;
        files.insert(name.to_owned(), if is_header { with_data(bytes) } else { bytes.to_vec() });
        rest = behind;
    }
    let mut output = Vec::new();
    if let Err(error) = convert(&files, matrices, &mut output) {
        assert!(!format!("{error:#}").is_empty());
        return;
    }
    let gguf = Gguf::parse(&output, output.len() as u64).unwrap();
    let _ = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes()));
    let _ = Tokenizer::from_gguf(&gguf);
});

/// A safetensors file with this header and as much data as its tensors need.
fn with_data(header: &[u8]) -> Vec<u8> {
    let ends = match serde_json::from_slice(header) {
        Ok(Value::Object(tensors)) => tensors
            .values()
            .filter_map(|tensor| tensor.pointer("/data_offsets/1")?.as_u64())
            .max()
            .unwrap_or_default(),
        _ => 0,
    };
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend((0..ends.min(MAX_DATA_BYTES)).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 11) as u8));
    file
}
