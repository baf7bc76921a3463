//! The vocabulary in place in the file: pieces, their kinds, their scores, and an index from a text to its piece.

use alloc::vec::Vec;

use super::adjacency::Adjacency;
use super::byte_level;
use super::error::{TokenizerError, reserve};
use super::hash::{Table, hash_bytes};
use super::prefixes::Pieces;
use super::rwkv;
use super::unicode::char_at;
use crate::gguf::{Array, Gguf, ValueType};

const TOKENS_KEY: &str = "tokenizer.ggml.tokens";
const SCORES_KEY: &str = "tokenizer.ggml.scores";
const TYPES_KEY: &str = "tokenizer.ggml.token_type";

/// The kind of a token, as numbered by GGUF (`tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Text.
    Normal,
    /// Stands for text that the vocabulary does not cover.
    Unknown,
    /// Steers the model, such as the end of a turn; it has no text of its own.
    Control,
    /// Text that is recognised whole, before everything else.
    UserDefined,
    /// Never produced.
    Unused,
    /// One byte, written `<0xNN>`.
    Byte,
    /// A number that GGUF does not assign.
    Undefined,
}

impl TokenKind {
    /// Whether a token of this kind is shown in a text.
    pub fn has_text(self) -> bool {
        match self {
            Self::Normal | Self::UserDefined | Self::Byte => true,
            Self::Unknown | Self::Control | Self::Unused | Self::Undefined => false,
        }
    }

    fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Undefined,
        }
    }
}

/// How pieces are written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As they are.
    Plain,
    /// As they are, except that spaces are written `▁`.
    Escaped,
    /// With backslashes, as Python writes bytes, see [`rwkv`].
    Backslashes,
    /// In GPT-2's byte alphabet, see [`byte_level`].
    ByteLevel,
}

impl Spelling {
    /// The length of the first symbol to merge, a byte or a character. The text must not be empty.
    #[inline]
    pub(super) fn symbol_len(self, text: &[u8]) -> usize {
        match self {
            Self::ByteLevel => 1,
            Self::Plain | Self::Escaped | Self::Backslashes => char_at(text, 0).map_or(1, |(_, len)| len),
        }
    }
}

/// `▁`, which stands for a space in escaped pieces.
pub(super) const ESCAPED_SPACE: &[u8] = "▁".as_bytes();

/// The tokens of a file.
#[derive(Debug)]
pub(super) struct Vocabulary<'a> {
    /// The file's array of strings.
    encoded: &'a [u8],
    /// Where each piece begins in `encoded`, and one more entry for the end of the last.
    starts: Vec<u32>,
    kinds: Vec<TokenKind>,
    scores: Scores<'a>,
    spelling: Spelling,
    /// Index by the bytes that a piece stands for.
    index: Table<u32>,
    /// Which pairs of adjacent characters, or bytes, occur in any piece.
    adjacent: Adjacency,
    longest_bytes: usize,
}

/// Bytes of the length in front of each string of a GGUF array.
const LENGTH_BYTES: usize = 8;

impl<'a> Vocabulary<'a> {
    pub(super) fn from_gguf(gguf: &Gguf<'a>, spelling: Spelling) -> Result<Self, TokenizerError> {
        let tokens = gguf.require_array(TOKENS_KEY)?;
        let n_vocab = tokens.len();
        if n_vocab == 0 {
            return Err(TokenizerError::NoTokens);
        }
        let mut vocabulary = Self {
            encoded: tokens.encoded(),
            starts: string_starts(tokens, TOKENS_KEY)?,
            kinds: token_kinds(gguf, n_vocab)?,
            scores: Scores::from_gguf(gguf, n_vocab)?,
            spelling,
            index: Table::new(n_vocab, 0)?,
            adjacent: Adjacency::new(n_vocab)?,
            longest_bytes: 0,
        };
        vocabulary.build_index()?;
        Ok(vocabulary)
    }

    fn build_index(&mut self) -> Result<(), TokenizerError> {
        let mut decoded = Vec::new();
        for id in 0..self.starts.len() as u32 - 1 {
            let piece = self.piece(id);
            // A piece with characters outside the byte alphabet is a special token, which is found by other means.
            let Some(text) = self.text_of(piece, &mut decoded)? else {
                continue;
            };
            if text.is_empty() {
                continue;
            }
            let hash = hash_bytes(text);
            // If two tokens have the same text, encoding gives the later one; both decode to the text.
            if let Some(place) = self.index.place_of(hash, |first| self.piece(first) == piece) {
                self.index.replace(place, id);
                continue;
            }
            self.longest_bytes = self.longest_bytes.max(text.len());
            self.add_neighbours(text);
            self.index.insert(hash, id);
        }
        Ok(())
    }

