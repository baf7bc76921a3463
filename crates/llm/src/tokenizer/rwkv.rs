//! RWKV's tokenizer: from the beginning of the text to its end, it always takes the longest token.
//!
//! Source: llama.cpp's `rwkv` tokenizer. Tokens are arbitrary bytes. The file writes them as Python does: `\n`, `\t`,
//! `\r`, `\xNN`, and a backslash before any other character stands for the character.

use alloc::vec::Vec;

use super::error::{TokenizerError, push, reserve};
use super::prefixes::{Pieces, Prefixes};
use super::vocabulary::Vocabulary;

/// An encoder for RWKV's vocabularies.
#[derive(Debug)]
pub(super) struct Rwkv {
    /// The bytes that the tokens stand for.
    bytes: Vec<u8>,
    /// Where each token begins, and where the last one ends.
    starts: Vec<u32>,
    tokens: Prefixes,
}

impl Rwkv {
    pub(super) fn new(vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        let n_vocab = vocabulary.n_vocab() as u32;
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        reserve(&mut starts, n_vocab as usize + 1)?;
        starts.push(0);
        for id in 0..n_vocab {
            append_unescaped(vocabulary.piece(id), &mut bytes)?;
            // Fits 32 bits: the bytes are no longer than the file's array, which has 32-bit indices.
            starts.push(bytes.len() as u32);
        }
        let pieces = Pieces { bytes: &bytes, starts: &starts, gap: 0 };
        Ok(Self { tokens: Prefixes::of_those(pieces, &|_| true)?, bytes, starts })
    }

    /// Appends the ids of a text without special tokens. `unknown` stands for a byte without a token.
    pub(super) fn encode(
        &self,
        unknown: Option<u32>,
        text: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let pieces = Pieces { bytes: &self.bytes, starts: &self.starts, gap: 0 };
        let mut rest = text;
        while let Some(&byte) = rest.first() {
            let (len, id) = match self.tokens.longest(pieces, rest) {
                Some(found) => found,
                None => (1, unknown.ok_or(TokenizerError::UnknownByte { byte })?),
            };
            push(out, id)?;
            rest = &rest[len..];
        }
        Ok(())
    }
}

/// Appends the bytes that a piece stands for, which are no more than its own bytes. A truncated escape at the end
/// stands for nothing.
pub(super) fn append_unescaped(piece: &[u8], out: &mut Vec<u8>) -> Result<(), TokenizerError> {
    reserve(out, piece.len())?;
    let mut rest = piece;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let byte = match (first, behind) {
            (b'\\', []) => break,
            (b'\\', [b'x', high, low, behind @ ..]) => {
                rest = behind;
                digit(*high) << 4 | digit(*low)
            }
            (b'\\', [b'x', ..]) => break,
            (b'\\', [escaped, behind @ ..]) => {
                rest = behind;
                match escaped {
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'r' => b'\r',
                    _ => *escaped,
                }
            }
            _ => first,
        };
        out.push(byte);
    }
    Ok(())
}

/// The value of a lower-case hexadecimal digit. For other bytes the value is unspecified.
fn digit(c: u8) -> u8 {
    if c >= b'a' { c - b'a' + 10 } else { c.wrapping_sub(b'0') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_bytes() {
        let known: [(&[u8], &[u8]); 9] = [
            (b"abc", b"abc"),
            (br"\n\t\r", b"\n\t\r"),
            (br"\x00\xffz", b"\x00\xffz"),
            (br"\\\'\q", b"\\'q"),
            ("é\\n".as_bytes(), "é\n".as_bytes()),
            (br"a\", b"a"),
            (br"a\x", b"a"),
            (br"a\x1", b"a"),
            (b"", b""),
        ];
        for (piece, expected) in known {
            let mut bytes = Vec::new();
            append_unescaped(piece, &mut bytes).unwrap();
            assert_eq!(bytes, expected, "{piece:?}");
        }
    }
}
