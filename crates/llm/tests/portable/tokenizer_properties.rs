//! Properties of all vocabularies and all texts.

use crate::vocabulary::{self, BYTE, CONTROL, NORMAL, UNKNOWN, finish, writer};
use llm::gguf::Gguf;
use llm::tokenizer::{EncodeOptions, StreamDecoder, Tokenizer};
use proptest::prelude::*;

/// A name for each way to cut text.
const PRE_TOKENIZERS: [&str; 28] = [
    "default",
    "gpt-2",
    "starcoder",
    "falcon",
    "llama-bpe",
    "chatglm-bpe",
    "minicpm5",
    "qwen2",
    "qwen35",
    "laguna",
    "seed-coder",
    "ufakzeka",
    "jais-2",
    "tekken",
    "gpt-4o",
    "granite-embed-multi-97m",
    "kimi-k2",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "viking",
    "spark2_5",
    "youtu",
    "tiny_aya",
    "exaone-moe",
    "afmoe",
    "superbpe",
    "chameleon",
];

/// Bytes, valid UTF-8 and not.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop_oneof![
        any::<[u8; 4]>().prop_map(|bytes| bytes.to_vec()),
        "[a-cA-C é字1-3\n\r\t .,!'/-]{0,12}".prop_map(String::into_bytes),
        "\\PC{0,8}".prop_map(String::into_bytes),
        "[st'relvmd]{0,5}".prop_map(String::into_bytes),
        (any::<char>(), 0..60usize).prop_map(|(c, n)| c.to_string().repeat(n).into_bytes()),
        ("[ab ]", 0..200usize).prop_map(|(c, n)| c.repeat(n).into_bytes()),
    ];
    proptest::collection::vec(parts, 0..8).prop_map(|parts| parts.concat())
}

/// Merges of a few early tokens, so that many of them apply.
fn merges() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let token = prop_oneof![
        proptest::sample::select(b"abc AB123.'st\n\xe5\xc3".to_vec()).prop_map(usize::from),
        256..400usize,
        0..400usize,
    ];
    proptest::collection::vec((token.clone(), token), 0..120)
}

fn encode(tokenizer: &Tokenizer<'_>, text: &[u8]) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode_bytes(text, EncodeOptions::default(), &mut ids).unwrap();
    ids
}

/// The text of a sequence of tokens.
fn stream(tokenizer: &Tokenizer<'_>, ids: &[u32]) -> String {
    let mut decoder = StreamDecoder::new(tokenizer).unwrap();
    let mut text = String::new();
    for &id in ids {
        text.extend(decoder.push(tokenizer, id).unwrap());
    }
    text.extend(decoder.finish());
    text
}

