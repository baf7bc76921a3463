//! [`Logprobs`]: how likely a token was, and which were the likeliest.

use alloc::vec::Vec;

use super::FrontError;

/// Most of the likeliest tokens that a request can ask for.
pub const MAX_LOGPROBS: usize = 20;

/// How likely a token was by the model alone: from the softmax of its logits, before any step of sampling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logprobs<'l> {
    /// The natural logarithm of the chosen token's probability. Finite.
    pub chosen: f32,
    /// The likeliest tokens, likeliest first, of equal ones the lowest id first. Tokens without any probability are not among
    /// them.
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

/// Where the likeliest tokens are gathered; allocates when it is made and never again.
pub(super) struct LogprobTable {
    n_top: usize,
    top: Vec<TokenLogprob>,
}

impl LogprobTable {
    /// A table for the `n_top` likeliest tokens.
    pub fn new(n_top: usize) -> Result<Self, FrontError> {
        if n_top > MAX_LOGPROBS {
            return Err(FrontError::TooManyLogprobs { n_logprobs: n_top });
        }
        let mut top = Vec::new();
        let needed_bytes = n_top * size_of::<TokenLogprob>();
        top.try_reserve_exact(n_top).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        Ok(Self { n_top, top })
    }

    /// How likely the token `id` was, and which were the likeliest. Logits are finite or negative infinity, that of `id` is finite.
    pub fn of(&mut self, id: u32, logits: &[f32]) -> Logprobs<'_> {
        let max = self.gather(logits);
        // In order, and in f64: the tail of a large vocabulary would be lost in f32.
        let sum: f64 = logits.iter().map(|logit| f64::from(libm::expf(logit - max))).sum();
        let log_sum = f64::from(max) + libm::log(sum);
        let logprob = |logit: f32| (f64::from(logit) - log_sum).max(f32::MIN.into()) as f32;
        for entry in &mut self.top {
            entry.logprob = logprob(entry.logprob);
        }
        Logprobs { chosen: logprob(logits[id as usize]), top: &self.top }
    }

    /// Gathers the highest logits, which stand in for the logarithms; returns the highest.
    fn gather(&mut self, logits: &[f32]) -> f32 {
        self.top.clear();
        let mut max = f32::NEG_INFINITY;
        // What a logit must exceed to be among the highest so far.
        let mut least = if self.n_top == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
        for (id, &logit) in (0..).zip(logits) {
            max = max.max(logit);
            if logit > least {
                if self.top.len() == self.n_top {
                    self.top.pop();
                }
                let place = self.top.partition_point(|other| other.logprob >= logit);
                self.top.insert(place, TokenLogprob { id, logprob: logit });
                if self.top.len() == self.n_top {
                    least = self.top[self.n_top - 1].logprob;
                }
            }
        }
        max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(logits: &[f32], n_top: usize) -> Vec<u32> {
        LogprobTable::new(n_top).unwrap().of(0, logits).top.iter().map(|token| token.id).collect()
    }

    #[test]
    fn the_likeliest_come_in_their_order() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, -2.0, 3.0, 0.0, -0.0];
        assert!(ids(&logits, 0).is_empty());
        assert_eq!(ids(&logits, 1), [1]);
        assert_eq!(ids(&logits, 2), [1, 3]);
        assert_eq!(ids(&logits, 6), [1, 3, 5, 0, 6, 7]);
        assert_eq!(ids(&logits, 20), [1, 3, 5, 0, 6, 7, 4]);
        // From any place, whatever was gathered before.
        let mut table = LogprobTable::new(3).unwrap();
        for shift in 0..50 {
            let logits: Vec<f32> = (0..50).map(|i| ((i * 37 + shift) % 50) as f32).collect();
            let found: Vec<f32> =
                table.of(0, &logits).top.iter().map(|token| logits[token.id as usize]).collect();
            assert_eq!(found, [49.0, 48.0, 47.0]);
        }
    }

    #[test]
    fn logarithms_are_those_of_the_probabilities() {
        let logits: Vec<f32> = (0..3000).map(|i| ((i * 7919) % 3001) as f32 / 150.0 - 12.0).collect();
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let mut table = LogprobTable::new(5).unwrap();
        for id in [0, 7, 2999] {
            let Logprobs { chosen, top } = table.of(id, &logits);
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
        let mut table = LogprobTable::new(3).unwrap();
        let certain = table.of(1, &[f32::NEG_INFINITY, 5.0]);
        assert_eq!((certain.chosen, certain.top), (0.0, &[TokenLogprob { id: 1, logprob: 0.0 }][..]));
        let impossible = table.of(0, &[f32::MIN, f32::MAX]);
        assert_eq!((impossible.chosen, impossible.top[1].logprob), (f32::MIN, f32::MIN));
        assert!(matches!(LogprobTable::new(21), Err(FrontError::TooManyLogprobs { n_logprobs: 21 })));
    }
}
