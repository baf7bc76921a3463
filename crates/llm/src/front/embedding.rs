//! A text as one vector: what the last layer gives for its tokens, pooled.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::{FrontError, logits};
use crate::gguf::Gguf;
use crate::model::{Input, Logits, Span};
use crate::session::{Runner, RunnerOptions};

/// What becomes of the vectors of a text's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token, which stands for the whole text in BERT's family.
    First,
    /// That of the last token, which has seen the whole text.
    Last,
}

/// A text as one vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// `[n_embd]`, of length 1.
    pub values: Vec<f32>,
    /// Tokens of the text, special ones included.
    pub n_tokens: usize,
}

impl Pooling {
    /// As a file of this architecture says; the mean if it says nothing, or that there is none.
    ///
    /// # Errors
    /// [`FrontError::Pooling`] if it says anything else, [`FrontError::Gguf`] if that is no number.
    pub fn of(gguf: &Gguf<'_>, architecture: &str) -> Result<Self, FrontError> {
        match gguf.u32_value((architecture, "pooling_type"))? {
            None | Some(0 | 1) => Ok(Self::Mean),
            Some(2) => Ok(Self::First),
            Some(3) => Ok(Self::Last),
            Some(pooling_type) => Err(FrontError::Pooling { pooling_type }),
        }
    }

    /// Of the rows of some of a text's tokens, which are the first or the last ones or both, those that count.
    fn pooled(self, rows: &[f32], n_embd: usize, is_first: bool, is_last: bool) -> &[f32] {
        match self {
            Self::Mean => rows,
            Self::First if is_first => &rows[..n_embd],
            Self::Last if is_last => &rows[rows.len() - n_embd..],
            Self::First | Self::Last => &[],
        }
    }
}

/// Runs exactly these tokens on a runner whose first slot is empty, as it is again afterwards, and pools what the last layer
/// gives for them, normalised as before an output matrix, to a vector of length 1. Models of all kinds can do that; of an encoder
/// all tokens must fit a batch. `go_on` is asked twice in each layer and may end it.
///
/// # Errors
/// If there are no tokens, an id is not in the vocabulary, the tokens do not fit the context, the heap has no room for the vector,
/// or `go_on` breaks off ([`SessionError::Stopped`](crate::session::SessionError::Stopped)).
pub fn run(
    runner: &mut Runner<'_>,
    pooling: Pooling,
    tokens: &[u32],
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Embedding, FrontError> {
    logits::check(runner, tokens)?;
    let n_embd = runner.model().config().n_embd;
    let needed_bytes = n_embd * (size_of::<f32>() + size_of::<f64>());
    let (mut sums, mut values) = (Vec::<f64>::new(), Vec::<f32>::new());
    let reserved = sums.try_reserve_exact(n_embd).and_then(|()| values.try_reserve_exact(n_embd));
    reserved.map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
    sums.resize(n_embd, 0.0);
    let added = add_up(runner, pooling, tokens, &mut sums, go_on);
    runner.truncate(logits::SLOT, 0);
    added?;
    // How many were added makes no difference to a vector of length 1.
    let length = libm::sqrt(sums.iter().map(|sum| sum * sum).sum());
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    values.extend(sums.iter().map(|sum| (sum * scale) as f32));
    Ok(Embedding { values, n_tokens: tokens.len() })
}

/// Adds what counts of the tokens' vectors to `sums`, in their order.
fn add_up(
    runner: &mut Runner<'_>,
    pooling: Pooling,
    tokens: &[u32],
    sums: &mut [f64],
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<(), FrontError> {
    let RunnerOptions { n_batch, .. } = *runner.options();
    let n_batches = tokens.len().div_ceil(n_batch);
    for (index, tokens) in tokens.chunks(n_batch).enumerate() {
        let (first_position, input) = (index * n_batch, Input::Tokens(tokens));
        let span = Span { slot: logits::SLOT, first_position, input, logits: Logits::None };
        let rows = runner.hidden_states(span, go_on)?;
        let pooled = pooling.pooled(rows, sums.len(), index == 0, index + 1 == n_batches);
        for row in pooled.chunks_exact(sums.len()) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += f64::from(value);
            }
        }
    }
    Ok(())
}
