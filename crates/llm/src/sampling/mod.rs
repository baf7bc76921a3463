//! From logits to the next token.
//!
//! [`SamplingRequest`] turns the options that a person gives into a [`SamplingConfig`], which says how to choose; [`Sampler`] chooses. The
//! stages, their order and their meaning are those of llama.cpp's chain:
//!
//! 0. a guide: tokens that it forbids, for example by a grammar, are excluded before everything else,
//! 1. biases: the caller's biases are added to the logits of some tokens,
//! 2. penalties: recent tokens become less likely, depending on whether and how often they occurred,
//! 3. DRY: tokens that would continue a repetition become less likely,
//! 4. top-n-sigma: tokens with logits within n standard deviations of the highest stay,
//! 5. top-k: the k most likely tokens stay,
//! 6. typical-p: the tokens whose surprise is closest to the expected surprise stay, until their probabilities sum up
//!    to p,
//! 7. top-p: the most likely tokens stay, until their probabilities sum up to p,
//! 8. min-p: tokens at least min-p times as likely as the likeliest stay,
//! 9. XTC: if several tokens are likely, all but the least likely of them are removed, at random,
//! 10. temperature: the logits of the remaining tokens are divided by it, or by one that depends on their entropy,
//! 11. one of them is drawn with a seeded random number generator.
//!
//! The order of 2 to 10 can be chosen ([`Stages`]). Mirostat replaces all but 0, 1, 10 and 11.
//!
//! Everything is computed by software routines (`libm`) in an order that does not depend on the machine, so that equal logits and an equal
//! seed give equal tokens everywhere. Numbers are drawn from the generator in the order of the stages: one whenever XTC has more than one
//! candidate, then one for the token if there is more than one candidate.
//!
//! Files: `guide` (the rules that an answer follows), `config` (parameters), `stage` (names and order), `request` (options), `describe`
//! (the chain as text); `candidates` (the tokens in the draw), `filters`, `entropy` (stages that remove candidates), `penalties`, `dry`,
//! `recent` (stages that look back).

mod candidates;
mod config;
mod describe;
mod dry;
mod entropy;
mod filters;
mod guide;
mod penalties;
mod recent;
mod request;
mod stage;

use alloc::boxed::Box;
use alloc::vec::Vec;

use grammar::ConstraintError;

pub use candidates::Candidate;
pub use config::SamplingConfig;
pub use describe::ChainLines;
pub use dry::Breakers;
pub use guide::{BLANKS, Guide, MAX_BLANKS, MAX_TRIGGERS, Rules, THOUGHT_TOKEN, Thinking, Trigger};
pub use request::{DRY_BREAKERS, SamplingRequest, Seed};
pub use stage::{Stage, Stages};

pub(crate) use candidates::Candidates;

use dry::Dry;
use recent::Recent;

/// Chooses tokens as a [`SamplingConfig`] says. It allocates only when it is made, and [when it is prepared](Self::prepare) for a guide.
#[derive(Debug)]
pub struct Sampler {
    chain: Chain,
    candidates: Candidates,
}

/// The steps of a sampler and their state. The table of candidates is separate, so that texts that are answered at the same time can share
/// one.
#[derive(Debug)]
pub(crate) struct Chain {
    config: SamplingConfig,
    /// The stages that change something.
    plan: Stages,
    /// Whether only the most likely token is needed.
    is_plain_greedy: bool,
    /// Tokens and the biases added to their logits.
    biases: Vec<(u32, f32)>,
    n_vocab: usize,
    recent: Recent,
    /// A buffer in which penalties and DRY gather the tokens of their windows.
    pairs: Vec<u64>,
    dry: Dry,
    /// Mirostat's current target for the surprise, in bits.
    mu: f32,
    /// The rules that the text must follow.
    guide: Option<Box<Guide>>,
    generator: oorandom::Rand64,
}

impl Sampler {
    /// A sampler for a vocabulary of `n_vocab` tokens, with nothing in its repetition window.
    ///
    /// # Errors
    /// If a parameter is out of its range, or if there is no memory for the tables: 12 bytes for each token of the vocabulary (none for
    /// plain greedy sampling), 12 for each token of the longer window, and 8 for each token of DRY's window.
    pub fn new(config: SamplingConfig, n_vocab: usize) -> Result<Self, SamplingError> {
        Self::with_biases(config, n_vocab, &[])
    }

