//! The tensors of attention.

use alloc::vec::Vec;

use super::super::architecture::{Biases, HeadGate, JointRows, QkNorm};
use super::super::attention::HeadAttention;
use super::super::config::{HeadsConfig, IndexerConfig, LatentConfig};
use super::super::error::ModelError;
use super::super::head_norm::HeadNorm;
use super::super::indexer::Indexer;
use super::super::latent_attention::{Expansion, LatentAttention};
use super::LayerTensors;
use crate::compute::Linear;
use crate::gguf::Name;

impl<'a> LayerTensors<'_, '_, 'a> {
    #[inline(never)]
    pub(super) fn head_attention(&mut self, heads: HeadsConfig) -> Result<HeadAttention<'a>, ModelError> {
        let HeadsConfig { n_head, n_head_kv, head_len_k, head_len_v, has_rope, .. } = heads;
        let (wq, wk, wv) = self.qkv(heads)?;
        let q_norm = self.qk_norm("attn_q_norm", n_head, head_len_k, has_rope)?;
        let mut wo = self.linear(
            self.config.architecture.heads_output,
            self.config.n_embd,
            n_head * head_len_v,
            self.biased(),
        )?;
        if let Some(scale) = self.config.attention_output_scale {
            (wo.scale, wo.scales_bias) = (Some(scale * wo.scale.unwrap_or(1.0)), true);
        }
        let gate = match self.config.architecture.head_gate {
            HeadGate::Sigmoid | HeadGate::Softplus => {
                let rows = match self.tensors.rows_of(&self.name("attn_gate.weight"))? {
                    rows if rows == n_head => n_head,
                    _ => n_head * head_len_v,
                };
                Some(self.linear("attn_gate", rows, self.config.n_embd, false)?)
            }
            HeadGate::None | HeadGate::WithQuery => None,
        };
        Ok(HeadAttention {
            config: heads,
            wq,
            wk,
            wv,
            wo,
            gate,
            norm: match self.config.architecture.norms.heads {
                Some(part) => Some(self.norm_of(part, n_head * head_len_v)?),
                None => None,
            },
            q_norm,
            k_norm: match wk {
                None if !self.has("attn_k_norm.weight") => None,
                _ => self.qk_norm("attn_k_norm", n_head_kv, head_len_k, has_rope)?,
            },
            relative: self.relative_bias(n_head)?,
            sinks: self.tensors.optional_vector(&self.name("attn_sinks.weight"), n_head)?,
            indexer: self.indexer(heads.indexer)?,
        })
    }

    /// The bias of scores for each bucket of distances. Layers without one share that of the first layer.
    #[inline(never)]
    fn relative_bias(&mut self, n_head: usize) -> Result<Option<Vec<f32>>, ModelError> {
        const PART: &str = "attn_rel_b.weight";
        let Some(buckets) = &self.config.relative else { return Ok(None) };
        let n_buckets = buckets.n_buckets();
        let mut name = self.name(PART);
        if !self.tensors.has(name.as_str()) {
            name = Name::format(format_args!("{}.0.{PART}", self.config.architecture.layer_prefix));
        }
        let matrix = self.tensors.matrix(&name, n_buckets, n_head)?;
        let (mut bias, n) = (Vec::new(), n_buckets * n_head);
        bias.try_reserve_exact(n)
            .map_err(|_| ModelError::OutOfHeap { needed_bytes: n * size_of::<f32>() })?;
        bias.resize(n, 0.0);
        for (row, values) in bias.chunks_exact_mut(n_head.max(1)).enumerate() {
            matrix.dequantize_row(row, values);
        }
        Ok(Some(bias))
    }

    /// The projections to queries, keys and values: three tensors, or one that contains the rows of all three. Keys and
    /// values only if the layer has its own.
    #[inline(never)]
    fn qkv(
        &mut self,
        heads: HeadsConfig,
    ) -> Result<(Linear<'a>, Option<Linear<'a>>, Option<Linear<'a>>), ModelError> {
        let HeadsConfig { n_head, n_head_kv, head_len_k, head_len_v, is_gated, .. } = heads;
        let n_gates = if is_gated { n_head * head_len_k } else { 0 };
        let (n_q, n_k, n_v) = (n_head * head_len_k + n_gates, n_head_kv * head_len_k, n_head_kv * head_len_v);
        let n_embd = self.config.n_embd;
        let biased = self.config.architecture.biases == Biases::All;
        if self.has("attn_qkv.weight") {
            let third = n_q.max(n_k).max(n_v);
            let (k, v, n_rows) = match self.config.architecture.joint_rows {
                JointRows::All => (n_q, n_q + n_k, n_q + n_k + n_v),
                JointRows::First => (n_q, n_q + n_k, 3 * third),
                JointRows::EachWidth if 2 * n_embd + n_v > 3 * third => {
                    let key =
                        Name::format(format_args!("{}.attention.key_length", self.config.architecture.name));
                    let expected = "heads that are together as long as the model is wide";
                    return Err(ModelError::InvalidKey { key, value: head_len_k as f64, expected });
                }
                JointRows::EachWidth => (n_embd, 2 * n_embd, 3 * third),
            };
            let qkv = self.linear("attn_qkv", n_rows, n_embd, biased)?;
            let mut parts = [qkv.rows(0..n_q), qkv.rows(k..k + n_k), qkv.rows(v..v + n_v)];
            if qkv.bias.is_none() {
                // Biases can be separate even if the weights are in one tensor.
                for (part, name) in parts.iter_mut().zip(["attn_q.bias", "attn_k.bias", "attn_v.bias"]) {
                    part.bias = self.tensors.optional_vector(&self.name(name), part.weight.n_rows())?;
                }
            }
            let [q, k, v] = parts;
            let is_owner = heads.kv_layer == self.index;
            return Ok((q, is_owner.then_some(k), is_owner.then_some(v)));
        }
        let q = self.linear("attn_q", n_q, n_embd, biased)?;
        if heads.kv_layer != self.index {
            // Some files have tensors for keys and values that the layer does not use.
            for (part, rows) in [("attn_k", n_k), ("attn_v", n_v)] {
                if self.has(Name::format(format_args!("{part}.weight")).as_str()) {
                    self.linear(part, rows, n_embd, biased)?;
                }
            }
            return Ok((q, None, None));
        }
        let k = self.linear("attn_k", n_k, n_embd, biased)?;
        if self.config.architecture.normalises_values && n_k == n_v && !self.has("attn_v.weight") {
            return Ok((q, Some(k), None));
        }
        Ok((q, Some(k), Some(self.linear("attn_v", n_v, n_embd, biased)?)))
    }

    #[inline(never)]
    fn qk_norm(
        &mut self,
        part: &str,
        n_head: usize,
        head_len: usize,
        has_rope: bool,
    ) -> Result<Option<HeadNorm<'a>>, ModelError> {
        let name = self.name(Name::format(format_args!("{part}.weight")).as_str());
        match self.config.architecture.qk_norm {
            QkNorm::None => Ok(None),
            QkNorm::MaybeBeforeRope if !self.tensors.has(name.as_str()) => Ok(None),
            QkNorm::BeforeRopeFromLayers(n_layer) if self.config.layers.len() < n_layer.into() => Ok(None),
            QkNorm::AfterRopeWeightless => {
                let is_small = self.config.experts.is_none_or(|experts| experts.n_expert < 128);
                Ok((has_rope && is_small).then_some(HeadNorm::Head(None)))
            }
            QkNorm::AfterRopeByHead if part == "attn_q_norm" => {
                let factors = self.tensors.optional_vectors(&name, n_head, 1)?;
                Ok(Some(HeadNorm::Factor(factors.ok_or(ModelError::MissingTensor(name))?)))
            }
            QkNorm::AfterRopeByHead => Ok(Some(HeadNorm::Head(None))),
            QkNorm::BeforeRope
            | QkNorm::MaybeBeforeRope
            | QkNorm::BeforeRopeFromLayers(_)
            | QkNorm::AfterRope => {
                let bias = self.name(Name::format(format_args!("{part}.bias")).as_str());
                self.tensors.head_norm([&name, &bias], n_head, head_len).map(Some)
            }
        }
    }

    #[inline(never)]
    pub(super) fn latent_attention(
        &mut self,
        latent: LatentConfig,
    ) -> Result<LatentAttention<'a>, ModelError> {
        let LatentConfig { n_head, q_lora_rank, kv_lora_rank, n_rot, head_len_k, head_len_v, .. } = latent;
        let n_embd = self.config.n_embd;
        let (wq_a, q_b) = match q_lora_rank {
            Some(rank) => {
                let norm = self.norm_of("attn_q_a_norm", rank)?;
                let wq_b = self.linear("attn_q_b", n_head * head_len_k, rank, false)?;
                (self.linear("attn_q_a", rank, n_embd, false)?, Some((norm, wq_b)))
            }
            None => (self.linear("attn_q", n_head * head_len_k, n_embd, false)?, None),
        };
        let n_nope = head_len_k - n_rot;
        let expansion = match latent.is_expanded {
            true => Expansion::Expanded(self.tensors.matrix(
                &self.name("attn_kv_b.weight"),
                n_head * (n_nope + head_len_v),
                kv_lora_rank,
            )?),
            false => Expansion::Absorbed {
                wk_b: self.tensors.stack(&self.name("attn_k_b.weight"), n_head, kv_lora_rank, n_nope)?,
                wv_b: self.tensors.stack(&self.name("attn_v_b.weight"), n_head, head_len_v, kv_lora_rank)?,
            },
        };
        Ok(LatentAttention {
            config: latent,
            wq_a,
            q_b,
            wkv_a: self.linear("attn_kv_a_mqa", kv_lora_rank + n_rot, n_embd, false)?,
            kv_a_norm: self.norm_of("attn_kv_a_norm", kv_lora_rank)?,
            expansion,
            gate: match latent.n_gate {
                0 => None,
                n_gate => Some(self.linear("attn_gate", n_head * n_gate, n_embd, false)?),
            },
            wo: self.linear("attn_output", n_embd, n_head * head_len_v, false)?,
        })
    }

    /// The indexer. Layers that attend to all positions have its tensors too.
    #[inline(never)]
    fn indexer(&mut self, config: Option<IndexerConfig>) -> Result<Option<Indexer<'a>>, ModelError> {
        let Some(config) = config else { return Ok(None) };
        let IndexerConfig { n_head, head_len, .. } = config;
        let n_embd = self.config.n_embd;
        Ok(Some(Indexer {
            config,
            wq: self.linear("indexer.q_proj", n_head * head_len, n_embd, false)?,
            wk: self.linear("indexer.k_proj", head_len, n_embd, false)?,
            q_norm: self.vectors("indexer.q_norm.weight", 1, head_len)?,
            k_norm: self.vectors("indexer.k_norm.weight", 1, head_len)?,
        }))
    }
}
