//! The sequence mixer with keys and values per head: multi-head, grouped-query, multi-query.

use alloc::vec::Vec;
use core::ops::Range;

use super::activation::sigmoid;
use super::architecture::HeadGate;
use super::config::{AttentionMask, HeadsConfig};
use super::head_norm::HeadNorm;
use super::indexer::Indexer;
use super::pass::Pass;
use super::rope::Rope;
use super::scratch::{Angles, BatchAngles, HeadScratch, Workspace};
use super::span::Batch;
use crate::compute::{BatchAttention, BatchSpan, Context, Linear, Norm, QueryMask};
use crate::quant::Activations;
use crate::simd::{RelativeBias, RelativeBuckets};
use crate::state::StateStore;

/// Attention with keys and values per head.
#[derive(Debug)]
pub struct HeadAttention<'a> {
    /// Its lengths.
    pub config: HeadsConfig,
    /// `[n_head · head_len_k × n_embd]`; if heads are gated, twice as many rows: each head's query, then its gate.
    pub wq: Linear<'a>,
    /// `[n_head_kv · head_len_k × n_embd]`; `None` in layers that use another layer's keys and values.
    pub wk: Option<Linear<'a>>,
    /// `[n_head_kv · head_len_v × n_embd]`; `None` if the keys are also the values.
    pub wv: Option<Linear<'a>>,
    /// `[n_embd × n_head · head_len_v]`
    pub wo: Linear<'a>,
    /// The normalisation of the queries.
    pub q_norm: Option<HeadNorm<'a>>,
    /// The normalisation of the keys.
    pub k_norm: Option<HeadNorm<'a>>,
    /// `[n_buckets][n_head]`: the bias of scores for each bucket of distances, in families that have one.
    pub relative: Option<Vec<f32>>,
    /// `[n_head]`: a score that takes a share of the softmax but contributes no value (gpt-oss).
    pub sinks: Option<&'a [f32]>,
    /// `[n_head · head_len_v × n_embd]` or `[n_head × n_embd]`: the gates of the heads' outputs, in families in which
    /// they have a matrix of their own.
    pub gate: Option<Linear<'a>>,
    /// The normalisation of the row of all heads' outputs, in families that have one.
    pub norm: Option<Norm<'a>>,
    /// The indexer, which chooses the positions to which queries attend, in families that have one.
    pub indexer: Option<Indexer<'a>>,
}

