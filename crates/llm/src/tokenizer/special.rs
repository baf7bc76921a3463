//! Special tokens in a text: they are found as a whole before anything else is encoded.
//!
//! The reference searches for one special token after the other, the longest first, in the text that the earlier ones
//! left. That costs a pass over the text for each of possibly thousands of tokens. Here one pass finds all places where
//! a special token may be; the order matters only where several overlap.

use alloc::vec::Vec;
use core::ops::Range;

use super::adjacency::Adjacency;
use super::error::{TokenizerError, out_of_memory, push, reserve};
use super::hash::{Table, hash_bytes};
use super::vocabulary::{TokenKind, Vocabulary};
use crate::gguf::{Gguf, Value};
use crate::sort;

/// The special tokens of a vocabulary.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    /// By text.
    index: Table<u32>,
    /// The lengths that occur, per first byte of the text, longest first.
    lengths: Vec<Length>,
    /// Where the lengths for each first byte begin in `lengths`, and where the last ones end.
    by_first_byte: [u32; 257],
    /// All lengths that occur, shortest first.
    all_lengths: Vec<u32>,
    /// Which pairs of adjacent bytes occur in any of them.
    adjacent: Adjacency,
    /// Whether any of them is user-defined, and so recognised even without `parse_special`.
    has_user_defined: bool,
    /// Tokens that absorb the white space before them. Sorted.
    strip_left: Vec<u32>,
    /// Tokens that absorb the white space after them. Sorted.
    strip_right: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Length {
    first_byte: u8,
    /// Complemented, so that the longest sorts first.
    descending: u32,
}

/// A stretch of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fragment {
    /// Text to encode, never empty.
    Text(Range<usize>),
    /// A special token.
    Token(u32),
}

/// A special token in a text, with the white space that it absorbs.
#[derive(Debug, Clone, Copy)]
struct Found {
    id: u32,
    start: usize,
    end: usize,
}

impl SpecialTokens {
    pub(super) fn new(vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        let mut ids = Vec::new();
        for id in 0..vocabulary.n_vocab() as u32 {
            if is_special(vocabulary.kind(id)) && !vocabulary.piece(id).is_empty() {
                push(&mut ids, id)?;
            }
        }
        let mut special = Self {
            index: Table::new(ids.len(), 0)?,
            lengths: Vec::new(),
            by_first_byte: [0; 257],
            all_lengths: Vec::new(),
            adjacent: Adjacency::new(0)?,
            has_user_defined: false,
            strip_left: Vec::new(),
            strip_right: Vec::new(),
        };
        reserve(&mut special.lengths, ids.len())?;
        for &id in &ids {
            let text = vocabulary.piece(id);
            special.index.insert(hash_bytes(text), id);
            for pair in text.windows(2) {
                special.adjacent.insert(pair[0], &pair[1..]);
            }
            special.has_user_defined |= vocabulary.kind(id) == TokenKind::UserDefined;
            let length = Length { first_byte: text[0], descending: !(text.len() as u32) };
            sort::insert(&mut special.lengths, length).map_err(out_of_memory)?;
        }
        for (first_byte, start) in special.by_first_byte.iter_mut().enumerate() {
            *start =
                special.lengths.partition_point(|length| usize::from(length.first_byte) < first_byte) as u32;
        }
        for length in &special.lengths {
            sort::insert(&mut special.all_lengths, !length.descending).map_err(out_of_memory)?;
        }
        Ok(special)
    }

    /// Finds the tokens that absorb white space.
    ///
    /// No key names them; as in llama.cpp, they follow from the name of the model, its architecture or its
    /// pre-tokenizer.
    pub(super) fn find_stripping(
        &mut self,
        gguf: &Gguf<'_>,
        vocabulary: &Vocabulary<'_>,
    ) -> Result<(), TokenizerError> {
        // Compared as bytes, because a name need not be UTF-8.
        let has = |key, parts: &[&str]| match gguf.get(key) {
            Some(Value::String(text)) => parts.iter().any(|part| contains_any_case(text.as_bytes(), part)),
            _ => false,
        };
        if has("tokenizer.ggml.pre", &["jina-v2-de", "jina-v2-es", "jina-v2-code"])
            || has("general.architecture", &["nomic-bert-moe", "jina-bert-v3"])
        {
            if let Some(id) = self.id_of(vocabulary, b"<mask>") {
                push(&mut self.strip_left, id)?;
            }
        } else if has("general.name", &["phi-3", "phi3"]) {
            for id in 0..vocabulary.n_vocab() as u32 {
                let keeps = [b"<unk>".as_slice(), b"<s>", b"<|endoftext|>"];
                if self.contains(vocabulary, id) && !keeps.contains(&vocabulary.piece(id)) {
                    push(&mut self.strip_right, id)?;
                }
            }
        } else if has("general.name", &["modern-bert"])
            && let Some(id) = self.id_of(vocabulary, b"[MASK]")
        {
            push(&mut self.strip_left, id)?;
        }
        Ok(())
    }

