//! The sequence mixer with compressed keys and values (multi-head latent attention, DeepSeek-AI 2024).
//!
//! A position's keys and values are compressed to one vector for all heads, in addition to the rotated part of the key.
//! Current files have matrices that make expansion unnecessary: the vector is cached, each head's query is mapped to
//! the compressed space, and each head's output back from it, so that attention there is multi-query attention
//! ([`Expansion::Absorbed`]). Older files have the matrix that expands the vector, and its quantised blocks cannot be
//! transposed: there the keys and values of the heads are cached ([`Expansion::Expanded`]).

use super::config::{Config, LatentConfig};
use super::pass::Pass;
use super::rope::Rope;
use super::scratch::{Angles, LatentScratch, Workspace};
use super::span::Batch;
use crate::compute::{BatchAttention, BatchSpan, Context, Linear, Norm, QueryMask};
use crate::quant::{Activations, Matrix};
use crate::state::StateStore;

/// Attention with keys and values compressed to one vector (DeepSeek-AI 2024).
#[derive(Debug)]
pub struct LatentAttention<'a> {
    /// Its lengths.
    pub config: LatentConfig,
    /// From the stream to the queries, or to their compressed form.
    pub wq_a: Linear<'a>,
    /// The normalisation of the compressed queries, and the matrix that expands them; `None` if queries are not
    /// compressed.
    pub q_b: Option<(Norm<'a>, Linear<'a>)>,
    /// `[kv_lora_rank + n_rot × n_embd]`
    pub wkv_a: Linear<'a>,
    /// The normalisation of the compressed keys and values, `[kv_lora_rank]`.
    pub kv_a_norm: Norm<'a>,
    /// The maps between the compressed vectors and the heads.
    pub expansion: Expansion<'a>,
    /// `[n_head · n_gate × n_embd]`: gates of the heads' outputs, through a sigmoid, if they are gated.
    pub gate: Option<Linear<'a>>,
    /// `[n_embd × n_head · head_len_v]`
    pub wo: Linear<'a>,
}

/// The ways to get from compressed keys and values to heads.
#[derive(Debug, Clone, Copy)]
pub enum Expansion<'a> {
    /// Nothing is expanded: the matrices are multiplied into queries and outputs instead.
    Absorbed {
        /// For each head, `[kv_lora_rank × head_len_k - n_rot]`: maps queries to the compressed space.
        wk_b: Matrix<'a>,
        /// For each head, `[head_len_v × kv_lora_rank]`: maps outputs out of the compressed space.
        wv_b: Matrix<'a>,
    },
    /// For each head, `[head_len_k - n_rot + head_len_v × kv_lora_rank]`: first the part of its key that is not
    /// rotated, then its value.
    Expanded(Matrix<'a>),
}

/// The lengths of one layer's latent attention.
#[derive(Clone, Copy)]
struct Lengths {
    n_head: usize,
    rank: usize,
    n_rot: usize,
    /// Elements of a query and of an expanded key; the last `n_rot` are rotated.
    head_len_k: usize,
    head_len_v: usize,
}