impl Pass<'_> {
    /// Computes the attention of one layer. The output replaces the input `x`, `[n_tokens][n_embd]`.
    pub(super) fn head_attention(
        &self,
        weights: &HeadAttention<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        state: &mut StateStore<'_>,
        angles: &BatchAngles<'_>,
        workspace: Workspace<'_>,
    ) {
        let config = self.config;
        let layer = &weights.config;
        let HeadsConfig { n_head, n_head_kv, head_len_k, head_len_v, .. } = *layer;
        let (HeadScratch { q_and_gate, q, k, v, heads, gate, quantized }, workspace) = workspace.take();
        let mask = weights.indexer.as_ref().filter(|indexer| indexer.config.is_used()).and_then(|indexer| {
            let rope = if layer.has_rope { self.rope(layer.mask, angles) } else { None };
            self.choose_positions(indexer, batch, x, state, rope, workspace.take().0)
        });
        let q = &mut q[..batch.n_tokens * n_head * head_len_k];
        let k = &mut k[..batch.n_tokens * n_head_kv * head_len_k];
        let v = &mut v[..batch.n_tokens * n_head_kv * head_len_v];
        let heads = &mut heads[..batch.n_tokens * n_head * head_len_v];

        let mut input = Activations::new(x, config.n_embd, quantized, self.compute.precision);
        if layer.is_gated {
            let q_and_gate = &mut q_and_gate[..2 * q.len()];
            self.compute.linear_of(&weights.wq, &mut input, q_and_gate);
            for (q, both) in q.chunks_exact_mut(head_len_k).zip(q_and_gate.chunks_exact(2 * head_len_k)) {
                q.copy_from_slice(&both[..head_len_k]);
            }
        }
        let compute = self.compute;
        let gate = match &weights.gate {
            Some(linear) => {
                let gate = &mut gate[..batch.n_tokens * linear.weight.n_rows()];
                compute.linear_of(linear, &mut input, gate);
                gate
            }
            None => &mut gate[..0],
        };
        match (layer.is_gated, &weights.wk, &weights.wv) {
            (false, Some(wk), Some(wv)) => {
                compute.linear_each([&weights.wq, wk, wv], &mut input, [&mut *q, k, v]);
            }
            (false, Some(wk), None) => compute.linear_each([&weights.wq, wk], &mut input, [&mut *q, k]),
            (false, None, _) => compute.linear_of(&weights.wq, &mut input, q),
            (true, Some(wk), Some(wv)) => compute.linear_each([wk, wv], &mut input, [&mut *k, v]),
            (true, Some(wk), None) => compute.linear_of(wk, &mut input, k),
            (true, None, _) => {}
        }
        if weights.wk.is_some() && weights.wv.is_none() {
            v.copy_from_slice(k);
        }
        if let Some(clamp) = config.clamp_kqv {
            [&mut *q, k, v].into_iter().flatten().for_each(|x| *x = x.clamp(-clamp, clamp));
        }
        if config.architecture.normalises_values {
            self.normalise_heads(Some(HeadNorm::Head(None)), v, n_head_kv, head_len_v);
        }

        let norms_after = config.architecture.qk_norm.is_after_rope();
        let rope = if layer.has_rope { self.rope(layer.mask, angles) } else { None };
        for (heads, norm, n_head) in [(&mut *q, weights.q_norm, n_head), (&mut *k, weights.k_norm, n_head_kv)]
        {
            if !norms_after {
                self.normalise_heads(norm, heads, n_head, head_len_k);
            }
            if let Some((rope, angles)) = rope {
                self.rope_heads(rope, angles, heads, n_head, head_len_k);
            }
            if norms_after {
                self.normalise_heads(norm, heads, n_head, head_len_k);
            }
        }
        if let Some(temperature) = config.temperature.filter(|t| !(t.only_without_rope && layer.has_rope)) {
            for (row, position) in q.chunks_exact_mut(n_head * head_len_k).zip(batch.positions()) {
                self.compute.kernels.scale(row, temperature.factor(position));
            }
        }

        if weights.wk.is_some() {
            let rows = k.chunks_exact(n_head_kv * head_len_k).zip(v.chunks_exact(n_head_kv * head_len_v));
            for ((k, v), place) in rows.zip(batch.places()) {
                state.store(self.compute.kernels, batch.layer, place, k, v);
            }
        }
        let state = &*state;
        let attention = BatchAttention {
            compute: self.compute,
            n_head,
            n_head_kv,
            head_len_k,
            head_len_v,
            scale: config.attention_scale,
            softcap: config.attention_softcap,
            relative: relative_bias(config.relative.as_ref(), weights.relative.as_deref(), n_head),
            mask: mask.map(|(mask, _)| mask),
        };
        let context = |slot: usize, head_kv| Context {
            keys: state.keys(layer.kv_layer, head_kv),
            values: state.values(layer.kv_layer, head_kv),
            stride_k: head_len_k,
            stride_v: head_len_v,
            pages: state.pages(slot),
        };
        let query_mask = |span: &BatchSpan, position, head| QueryMask {
            visible: match config.is_causal {
                true => layer.mask.first_visible(position)..position + 1,
                false => layer.mask.around(position, span.first_position + span.n_tokens),
            },
            slope: config.max_alibi_bias.map_or(0.0, |max_bias| alibi_slope(max_bias, head, n_head)),
            sink: weights.sinks.map(|sinks| sinks[head]),
            mask_at: mask
                .map_or(0, |(_, n_words)| (span.first_token + position - span.first_position) * n_words),
        };
        attention.run(batch.spans(), q, context, query_mask, heads);
        if layer.is_gated {
            for (head, both) in
                heads.chunks_exact_mut(head_len_v).zip(q_and_gate.chunks_exact(2 * head_len_k))
            {
                self.compute.kernels.sigmoid_gated(head, &both[head_len_k..]);
            }
        }
        if let Some(linear) = &weights.gate {
            self.gate_heads(gate, heads, n_head * head_len_v / linear.weight.n_rows());
        }
        if let Some(norm) = &weights.norm {
            let rows = heads.chunks_exact_mut(n_head * head_len_v);
            self.compute.each_token(rows, |row| self.normalise_row(norm, row));
        }
        self.compute.linear(&weights.wo, heads, quantized, x);
    }

    /// Multiplies each group of `len` elements of `heads` by their gate.
    fn gate_heads(&self, gate: &mut [f32], heads: &mut [f32], len: usize) {
        match self.config.architecture.head_gate {
            HeadGate::Softplus => self.compute.kernels.softplus(gate),
            _ => gate.iter_mut().for_each(|x| *x = sigmoid(*x)),
        }
        for (head, gate) in heads.chunks_exact_mut(len).zip(gate) {
            self.compute.kernels.scale(head, *gate);
        }
    }

    /// The rotary embedding of layers with this mask, and its angles for the batch's positions.
    fn rope<'s>(&self, mask: AttentionMask, angles: &'s BatchAngles<'s>) -> Option<(&Rope, &'s Angles<'s>)> {
        let BatchAngles { full, windowed } = angles;
        match (mask, &self.ropes.windowed) {
            (AttentionMask::All, _) | (_, None) => self.ropes.full.as_ref().map(|rope| (rope, full)),
            (_, Some(rope)) => Some((rope, windowed)),
        }
    }
}

