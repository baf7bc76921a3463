//! DRY: tokens that would continue a repetition become less likely, the more so the longer it is.
//!
//! Source: p-e-w, "DRY: a modern repetition penalty", text-generation-webui pull request 5677, in llama.cpp's form.

use alloc::vec::Vec;

use super::candidates::{Candidates, finite};
use super::penalties::pair;
use super::recent::Recent;
use super::{SamplingConfig, SamplingError, reserve};

/// Sequences of tokens across which nothing counts as repeated.
#[derive(Debug, Default)]
pub struct Breakers {
    /// A first token, and the range in `rest` of the tokens after it. Ordered by [`Breakers::sort`].
    heads: Vec<(u32, u32, u32)>,
    rest: Vec<u32>,
}

impl Breakers {
    /// Adds a sequence: `head`, and the tokens after it.
    ///
    /// # Errors
    /// [`SamplingError::OutOfMemory`].
    pub fn add(&mut self, head: u32, rest: &[u32]) -> Result<(), SamplingError> {
        let needed_bytes = (self.heads.len() + 1).saturating_mul(size_of::<(u32, u32, u32)>());
        self.heads.try_reserve(1).map_err(|_| SamplingError::OutOfMemory { needed_bytes })?;
        let needed_bytes = size_of_val(&self.rest[..]).saturating_add(size_of_val(rest));
        self.rest.try_reserve(rest.len()).map_err(|_| SamplingError::OutOfMemory { needed_bytes })?;
        // Fits 32 bits: vocabularies have fewer than 2^32 tokens, and few of them begin a breaker.
        let (start, end) = (self.rest.len() as u32, (self.rest.len() + rest.len()) as u32);
        // Kept in order for the search; most callers add them in order.
        let place = self.heads.partition_point(|&(other, ..)| other <= head);
        self.heads.insert(place, (head, start, end));
        self.rest.extend_from_slice(rest);
        Ok(())
    }

    /// The remaining tokens of the sequences that begin with `head`.
    fn after(&self, head: u32) -> impl Iterator<Item = &[u32]> {
        let first = self.heads.partition_point(|&(other, ..)| other < head);
        let same = self.heads[first..].iter().take_while(move |&&(other, ..)| other == head);
        same.map(|&(_, start, end)| &self.rest[start as usize..end as usize])
    }

    /// How many tokens of `text` (newest first) came after the last of these sequences; `text.len()` if none occurs.
    fn n_after_last(&self, text: &[u32]) -> usize {
        for (n_after, &head) in text.iter().enumerate() {
            let came = |rest: &&[u32]| {
                rest.len() <= n_after && rest.iter().eq(text[n_after - rest.len()..n_after].iter().rev())
            };
            if let Some(n_rest) = self.after(head).filter(came).map(<[u32]>::len).max() {
                return n_after - n_rest;
            }
        }
        text.len()
    }
}

/// The buffers of DRY.
#[derive(Debug, Default)]
pub(super) struct Dry {
    pub breakers: Breakers,
    /// The window, newest first.
    text: Vec<u32>,
    /// For each place in the window, how many tokens from there on equal those from the first place on.
    lengths: Vec<u32>,
}

impl Dry {
    pub fn new(window: usize) -> Result<Self, SamplingError> {
        let mut dry = Self::default();
        reserve(&mut dry.text, window)?;
        reserve(&mut dry.lengths, window)?;
        Ok(dry)
    }

