//! The tokens that may still be drawn: [`Candidates`]. Its filters are in `filters` and `entropy`.

use alloc::vec::Vec;
use core::cmp::Ordering;

use grammar::Mask;

use super::{SamplingError, reserve};

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: u32,
    /// Its logit after biases and penalties, before the temperature.
    pub logit: f32,
    /// Its probability among the candidates.
    pub probability: f32,
}

impl Candidate {
    /// Highest logit first; among equal ones, lowest id first.
    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        let by_logit = other.logit.partial_cmp(&self.logit);
        by_logit.unwrap_or(Ordering::Equal).then(self.id.cmp(&other.id))
    }
}

/// The candidates of one draw.
///
/// Logits are finite or negative infinity, and at least one is finite.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    pub(super) entries: Vec<Candidate>,
    /// How many entries at the front are already the highest ones, in order.
    pub(super) n_sorted: usize,
    /// Whether each token of the vocabulary is at the index of its id.
    is_whole: bool,
    /// Logits are divided by this when probabilities are computed. Above 0.
    pub(super) temperature: f32,
}

impl Candidates {
    pub(super) fn with_capacity(capacity: usize) -> Result<Self, SamplingError> {
        let mut entries = Vec::new();
        reserve(&mut entries, capacity)?;
        Ok(Self { entries, n_sorted: 0, is_whole: false, temperature: 1.0 })
    }

    /// Most candidates that there can be.
    pub(crate) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// The candidates, in no particular order.
    pub(crate) fn entries(&self) -> &[Candidate] {
        &self.entries
    }

    /// Starts over with only the most likely token.
    pub(super) fn set_most_likely(&mut self, logits: &[f32], allowed: Option<Mask<'_>>) {
        let mut best = Candidate { id: 0, logit: f32::NEG_INFINITY, probability: 1.0 };
        for (id, &logit) in (0..).zip(logits) {
            if logit > best.logit && allowed.is_none_or(|mask| mask.allows(id)) {
                best = Candidate { id, logit, ..best };
            }
        }
        self.entries.clear();
        self.entries.push(best);
        self.n_sorted = 1;
        self.is_whole = false;
    }

    /// Starts over with only this token, whatever the logits say.
    pub(super) fn set_only(&mut self, id: u32, logits: &[f32]) {
        let logit = logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        self.entries.clear();
        self.entries.push(Candidate { id, logit, probability: 1.0 });
        self.n_sorted = 1;
        self.is_whole = false;
    }

    /// Starts over with all tokens.
    pub(super) fn set_all(&mut self, logits: &[f32]) {
        let all = (0..).zip(logits);
        self.entries.clear();
        self.entries.extend(all.map(|(id, &logit)| Candidate { id, logit, probability: 0.0 }));
        self.n_sorted = 0;
        self.is_whole = true;
        self.temperature = 1.0;
    }

    /// Whether at least one of them may be drawn.
    pub(super) fn has_any(&self) -> bool {
        self.entries.iter().any(|entry| entry.logit.is_finite())
    }

    /// Excludes all tokens that are not in the mask. Must be called on all tokens, before any filter.
    ///
    /// # Errors
    /// [`SamplingError::NoCandidate`] if no token that may be drawn is left.
    pub(super) fn exclude_others(&mut self, allowed: Mask<'_>) -> Result<(), SamplingError> {
        for entry in &mut self.entries {
            if !allowed.allows(entry.id) {
                entry.logit = f32::NEG_INFINITY;
            }
        }
        if self.has_any() { Ok(()) } else { Err(SamplingError::NoCandidate) }
    }

    /// Adds biases to the logits of some tokens. Must be called on all tokens, before any filter.
    ///
    /// # Errors
    /// [`SamplingError::NoCandidate`] if no token that may be drawn is left.
    pub(super) fn bias(&mut self, biases: &[(u32, f32)]) -> Result<(), SamplingError> {
        for &(id, bias) in biases {
            if let Some(entry) = self.entries.get_mut(id as usize) {
                let is_banned = bias == f32::NEG_INFINITY || entry.logit == f32::NEG_INFINITY;
                entry.logit = if is_banned { f32::NEG_INFINITY } else { finite(entry.logit + bias) };
            }
        }
        if self.has_any() { Ok(()) } else { Err(SamplingError::NoCandidate) }
    }

