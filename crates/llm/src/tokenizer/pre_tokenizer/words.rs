//! The expressions that cut running text into words, from GPT-2's to DeepSeek-V3's.
//!
//! All of them end with the same two or three alternatives for white space, see [`space_end`].

use crate::tokenizer::unicode::{Class, class_at};

/// An expression of GPT-4's kind:
///
/// ```text
/// CONTRACTION | [^\r\n\p{L}\p{N}]?LETTERS | \p{N}{1,max_digits} |  ?[^\s\p{N}NOT]+AFTER{0,max_after} | SPACE
/// ```
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// How `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll`, `'d` are treated, in upper or lower case.
    pub(super) contractions: Contractions,
    /// The definition of a run of letters.
    pub(super) letters: Letters,
    /// Most digits in one word.
    pub(super) max_digits: usize,
    /// Characters that are not punctuation, besides white space and numbers.
    pub(super) not_punctuation: Class,
    /// Characters that may follow a run of punctuation.
    pub(super) after_punctuation: Class,
    /// Most such characters.
    pub(super) max_after: usize,
    /// How a run of white space is cut.
    pub(super) space: Space,
}

/// How contractions are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contractions {
    /// They are not recognised.
    Ignored,
    /// They are separate words.
    Words,
    /// They belong to the word before them.
    Suffixes,
}

/// The definition of a run of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    /// Any characters of the class.
    Of(Class),
    /// Letters except Chinese characters; runs of Chinese characters are separate words.
    ApartFromHan,
    /// Upper case before lower case: `U*L+ | U+L*`, where U is the class without `a-z` and L the
    /// class without `A-Z`.
    Cased(Class),
    /// Words with single blanks between them: `(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+`.
    Phrase,
}

/// How a run of white space is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// `\s*[\r\n]+|\s+(?!\S)|\s+`
    Whole,
    /// `\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|…|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`
    PowersOfTwo,
}

impl Words {
    /// The expression of Llama 3, from which the others differ in one or two fields.
    pub(super) const LLAMA3: Self = Self {
        contractions: Contractions::Words,
        letters: Letters::Of(Class::LETTER),
        max_digits: 3,
        not_punctuation: Class::LETTER,
        after_punctuation: Class::NEWLINE,
        max_after: usize::MAX,
        space: Space::Whole,
    };

    /// Where the word that begins at `start` ends. There must be a character at `start`.
    pub(super) fn end(&self, text: &[u8], start: usize) -> usize {
        let (class, len) = class_at(text, start);
        if self.letters == Letters::ApartFromHan && class.is(Class::HAN) {
            return run_end(text, start, |c| c.is(Class::HAN));
        }
        if self.contractions == Contractions::Words
            && let Some(end) = contraction_end(text, start)
        {
            return end;
        }
        if let Some(end) = self.letters_end(text, start, class, len) {
            return match self.contractions {
                Contractions::Suffixes => contraction_end(text, end).unwrap_or(end),
                _ => end,
            };
        }
        if class.is(Class::NUMBER) {
            return run_end_of(text, start + len, self.max_digits - 1, |c| c.is(Class::NUMBER));
        }
        let not_punctuation = self.not_punctuation | Class::NUMBER | Class::SPACE;
        let begin = start + usize::from(text[start] == b' ');
        let end = run_end(text, begin, |c| c.is_not(not_punctuation));
        if end > begin {
            return run_end_of(text, end, self.max_after, |c| c.is(self.after_punctuation));
        }
        match self.space {
            Space::Whole => space_end(text, start, true),
            Space::PowersOfTwo => power_of_two_space_end(text, start),
        }
        .unwrap_or(start + len)
    }