    /// Makes tokens less likely by the longest repetition that each would continue. `continued` must have room for as many entries as the
    /// window.
    pub fn apply(
        &mut self,
        candidates: &mut Candidates,
        recent: &Recent,
        config: &SamplingConfig,
        continued: &mut Vec<u64>,
    ) {
        let &SamplingConfig { dry_multiplier, dry_base, dry_allowed_length, dry_penalty_last_n, .. } = config;
        self.text.clear();
        self.text.extend(recent.newest_first().take(dry_penalty_last_n as usize));
        if self.text.len() <= dry_allowed_length as usize {
            return;
        }
        let most = self.breakers.n_after_last(&self.text) as u32;
        if most < dry_allowed_length {
            return;
        }
        self.compare();
        continued.clear();
        for (place, &length) in self.lengths.iter().enumerate().skip(1) {
            let length = length.min(most);
            if length >= dry_allowed_length {
                continued.push(pair(self.text[place - 1], length));
            }
        }
        continued.sort_unstable();
        // Adjacent entries of the same token: the last one has the longest repetition.
        continued.dedup_by(|next, first| {
            let is_same = *next >> 32 == *first >> 32;
            if is_same {
                *first = *next;
            }
            is_same
        });
        continued.retain(|&pair| self.breakers.after((pair >> 32) as u32).all(|rest| !rest.is_empty()));
        let most_beyond = most_beyond(dry_base);
        candidates.change(continued, &mut |logit, length| {
            let beyond = (length - dry_allowed_length).min(most_beyond);
            let penalty = libm::pow(dry_base.into(), beyond.into()) * f64::from(dry_multiplier);
            finite(logit - finite(penalty as f32))
        });
    }

    /// Fills in `lengths` in linear time, with the Z algorithm.
    /// Source: Gusfield, "Algorithms on Strings, Trees, and Sequences", 1997, section 1.4.
    fn compare(&mut self) {
        let Self { text, lengths, .. } = self;
        lengths.clear();
        lengths.resize(text.len(), 0);
        // The match found so far that reaches furthest: text[start..end] equals text[..end - start].
        let (mut start, mut end) = (0, 0);
        for place in 1..text.len() {
            let known = if place < end { (lengths[place - start] as usize).min(end - place) } else { 0 };
            let more = text[known..].iter().zip(&text[place + known..]).take_while(|(a, b)| a == b).count();
            lengths[place] = (known + more) as u32;
            if place + known + more > end {
                (start, end) = (place, place + known + more);
            }
        }
    }
}

/// The largest exponent for which a power of `base` is a finite f32.
fn most_beyond(base: f32) -> u32 {
    const LN_MAX: f64 = 88.722_839_1;
    match base > 1.000_001 {
        true => (LN_MAX / libm::log(base.into())) as u32,
        false => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_a_comparison_at_each_place() {
        let mut dry = Dry::new(200).unwrap();
        let mut state = 1u32;
        for n in 0..200 {
            dry.text.clear();
            dry.text.extend((0..n).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Texts of two letters, with long runs of one of them.
                u32::from(state >> 30 == 0)
            }));
            dry.compare();
            for place in 1..n {
                let text = &dry.text;
                let n_same = text.iter().zip(&text[place..]).take_while(|(a, b)| a == b).count();
                assert_eq!(dry.lengths[place] as usize, n_same);
            }
        }
    }

    #[test]
    fn the_last_breaker_counts_and_of_two_there_the_longer() {
        let mut breakers = Breakers::default();
        for (head, rest) in [(5, &[][..]), (3, &[4, 4]), (3, &[4]), (1, &[9])] {
            breakers.add(head, rest).unwrap();
        }
        let n_after = |text: &[u32]| {
            let newest_first: Vec<u32> = text.iter().rev().copied().collect();
            breakers.n_after_last(&newest_first)
        };
        assert_eq!(n_after(&[]), 0);
        assert_eq!(n_after(&[1, 2, 3]), 3);
        assert_eq!(n_after(&[2, 5, 7, 7]), 2);
        assert_eq!(n_after(&[5, 3, 4, 7]), 1);
        assert_eq!(n_after(&[5, 3, 4, 4, 7]), 1);
        assert_eq!(n_after(&[5, 3, 4, 4]), 0);
        assert_eq!(n_after(&[5, 7, 3]), 2);
        assert_eq!(n_after(&[1, 9]), 0);
    }
}
