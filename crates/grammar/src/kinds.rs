//! Kinds of bytes, by which everything below a node of the vocabulary's tree can be judged at once.
//!
//! In free text, most bytes lead from a state back to the same state. If all bytes below a node are of kinds that do, all tokens
//! there may come, and they need not be visited one by one. A character beyond ASCII takes several bytes and therefore several
//! states; here it counts as one unit.

/// Bytes beyond ASCII that form well-formed characters; the last character may be cut off.
pub(crate) const CHARACTERS: u16 = 1 << 14;
/// Other bytes beyond ASCII.
pub(crate) const MALFORMED: u16 = 1 << 15;

/// The kind of an ASCII byte, as a bit. Grammars seldom distinguish bytes of the same kind.
pub(crate) fn kind(byte: u8) -> u16 {
    1 << match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        b' ' => 3,
        b'\t' => 4,
        b'\n' => 5,
        b'\r' => 6,
        0..=0x1F | 0x7F => 7,
        b'"' => 8,
        b'\\' => 9,
        b'\'' | b'`' => 10,
        b'<' | b'>' | b'&' => 11,
        b'-' | b'_' | b'.' => 12,
        _ => 13,
    }
}

/// The state of a UTF-8 reader: between characters, or which bytes must come next.
///
/// Source: The Unicode Standard 15.0, section 3.9, table 3-7, well-formed UTF-8 byte sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Between,
    /// One continuation byte.
    One,
    /// Two continuation bytes.
    Two,
    /// Three continuation bytes.
    Three,
    /// Two continuation bytes, the first A0 or above.
    AfterE0,
    /// Two continuation bytes, the first below A0.
    AfterEd,
    /// Three continuation bytes, the first 90 or above.
    AfterF0,
    /// Three continuation bytes, the first below 90.
    AfterF4,
}

impl Reader {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Between,
        Self::One,
        Self::Two,
        Self::Three,
        Self::AfterE0,
        Self::AfterEd,
        Self::AfterF0,
        Self::AfterF4,
    ];

    /// The state after a byte; `None` if the byte may not come.
    pub fn after(self, byte: u8) -> Option<Self> {
        let (range, next) = match self {
            Self::Between => {
                return match byte {
                    0..=0x7F => Some(Self::Between),
                    0xC2..=0xDF => Some(Self::One),
                    0xE0 => Some(Self::AfterE0),
                    0xED => Some(Self::AfterEd),
                    0xE1..=0xEF => Some(Self::Two),
                    0xF0 => Some(Self::AfterF0),
                    0xF1..=0xF3 => Some(Self::Three),
                    0xF4 => Some(Self::AfterF4),
                    _ => None,
                };
            }
            Self::One => (0x80..=0xBF, Self::Between),
            Self::Two => (0x80..=0xBF, Self::One),
            Self::Three => (0x80..=0xBF, Self::Two),
            Self::AfterE0 => (0xA0..=0xBF, Self::One),
            Self::AfterEd => (0x80..=0x9F, Self::One),
            Self::AfterF0 => (0x90..=0xBF, Self::Two),
            Self::AfterF4 => (0x80..=0x8F, Self::Two),
        };
        range.contains(&byte).then_some(next)
    }
}

/// A summary of everything below a node, gathered from its children.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Below {
    /// Kinds of the ASCII bytes, and [`CHARACTERS`] if there are other bytes.
    kinds: u16,
    /// Bit `i`: everything is well-formed for a reader in state `i` of [`Reader::ALL`].
    well_formed: u8,
}

impl Below {
    /// Nothing.
    pub const NOTHING: Self = Self { kinds: 0, well_formed: u8::MAX };

    /// Adds a child: its byte, and the summary of what is below it.
    pub fn with_child(self, byte: u8, below: Self) -> Self {
        let own = if byte < 0x80 { kind(byte) } else { CHARACTERS };
        let mut well_formed = 0;
        for (i, reader) in Reader::ALL.into_iter().enumerate() {
            if let Some(next) = reader.after(byte)
                && below.well_formed >> next as u8 & 1 == 1
            {
                well_formed |= 1 << i;
            }
        }
        Self { kinds: self.kinds | own | below.kinds, well_formed: self.well_formed & well_formed }
    }

    /// The kinds of all bytes, for a reader between characters.
    pub fn kinds(self) -> u16 {
        let is_malformed = self.kinds & CHARACTERS != 0 && self.well_formed & 1 == 0;
        self.kinds | if is_malformed { MALFORMED } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kinds in a text, computed as for a chain of nodes.
    fn kinds_of(bytes: &[u8]) -> u16 {
        let mut below = Below::NOTHING;
        for &byte in bytes.iter().rev() {
            below = Below::NOTHING.with_child(byte, below);
        }
        below.kinds()
    }

    #[test]
    fn the_reader_accepts_beginnings_of_utf_8_and_no_others() {
        let texts = ["aé", "\u{7FF}\u{800}", "\u{D7FF}\u{E000}", "\u{FFFF}\u{10000}", "\u{FFFFF}\u{10FFFF}"];
        for text in texts {
            for n in 1..=text.len() {
                assert_eq!(kinds_of(&text.as_bytes()[..n]) & MALFORMED, 0, "{text:?}, {n} bytes");
            }
        }
        // Every sequence of a first byte and one more byte: accepted exactly if some third and fourth byte complete it to UTF-8.
        for first in 0x80..=0xFF_u8 {
            for second in 0..=0xFF_u8 {
                let endings: [&[u8]; 3] = [&[], &[0x80], &[0x80, 0x80]];
                let is_beginning = endings
                    .iter()
                    .any(|ending| core::str::from_utf8(&[&[first, second], *ending].concat()).is_ok());
                assert_eq!(kinds_of(&[first, second]) & MALFORMED == 0, is_beginning, "{first:X} {second:X}");
            }
        }
    }

    #[test]
    fn kinds_are_those_of_all_children() {
        let below = Below::NOTHING.with_child(b'1', Below::NOTHING).with_child(b'"', Below::NOTHING);
        let node = Below::NOTHING.with_child(b'a', below).with_child(0xC3, Below::NOTHING);
        assert_eq!(node.kinds(), kind(b'1') | kind(b'"') | kind(b'a') | CHARACTERS);
        assert_eq!(node.with_child(0xA9, Below::NOTHING).kinds() & MALFORMED, MALFORMED);
    }
}