impl Pass<'_> {
    /// Computes the attention of one layer. The output replaces the input `x`, `[n_tokens][n_embd]`.
    pub(super) fn latent_attention(
        &self,
        weights: &LatentAttention<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        state: &mut StateStore<'_>,
        angles: &Angles<'_>,
        workspace: Workspace<'_>,
    ) {
        let LatentConfig { n_head, kv_lora_rank: rank, n_rot, head_len_k, head_len_v, n_gate, .. } =
            weights.config;
        let lengths = Lengths { n_head, rank, n_rot, head_len_k, head_len_v };
        let (mut scratch, _) = workspace.take::<LatentScratch<'_>>();
        self.compress(weights, batch, x, lengths, &mut scratch);
        self.normalise_compressed(weights, batch, lengths, &mut scratch);
        if let Some(rope) = &self.ropes.full {
            self.turn(batch, (rope, angles), lengths, &mut scratch);
        }
        match weights.expansion {
            Expansion::Absorbed { wk_b, wv_b } => {
                self.absorbed(wk_b, wv_b, batch, lengths, state, &mut scratch);
            }
            Expansion::Expanded(wkv_b) => self.expanded(wkv_b, batch, lengths, state, &mut scratch),
        }
        let LatentScratch { heads, gates, quantized, .. } = scratch;
        let heads = &mut heads[..batch.n_tokens * n_head * head_len_v];
        if let Some(gate) = &weights.gate {
            let gates = &mut gates[..batch.n_tokens * n_head * n_gate];
            self.compute.linear(gate, x, quantized, gates);
            self.compute.kernels.sigmoid(gates);
            for (head, gate) in heads.chunks_exact_mut(head_len_v).zip(gates.chunks_exact(n_gate)) {
                match gate {
                    [gate] => self.compute.kernels.scale(head, *gate),
                    gates => self.compute.kernels.multiply(head, gates),
                }
            }
        }
        self.compute.linear(&weights.wo, heads, quantized, x);
    }

    /// Queries, and compressed keys and values, of each token of `x`.
    fn compress(
        &self,
        weights: &LatentAttention<'_>,
        batch: Batch<'_>,
        x: &[f32],
        lengths: Lengths,
        scratch: &mut LatentScratch<'_>,
    ) {
        let Lengths { n_head, rank, n_rot, head_len_k, .. } = lengths;
        let LatentScratch { q_compressed, q, kv, quantized, .. } = scratch;
        let q = &mut q[..batch.n_tokens * n_head * head_len_k];
        let kv = &mut kv[..batch.n_tokens * (rank + n_rot)];
        let mut input = Activations::new(x, self.config.n_embd, quantized, self.compute.precision);
        self.compute.linear_of(&weights.wkv_a, &mut input, kv);
        match &weights.q_b {
            Some((norm, wq_b)) => {
                let q_compressed = &mut q_compressed[..batch.n_tokens * weights.wq_a.weight.n_rows()];
                self.compute.linear_of(&weights.wq_a, &mut input, q_compressed);
                let rows = q_compressed.chunks_exact_mut(weights.wq_a.weight.n_rows());
                rows.for_each(|row| self.normalise_row(norm, row));
                self.compute.linear(wq_b, q_compressed, quantized, q);
            }
            None => self.compute.linear_of(&weights.wq_a, &mut input, q),
        }
    }

    /// Normalises the compressed part of each token's vector.
    fn normalise_compressed(
        &self,
        weights: &LatentAttention<'_>,
        batch: Batch<'_>,
        lengths: Lengths,
        scratch: &mut LatentScratch<'_>,
    ) {
        let Lengths { rank, n_rot, .. } = lengths;
        for kv in scratch.kv[..batch.n_tokens * (rank + n_rot)].chunks_exact_mut(rank + n_rot) {
            self.normalise_row(&weights.kv_a_norm, &mut kv[..rank]);
        }
    }

    /// Rotates the last elements of each query and of the key that all heads share.
    fn turn(
        &self,
        batch: Batch<'_>,
        (rope, angles): (&Rope, &Angles<'_>),
        lengths: Lengths,
        scratch: &mut LatentScratch<'_>,
    ) {
        let Lengths { n_head, rank, n_rot, head_len_k, .. } = lengths;
        let key_len = rank + n_rot;
        let rows = angles.cos.chunks_exact(n_rot / 2).zip(angles.sin.chunks_exact(n_rot / 2));
        for (token, ((cos, sin), position)) in rows.zip(batch.positions()).enumerate() {
            let kv = &mut scratch.kv[token * key_len..][..key_len];
            rope.rotate(self.compute.kernels, &mut kv[rank..], cos, sin);
            let q = &mut scratch.q[token * n_head * head_len_k..][..n_head * head_len_k];
            for head in q.chunks_exact_mut(head_len_k) {
                rope.rotate(self.compute.kernels, &mut head[head_len_k - n_rot..], cos, sin);
            }
            if let Some(temperature) = self.config.temperature {
                self.compute.kernels.scale(q, temperature.factor(position));
            }
        }
    }

    /// Computes the heads' outputs in the compressed space, without expanding anything.
    fn absorbed(
        &self,
        wk_b: Matrix<'_>,
        wv_b: Matrix<'_>,
        batch: Batch<'_>,
        lengths: Lengths,
        state: &mut StateStore<'_>,
        scratch: &mut LatentScratch<'_>,
    ) {
        let Lengths { n_head, rank, n_rot, head_len_k, head_len_v } = lengths;
        let (n_tokens, n_nope, key_len) = (batch.n_tokens, head_len_k - n_rot, rank + n_rot);
        let LatentScratch { q, kv, queries, compressed_heads, heads, gathered, scattered, quantized, .. } =
            scratch;
        for (kv, place) in kv[..n_tokens * key_len].chunks_exact(key_len).zip(batch.places()) {
            state.store(self.compute.kernels, batch.layer, place, kv, &[]);
        }

        // Queries in the compressed space, `[n_tokens][n_head][rank + n_rot]`.
        let queries = &mut queries[..n_tokens * n_head * key_len];
        for head in 0..n_head {
            let place = |token: usize| token * n_head + head;
            let gathered = &mut gathered[..n_tokens * n_nope];
            for (token, row) in gathered.chunks_exact_mut(n_nope).enumerate() {
                row.copy_from_slice(&q[place(token) * head_len_k..][..n_nope]);
            }
            let scattered = &mut scattered[..n_tokens * rank];
            self.product(&wk_b.rows(head * rank..(head + 1) * rank), gathered, quantized, scattered);
            for (token, row) in scattered.chunks_exact(rank).enumerate() {
                let query = &mut queries[place(token) * key_len..][..key_len];
                query[..rank].copy_from_slice(row);
                query[rank..].copy_from_slice(&q[place(token) * head_len_k..][n_nope..head_len_k]);
            }
        }

        let compressed_heads = &mut compressed_heads[..n_tokens * n_head * rank];
        let attention = BatchAttention {
            n_head_kv: 1,
            head_len_k: key_len,
            head_len_v: rank,
            ..self.attention_of(self.config, lengths)
        };
        let state = &*state;
        let context = |slot: usize, _| {
            let keys = state.keys(batch.layer, 0);
            Context { keys, values: keys, stride_k: key_len, stride_v: key_len, pages: state.pages(slot) }
        };
        attention.run(batch.spans(), queries, context, sees_all, compressed_heads);

        let heads = &mut heads[..n_tokens * n_head * head_len_v];
        for head in 0..n_head {
            let place = |token: usize| token * n_head + head;
            let gathered = &mut gathered[..n_tokens * rank];
            for (token, row) in gathered.chunks_exact_mut(rank).enumerate() {
                row.copy_from_slice(&compressed_heads[place(token) * rank..][..rank]);
            }
            let scattered = &mut scattered[..n_tokens * head_len_v];
            let rows = head * head_len_v..(head + 1) * head_len_v;
            self.product(&wv_b.rows(rows), gathered, quantized, scattered);
            for (token, row) in scattered.chunks_exact(head_len_v).enumerate() {
                heads[place(token) * head_len_v..][..head_len_v].copy_from_slice(row);
            }
        }
    }

    /// Computes the heads' outputs from each head's expanded keys and values.
    fn expanded(
        &self,
        wkv_b: Matrix<'_>,
        batch: Batch<'_>,
        lengths: Lengths,
        state: &mut StateStore<'_>,
        scratch: &mut LatentScratch<'_>,
    ) {
        let Lengths { n_head, rank, n_rot, head_len_k, head_len_v } = lengths;
        let (n_tokens, n_nope, key_len) = (batch.n_tokens, head_len_k - n_rot, rank + n_rot);
        let LatentScratch { q, kv, gathered, expanded, keys, values, heads, quantized, .. } = scratch;
        let kv = &kv[..n_tokens * key_len];
        let compressed = &mut gathered[..n_tokens * rank];
        for (row, kv) in compressed.chunks_exact_mut(rank).zip(kv.chunks_exact(key_len)) {
            row.copy_from_slice(&kv[..rank]);
        }
        let expanded = &mut expanded[..n_tokens * n_head * (n_nope + head_len_v)];
        self.product(&wkv_b, compressed, quantized, expanded);
        let rows = expanded.chunks_exact(n_head * (n_nope + head_len_v)).zip(kv.chunks_exact(key_len));
        for ((row, kv), place) in rows.zip(batch.places()) {
            let parts = keys.chunks_exact_mut(head_len_k).zip(values.chunks_exact_mut(head_len_v));
            for ((key, value), head) in parts.zip(row.chunks_exact(n_nope + head_len_v)) {
                key[..n_nope].copy_from_slice(&head[..n_nope]);
                key[n_nope..].copy_from_slice(&kv[rank..]);
                value.copy_from_slice(&head[n_nope..]);
            }
            state.store(self.compute.kernels, batch.layer, place, keys, values);
        }
        let state = &*state;
        let context = |slot: usize, head| Context {
            keys: state.keys(batch.layer, head),
            values: state.values(batch.layer, head),
            stride_k: head_len_k,
            stride_v: head_len_v,
            pages: state.pages(slot),
        };
        let q = &q[..n_tokens * n_head * head_len_k];
        let heads = &mut heads[..n_tokens * n_head * head_len_v];
        let attention = self.attention_of(self.config, lengths);
        attention.run(batch.spans(), q, context, sees_all, heads);
    }

    /// Attention of all heads, each with keys and values of its own.
    fn attention_of(&self, config: &Config, lengths: Lengths) -> BatchAttention<'_> {
        BatchAttention {
            compute: self.compute,
            n_head: lengths.n_head,
            n_head_kv: lengths.n_head,
            head_len_k: lengths.head_len_k,
            head_len_v: lengths.head_len_v,
            scale: config.attention_scale,
            softcap: None,
            relative: None,
            mask: None,
        }
    }

    fn product(&self, weight: &Matrix<'_>, x: &[f32], quantized: &mut [u8], output: &mut [f32]) {
        self.compute.linear(&Linear::new(*weight), x, quantized, output);
    }
}

fn sees_all(_: &BatchSpan, position: usize, _: usize) -> QueryMask {
    QueryMask { visible: 0..position + 1, slope: 0.0, sink: None, mask_at: 0 }
}