fn check(file: &[u8], text: &[u8]) -> Result<(), TestCaseError> {
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let ids = encode(&tokenizer, text);
    prop_assert_eq!(&tokenizer.decode(&ids).unwrap(), text);

    let mut bytes = Vec::new();
    for &id in &ids {
        tokenizer.token_bytes(id, &mut bytes).unwrap();
    }
    prop_assert_eq!(stream(&tokenizer, &ids), String::from_utf8_lossy(&bytes));
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_come_back_from_byte_level_ids(
        pre in proptest::sample::select(&PRE_TOKENIZERS[..]),
        merges in merges(),
        text in text(),
    ) {
        check(&vocabulary::byte_level(pre, &merges), &text)?;
    }

    #[test]
    fn any_bytes_come_back_from_sentencepiece_ids(
        pieces in proptest::collection::vec(("[ab▁é字.]{1,5}", (-8..0i32).prop_map(|score| score as f32)), 0..80),
        add_space_prefix: bool,
        text in text(),
    ) {
        // `▁` stands for a space, so that one in the text comes back as a space.
        let text = String::from_utf8_lossy(&text).replace('▁', "_");
        check(&vocabulary::sentencepiece(&pieces, add_space_prefix), text.as_bytes())?;
    }

    #[test]
    fn any_bytes_come_back_from_the_longest_tokens_first(
        sequences in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..60),
        text in text(),
    ) {
        let escaped = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let all = (0..=255u8).map(|byte| vec![byte]).chain(sequences);
        let tokens: Vec<_> = all.map(|sequence| (escaped(&sequence), NORMAL)).collect();
        check(&finish(writer("rwkv", &tokens)), &text)?;
    }

    #[test]
    fn any_bytes_come_back_from_the_likeliest_tokens(
        pieces in proptest::collection::vec(("[ab é字.]{0,5}", any::<i16>()), 0..80),
        text in text(),
    ) {
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
        let mut tokens: Vec<_> = (0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), BYTE)).collect();
        tokens.extend(pieces.iter().map(|(piece, _)| (piece.clone(), NORMAL)));
        let mut scores = vec![0.0; 256];
        scores.extend(pieces.iter().map(|&(_, score)| f32::from(score) / 32.0));
        let mut writer = writer("plamo2", &tokens);
        writer.put_f32s("tokenizer.ggml.scores", &scores).unwrap();
        // A byte order mark is dropped.
        if !text.starts_with("\u{feff}".as_bytes()) {
            check(&finish(writer), text)?;
        }
    }

    /// For any map of characters, the result is an error or ids that exist.
    #[test]
    fn no_map_of_characters_is_too_wild(
        pieces in proptest::collection::vec(("[ab▁é字.]{0,5}", 1..7i32, any::<f32>()), 0..40),
        entries in proptest::collection::vec(prop_oneof![any::<u32>(), 0..600u32, (0..300u32).prop_map(|e| e | 256)], 0..300),
        size_error in prop_oneof![9 => Just(0u32), 1 => any::<u32>()],
        replacements in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..40),
        flags: [bool; 3],
        text in text(),
    ) {
        let mut map = Vec::from((entries.len() as u32 * 4).wrapping_add(size_error).to_le_bytes());
        map.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
        map.extend(replacements);
        let mut tokens = vec![("<unk>".to_owned(), UNKNOWN), ("</s>".to_owned(), CONTROL)];
        tokens.extend(pieces.iter().map(|(piece, kind, _)| (piece.clone(), *kind)));
        let mut scores = vec![0.0; 2];
        scores.extend(pieces.iter().map(|&(_, _, score)| if score.is_nan() { 1.0 } else { score }));
        let mut writer = writer("t5", &tokens);
        writer.put_f32s("tokenizer.ggml.scores", &scores).unwrap();
        writer.put_u32("tokenizer.ggml.unknown_token_id", 0).unwrap();
        let keys = ["tokenizer.ggml.add_space_prefix", "tokenizer.ggml.remove_extra_whitespaces"];
        for (key, flag) in keys.iter().zip(flags) {
            writer.put_bool(key, flag).unwrap();
        }
        if flags[2] {
            writer.put_bytes("tokenizer.ggml.precompiled_charsmap", &map).unwrap();
        }
        let file = finish(writer);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) else { return Ok(()) };
        let mut ids = Vec::new();
        let result = tokenizer.encode_bytes(&text, EncodeOptions::default(), &mut ids);
        prop_assert!(result.is_ok() || flags[2]);
        let bytes = tokenizer.decode(&ids).unwrap();
        prop_assert_eq!(tokenizer.decode_text(&ids).unwrap(), String::from_utf8_lossy(&bytes));
        stream(&tokenizer, &ids);
    }

    #[test]
    fn a_stream_holds_back_only_what_can_become_a_character(text in text()) {
        let file = vocabulary::byte_level("gpt-2", &[]);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let mut decoder = StreamDecoder::new(&tokenizer).unwrap();
        let mut shown = String::new();
        let mut bytes = Vec::new();
        for id in encode(&tokenizer, &text) {
            shown.extend(decoder.push(&tokenizer, id).unwrap());
            tokenizer.token_bytes(id, &mut bytes).unwrap();
            // All but an unfinished character at the end, which would become one U+FFFD.
            let whole = String::from_utf8_lossy(&bytes);
            let held_back = whole.strip_suffix(char::REPLACEMENT_CHARACTER) == Some(&shown);
            prop_assert!(shown == whole || held_back, "{} of {}", shown, whole);
        }
    }
}

/// A long text takes no more time per byte than a short one, however similar tokens and text are.
#[test]
fn long_texts_that_tokens_almost_cover_come_back() {
    let longest = "a".repeat(1000);
    let text = "a".repeat(100_000);
    let bytes = (0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), BYTE));
    let tokens: Vec<_> =
        bytes.chain([("a".to_owned(), NORMAL), (longest.clone() + "b", NORMAL), (longest, NORMAL)]).collect();
    for model in ["rwkv", "plamo2", "t5"] {
        check(&finish(writer(model, &tokens)), text.as_bytes()).unwrap();
    }
}

#[test]
fn long_words_of_few_letters_come_back() {
    let merges: Vec<(usize, usize)> =
        vec![(97, 97), (256, 256), (97, 98), (258, 258), (257, 256), (98, 256), (256, 98), (259, 97)];
    let file = vocabulary::byte_level("llama-bpe", &merges);
    let mut state = 1u32;
    let mut letters = |n: usize, of: u32| -> Vec<u8> {
        let letter = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + ((state >> 16) % of) as u8
        };
        (0..n).map(letter).collect()
    };
    for (n, of) in [(100_000, 1), (100_000, 2), (100_000, 26), (23, 2), (24, 2), (25, 2), (26, 2)] {
        check(&file, &letters(n, of)).unwrap();
    }
}
