//! Tests of the engine's tokenizers as linked by the kernel, on the vocabularies of both test models.

use std::{string::String, vec::Vec};

use llm::{
    gguf::Gguf,
    tokenizer::{EncodeOptions, StreamDecoder, Tokenizer},
};

use super::fixtures;

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };

const TEXTS: [&str; 10] = [
    "Hello",
    "Once upon a time, there was a little robot.",
    "  two leading spaces and a trailing one ",
    "tabs\tand\nlines\r\n\n\n",
    "It's 12345 o'clock; don't we'll I'M",
    "Grüße, 世界! \u{1f980}\u{1f469}\u{200d}\u{1f4bb}",
    "العربية עברית हिन्दी",
    "e\u{301} \u{0}\u{1}\u{7f}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "<s></s><unk><|endoftext|>",
];

/// Runs `test` on the vocabulary of each test model.
fn for_each_tokenizer(test: impl Fn(&Tokenizer<'_>)) {
    for file in [fixtures::micro(), fixtures::tiny()] {
        let file = fixtures::aligned(&file);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        test(&Tokenizer::from_gguf(&gguf).unwrap());
    }
}

fn encode(tokenizer: &Tokenizer<'_>, text: &str, options: EncodeOptions) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, options, &mut ids).unwrap();
    ids
}

#[test]
fn texts_come_back_as_they_were() {
    for_each_tokenizer(|tokenizer| {
        for text in TEXTS {
            let ids = encode(tokenizer, text, PLAIN);
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.n_vocab()));
            assert_eq!(String::from_utf8(tokenizer.decode(&ids).unwrap()).unwrap(), text);
        }
    });
}

#[test]
fn text_streams_in_whole_characters() {
    for_each_tokenizer(|tokenizer| {
        for text in TEXTS {
            // The text follows another word, so that no token's leading space is dropped or added.
            let prefix = encode(tokenizer, "x", PLAIN);
            let mut ids = encode(tokenizer, &std::format!("x{text}"), PLAIN);
            if ids.starts_with(&prefix) {
                ids.drain(..prefix.len());
            } else {
                continue;
            }
            let mut decoder = StreamDecoder::new(tokenizer).unwrap();
            let mut streamed = String::new();
            for id in ids {
                if let Some(piece) = decoder.push(tokenizer, id).unwrap() {
                    assert!(!piece.contains(char::REPLACEMENT_CHARACTER), "{text:?} came in halves");
                    streamed.push_str(piece);
                }
            }
            assert_eq!(streamed, text);
        }
    });
}

#[test]
fn the_start_token_is_added_where_the_file_asks_for_it_and_only_then() {
    for_each_tokenizer(|tokenizer| {
        let plain = encode(tokenizer, "Hello there", PLAIN);
        let special = encode(tokenizer, "Hello there", EncodeOptions { add_special: true, ..PLAIN });
        let expected: Vec<u32> = match tokenizer.bos_id() {
            Some(bos) if tokenizer.add_bos() => [bos].into_iter().chain(plain).collect(),
            _ => plain,
        };
        assert_eq!(special, expected);
    });
}

#[test]
fn the_end_of_the_text_ends_a_generation_and_words_do_not() {
    for_each_tokenizer(|tokenizer| {
        let eos = tokenizer.eos_id().expect("both models have an end token");
        assert!(tokenizer.is_end_of_generation(eos));
        for id in encode(tokenizer, "Hello there", PLAIN) {
            assert!(!tokenizer.is_end_of_generation(id));
        }
    });
}

#[test]
fn special_tokens_are_text_unless_asked_for() {
    for_each_tokenizer(|tokenizer| {
        let eos = tokenizer.eos_id().unwrap();
        let text = String::from_utf8(tokenizer.piece(eos).unwrap().to_vec()).unwrap();
        assert!(!encode(tokenizer, &text, PLAIN).contains(&eos));
        assert_eq!(
            encode(tokenizer, &text, EncodeOptions { parse_special: true, ..PLAIN }).last(),
            Some(&eos)
        );
    });
}
