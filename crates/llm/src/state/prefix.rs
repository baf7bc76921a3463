//! Which page holds which beginning of a text.
//!
//! A page's keys and values follow from its tokens and from all tokens before it. Each content that was ever entered has
//! a number of its own, and is found by the number of the content before it and by its own tokens, all of which are
//! compared: two texts never share a page by accident.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::arena::{Arena, OutOfMemory};
use crate::kv_cache::PAGE_LEN;

/// No page.
const NONE: u32 = u32::MAX;

/// Stands for something that is no token.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// The number of a content; [`EMPTY`] is the text without tokens.
pub(super) type ContentId = u64;

/// What comes before the first page.
pub(super) const EMPTY: ContentId = 1;

/// The content is not known, or not a whole page.
const UNKNOWN: ContentId = 0;

/// Finds pages by their content.
#[derive(Debug)]
pub(super) struct PrefixIndex<'m> {
    /// The first page of each chain of entries whose hashes are alike; a power of two of them, or none.
    buckets: &'m mut [u32],
    /// `[n_pages]`
    entries: &'m mut [Entry],
    /// `[n_pages][PAGE_LEN]`: what each position was computed for.
    tokens: &'m mut [u32],
    last_content: ContentId,
}

/// What is known of a page.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    content: ContentId,
    /// The content before it.
    before: ContentId,
    /// The next page of its chain.
    next: u32,
    /// Whether the page is in a chain: 1, or 0.
    is_entered: u32,
}

impl<'m> PrefixIndex<'m> {
    /// An index that knows no page of `n_pages`.
    pub fn carve(n_pages: usize, arena: &mut Arena<'m>) -> Result<Self, OutOfMemory> {
        let n_buckets =
            if n_pages == 0 { 0 } else { n_pages.checked_next_power_of_two().unwrap_or(usize::MAX) };
        let buckets = arena.take::<u32>(n_buckets)?;
        let entries = arena.take::<Entry>(n_pages)?;
        let tokens = arena.take::<u32>(n_pages.saturating_mul(PAGE_LEN))?;
        buckets.fill(NONE);
        entries.fill(Entry { content: UNKNOWN, before: UNKNOWN, next: NONE, is_entered: 0 });
        Ok(PrefixIndex { buckets, entries, tokens, last_content: EMPTY })
    }

    /// Whether texts are compared at all.
    pub fn is_used(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// Notes for which token position `row` of a page was computed.
    pub fn set_token(&mut self, page: u32, row: usize, token: u32) {
        if self.is_used() {
            self.tokens[page as usize * PAGE_LEN + row] = token;
        }
    }

    /// Notes for a copy of a page what is noted for that.
    pub fn copy_tokens(&mut self, from: u32, to: u32) {
        if self.is_used() {
            let from = from as usize * PAGE_LEN;
            self.tokens.copy_within(from..from + PAGE_LEN, to as usize * PAGE_LEN);
        }
    }

    /// The page with these tokens after what `before` stands for, and the number of its content.
    pub fn find(&self, before: ContentId, tokens: &[u32]) -> Option<(u32, ContentId)> {
        let mut page = self.buckets.get(self.bucket(before, tokens)).copied().unwrap_or(NONE);
        while page != NONE {
            let entry = &self.entries[page as usize];
            if entry.before == before && self.tokens_of(page) == tokens {
                return Some((page, entry.content));
            }
            page = entry.next;
        }
        None
    }

    /// Enters a page, all positions of which have been computed, after what `before` stands for, and returns the number of
    /// its content; `None` if the text before it is not known, or has something that is no token.
    pub fn enter(&mut self, page: u32, before: Option<ContentId>) -> Option<ContentId> {
        let before = before?;
        if !self.is_used() || self.tokens_of(page).contains(&NO_TOKEN) {
            return None;
        }
        // Another page with the same content stands for this one too.
        let found = self.find(before, self.tokens_of(page));
        let content = found.map_or(self.last_content + 1, |(_, content)| content);
        self.last_content = self.last_content.max(content);
        let mut entry = Entry { content, before, next: NONE, is_entered: 0 };
        if found.is_none() {
            let bucket = self.bucket(before, self.tokens_of(page));
            entry.next = self.buckets[bucket];
            entry.is_entered = 1;
            self.buckets[bucket] = page;
        }
        self.entries[page as usize] = entry;
        Some(content)
    }

    /// The number of a page's content, once it was entered.
    pub fn content(&self, page: u32) -> Option<ContentId> {
        let content = self.entries.get(page as usize)?.content;
        (content != UNKNOWN).then_some(content)
    }

    /// Whether a page can be found.
    pub fn is_entered(&self, page: u32) -> bool {
        self.entries.get(page as usize).is_some_and(|entry| entry.is_entered == 1)
    }

    /// Forgets what a page holds.
    pub fn remove(&mut self, page: u32) {
        let Some(&Entry { before, next, is_entered, .. }) = self.entries.get(page as usize) else { return };
        if is_entered == 1 {
            let bucket = self.bucket(before, self.tokens_of(page));
            let mut place = &mut self.buckets[bucket];
            while *place != page {
                place = &mut self.entries[*place as usize].next;
            }
            *place = next;
        }
        self.entries[page as usize] = Entry { content: UNKNOWN, before: UNKNOWN, next: NONE, is_entered: 0 };
    }

    fn tokens_of(&self, page: u32) -> &[u32] {
        &self.tokens[page as usize * PAGE_LEN..][..PAGE_LEN]
    }

    fn bucket(&self, before: ContentId, tokens: &[u32]) -> usize {
        // FNV-1a, over whole words.
        let hash = tokens.iter().fold(before ^ 0xcbf2_9ce4_8422_2325, |hash, &token| {
            (hash ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3)
        });
        (hash ^ hash >> 32) as usize & self.buckets.len().wrapping_sub(1)
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
        let first = index.enter(0, Some(EMPTY));
        let second = index.enter(1, first);
        assert_eq!(index.find(EMPTY, &a), Some((0, first.unwrap())));
        assert_eq!(index.find(first.unwrap(), &b), Some((1, second.unwrap())));
        assert_eq!(index.find(EMPTY, &b), None);
        // The same text again, in another page: it counts as the first, which alone is found.
        set(&mut index, 2, 7);
        assert_eq!(index.enter(2, Some(EMPTY)), first);
        assert!(index.is_entered(0) && !index.is_entered(2));
        index.remove(0);
        assert_eq!(index.find(EMPTY, &a), None);
        assert_eq!(index.content(0), None);
        // Entered anew, it is another content: what followed the old one does not follow it.
        let again = index.enter(0, Some(EMPTY));
        assert_ne!(again, first);
        assert_eq!(index.find(again.unwrap(), &b), None);
    }

    #[test]
    fn what_has_no_tokens_is_not_entered() {
        let mut memory = vec![0xff; 4096];
        let mut index = PrefixIndex::carve(2, &mut Arena::new(&mut memory)).unwrap();
        set(&mut index, 0, 7);
        index.set_token(0, 63, NO_TOKEN);
        assert_eq!(index.enter(0, Some(EMPTY)), None);
        set(&mut index, 1, 7);
        assert_eq!(index.enter(1, None), None);
        let mut unused = PrefixIndex::carve(0, &mut Arena::measuring()).unwrap();
        unused.set_token(3, 0, 1);
        unused.remove(3);
        assert_eq!((unused.enter(3, Some(EMPTY)), unused.find(EMPTY, &[1; PAGE_LEN])), (None, None));
    }
}
