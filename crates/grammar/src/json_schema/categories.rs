//! Classes of characters by Unicode's general category, as `\p{L}` and `\p{Lowercase_Letter}` in patterns.

use alloc::vec::Vec;

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// Short and long names of the categories.
const NAMES: [(&str, &str, Category); 30] = [
    ("Lu", "Uppercase_Letter", Category::UppercaseLetter),
    ("Ll", "Lowercase_Letter", Category::LowercaseLetter),
    ("Lt", "Titlecase_Letter", Category::TitlecaseLetter),
    ("Lm", "Modifier_Letter", Category::ModifierLetter),
    ("Lo", "Other_Letter", Category::OtherLetter),
    ("Mn", "Nonspacing_Mark", Category::NonspacingMark),
    ("Mc", "Spacing_Mark", Category::SpacingMark),
    ("Me", "Enclosing_Mark", Category::EnclosingMark),
    ("Nd", "Decimal_Number", Category::DecimalNumber),
    ("Nl", "Letter_Number", Category::LetterNumber),
    ("No", "Other_Number", Category::OtherNumber),
    ("Pc", "Connector_Punctuation", Category::ConnectorPunctuation),
    ("Pd", "Dash_Punctuation", Category::DashPunctuation),
    ("Ps", "Open_Punctuation", Category::OpenPunctuation),
    ("Pe", "Close_Punctuation", Category::ClosePunctuation),
    ("Pi", "Initial_Punctuation", Category::InitialPunctuation),
    ("Pf", "Final_Punctuation", Category::FinalPunctuation),
    ("Po", "Other_Punctuation", Category::OtherPunctuation),
    ("Sm", "Math_Symbol", Category::MathSymbol),
    ("Sc", "Currency_Symbol", Category::CurrencySymbol),
    ("Sk", "Modifier_Symbol", Category::ModifierSymbol),
    ("So", "Other_Symbol", Category::OtherSymbol),
    ("Zs", "Space_Separator", Category::SpaceSeparator),
    ("Zl", "Line_Separator", Category::LineSeparator),
    ("Zp", "Paragraph_Separator", Category::ParagraphSeparator),
    ("Cc", "Control", Category::Control),
    ("Cf", "Format", Category::Format),
    ("Cs", "Surrogate", Category::Surrogate),
    ("Co", "Private_Use", Category::PrivateUse),
    ("Cn", "Unassigned", Category::Unassigned),
];
/// Ranges in which all characters have the same category, so that they need not be examined one by one: ideographs, syllables,
/// planes without characters, and planes for private use, which end with two noncharacters.
const UNIFORM: [(char, char); 9] = [
    ('\u{4E00}', '\u{9FFF}'),
    ('\u{AC00}', '\u{D7A3}'),
    ('\u{E000}', '\u{F8FF}'),
    ('\u{20000}', '\u{2A6DF}'),
    ('\u{34000}', '\u{DFFFF}'),
    ('\u{E1000}', '\u{EFFFF}'),
    ('\u{F0000}', '\u{FFFFD}'),
    ('\u{100000}', '\u{10FFFD}'),
    ('\u{10FFFE}', '\u{10FFFF}'),
];

/// Names of groups of categories, and the first letter of the short names of their categories.
const GROUPS: [(&str, &str); 7] = [
    ("L", "Letter"),
    ("M", "Mark"),
    ("N", "Number"),
    ("P", "Punctuation"),
    ("S", "Symbol"),
    ("Z", "Separator"),
    ("C", "Other"),
];

/// The characters of a category, or of a group of categories, as ascending ranges; `None` if there is no category of this name.
pub(super) fn class(name: &str) -> Option<Vec<(u32, u32)>> {
    let name = name.strip_prefix("General_Category=").or(name.strip_prefix("gc=")).unwrap_or(name);
    let group = GROUPS.iter().find(|(short, long)| name == *short || name == *long);
    let categories: Vec<Category> = (NAMES.iter())
        .filter(|(short, long, _)| {
            name == *short || name == *long || group.is_some_and(|(letter, _)| short.starts_with(letter))
        })
        .map(|(_, _, category)| *category)
        .collect();
    if categories.is_empty() {
        return None;
    }
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    let mut add = |first: char, last: char| {
        if categories.contains(&get_general_category(first)) {
            let (first, last) = (u32::from(first), u32::from(last));
            match ranges.last_mut() {
                Some(range) if range.1 + 1 == first => range.1 = last,
                _ => ranges.push((first, last)),
            }
        }
    };
    let mut next = '\0';
    for (first, last) in UNIFORM {
        (next..first).for_each(|c| add(c, c));
        add(first, last);
        next = char::from_u32(u32::from(last) + 1).unwrap_or(last);
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_ranges_are_uniform() {
        for (first, last) in UNIFORM {
            for c in (first..=last).step_by(61).chain([last]) {
                assert_eq!(get_general_category(c), get_general_category(first), "{c:?}");
            }
        }
    }

    #[test]
    fn names_of_categories() {
        assert_eq!(class("Zp"), Some(alloc::vec![(0x2029, 0x2029)]));
        assert_eq!(class("gc=Space_Separator"), class("Zs"));
        let is_in =
            |name, c| class(name).unwrap().iter().any(|range| (range.0..=range.1).contains(&u32::from(c)));
        for (name, inside, outside) in
            [("L", "aÄ日한", "1 _"), ("Number", "1Ⅷ¼", "a"), ("Co", "\u{E000}\u{10FFFD}", "\u{10FFFF}a")]
        {
            assert!(inside.chars().all(|c| is_in(name, c)), "{name}");
            assert!(!outside.chars().any(|c| is_in(name, c)), "{name}");
        }
        assert_eq!(class("Script=Greek"), None);
    }
}