    /// Whether a token is special.
    pub(super) fn contains(&self, vocabulary: &Vocabulary<'_>, id: u32) -> bool {
        is_special(vocabulary.kind(id))
    }

    /// The special token with this text.
    pub(super) fn id_of(&self, vocabulary: &Vocabulary<'_>, text: &[u8]) -> Option<u32> {
        self.index.find(hash_bytes(text), |id| vocabulary.piece(id) == text)
    }

    /// Cuts a text at its special tokens and returns the fragments in order.
    ///
    /// With `parse_special` false only user-defined tokens count.
    pub(super) fn split(
        &self,
        vocabulary: &Vocabulary<'_>,
        text: &[u8],
        parse_special: bool,
        fragment: &mut dyn FnMut(Fragment) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        let search = Search { special: self, vocabulary, text, parse_special };
        let mut text_start = 0;
        if parse_special || self.has_user_defined {
            let mut at = 0;
            let mut stretch_end = 0;
            while at < text.len() {
                let Some(longest) = search.longest_at(at, &mut stretch_end) else {
                    at += 1;
                    continue;
                };
                at = search.cluster_end(&longest, &mut stretch_end);
                for found in search.resolve(text_start, longest.start..at)? {
                    if text_start < found.start {
                        fragment(Fragment::Text(text_start..found.start))?;
                    }
                    fragment(Fragment::Token(found.id))?;
                    text_start = found.end;
                }
            }
        }
        if text_start < text.len() {
            fragment(Fragment::Text(text_start..text.len()))?;
        }
        Ok(())
    }

    /// The lengths, up to `limit`, of the special tokens that begin with this byte, longest first.
    fn lengths(&self, first_byte: u8, limit: usize) -> impl Iterator<Item = usize> {
        let place = usize::from(first_byte);
        let range = self.by_first_byte[place] as usize..self.by_first_byte[place + 1] as usize;
        let lengths = self.lengths[range].iter().map(|length| !length.descending as usize);
        lengths.skip_while(move |&len| len > limit)
    }
}

/// A text in which special tokens are searched for.
struct Search<'s, 'a> {
    special: &'s SpecialTokens,
    vocabulary: &'s Vocabulary<'a>,
    text: &'s [u8],
    parse_special: bool,
}

impl Search<'_, '_> {
    /// The special token of this length that begins here.
    fn token_at(&self, start: usize, len: usize) -> Option<u32> {
        let text = self.text.get(start..start + len)?;
        self.special
            .id_of(self.vocabulary, text)
            .filter(|&id| self.parse_special || self.vocabulary.kind(id) == TokenKind::UserDefined)
    }

    /// The longest special token that begins here, including the white space that it absorbs after it.
    ///
    /// `stretch_end` is the value for an earlier place, or zero, and becomes the value for this one: the end of the
    /// stretch in which every two adjacent bytes are also adjacent in some special token. No special token reaches
    /// beyond it.
    fn longest_at(&self, start: usize, stretch_end: &mut usize) -> Option<Found> {
        if *stretch_end <= start {
            let neighbours = self.text[start..].windows(2);
            let joined = neighbours.take_while(|pair| self.special.adjacent.contains(pair[0], &pair[1..]));
            *stretch_end = start + 1 + joined.count();
        }
        self.special
            .lengths(self.text[start], *stretch_end - start)
            .find_map(|len| Some((self.token_at(start, len)?, start + len)))
            .map(|(id, end)| Found { id, start, end: self.strip_right(id, end, self.text.len()) })
    }

    /// The end of the last special token that overlaps with this one, directly or through other tokens.
    fn cluster_end(&self, first: &Found, stretch_end: &mut usize) -> usize {
        let mut end = first.end;
        let mut at = first.start + 1;
        while at < end {
            // No token in between can reach further, unless it absorbs white space.
            if end == *stretch_end && self.special.strip_right.is_empty() {
                break;
            }
            if let Some(found) = self.longest_at(at, stretch_end) {
                end = end.max(found.end);
            }
            at += 1;
        }
        end
    }

    /// Chooses the special tokens in a cluster: the longest first, the leftmost among equals, each where the earlier
    /// ones left room. The first one may absorb white space back to `text_start`.
    fn resolve(&self, text_start: usize, cluster: Range<usize>) -> Result<Vec<Found>, TokenizerError> {
        let mut taken: Vec<Found> = Vec::new();
        for &len in self.special.all_lengths.iter().rev() {
            let mut with_these = Vec::new();
            reserve(&mut with_these, taken.len())?;
            let mut gap_start = text_start;
            let mut at = cluster.start;
            for next in taken.iter().map(Some).chain([None]) {
                let gap_end = next.map_or(cluster.end, |found| found.start);
                while at + len as usize <= gap_end {
                    let Some(found) = self.place_token(at, len as usize, gap_start..gap_end) else {
                        at += 1;
                        continue;
                    };
                    gap_start = found.end;
                    at = found.end;
                    push(&mut with_these, found)?;
                }
                if let Some(&found) = next {
                    gap_start = found.end;
                    at = found.end;
                    push(&mut with_these, found)?;
                }
            }
            taken = with_these;
            if let [only] = taken[..]
                && only.start <= cluster.start
                && only.end >= cluster.end
            {
                break;
            }
        }
        Ok(taken)
    }