    /// The same with biases: pairs of a token and the number added to its logit. Negative infinity bans a token.
    ///
    /// # Errors
    /// Those of [`Sampler::new`], where the tables always cover the whole vocabulary and take 8 more bytes for each bias; and if a token is
    /// not in the vocabulary, or a bias is NaN or positive infinity.
    pub fn with_biases(
        config: SamplingConfig,
        n_vocab: usize,
        biases: &[(u32, f32)],
    ) -> Result<Self, SamplingError> {
        config.validate()?;
        for &(id, bias) in biases {
            if id as usize >= n_vocab {
                return Err(SamplingError::BiasedToken { id, n_vocab });
            }
            if bias.is_nan() || bias == f32::INFINITY {
                let (name, expected) = ("logit_bias", "a finite number or negative infinity");
                return Err(SamplingError::Parameter { name, value: bias, expected });
            }
        }
        let mut own_biases = Vec::new();
        reserve(&mut own_biases, biases.len())?;
        own_biases.extend_from_slice(biases);
        let mut chain = Chain::nothing(n_vocab);
        chain.biases = own_biases;
        chain.set_config(config)?;
        let n_candidates = if chain.is_plain_greedy { 1 } else { n_vocab };
        Ok(Self { chain, candidates: Candidates::with_capacity(n_candidates)? })
    }

    /// The same with sequences of tokens across which DRY finds no repetitions. By default there are none.
    #[must_use]
    pub fn with_breakers(mut self, breakers: Breakers) -> Self {
        self.chain.dry.breakers = breakers;
        self
    }

    /// The same for a text that must follow a guide: only tokens that the guide allows are drawn.
    #[must_use]
    pub fn with_guide(mut self, guide: Guide) -> Self {
        self.chain.guide = Some(Box::new(guide));
        self
    }

    /// Makes the tables that a guide needs, unless they exist. If this is not called, they are made before the first
    /// token.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn prepare(&mut self) -> Result<(), SamplingError> {
        self.chain.prepare()
    }

    /// Whether it has this stage and the stage changes anything.
    pub fn has(&self, stage: Stage) -> bool {
        self.chain.plan.as_slice().contains(&stage)
    }

    /// The parameters that it was made with.
    pub fn config(&self) -> &SamplingConfig {
        &self.chain.config
    }

    /// Returns to the beginning: empty windows, and the generator seeded again.
    pub fn reset(&mut self) {
        self.chain.reset();
    }

    /// Adds a token of the prompt or of the answer to the windows of penalties and DRY.
    pub fn accept(&mut self, id: u32) {
        self.chain.accept(id);
    }

    /// Chooses the next token from the logits of all tokens. It does not add the token to the windows: call
    /// [`Sampler::accept`].
    ///
    /// # Errors
    /// If `logits` is not as long as the vocabulary or holds NaN or positive infinity, or if no
    /// logit is finite.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SamplingError> {
        self.chain.sample(&mut self.candidates, logits)
    }

    /// The tokens that [`Sampler::sample`] would draw from, with their probabilities, in no particular order.
    ///
    /// # Errors
    /// Those of [`Sampler::sample`].
    pub fn distribution(&mut self, logits: &[f32]) -> Result<&[Candidate], SamplingError> {
        let generator = self.chain.generator;
        let kept = self.chain.keep_candidates(&mut self.candidates, logits);
        self.chain.generator = generator;
        kept?;
        Ok(self.candidates.entries())
    }

    /// The steps, and a table that is large enough for them.
    pub(crate) fn into_parts(self) -> (Chain, Candidates) {
        (self.chain, self.candidates)
    }
}

impl Chain {
    /// The chain of a text that asks for no tokens.
    pub(crate) fn nothing(n_vocab: usize) -> Self {
        let config = SamplingConfig::greedy();
        Self {
            config,
            plan: Stages::NONE,
            is_plain_greedy: true,
            biases: Vec::new(),
            n_vocab,
            recent: Recent::default(),
            pairs: Vec::new(),
            dry: Dry::default(),
            mu: 0.0,
            guide: None,
            generator: generator(config.seed),
        }
    }

    fn set_config(&mut self, config: SamplingConfig) -> Result<(), SamplingError> {
        self.plan = config.plan();
        self.is_plain_greedy =
            config.is_greedy() && self.plan.as_slice() == [Stage::Temperature] && self.biases.is_empty();
        let window = |stage, n: u32| if self.plan.as_slice().contains(&stage) { n as usize } else { 0 };
        let dry = window(Stage::Dry, config.dry_penalty_last_n);
        let longest = window(Stage::Penalties, config.repeat_last_n).max(dry);
        self.recent = Recent::new(longest)?;
        reserve(&mut self.pairs, longest)?;
        self.dry = Dry::new(dry)?;
        self.config = config;
        self.reset();
        Ok(())
    }

