//! The forward pass: token ids in, logits out.
//!
//! [`Forward::run`] is one straight function in the order of the papers. A batch is any number of
//! consecutive positions of one text: a whole prompt, or one generated token.

use super::architecture::NormKind;
use super::attention::attend;
use super::norm::{layer_norm, rms_norm};
use super::weights::{Linear, Norm};
use super::{Config, Model};
use crate::arena::{Arena, OutOfMemory};
use crate::kv_cache::KvCache;
use crate::parallel::{Workers, for_each_chunk};
use crate::quant::{Activations, Precision, activation_bytes, matmul};
use crate::simd::Kernels;

/// The positions of a batch whose logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// None: the batch only fills the cache.
    None,
    /// Those after the last token.
    Last,
    /// Those after every token.
    All,
}

impl Logits {
    /// How many rows of logits a batch of `n_tokens` gives.
    pub fn rows(self, n_tokens: usize) -> usize {
        match self {
            Logits::None => 0,
            Logits::Last => n_tokens.min(1),
            Logits::All => n_tokens,
        }
    }
}

/// The buffers of a forward pass, for up to `n_batch` tokens at a time.
#[derive(Debug)]
pub struct Scratch<'m> {
    /// `[n_batch][n_embd]`: the residual stream.
    x: &'m mut [f32],
    /// `[n_batch][n_embd]`: what a block reads, then what it adds to the stream.
    block: &'m mut [f32],
    /// `[n_batch][n_head · head_len_k]`
    q: &'m mut [f32],
    /// `[n_batch][n_head_kv · head_len_k]`
    k: &'m mut [f32],
    /// `[n_batch][n_head_kv · head_len_v]`
    v: &'m mut [f32],
    /// `[n_batch][n_head · head_len_v]`: the heads' outputs.
    heads: &'m mut [f32],
    /// `[n_batch][n_ff]`
    up: &'m mut [f32],
    /// `[n_batch][n_ff]`, empty without a gate.
    gate: &'m mut [f32],
    /// `[n_batch][n_rot / 2]`
    cos: &'m mut [f32],
    /// `[n_batch][n_rot / 2]`
    sin: &'m mut [f32],
    /// The inputs of a matrix product, quantised.
    quantized: &'m mut [u8],
    /// `[n_logits][n_vocab]`
    logits: &'m mut [f32],
}

impl<'m> Scratch<'m> {
    /// Takes the buffers from `arena`, for batches of `n_batch` tokens of which `n_logits` have
    /// their logits computed.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the arena is too small.
    pub fn carve(
        config: &Config,
        n_batch: usize,
        n_logits: usize,
        arena: &mut Arena<'m>,
    ) -> Result<Self, OutOfMemory> {
        let Config { n_embd, n_head, n_head_kv, head_len_k, head_len_v, n_ff, n_vocab, .. } = *config;
        let widest = n_embd.max(n_head * head_len_v).max(n_ff);
        let n_pairs = config.rope.as_ref().map_or(0, |rope| rope.n_rot / 2);
        let n_gate = if config.architecture.gated { n_ff } else { 0 };
        let mut rows = |n_rows: usize, width: usize| arena.take(n_rows.saturating_mul(width));
        Ok(Scratch {
            x: rows(n_batch, n_embd)?,
            block: rows(n_batch, n_embd)?,
            q: rows(n_batch, n_head * head_len_k)?,
            k: rows(n_batch, n_head_kv * head_len_k)?,
            v: rows(n_batch, n_head_kv * head_len_v)?,
            heads: rows(n_batch, n_head * head_len_v)?,
            up: rows(n_batch, n_ff)?,
            gate: rows(n_batch, n_gate)?,
            cos: rows(n_batch, n_pairs)?,
            sin: rows(n_batch, n_pairs)?,
            logits: rows(n_logits, n_vocab)?,
            quantized: arena.take(activation_bytes(widest, n_batch))?,
        })
    }
}

/// What a forward pass runs with.
pub struct Forward<'f, 'a> {
    /// The model.
    pub model: &'f Model<'a>,
    /// The instruction set.
    pub kernels: &'static Kernels,
    /// The cores.
    pub workers: &'f dyn Workers,
    /// How activations enter matrix products.
    pub precision: Precision,
}

