//! The filters that look at one logit or one probability at a time: top-k, top-p, min-p, top-n-sigma, XTC.

use super::candidates::{Candidate, Candidates};

impl Candidates {
    /// How many candidates are sorted first, before checking whether they suffice.
    const STEP: usize = 64;

    /// Keeps the `k` most likely candidates, `k` ≥ 1.
    pub(super) fn keep_top_k(&mut self, k: usize) {
        if k < self.entries.len() {
            self.sort_first(k);
            self.truncate(k);
        }
    }

    /// Keeps the most likely candidates until their probabilities reach `p`; at least one, and at least `min_keep`.
    pub(super) fn keep_top_p(&mut self, p: f32, min_keep: usize) {
        let max = self.max_logit();
        let target = f64::from(p) * self.sum_of_weights(max);
        self.keep_until(min_keep, &mut |candidates, entry, sum| {
            *sum += candidates.weight(entry.logit, max);
            *sum >= target
        });
    }

    /// Keeps the highest candidates up to the first for which `is_enough` returns true; at least one, and at least
    /// `min_keep`. Keeps all if it never does.
    pub(super) fn keep_until(
        &mut self,
        min_keep: usize,
        is_enough: &mut dyn FnMut(&Self, &Candidate, &mut f64) -> bool,
    ) {
        let mut sum = 0.0;
        for place in 0..self.entries.len() {
            if place == self.n_sorted {
                self.sort_first((2 * place).max(Self::STEP));
            }
            if is_enough(self, &self.entries[place], &mut sum) && place + 1 >= min_keep {
                self.truncate(place + 1);
                return;
            }
        }
    }

    /// Keeps candidates at least `min_p` times as likely as the first; at least one, and at least `min_keep`.
    pub(super) fn keep_min_p(&mut self, min_p: f32, min_keep: usize) {
        let threshold = self.max_logit() + libm::logf(min_p);
        let n = self.entries.iter().filter(|entry| entry.logit >= threshold).count();
        match n < min_keep {
            true => self.keep_top_k(min_keep),
            false => self.retain(&mut |entry| entry.logit >= threshold),
        }
    }

    /// Excludes candidates whose logits are more than `n` standard deviations below the highest; `n` > 0. They stay in the list: as in
    /// llama.cpp, stages that use the number of candidates count them.
    pub(super) fn exclude_below_sigma(&mut self, n: f32) {
        let finite = || self.entries.iter().map(|entry| f64::from(entry.logit)).filter(|x| x.is_finite());
        let count = finite().count() as f64;
        let mean = finite().sum::<f64>() / count;
        let variance = finite().map(|logit| (logit - mean) * (logit - mean)).sum::<f64>() / count;
        let least = f64::from(self.max_logit()) - f64::from(n) * libm::sqrt(variance);
        for entry in &mut self.entries {
            if f64::from(entry.logit) < least {
                entry.logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Drops all but the least likely of the candidates whose probability is at least `threshold`, unless fewer than `min_keep` would be
    /// left.
    pub(super) fn drop_top_choices(&mut self, threshold: f32, min_keep: usize) {
        self.set_probabilities();
        // An excluded candidate never counts, even if the threshold is 0.
        let is_choice = |entry: &&Candidate| entry.probability >= threshold && entry.logit.is_finite();
        let choices = || self.entries.iter().filter(is_choice);
        let n_dropped = choices().count().saturating_sub(1);
        let Some(&last) = choices().max_by(|a, b| a.cmp(b)) else { return };
        if n_dropped > 0 && self.entries.len() - n_dropped >= min_keep {
            self.retain(&mut |entry| entry.cmp(&last).is_ge());
        }
    }
}
