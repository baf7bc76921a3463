//! The sequence mixer of RWKV-6 (Peng et al. 2024, "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic
//! Recurrence"), and of Qwen2 models that use it instead of attention (Li et al. 2025, "ARWKV").
//!
//! ```text
//! shares_i = share_i + W2_i · tanh(W1_i · shifted(input))        of the five inputs that follow
//! w        = exp(-exp(bias + D2 · tanh(D1 · shifted_w(input))))   of each channel
//! k, v, r  = W_key · shifted_k(input), W_value · shifted_v(input), W_receptance · shifted_r(input)
//! g        = silu(W_gate · shifted_g(input))
//! of each head:
//! y        = (S + (u · k) vᵀ) · r             u: the bonus of the current token
//! S        = diag(w) · S + k · vᵀ
//! output   = W_output · (norm(y) · g)         normalised in each head
//! ```
//!
//! Without a bonus it is gated linear attention (Yang et al. 2023): `k` is multiplied by `1 - w`, `y` is `S · r / √len`
//! after the update of `S`, `g` is a sigmoid, and nothing is normalised.

use super::super::config::{Rwkv6Config, RwkvHeads};
use super::super::pass::Pass;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::token_shift::ShiftedMixer;
use super::{Piece, RWKV_HEAD_NORM};
use crate::compute::{Linear, Norm};
use crate::quant::Activations;
use crate::simd::{Columns, DiagonalScan};
use crate::state::StateStore;

/// The weights of RWKV-6.
#[derive(Debug)]
pub struct Rwkv6<'a> {
    /// Its lengths.
    pub config: Rwkv6Config,
    /// `[n_embd]`: the shares of the token before in the vector from which the five inputs' shares are computed.
    pub shares: &'a [f32],
    /// `[5 · mix_rank × n_embd]`
    pub w1: Linear<'a>,
    /// The five inputs: those of the decay, of keys, of values, of receptance and of gates.
    pub inputs: [Rwkv6Input<'a>; 5],
    /// `[n_embd]`
    pub decay_bias: &'a [f32],
    /// `[decay_rank × n_embd]`
    pub decay_w1: Linear<'a>,
    /// `[n_embd × decay_rank]`
    pub decay_w2: Linear<'a>,
    /// `[n_head_kv · head_len × n_embd]`
    pub key: Linear<'a>,
    /// `[n_head_kv · head_len × n_embd]`
    pub value: Linear<'a>,
    /// `[n_embd × n_embd]`
    pub receptance: Linear<'a>,
    /// `[n_embd × n_embd]`
    pub gate: Linear<'a>,
    /// The bonus of the current token; `None` for gated linear attention.
    pub bonus: Option<Rwkv6Bonus<'a>>,
    /// `[n_embd × n_embd]`
    pub output: Linear<'a>,
}

/// How one of the inputs is computed.
#[derive(Debug, Clone, Copy)]
pub struct Rwkv6Input<'a> {
    /// `[n_embd]`: the shares of the token before, without the part that depends on the token.
    pub shares: &'a [f32],
    /// `[n_embd × mix_rank]`
    pub w2: Linear<'a>,
}

/// The parts of RWKV-6 that gated linear attention does not have.
#[derive(Debug, Clone, Copy)]
pub struct Rwkv6Bonus<'a> {
    /// `[n_head][head_len]`
    pub first: &'a [f32],
    /// `[n_head][head_len]` each.
    pub norm: Norm<'a>,
}

