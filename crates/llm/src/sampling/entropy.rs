//! The stages that use the entropy of the candidates: typical-p, dynamic temperature, mirostat.

use super::SamplingConfig;
use super::candidates::{Candidate, Candidates, finite};

/// Tokens from which mirostat 1 estimates how fast probabilities fall.
const N_ESTIMATED: usize = 100;

impl Candidates {
    /// Keeps the candidates whose surprise is nearest to the expected one, until their probabilities exceed `p`; at
    /// least one, and at least `min_keep`.
    pub(super) fn keep_typical(&mut self, p: f32, min_keep: usize) {
        let max = self.max_logit();
        let total = self.sum_of_weights(max);
        let entropy = self.entropy(max, total);
        let (temperature, ln_total) = (f64::from(self.temperature), libm::log(total));
        // The distance is stored negated as a logit, so that one order serves both.
        for entry in &mut self.entries {
            let surprise = ln_total - (f64::from(entry.logit) - f64::from(max)) / temperature;
            let distance = if surprise < entropy { entropy - surprise } else { surprise - entropy };
            entry.probability = entry.logit;
            entry.logit = -distance as f32;
        }
        self.n_sorted = 0;
        let target = f64::from(p) * total;
        self.keep_until(min_keep, &mut |candidates, entry, sum| {
            *sum += candidates.weight(entry.probability, max);
            *sum > target
        });
        self.n_sorted = 0;
        for entry in &mut self.entries {
            entry.logit = entry.probability;
        }
    }

    /// The entropy of the candidates in nats; `total` is the sum of their weights.
    fn entropy(&self, max: f32, total: f64) -> f64 {
        let of_one = |entry: &Candidate| {
            let probability = self.weight(entry.logit, max) / total;
            if probability > 0.0 { -probability * libm::log(probability) } else { 0.0 }
        };
        self.entries.iter().map(of_one).sum()
    }

    /// The temperature for the current entropy: from `dynatemp_range` below `temperature` at the least entropy to
    /// `dynatemp_range` above it at the greatest.
    pub(super) fn dynamic_temperature(&self, config: &SamplingConfig) -> f32 {
        let &SamplingConfig { temperature, dynatemp_range, dynatemp_exponent, .. } = config;
        if self.entries.len() < 2 {
            return temperature;
        }
        let max = self.max_logit();
        let entropy = self.entropy(max, self.sum_of_weights(max)) / libm::log(self.entries.len() as f64);
        let (least, most) = ((temperature - dynatemp_range).max(0.0), finite(temperature + dynatemp_range));
        let place = libm::pow(entropy.clamp(0.0, 1.0), dynatemp_exponent.into());
        (f64::from(least) + f64::from(most - least) * place) as f32
    }

    /// Keeps the most likely candidates, as many as mirostat 1 computes for a surprise of `mu` bits and a vocabulary of
    /// `n_vocab`.
    /// Source: Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity", 2021.
    pub(super) fn keep_mirostat_1(&mut self, mu: f32, n_vocab: usize) {
        self.sort_first(N_ESTIMATED);
        let (mut numerator, mut denominator) = (0.0, 0.0);
        for (place, two) in self.entries[..self.n_sorted.min(N_ESTIMATED)].windows(2).enumerate() {
            if two[1].logit == f32::NEG_INFINITY {
                break;
            }
            let rank = libm::log((place + 2) as f64 / (place + 1) as f64);
            numerator +=
                rank * (f64::from(two[0].logit) - f64::from(two[1].logit)) / f64::from(self.temperature);
            denominator += rank * rank;
        }
        let s = numerator / denominator;
        let epsilon = s - 1.0;
        let of_all = 1.0 - libm::pow(n_vocab as f64, -epsilon);
        let k = libm::pow(epsilon * libm::pow(2.0, mu.into()) / of_all, 1.0 / s);
        // NaN becomes 0, which keeps one candidate.
        self.keep_top_k((k as usize).max(1));
    }