    /// Changes the logits of the tokens in `pairs`, which [`pair`](super::penalties::pair) made; they must be in order, without duplicates.
    /// `change` gets the logit and the number of the pair. Excluded tokens stay excluded.
    pub(super) fn change(&mut self, pairs: &[u64], change: &mut dyn FnMut(f32, u32) -> f32) {
        let mut change_one = |entry: &mut Candidate, pair: u64| {
            if entry.logit.is_finite() {
                entry.logit = change(entry.logit, pair as u32);
            }
        };
        if self.is_whole {
            for &pair in pairs {
                if let Some(entry) = self.entries.get_mut((pair >> 32) as usize) {
                    change_one(entry, pair);
                }
            }
        } else {
            for entry in &mut self.entries {
                if let Ok(place) = pairs.binary_search_by_key(&entry.id, |pair| (pair >> 32) as u32) {
                    change_one(entry, pairs[place]);
                }
            }
        }
        self.n_sorted = 0;
    }

    /// Divides logits by `temperature` > 0. If no later stage reads the logits (`is_last`), the division happens when probabilities are
    /// computed, which is the most precise way.
    pub(super) fn set_temperature(&mut self, temperature: f32, is_last: bool) {
        if is_last {
            self.temperature = temperature;
            return;
        }
        for entry in &mut self.entries {
            if entry.logit.is_finite() {
                entry.logit = finite(entry.logit / temperature);
            }
        }
    }

    /// Fills in the probabilities.
    pub(super) fn set_probabilities(&mut self) {
        let max = self.max_logit();
        let total = self.sum_of_weights(max);
        let temperature = self.temperature;
        for entry in &mut self.entries {
            entry.probability = (weight(entry.logit, max, temperature) / total) as f32;
        }
    }

    /// The candidate at `place` (0 ≤ `place` < 1) of the distribution. The probabilities must be set.
    pub(super) fn draw(&self, place: f64) -> Candidate {
        let probabilities = || self.entries.iter().map(|entry| f64::from(entry.probability));
        // Each probability is rounded, so their sum may differ from 1.
        let target = place * probabilities().sum::<f64>();
        let mut sum = 0.0;
        let mut drawn = self.entries[0];
        for (entry, probability) in self.entries.iter().zip(probabilities()) {
            if probability > 0.0 {
                drawn = *entry;
                sum += probability;
                if sum > target {
                    break;
                }
            }
        }
        drawn
    }

    pub(super) fn max_logit(&self) -> f32 {
        match self.n_sorted {
            0 => self.entries.iter().map(|entry| entry.logit).fold(f32::NEG_INFINITY, f32::max),
            _ => self.entries[0].logit,
        }
    }

    /// Sums in f64: the tail of a large vocabulary would be lost in f32.
    pub(super) fn sum_of_weights(&self, max: f32) -> f64 {
        let temperature = self.temperature;
        self.entries.iter().map(|entry| weight(entry.logit, max, temperature)).sum()
    }

    /// The weight of a logit relative to the highest one, `max`.
    pub(super) fn weight(&self, logit: f32, max: f32) -> f64 {
        weight(logit, max, self.temperature)
    }

    /// Drops all candidates after the first `n`, which must be the highest.
    pub(super) fn truncate(&mut self, n: usize) {
        self.entries.truncate(n);
        self.n_sorted = self.n_sorted.min(n);
        self.is_whole = false;
    }

    /// Keeps some candidates, in their order.
    pub(super) fn retain(&mut self, keep: &mut dyn FnMut(&Candidate) -> bool) {
        let mut place = 0;
        let n_sorted = self.n_sorted;
        let mut n_sorted_left = 0;
        self.entries.retain(|entry| {
            let is_kept = keep(entry);
            n_sorted_left += usize::from(is_kept && place < n_sorted);
            place += 1;
            is_kept
        });
        self.n_sorted = n_sorted_left;
        self.is_whole &= self.entries.len() == place;
    }

    /// Puts the `n` highest candidates in order at the front; cheaper than sorting all when `n` is
    /// small.
    pub(super) fn sort_first(&mut self, n: usize) {
        let n = n.min(self.entries.len());
        if n <= self.n_sorted {
            return;
        }
        self.is_whole = false;
        let unsorted = &mut self.entries[self.n_sorted..];
        let n_new = n - self.n_sorted;
        if n_new < unsorted.len() {
            unsorted.select_nth_unstable_by(n_new - 1, Candidate::cmp);
        }
        unsorted[..n_new].sort_unstable_by(Candidate::cmp);
        self.n_sorted = n;
    }
}

/// Limits a logit after extreme biases and penalties, so that it does not become infinite.
pub(super) fn finite(logit: f32) -> f32 {
    logit.clamp(f32::MIN, f32::MAX)
}

/// The probability of a logit, up to a common factor.
fn weight(logit: f32, max_logit: f32, temperature: f32) -> f64 {
    libm::expf((logit - max_logit) / temperature).into()
}