    /// `[^\r\n\p{L}\p{N}]?LETTERS+`
    fn letters_end(&self, text: &[u8], start: usize, class: Class, len: usize) -> Option<usize> {
        let lead = Class::NEWLINE | Class::LETTER | Class::NUMBER;
        let behind_lead = class.is_not(lead).then_some(start + len);
        let begins = || behind_lead.into_iter().chain([start]);
        let first_run = |is_letter: &dyn Fn(Class) -> bool| {
            begins().find_map(|begin| {
                let end = run_end(text, begin, is_letter);
                (end > begin).then_some(end)
            })
        };
        match self.letters {
            Letters::Of(letters) => first_run(&|c| c.is(letters)),
            Letters::ApartFromHan => first_run(&|c| c.is(Class::LETTER) && !c.is(Class::HAN)),
            Letters::Phrase => begins().find_map(|begin| phrase_end(text, begin)),
            Letters::Cased(letters) => {
                begins().find_map(|begin| upper_then_some_lower_end(text, begin, letters)).or_else(|| {
                    // What remains are words without lower-case letters.
                    first_run(&|c| c.is(letters) && !c.is(Class::ASCII_LOWER))
                })
            }
        }
    }
}

/// The end of the longest run of characters for which `belongs` holds.
fn run_end(text: &[u8], start: usize, belongs: impl Fn(Class) -> bool) -> usize {
    run_end_of(text, start, usize::MAX, belongs)
}

/// The end of the longest run of at most `max` characters for which `belongs` holds.
fn run_end_of(text: &[u8], start: usize, max: usize, belongs: impl Fn(Class) -> bool) -> usize {
    let mut end = start;
    for _ in 0..max {
        match class_at(text, end) {
            (class, len @ 1..) if belongs(class) => end += len,
            _ => break,
        }
    }
    end
}

/// [`Letters::Phrase`]
fn phrase_end(text: &[u8], begin: usize) -> Option<usize> {
    let letter_end = |at: usize| match class_at(text, at) {
        (class, len) if class.is(Class::LETTER) => Some(run_end(text, at + len, |c| c.is(Class::MARK))),
        _ => None,
    };
    let mut end = letter_end(begin)?;
    let behind_blank = |at: usize| letter_end(at + usize::from(text.get(at) == Some(&b' ')));
    while let Some(next) = behind_blank(end) {
        end = next;
    }
    Some(end)
}

