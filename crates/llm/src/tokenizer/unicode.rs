//! Characters and the classes that pre-tokenizers distinguish.

use core::ops::BitOr;

use unicode_general_category::{GeneralCategory, get_general_category};

/// A set of properties: those of a character, or those to test for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class(u16);

impl Class {
    /// No character: the end of the text.
    pub(super) const END: Self = Self(0);
    /// `\p{L}`.
    pub(super) const LETTER: Self = Self(1);
    /// `\p{N}`.
    pub(super) const NUMBER: Self = Self(1 << 1);
    /// `\p{M}`.
    pub(super) const MARK: Self = Self(1 << 2);
    /// `\p{P}`.
    pub(super) const PUNCTUATION: Self = Self(1 << 3);
    /// `\p{S}`.
    pub(super) const SYMBOL: Self = Self(1 << 4);
    /// `\s`.
    pub(super) const SPACE: Self = Self(1 << 5);
    /// `\p{C}` without the unassigned, which are [`Class::OTHER`].
    pub(super) const CONTROL: Self = Self(1 << 6);
    /// None of the above.
    pub(super) const OTHER: Self = Self(1 << 7);
    /// `[\r\n]`.
    pub(super) const NEWLINE: Self = Self(1 << 8);
    /// `[A-Z]`.
    pub(super) const ASCII_UPPER: Self = Self(1 << 9);
    /// `[a-z]`.
    pub(super) const ASCII_LOWER: Self = Self(1 << 10);
    /// `/`.
    pub(super) const SLASH: Self = Self(1 << 11);
    /// Chinese characters, as llama.cpp reads `\p{Han}`: by block.
    pub(super) const HAN: Self = Self(1 << 12);
    /// No property: matches nothing.
    pub(super) const NONE: Self = Self(0);

    /// Whether the two sets share a property.
    pub(super) const fn is(self, any_of: Self) -> bool {
        self.0 & any_of.0 != 0
    }

    /// Whether there is a character, and it has none of these properties.
    pub(super) const fn is_not(self, none_of: Self) -> bool {
        self.0 != 0 && self.0 & none_of.0 == 0
    }

    /// Both sets.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The properties of a character.
    pub(super) fn of(c: char) -> Self {
        match ASCII.get(c as usize) {
            Some(&class) => class,
            None => Self::beyond_ascii(c),
        }
    }

    fn beyond_ascii(c: char) -> Self {
        use GeneralCategory::*;
        let category = match get_general_category(c) {
            UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter => {
                Self::LETTER
            }
            DecimalNumber | LetterNumber | OtherNumber => Self::NUMBER,
            NonspacingMark | SpacingMark | EnclosingMark => Self::MARK,
            ConnectorPunctuation | DashPunctuation | OpenPunctuation | ClosePunctuation
            | InitialPunctuation | FinalPunctuation | OtherPunctuation => Self::PUNCTUATION,
            MathSymbol | CurrencySymbol | ModifierSymbol | OtherSymbol => Self::SYMBOL,
            Control | Format | PrivateUse | Surrogate => Self::CONTROL,
            _ => Self::OTHER,
        };
        let space = if c.is_whitespace() { Self::SPACE } else { Self::NONE };
        let han = if is_han(c) { Self::HAN } else { Self::NONE };
        category | space | han
    }
}

/// CJK unified ideographs with extensions A to F, compatibility ideographs with their supplement.
fn is_han(c: char) -> bool {
    matches!(
        u32::from(c),
        0x3400..=0x4dbf
            | 0x4e00..=0x9fff
            | 0xf900..=0xfaff
            | 0x20000..=0x2a6df
            | 0x2a700..=0x2ebef
            | 0x2f800..=0x2fa1f
    )
}

