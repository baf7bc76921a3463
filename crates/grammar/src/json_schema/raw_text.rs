//! [`RawText`]: unescaped texts that end at a mark.

use alloc::rc::Rc;
use alloc::vec::Vec;

use super::Options;
use super::automaton::{Automaton, Budget, LAST};
use super::error::Why;
use super::json_text::JsonText;
use crate::error::GrammarError;
use crate::expression::{Builder, Expression};

/// Most characters of a mark.
const MAX_MARK: usize = 64;

/// The unescaped texts that end at a mark: all texts that contain neither the mark nor U+0001, which stands for marks elsewhere.
///
/// Lengths are limited if that takes few states; otherwise any length is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawText {
    /// Any such text.
    pub(super) any: Expression,
    /// The mark.
    pub(super) end: &'static str,
}

impl RawText {
    /// The texts that end at this mark, which must have 1 to 64 characters.
    ///
    /// # Errors
    /// If the grammar becomes too large, or if the mark has another length.
    pub fn new(builder: &mut Builder, end: &'static str) -> Result<Self, GrammarError> {
        let length = end.chars().count();
        if length == 0 || length > MAX_MARK {
            let problem = "a mark of no characters, or of more than 64";
            return Err(GrammarError::Invalid { problem, value: length as u32 });
        }
        let mut text = Self { any: Expression::EMPTY, end };
        // Even the longest mark takes fewer steps.
        let budget = &mut Budget::new(1 << 20);
        let any = text.automaton(budget).and_then(|automaton| {
            JsonText::new(builder, Options::GENERATED)?.automaton(&Rc::new(automaton), false)
        });
        text.any = any.map_err(|why| match why {
            Why::Grammar(limit) => GrammarError::TooMany { what: limit.what, limit: limit.limit },
            _ => GrammarError::OutOfMemory,
        })?;
        Ok(text)
    }

    /// Whether `text` is one of them.
    pub(super) fn contains(&self, text: &str) -> bool {
        !text.contains(self.end) && !text.contains('\u{1}')
    }

    /// The automaton of Knuth, Morris and Pratt for the mark: a state is the number of its characters that have come.
    pub(super) fn automaton(&self, budget: &mut Budget) -> Result<Automaton, Why> {
        let mark: Vec<char> = self.end.chars().collect();
        Automaton::explore(Some(0), budget, |state: &Option<usize>, ways, _| {
            let Some(matched) = *state else {
                ways.push((LAST, None));
                return Ok(false);
            };
            let mut known: Vec<char> = mark.clone();
            known.push('\u{1}');
            sort::sort(&mut known);
            known.dedup();
            for c in known {
                let goes_on = |len: &usize| mark[len - 1] == c && mark[..matched].ends_with(&mark[..len - 1]);
                let next = (1..=matched + 1).rev().find(goes_on).unwrap_or(0);
                let is_out = next == mark.len() || c == '\u{1}';
                if c > '\0' {
                    ways.push((u32::from(c) - 1, Some(0)));
                }
                ways.push((c.into(), (!is_out).then_some(next)));
            }
            ways.push((LAST, Some(0)));
            Ok(true)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_texts_but_those_with_the_mark() {
        let budget = &mut Budget::new(1 << 20);
        for end in ["<a>", "aab", "aaa", "<", "ab<ab>ab", "</parameter>"] {
            let text = RawText { any: Expression::EMPTY, end };
            let automaton = text.automaton(budget).unwrap();
            assert!(automaton.states.len() <= end.len() + 1, "{end}");
            let mut seed = 1u32;
            let mut random = |below: usize| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 16) as usize % below
            };
            let letters: Vec<char> = end.chars().chain(['x', '\u{1}']).collect();
            let mut n_in = 0;
            for round in 0..4000 {
                // Prefixes of the mark, and single characters.
                let mut one = alloc::string::String::new();
                for _ in 0..random(6) {
                    match random(3) {
                        0 => one.push(letters[random(letters.len() - round % 2)]),
                        _ => one.push_str(&end[..random(end.len() + 1)]),
                    }
                }
                assert_eq!(automaton.accepts(&one), text.contains(&one), "{end}: {one:?}");
                n_in += usize::from(text.contains(&one));
            }
            assert!((50..3950).contains(&n_in), "{end}: {n_in}");
        }
    }
}
