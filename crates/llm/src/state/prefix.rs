//! Finds the page that holds a beginning of a text.
//!
//! A page's keys and values depend on its tokens and on all tokens before it. Each content of a whole page that was ever entered has a
//! unique number. A page is found by the number of the content before it and by its own tokens, which are all compared: two texts never
//! share a page by accident. The end of a text that does not fill a page is entered too, when the text is gone; no page can be found after
//! it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::arena::{Arena, OutOfMemory};
use crate::kv_cache::PAGE_LEN;

/// No page.
const NONE: u32 = u32::MAX;

/// Stands for an input that is not a token.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// The number of a content; [`EMPTY`] is the text without tokens.
pub(super) type ContentId = u64;

/// The content before the first page.
pub(super) const EMPTY: ContentId = 1;

/// Marks a page that is not entered.
const UNKNOWN: ContentId = 0;

/// Finds pages by their content.
#[derive(Debug)]
pub(super) struct PrefixIndex<'m> {
    /// The first page of each chain of entries, by the number of the content before them. The number of chains is a power of two, or 0.
    buckets: &'m mut [u32],
    /// `[n_pages]`
    entries: &'m mut [Entry],
    /// `[n_pages][PAGE_LEN]`: the token that each position was computed for.
    tokens: &'m mut [u32],
    last_content: ContentId,
}

/// Facts about a page.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    content: ContentId,
    /// The content before it.
    before: ContentId,
    /// The next page of its chain.
    next: u32,
    /// Positions that are entered; 0 if the page is not.
    len: u32,
}

/// A page whose beginning equals the continuation of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The page.
    pub page: u32,
    /// Tokens that it has in common with the text.
    pub n_common: usize,
}

impl Part {
    /// Compares the tokens of a page, `of_page`, with `tokens`.
    pub fn new(page: u32, of_page: &[u32], tokens: &[u32]) -> Self {
        let n_common = of_page.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        Part { page, n_common }
    }
}

impl Entry {
    /// The entry of a page that is not entered.
    const NONE: Entry = Entry { content: UNKNOWN, before: UNKNOWN, next: NONE, len: 0 };
}

impl<'m> PrefixIndex<'m> {
    /// An empty index for `n_pages` pages.
    pub fn carve(n_pages: usize, arena: &mut Arena<'m>) -> Result<Self, OutOfMemory> {
        let n_buckets =
            if n_pages == 0 { 0 } else { n_pages.checked_next_power_of_two().unwrap_or(usize::MAX) };
        let buckets = arena.take::<u32>(n_buckets)?;
        let entries = arena.take::<Entry>(n_pages)?;
        let tokens = arena.take::<u32>(n_pages.saturating_mul(PAGE_LEN))?;
        buckets.fill(NONE);
        entries.fill(Entry::NONE);
        Ok(PrefixIndex { buckets, entries, tokens, last_content: EMPTY })
    }