impl BitOr for Class {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

/// The classes of the ASCII characters.
const ASCII: [Class; 128] = {
    let mut table = [Class::CONTROL; 128];
    let mut c = 0;
    while c < 128 {
        table[c] = match c as u8 {
            b'A'..=b'Z' => Class::LETTER.or(Class::ASCII_UPPER),
            b'a'..=b'z' => Class::LETTER.or(Class::ASCII_LOWER),
            b'0'..=b'9' => Class::NUMBER,
            b'\r' | b'\n' => Class::CONTROL.or(Class::SPACE).or(Class::NEWLINE),
            b'\t' | 0x0b | 0x0c => Class::CONTROL.or(Class::SPACE),
            b' ' => Class::OTHER.or(Class::SPACE),
            b'/' => Class::PUNCTUATION.or(Class::SLASH),
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~' => Class::SYMBOL,
            b'!'..=b'~' => Class::PUNCTUATION,
            _ => Class::CONTROL,
        };
        c += 1;
    }
    table
};

/// The first character of the lower-case form.
pub(super) fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// The character that begins at a position, and its length in bytes.
///
/// A byte that does not begin a valid character counts as U+FFFD, one byte long, so that arbitrary bytes can be
/// divided; the bytes themselves are not changed. `None` at the end of the text.
pub(super) fn char_at(text: &[u8], position: usize) -> Option<(char, usize)> {
    let rest = text.get(position..)?;
    let &first = rest.first()?;
    if first < 0x80 {
        return Some((char::from(first), 1));
    }
    Some(decode_multibyte(rest).unwrap_or((char::REPLACEMENT_CHARACTER, 1)))
}

fn decode_multibyte(text: &[u8]) -> Option<(char, usize)> {
    let continuation = |place: usize| match text.get(place) {
        Some(&byte @ 0x80..=0xbf) => Some(u32::from(byte & 0x3f)),
        _ => None,
    };
    let first = u32::from(text[0]);
    let (code, len, least) = match first {
        0xc0..=0xdf => ((first & 0x1f) << 6 | continuation(1)?, 2, 0x80),
        0xe0..=0xef => ((first & 0x0f) << 12 | continuation(1)? << 6 | continuation(2)?, 3, 0x800),
        0xf0..=0xf7 => {
            let upper = (first & 0x07) << 18 | continuation(1)? << 12;
            (upper | continuation(2)? << 6 | continuation(3)?, 4, 0x1_0000)
        }
        _ => return None,
    };
    // Rejects surrogates, values beyond the last code point and overlong encodings.
    char::from_u32(code).filter(|_| code >= least).map(|c| (c, len))
}

/// The class of the character that begins at a position, and its length in bytes; [`Class::END`]
/// and zero at the end of the text.
#[inline]
pub(super) fn class_at(text: &[u8], position: usize) -> (Class, usize) {
    match text.get(position) {
        None => (Class::END, 0),
        Some(&byte @ ..=0x7f) => (ASCII[usize::from(byte)], 1),
        Some(_) => match decode_multibyte(&text[position..]) {
            Some((c, len)) => (Class::beyond_ascii(c), len),
            None => (BROKEN, 1),
        },
    }
}

/// The class of U+FFFD.
const BROKEN: Class = Class::SYMBOL;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_agrees_with_the_general_categories() {
        for c in 0..128u8 {
            let c = char::from(c);
            let general = Class::beyond_ascii(c);
            let properties = [
                Class::LETTER,
                Class::NUMBER,
                Class::MARK,
                Class::PUNCTUATION,
                Class::SYMBOL,
                Class::SPACE,
                Class::CONTROL,
                Class::OTHER,
            ];
            for property in properties {
                assert_eq!(Class::of(c).is(property), general.is(property), "{c:?}");
            }
        }
    }

    #[test]
    fn broken_characters_are_single_bytes() {
        let text = b"a\xc3\xa9\xe2\x96\xed\xa0\x80\xf4\x90";
        let mut position = 0;
        let mut chars = alloc::vec::Vec::new();
        while let Some((c, len)) = char_at(text, position) {
            chars.push((c, len));
            position += len;
        }
        let broken = (char::REPLACEMENT_CHARACTER, 1);
        assert_eq!(position, text.len());
        assert_eq!(chars[..2], [('a', 1), ('é', 2)]);
        assert_eq!(chars[2..], [broken; 7]);
        assert_eq!(Class::of(char::REPLACEMENT_CHARACTER), BROKEN);
        assert_eq!(class_at(text, text.len()), (Class::END, 0));
    }
}
