//! The normalisation of queries and keys.

use super::pass::Pass;
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

impl Pass<'_> {
    /// Normalises all heads of each token, `[n_tokens][n_head][head_len]`, if there is a normalisation.
    pub(super) fn normalise_heads(
        &self,
        norm: Option<HeadNorm<'_>>,
        heads: &mut [f32],
        n_head: usize,
        head_len: usize,
    ) {
        let Some(norm) = norm else { return };
        self.compute.each_token(heads.chunks_exact_mut(n_head * head_len), |row| match norm {
            HeadNorm::Head(weight) => {
                let norm = Norm { weight, bias: None };
                row.chunks_exact_mut(head_len).for_each(|head| self.normalise_row(&norm, head));
            }
            HeadNorm::OwnHead(weights) => {
                for (head, weight) in row.chunks_exact_mut(head_len).zip(weights.chunks_exact(head_len)) {
                    self.normalise_row(&Norm { weight: Some(weight), bias: None }, head);
                }
            }
            HeadNorm::Factor(factors) => {
                for (head, factor) in row.chunks_exact_mut(head_len).zip(factors) {
                    self.normalise_row(&Norm { weight: None, bias: None }, head);
                    self.compute.kernels.scale(head, *factor);
                }
            }
            HeadNorm::Row(norm) => self.normalise_row(&norm, row),
        });
    }
}
