//! Pre-tokenizers: how a family cuts a text into words before byte-pair encoding.
//!
//! Each family publishes its rule as one or more regular expressions. They are applied one after the other, each to the
//! words that the previous one produced: every match is a word, and so is everything between two matches. Here an
//! expression is a [`Pattern`], matched by hand-written code in linear time, and a family is a row of
//! [`table::PRE_TOKENIZERS`].
//!
//! If llama.cpp's expressions differ from the published ones (for example, it does not distinguish upper and lower case
//! beyond ASCII), llama.cpp's are followed, because it is the reference for the ids of a file.

mod pattern;
mod table;
mod words;

use pattern::Pattern;

use super::error::TokenizerError;
use super::vocabulary::Spelling;
use crate::gguf::Name;

/// A family's way to cut text.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// Its names in `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    /// The expressions, in the order in which they are applied.
    patterns: &'static [Pattern],
    /// Whether a word that is a token is used as a whole, without applying merges.
    pub(super) ignore_merges: bool,
    /// Whether a BOS token is added if the file does not say.
    pub(super) add_bos: bool,
    /// Whether a file may have no merges; then only single bytes and whole words are tokens.
    pub(super) optional_merges: bool,
    /// The byte sequences that BPE starts from.
    pub(super) alphabet: Alphabet,
}

/// The smallest pieces of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Bytes, in GPT-2's spelling.
    Bytes,
    /// Characters as they are; `<0xNN>` for the bytes of characters without a token.
    PlainChars,
    /// Characters with `▁` for a space; `<0xNN>` for the bytes of characters without a token.
    Chars,
    /// Like [`Alphabet::Chars`], but a word of newlines that is a token is used as a whole.
    CharsWholeNewlines,
}

impl Alphabet {
    /// How tokens of this alphabet are written.
    pub(super) fn spelling(self) -> Spelling {
        match self {
            Self::Bytes => Spelling::ByteLevel,
            Self::PlainChars => Spelling::Plain,
            Self::Chars | Self::CharsWholeNewlines => Spelling::Escaped,
        }
    }
}

impl PreTokenizer {
    /// The pre-tokenizer with this name; a file without a name gets llama.cpp's default.
    pub(super) fn by_name(name: Option<&str>) -> Result<&'static Self, TokenizerError> {
        let name = name.filter(|name| !name.is_empty()).unwrap_or("default");
        table::PRE_TOKENIZERS
            .iter()
            .find(|pre| pre.names.contains(&name))
            .ok_or(TokenizerError::UnsupportedPreTokenizer { name: Name::from(name) })
    }

    /// Cuts a text into words and passes each to `word`, in order and without gaps.
    pub(super) fn split<'t>(
        &self,
        text: &'t [u8],
        word: &mut dyn FnMut(&'t [u8]) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        split_by(self.patterns, text, word)
    }
}

/// Applies patterns one after the other. The recursion is as deep as the number of patterns of a family, six at most.
fn split_by<'t>(
    patterns: &[Pattern],
    text: &'t [u8],
    word: &mut dyn FnMut(&'t [u8]) -> Result<(), TokenizerError>,
) -> Result<(), TokenizerError> {
    match patterns {
        [] => word(text),
        [last] => last.split(text, word),
        [first, rest @ ..] => first.split(text, &mut |part| split_by(rest, part, word)),
    }
}
