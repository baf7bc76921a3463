//! Tracks which pages are held, and the order in which the others are taken.
//!
//! A page is held by all slots that have it in their tables. Pages without a holder are in one list. Pages are taken from its beginning. A
//! released page goes to the end of the list if its content may be found again ([`PrefixIndex`](super::prefix::PrefixIndex)), and to the
//! beginning otherwise; so the least recently used content is lost first. A slot releases its last pages first, so that a page is lost
//! before the pages that it follows. When a page is overwritten, the pages that followed it can no longer be found, but they keep their
//! places in the list until it is their turn.

use crate::arena::{Arena, OutOfMemory};

/// No page.
const NONE: u32 = u32::MAX;

/// The holders of pages, and the list of those without.
#[derive(Debug)]
pub(super) struct Pages<'m> {
    /// `[n_pages]`
    n_holders: &'m mut [u32],
    /// `[n_pages]`: neighbours in the list.
    before: &'m mut [u32],
    after: &'m mut [u32],
    /// The first page to be taken.
    first: u32,
    last: u32,
    n_free: usize,
}

impl<'m> Pages<'m> {
    /// Makes `n_pages` pages without a holder.
    pub fn carve(n_pages: usize, arena: &mut Arena<'m>) -> Result<Self, OutOfMemory> {
        let mut numbers = || arena.take::<u32>(n_pages);
        let (n_holders, before, after) = (numbers()?, numbers()?, numbers()?);
        n_holders.fill(0);
        let mut pages = Pages { n_holders, before, after, first: NONE, last: NONE, n_free: 0 };
        // The arrays are empty while an arena is only measured.
        (0..pages.n_holders.len() as u32).for_each(|page| pages.append(page));
        Ok(pages)
    }

    /// Number of pages without a holder.
    pub fn n_free(&self) -> usize {
        self.n_free
    }

    /// How many slots hold a page.
    pub fn n_holders(&self, page: u32) -> usize {
        self.n_holders[page as usize] as usize
    }

    /// Takes the least recently used page without a holder. It then has one holder.
    pub fn take(&mut self) -> Option<u32> {
        let page = self.first;
        if page == NONE {
            return None;
        }
        self.unlink(page);
        self.n_holders[page as usize] = 1;
        Some(page)
    }

    /// Adds a holder.
    pub fn hold(&mut self, page: u32) {
        if self.n_holders[page as usize] == 0 {
            self.unlink(page);
        }
        self.n_holders[page as usize] += 1;
    }

    /// Removes a holder; `is_worth_keeping` says whether the page's content may be found again.
    pub fn release(&mut self, page: u32, is_worth_keeping: bool) {
        let n_holders = &mut self.n_holders[page as usize];
        assert!(*n_holders > 0, "page {page} has no holder");
        *n_holders -= 1;
        match (*n_holders, is_worth_keeping) {
            (1.., _) => {}
            (0, true) => self.append(page),
            (0, false) => self.prepend(page),
        }
    }

    fn append(&mut self, page: u32) {
        self.link(page, self.last, NONE);
    }

    fn prepend(&mut self, page: u32) {
        self.link(page, NONE, self.first);
    }

    /// Puts a page between neighbours in the list.
    fn link(&mut self, page: u32, before: u32, after: u32) {
        (self.before[page as usize], self.after[page as usize]) = (before, after);
        *self.place_after(before) = page;
        *self.place_before(after) = page;
        self.n_free += 1;
    }

    fn unlink(&mut self, page: u32) {
        let (before, after) = (self.before[page as usize], self.after[page as usize]);
        *self.place_after(before) = after;
        *self.place_before(after) = before;
        self.n_free -= 1;
    }

    /// The entry for the page after this one, or for the first page.
    fn place_after(&mut self, page: u32) -> &mut u32 {
        if page == NONE { &mut self.first } else { &mut self.after[page as usize] }
    }

    /// The entry for the page before this one, or for the last page.
    fn place_before(&mut self, page: u32) -> &mut u32 {
        if page == NONE { &mut self.last } else { &mut self.before[page as usize] }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn pages_are_taken_in_the_order_in_which_they_were_left_and_worthless_ones_first() {
        let mut memory = vec![0xff; 1024];
        let mut pages = Pages::carve(4, &mut Arena::new(&mut memory)).unwrap();
        assert_eq!([(); 5].map(|()| pages.take()), [Some(0), Some(1), Some(2), Some(3), None]);
        pages.hold(2);
        assert_eq!([1, 2].map(|page| pages.n_holders(page)), [1, 2]);
        for (page, is_worth_keeping) in [(2, false), (3, true), (1, true), (2, true), (0, false)] {
            pages.release(page, is_worth_keeping);
        }
        assert_eq!(pages.n_free(), 4);
        pages.hold(1);
        assert_eq!(pages.n_free(), 3);
        assert_eq!([(); 4].map(|()| pages.take()), [Some(0), Some(3), Some(2), None]);
    }
}