    /// The special token of this length that begins here, with the white space that it absorbs.
    fn place_token(&self, start: usize, len: usize, gap: Range<usize>) -> Option<Found> {
        if self.special.lengths(self.text[start], len).next() != Some(len) {
            return None;
        }
        let id = self.token_at(start, len)?;
        let mut begin = start;
        if self.special.strip_left.binary_search(&id).is_ok() {
            while begin > gap.start && is_c_space(self.text[begin - 1]) {
                begin -= 1;
            }
        }
        Some(Found { id, start: begin, end: self.strip_right(id, start + len, gap.end) })
    }

    fn strip_right(&self, id: u32, end: usize, limit: usize) -> usize {
        if self.special.strip_right.binary_search(&id).is_err() {
            return end;
        }
        let spaces = self.text[end..limit].iter().take_while(|&&byte| is_c_space(byte));
        end + spaces.count()
    }
}

fn is_special(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown)
}

fn contains_any_case(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// C's `isspace`.
fn is_c_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::GgufWriter;
    use crate::tokenizer::vocabulary::Spelling;
    use core::convert::Infallible;

    const CONTROL: i32 = 3;
    const USER_DEFINED: i32 = 4;

    fn file(tokens: &[(&str, i32)]) -> Vec<u8> {
        let mut writer = GgufWriter::new();
        writer.put_strings("tokenizer.ggml.tokens", tokens.iter().map(|(text, _)| text)).unwrap();
        let kinds: Vec<i32> = tokens.iter().map(|&(_, kind)| kind).collect();
        writer.put_i32s("tokenizer.ggml.token_type", &kinds).unwrap();
        let mut file = Vec::new();
        let tensors = writer.write_header::<Infallible, _>(|bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok(())
        });
        tensors.unwrap().finish::<Infallible>().unwrap();
        file
    }

    /// Token by token, the longest first, each in the text that the earlier ones left.
    fn plainly(
        tokens: &[(&str, i32)],
        text: &str,
        parse_special: bool,
        strip_right: &[u32],
    ) -> Vec<Fragment> {
        let mut order: Vec<u32> = (0..tokens.len() as u32).collect();
        ::sort::by_key(&mut order, |&id| (usize::MAX - tokens[id as usize].0.len(), id));
        let mut fragments = alloc::vec![Fragment::Text(0..text.len())];
        for id in order {
            let (token, kind) = tokens[id as usize];
            if kind == CONTROL && !parse_special {
                continue;
            }
            let mut after = Vec::new();
            for fragment in fragments {
                let Fragment::Text(range) = fragment else {
                    after.push(fragment);
                    continue;
                };
                let mut start = range.start;
                while let Some(place) = text[start..range.end].find(token) {
                    after.push(Fragment::Text(start..start + place));
                    after.push(Fragment::Token(id));
                    start += place + token.len();
                    while strip_right.contains(&id) && start < range.end && is_c_space(text.as_bytes()[start])
                    {
                        start += 1;
                    }
                }
                after.push(Fragment::Text(start..range.end));
            }
            after.retain(|fragment| !matches!(fragment, Fragment::Text(range) if range.is_empty()));
            fragments = after;
        }
        fragments.retain(|fragment| !matches!(fragment, Fragment::Text(range) if range.is_empty()));
        fragments
    }

    #[test]
    fn one_pass_gives_what_a_pass_per_token_gives() {
        let tokens = [
            ("<a>", CONTROL),
            ("<a><b>", CONTROL),
            ("<b>", USER_DEFINED),
            ("><", USER_DEFINED),
            ("  ", USER_DEFINED),
            ("   ", USER_DEFINED),
            (" <", CONTROL),
            ("b><a", USER_DEFINED),
            ("\n", USER_DEFINED),
        ];
        let file = file(&tokens);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let vocabulary = Vocabulary::from_gguf(&gguf, Spelling::Escaped).unwrap();
        let mut state = 1u32;
        let mut below = |n: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % n
        };
        for round in 0..2000 {
            let mut special = SpecialTokens::new(&vocabulary).unwrap();
            if round % 2 == 1 {
                special.strip_right = alloc::vec![0, 2];
            }
            let parts = ["<a>", "<b>", "<", ">", " ", "  ", "a", "b", "\n", "x"];
            let text: alloc::string::String = (0..below(12)).map(|_| parts[below(parts.len())]).collect();
            for parse_special in [false, true] {
                let mut fragments = Vec::new();
                special
                    .split(&vocabulary, text.as_bytes(), parse_special, &mut |fragment| {
                        fragments.push(fragment);
                        Ok(())
                    })
                    .unwrap();
                let expected = plainly(&tokens, &text, parse_special, &special.strip_right);
                assert_eq!(fragments, expected, "{text:?} {parse_special}");
            }
        }
    }
}
