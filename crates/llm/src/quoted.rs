//! Texts in error messages, cut so that messages stay short: [`Quoted`], [`beginning`].

use core::fmt;

/// Most bytes of a text that are shown.
const MOST_BYTES: usize = 256;

/// A text, or its beginning if it is longer than 256 bytes; for errors that store the text they are about.
pub fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_BYTES)]
}

/// Shows the [`beginning`] of a text in quotes, with escapes, and an ellipsis if the text is longer. An escape takes up to six times as
/// many bytes as the characters that it stands for.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'t>(pub &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = beginning(self.0);
        fmt::Debug::fmt(shown, f)?;
        f.write_str(if shown.len() < self.0.len() { "\u{2026}" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let of = |text: &str| Quoted(text).to_string();
        assert_eq!(of("a\"\n\u{7f}"), "\"a\\\"\\n\\u{7f}\"");
        assert_eq!(of(&"a".repeat(MOST_BYTES)), alloc::format!("\"{}\"", "a".repeat(MOST_BYTES)));
        let cut = of(&"\u{20ac}".repeat(MOST_BYTES));
        assert_eq!(cut, alloc::format!("\"{}\"\u{2026}", "\u{20ac}".repeat(MOST_BYTES / 3)));
        assert_eq!(of(&"\u{7f}".repeat(1 << 20)).len(), 6 * MOST_BYTES + 5);
    }
}