impl Pass<'_> {
    pub(super) fn rwkv6(
        &self,
        weights: &Rwkv6<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        let Rwkv6Config { heads, mix_rank, decay_rank } = weights.config;
        let RwkvHeads { n_inner, head_len, n_head_kv, .. } = heads;
        let n_tokens = batch.n_tokens;
        let (compute, kernels) = (self.compute, self.compute.kernels);
        let (scratch, _): (RecurrentScratch<'_>, _) = workspace.take();
        let RecurrentScratch { projected, gate, convolved, parameters, gathered, steps, y, inner, quantized } =
            scratch;
        let n_all = n_tokens * n_inner;
        let [decay, key, value, receptance] = parts(projected, n_all);
        let gate = &mut gate[..n_all];
        let mixed = &mut convolved[..n_all];
        let hidden = &mut parameters[..n_tokens * 5 * mix_rank];
        let differences = &mut steps[..n_all];
        let (y, inner) = (&mut y[..n_all], &mut inner[..n_all]);

        self.token_shift(ShiftedMixer::Time, batch, x, store, differences);
        self.shifted(x, differences, weights.shares, mixed);
        let mut input = Activations::new(mixed, n_inner, quantized, compute.precision);
        compute.linear_then(&weights.w1, &mut input, hidden, |hidden, _, _| kernels.tanh(hidden));
        for (index, Rwkv6Input { shares, w2 }) in weights.inputs.iter().enumerate() {
            let hidden_of = &mut gathered[..n_tokens * mix_rank];
            for (row, hidden) in hidden_of.chunks_exact_mut(mix_rank).zip(hidden.chunks_exact(5 * mix_rank)) {
                row.copy_from_slice(&hidden[index * mix_rank..][..mix_rank]);
            }
            compute.linear(w2, hidden_of, quantized, mixed);
            let rows = mixed.chunks_exact_mut(n_inner).zip(x.chunks_exact(n_inner));
            compute.each_token(rows.zip(differences.chunks_exact(n_inner)), |((mixed, x), difference)| {
                kernels.add(mixed, shares);
                kernels.multiply(mixed, difference);
                kernels.add(mixed, x);
            });
            let mut input = Activations::new(mixed, n_inner, quantized, compute.precision);
            match index {
                0 => {
                    let hidden = &mut gathered[..n_tokens * decay_rank];
                    compute.linear_then(&weights.decay_w1, &mut input, hidden, |hidden, _, _| {
                        kernels.tanh(hidden);
                    });
                    let mut hidden = Activations::new(hidden, decay_rank, quantized, compute.precision);
                    compute.linear_then(&weights.decay_w2, &mut hidden, decay, |decay, channels, _| {
                        kernels.add(decay, &weights.decay_bias[channels]);
                        kernels.exp(decay);
                        kernels.scale(decay, -1.0);
                        kernels.exp(decay);
                    });
                }
                1 | 2 => {
                    let (linear, output) =
                        if index == 1 { (&weights.key, &mut *key) } else { (&weights.value, &mut *value) };
                    let of_heads = &mut y[..n_tokens * n_head_kv * head_len];
                    compute.linear_of(linear, &mut input, of_heads);
                    let rows = output.chunks_exact_mut(n_inner);
                    compute.each_token(
                        rows.zip(of_heads.chunks_exact(n_head_kv * head_len)),
                        |(row, heads)| {
                            let n_together = row.len() / heads.len();
                            for (head, row) in row.chunks_exact_mut(head_len).enumerate() {
                                row.copy_from_slice(&heads[head / n_together * head_len..][..head_len]);
                            }
                        },
                    );
                }
                3 => compute.linear_of(&weights.receptance, &mut input, receptance),
                _ => compute.linear_of(&weights.gate, &mut input, gate),
            }
        }
        if weights.bonus.is_none() {
            let query_scale = 1.0 / libm::sqrtf(head_len as f32);
            let rows = key.chunks_exact_mut(n_inner).zip(decay.chunks_exact(n_inner));
            compute.each_token(rows.zip(receptance.chunks_exact_mut(n_inner)), |((key, decay), query)| {
                key.iter_mut().zip(decay).for_each(|(key, decay)| *key -= *key * decay);
                kernels.scale(query, query_scale);
            });
        }

        let [decay, key, value, query] = [decay, key, value, receptance].map(|matrix| Columns {
            matrix,
            width: n_inner,
            first: 0,
            len: n_inner,
        });
        self.scan(batch, store, heads.lens(), y, &|piece| {
            let [decay, k, v, q] = [decay, key, value, query].map(|x| piece.part(x, head_len));
            let Piece { state, y, .. } = piece;
            kernels.diagonal_scan(DiagonalScan {
                state,
                decay,
                k,
                v,
                q,
                correction: None,
                reads_before: weights.bonus.is_some(),
                y,
            });
        });
        self.gather(batch, heads.lens(), y, inner, &|token, inner| {
            let gate = &gate[token * n_inner..][..n_inner];
            let Some(Rwkv6Bonus { first, norm }) = &weights.bonus else {
                kernels.sigmoid_gated(inner, gate);
                return;
            };
            for (head, y) in inner.chunks_exact_mut(head_len).enumerate() {
                let part = head * head_len..(head + 1) * head_len;
                let [key, value, query] = [key, value, query].map(|x| &x.token(token)[part.clone()]);
                let elements = key.iter().zip(query).zip(&first[part.clone()]);
                let bonus: f32 = elements.map(|((key, query), first)| key * first * query).sum();
                kernels.add_scaled(y, bonus, value);
                RWKV_HEAD_NORM.apply(kernels, &norm.part(part), y);
            }
            kernels.silu_gated(inner, gate);
        });
        compute.linear(&weights.output, inner, quantized, x);
    }
}

/// The first `N` runs of `len` elements.
pub(super) fn parts<const N: usize>(mut all: &mut [f32], len: usize) -> [&mut [f32]; N] {
    [(); N].map(|()| super::take_front(&mut all, len))
}