    /// Whether the index is in use.
    pub fn is_used(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// Notes the token for which position `row` of a page was computed.
    pub fn set_token(&mut self, page: u32, row: usize, token: u32) {
        if self.is_used() {
            self.tokens[page as usize * PAGE_LEN + row] = token;
        }
    }

    /// Copies the noted tokens of a page for a copy of it.
    pub fn copy_tokens(&mut self, from: u32, to: u32) {
        if self.is_used() {
            let from = from as usize * PAGE_LEN;
            self.tokens.copy_within(from..from + PAGE_LEN, to as usize * PAGE_LEN);
        }
    }

    /// The whole page with these tokens after the content `before`, and the number of its content.
    pub fn find(&self, before: ContentId, tokens: &[u32]) -> Option<(u32, ContentId)> {
        let page = self.entries_after(before).find(|&page| self.tokens(page) == tokens)?;
        Some((page, self.content(page)?))
    }

    /// Among the pages after the content `before`, whole or not, the one that has the most tokens in common with `tokens`, if any has.
    pub fn find_part(&self, before: ContentId, tokens: &[u32]) -> Option<Part> {
        let parts = self.entries_after(before).map(|page| Part::new(page, self.tokens(page), tokens));
        parts.max_by_key(|part| part.n_common).filter(|part| part.n_common > 0)
    }

    /// Enters a page, all positions of which must have been computed, after the content `before`, unless another page
    /// with the same content is already entered. Returns the entered page; `None` if the text before is unknown, or if
    /// the page contains an input that is not a token.
    pub fn enter(&mut self, page: u32, before: Option<ContentId>) -> Option<u32> {
        let before = before?;
        if !self.is_used() || self.noted(page, PAGE_LEN).contains(&NO_TOKEN) {
            return None;
        }
        if let Some((known, _)) = self.find(before, self.noted(page, PAGE_LEN)) {
            return Some(known);
        }
        self.last_content += 1;
        self.link(page, Entry { content: self.last_content, before, next: NONE, len: PAGE_LEN as u32 });
        Some(page)
    }

    /// Enters a page whose first `len` positions have been computed and end a text, unless a page that begins with them is already entered.
    pub fn enter_part(&mut self, page: u32, before: Option<ContentId>, len: usize) {
        let Some(before) = before.filter(|_| self.is_used() && !self.is_entered(page)) else { return };
        let tokens = self.noted(page, len);
        let is_known = self.find_part(before, tokens).is_some_and(|part| part.n_common == len);
        if !is_known && !tokens.contains(&NO_TOKEN) {
            self.link(page, Entry { content: UNKNOWN, before, next: NONE, len: len as u32 });
        }
    }

    /// The number of a whole page's content, while it is entered.
    pub fn content(&self, page: u32) -> Option<ContentId> {
        let content = self.entries.get(page as usize)?.content;
        (content != UNKNOWN).then_some(content)
    }

    /// Whether a page can be found.
    pub fn is_entered(&self, page: u32) -> bool {
        self.entries.get(page as usize).is_some_and(|entry| entry.len > 0)
    }

    /// The tokens by which a page is found; empty if it is not entered.
    pub fn tokens(&self, page: u32) -> &[u32] {
        self.noted(page, self.entries[page as usize].len as usize)
    }

    /// The tokens for which the first `len` positions of a page were computed.
    pub fn noted(&self, page: u32, len: usize) -> &[u32] {
        &self.tokens[page as usize * PAGE_LEN..][..len]
    }

    /// Removes a page from the index.
    pub fn remove(&mut self, page: u32) {
        if !self.is_entered(page) {
            return;
        }
        let Entry { before, next, .. } = core::mem::replace(&mut self.entries[page as usize], Entry::NONE);
        let bucket = self.bucket(before);
        let mut place = &mut self.buckets[bucket];
        while *place != page {
            place = &mut self.entries[*place as usize].next;
        }
        *place = next;
    }

    fn link(&mut self, page: u32, entry: Entry) {
        let bucket = self.bucket(entry.before);
        let next = core::mem::replace(&mut self.buckets[bucket], page);
        self.entries[page as usize] = Entry { next, ..entry };
    }

    /// The pages entered after the content `before`.
    fn entries_after(&self, before: ContentId) -> impl Iterator<Item = u32> {
        let first = self.buckets.get(self.bucket(before)).copied();
        let next = |&page: &u32| Some(self.entries[page as usize].next).filter(|&page| page != NONE);
        core::iter::successors(first.filter(|&page| page != NONE), next)
            .filter(move |&page| self.entries[page as usize].before == before)
    }

    /// Contents are numbered consecutively, which spreads them evenly.
    fn bucket(&self, before: ContentId) -> usize {
        before as usize & self.buckets.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::*;

    fn set(index: &mut PrefixIndex<'_>, page: u32, token: u32) -> Vec<u32> {
        (0..PAGE_LEN).for_each(|row| index.set_token(page, row, token));
        vec![token; PAGE_LEN]
    }

    #[test]
    fn a_page_is_found_after_the_same_text_only_until_it_is_removed() {
        let mut memory = vec![0xff; 4096];
        let mut index = PrefixIndex::carve(5, &mut Arena::new(&mut memory)).unwrap();
        let (a, b) = (set(&mut index, 0, 7), set(&mut index, 1, 8));
        assert_eq!(index.enter(0, Some(EMPTY)), Some(0));
        let first = index.content(0);
        assert_eq!(index.enter(1, first), Some(1));
        assert_eq!(index.find(EMPTY, &a), Some((0, first.unwrap())));
        assert_eq!(index.find(first.unwrap(), &b), Some((1, index.content(1).unwrap())));
        assert_eq!(index.find(EMPTY, &b), None);
        // The same text again in another page: the first page represents it.
        set(&mut index, 2, 7);
        assert_eq!(index.enter(2, Some(EMPTY)), Some(0));
        assert!(index.is_entered(0) && !index.is_entered(2));
        index.remove(0);
        assert_eq!(index.find(EMPTY, &a), None);
        assert_eq!(index.content(0), None);
        // Entered again, it counts as a new content: pages that followed the old one do not follow it.
        assert_eq!(index.enter(0, Some(EMPTY)), Some(0));
        let again = index.content(0);
        assert_ne!(again, first);
        assert_eq!(index.find(again.unwrap(), &b), None);
    }

    #[test]
    fn the_page_with_most_in_common_is_found_though_it_is_no_whole_one() {
        let mut memory = vec![0xff; 4096];
        let mut index = PrefixIndex::carve(4, &mut Arena::new(&mut memory)).unwrap();
        let tokens: Vec<u32> = (0..PAGE_LEN as u32).collect();
        (0..PAGE_LEN).for_each(|row| index.set_token(0, row, tokens[row]));
        (0..PAGE_LEN).for_each(|row| index.set_token(1, row, tokens[row.min(20)]));
        assert_eq!(index.find_part(EMPTY, &tokens), None);
        index.enter_part(1, Some(EMPTY), 30);
        assert_eq!(index.find_part(EMPTY, &tokens), Some(Part { page: 1, n_common: 21 }));
        assert_eq!(index.find(EMPTY, &tokens[..20]), None);
        // Tokens that another page already has are not entered.
        index.enter_part(0, Some(EMPTY), 21);
        assert!(!index.is_entered(0));
        index.enter_part(0, Some(EMPTY), 22);
        assert_eq!(index.find_part(EMPTY, &tokens), Some(Part { page: 0, n_common: 22 }));
        assert_eq!(index.find_part(EMPTY, &tokens[..3]).map(|part| part.n_common), Some(3));
        assert_eq!(index.find_part(EMPTY, &[9]), None);
        assert_eq!((index.content(0), index.tokens(0)), (None, &tokens[..22]));
        index.remove(0);
        index.remove(1);
        assert_eq!(index.find_part(EMPTY, &tokens), None);
    }

    #[test]
    fn what_has_no_tokens_is_not_entered() {
        let mut memory = vec![0xff; 4096];
        let mut index = PrefixIndex::carve(2, &mut Arena::new(&mut memory)).unwrap();
        set(&mut index, 0, 7);
        index.set_token(0, 63, NO_TOKEN);
        assert_eq!(index.enter(0, Some(EMPTY)), None);
        index.enter_part(0, Some(EMPTY), 64);
        assert!(!index.is_entered(0));
        set(&mut index, 1, 7);
        assert_eq!(index.enter(1, None), None);
        let mut unused = PrefixIndex::carve(0, &mut Arena::measuring()).unwrap();
        unused.set_token(3, 0, 1);
        unused.remove(3);
        assert_eq!((unused.enter(3, Some(EMPTY)), unused.find(EMPTY, &[1; PAGE_LEN])), (None, None));
    }
}
