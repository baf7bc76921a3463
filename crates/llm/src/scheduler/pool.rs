//! [`Pool`] turns the last layer's outputs for a text's tokens into one vector, as they come.

use alloc::vec::Vec;

use super::SubmitError;
use crate::model::{Classifier, ClassifierInput, ClassifierScratch, Config};
use crate::session::Runner;

/// How the last layer's outputs for a text's tokens, `[n_tokens][n_embd]`, become the result: llama.cpp's `--pooling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// They are the result: one vector per token.
    None,
    /// The mean of the vectors.
    Mean,
    /// The vector of the first token, which stands for the whole text in BERT's family.
    Cls,
    /// The vector of the last token, which depends on the whole text.
    Last,
    /// The scores that the model's classifier gives the text, `[n_labels]`.
    Rank,
}

/// What to compute for a text that is not continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingOptions {
    /// How the tokens' vectors become one.
    pub pooling: Pooling,
    /// Whether the result, or each vector of it, is divided by its Euclidean length.
    pub normalise: bool,
}

/// The result for one text. Each row is added once, in the order of the positions.
pub(super) struct Pool {
    options: EmbeddingOptions,
    n_embd: usize,
    /// Rows that were added.
    n_added: usize,
    /// Rows that there will be.
    n_tokens: usize,
    /// The sums of all rows that count, `[n_embd]`; empty without pooling.
    sums: Vec<f64>,
    /// The result: `[n_embd]`, or `[n_tokens][n_embd]`.
    values: Vec<f32>,
    /// Memory for the classifier, if the result is its scores.
    scores: Option<ClassifierScratch>,
}

impl Pool {
    /// Room for the result for a text of `n_tokens`.
    ///
    /// # Errors
    /// If there is no memory, or no classifier.
    pub fn of_text(
        options: EmbeddingOptions,
        n_tokens: usize,
        config: &Config,
        classifier: Option<&Classifier<'_>>,
    ) -> Result<Self, SubmitError> {
        let out_of_heap = |needed_bytes| SubmitError::OutOfHeap { needed_bytes };
        if options.pooling != Pooling::Rank {
            return Self::new(options, n_tokens, config.n_embd).map_err(out_of_heap);
        }
        let classifier = classifier.ok_or(SubmitError::NoClassifier)?;
        let pooling = match config.classifier_input {
            ClassifierInput::Mean => Pooling::Mean,
            ClassifierInput::First => Pooling::Cls,
            ClassifierInput::Last => Pooling::Last,
        };
        let options = EmbeddingOptions { pooling, normalise: false };
        let pool = Self::new(options, n_tokens, config.n_embd).map_err(out_of_heap)?;
        Ok(Self { scores: Some(classifier.scratch(config.n_embd).map_err(out_of_heap)?), ..pool })
    }

    /// Room for the rows of a text of `n_tokens`. The error is the number of bytes needed.
    fn new(options: EmbeddingOptions, n_tokens: usize, n_embd: usize) -> Result<Self, usize> {
        let (n_sums, n_values) = match options.pooling {
            Pooling::None => (0, n_tokens.saturating_mul(n_embd)),
            Pooling::Mean | Pooling::Cls | Pooling::Last | Pooling::Rank => (n_embd, n_embd),
        };
        let (mut sums, mut values) = (Vec::new(), Vec::new());
        let reserved = sums.try_reserve_exact(n_sums).and_then(|()| values.try_reserve_exact(n_values));
        reserved.map_err(|_| n_sums * size_of::<f64>() + n_values.saturating_mul(size_of::<f32>()))?;
        sums.resize(n_sums, 0.0);
        Ok(Pool { options, n_embd, n_added: 0, n_tokens, sums, values, scores: None })
    }