    /// Keeps the candidates whose surprise is at most `mu` bits, at least one.
    /// Source: Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity", 2021,
    /// algorithm 2.
    pub(super) fn keep_mirostat_2(&mut self, mu: f32) {
        self.set_probabilities();
        let is_kept = |entry: &Candidate| entry.probability > 0.0 && surprise(entry.probability) <= mu;
        match self.entries.iter().any(is_kept) {
            true => self.retain(&mut |entry| is_kept(entry)),
            false => self.keep_top_k(1),
        }
    }
}

/// The surprise in bits of an event with this probability, which must be above 0.
fn surprise(probability: f32) -> f32 {
    -libm::log2f(probability)
}

/// Mirostat's next target after a token that had this `probability` among the kept candidates.
pub(super) fn next_mu(mu: f32, probability: f32, config: &SamplingConfig) -> f32 {
    let error = surprise(probability.max(f32::MIN_POSITIVE)) - config.mirostat_tau;
    finite(mu - finite(config.mirostat_eta * error))
}

#[cfg(test)]
mod tests {
    use super::super::{Chain, Sampler};
    use super::*;
    use alloc::vec::Vec;

    /// A sequence of steps that draws the same tokens as llama.cpp, so that `mu` is the same too.
    #[test]
    fn mirostat_keeps_what_llama_cpp_keeps_step_after_step() {
        let mut logits: Vec<f32> = Vec::new();
        let mut sequence = ("", None::<(Chain, Candidates)>);
        let (mut n_steps, mut mus) = (0, Vec::new());
        for line in include_str!("../../tests/golden/samplers.txt").lines() {
            let fields: Vec<&str> = line.split("; ").collect();
            let [name, parameters, last] = fields[..] else { continue };
            if name.starts_with("logits ") {
                logits = last.split(' ').map(|word| word.parse().unwrap()).collect();
                sequence.0 = "";
            }
            if !name.starts_with("mirostat ") {
                continue;
            }
            let mut config = SamplingConfig { temperature: 1.0, ..SamplingConfig::greedy() };
            let mut chosen = 0;
            for (name, value) in parameters.split(' ').map(|word| word.split_once('=').unwrap()) {
                match name {
                    "mirostat" => config.mirostat = value.parse().unwrap(),
                    "mirostat_tau" => config.mirostat_tau = value.parse().unwrap(),
                    "mirostat_eta" => config.mirostat_eta = value.parse().unwrap(),
                    "temperature" => config.temperature = value.parse().unwrap(),
                    "chosen" => chosen = value.parse().unwrap(),
                    _ => panic!("unknown parameter {name}"),
                }
            }
            if sequence.0 != name {
                sequence = (name, Some(Sampler::new(config, logits.len()).unwrap().into_parts()));
            }
            let (chain, candidates) = sequence.1.as_mut().unwrap();
            chain.keep_candidates(candidates, &logits).unwrap();
            let mut expected: Vec<(u32, f32)> = (last.split(' ').map(|pair| pair.split_once(':').unwrap()))
                .map(|(id, p)| (id.parse().unwrap(), p.parse().unwrap()))
                .collect();
            expected.sort_unstable_by_key(|&(id, _)| id);
            candidates.entries.sort_unstable_by_key(|entry| entry.id);
            let ids = candidates.entries.iter().map(|entry| entry.id);
            assert!(ids.eq(expected.iter().map(|&(id, _)| id)), "{line}: mu {}", chain.mu);
            for (entry, &(_, p)) in candidates.entries.iter().zip(&expected) {
                assert!((entry.probability - p).abs() <= 3e-5 * p, "{line}: {entry:?}, not {p}");
            }
            let drawn = candidates.entries.iter().find(|entry| entry.id == chosen).unwrap();
            chain.mu = next_mu(chain.mu, drawn.probability, &config);
            mus.push(chain.mu);
            n_steps += 1;
        }
        assert_eq!(n_steps, (3 * 6 + 3) * 12);
        assert!(mus.iter().any(|&mu| mu < 2.0) && mus.iter().any(|&mu| mu > 10.0), "{mus:?}");
    }
}
