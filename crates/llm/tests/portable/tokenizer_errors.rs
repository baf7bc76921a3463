//! Vocabularies that are refused, texts that cannot be encoded, and the error messages.

use crate::vocabulary::{CONTROL, NORMAL, finish, writer};
use llm::gguf::{Gguf, GgufWriter};
use llm::tokenizer::{EncodeOptions, Tokenizer, TokenizerError};

fn load(writer: GgufWriter) -> Result<(), TokenizerError> {
    let file = finish(writer);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    Tokenizer::from_gguf(&gguf).map(|_| ())
}

fn tokens(texts: &[&str]) -> Vec<(String, i32)> {
    texts.iter().map(|text| (text.to_string(), NORMAL)).collect()
}

fn bpe(texts: &[&str], merges: &[&str]) -> GgufWriter {
    let mut writer = writer("gpt2", &tokens(texts));
    writer.put_str("tokenizer.ggml.pre", "gpt-2").unwrap();
    writer.put_strings("tokenizer.ggml.merges", merges.iter()).unwrap();
    writer
}

#[test]
fn what_is_not_supported_is_named() {
    let glyphs = load(writer("glyphs", &tokens(&["a"]))).unwrap_err();
    assert_eq!(glyphs, TokenizerError::UnsupportedModel { model: "glyphs".into() });
    assert!(glyphs.to_string().contains("glyphs"));

    let mut writer = writer("gpt2", &tokens(&["a"]));
    writer.put_str("tokenizer.ggml.pre", "runes").unwrap();
    writer.put_strings("tokenizer.ggml.merges", [""; 0].iter()).unwrap();
    let runes = load(writer).unwrap_err();
    assert_eq!(runes, TokenizerError::UnsupportedPreTokenizer { name: "runes".into() });
    assert!(runes.to_string().contains("runes"));
}

#[test]
fn merges_may_be_of_any_texts() {
    assert_eq!(load(bpe(&["a", "b", "ab"], &["a b"])), Ok(()));
    for merge in ["a c", "c a", "b a", "a ", "ab ab", "  a", "日 本"] {
        assert_eq!(load(bpe(&["a", "b", "ab"], &["a b", merge])), Ok(()), "{merge:?}");
    }
    // What has no two parts joins nothing.
    for merge in ["", " ", "a", "ab", " a"] {
        assert_eq!(load(bpe(&["a", "b", "ab"], &["a b", merge])), Ok(()), "{merge:?}");
    }
    let without_merges = writer("gpt2", &tokens(&["a"]));
    assert!(matches!(load(without_merges), Err(TokenizerError::Gguf(_))));
}

#[test]
fn there_must_be_tokens() {
    assert_eq!(load(bpe(&[], &[])), Err(TokenizerError::NoTokens));
}

#[test]
fn an_error_of_the_reader_is_told_once() {
    let error = load(writer("gpt2", &tokens(&["a"]))).unwrap_err();
    assert_eq!(error.to_string(), "the key `tokenizer.ggml.merges` is missing");
    assert!(std::error::Error::source(&error).is_none(), "its text would be printed again");
}

#[test]
fn what_the_file_does_not_name_cannot_be_added() {
    let mut writer = bpe(&["a", "b"], &[]);
    writer.put_bool("tokenizer.ggml.add_bos_token", true).unwrap();
    let file = finish(writer);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let mut ids = Vec::new();
    let with_special = EncodeOptions { add_special: true, parse_special: false };
    assert_eq!(
        tokenizer.encode("a", with_special, &mut ids),
        Err(TokenizerError::MissingToken { key: "tokenizer.ggml.bos_token_id" })
    );
    assert_eq!(tokenizer.decode(&[0, 2]), Err(TokenizerError::NoSuchToken { id: 2, n_vocab: 2 }));
}

#[test]
fn a_byte_without_a_token_becomes_the_unknown_token() {
    for (unknown, expected) in [(None, 0), (Some(1), 1)] {
        let mut writer = writer("llama", &tokens(&["a", "?"]));
        writer.put_f32s("tokenizer.ggml.scores", &[0.0; 2]).unwrap();
        writer.put_bool("tokenizer.ggml.add_space_prefix", false).unwrap();
        if let Some(id) = unknown {
            writer.put_u32("tokenizer.ggml.unknown_token_id", id).unwrap();
        }
        let file = finish(writer);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let mut ids = Vec::new();
        tokenizer.encode("ab", EncodeOptions::default(), &mut ids).unwrap();
        assert_eq!(ids, [0, expected]);
    }
}

#[test]
fn tokens_that_end_a_generation_are_known_by_key_and_by_text() {
    let mut texts = tokens(&["a", "b", "<|im_end|>", "</s>"]);
    texts.push(("<|end|>".into(), CONTROL));
    let mut writer = writer("gpt2", &texts);
    writer.put_strings("tokenizer.ggml.merges", [""; 0].iter()).unwrap();
    writer.put_u32("tokenizer.ggml.eos_token_id", 1).unwrap();
    let file = finish(writer);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let ends: Vec<u32> = (0..5).filter(|&id| tokenizer.is_end_of_generation(id)).collect();
    assert_eq!(ends, [1, 2, 3, 4]);
    assert_eq!(tokenizer.special_id("<|im_end|>"), Some(2));
    assert_eq!(tokenizer.special_id("a"), None);
}