impl AttentionMask {
    /// The first position that a query at `position` sees.
    pub(super) fn first_visible(self, position: usize) -> usize {
        match self {
            AttentionMask::All => 0,
            AttentionMask::Window(length) => (position + 1).saturating_sub(length),
            AttentionMask::Chunk(length) => position / length * length,
            AttentionMask::Around(length) => position.saturating_sub(length),
        }
    }

    /// The positions that a query at `position` in a text of length `len` sees if attention is not causal.
    fn around(self, position: usize, len: usize) -> Range<usize> {
        match self {
            AttentionMask::Around(length) => self.first_visible(position)..len.min(position + length + 1),
            _ => 0..len,
        }
    }
}

/// The bias of scores that depends on the distance, in families that have one.
fn relative_bias<'r>(
    buckets: Option<&'r RelativeBuckets>,
    weights: Option<&'r [f32]>,
    n_head: usize,
) -> Option<RelativeBias<'r>> {
    Some(RelativeBias { buckets: buckets?, weights: weights?, n_head })
}

/// The amount by which a head's scores decrease per position (Press et al. 2022): a geometric sequence from
/// `2^(-max_bias / n)`, where `n` is the largest power of two up to `n_head`; the remaining heads take the terms in
/// between.
fn alibi_slope(max_bias: f32, head: usize, n_head: usize) -> f32 {
    let n = 1_usize << n_head.ilog2();
    let exponent = match head.checked_sub(n) {
        None => (head + 1) as f32,
        Some(beyond) => (2 * beyond + 1) as f32 / 2.0,
    };
    libm::exp2f(-max_bias / n as f32 * exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alibi_slopes_are_those_of_the_paper() {
        // 8 heads: 1/2, 1/4, ... 1/256; 12 heads: the same, then every second term of the 16 heads' 2^-0.5, 2^-1, ...
        for head in 0..8 {
            assert_eq!(alibi_slope(8.0, head, 8), 0.5_f32.powi(head as i32 + 1));
            assert_eq!(alibi_slope(8.0, head, 12), 0.5_f32.powi(head as i32 + 1));
        }
        for beyond in 0..4 {
            let want = 2.0_f32.powf(-0.5 - beyond as f32);
            assert!((alibi_slope(8.0, 8 + beyond, 12) - want).abs() < 1e-6);
        }
    }

    #[test]
    fn windows_and_chunks_begin_where_the_reference_begins_them() {
        assert_eq!([0, 6, 7, 20].map(|p| AttentionMask::Window(7).first_visible(p)), [0, 0, 1, 14]);
        assert_eq!([0, 7, 8, 20].map(|p| AttentionMask::Chunk(8).first_visible(p)), [0, 0, 8, 16]);
        assert_eq!(AttentionMask::All.first_visible(1000), 0);
    }
}
