//! Byte-pair encoding: a [`PreTokenizer`] cuts the text into words; the file's merges join the bytes or characters of
//! each word, the earliest merge in the list first.

use alloc::vec::Vec;

use super::error::{TokenizerError, push, reserve};
use super::hash::{Table, hash_pair};
use super::merge::{Joint, Merger, NO_TOKEN};
use super::outside::Outside;
use super::pre_tokenizer::{Alphabet, PreTokenizer};
use super::unicode::{char_at, lower};
use super::vocabulary::{Spelling, Vocabulary, append_escaped};
use crate::gguf::Gguf;

pub(super) const MERGES_KEY: &str = "tokenizer.ggml.merges";

/// A byte-pair encoder.
#[derive(Debug)]
pub(super) struct Bpe {
    pre_tokenizer: &'static PreTokenizer,
    merges: Merges,
    /// The token of each byte. Merging begins with these, or a character without a token becomes these.
    byte_tokens: [u32; 256],
    dropped_space: Option<DroppedSpace>,
}

/// Set if white space only separates words and is not encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct DroppedSpace {
    /// Whether upper case is converted to lower case.
    pub(super) lowercase: bool,
}

impl Bpe {
    pub(super) fn from_gguf(
        gguf: &Gguf<'_>,
        vocabulary: &mut Vocabulary<'_>,
        pre_tokenizer: &'static PreTokenizer,
        dropped_space: Option<DroppedSpace>,
    ) -> Result<Self, TokenizerError> {
        let merges = Merges::from_gguf(gguf, vocabulary, pre_tokenizer.optional_merges)?;
        Ok(Self {
            pre_tokenizer,
            byte_tokens: match vocabulary.spelling() {
                Spelling::ByteLevel => core::array::from_fn(|byte| merges.id_of(vocabulary, &[byte as u8])),
                Spelling::Plain | Spelling::Escaped | Spelling::Backslashes => vocabulary.byte_tokens(),
            },
            merges,
            dropped_space,
        })
    }

    /// Appends the ids of a text without special tokens.
    ///
    /// As in the reference, a byte without a token is omitted.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary<'_>,
        text: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let Some(DroppedSpace { lowercase }) = self.dropped_space else {
            return self.encode_stretch(vocabulary, text, out);
        };
        let mut stretch = Vec::new();
        let mut at = 0;
        while let Some((c, len)) = char_at(text, at) {
            let bytes = &text[at..at + len];
            at += len;
            if c.is_whitespace() {
                self.encode_stretch(vocabulary, &stretch, out)?;
                stretch.clear();
                continue;
            }
            let mut utf8 = [0; 4];
            let lower = if lowercase { lower(c) } else { c };
            // Bytes that are not a valid character stay as they are.
            let bytes = if lower == c { bytes } else { lower.encode_utf8(&mut utf8).as_bytes() };
            reserve(&mut stretch, bytes.len())?;
            stretch.extend_from_slice(bytes);
        }
        self.encode_stretch(vocabulary, &stretch, out)
    }

    fn encode_stretch(
        &self,
        vocabulary: &Vocabulary<'_>,
        text: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut merger = Merger::default();
        match self.pre_tokenizer.alphabet {
            Alphabet::Bytes => self
                .pre_tokenizer
                .split(text, &mut |word| self.encode_bytes(vocabulary, word, &mut merger, out)),
            Alphabet::PlainChars => self
                .pre_tokenizer
                .split(text, &mut |word| self.encode_chars(vocabulary, word, &mut merger, out)),
            Alphabet::Chars | Alphabet::CharsWholeNewlines => {
                let mut escaped = Vec::new();
                append_escaped(text, &mut escaped)?;
                self.pre_tokenizer
                    .split(&escaped, &mut |word| self.encode_chars(vocabulary, word, &mut merger, out))
            }
        }
    }

    fn encode_bytes(
        &self,
        vocabulary: &Vocabulary<'_>,
        word: &[u8],
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let begins_apart =
            |at: usize| !word.get(at..=at).is_some_and(|next| vocabulary.may_join(word[at - 1], next));
        if self.pre_tokenizer.ignore_merges
            && word.len() > 1
            && !begins_apart(1)
            && let Some(id) = vocabulary.id_of(word)
        {
            return push(out, id);
        }
        let mut start = 0;
        while start < word.len() {
            if begins_apart(start + 1) {
                let id = self.byte_tokens[usize::from(word[start])];
                if (id as usize) < vocabulary.n_vocab() {
                    push(out, id)?;
                }
                start += 1;
                continue;
            }
            let part =
                merger.fill(vocabulary, &word[start..], |symbol| self.byte_tokens[usize::from(symbol[0])])?;
            self.merge(part.len(), merger)?;
            for (symbol, end) in merger.symbols(part.len()) {
                if (symbol.id as usize) < vocabulary.n_vocab() {
                    push(out, symbol.id)?;
                    continue;
                }
                // The reference searches for the bytes of GPT-2's spelling; only the ASCII ones among them are tokens.
                for &byte in part[symbol.start as usize..end].iter().filter(|byte| byte.is_ascii_graphic()) {
                    let id = self.byte_tokens[usize::from(byte)];
                    if (id as usize) < vocabulary.n_vocab() {
                        push(out, id)?;
                    }
                }
            }
            start += part.len();
        }
        Ok(())
    }

    fn encode_chars(
        &self,
        vocabulary: &Vocabulary<'_>,
        word: &[u8],
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let whole = self.pre_tokenizer.ignore_merges
            || self.pre_tokenizer.alphabet == Alphabet::CharsWholeNewlines && word.first() == Some(&b'\n');
        if whole && let Some(id) = vocabulary.id_of(word) {
            return push(out, id);
        }
        let mut start = 0;
        while start < word.len() {
            let part =
                merger.fill(vocabulary, &word[start..], |symbol| self.merges.id_of(vocabulary, symbol))?;
            self.merge(part.len(), merger)?;
            for (symbol, end) in merger.symbols(part.len()) {
                if (symbol.id as usize) < vocabulary.n_vocab() {
                    push(out, symbol.id)?;
                    continue;
                }
                for &byte in &part[symbol.start as usize..end] {
                    let id = self.byte_tokens[usize::from(byte)];
                    if id != NO_TOKEN {
                        push(out, id)?;
                    }
                }
            }
            start += part.len();
        }
        Ok(())
    }

    fn merge(&self, len: usize, merger: &mut Merger) -> Result<(), TokenizerError> {
        merger.merge(len, |left, right, _| self.merges.find(left.id, right.id))
    }
}

