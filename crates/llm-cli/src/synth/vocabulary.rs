//! [`Vocabulary`]: any number of invented tokens, in a form that both kinds of tokenizers accept.
//!
//! The words are all strings of one letter, of two, of three and so on, each also with the mark of a preceding space. Ordinary
//! text is therefore divided into pieces of ordinary length.

use std::collections::HashSet;

/// The tokens of a model file, with what the kind of tokenizer needs in addition.
pub struct Vocabulary {
    /// Value of `tokenizer.ggml.model`.
    pub kind: &'static str,
    /// Value of `tokenizer.ggml.pre`, if this kind has it.
    pub pre: Option<&'static str>,
    /// Spelling of each token.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type` of each token.
    pub token_types: Vec<i32>,
    /// SentencePiece: score of each token.
    pub scores: Option<Vec<f32>>,
    /// Byte-level BPE: pairs to merge, the most frequent first.
    pub merges: Option<Vec<String>>,
    /// Start of a text, if there is such a token.
    pub bos_id: Option<u32>,
    /// End of a text.
    pub eos_id: u32,
    /// Unknown text, if there is such a token.
    pub unknown_id: Option<u32>,
}

/// Numbers of `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// How SentencePiece spells a space.
const SENTENCEPIECE_SPACE: char = '\u{2581}';
/// How byte-level BPE spells a space.
const BPE_SPACE: char = '\u{120}';

impl Vocabulary {
    /// A vocabulary of the SentencePiece kind: three special tokens, 256 bytes, characters, words.
    pub fn sentencepiece(n_vocab: usize) -> Self {
        let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
        let mut token_types = vec![UNKNOWN, CONTROL, CONTROL];
        tokens.extend((0..=255).map(|byte: u8| format!("<0x{byte:02X}>")));
        token_types.resize(tokens.len(), BYTE);
        let characters = std::iter::once(SENTENCEPIECE_SPACE)
            .chain(('!'..='~').filter(|c| !c.is_ascii_lowercase()))
            .map(String::from);
        let words = Words::new(SENTENCEPIECE_SPACE).map(|word| word.spelling);
        tokens.extend(characters.chain(words).take(n_vocab - tokens.len()));
        token_types.resize(tokens.len(), NORMAL);
        Self {
            kind: "llama",
            pre: None,
            scores: Some((0..tokens.len()).map(|rank| -(rank as f32)).collect()),
            tokens,
            token_types,
            merges: None,
            bos_id: Some(1),
            eos_id: 2,
            unknown_id: Some(0),
        }
    }

    /// A vocabulary of the byte-level BPE kind: 256 bytes, merged words, the end-of-text token.
    pub fn byte_level_bpe(n_vocab: usize, pre: &'static str) -> Self {
        let mut tokens: Vec<String> = (0..=255).map(|byte| spell_byte(byte).into()).collect();
        let known: HashSet<String> = tokens.iter().cloned().collect();
        let n_words = n_vocab - tokens.len() - 1;
        let words = Words::new(BPE_SPACE).filter(|word| !known.contains(&word.spelling));
        let (words, merges): (Vec<String>, Vec<String>) =
            words.map(|word| (word.spelling, word.merge)).take(n_words).unzip();
        tokens.extend(words);
        let mut token_types = vec![NORMAL; tokens.len()];
        let eos_id = tokens.len() as u32;
        tokens.push(String::from("<|endoftext|>"));
        token_types.push(CONTROL);
        Self {
            kind: "gpt2",
            pre: Some(pre),
            tokens,
            token_types,
            scores: None,
            merges: Some(merges),
            bos_id: None,
            eos_id,
            unknown_id: None,
        }
    }
}

/// The printable character by which byte-level BPE spells a byte (GPT-2's `bytes_to_unicode`): bytes
/// that are printable in Latin-1 stand for themselves, the others for characters from U+0100 on.
fn spell_byte(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    if is_printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&other| !is_printable(other)).count() as u32;
    char::from_u32(0x100 + rank).expect("at most 68 characters beyond U+0100")
}

/// All strings of the letters a to z, shorter ones first. For each length, those without the mark of a space come before those
/// with it.
struct Words {
    space: char,
    len: u32,
    with_space: bool,
    /// The letters as a number in base 26.
    index: u32,
}

struct Word {
    spelling: String,
    /// The two earlier tokens that it consists of, separated by a space.
    merge: String,
}

impl Words {
    fn new(space: char) -> Self {
        Self { space, len: 1, with_space: false, index: 0 }
    }
}

impl Iterator for Words {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        if self.index == 26u32.pow(self.len) {
            self.index = 0;
            self.len += u32::from(self.with_space);
            self.with_space = !self.with_space;
        }
        let mut spelling: String = self.with_space.then_some(self.space).into_iter().collect();
        for place in (0..self.len).rev() {
            let letter = self.index / 26u32.pow(place) % 26;
            spelling.push(char::from(b'a' + letter as u8));
        }
        self.index += 1;
        let (last, _) = spelling.char_indices().next_back()?;
        let merge = format!("{} {}", &spelling[..last], &spelling[last..]);
        Some(Word { spelling, merge })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vocabularies_have_the_right_size_and_no_token_twice() {
        for n_vocab in [512, 2048, 32000] {
            for vocabulary in
                [Vocabulary::sentencepiece(n_vocab), Vocabulary::byte_level_bpe(n_vocab, "gpt-2")]
            {
                assert_eq!(vocabulary.tokens.len(), n_vocab);
                assert_eq!(vocabulary.token_types.len(), n_vocab);
                let distinct: HashSet<_> = vocabulary.tokens.iter().collect();
                assert_eq!(distinct.len(), n_vocab);
            }
        }
    }

    #[test]
    fn every_merge_joins_two_earlier_tokens_into_its_own() {
        let vocabulary = Vocabulary::byte_level_bpe(50257, "gpt-2");
        let merges = vocabulary.merges.unwrap();
        assert_eq!(merges.len(), 50000);
        let mut known: HashSet<&str> = vocabulary.tokens[..256].iter().map(String::as_str).collect();
        for (merge, token) in merges.iter().zip(&vocabulary.tokens[256..]) {
            let (left, right) = merge.split_once(' ').unwrap();
            assert!(known.contains(left) && known.contains(right), "{merge}");
            assert_eq!(format!("{left}{right}"), *token);
            known.insert(token);
        }
    }

    #[test]
    fn bytes_are_spelt_as_gpt2_spells_them() {
        assert_eq!(spell_byte(b'a'), 'a');
        assert_eq!(spell_byte(b' '), BPE_SPACE);
        assert_eq!(spell_byte(b'\n'), '\u{10a}');
        assert_eq!(spell_byte(0xad), '\u{143}');
        assert_eq!(spell_byte(0xff), '\u{ff}');
    }
}
