//! The sequence mixer with compressed keys and values (multi-head latent attention, DeepSeek-AI 2024).
//!
//! One vector per position is cached for all heads: the compressed keys and values, then the part of
//! the key that is turned. Instead of expanding it, each head's query is brought to the compressed
//! space, and each head's output back from it, so that attention is multi-query attention there.

use super::config::LatentConfig;
use super::forward::{Batch, Forward};
use super::layer_config::LayerConfig;
use super::scratch::{Angles, LatentScratch, Workspace};
use super::softmax_attention::{BatchAttention, Context, QuerySight};
use super::weights::{LatentAttention, Linear};
use crate::kv_cache::KvCache;
use crate::quant::{Activations, Matrix};

impl Forward<'_, '_> {
    /// Attention of one layer, in the place of its input `x`, `[n_tokens][n_embd]`.
    pub(super) fn latent_attention(
        &self,
        weights: &LatentAttention<'_>,
        batch: Batch,
        x: &mut [f32],
        cache: &mut KvCache<'_>,
        angles: &Angles<'_>,
        workspace: Workspace<'_>,
    ) {
        let config = self.model.config();
        let (Some(latent), Some(rope)) = (config.latent, &self.ropes.full) else {
            unreachable!("families with latent attention have both");
        };
        let LayerConfig { n_head, .. } = config.layers[batch.layer];
        let LatentConfig { kv_lora_rank: rank, head_len_k, head_len_v, .. } = latent;
        let (n_tokens, n_rot) = (batch.n_tokens, 2 * rope.n_pairs());
        let (n_nope, key_len) = (head_len_k - n_rot, rank + n_rot);
        let (scratch, _) = workspace.take();
        let LatentScratch { q_compressed, q, kv, queries, compressed_heads, heads, .. } = scratch;
        let LatentScratch { gathered, scattered, quantized, .. } = scratch;
        let q = &mut q[..n_tokens * n_head * head_len_k];
        let kv = &mut kv[..n_tokens * key_len];

        let mut input = Activations::new(x, config.n_embd, quantized, self.precision);
        self.linear_of(&weights.wkv_a, &mut input, kv);
        match &weights.q_b {
            Some((norm, wq_b)) => {
                let q_compressed = &mut q_compressed[..n_tokens * weights.wq_a.weight.n_rows()];
                self.linear_of(&weights.wq_a, &mut input, q_compressed);
                let rows = q_compressed.chunks_exact_mut(weights.wq_a.weight.n_rows());
                rows.for_each(|row| self.normalise_row(norm, row));
                self.linear(wq_b, q_compressed, quantized, q);
            }
            None => self.linear_of(&weights.wq_a, &mut input, q),
        }
        let rows = angles.cos.chunks_exact(n_rot / 2).zip(angles.sin.chunks_exact(n_rot / 2));
        for (token, (cos, sin)) in rows.take(n_tokens).enumerate() {
            let kv = &mut kv[token * key_len..][..key_len];
            self.normalise_row(&weights.kv_a_norm, &mut kv[..rank]);
            rope.rotate(self.kernels, &mut kv[rank..], cos, sin);
            let q = &mut q[token * n_head * head_len_k..][..n_head * head_len_k];
            for head in q.chunks_exact_mut(head_len_k) {
                rope.rotate(self.kernels, &mut head[n_nope..], cos, sin);
            }
            if let Some(temperature) = config.temperature {
                self.kernels.scale(q, temperature.factor(batch.n_past + token));
            }
            cache.store(self.kernels, batch.layer, batch.n_past + token, kv, &[]);
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
            self.product(&weights.wk_b.rows(head * rank..(head + 1) * rank), gathered, quantized, scattered);
            for (token, row) in scattered.chunks_exact(rank).enumerate() {
                let query = &mut queries[place(token) * key_len..][..key_len];
                query[..rank].copy_from_slice(row);
                query[rank..].copy_from_slice(&q[place(token) * head_len_k..][n_nope..head_len_k]);
            }
        }

        let compressed_heads = &mut compressed_heads[..n_tokens * n_head * rank];
        let cache = &*cache;
        let attention = BatchAttention {
            kernels: self.kernels,
            workers: self.workers,
            n_head,
            n_head_kv: 1,
            head_len_k: key_len,
            head_len_v: rank,
            n_past: batch.n_past,
            scale: config.attention_scale,
            softcap: None,
        };
        let keys = cache.keys(batch.layer, 0);
        let context = |_| Context { keys, values: keys, stride_k: key_len, stride_v: key_len };
        let sight = |position, _| QuerySight { visible: 0..position + 1, slope: 0.0, sink: None };
        attention.run(queries, context, sight, compressed_heads);

        let heads = &mut heads[..n_tokens * n_head * head_len_v];
        for head in 0..n_head {
            let place = |token: usize| token * n_head + head;
            let gathered = &mut gathered[..n_tokens * rank];
            for (token, row) in gathered.chunks_exact_mut(rank).enumerate() {
                row.copy_from_slice(&compressed_heads[place(token) * rank..][..rank]);
            }
            let scattered = &mut scattered[..n_tokens * head_len_v];
            self.product(
                &weights.wv_b.rows(head * head_len_v..(head + 1) * head_len_v),
                gathered,
                quantized,
                scattered,
            );
            for (token, row) in scattered.chunks_exact(head_len_v).enumerate() {
                heads[place(token) * head_len_v..][..head_len_v].copy_from_slice(row);
            }
        }
        self.linear(&weights.wo, heads, quantized, x);
    }

    fn product(&self, weight: &Matrix<'_>, x: &[f32], quantized: &mut [u8], output: &mut [f32]) {
        self.linear(&Linear { weight: *weight, bias: None }, x, quantized, output);
    }
}