/// The merges of a file, by the pair of tokens that they join.
#[derive(Debug)]
struct Merges {
    table: Table<Merge>,
    /// Texts in merges that are not tokens, if there are any.
    outside: Option<Outside>,
}

#[derive(Debug, Clone, Copy)]
struct Merge {
    left: u32,
    right: u32,
    joint: Joint,
}

impl Merges {
    fn from_gguf(
        gguf: &Gguf<'_>,
        vocabulary: &mut Vocabulary<'_>,
        optional: bool,
    ) -> Result<Self, TokenizerError> {
        if optional && gguf.get(MERGES_KEY).is_none() {
            return Ok(Self { table: Table::new(0, Merge::FREE)?, outside: None });
        }
        let array = gguf.require_array(MERGES_KEY)?;
        let strings =
            array.strings().ok_or(TokenizerError::ElementType { key: MERGES_KEY, expected: "strings" })?;
        if u32::try_from(array.len()).is_err() {
            return Err(TokenizerError::TooLarge { key: MERGES_KEY, size_bytes: array.encoded().len() });
        }
        let mut merges = Self { table: Table::new(array.len(), Merge::FREE)?, outside: None };

        let mut last_id = 0u32;
        let mut joined = Vec::new();
        let mut decoded = Vec::new();
        let mut outside = None;
        let mut id_of = |vocabulary: &mut Vocabulary<'_>, piece: &[u8]| {
            // A piece outside the byte alphabet stands for no text.
            let Some(text) = vocabulary.text_of(piece, &mut decoded)? else { return Ok(None) };
            if let Some(id) = vocabulary.id_of(text) {
                return Ok(Some(id));
            }
            let n_vocab = vocabulary.n_vocab();
            vocabulary.add_neighbours(text);
            let outside = match &mut outside {
                Some(outside) => outside,
                none => none.insert(Outside::new(n_vocab)?),
            };
            outside.id_or_new(text).map(Some)
        };
        for (index, merge) in strings.enumerate() {
            // A part may begin with a space. A merge without two parts is ignored.
            let split = merge.iter().skip(1).position(|&byte| byte == b' ').map(|place| place + 1);
            let Some(split) = split.filter(|&split| split + 1 < merge.len()) else { continue };
            let (left, right) = (&merge[..split], &merge[split + 1..]);
            joined.clear();
            reserve(&mut joined, merge.len())?;
            joined.extend_from_slice(left);
            joined.extend_from_slice(right);
            // Guess: most lists are in the order of the resulting ids, with one or several merges for each.
            let guess = [last_id, last_id.saturating_add(1)]
                .into_iter()
                .find(|&id| (id as usize) < vocabulary.n_vocab() && vocabulary.piece(id) == joined);
            let id = match guess {
                Some(id) => Some(id),
                None => id_of(vocabulary, &joined)?,
            };
            let (Some(id), Some(left), Some(right)) =
                (id, id_of(vocabulary, left)?, id_of(vocabulary, right)?)
            else {
                continue;
            };
            last_id = id;
            let merge = Merge { left, right, joint: Joint { priority: index as u32, id } };
            // If there are two merges of the same pair, the first counts.
            if merges.find(merge.left, merge.right).is_none() {
                merges.table.insert(hash_pair(merge.left, merge.right), merge);
            }
        }
        merges.outside = outside;
        Ok(merges)
    }

    /// The number of a text: the id of its token, or a number beyond the ids; [`NO_TOKEN`] if it occurs in no merge
    /// either.
    fn id_of(&self, vocabulary: &Vocabulary<'_>, text: &[u8]) -> u32 {
        let beyond = || self.outside.as_ref()?.id_of(text);
        vocabulary.id_of(text).or_else(beyond).unwrap_or(NO_TOKEN)
    }

    /// The result of joining two tokens.
    #[inline]
    fn find(&self, left: u32, right: u32) -> Option<Joint> {
        let is_key = |merge: Merge| (merge.left, merge.right) == (left, right);
        self.table.find(hash_pair(left, right), is_key).map(|merge| merge.joint)
    }
}

impl Merge {
    const FREE: Self =
        Self { left: NO_TOKEN, right: NO_TOKEN, joint: Joint { priority: u32::MAX, id: NO_TOKEN } };
}
