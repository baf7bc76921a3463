//! What llama.cpp does not require in a vocabulary, or tolerates there: the text gets the same tokens.

use crate::vocabulary::{self, BYTE, CONTROL, NORMAL, UNKNOWN, byte_level, finish};
use llm::gguf::{Gguf, GgufWriter, Value};
use llm::tokenizer::{EncodeOptions, Tokenizer};

const WITH_SPECIAL: EncodeOptions = EncodeOptions { add_special: true, parse_special: false };

/// A SentencePiece-style vocabulary of `<unk>`, `<s>`, `</s>`, all bytes and these pieces.
fn sentencepiece(pieces: &[&str], put: impl Fn(&mut GgufWriter, usize)) -> Vec<u8> {
    let mut tokens =
        vec![("<unk>".to_owned(), UNKNOWN), ("<s>".to_owned(), CONTROL), ("</s>".to_owned(), CONTROL)];
    tokens.extend((0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), BYTE)));
    tokens.extend(pieces.iter().map(|&piece| (piece.to_owned(), NORMAL)));
    let mut writer = vocabulary::writer("llama", &tokens);
    put(&mut writer, tokens.len());
    finish(writer)
}

fn encode(file: &[u8], text: &str) -> Vec<u32> {
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let mut ids = Vec::new();
    Tokenizer::from_gguf(&gguf).unwrap().encode(text, WITH_SPECIAL, &mut ids).unwrap();
    ids
}

fn ends(file: &[u8]) -> Vec<u32> {
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    (0..tokenizer.n_vocab() as u32).filter(|&id| tokenizer.is_end_of_generation(id)).collect()
}

const PIECES: &[&str] = &["▁", "a", "b", "c", "ab", "bc", "▁a", "abc"];

#[test]
fn missing_scores_are_zeros() {
    let without = sentencepiece(PIECES, |_, _| {});
    let zeros =
        sentencepiece(PIECES, |writer, n| writer.put_f32s("tokenizer.ggml.scores", &vec![0.0; n]).unwrap());
    for text in ["abc", "bcab cba", "aabbcc", "xab\nc"] {
        assert_eq!(encode(&without, text), encode(&zeros, text), "{text:?}");
    }
    // Equal scores: the leftmost pair first.
    let id = |piece: &str| 259 + PIECES.iter().position(|other| *other == piece).unwrap() as u32;
    assert_eq!(encode(&without, "abc"), [1, id("▁a"), id("bc")]);
}

#[test]
fn missing_kinds_are_normal() {
    let mut writer = GgufWriter::new();
    writer.put_str("tokenizer.ggml.model", "llama").unwrap();
    writer.put_strings("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "▁", "a"].iter()).unwrap();
    assert_eq!(encode(&finish(writer), "a"), [1, 3, 4]);
}

#[test]
fn of_two_equal_texts_the_last_is_meant_and_each_is_shown() {
    let twice = [PIECES, &["ab"]].concat();
    let file = sentencepiece(&twice, |_, _| {});
    let last = 259 + twice.len() as u32 - 1;
    assert_eq!(encode(&file, "cab"), [1, 259, 262, last]);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    assert_eq!(tokenizer.decode(&[263, last]).unwrap(), b"abab");
}

/// An id that does not exist has no effect, whatever its type: the default holds.
#[test]
fn ids_that_do_not_exist_count_as_none() {
    let keys = ["bos", "eos", "unknown", "padding", "seperator", "eot", "eom", "fim_pre", "fim_pad"];
    let without = sentencepiece(PIECES, |_, _| {});
    for key in keys {
        let key = format!("tokenizer.ggml.{key}_token_id");
        for value in
            [Value::U32(32_000), Value::U32(u32::MAX), Value::I32(-1), Value::U64(u64::MAX), Value::I64(-100)]
        {
            let file = sentencepiece(PIECES, |writer, _| writer.put(&key, value).unwrap());
            assert_eq!(encode(&file, "abc ?"), encode(&without, "abc ?"), "{key} {value}");
            assert_eq!(ends(&file), ends(&without), "{key} {value}");
        }
    }
    assert_eq!(ends(&without), [2]);
}

/// As in the reference: special tokens that a file of this kind does not name are those of the first family that used it.
#[test]
fn a_byte_level_vocabulary_has_default_ids_too() {
    let file = byte_level("llama-bpe", &[]);
    assert_eq!(encode(&file, "a"), [11, u32::from(b'a')]);
    assert_eq!(ends(&file), [11]);
}

#[test]
fn a_word_piece_vocabulary_without_an_unknown_token_spells_what_it_can() {
    let tokens: Vec<_> =
        ["[CLS]", "[SEP]", "▁a", "b"].iter().map(|text| ((*text).to_owned(), NORMAL)).collect();
    let mut writer = vocabulary::writer("bert", &tokens);
    for (key, id) in [("bos", 0), ("seperator", 1), ("unknown", 99)] {
        writer.put_u32(&format!("tokenizer.ggml.{key}_token_id"), id).unwrap();
    }
    let file = finish(writer);
    assert_eq!(encode(&file, "ab a"), [0, 2, 3, 2, 1]);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let error =
        Tokenizer::from_gguf(&gguf).unwrap().encode("xyz", WITH_SPECIAL, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("tokenizer.ggml.unknown_token_id"), "{error}");
}

#[test]
fn a_name_need_not_be_utf_8() {
    let mut file = sentencepiece(PIECES, |writer, _| writer.put_str("general.name", "@@abc").unwrap());
    let place = file.windows(5).position(|window| window == b"@@abc").unwrap();
    file[place..place + 2].copy_from_slice(&[0xff, 0xfe]);
    assert_eq!(encode(&file, "abc"), encode(&sentencepiece(PIECES, |_, _| {}), "abc"));
}
