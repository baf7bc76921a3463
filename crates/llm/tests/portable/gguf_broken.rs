//! Every kind of broken file is refused by the right layer, with a one-line message.

use std::collections::HashSet;

use broken_gguf::{Broken, Layer};
use llm::gguf::{Gguf, GgufError, Part};
use llm::model::Model;
use llm::quant::ModelBytes;
use llm::tokenizer::Tokenizer;

/// The layer that refuses a file, and its message; `None` for a good file.
fn refusal(bytes: &[u8]) -> Option<(Layer, String)> {
    // As the kernel does, which puts files at addresses that suit every type.
    let mut aligned = vec![0u64; bytes.len().div_ceil(8)];
    let aligned: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(&mut aligned[..]);
    aligned[..bytes.len()].copy_from_slice(bytes);
    let bytes = &aligned[..bytes.len()];
    let gguf = match Gguf::parse(bytes, bytes.len() as u64) {
        Ok(gguf) => gguf,
        Err(error) => return Some((Layer::Reader, error.to_string())),
    };
    if let Err(error) = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())) {
        return Some((Layer::Model, error.to_string()));
    }
    if let Err(error) = Tokenizer::from_gguf(&gguf) {
        return Some((Layer::Tokenizer, error.to_string()));
    }
    None
}

#[test]
fn a_good_file_passes() {
    assert_eq!(refusal(&broken_gguf::good()), None);
}

