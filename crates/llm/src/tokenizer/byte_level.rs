//! The byte alphabet of GPT-2: how a byte-level vocabulary writes each byte as a printable character.
//!
//! Source: `bytes_to_unicode` of the GPT-2 release. Printable Latin-1 bytes stand for themselves;
//! the other 68 are numbered upwards from U+0100, so that a space becomes `Ġ` and a newline `Ċ`.

use alloc::vec::Vec;

use super::error::{TokenizerError, reserve};

/// The whole alphabet lies within this many characters at the beginning of Unicode.
const N_CHARS: usize = 0x100 + 68;

/// Marks a character that is not in the alphabet.
const NO_BYTE: u16 = u16::MAX;

const fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The byte that each character stands for.
const CHAR_TO_BYTE: [u16; N_CHARS] = {
    let mut table = [NO_BYTE; N_CHARS];
    let mut next_char = 0x100;
    let mut byte = 0;
    while byte < 256 {
        if is_printable(byte as u8) {
            table[byte] = byte as u16;
        } else {
            table[next_char] = byte as u16;
            next_char += 1;
        }
        byte += 1;
    }
    table
};

/// The first character of a piece as the byte that it stands for, and the rest of the piece.
#[inline]
fn split_first(piece: &[u8]) -> Option<(u8, &[u8])> {
    let (code_point, rest) = match *piece {
        [first @ ..=0x7f, ref rest @ ..] => (usize::from(first), rest),
        [first @ 0xc2..=0xdf, second, ref rest @ ..] => {
            (usize::from(first & 0x1f) << 6 | usize::from(second & 0x3f), rest)
        }
        _ => return None,
    };
    let byte = u8::try_from(*CHAR_TO_BYTE.get(code_point)?).ok()?;
    Some((byte, rest))
}

/// Appends the bytes that a piece stands for; `false` if it contains a character outside the alphabet, as special
/// tokens may.
pub(super) fn decode(piece: &[u8], out: &mut Vec<u8>) -> Result<bool, TokenizerError> {
    reserve(out, piece.len())?;
    let mut rest = piece;
    while !rest.is_empty() {
        let Some((byte, behind)) = split_first(rest) else {
            return Ok(false);
        };
        out.push(byte);
        rest = behind;
    }
    Ok(true)
}

/// Whether a piece stands for exactly this text.
pub(super) fn stands_for(piece: &[u8], text: &[u8]) -> bool {
    // Most pieces are plain ASCII, which stands for itself.
    if piece.len() == text.len() && text.is_ascii() {
        return piece == text;
    }
    let mut rest = piece;
    for &expected in text {
        match split_first(rest) {
            Some((byte, behind)) if byte == expected => rest = behind,
            _ => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(piece: &str) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        decode(piece.as_bytes(), &mut text).unwrap().then_some(text)
    }

    #[test]
    fn the_alphabet_covers_every_byte_once() {
        let mut seen = [false; 256];
        for byte in CHAR_TO_BYTE {
            if let Some(slot) = seen.get_mut(usize::from(byte)) {
                assert!(!*slot);
                *slot = true;
            }
        }
        assert!(seen.iter().all(|&s| s));
    }

    #[test]
    fn known_pieces_decode() {
        let known: [(&str, &[u8]); 5] =
            [("Ġthe", b" the"), ("Ċĉ", b"\n\t"), ("Ã©", "é".as_bytes()), ("ł", &[0xa0]), ("Ń", &[0xad])];
        for (piece, text) in known {
            assert_eq!(whole(piece).as_deref(), Some(text));
            assert!(stands_for(piece.as_bytes(), text));
            assert!(!stands_for(piece.as_bytes(), piece.as_bytes()));
            assert!(!stands_for(piece.as_bytes(), &text[1..]));
        }
    }

    #[test]
    fn characters_outside_the_alphabet_are_told() {
        for piece in ["<｜User｜>", "\u{a0}", "▁a", "ń", "a b"] {
            assert_eq!(whole(piece), None, "{piece:?}");
        }
        assert_eq!(decode(&[0xc3], &mut Vec::new()), Ok(false));
    }
}
