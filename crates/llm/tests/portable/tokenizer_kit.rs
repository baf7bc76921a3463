//! Ids compared with those of reference implementations, for published vocabularies.
//!
//! The vocabularies are outside the repository, in the folder named by `FERRITE_KIT` or in `shared/conformance` beside the
//! repository. Without them, the tests print a message and pass.

use std::fs;
use std::path::{Path, PathBuf};

use llm::gguf::Gguf;
use llm::tokenizer::{EncodeOptions, Tokenizer};
use serde_json::Value;

/// The separator of the texts in an `.inp` file.
const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let kit = std::env::var_os("FERRITE_KIT").map_or(beside, PathBuf::from);
    let folder = kit.join("tokenizers");
    if !folder.is_dir() {
        eprintln!("skipped: no conformance kit at {}", kit.display());
        return None;
    }
    Some(folder)
}

/// Calls `check` with the name and the tokenizer of each vocabulary of the kit.
fn for_each_vocabulary(mut check: impl FnMut(&Path, &Path, &str, &Tokenizer<'_>)) {
    let Some(folder) = folder() else { return };
    let mut n = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let file_name = path.file_name().unwrap().to_str().unwrap();
        let name = file_name.strip_prefix("ggml-vocab-").and_then(|name| name.strip_suffix(".gguf"));
        let Some(name) = name else { continue };
        let bytes = fs::read(&path).unwrap();
        let gguf = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&folder, &path, name, &tokenizer);
        n += 1;
    }
    assert!(n > 0, "no vocabularies in {}", folder.display());
}

fn encode(tokenizer: &Tokenizer<'_>, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, EncodeOptions::default(), &mut ids).unwrap();
    ids
}

/// Describes the first difference between two lists of ids.
fn difference(got: &[u32], expected: &[u32]) -> Option<String> {
    if got == expected {
        return None;
    }
    let place = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let show = |ids: &[u32]| format!("{:?}", &ids[place..ids.len().min(place + 4)]);
    Some(format!("id {place} of {}: {}, expected {}", expected.len(), show(got), show(expected)))
}

fn ids(value: &Value) -> Vec<u32> {
    let list = value.as_array().unwrap();
    list.iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn the_texts_of_the_reference_get_its_ids() {
    for_each_vocabulary(|_, path, name, tokenizer| {
        let beside = |suffix: &str| fs::read_to_string(format!("{}.{suffix}", path.display()));
        let (Ok(input), Ok(output)) = (beside("inp"), beside("out")) else {
            return;
        };
        let texts = input.split(SEPARATOR);
        for (place, (text, line)) in texts.zip(output.lines()).enumerate() {
            let expected: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
            if let Some(difference) = difference(&encode(tokenizer, text), &expected) {
                panic!("{name}, text {place} {text:?}: {difference}");
            }
        }
    });
}

#[test]
fn the_extra_texts_get_the_ids_of_the_reference() {
    for_each_vocabulary(|folder, _, name, tokenizer| {
        let Ok(extra) = fs::read_to_string(folder.join("extra.json")) else {
            return;
        };
        let extra: Value = serde_json::from_str(&extra).unwrap();
        let Some(expected) = extra["ids"].get(name) else {
            return;
        };
        let lines = expected["lines"].as_array().unwrap();
        for (text, line) in extra["texts"].as_array().unwrap().iter().zip(lines) {
            let text = text.as_str().unwrap();
            if let Some(difference) = difference(&encode(tokenizer, text), &ids(line)) {
                panic!("{name}, {text:?}: {difference}");
            }
        }
        let whole = fs::read_to_string(folder.join("extra.txt")).unwrap();
        if let Some(difference) = difference(&encode(tokenizer, &whole), &ids(&expected["whole"])) {
            panic!("{name}, the whole file: {difference}");
        }
    });
}

#[test]
fn texts_come_back_from_their_ids() {
    for_each_vocabulary(|folder, _, name, tokenizer| {
        let Ok(extra) = fs::read_to_string(folder.join("extra.json")) else {
            return;
        };
        // WordPiece forgets white space, case and accents.
        if name.starts_with("bert") {
            return;
        }
        let extra: Value = serde_json::from_str(&extra).unwrap();
        let texts = extra["texts"].as_array().unwrap();
        for text in texts.iter().map(|text| text.as_str().unwrap()) {
            // Escaped vocabularies cannot tell `▁` from a space, and some special tokens take the
            // white space behind them with them.
            if text.contains(['▁']) || text.contains("</s>") {
                continue;
            }
            // Some vocabularies have no token for control characters.
            if text.chars().any(|c| encode(tokenizer, c.encode_utf8(&mut [0; 4])).is_empty()) {
                continue;
            }
            let decoded = tokenizer.decode(&encode(tokenizer, text)).unwrap();
            assert_eq!(String::from_utf8(decoded).as_deref(), Ok(text), "{name}");
        }
    });
}