#[test]
fn every_broken_file_is_refused_by_the_right_layer() {
    let mut names = HashSet::new();
    let mut failures = Vec::new();
    for Broken { name, refused_by, bytes } in broken_gguf::all(&broken_gguf::good()) {
        assert!(names.insert(name), "{name} is there twice");
        match refusal(&bytes) {
            Some((layer, message)) => {
                println!("{name}: {layer:?}: {message}");
                let one_line = !message.is_empty() && !message.contains('\n') && message.len() < 250;
                if layer != refused_by || !one_line {
                    failures.push(format!("{name}: {layer:?}, not {refused_by:?}, says: {message}"));
                }
            }
            None => failures.push(format!("{name}: passes, but {refused_by:?} should refuse it")),
        }
    }
    println!("{} kinds", names.len());
    assert!(names.len() >= 50);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Whether `error` is the expected one for this kind of file.
fn is_expected(name: &str, error: &GgufError) -> bool {
    use GgufError::*;
    match name {
        "noise" | "zeroes" | "text" | "magic-of-an-older-format" | "magic-reversed" => {
            matches!(error, NotGguf { .. })
        }
        "version-0" | "version-1" | "version-4" | "version-huge" | "magic-only" => {
            matches!(error, UnsupportedVersion { .. })
        }
        "big-endian" => *error == BigEndian { version: 3 },
        "empty" | "cut-in-magic" | "cut-in-version" | "cut-in-tensor-count" | "cut-in-metadata-count" => {
            matches!(error, PastEndOfFile { part: Part::Header, .. })
        }
        "cut-before-data" | "cut-in-first-tensor" | "cut-in-half" | "cut-before-last-kilobyte" => {
            matches!(error, TensorPastEndOfFile { .. })
        }
        _ if name.starts_with("cut-") => {
            // In so small a file a count may be noticed before the entry that is cut.
            matches!(error, PastEndOfFile { .. } | TooMany { .. })
        }
        // What is read as a tensor then is anything but one.
        "tensor-count-one-more"
        | "metadata-count-one-more"
        | "metadata-count-one-less"
        | "metadata-count-zero" => !matches!(error, Truncated { .. } | OutOfMemory { .. }),
        _ if name.starts_with("tensor-count-") => {
            matches!(error, TooMany { part: Part::TensorTable, offset: 8, .. })
        }
        _ if name.starts_with("metadata-count-") => {
            matches!(error, TooMany { part: Part::Metadata, offset: 16, .. })
        }
        "key-length-huge" | "key-length-minus-one" | "key-empty" | "key-too-long" => {
            matches!(error, NameLength { part: Part::Key(1), max_bytes: 65535, .. })
        }
        "key-not-utf8" => matches!(error, InvalidUtf8 { part: Part::Key(1), .. }),
        "key-twice" => matches!(error, DuplicateKey { key } if *key == "general.architecture"),
        "value-type-13" => matches!(error, UnknownValueType { id: 13, .. }),
        "value-type-huge" => matches!(error, UnknownValueType { id: u32::MAX, .. }),
        "array-of-unknown-type" => matches!(error, UnknownValueType { id: 99, .. }),
        "string-length-huge" | "string-length-minus-one" | "array-with-endless-string" => {
            matches!(error, PastEndOfFile { part: Part::Value(_), .. })
        }
        "array-nested-too-deep" => matches!(error, NestedTooDeep { .. }),
        "bool-of-2" => matches!(error, InvalidBool { byte: 2, .. }),
        "array-with-bool-of-255" => matches!(error, InvalidBool { byte: 255, .. }),
        _ if name.starts_with("array-") => matches!(error, TooMany { part: Part::Value(_), .. }),
        "alignment-negative" => matches!(error, OutOfRange { .. }),
        "alignment-text" => matches!(error, WrongType { .. }),
        "alignment-huge" => matches!(error, MisalignedTensor { .. } | TensorPastEndOfFile { .. }),
        "alignment-4096" => matches!(error, MisalignedTensor { alignment: 4096, .. }),
        _ if name.starts_with("alignment-") => matches!(error, BadAlignment { .. }),
        "tensor-name-empty" | "tensor-name-too-long" | "tensor-name-length-huge" => {
            matches!(error, NameLength { part: Part::TensorName(_), max_bytes: 64, .. })
        }
        "tensor-name-not-utf8" => matches!(error, InvalidUtf8 { part: Part::TensorName(_), .. }),
        "tensor-name-twice" => {
            matches!(error, DuplicateTensor { tensor } if *tensor == "blk.1.attn_q.weight")
        }
        "five-dimensions" => matches!(error, TooManyDimensions { n_dims: 5, .. }),
        "countless-dimensions" => matches!(error, TooManyDimensions { n_dims: u32::MAX, .. }),
        "dimension-zero" | "dimension-minus-one" | "dimensions-overflow" | "size-overflows" => {
            matches!(error, BadDimensions { .. })
        }
        "dimension-huge" => matches!(error, TensorPastEndOfFile { .. }),
        "tensor-type-removed" => matches!(error, UnknownTensorType { id: 4, .. }),
        "tensor-type-unknown" => matches!(error, UnknownTensorType { id: 1000, .. }),
        "rows-of-partial-blocks" => matches!(error, PartialBlock { row_len: 31, .. }),
        "tensor-misaligned" => matches!(error, MisalignedTensor { alignment: 32, .. }),
        "tensor-past-end" | "tensor-offset-overflows" => matches!(error, TensorPastEndOfFile { .. }),
        "tensors-in-one-place"
        | "tensor-inside-another"
        | "tensors-in-each-others-place"
        | "tensor-longer-than-its-place" => matches!(error, OverlappingTensor { .. }),
        _ => false,
    }
}

#[test]
fn every_rule_of_the_format_has_its_error() {
    for Broken { name, refused_by, bytes } in broken_gguf::all(&broken_gguf::good()) {
        if refused_by == Layer::Reader {
            let error = Gguf::parse(&bytes, bytes.len() as u64).expect_err(name);
            assert!(is_expected(name, &error), "{name}: {error:?}");
        }
    }
}

#[test]
fn files_stay_broken_on_disks_of_whole_sectors() {
    for Broken { name, mut bytes, .. } in broken_gguf::all(&broken_gguf::good()) {
        bytes.resize(bytes.len().next_multiple_of(512).max(512), 0);
        assert!(refusal(&bytes).is_some(), "{name}");
    }
}