    /// See [`Sampler::reset`].
    pub(crate) fn reset(&mut self) {
        if let Some(guide) = &mut self.guide {
            guide.reset();
        }
        self.recent.clear();
        self.mu = 2.0 * self.config.mirostat_tau.min(f32::MAX / 2.0);
        self.generator = generator(self.config.seed);
    }

    /// See [`Sampler::prepare`].
    pub(crate) fn prepare(&mut self) -> Result<(), SamplingError> {
        self.guide.as_mut().map_or(Ok(()), |guide| guide.prepare())
    }

    /// Whether the tables of a grammar are made.
    pub(crate) fn has_tables(&self) -> bool {
        self.guide.as_ref().is_some_and(|guide| guide.has_tables())
    }

    /// Whether there is a grammar whose tables are not made yet.
    pub(crate) fn lacks_tables(&self) -> bool {
        self.guide.as_ref().is_some_and(|guide| guide.lacks_tables())
    }

    /// See [`Sampler::accept`].
    pub(crate) fn accept(&mut self, id: u32) {
        self.recent.push(id);
    }

    /// See [`Sampler::sample`]. The candidates of the draw are left in `candidates`; the next draw does not need them.
    pub(crate) fn sample(
        &mut self,
        candidates: &mut Candidates,
        logits: &[f32],
    ) -> Result<u32, SamplingError> {
        self.keep_candidates(candidates, logits)?;
        let drawn = match *candidates.entries() {
            [only] => only,
            _ => candidates.draw(self.generator.rand_float()),
        };
        let is_forced = self.guide.as_ref().is_some_and(|guide| guide.forced().is_some());
        if self.config.mirostat != 0 && !is_forced {
            self.mu = entropy::next_mu(self.mu, drawn.probability, &self.config);
        }
        if let Some(guide) = &mut self.guide {
            guide.accept(drawn.id)?;
        }
        Ok(drawn.id)
    }

    /// Whether the text is complete by its grammar and may have nothing more.
    pub(crate) fn must_end(&self) -> bool {
        self.guide.as_ref().is_some_and(|guide| guide.must_end())
    }

    /// How many of these tokens, counted from the first, may come next.
    pub(crate) fn n_possible(&mut self, tokens: &[u32]) -> usize {
        let Some(guide) = &mut self.guide else { return tokens.len() };
        let most = tokens.len().min(guide.n_rollback());
        let n = tokens[..most].iter().take_while(|&&token| guide.accept(token).is_ok()).count();
        guide.rollback(n);
        n
    }

    /// Runs all stages but the last, the draw.
    fn keep_candidates(&mut self, candidates: &mut Candidates, logits: &[f32]) -> Result<(), SamplingError> {
        self.check(logits)?;
        self.prepare()?;
        if let Some(id) = self.guide.as_ref().and_then(|guide| guide.forced()) {
            candidates.set_only(id, logits);
            return Ok(());
        }
        let mask = match &mut self.guide {
            Some(guide) => guide.allowed()?,
            None => None,
        };
        if self.is_plain_greedy {
            candidates.set_most_likely(logits, mask);
            return if candidates.has_any() { Ok(()) } else { Err(SamplingError::NoCandidate) };
        }
        candidates.set_all(logits);
        if let Some(mask) = mask {
            candidates.exclude_others(mask)?;
        }
        if !self.biases.is_empty() {
            candidates.bias(&self.biases)?;
        }
        let plan = self.plan;
        for (index, &stage) in plan.as_slice().iter().enumerate() {
            self.run(stage, index + 1 == plan.as_slice().len(), candidates);
        }
        match self.config.mirostat {
            1 => candidates.keep_mirostat_1(self.mu, self.n_vocab),
            2 => candidates.keep_mirostat_2(self.mu),
            _ => {}
        }
        candidates.set_probabilities();
        Ok(())
    }

