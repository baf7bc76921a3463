//! Ids compared with llama.cpp's, for small vocabularies of each kind and with each pre-tokenizer.
//!
//! `scripts/golden/tokenizers.py` made them and describes how.

use std::fs;
use std::path::Path;

use crate::vocabulary;
use llm::gguf::{Gguf, GgufWriter};
use llm::tokenizer::{EncodeOptions, Tokenizer};
use serde_json::Value;

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A GGUF file with the metadata of a vocabulary.
fn file(metadata: &Value, pre: Option<&str>) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    for (key, value) in metadata.as_object().unwrap() {
        match value {
            Value::Bool(value) => writer.put_bool(key, *value),
            Value::Number(value) => writer.put_u32(key, value.as_u64().unwrap() as u32),
            Value::String(value) => writer.put_str(key, value),
            Value::Array(values) if key.ends_with("token_type") => {
                let types: Vec<i32> = values.iter().map(|v| v.as_i64().unwrap() as i32).collect();
                writer.put_i32s(key, &types)
            }
            Value::Array(values) if key.ends_with("scores") => {
                let scores: Vec<f32> = values.iter().map(|v| v.as_f64().unwrap() as f32).collect();
                writer.put_f32s(key, &scores)
            }
            Value::Array(values) if key.ends_with("charsmap") => {
                let bytes: Vec<u8> = values.iter().map(|v| v.as_u64().unwrap() as u8).collect();
                writer.put_bytes(key, &bytes)
            }
            Value::Array(values) => {
                let strings = values.iter().map(|v| v.as_str().unwrap());
                writer.put_strings(key, strings)
            }
            other => panic!("{key}: {other}"),
        }
        .unwrap();
    }
    if let Some(pre) = pre {
        writer.put_str("tokenizer.ggml.pre", pre).unwrap();
    }
    vocabulary::finish(writer)
}

#[test]
fn the_ids_are_those_of_the_reference() {
    let golden = golden();
    let texts = |key: &str| -> Vec<&str> {
        golden[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
    };
    let (texts, more_texts) = (texts("texts"), texts("more_texts"));
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let kind = case["vocabulary"].as_str().unwrap();
        let options = EncodeOptions {
            add_special: case["add_special"].as_bool().unwrap(),
            parse_special: case["parse_special"].as_bool().unwrap(),
        };
        let mut pres: Vec<Option<&str>> =
            case["pre"].as_array().unwrap().iter().map(|pre| pre.as_str()).collect();
        if pres.is_empty() {
            pres.push(None);
        }
        for pre in pres {
            let file = file(&golden["vocabularies"][kind], pre);
            let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
            let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
            let texts = if case["more"].as_bool() == Some(true) { &more_texts } else { &texts };
            for (text, expected) in texts.iter().zip(case["ids"].as_array().unwrap()) {
                let expected: Vec<u32> =
                    expected.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
                let mut ids = Vec::new();
                tokenizer.encode(text, options, &mut ids).unwrap();
                if ids != expected {
                    let pieces = |ids: &[u32]| {
                        let pieces =
                            ids.iter().map(|&id| String::from_utf8_lossy(tokenizer.piece(id).unwrap()));
                        pieces.collect::<Vec<_>>().join("·")
                    };
                    wrong.push(format!(
                        "{kind} {} {options:?} {text:?}:\n     got {}\nexpected {}",
                        pre.unwrap_or(""),
                        pieces(&ids),
                        pieces(&expected)
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}