    /// Takes the rows of the tokens from position `first` on. A text that is computed again gives some rows a second time with the same
    /// bits; those are ignored.
    pub fn add(&mut self, first: usize, rows: &[f32]) {
        let rows = rows.chunks_exact(self.n_embd).enumerate().map(|(index, row)| (first + index, row));
        for (position, row) in rows {
            if position != self.n_added {
                continue;
            }
            self.n_added += 1;
            match self.options.pooling {
                Pooling::None => self.values.extend_from_slice(row),
                Pooling::Cls if position != 0 => {}
                Pooling::Last if position + 1 != self.n_tokens => {}
                Pooling::Mean | Pooling::Cls | Pooling::Last | Pooling::Rank => {
                    self.sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
                }
            }
        }
    }

    /// The result, once all rows have been added.
    pub fn finish(&mut self, runner: &Runner<'_>) -> &[f32] {
        self.pooled();
        match &mut self.scores {
            Some(scratch) => runner.classify(&self.values, scratch),
            None => &self.values,
        }
    }

    /// The pooled row, or all rows without pooling.
    fn pooled(&mut self) -> &[f32] {
        let Self { options: EmbeddingOptions { pooling, normalise }, n_embd, n_tokens, .. } = *self;
        if pooling == Pooling::None {
            for row in self.values.chunks_exact_mut(n_embd).filter(|_| normalise) {
                let squares = row.iter().map(|&value| f64::from(value) * f64::from(value));
                let scale = scale_to_one(squares.sum());
                row.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
            }
            return &self.values;
        }
        let scale = match pooling {
            // A vector that is scaled to length 1 need not be divided by the number of rows.
            _ if normalise => scale_to_one(self.sums.iter().map(|sum| sum * sum).sum()),
            Pooling::Mean => 1.0 / n_tokens as f64,
            Pooling::None | Pooling::Cls | Pooling::Last | Pooling::Rank => 1.0,
        };
        self.values.clear();
        self.values.extend(self.sums.iter().map(|sum| (sum * scale) as f32));
        &self.values
    }
}

/// The factor that scales a vector with this sum of squares to length 1; 0 for a vector of zeros.
fn scale_to_one(squares: f64) -> f64 {
    let length = libm::sqrt(squares);
    if length > 0.0 { 1.0 / length } else { 0.0 }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    const ROWS: [f32; 6] = [3.0, 0.0, 1.0, 2.0, -1.0, 4.0];

    fn pooled(pooling: Pooling, normalise: bool, parts: &[(usize, &[f32])]) -> Vec<f32> {
        let mut pool = Pool::new(EmbeddingOptions { pooling, normalise }, 3, 2).unwrap();
        parts.iter().for_each(|(first, rows)| pool.add(*first, rows));
        pool.pooled().to_vec()
    }

    #[test]
    fn rows_count_once_however_they_come() {
        for (pooling, expected) in [
            (Pooling::None, ROWS.to_vec()),
            (Pooling::Mean, vec![1.0, 2.0]),
            (Pooling::Cls, vec![3.0, 0.0]),
            (Pooling::Last, vec![-1.0, 4.0]),
        ] {
            for parts in [
                &[(0, &ROWS[..])][..],
                &[(0, &ROWS[..2]), (1, &ROWS[2..])],
                &[(0, &ROWS[..4]), (0, &ROWS[..2]), (1, &ROWS[2..])],
            ] {
                assert_eq!(pooled(pooling, false, parts), expected, "{pooling:?}");
            }
        }
    }

    #[test]
    fn vectors_have_length_one_if_that_is_wanted() {
        let all = [(0, &ROWS[..])];
        assert_eq!(pooled(Pooling::Cls, true, &all), [1.0, 0.0]);
        for pooling in [Pooling::None, Pooling::Mean, Pooling::Last] {
            for row in pooled(pooling, true, &all).chunks_exact(2) {
                let squares: f64 = row.iter().map(|&value| f64::from(value).powi(2)).sum();
                assert!((squares - 1.0).abs() < 1e-6, "{pooling:?}");
            }
        }
        let mut nothing =
            Pool::new(EmbeddingOptions { pooling: Pooling::Mean, normalise: true }, 1, 2).unwrap();
        nothing.add(0, &[0.0, 0.0]);
        assert_eq!(nothing.pooled(), [0.0, 0.0]);
    }
}
