//! Changed checkpoints, and the result of converting them.
#![allow(dead_code, reason = "not every test uses each of them")]

use std::collections::BTreeMap;
use std::path::Path;

use convert::{Matrices, MatrixTypes, convert};
use llm::quant::GgmlType;
use serde_json::Value;

pub const F16: Matrices = Matrices::Plain(MatrixTypes::All(GgmlType::F16));

/// The files of a good checkpoint, with these keys of config.json changed.
pub fn checkpoint(name: &str, keys: Value) -> BTreeMap<String, Vec<u8>> {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../llm-cli/tests/golden/checkpoints").join(name);
    let mut files: BTreeMap<String, Vec<u8>> = [
        "config.json",
        "tokenizer.json",
        "tokenizer.model",
        "sentencepiece.bpe.model",
        "spiece.model",
        "tokenizer_config.json",
        "model.safetensors",
    ]
    .into_iter()
    .filter_map(|name| Some((name.to_owned(), std::fs::read(directory.join(name)).ok()?)))
    .collect();
    let mut config: Value = serde_json::from_slice(&files["config.json"]).unwrap();
    for (key, value) in keys.as_object().unwrap() {
        config[key] = value.clone();
    }
    files.insert("config.json".to_owned(), config.to_string().into_bytes());
    files
}

#[track_caller]
pub fn converted(files: &BTreeMap<String, Vec<u8>>, matrices: Matrices) -> (Vec<u8>, Vec<String>) {
    let mut output = Vec::new();
    let notes = convert(files, matrices, &mut output).unwrap_or_else(|error| panic!("{error:#}"));
    (output, notes)
}

#[track_caller]
pub fn refused(files: &BTreeMap<String, Vec<u8>>, matrices: Matrices, parts: &[&str]) {
    let error = format!("{:#}", convert(files, matrices, std::io::sink()).unwrap_err());
    for part in parts {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

/// The tensors, with changed names, shapes or types.
pub fn change_header(
    files: &mut BTreeMap<String, Vec<u8>>,
    change: impl Fn(&mut serde_json::Map<String, Value>),
) {
    let file = files.get_mut("model.safetensors").unwrap();
    let len = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&file[8..8 + len]).unwrap();
    change(&mut header);
    let header = Value::Object(header).to_string();
    *file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &file[8 + len..]].concat();
}
