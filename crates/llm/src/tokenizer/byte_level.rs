//! The byte alphabet of GPT-2: how a byte-level vocabulary writes each byte as a printable character.
//!
//! Source: `bytes_to_unicode` of the GPT-2 release. Printable Latin-1 bytes stand for themselves;
//! the other 68 are numbered upwards from U+0100, so that a space becomes `Ġ` and a newline `Ċ`.

/// Number of characters at the beginning of Unicode that hold the whole alphabet.
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

/// The bytes that a piece of a byte-level vocabulary stands for.
///
/// Yields `None` where the piece holds a character outside the alphabet, as special tokens may.
pub(super) fn decode(piece: &[u8]) -> impl Iterator<Item = Option<u8>> + '_ {
    let mut rest = piece;
    core::iter::from_fn(move || {
        let (&first, after_first) = rest.split_first()?;
        rest = after_first;
        let code_point = match (first, after_first.split_first()) {
            (0..=0x7f, _) => usize::from(first),
            (0xc2..=0xdf, Some((&second, after_second))) => {
                rest = after_second;
                usize::from(first & 0x1f) << 6 | usize::from(second & 0x3f)
            }
            _ => N_CHARS,
        };
        let byte = CHAR_TO_BYTE.get(code_point).copied().unwrap_or(NO_BYTE);
        Some(u8::try_from(byte).ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn whole(piece: &str) -> Option<Vec<u8>> {
        decode(piece.as_bytes()).collect()
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
        assert_eq!(whole("Ġthe").as_deref(), Some(&b" the"[..]));
        assert_eq!(whole("Ċĉ").as_deref(), Some(&b"\n\t"[..]));
        assert_eq!(whole("Ã©").as_deref(), Some("é".as_bytes()));
        assert_eq!(whole("ł").as_deref(), Some(&[0xa0][..]));
        assert_eq!(whole("Ń").as_deref(), Some(&[0xad][..]));
    }

    #[test]
    fn characters_outside_the_alphabet_are_told() {
        for piece in ["<｜User｜>", " ", "\u{a0}", "▁a", "ń"] {
            assert_eq!(whole(piece), None, "{piece:?}");
        }
        assert_eq!(decode(&[0xc3]).collect::<Option<Vec<u8>>>(), None);
    }
}