    fn run(&mut self, stage: Stage, is_last: bool, candidates: &mut Candidates) {
        let Self { config, recent, pairs, .. } = self;
        let min_keep = config.min_keep as usize;
        match stage {
            Stage::Penalties => penalties::apply(candidates, recent, config, pairs),
            Stage::Dry => self.dry.apply(candidates, recent, config, pairs),
            Stage::TopNSigma => candidates.exclude_below_sigma(config.top_n_sigma),
            Stage::TopK => candidates.keep_top_k(config.top_k as usize),
            Stage::TypicalP => candidates.keep_typical(config.typical_p, min_keep),
            Stage::TopP => candidates.keep_top_p(config.top_p, min_keep),
            Stage::MinP => candidates.keep_min_p(config.min_p, min_keep),
            Stage::Xtc => {
                if candidates.entries().len() > 1
                    && self.generator.rand_float() < config.xtc_probability.into()
                {
                    candidates.drop_top_choices(config.xtc_threshold, min_keep);
                }
            }
            Stage::Temperature => {
                let temperature = match config.dynatemp_range > 0.0 && config.mirostat == 0 {
                    true => candidates.dynamic_temperature(config),
                    false => config.temperature,
                };
                match temperature > 0.0 {
                    true => candidates.set_temperature(temperature, is_last),
                    false => candidates.keep_top_k(1),
                }
            }
        }
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

fn reserve<T>(table: &mut Vec<T>, len: usize) -> Result<(), SamplingError> {
    table
        .try_reserve_exact(len)
        .map_err(|_| SamplingError::OutOfMemory { needed_bytes: len.saturating_mul(size_of::<T>()) })
}

/// Why no token could be chosen, or why a configuration was refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// A parameter out of its range.
    #[error("{name} is {value}, but must be {expected}")]
    Parameter {
        /// The field of [`SamplingConfig`], or the option that set it.
        name: &'static str,
        /// Its value.
        value: f32,
        /// What is allowed.
        expected: &'static str,
    },
    /// A bias for a token that is not in the vocabulary.
    #[error("logit_bias is for token {id}, which is not in the vocabulary, expected 0 to {}", .n_vocab.saturating_sub(1))]
    BiasedToken {
        /// The token.
        id: u32,
        /// Size of the vocabulary.
        n_vocab: usize,
    },
    /// The number of logits differs from the size of the vocabulary.
    #[error("{found} logits were given for a vocabulary of {expected} tokens")]
    LogitCount {
        /// Number of logits given.
        found: usize,
        /// Size of the vocabulary.
        expected: usize,
    },
    /// A logit that is NaN or positive infinity: the forward pass or the weights are broken.
    #[error("the logit of token {index} is {value}")]
    BadLogit {
        /// The token.
        index: usize,
        /// Its logit.
        value: f32,
    },
    /// All logits are negative infinity after the biases were added.
    #[error("the logits of all tokens are -inf, with their biases")]
    NoCandidate,
    /// The text cannot continue as its guide requires.
    #[error("{0}")]
    Constraint(ConstraintError),
    /// No memory for the tables.
    #[error("no memory for {needed_bytes} bytes of the sampler's tables")]
    OutOfMemory {
        /// Size of the allocation that failed.
        needed_bytes: usize,
    },
}

impl From<ConstraintError> for SamplingError {
    fn from(error: ConstraintError) -> Self {
        Self::Constraint(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn biases_ban_and_penalties_count() {
        let logits = [1.0, 3.0, 2.0, f32::NEG_INFINITY];
        let greedy = SamplingConfig::greedy();
        let biased = |biases: &[(u32, f32)]| Sampler::with_biases(greedy, 4, biases)?.sample(&logits);
        assert_eq!(biased(&[(1, -0.5)]), Ok(1));
        assert_eq!(biased(&[(1, -0.75), (1, -0.75)]), Ok(2));
        assert_eq!(biased(&[(1, f32::NEG_INFINITY), (1, 100.0), (0, 1.5)]), Ok(0));
        // A bias cannot bring back a token that the model rules out.
        assert_eq!(biased(&[(3, 100.0)]), Ok(1));
        let all_banned = [0, 1, 2].map(|id| (id, f32::NEG_INFINITY));
        assert_eq!(biased(&all_banned), Err(SamplingError::NoCandidate));
        assert_eq!(biased(&[(1, 0.0), (4, 0.0)]), Err(SamplingError::BiasedToken { id: 4, n_vocab: 4 }));
        for bias in [f32::NAN, f32::INFINITY] {
            let Err(SamplingError::Parameter { name: "logit_bias", .. }) = biased(&[(0, bias)]) else {
                panic!("{bias} is taken");
            };
        }

        let frequent = SamplingConfig { frequency_penalty: 0.6, ..greedy };
        let present = SamplingConfig { presence_penalty: 0.9, ..greedy };
        for (config, of_two) in [(frequent, 2), (present, 1)] {
            let mut sampler = Sampler::new(config, 4).unwrap();
            sampler.accept(1);
            assert_eq!(sampler.sample(&logits), Ok(1));
            sampler.accept(1);
            assert_eq!(sampler.sample(&logits), Ok(of_two));
            // Calling it twice has no further effect.
            assert_eq!(sampler.sample(&logits), Ok(of_two));
        }
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