impl Forward<'_, '_> {
    /// Computes `tokens` at positions `n_past..`, stores their keys and values, and returns the
    /// logits asked for, `[rows][n_vocab]`.
    ///
    /// # Panics
    ///
    /// If `tokens` is empty, an id is not below `n_vocab`, or the batch, its logits or its positions
    /// exceed what `scratch` and `cache` were carved for.
    pub fn run<'s>(
        &self,
        tokens: &[u32],
        n_past: usize,
        wanted: Logits,
        cache: &mut KvCache<'_>,
        scratch: &'s mut Scratch<'_>,
    ) -> &'s [f32] {
        let Model { config, weights, rope } = self.model;
        let Config { n_embd, n_head, head_len_k, head_len_v, n_ff, .. } = *config;
        let (n_tokens, n_embd_k, n_embd_v) =
            (tokens.len(), config.n_head_kv * head_len_k, config.n_head_kv * head_len_v);
        let Scratch { x, block, q, k, v, heads, up, gate, cos, sin, quantized, logits } = scratch;
        let x = &mut x[..n_tokens * n_embd];
        let block = &mut block[..n_tokens * n_embd];
        let q = &mut q[..n_tokens * n_head * head_len_k];
        let k = &mut k[..n_tokens * n_embd_k];
        let v = &mut v[..n_tokens * n_embd_v];
        let heads = &mut heads[..n_tokens * n_head * head_len_v];
        let up = &mut up[..n_tokens * n_ff];

        for ((row, &token), position) in x.chunks_exact_mut(n_embd).zip(tokens).zip(n_past..) {
            weights.token_embd.dequantize_row(token as usize, row);
            if let Some(position_embd) = &weights.position_embd {
                // The block's buffer is still free.
                position_embd.dequantize_row(position, &mut block[..n_embd]);
                add(row, &block[..n_embd]);
            }
        }
        if let Some(rope) = rope {
            let angles = cos.chunks_exact_mut(rope.n_pairs()).zip(sin.chunks_exact_mut(rope.n_pairs()));
            for ((cos, sin), position) in angles.zip(n_past..n_past + n_tokens) {
                rope.angles(position, cos, sin);
            }
        }

        for (index, layer) in weights.layers.iter().enumerate() {
            self.normalise(&layer.attn_norm, x, block);
            let mut input = Activations::new(block, n_embd, quantized, self.precision);
            self.linear(&layer.wq, &mut input, q);
            self.linear(&layer.wk, &mut input, k);
            self.linear(&layer.wv, &mut input, v);
            if let Some(rope) = rope {
                let angles = || cos.chunks_exact(rope.n_pairs()).zip(sin.chunks_exact(rope.n_pairs()));
                for (heads, (cos, sin)) in q.chunks_exact_mut(n_head * head_len_k).zip(angles()) {
                    rope.rotate(heads, head_len_k, cos, sin);
                }
                for (heads, (cos, sin)) in k.chunks_exact_mut(n_embd_k).zip(angles()) {
                    rope.rotate(heads, head_len_k, cos, sin);
                }
            }
            for ((k, v), position) in k.chunks_exact(n_embd_k).zip(v.chunks_exact(n_embd_v)).zip(n_past..) {
                cache.store(index, position, k, v);
            }
            self.attend(index, n_past, q, cache, heads);
            let mut input = Activations::new(heads, n_head * head_len_v, quantized, self.precision);
            self.linear(&layer.wo, &mut input, block);
            add(x, block);

            self.normalise(&layer.ffn_norm, x, block);
            let mut input = Activations::new(block, n_embd, quantized, self.precision);
            self.linear(&layer.ffn_up, &mut input, up);
            match &layer.ffn_gate {
                Some(ffn_gate) => {
                    let gate = &mut gate[..n_tokens * n_ff];
                    self.linear(ffn_gate, &mut input, gate);
                    config.architecture.activation.apply(gate);
                    multiply(up, gate);
                }
                None => config.architecture.activation.apply(up),
            }
            let mut input = Activations::new(up, n_ff, quantized, self.precision);
            self.linear(&layer.ffn_down, &mut input, block);
            add(x, block);
        }

        let n_rows = wanted.rows(n_tokens);
        let logits = &mut logits[..n_rows * config.n_vocab];
        if n_rows > 0 {
            let first_wanted = (n_tokens - n_rows) * n_embd;
            let block = &mut block[first_wanted..];
            self.normalise(&weights.output_norm, &x[first_wanted..], block);
            let mut input = Activations::new(block, n_embd, quantized, self.precision);
            self.linear(&weights.output, &mut input, logits);
        }
        logits
    }

    /// `output = W input + b` for each token.
    fn linear(&self, linear: &Linear<'_>, input: &mut Activations<'_>, output: &mut [f32]) {
        matmul(self.kernels, self.workers, &linear.weight, input, output);
        if let Some(bias) = linear.bias {
            output.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
        }
    }

    /// Normalises each token of `x` into `output`, both `[n_tokens][n_embd]`.
    fn normalise(&self, norm: &Norm<'_>, x: &[f32], output: &mut [f32]) {
        let Config { n_embd, norm_eps, architecture, .. } = self.model.config;
        for (x, output) in x.chunks_exact(n_embd).zip(output.chunks_exact_mut(n_embd)) {
            match architecture.norm {
                NormKind::Rms => rms_norm(x, norm.weight, norm_eps, output),
                NormKind::Layer => layer_norm(x, norm.weight, norm_eps, output),
            }
            if let Some(bias) = norm.bias {
                add(output, bias);
            }
        }
    }

    /// Attention of one layer: each query head of `q`, `[n_tokens][n_head][head_len_k]`, over the
    /// cached positions up to its own, into `heads`, `[n_tokens][n_head][head_len_v]`.
    fn attend(&self, layer: usize, n_past: usize, q: &[f32], cache: &KvCache<'_>, heads: &mut [f32]) {
        let config = &self.model.config;
        let Config { n_head, head_len_k, head_len_v, .. } = *config;
        let scale = 1.0 / libm::sqrtf(head_len_k as f32);
        for_each_chunk(self.workers, heads, head_len_v, |index, output| {
            let (token, head) = (index / n_head, index % n_head);
            let head_kv = head / config.n_head_per_kv();
            let q = &q[index * head_len_k..][..head_len_k];
            let (keys, values) = (cache.keys(layer, head_kv), cache.values(layer, head_kv));
            attend(self.kernels, q, keys, values, n_past + token + 1, scale, output);
        });
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn multiply(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x *= y);
}
