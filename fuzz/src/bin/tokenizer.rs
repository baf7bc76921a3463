//! Any vocabulary that can be read, and any text: encoding ends, and decoding gives the text back.
//!
//! The input's first bytes choose the kind, the pre-tokenizer and the tokens; the rest is the text. Of the kinds that
//! normalise a text only that they end is asked; their map of characters is the input itself.
#![no_main]

use core::convert::Infallible;
use std::collections::HashSet;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llm::gguf::{Gguf, GgufWriter};
use llm::tokenizer::{EncodeOptions, StreamDecoder, Tokenizer};

const PRE_TOKENIZERS: [&str; 31] = [
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
    "bloom",
    "viking",
    "gemma4",
    "sarvam-moe",
    "spark2_5",
    "youtu",
    "tiny_aya",
    "exaone-moe",
    "afmoe",
    "superbpe",
    "chameleon",
];

const NORMAL: i32 = 1;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// A vocabulary on its way to a file.
#[derive(Clone, Default)]
struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
    known: HashSet<String>,
}

/// Tokens of all bytes, as the kinds write them: they are made once, which took most of an input's time.
static BYTES: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::of_bytes(BYTE, |byte| format!("<0x{byte:02X}>")));
static ESCAPED_BYTES: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::of_bytes(NORMAL, |byte| format!("\\x{byte:02x}")));
static BYTE_CHARS: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::of_bytes(NORMAL, |byte| byte_char(byte).to_string()));

impl Vocabulary {
    fn of_bytes(kind: i32, name: impl Fn(u8) -> String) -> Self {
        let mut vocabulary = Self::default();
        (0..=255).for_each(|byte| vocabulary.push(name(byte), kind));
        vocabulary
    }

    fn push(&mut self, token: String, kind: i32) {
        if !token.is_empty() && self.known.insert(token.clone()) {
            self.tokens.push(token);
            self.types.push(kind);
        }
    }

    /// Joins two tokens.
    fn join(&mut self, left: u8, right: u8) {
        let last = self.tokens.len() - 1;
        // The latest tokens are the ones worth joining.
        let token = |choice: u8| self.tokens[last - usize::from(choice).min(last)].clone();
        let (left, right) = (token(left), token(right));
        if left.len() + right.len() < 64 {
            self.merges.push(format!("{left} {right}"));
            self.push(left + &right, NORMAL);
        }
    }

    fn file(&self, model: &str, pre: &str, scores: &[f32], map: Option<&[u8]>) -> Vec<u8> {
        let mut writer = GgufWriter::new();
        writer.put_str("tokenizer.ggml.model", model).unwrap();
        writer.put_str("tokenizer.ggml.pre", pre).unwrap();
        writer.put_strings("tokenizer.ggml.tokens", self.tokens.iter()).unwrap();
        writer.put_strings("tokenizer.ggml.merges", self.merges.iter()).unwrap();
        writer.put_i32s("tokenizer.ggml.token_type", &self.types).unwrap();
        writer.put_f32s("tokenizer.ggml.scores", scores).unwrap();
        if let Some(map) = map {
            let mut bytes = Vec::from((map.len() as u32 / 8 * 4).to_le_bytes());
            bytes.extend(map);
            writer.put_bytes("tokenizer.ggml.precompiled_charsmap", &bytes).unwrap();
            writer.put_bool("tokenizer.ggml.remove_extra_whitespaces", map.len() % 2 == 1).unwrap();
            writer.put_bool("tokenizer.ggml.add_space_prefix", map.len() % 3 == 1).unwrap();
        }
        let mut file = Vec::new();
        let tensors = writer.write_header::<Infallible, _>(|bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok(())
        });
        tensors.unwrap().finish::<Infallible>().unwrap();
        file
    }
}

fuzz_target!(|input: &[u8]| {
    let [kind, n_joins, input @ ..] = input else { return };
    let (joins, text) = input.split_at(input.len().min(3 * usize::from(n_joins % 64)));
    let pre = PRE_TOKENIZERS[usize::from(*kind) % PRE_TOKENIZERS.len()];
    let model = match kind {
        0..192 => "gpt2",
        192..208 => "llama",
        208..224 => "rwkv",
        224..240 => "plamo2",
        240.. => "t5",
    };
    let escaped =
        matches!(model, "llama" | "t5") || model == "gpt2" && matches!(pre, "gemma4" | "sarvam-moe");
    // `▁` stands for a space, so that one in the text comes back as a space.
    let text =
        if escaped { String::from_utf8_lossy(text).replace('▁', "_").into_bytes() } else { text.to_vec() };
    let of_bytes = match model {
        "rwkv" => &ESCAPED_BYTES,
        "plamo2" => &BYTES,
        _ if escaped => &BYTES,
        _ => &BYTE_CHARS,
    };
    let mut vocabulary = Vocabulary::clone(of_bytes);
    if model == "plamo2" {
        text.utf8_chunks().flat_map(|chunk| chunk.valid().chars()).take(40).for_each(|c| {
            vocabulary.push(c.to_string(), NORMAL);
        });
    } else if escaped {
        vocabulary.push("▁".into(), NORMAL);
        for c in core::str::from_utf8(&text).unwrap_or_default().chars().take(40) {
            vocabulary.push(c.to_string().replace(' ', "▁"), NORMAL);
        }
    }
    for join in joins.chunks_exact(3) {
        match join {
            [250..=255, left, right] if !escaped => vocabulary
                .push(format!("<{}{}>", char::from(left % 128), char::from(right % 128)), USER_DEFINED),
            [_, left, right] => vocabulary.join(*left, *right),
            _ => unreachable!(),
        }
    }
    let scores: Vec<f32> =
        (0..vocabulary.tokens.len()).map(|id| -f32::from(*joins.get(id % 97).unwrap_or(&0))).collect();
    let file = vocabulary.file(model, pre, &scores, (model == "t5").then_some(joins));
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = match Tokenizer::from_gguf(&gguf) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    // What is dropped, or replaced, does not come back: of PLaMo 2 a byte order mark, also behind a special token.
    let is_lossy =
        model == "t5" || model == "plamo2" && text.windows(3).any(|bytes| bytes == "\u{feff}".as_bytes());
    check(&tokenizer, &text, is_lossy);
});

fn check(tokenizer: &Tokenizer<'_>, text: &[u8], is_lossy: bool) {
    let mut ids = Vec::new();
    let special = EncodeOptions { add_special: false, parse_special: true };
    let parsed = tokenizer.encode_bytes(text, special, &mut ids);
    ids.clear();
    let encoded = tokenizer.encode_bytes(text, EncodeOptions::default(), &mut ids);
    let decoded = tokenizer.decode(&ids).unwrap();
    if !is_lossy {
        parsed.and(encoded).unwrap();
        assert_eq!(decoded, text);
    }

    let mut decoder = StreamDecoder::new(tokenizer).unwrap();
    let (mut bytes, mut shown) = (Vec::new(), String::new());
    for id in ids {
        tokenizer.token_bytes(id, &mut bytes).unwrap();
        shown.extend(decoder.push(tokenizer, id).unwrap());
    }
    shown.extend(decoder.finish());
    assert_eq!(shown, String::from_utf8_lossy(&bytes));
}

/// GPT-2's character for a byte.
fn byte_char(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let place = (0..byte).filter(|&other| !printable(other)).count();
    char::from_u32(0x100 + place as u32).unwrap()
}
