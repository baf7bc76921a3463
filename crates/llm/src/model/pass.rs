//! [`Pass`]: what a pass has for all layers, and what several mixers do with it.

use super::config::Config;
use super::rope::{Rope, Ropes};
use super::scratch::Angles;
use crate::compute::{Compute, Norm};

/// What mixers need besides their weights.
#[derive(Clone, Copy)]
pub(super) struct Pass<'p> {
    /// The hyper-parameters.
    pub config: &'p Config,
    /// The rotary embeddings, for the length of the context.
    pub ropes: &'p Ropes,
    /// The kernels and cores that compute.
    pub compute: Compute<'p>,
}

impl Pass<'_> {
    /// Normalises each token of `x` into `output`; copies if there is no normalisation.
    pub fn normalise(&self, norm: Option<&Norm<'_>>, x: &[f32], output: &mut [f32]) {
        let config = self.config;
        self.compute.normalise(config.normalisation, norm, config.n_embd, x, output);
    }

    /// Normalises each token of `x`, if there is a normalisation.
    pub fn normalise_rows(&self, norm: Option<&Norm<'_>>, x: &mut [f32]) {
        let rows = x.chunks_exact_mut(self.config.n_embd);
        self.compute.each_token(rows, |row| self.normalise_if_any(norm, row));
    }

    /// Normalises one row, if there is a normalisation.
    pub fn normalise_if_any(&self, norm: Option<&Norm<'_>>, row: &mut [f32]) {
        if let Some(norm) = norm {
            self.normalise_row(norm, row);
        }
    }

    /// Normalises one row.
    pub fn normalise_row(&self, norm: &Norm<'_>, row: &mut [f32]) {
        self.config.normalisation.apply(self.compute.kernels, norm, row);
    }

    /// Rotates all heads of each token, `[n_tokens][n_head][head_len]`.
    pub fn rope_heads(
        &self,
        rope: &Rope,
        angles: &Angles<'_>,
        heads: &mut [f32],
        n_head: usize,
        head_len: usize,
    ) {
        let n_pairs = rope.n_pairs();
        let rows = angles.cos.chunks_exact(n_pairs).zip(angles.sin.chunks_exact(n_pairs));
        self.compute.each_token(heads.chunks_exact_mut(n_head * head_len).zip(rows), |(row, (cos, sin))| {
            row.chunks_exact_mut(head_len).for_each(|head| rope.rotate(self.compute.kernels, head, cos, sin));
        });
    }
}
