//! The tokens still in the draw, and the filters that thin them out.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::{SamplingConfig, SamplingError, reserve};

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
    /// Highest logit first; of equal ones, lowest id first.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_logit = other.logit.partial_cmp(&self.logit);
        by_logit.unwrap_or(Ordering::Equal).then(self.id.cmp(&other.id))
    }
}

/// The candidates of one draw.
///
/// Logits are finite or negative infinity, and at least one is finite.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    entries: Vec<Candidate>,
    /// How many entries from the first are the highest ones, in order.
    n_sorted: usize,
}

impl Candidates {
    /// How many candidates top-p puts in order first, before it asks whether they suffice.
    const TOP_P_STEP: usize = 64;

    pub(super) fn with_capacity(capacity: usize) -> Result<Self, SamplingError> {
        let mut entries = Vec::new();
        reserve(&mut entries, capacity)?;
        Ok(Self { entries, n_sorted: 0 })
    }

    /// How many there can be.
    pub(crate) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    pub(super) fn entries(&self) -> &[Candidate] {
        &self.entries
    }

    /// Starts over with the most likely token alone.
    pub(super) fn set_most_likely(&mut self, logits: &[f32]) {
        let mut best = Candidate { id: 0, logit: f32::NEG_INFINITY, probability: 1.0 };
        for (id, &logit) in (0..).zip(logits) {
            if logit > best.logit {
                best = Candidate { id, logit, ..best };
            }
        }
        self.entries.clear();
        self.entries.push(best);
        self.n_sorted = 1;
    }

    /// Starts over with all tokens.
    pub(super) fn set_all(&mut self, logits: &[f32]) {
        let all = (0..).zip(logits);
        self.entries.clear();
        self.entries.extend(all.map(|(id, &logit)| Candidate { id, logit, probability: 0.0 }));
        self.n_sorted = 0;
    }

    /// Adds to the logits of some tokens. To be called on all tokens, before any filter.
    ///
    /// # Errors
    /// [`SamplingError::NoCandidate`] if no token is left that may be drawn.
    pub(super) fn bias(&mut self, biases: &[(u32, f32)]) -> Result<(), SamplingError> {
        for &(id, bias) in biases {
            if let Some(entry) = self.entries.get_mut(id as usize) {
                let is_banned = bias == f32::NEG_INFINITY || entry.logit == f32::NEG_INFINITY;
                entry.logit = if is_banned { f32::NEG_INFINITY } else { finite(entry.logit + bias) };
            }
        }
        let any_finite = self.entries.iter().any(|entry| entry.logit.is_finite());
        if any_finite { Ok(()) } else { Err(SamplingError::NoCandidate) }
    }

    /// Makes the tokens that are among `recent` less likely, each once. To be called on all tokens, before any filter.
    pub(super) fn penalize(&mut self, recent: &[u32], config: &SamplingConfig) {
        let &SamplingConfig { repeat_penalty, frequency_penalty, presence_penalty, .. } = config;
        // Until there are probabilities, their places have room for how often a token is there.
        for &id in recent {
            if let Some(entry) = self.entries.get_mut(id as usize) {
                entry.probability += 1.0;
            }
        }
        for &id in recent {
            let Some(entry) = self.entries.get_mut(id as usize) else { continue };
            let count = core::mem::take(&mut entry.probability);
            let logit = entry.logit;
            if count > 0.0 && logit.is_finite() {
                let scaled = if logit > 0.0 { logit / repeat_penalty } else { logit * repeat_penalty };
                entry.logit = finite(finite(scaled) - (count * frequency_penalty + presence_penalty));
            }
        }
    }

    /// Keeps the `k` most likely, `k` ≥ 1.
    pub(super) fn keep_top_k(&mut self, k: usize) {
        if k < self.entries.len() {
            self.sort_first(k);
            self.entries.truncate(k);
        }
    }

    /// Keeps the most likely until their probabilities reach `p`, at least one.
    pub(super) fn keep_top_p(&mut self, p: f32) {
        let max = self.max_logit();
        let total = self.sum_of_weights(max, 1.0);
        let mut sum = 0.0;
        for place in 0..self.entries.len() {
            if place == self.n_sorted {
                self.sort_first((2 * place).max(Self::TOP_P_STEP));
            }
            sum += weight(self.entries[place].logit, max, 1.0);
            if sum >= f64::from(p) * total {
                self.entries.truncate(place + 1);
                self.n_sorted = self.n_sorted.min(place + 1);
                return;
            }
        }
    }

    /// Keeps those at least `min_p` times as likely as the first, at least one.
    pub(super) fn keep_min_p(&mut self, min_p: f32) {
        let threshold = self.max_logit() + libm::logf(min_p);
        let n_before = self.entries.len();
        self.entries.retain(|entry| entry.logit >= threshold);
        // The sorted ones are the highest: if any of them went, nothing else is left.
        if self.entries.len() < n_before {
            self.n_sorted = self.n_sorted.min(self.entries.len());
        }
    }

    /// Fills in the probabilities at `temperature` > 0.
    pub(super) fn set_probabilities(&mut self, temperature: f32) {
        let max = self.max_logit();
        let total = self.sum_of_weights(max, temperature);
        for entry in &mut self.entries {
            entry.probability = (weight(entry.logit, max, temperature) / total) as f32;
        }
    }

    /// The token at `place` (0 ≤ `place` < 1) of the distribution. The probabilities must be set.
    pub(super) fn draw(&self, place: f64) -> u32 {
        let probabilities = || self.entries.iter().map(|entry| f64::from(entry.probability));
        // Each probability was rounded, so that they need not sum up to 1.
        let target = place * probabilities().sum::<f64>();
        let mut sum = 0.0;
        let mut drawn = 0;
        for (entry, probability) in self.entries.iter().zip(probabilities()) {
            if probability > 0.0 {
                drawn = entry.id;
                sum += probability;
                if sum > target {
                    break;
                }
            }
        }
        drawn
    }

    fn max_logit(&self) -> f32 {
        match self.n_sorted {
            0 => self.entries.iter().map(|entry| entry.logit).fold(f32::NEG_INFINITY, f32::max),
            _ => self.entries[0].logit,
        }
    }

    /// Sums in f64: the tail of a large vocabulary would be lost in f32.
    fn sum_of_weights(&self, max: f32, temperature: f32) -> f64 {
        self.entries.iter().map(|entry| weight(entry.logit, max, temperature)).sum()
    }

    /// Puts the `n` highest candidates in order at the front; cheaper than sorting all when `n` is
    /// small.
    fn sort_first(&mut self, n: usize) {
        let n = n.min(self.entries.len());
        if n <= self.n_sorted {
            return;
        }
        let unsorted = &mut self.entries[self.n_sorted..];
        let n_new = n - self.n_sorted;
        if n_new < unsorted.len() {
            unsorted.select_nth_unstable_by(n_new - 1, Candidate::cmp);
        }
        unsorted[..n_new].sort_unstable_by(Candidate::cmp);
        self.n_sorted = n;
    }
}

/// What extreme biases and penalties make of a logit: no infinities.
fn finite(logit: f32) -> f32 {
    logit.clamp(f32::MIN, f32::MAX)
}

/// The probability of a logit, up to a common factor.
fn weight(logit: f32, max_logit: f32, temperature: f32) -> f64 {
    libm::expf((logit - max_logit) / temperature).into()
}
