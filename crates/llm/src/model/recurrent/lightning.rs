//! Lightning attention (Qin et al. 2024, "Lightning Attention-2"): linear attention with a constant decay for each head.
//!
//! ```text
//! q, k, v = silu(W_qkv · input)               of each head
//! S       = exp(-slope) · S + v · kᵀ          [head_len][head_len]
//! y       = S · q
//! output  = W_out · (norm(y) · sigmoid(W_gate · input))
//! ```

use super::super::config::LightningConfig;
use super::super::pass::Pass;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::{HeadLens, Piece, TOKENS};
use crate::compute::{Linear, Norm};
use crate::quant::Activations;
use crate::simd::{Columns, Mamba2Scan, state_len};
use crate::state::StateStore;

/// The weights of lightning attention.
#[derive(Debug)]
pub struct Lightning<'a> {
    /// Its lengths.
    pub config: LightningConfig,
    /// `[n_head · 3 · head_len × n_embd]`: each head's query, key and value.
    pub wqkv: Linear<'a>,
    /// `[n_inner × n_embd]`: gates of the output.
    pub gate: Linear<'a>,
    /// `[n_inner]`
    pub norm: Norm<'a>,
    /// `[n_embd × n_inner]`
    pub w_out: Linear<'a>,
}

impl Pass<'_> {
    pub(super) fn lightning(
        &self,
        weights: &Lightning<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        let LightningConfig { n_head, head_len } = weights.config;
        let n_inner = n_head * head_len;
        let n_tokens = batch.n_tokens;
        let config = self.config;
        let kernels = self.compute.kernels;
        let (scratch, _): (RecurrentScratch<'_>, _) = workspace.take();
        let RecurrentScratch { projected, gate, y, inner, quantized, .. } = scratch;
        let projected = &mut projected[..n_tokens * 3 * n_inner];
        let gate = &mut gate[..n_tokens * n_inner];
        let (y, inner) = (&mut y[..n_tokens * n_inner], &mut inner[..n_tokens * n_inner]);

        let mut input = Activations::new(x, config.n_embd, quantized, self.compute.precision);
        self.compute.linear_each([&weights.wqkv, &weights.gate], &mut input, [&mut *projected, &mut *gate]);
        self.compute.each_token(projected.chunks_exact_mut(3 * n_inner), |row| kernels.silu(row));

        let inputs = Columns { matrix: projected, width: 3 * n_inner, first: 0, len: 3 * n_inner };
        let lens = HeadLens { state: state_len(head_len, head_len), output: head_len, all_outputs: n_inner };
        let layer_scale = layer_scale(batch.layer, config.layers.len());
        self.scan(batch, store, lens, y, &|piece| {
            let decay = libm::expf(-slope(piece.head, n_head) * layer_scale);
            let of_head = piece.part(inputs, 3 * head_len);
            let [q, k, v] = [0, 1, 2].map(|index| of_head.part(index * head_len, head_len));
            let Piece { n_tokens, state, y, .. } = piece;
            let (decays, dts) = ([decay; TOKENS], [1.0; TOKENS]);
            kernels.mamba2_scan(Mamba2Scan {
                state,
                decay: &decays[..n_tokens],
                dt: &dts[..n_tokens],
                x: v,
                b: k,
                c: q,
                y,
            });
        });
        self.gather(batch, lens, y, inner, &|token, inner| {
            self.normalise_row(&weights.norm, inner);
            kernels.sigmoid_gated(inner, &gate[token * n_inner..][..n_inner]);
        });
        self.compute.linear(&weights.w_out, inner, quantized, x);
    }
}

/// The amount by which the logarithm of a head's state falls at each position: the slopes of ALiBi (Press et al. 2022)
/// with a largest penalty of 8, whatever the number of heads.
fn slope(head: usize, n_head: usize) -> f32 {
    let ratio = libm::powf(2.0, -libm::powf(2.0, -(libm::log2f(n_head as f32) - 3.0)));
    ratio * libm::powf(ratio, head as f32)
}

/// The factor of the slopes in this layer, smaller in later layers.
fn layer_scale(layer: usize, n_layer: usize) -> f32 {
    (1.0 - layer as f64 / (n_layer as f64 - 1.0) + 1e-5) as f32
}
