//! Reuse of beginnings of texts that were computed before.

use super::prefix::{ContentId, EMPTY, NO_TOKEN, Part};
use super::{CHECKPOINT_EVERY, StateOptions, StateStore, Text};
use crate::kv_cache::PAGE_LEN;

/// The longest known beginning of a text.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    len: usize,
    /// The page of its last positions, if they do not fill a page.
    part: Option<u32>,
    /// The checkpoint of recurrent layers after it.
    checkpoint: Option<usize>,
    /// Tokens in common with known pages, whether or not there is a checkpoint.
    n_common: usize,
}

impl StateStore<'_> {
    /// Empties a slot and puts it into this group: from now on its texts share computed results only with texts of the same group, because
    /// other groups use a differently adapted network. Groups are numbered from 0; at first all slots are in group 0.
    pub fn join_group(&mut self, slot: usize, group: u64) {
        self.truncate(slot, 0);
        // Contents of pages are numbered upwards from 1, so the roots of groups are numbered downwards.
        self.roots[slot] = if group == 0 { EMPTY } else { ContentId::MAX - group };
    }

    /// Fills a slot with the longest known beginning of `tokens`, never including the last token, and returns its length. With recurrent
    /// layers it ends at a checkpoint.
    pub fn reuse(&mut self, slot: usize, tokens: &[u32]) -> usize {
        self.truncate(slot, 0);
        let root = self.roots[slot];
        let mut known = self.known(root, tokens, PAGE_LEN - 1);
        if known.part.is_some_and(|part| self.is_page_missing(root, tokens, known.len, part)) {
            known = self.known(root, tokens, 0);
        }
        let Known { len, part, checkpoint, .. } = known;
        let n_whole = len / PAGE_LEN;
        let mut before = root;
        for index in 0..n_whole {
            let of_page = &tokens[index * PAGE_LEN..][..PAGE_LEN];
            let Some((page, content)) = self.prefixes.find(before, of_page) else {
                unreachable!("the page was found before")
            };
            self.pages.hold(page);
            self.table_mut(slot)[index] = page;
            before = content;
        }
        if let Some(part) = part {
            self.table_mut(slot)[n_whole] = self.page_of_part(part, len % PAGE_LEN);
        }
        if let Some(checkpoint) = checkpoint {
            self.recurrent[slot].clear();
            self.checkpoints.restore(checkpoint, &mut self.recurrent[slot]);
            self.checkpoints.leave_behind(checkpoint);
        }
        self.slots[slot] = [len as u32, StateOptions::pages_of(len) as u32];
        let branch = known.n_common / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
        let end = tokens.len().min(self.options.n_ctx);
        self.texts[slot] = Text { branch: branch as u32, first: len as u32, end: end as u32 };
        len
    }

    /// Marks the checkpoint where a slot's text diverges from another one as just used, because a third text may share that beginning.
    pub(super) fn touch_branch(&mut self, slot: usize) {
        if !self.is_recurrent() {
            return;
        }
        self.touch_within(slot, self.texts[slot].branch);
    }

    /// Marks the last checkpoint in the part of a slot's text that was known beforehand as just used, because a text that continues
    /// differently from the answer continues from there.
    pub(super) fn touch_prompt(&mut self, slot: usize) {
        self.touch_within(slot, self.texts[slot].end);
    }

    fn touch_within(&mut self, slot: usize, len: u32) {
        if let Some((checkpoint, _)) = self.checkpoint_within(slot, self.len(slot).min(len as usize)) {
            self.checkpoints.touch(checkpoint);
        }
    }

    /// How many of these tokens, never including the last, are known for a slot.
    pub fn n_known(&self, slot: usize, tokens: &[u32]) -> usize {
        self.known(self.roots[slot], tokens, PAGE_LEN - 1).len
    }

    /// The number of free pages that a text of these tokens would take in a slot after [`reuse`](Self::reuse) found its
    /// beginning.
    pub fn pages_lacking(&self, slot: usize, tokens: &[u32]) -> usize {
        let root = self.roots[slot];
        let n_whole = self.known(root, tokens, PAGE_LEN - 1).len / PAGE_LEN;
        let whole = self.known_pages(root, tokens).take(n_whole);
        let n_shared = whole.filter(|&(page, _)| self.pages.n_holders(page) > 0).count();
        StateOptions::pages_of(tokens.len()) - n_shared
    }

    /// Makes the contents of a slot available for later texts: the end that does not fill a page, and the state of recurrent layers.
    pub(super) fn leave(&mut self, slot: usize) {
        let Some((before, page, n)) = self.end_of_beginning(slot, self.len(slot)) else { return };
        self.touch_branch(slot);
        if n < PAGE_LEN && self.pages.n_holders(page) == 1 {
            self.prefixes.enter_part(page, Some(before), n);
        }
        let tokens = self.prefixes.noted(page, n);
        if !tokens.contains(&NO_TOKEN) {
            self.checkpoints.save(&self.recurrent[slot], before, tokens);
        }
    }

    /// The end of the first `len` positions of a slot: the content of the whole pages, the page after them, and the number of positions in
    /// that page. `None` if it is unknown, or if there are no positions.
    pub(super) fn end_of_beginning(&self, slot: usize, len: usize) -> Option<(ContentId, u32, usize)> {
        let index = len.checked_sub(1).filter(|_| self.prefixes.is_used())? / PAGE_LEN;
        let before = match index {
            0 => self.roots[slot],
            _ => self.prefixes.content(self.table(slot)[index - 1])?,
        };
        Some((before, self.table(slot)[index], len - index * PAGE_LEN))
    }

    /// The last checkpoint within the first `len` positions of a slot, and the number of positions before it.
    pub(super) fn checkpoint_within(&self, slot: usize, len: usize) -> Option<(usize, usize)> {
        (0..StateOptions::pages_of(len)).rev().find_map(|index| {
            let first = index * PAGE_LEN;
            let end = len.min(first + PAGE_LEN);
            let (before, page, n) = self.end_of_beginning(slot, end)?;
            let (checkpoint, n) = self.checkpoints.longest(before, self.prefixes.noted(page, n))?;
            Some((checkpoint, first + n))
        })
    }

    /// The longest known beginning of `tokens`, never including the last token, among texts that begin after `root`. At
    /// most `most_part` of its positions may lie in a page that it does not fill.
    fn known(&self, root: ContentId, tokens: &[u32], most_part: usize) -> Known {
        let tokens = &tokens[..tokens.len().saturating_sub(1).min(self.options.n_ctx)];
        let mut known = Known::default();
        let mut before = root;
        for (index, tokens) in tokens.chunks(PAGE_LEN).enumerate() {
            let whole = match tokens.len() {
                PAGE_LEN => self.prefixes.find(before, tokens),
                _ => None,
            };
            let (page, n_common) = match whole {
                Some((page, _)) => (page, PAGE_LEN),
                None => match self.find_part(before, tokens) {
                    Some(part) => (part.page, part.n_common),
                    None => break,
                },
            };
            let (n, checkpoint) = match self.is_recurrent() {
                false => (n_common, None),
                true => match self.checkpoints.longest(before, &tokens[..n_common]) {
                    Some((checkpoint, n)) => (n, Some(checkpoint)),
                    None => (0, None),
                },
            };
            let first = index * PAGE_LEN;
            if n == PAGE_LEN {
                known = Known { len: first + n, part: None, checkpoint, ..known };
            } else if (1..=most_part).contains(&n) {
                known = Known { len: first + n, part: Some(page), checkpoint, ..known };
            }
            known.n_common = first + n_common;
            let Some((_, content)) = whole else { break };
            before = content;
        }
        known
    }

    /// Among the pages after the content `before`, including the last pages of slots, the one that has the most tokens in common with
    /// `tokens`, if any has. Among equals it prefers one that is not being filled.
    fn find_part(&self, before: ContentId, tokens: &[u32]) -> Option<Part> {
        let being_filled = (0..self.options.n_slots).filter_map(|slot| {
            let (of_slot, page, n) = self.end_of_beginning(slot, self.len(slot))?;
            (of_slot == before).then(|| Part::new(page, self.prefixes.noted(page, n), tokens))
        });
        let parts = being_filled.chain(self.prefixes.find_part(before, tokens));
        parts.max_by_key(|part| part.n_common).filter(|part| part.n_common > 0)
    }

    /// The known whole pages with which `tokens` begin, and the numbers of their contents.
    fn known_pages(&self, root: ContentId, tokens: &[u32]) -> impl Iterator<Item = (u32, ContentId)> {
        tokens.chunks_exact(PAGE_LEN).scan(root, |before, of_page| {
            let (page, content) = self.prefixes.find(*before, of_page)?;
            *before = content;
            Some((page, content))
        })
    }

    /// Whether there is no free page for a copy of `part` after the whole pages of the first `len` tokens are taken.
    fn is_page_missing(&self, root: ContentId, tokens: &[u32], len: usize, part: u32) -> bool {
        let whole = self.known_pages(root, tokens).take(len / PAGE_LEN);
        let n_taken = whole.filter(|&(page, _)| self.pages.n_holders(page) == 0).count();
        let is_free = self.pages.n_holders(part) == 0;
        // If `part` itself is free, it is one of the pages that are left.
        !is_free && self.pages.n_free() == n_taken
    }

    /// A page for a text that has the first `len` positions of `part`: `part` itself if it has no other positions and no holder, otherwise
    /// a copy.
    fn page_of_part(&mut self, part: u32, len: usize) -> u32 {
        if self.pages.n_holders(part) == 0 && self.prefixes.tokens(part).len() == len {
            self.pages.hold(part);
            return part;
        }
        let page = self.take_page();
        if page != part {
            self.kv.copy_page(part as usize, page as usize);
            self.prefixes.copy_tokens(part, page);
        }
        page
    }
}
