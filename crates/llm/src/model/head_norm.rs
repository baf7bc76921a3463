//! The normalisation of queries and keys.

use crate::compute::Norm;

/// A normalisation of queries or keys.
#[derive(Debug, Clone, Copy)]
pub enum HeadNorm<'a> {
    /// Of each head, with the same weights, `[head_len]`, or without weights.
    Head(Option<&'a [f32]>),
    /// Of each head with weights of its own, `[n_head][head_len]`.
    OwnHead(&'a [f32]),
    /// Of each head, without weights, then multiplied by the head's factor, `[n_head]`.
    Factor(&'a [f32]),
    /// Of the row of all heads, `[n_head · head_len]`.
    Row(Norm<'a>),
}
