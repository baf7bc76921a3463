//! Pre-tokenizers: how a family cuts a text into words before byte-pair encoding.
//!
//! Each family publishes its rule as one or more regular expressions, applied one after the other to
//! what the previous one left whole: every match is a word, and so is everything between two
//! matches. Here an expression is a [`Pattern`], matched by hand-written code in linear time, and a
//! family is a row of [`table::PRE_TOKENIZERS`].
//!
//! Where llama.cpp's expressions differ from the published ones (it has no upper and lower case
//! beyond ASCII, for one), llama.cpp's are followed: it is the reference for what a file's ids are.

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
    /// The names under which `tokenizer.ggml.pre` asks for it.
    names: &'static [&'static str],
    /// The expressions, in the order in which they are applied.
    patterns: &'static [Pattern],
    /// Whether a word that is a token is taken whole, without looking at the merges.
    pub(super) ignore_merges: bool,
    /// Whether a BOS token is added when the file does not say.
    pub(super) add_bos: bool,
    /// Whether a file may come without merges, so that only single bytes and whole words are found.
    pub(super) optional_merges: bool,
    /// Which byte sequences BPE begins with.
    pub(super) alphabet: Alphabet,
}

/// What the smallest pieces of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Bytes, in GPT-2's spelling.
    Bytes,
    /// Characters as they are; `<0xNN>` for the bytes of those that are no token.
    PlainChars,
    /// Characters with `▁` for a space; `<0xNN>` for the bytes of those that are no token.
    Chars,
    /// As [`Alphabet::Chars`], and a word of newlines that is a token is taken whole.
    CharsWholeNewlines,
}

impl Alphabet {
    /// How tokens of these are written.
    pub(super) fn spelling(self) -> Spelling {
        match self {
            Self::Bytes => Spelling::ByteLevel,
            Self::PlainChars => Spelling::Plain,
            Self::Chars | Self::CharsWholeNewlines => Spelling::Escaped,
        }
    }
}

impl PreTokenizer {
    /// The pre-tokenizer of a name; a file without one gets llama.cpp's default.
    pub(super) fn by_name(name: Option<&str>) -> Result<&'static Self, TokenizerError> {
        let name = name.filter(|name| !name.is_empty()).unwrap_or("default");
        table::PRE_TOKENIZERS
            .iter()
            .find(|pre| pre.names.contains(&name))
            .ok_or(TokenizerError::UnsupportedPreTokenizer { name: Name::from(name) })
    }

    /// Cuts a text into words and hands each to `word`, in order and without gaps.
    pub(super) fn split<'t>(
        &self,
        text: &'t [u8],
        word: &mut dyn FnMut(&'t [u8]) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        split_by(self.patterns, text, word)
    }
}

/// Applies patterns one after the other. Depth: the number of patterns of a family, six at most.
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
