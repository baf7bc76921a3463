//! Stop strings in a generation: texts, names of tokens without text, and both together.

use std::path::Path;

use llm::gguf::Gguf;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::ModelBytes;
use llm::sampling::{Sampler, SamplingConfig};
use llm::session::{FinishReason, Session, SessionOptions, Step};
use llm::simd::Kernels;
use llm::tokenizer::{EncodeOptions, TokenKind, Tokenizer};

const PROMPT: &str = "Once upon a time";
const N_TOKENS: usize = 16;

/// The small model with some tokens of another kind, by GGUF's number.
fn file(kinds: &[(u32, i32)]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_models/micro.gguf");
    let mut file = std::fs::read(path).unwrap();
    let key = b"tokenizer.ggml.token_type";
    let at = file.windows(key.len()).position(|window| window == key).expect("the file has kinds");
    // Behind the key: its type, the type of the elements, and how many there are.
    let first = at + key.len() + 4 + 4 + 8;
    for &(id, kind) in kinds {
        file[first + 4 * id as usize..][..4].copy_from_slice(&kind.to_le_bytes());
    }
    file
}

/// The result of a greedy generation: its tokens, its text, why it ended, and each token's piece.
struct Outcome {
    ids: Vec<u32>,
    text: String,
    reason: FinishReason,
    pieces: Vec<String>,
}

fn generate(file: &[u8], prompt: Option<&[u32]>, stop: &[&str]) -> (Outcome, Vec<u32>) {
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let options = SessionOptions::generate(128);
    let mut memory = vec![0; Session::required_bytes(model.config(), &options).unwrap() + 64];
    let mut session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    let mut ids = Vec::new();
    let encode_options = EncodeOptions { add_special: true, parse_special: false };
    tokenizer.encode(PROMPT, encode_options, &mut ids).unwrap();
    let prompt = prompt.map_or(ids, <[u32]>::to_vec);
    let mut sampler = Sampler::new(SamplingConfig::greedy(), tokenizer.n_vocab()).unwrap();
    let mut generation = session.generate(&tokenizer, &mut sampler, &prompt, N_TOKENS, stop).unwrap();
    let (mut ids, mut text) = (Vec::new(), String::new());
    let reason = loop {
        match generation.step().unwrap() {
            Step::Token { id, text: piece } => {
                ids.push(id);
                text += piece;
            }
            Step::Finished { reason, text: piece } => {
                text += piece;
                break reason;
            }
        }
    };
    let piece = |&id: &u32| String::from_utf8(tokenizer.piece(id).unwrap().to_vec()).unwrap();
    let pieces = ids.iter().map(piece).collect();
    (Outcome { ids, text, reason, pieces }, prompt)
}

#[test]
fn a_token_without_text_ends_the_generation_by_its_name() {
    let (plain, prompt) = generate(&file(&[]), None, &[]);
    assert!(plain.ids.len() > 8);
    // A token that has not come before, in the middle.
    let place =
        (3..plain.ids.len() - 3).find(|&place| !plain.ids[..place].contains(&plain.ids[place])).unwrap();
    let (id, name) = (plain.ids[place], plain.pieces[place].as_str());
    for kind in [TokenKind::Control, TokenKind::Unknown, TokenKind::Unused] {
        let number = match kind {
            TokenKind::Unknown => 2,
            TokenKind::Control => 3,
            _ => 5,
        };
        let file = file(&[(id, number)]);
        let run = |stop: &[&str]| generate(&file, Some(&prompt), stop).0;
        let shown = run(&[]);
        assert_eq!((&shown.ids, shown.reason), (&plain.ids, plain.reason), "{kind:?}");
        assert_ne!(shown.text, plain.text, "{kind:?} has no text");

        // Among others; in whichever place.
        for stop in [&[name][..], &["\u{1}", name], &[name, "", "\u{1}"]] {
            let stopped = run(stop);
            assert_eq!(stopped.reason, FinishReason::StopString, "{kind:?} {stop:?}");
            assert_eq!(stopped.ids, plain.ids[..place], "{kind:?} {stop:?}");
            assert!(shown.text.starts_with(&stopped.text) && !stopped.text.is_empty(), "{kind:?}");
        }

        // With the text behind it, up to the next token.
        let before = run(&[name]).text;
        let behind = &shown.text[before.len()..];
        let behind = &behind[..behind.char_indices().nth(2).unwrap().0];
        let longer = format!("{name}{behind}");
        let stopped = run(&[&longer]);
        assert_eq!(stopped.reason, FinishReason::StopString, "{longer:?}");
        assert_eq!(stopped.text, before, "{longer:?}");
        assert_eq!(run(&[&format!("{name}{name}")]).text, shown.text);

        // A part of its name is not in the text.
        if let Some((at, _)) = name.char_indices().nth(1) {
            let part = &name[at..];
            let reason = run(&[part]).reason;
            assert_eq!(reason == FinishReason::StopString, shown.text.contains(part), "{part:?}");
        }
    }

    // What has a text is found as text, the user's own tokens included.
    let file = file(&[(id, 4)]);
    let stopped = generate(&file, Some(&prompt), &[name]).0;
    assert_eq!((stopped.reason, stopped.ids), (FinishReason::StopString, plain.ids[..place].to_vec()));
}
