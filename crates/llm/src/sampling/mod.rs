//! From logits to the next token.
//!
//! [`SamplingConfig`] says how to choose, made from what a person asks for by [`SamplingRequest`]; [`Sampler`] chooses. The steps and their order are those
//! of llama.cpp's default chain:
//!
//! 1. repetition penalty: tokens seen lately become less likely,
//! 2. top-k: the k most likely tokens stay,
//! 3. top-p: the most likely tokens stay, as many as it takes for p of the probability,
//! 4. min-p: tokens at least min-p times as likely as the first stay,
//! 5. temperature: the differences between those left are divided by it,
//! 6. one of them is drawn by a seeded generator.
//!
//! Everything is computed by software routines (`libm`) in an order that does not depend on the
//! machine, so that equal logits and an equal seed give equal tokens everywhere.

mod candidates;
mod config;
mod request;

use alloc::vec::Vec;
use core::fmt;

pub use candidates::Candidate;
pub use config::SamplingConfig;
pub use request::{SamplingRequest, Seed};

pub(crate) use candidates::Candidates;

/// Chooses tokens as a [`SamplingConfig`] says. Allocates when it is made and never again.
#[derive(Debug)]
pub struct Sampler {
    chain: Chain,
    candidates: Candidates,
}

/// The steps of a sampler, and what they remember. The table that they gather candidates in is not among it, so that texts that
/// are answered at the same time share one.
#[derive(Debug)]
pub(crate) struct Chain {
    config: SamplingConfig,
    n_vocab: usize,
    recent: Recent,
    generator: oorandom::Rand64,
}

impl Sampler {
    /// A sampler for a vocabulary of `n_vocab` tokens, with nothing in its repetition window.
    ///
    /// # Errors
    /// If a parameter is out of its range, or if there is no memory for the tables:
    /// 12 bytes for each token of the vocabulary (none for plain greedy sampling) and 4 for each of
    /// the repetition window.
    pub fn new(config: SamplingConfig, n_vocab: usize) -> Result<Self, SamplingError> {
        config.validate()?;
        let n_candidates = if config.is_plain_greedy() { 1 } else { n_vocab };
        let window = if config.penalizes() { config.repeat_last_n as usize } else { 0 };
        let recent = Recent::new(window)?;
        Ok(Self {
            chain: Chain { config, n_vocab, recent, generator: generator(config.seed) },
            candidates: Candidates::with_capacity(n_candidates)?,
        })
    }

    /// The parameters it was made with.
    pub fn config(&self) -> &SamplingConfig {
        &self.chain.config
    }

    /// Goes back to the beginning: an empty repetition window and the generator as seeded.
    pub fn reset(&mut self) {
        self.chain.reset();
    }

    /// Notes a token of the prompt or of the answer for the repetition penalty.
    pub fn accept(&mut self, id: u32) {
        self.chain.accept(id);
    }

    /// The next token, given the logits of all tokens. It is not noted: call [`Sampler::accept`].
    ///
    /// # Errors
    /// If `logits` is not as long as the vocabulary or holds NaN or positive infinity, or if no
    /// logit is finite.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SamplingError> {
        self.chain.sample(&mut self.candidates, logits)
    }

    /// The tokens that [`Sampler::sample`] would draw from, with their probabilities.
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    pub fn distribution(&mut self, logits: &[f32]) -> Result<&[Candidate], SamplingError> {
        self.chain.keep_candidates(&mut self.candidates, logits)?;
        Ok(self.candidates.entries())
    }

    /// The steps, and a table that is large enough for them.
    pub(crate) fn into_parts(self) -> (Chain, Candidates) {
        (self.chain, self.candidates)
    }
}

impl Chain {
    /// See [`Sampler::reset`].
    pub(crate) fn reset(&mut self) {
        self.recent.clear();
        self.generator = generator(self.config.seed);
    }

    /// See [`Sampler::accept`].
    pub(crate) fn accept(&mut self, id: u32) {
        self.recent.push(id);
    }

    /// See [`Sampler::sample`]. Nothing is left in `candidates` that the next draw needs.
    pub(crate) fn sample(
        &mut self,
        candidates: &mut Candidates,
        logits: &[f32],
    ) -> Result<u32, SamplingError> {
        self.keep_candidates(candidates, logits)?;
        if let [only] = candidates.entries() {
            return Ok(only.id);
        }
        Ok(candidates.draw(self.generator.rand_float()))
    }

    /// Runs steps 1 to 5.
    fn keep_candidates(&self, candidates: &mut Candidates, logits: &[f32]) -> Result<(), SamplingError> {
        self.check(logits)?;
        let config = &self.config;
        if config.is_plain_greedy() {
            candidates.set_most_likely(logits);
            return Ok(());
        }
        candidates.set_all(logits);
        if config.penalizes() {
            for &id in self.recent.ids() {
                candidates.penalize(id, logits, config.repeat_penalty);
            }
        }
        if config.is_greedy() {
            candidates.keep_top_k(1);
        }
        if config.top_k > 0 {
            candidates.keep_top_k(config.top_k as usize);
        }
        if config.top_p < 1.0 {
            candidates.keep_top_p(config.top_p);
        }
        if config.min_p > 0.0 {
            candidates.keep_min_p(config.min_p);
        }
        candidates.set_probabilities(if config.is_greedy() { 1.0 } else { config.temperature });
        Ok(())
    }

