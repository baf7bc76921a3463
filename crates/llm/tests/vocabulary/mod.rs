//! Vocabularies for tests, written as GGUF files.

#![allow(dead_code, reason = "no test needs all of them")]

use core::convert::Infallible;

use llm::gguf::GgufWriter;

/// Values of `tokenizer.ggml.token_type`.
pub const NORMAL: i32 = 1;
pub const UNKNOWN: i32 = 2;
pub const CONTROL: i32 = 3;
pub const USER_DEFINED: i32 = 4;
pub const BYTE: i32 = 6;

/// A file that contains only metadata.
pub fn finish(writer: GgufWriter) -> Vec<u8> {
    let mut file = Vec::new();
    let tensors = writer
        .write_header::<Infallible, _>(|bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
    tensors.finish::<Infallible>().unwrap();
    file
}

/// A vocabulary of some kind, without the keys that only some kinds have.
pub fn writer(model: &str, tokens: &[(String, i32)]) -> GgufWriter {
    let mut writer = GgufWriter::new();
    writer.put_str("tokenizer.ggml.model", model).unwrap();
    writer.put_strings("tokenizer.ggml.tokens", tokens.iter().map(|(text, _)| text)).unwrap();
    let types: Vec<i32> = tokens.iter().map(|&(_, kind)| kind).collect();
    writer.put_i32s("tokenizer.ggml.token_type", &types).unwrap();
    writer
}

/// GPT-2's character for a byte.
pub fn byte_char(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let place = (0..byte).filter(|&other| !printable(other)).count();
    char::from_u32(0x100 + place as u32).unwrap()
}

/// A byte-level vocabulary: all bytes, then the results of merging earlier tokens, given by their ids.
pub fn byte_level(pre: &str, merges: &[(usize, usize)]) -> Vec<u8> {
    let mut pieces: Vec<String> = (0..=255).map(|byte| byte_char(byte).to_string()).collect();
    let mut lines = Vec::new();
    for &(left, right) in merges {
        let (left, right) = (&pieces[left % pieces.len()], &pieces[right % pieces.len()]);
        lines.push(format!("{left} {right}"));
        let joined = format!("{left}{right}");
        if !pieces.contains(&joined) {
            pieces.push(joined);
        }
    }
    let tokens: Vec<_> = pieces.into_iter().map(|piece| (piece, NORMAL)).collect();
    let mut writer = writer("gpt2", &tokens);
    writer.put_str("tokenizer.ggml.pre", pre).unwrap();
    writer.put_strings("tokenizer.ggml.merges", lines.iter()).unwrap();
    finish(writer)
}

/// A SentencePiece-style vocabulary: an unknown token, all bytes, a space, and these pieces with their
/// scores.
pub fn sentencepiece(pieces: &[(String, f32)], add_space_prefix: bool) -> Vec<u8> {
    let mut tokens = vec![("<unk>".to_string(), UNKNOWN)];
    tokens.extend((0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), BYTE)));
    let mut scores = vec![0.0; tokens.len()];
    for (piece, score) in [("▁".to_string(), 0.0)].iter().chain(pieces) {
        if !piece.is_empty() && tokens.iter().all(|(text, _)| text != piece) {
            tokens.push((piece.clone(), NORMAL));
            scores.push(*score);
        }
    }
    let mut writer = writer("llama", &tokens);
    writer.put_f32s("tokenizer.ggml.scores", &scores).unwrap();
    writer.put_bool("tokenizer.ggml.add_space_prefix", add_space_prefix).unwrap();
    finish(writer)
}