    /// Records that the symbols of a text may be joined.
    pub(super) fn add_neighbours(&mut self, text: &[u8]) {
        let mut at = 0;
        while at < text.len() {
            let end = at + self.spelling.symbol_len(&text[at..]);
            if at > 0 {
                self.adjacent.insert(text[at - 1], &text[at..end]);
            }
            at = end;
        }
    }

    /// Number of tokens.
    pub(super) fn n_vocab(&self) -> usize {
        self.starts.len() - 1
    }

    /// The piece as the file writes it. The id must exist.
    pub(super) fn piece(&self, id: u32) -> &'a [u8] {
        let place = id as usize;
        let start = self.starts[place] as usize;
        let end = self.starts[place + 1] as usize - LENGTH_BYTES;
        &self.encoded[start..end]
    }

    /// All pieces as the file writes them.
    pub(super) fn pieces(&self) -> Pieces<'_> {
        Pieces { bytes: self.encoded, starts: &self.starts, gap: LENGTH_BYTES }
    }

    /// The kind of the token. The id must exist.
    pub(super) fn kind(&self, id: u32) -> TokenKind {
        self.kinds[id as usize]
    }

    pub(super) fn set_kind(&mut self, id: u32, kind: TokenKind) {
        self.kinds[id as usize] = kind;
    }

    /// The token's score; zero in a file without scores.
    pub(super) fn score(&self, id: u32) -> f32 {
        self.scores.get(id)
    }

    /// How the pieces are written.
    pub(super) fn spelling(&self) -> Spelling {
        self.spelling
    }

    /// Whether a token may contain the boundary between these two: the last byte of a symbol and the next symbol.
    #[inline]
    pub(super) fn may_join(&self, left: u8, right: &[u8]) -> bool {
        self.adjacent.contains(left, right)
    }

    /// The longest text that [`Vocabulary::id_of`] can find.
    pub(super) fn longest_bytes(&self) -> usize {
        self.longest_bytes
    }

    /// The token that stands for exactly this text. Spaces are escaped if the spelling says so.
    pub(super) fn id_of(&self, text: &[u8]) -> Option<u32> {
        if text.len() > self.longest_bytes {
            return None;
        }
        self.index.find(hash_bytes(text), |id| match self.spelling {
            Spelling::ByteLevel => byte_level::stands_for(self.piece(id), text),
            Spelling::Plain | Spelling::Escaped | Spelling::Backslashes => self.piece(id) == text,
        })
    }

    /// The text under which a piece is indexed; `None` if it has characters outside the byte alphabet. `decoded` is a
    /// buffer for the text.
    pub(super) fn text_of<'t>(
        &self,
        piece: &'t [u8],
        decoded: &'t mut Vec<u8>,
    ) -> Result<Option<&'t [u8]>, TokenizerError> {
        if self.spelling != Spelling::ByteLevel {
            return Ok(Some(piece));
        }
        decoded.clear();
        Ok(byte_level::decode(piece, decoded)?.then_some(decoded.as_slice()))
    }

    /// The byte that a token of kind [`TokenKind::Byte`] stands for.
    pub(super) fn byte_of(&self, id: u32) -> Option<u8> {
        match self.piece(id) {
            [b'<', b'0', b'x', high, low, b'>'] => {
                let digit = |c: u8| char::from(c).to_digit(16);
                Some((digit(*high)? << 4 | digit(*low)?) as u8)
            }
            _ => None,
        }
    }

    /// The tokens written `<0xNN>`, by byte; `u32::MAX` where there is none.
    pub(super) fn byte_tokens(&self) -> [u32; 256] {
        core::array::from_fn(|byte| {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            let text = [b'<', b'0', b'x', DIGITS[byte >> 4], DIGITS[byte & 15], b'>'];
            self.id_of(&text).unwrap_or(u32::MAX)
        })
    }

    /// Appends the text of a token; nothing for a token without text of its own.
    pub(super) fn append_text(&self, id: u32, out: &mut Vec<u8>) -> Result<(), TokenizerError> {
        let piece = self.piece(id);
        reserve(out, piece.len())?;
        match (self.kind(id), self.spelling) {
            (TokenKind::Control | TokenKind::Unknown, _) => {}
            (_, Spelling::Backslashes) => rwkv::append_unescaped(piece, out)?,
            (TokenKind::Byte, _) => out.extend(self.byte_of(id)),
            (_, Spelling::Plain) | (TokenKind::UserDefined, _) => out.extend_from_slice(piece),
            (TokenKind::Normal, Spelling::Escaped) => append_unescaped(piece, out),
            (TokenKind::Normal, Spelling::ByteLevel) => {
                let before = out.len();
                // A piece with characters outside the byte alphabet stands for itself.
                if !byte_level::decode(piece, out)? {
                    out.truncate(before);
                    out.extend_from_slice(piece);
                }
            }
            (TokenKind::Unused | TokenKind::Undefined, Spelling::Escaped | Spelling::ByteLevel) => {}
        }
        Ok(())
    }
}