    fn check(&self, logits: &[f32]) -> Result<(), SamplingError> {
        if logits.len() != self.n_vocab {
            return Err(SamplingError::LogitCount { found: logits.len(), expected: self.n_vocab });
        }
        let mut any_finite = false;
        for (index, &value) in logits.iter().enumerate() {
            if value.is_nan() || value == f32::INFINITY {
                return Err(SamplingError::BadLogit { index, value });
            }
            any_finite |= value.is_finite();
        }
        if any_finite { Ok(()) } else { Err(SamplingError::NoCandidate) }
    }
}

fn generator(seed: u64) -> oorandom::Rand64 {
    oorandom::Rand64::new(seed.into())
}

/// The last tokens, a ring.
#[derive(Debug)]
struct Recent {
    ids: Vec<u32>,
    capacity: usize,
    /// Place of the oldest once the ring is full.
    oldest: usize,
}

impl Recent {
    fn new(capacity: usize) -> Result<Self, SamplingError> {
        let mut ids = Vec::new();
        reserve(&mut ids, capacity)?;
        Ok(Self { ids, capacity, oldest: 0 })
    }

    fn push(&mut self, id: u32) {
        if self.ids.len() < self.capacity {
            self.ids.push(id);
        } else if let Some(slot) = self.ids.get_mut(self.oldest) {
            *slot = id;
            self.oldest = (self.oldest + 1) % self.capacity;
        }
    }

    fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn clear(&mut self) {
        self.ids.clear();
        self.oldest = 0;
    }
}

fn reserve<T>(table: &mut Vec<T>, len: usize) -> Result<(), SamplingError> {
    table
        .try_reserve_exact(len)
        .map_err(|_| SamplingError::OutOfMemory { needed_bytes: len.saturating_mul(size_of::<T>()) })
}

/// Why no token could be chosen, or a configuration was refused.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum SamplingError {
    /// A parameter out of its range.
    Parameter {
        /// The field of [`SamplingConfig`], or the option that it came from.
        name: &'static str,
        /// Its value.
        value: f32,
        /// What is allowed.
        expected: &'static str,
    },
    /// Not one logit for each token of the vocabulary.
    LogitCount {
        /// Number of logits given.
        found: usize,
        /// Size of the vocabulary.
        expected: usize,
    },
    /// A logit that is NaN or positive infinity: the forward pass or the weights are broken.
    BadLogit {
        /// The token.
        index: usize,
        /// Its logit.
        value: f32,
    },
    /// All logits are negative infinity.
    NoCandidate,
    /// No memory for the tables.
    OutOfMemory {
        /// Size of the allocation that failed.
        needed_bytes: usize,
    },
}

impl fmt::Display for SamplingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter { name, value, expected } => {
                write!(f, "{name} is {value}, but must be {expected}")
            }
            Self::LogitCount { found, expected } => {
                write!(f, "{found} logits were given for a vocabulary of {expected} tokens")
            }
            Self::BadLogit { index, value } => write!(f, "the logit of token {index} is {value}"),
            Self::NoCandidate => write!(f, "the logits of all tokens are -inf"),
            Self::OutOfMemory { needed_bytes } => {
                write!(f, "no memory for {needed_bytes} bytes of the sampler's tables")
            }
        }
    }
}

impl core::error::Error for SamplingError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_forgets_the_oldest_token() {
        let mut recent = Recent::new(3).unwrap();
        for id in 0..5 {
            recent.push(id);
        }
        let mut ids = recent.ids().to_vec();
        ids.sort_unstable();
        assert_eq!(ids, [2, 3, 4]);
        recent.clear();
        recent.push(9);
        assert_eq!(recent.ids(), [9]);
    }

    #[test]
    fn greedy_takes_the_lowest_of_equal_tokens() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0];
        let mut plain = Sampler::new(SamplingConfig::greedy(), 4).unwrap();
        assert_eq!(plain.sample(&logits), Ok(1));
        let penalizing = SamplingConfig { repeat_penalty: 1.5, ..SamplingConfig::greedy() };
        let mut penalizing = Sampler::new(penalizing, 4).unwrap();
        assert_eq!(penalizing.sample(&logits), Ok(1));
        penalizing.accept(1);
        assert_eq!(penalizing.sample(&logits), Ok(3));
    }

    #[test]
    fn reset_repeats_the_same_tokens() {
        let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
        let mut sampler = Sampler::new(SamplingConfig::creative(), logits.len()).unwrap();
        let run = |sampler: &mut Sampler| -> Vec<u32> {
            (0..50)
                .map(|_| {
                    let id = sampler.sample(&logits).unwrap();
                    sampler.accept(id);
                    id
                })
                .collect()
        };
        let first = run(&mut sampler);
        assert!(first.iter().any(|&id| id != first[0]));
        sampler.reset();
        assert_eq!(run(&mut sampler), first);
        let seeded = SamplingConfig { seed: 1, ..SamplingConfig::creative() };
        assert_ne!(run(&mut Sampler::new(seeded, logits.len()).unwrap()), first);
    }

    #[test]
    fn broken_logits_are_refused() {
        let mut sampler = Sampler::new(SamplingConfig::greedy(), 3).unwrap();
        assert!(matches!(
            sampler.sample(&[0.0, f32::NAN, 0.0]),
            Err(SamplingError::BadLogit { index: 1, .. })
        ));
        assert_eq!(
            sampler.sample(&[0.0, 0.0, f32::INFINITY]),
            Err(SamplingError::BadLogit { index: 2, value: f32::INFINITY })
        );
        assert_eq!(sampler.sample(&[f32::NEG_INFINITY; 3]), Err(SamplingError::NoCandidate));
        assert_eq!(sampler.sample(&[0.0]), Err(SamplingError::LogitCount { found: 1, expected: 3 }));
    }
}
