//! What holds for any vocabulary and any text.

mod vocabulary;

use llm::gguf::Gguf;
use llm::tokenizer::{EncodeOptions, StreamDecoder, Tokenizer};
use proptest::prelude::*;

/// One name of each way to cut text.
const PRE_TOKENIZERS: [&str; 21] = [
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
];

/// Bytes, with and without sense.
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

/// Joins of a few early tokens, so that many of them happen.
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

/// The text of a stream of tokens.
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