/// Appends a piece with spaces for `▁`. The caller must have reserved `piece.len()` bytes.
fn append_unescaped(piece: &[u8], out: &mut Vec<u8>) {
    let mut rest = piece;
    while let Some((&first, after)) = rest.split_first() {
        match rest.strip_prefix(ESCAPED_SPACE) {
            Some(after_space) => {
                out.push(b' ');
                rest = after_space;
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
}

/// Where each string of an array begins, and where one more string after the last would begin.
pub(super) fn string_starts(array: Array<'_>, key: &'static str) -> Result<Vec<u32>, TokenizerError> {
    let strings = array.strings().ok_or(TokenizerError::ElementType { key, expected: "strings" })?;
    let size_bytes = array.encoded().len();
    if u32::try_from(size_bytes + LENGTH_BYTES).is_err() {
        return Err(TokenizerError::TooLarge { key, size_bytes });
    }
    let mut starts = Vec::new();
    reserve(&mut starts, array.len() + 1)?;
    let mut start = LENGTH_BYTES;
    for string in strings {
        starts.push(start as u32);
        start += string.len() + LENGTH_BYTES;
    }
    starts.push(start as u32);
    Ok(starts)
}

fn token_kinds(gguf: &Gguf<'_>, n_vocab: usize) -> Result<Vec<TokenKind>, TokenizerError> {
    let mut kinds = Vec::new();
    reserve(&mut kinds, n_vocab)?;
    match gguf.array_value(TYPES_KEY)? {
        None => kinds.resize(n_vocab, TokenKind::Normal),
        Some(array) => {
            let numbers = array
                .i32s()
                .ok_or(TokenizerError::ElementType { key: TYPES_KEY, expected: "32-bit integers" })?;
            check_len(TYPES_KEY, array.len(), n_vocab)?;
            kinds.extend(numbers.take(n_vocab).map(TokenKind::from_number));
        }
    }
    Ok(kinds)
}

fn check_len(key: &'static str, len: usize, n_vocab: usize) -> Result<(), TokenizerError> {
    if len < n_vocab {
        return Err(TokenizerError::TooShort { key, len, n_vocab });
    }
    Ok(())
}

/// The file's scores, if it has any.
#[derive(Debug, Clone, Copy)]
enum Scores<'a> {
    None,
    F32(&'a [[u8; 4]]),
    I32(&'a [[u8; 4]]),
}

impl<'a> Scores<'a> {
    fn from_gguf(gguf: &Gguf<'a>, n_vocab: usize) -> Result<Self, TokenizerError> {
        let Some(array) = gguf.array_value(SCORES_KEY)? else {
            return Ok(Self::None);
        };
        check_len(SCORES_KEY, array.len(), n_vocab)?;
        let words = &array.encoded().as_chunks::<4>().0;
        let scores = match array.element_type() {
            ValueType::F32 => Self::F32(&words[..n_vocab]),
            ValueType::I32 => Self::I32(&words[..n_vocab]),
            _ => {
                return Err(TokenizerError::ElementType { key: SCORES_KEY, expected: "float32" });
            }
        };
        match (0..n_vocab as u32).find(|&id| scores.get(id).is_nan()) {
            Some(id) => Err(TokenizerError::ScoreNotANumber { id }),
            None => Ok(scores),
        }
    }

    fn get(self, id: u32) -> f32 {
        match self {
            Self::None => 0.0,
            Self::F32(words) => f32::from_le_bytes(words[id as usize]),
            Self::I32(words) => i32::from_le_bytes(words[id as usize]) as f32,
        }
    }
}

/// Appends a text with `▁` for each space.
pub(super) fn append_escaped(text: &[u8], out: &mut Vec<u8>) -> Result<(), TokenizerError> {
    let n_spaces = text.iter().filter(|&&byte| byte == b' ').count();
    reserve(out, text.len().saturating_add(n_spaces.saturating_mul(ESCAPED_SPACE.len() - 1)))?;
    let mut parts = text.split(|&byte| byte == b' ');
    out.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        out.extend_from_slice(ESCAPED_SPACE);
        out.extend_from_slice(part);
    }
    Ok(())
}
