//! [`Logprobs`]: how likely a token was, and which were the likeliest.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::FrontError;
use crate::sampling::Candidate;
use crate::tokenizer::Tokenizer;

/// Most of the likeliest tokens that a request can ask for.
pub const MAX_LOGPROBS: usize = 20;

/// Which log-probabilities a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogprobWish {
    /// How many of the likeliest tokens: 0 to [`MAX_LOGPROBS`].
    pub n_top: usize,
    /// If true, probabilities are those among the candidates that one token was drawn from. If false, they are the model's own: the softmax
    /// of its logits.
    pub after_sampling: bool,
}

impl LogprobWish {
    /// The wish that `--logprobs` and `--post-sampling-probs` state.
    ///
    /// # Errors
    /// If only the second option is given.
    pub fn asked(n_top: Option<usize>, after_sampling: bool) -> Result<Option<Self>, &'static str> {
        match n_top {
            None if after_sampling => Err("--post-sampling-probs is about --logprobs: give that too"),
            n_top => Ok(n_top.map(|n_top| Self { n_top, after_sampling })),
        }
    }
}

/// How likely a token was, in the form that a [`LogprobWish`] asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logprobs<'l> {
    /// The natural logarithm of the chosen token's probability. Finite.
    pub chosen: f32,
    /// The likeliest tokens, likeliest first; among equal ones the lowest id comes first. Tokens with probability 0 are not included.
    pub top: &'l [TokenLogprob],
}

/// A token, and how likely it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogprob {
    /// Its id.
    pub id: u32,
    /// The natural logarithm of its probability. Finite.
    pub logprob: f32,
}

impl TokenLogprob {
    /// Its probability.
    pub fn probability(&self) -> f32 {
        libm::expf(self.logprob)
    }
}

/// A buffer in which the likeliest tokens are gathered. It allocates only when it is made.
pub(super) struct LogprobTable {
    wish: LogprobWish,
    top: Vec<TokenLogprob>,
}

impl LogprobTable {
    /// A table for the likeliest tokens.
    pub fn new(wish: LogprobWish) -> Result<Self, FrontError> {
        let n_top = wish.n_top;
        if n_top > MAX_LOGPROBS {
            return Err(FrontError::TooManyLogprobs { n_logprobs: n_top });
        }
        let mut top = Vec::new();
        let needed_bytes = n_top * size_of::<TokenLogprob>();
        top.try_reserve_exact(n_top).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        Ok(Self { wish, top })
    }

    /// How likely the token `id` was, and which tokens were the likeliest. Logits must be finite or negative infinity, and the logit of
    /// `id` finite; `id` must be among the candidates, with a probability above 0.
    pub fn of(&mut self, id: u32, logits: &[f32], candidates: &[Candidate]) -> Logprobs<'_> {
        if self.wish.after_sampling {
            let probabilities = || candidates.iter().map(|entry| (entry.id, entry.probability));
            self.gather(probabilities().filter(|&(_, probability)| probability > 0.0));
            let chosen =
                probabilities().find(|&(other, _)| other == id).map_or(1.0, |(_, probability)| probability);
            self.top.iter_mut().for_each(|entry| entry.logprob = libm::logf(entry.logprob));
            return Logprobs { chosen: libm::logf(chosen), top: &self.top };
        }
        let max = self.gather((0..).zip(logits.iter().copied()));
        // In order, and in f64: the tail of a large vocabulary would be lost in f32.
        let sum: f64 = logits.iter().map(|logit| f64::from(libm::expf(logit - max))).sum();
        let log_sum = f64::from(max) + libm::log(sum);
        let logprob = |logit: f32| (f64::from(logit) - log_sum).max(f32::MIN.into()) as f32;
        for entry in &mut self.top {
            entry.logprob = logprob(entry.logprob);
        }
        Logprobs { chosen: logprob(logits[id as usize]), top: &self.top }
    }

    /// Gathers the tokens with the highest numbers (which are in the same order as the log-probabilities), among equal ones those with the
    /// lowest ids. Returns the highest number.
    fn gather(&mut self, numbers: impl Iterator<Item = (u32, f32)>) -> f32 {
        let Self { wish: LogprobWish { n_top, .. }, ref mut top } = *self;
        top.clear();
        let mut max = f32::NEG_INFINITY;
        for (id, number) in numbers {
            max = max.max(number);
            if number == f32::NEG_INFINITY || n_top == 0 {
                continue;
            }
            let is_before =
                |other: &TokenLogprob| other.logprob > number || (other.logprob == number && other.id < id);
            if top.len() == n_top {
                if top.last().is_some_and(is_before) {
                    continue;
                }
                top.pop();
            }
            let place = top.partition_point(is_before);
            top.insert(place, TokenLogprob { id, logprob: number });
        }
        max
    }
}