/// `U*L+`, with the longest U that leaves something for L.
fn upper_then_some_lower_end(text: &[u8], begin: usize, letters: Class) -> Option<usize> {
    let mut end = begin;
    // The end of the last character that is in both classes, which is what U can leave to L.
    let mut last_in_both = None;
    loop {
        match class_at(text, end) {
            (class, len) if class.is(letters) && !class.is(Class::ASCII_LOWER) => {
                end += len;
                if !class.is(Class::ASCII_UPPER) {
                    last_in_both = Some(end);
                }
            }
            (class, _) if class.is(letters) => {
                return Some(run_end(text, end, |c| c.is(letters) && !c.is(Class::ASCII_UPPER)));
            }
            _ => return last_in_both,
        }
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`, in either case.
fn contraction_end(text: &[u8], start: usize) -> Option<usize> {
    let (b'\'', rest) = text.get(start..)?.split_first()? else {
        return None;
    };
    let lower = |i: usize| rest.get(i).map(u8::to_ascii_lowercase);
    match (lower(0)?, lower(1)) {
        (b's' | b't' | b'm' | b'd', _) => Some(start + 2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(start + 3),
        _ => None,
    }
}

/// `\s+(?!\S)|\s+`, preceded by `\s*[\r\n]+` if `newlines` is set: white space up to its last newline; or, before other
/// text, all but its last character; or all of it. `None` if there is none.
fn space_end(text: &[u8], start: usize, newlines: bool) -> Option<usize> {
    let run = SpaceRun::at(text, start);
    match run.newline_end {
        Some(end) if newlines => Some(end),
        _ if run.n == 0 => None,
        _ if run.n == 1 || run.end == text.len() => Some(run.end),
        _ => Some(run.last_start),
    }
}

fn power_of_two_space_end(text: &[u8], start: usize) -> Option<usize> {
    let run = SpaceRun::at(text, start);
    if run.newline_end.is_some() || run.n == 0 {
        return run.newline_end;
    }
    // The last character of the run is taken only at the end of the text.
    let available = run.n - usize::from(run.end < text.len());
    let powers = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1];
    let n = powers.into_iter().find(|&n| n <= available).unwrap_or(1);
    let mut end = start;
    for _ in 0..n {
        end += class_at(text, end).1;
    }
    Some(end)
}

/// A run of white space.
struct SpaceRun {
    /// Number of characters.
    n: usize,
    end: usize,
    /// Where the last character begins.
    last_start: usize,
    /// Where the last newline or carriage return ends.
    newline_end: Option<usize>,
}

impl SpaceRun {
    fn at(text: &[u8], start: usize) -> Self {
        let mut run = Self { n: 0, end: start, last_start: start, newline_end: None };
        while let (class, len @ 1..) = class_at(text, run.end)
            && class.is(Class::SPACE)
        {
            run.n += 1;
            run.last_start = run.end;
            run.end += len;
            if class.is(Class::NEWLINE) {
                run.newline_end = Some(run.end);
            }
        }
        run
    }
}

/// Where the word of GPT-2's expression that begins at `start` ends.
pub(super) fn gpt2_word(text: &[u8], start: usize) -> usize {
    // Only lower case counts as a contraction here.
    if let Some(end) = contraction_end(text, start)
        && !text[start..end].iter().any(u8::is_ascii_uppercase)
    {
        return end;
    }
    let begin = start + usize::from(text[start] == b' ');
    let (class, len) = class_at(text, begin);
    let kind = [Class::LETTER, Class::NUMBER].into_iter().find(|&kind| class.is(kind));
    let other = Class::SPACE | Class::LETTER | Class::NUMBER;
    if let Some(kind) = kind {
        run_end(text, begin + len, |c| c.is(kind))
    } else if class.is_not(other) {
        run_end(text, begin + len, |c| c.is_not(other))
    } else {
        space_end(text, start, false).unwrap_or(start + class_at(text, start).1)
    }
}

/// How DeepSeek-V3's third expression takes newlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newlines {
    /// As runs, together with the punctuation or white space before them.
    Runs,
    /// Each one separately.
    Single,
}

/// Where the match of DeepSeek-V3's third expression that begins at `start` ends:
///
/// ```text
/// [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|
/// \s*[\r\n]+|\s+(?!\S)|\s+
/// ```
///
/// With single newlines, its second line is
///
/// ```text
///  ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+
/// ```
pub(super) fn deepseek_v3_word(text: &[u8], start: usize, newlines: Newlines) -> Option<usize> {
    let (class, len) = class_at(text, start);
    if text[start].is_ascii_punctuation() {
        let end = run_end(text, start + 1, |c| c.is(Class::ASCII_UPPER | Class::ASCII_LOWER));
        if end > start + 1 {
            return Some(end);
        }
    }
    let punctuation = Class::PUNCTUATION | Class::SYMBOL;
    let letters = Class::LETTER | Class::MARK;
    let lead = class.is_not(Class::NEWLINE | Class::LETTER | punctuation);
    for begin in lead.then_some(start + len).into_iter().chain([start]) {
        let end = run_end(text, begin, |c| c.is(letters));
        if end > begin {
            return Some(end);
        }
    }
    let begin = start + usize::from(text[start] == b' ');
    let end = run_end(text, begin, |c| c.is(punctuation));
    match newlines {
        Newlines::Runs if end > begin => Some(run_end(text, end, |c| c.is(Class::NEWLINE))),
        Newlines::Runs => space_end(text, start, true),
        Newlines::Single if end > begin => Some(end),
        Newlines::Single if class.is(Class::NEWLINE) => Some(start + len),
        Newlines::Single => space_end(text, start, false),
    }
}