/// Shows how likely a token was, as one line: its text in quotes and its log-probability, then the same for the likeliest tokens. Without a
/// tokenizer the line has ids instead of texts.
pub struct LogprobLine<'l> {
    /// The token.
    pub id: u32,
    /// How likely it was.
    pub logprobs: Logprobs<'l>,
    /// The tokenizer that knows the texts.
    pub tokenizer: Option<&'l Tokenizer<'l>>,
}

impl fmt::Display for LogprobLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |f: &mut fmt::Formatter<'_>, token: TokenLogprob| {
            match self.tokenizer {
                None => write!(f, "{}", token.id)?,
                Some(tokenizer) => {
                    let mut bytes = Vec::new();
                    // Cannot fail: the ids come from the model, and this is its vocabulary.
                    let _ = tokenizer.token_bytes(token.id, &mut bytes);
                    write!(f, "{:?}", String::from_utf8_lossy(&bytes))?;
                }
            }
            write!(f, " {:.4}", token.logprob)
        };
        show(f, TokenLogprob { id: self.id, logprob: self.logprobs.chosen })?;
        for (index, &token) in self.logprobs.top.iter().enumerate() {
            f.write_str(if index == 0 { " | " } else { ", " })?;
            show(f, token)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(n_top: usize) -> LogprobTable {
        LogprobTable::new(LogprobWish { n_top, after_sampling: false }).unwrap()
    }

    fn ids(logits: &[f32], n_top: usize) -> Vec<u32> {
        table(n_top).of(0, logits, &[]).top.iter().map(|token| token.id).collect()
    }

    #[test]
    fn the_likeliest_come_in_their_order() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, -2.0, 3.0, 0.0, -0.0];
        assert!(ids(&logits, 0).is_empty());
        assert_eq!(ids(&logits, 1), [1]);
        assert_eq!(ids(&logits, 2), [1, 3]);
        assert_eq!(ids(&logits, 6), [1, 3, 5, 0, 6, 7]);
        assert_eq!(ids(&logits, 20), [1, 3, 5, 0, 6, 7, 4]);
        // The result does not depend on where the token stands or on what was gathered before.
        let mut table = table(3);
        for shift in 0..50 {
            let logits: Vec<f32> = (0..50).map(|i| ((i * 37 + shift) % 50) as f32).collect();
            let found: Vec<f32> =
                table.of(0, &logits, &[]).top.iter().map(|token| logits[token.id as usize]).collect();
            assert_eq!(found, [49.0, 48.0, 47.0]);
        }
    }

    #[test]
    fn logarithms_are_those_of_the_probabilities() {
        let logits: Vec<f32> = (0..3000).map(|i| ((i * 7919) % 3001) as f32 / 150.0 - 12.0).collect();
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let mut table = table(5);
        for id in [0, 7, 2999] {
            let Logprobs { chosen, top } = table.of(id, &logits, &[]);
            let is_right = |id: u32, found: f32| {
                let expected = f64::from(logits[id as usize]) - sum.ln();
                (f64::from(found) - expected).abs() < 1e-6 * expected.abs()
            };
            assert!(is_right(id, chosen));
            assert!(top.len() == 5 && top.iter().all(|token| is_right(token.id, token.logprob)), "{top:?}");
        }
    }

    #[test]
    fn what_is_certain_or_all_but_impossible_has_a_number() {
        let mut table = table(3);
        let certain = table.of(1, &[f32::NEG_INFINITY, 5.0], &[]);
        assert_eq!((certain.chosen, certain.top), (0.0, &[TokenLogprob { id: 1, logprob: 0.0 }][..]));
        let impossible = table.of(0, &[f32::MIN, f32::MAX], &[]);
        assert_eq!((impossible.chosen, impossible.top[1].logprob), (f32::MIN, f32::MIN));
        let too_many = LogprobWish { n_top: 21, after_sampling: true };
        assert!(matches!(LogprobTable::new(too_many), Err(FrontError::TooManyLogprobs { n_logprobs: 21 })));
    }

    #[test]
    fn after_sampling_they_are_those_of_what_was_kept() {
        let candidate = |id, probability| Candidate { id, logit: 0.0, probability };
        let kept = [candidate(7, 0.25), candidate(2, 0.5), candidate(1, 0.25), candidate(3, 0.0)];
        let mut table = LogprobTable::new(LogprobWish { n_top: 3, after_sampling: true }).unwrap();
        let Logprobs { chosen, top } = table.of(7, &[0.0; 8], &kept);
        let quarter = libm::logf(0.25);
        assert_eq!(chosen, quarter);
        let expected = [(2, libm::logf(0.5)), (1, quarter), (7, quarter)];
        assert_eq!(top, expected.map(|(id, logprob)| TokenLogprob { id, logprob }));
        let mut table = LogprobTable::new(LogprobWish { n_top: 9, after_sampling: true }).unwrap();
        assert_eq!(table.of(2, &[0.0; 8], &kept).top.len(), 3);
    }
}
