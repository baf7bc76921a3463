//! The buffers of a forward pass.

use super::config::Config;
use super::layer_config::LayerConfig;
use super::rope::Ropes;
use crate::arena::{Arena, OutOfMemory};
use crate::quant::activation_bytes;

/// Buffers for up to `n_batch` tokens at a time.
#[derive(Debug)]
pub struct Scratch<'m> {
    /// `[n_batch][n_embd]`: the residual stream.
    pub(super) x: &'m mut [f32],
    /// `[n_batch][n_embd]`: what a mixer reads.
    pub(super) block: &'m mut [f32],
    /// `[n_batch][n_embd]`: what a mixer gives.
    pub(super) addend: &'m mut [f32],
    /// What the mixers need within.
    pub(super) mixer: MixerScratch<'m>,
    /// In models with embeddings per layer.
    pub(super) per_layer: PerLayerScratch<'m>,
    /// The inputs of a matrix product, quantised.
    pub(super) quantized: &'m mut [u8],
    /// `[n_logits][n_output]`
    pub(super) logits: &'m mut [f32],
}

/// Buffers of embeddings per layer.
#[derive(Debug)]
pub struct PerLayerScratch<'m> {
    /// `[n_batch][n_layer][n_embd_per_layer]`: what each layer will be given.
    pub(super) inputs: &'m mut [f32],
    /// `[n_layer][n_embd_per_layer]`: of one token.
    pub(super) embedding: &'m mut [f32],
    /// `[n_batch][n_embd_per_layer]`
    pub(super) gate: &'m mut [f32],
}

/// Buffers within the mixers; the widest layer decides.
#[derive(Debug)]
pub struct MixerScratch<'m> {
    /// `[n_batch][n_head · head_len_k]`
    pub(super) q: &'m mut [f32],
    /// `[n_batch][n_head_kv · head_len_k]`
    pub(super) k: &'m mut [f32],
    /// `[n_batch][n_head_kv · head_len_v]`
    pub(super) v: &'m mut [f32],
    /// `[n_batch][n_head · head_len_v]`: the heads' outputs.
    pub(super) heads: &'m mut [f32],
    /// `[n_batch][n_ff]`
    pub(super) up: &'m mut [f32],
    /// `[n_batch][n_ff]`
    pub(super) gate: &'m mut [f32],
    /// Cosines and sines of the batch's positions in layers without a window.
    pub(super) angles: Angles<'m>,
    /// The same in layers with a window.
    pub(super) window_angles: Angles<'m>,
    /// In models with latent attention.
    pub(super) latent: LatentScratch<'m>,
    /// In models with experts.
    pub(super) experts: ExpertScratch<'m>,
}

/// Cosines and sines, `[n_batch][n_rot / 2]` each.
#[derive(Debug)]
pub struct Angles<'m> {
    pub(super) cos: &'m mut [f32],
    pub(super) sin: &'m mut [f32],
}

/// Buffers of latent attention.
#[derive(Debug)]
pub struct LatentScratch<'m> {
    /// `[n_batch][q_lora_rank]`
    pub(super) q_compressed: &'m mut [f32],
    /// `[n_batch][n_head][head_len_k]`, before its part goes to the compressed space.
    pub(super) q: &'m mut [f32],
    /// `[n_batch][kv_lora_rank + n_rot]`
    pub(super) kv: &'m mut [f32],
    /// `[n_batch][n_head][kv_lora_rank]`: the heads' outputs in the compressed space.
    pub(super) heads: &'m mut [f32],
    /// One head of each token, gathered.
    pub(super) gathered: &'m mut [f32],
    /// One head of each token, to be scattered.
    pub(super) scattered: &'m mut [f32],
}

/// Buffers of a mixture of experts.
#[derive(Debug)]
pub struct ExpertScratch<'m> {
    /// `[n_batch][n_expert]`: the router's logits, then probabilities.
    pub(super) probabilities: &'m mut [f32],
    /// `[n_expert]`: what the choice is made by.
    pub(super) selection: &'m mut [f32],
    /// `[n_batch][n_expert_used]`: the chosen experts.
    pub(super) chosen: &'m mut [u32],
    /// `[n_batch][n_expert_used]`: their weights.
    pub(super) weights: &'m mut [f32],
    /// `[n_batch][n_embd]`: the tokens of one expert.
    pub(super) gathered: &'m mut [f32],
    /// `[n_batch][n_embd]`: what the expert makes of them.
    pub(super) output: &'m mut [f32],
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
        let n_embd = config.n_embd;
        let widest =
            |width: &dyn Fn(&LayerConfig) -> usize| config.layers.iter().map(width).max().unwrap_or(0);
        let n_ff = widest(&|layer| layer.n_ff).max(config.experts.map_or(0, |experts| experts.n_ff));
        let n_q = widest(&|layer| layer.n_head * layer.head_len_k);
        let n_heads = widest(&|layer| layer.n_head * layer.head_len_v);
        let n_k = widest(&|layer| layer.n_head_kv * layer.head_len_k);
        let n_v = widest(&|layer| layer.n_head_kv * layer.head_len_v);
        let widest_input = n_embd
            .max(n_heads)
            .max(n_q)
            .max(n_ff)
            .max(config.latent.map_or(0, |latent| latent.widest()))
            .max(config.n_embd_per_layer.unwrap_or(0));
        let mut rows = Rows { n_batch, arena };
        Ok(Scratch {
            x: rows.take(n_embd)?,
            block: rows.take(n_embd)?,
            addend: rows.take(n_embd)?,
            mixer: MixerScratch {
                q: rows.take(n_q)?,
                k: rows.take(n_k)?,
                v: rows.take(n_v)?,
                heads: rows.take(n_heads)?,
                up: rows.take(n_ff)?,
                gate: rows.take(n_ff)?,
                angles: rows.angles(config.rope.as_ref().map_or(0, |rope| rope.n_rot / 2))?,
                window_angles: rows.angles(config.window_rope.as_ref().map_or(0, |rope| rope.n_rot / 2))?,
                latent: rows.latent(config)?,
                experts: rows.experts(config)?,
            },
            per_layer: rows.per_layer(config)?,
            quantized: rows.arena.take(activation_bytes(widest_input, n_batch))?,
            logits: rows.arena.take(n_logits.saturating_mul(config.n_output()))?,
        })
    }

    /// One row of the logits that the last pass computed, `[n_output]`.
    pub(crate) fn logits_row(&self, config: &Config, row: usize) -> &[f32] {
        &self.logits[row * config.n_output()..][..config.n_output()]
    }
}

/// Takes a row per token of a batch.
struct Rows<'r, 'm> {
    n_batch: usize,
    arena: &'r mut Arena<'m>,
}

impl<'m> Rows<'_, 'm> {
    fn take(&mut self, width: usize) -> Result<&'m mut [f32], OutOfMemory> {
        self.arena.take(self.n_batch.saturating_mul(width))
    }

    fn angles(&mut self, n_pairs: usize) -> Result<Angles<'m>, OutOfMemory> {
        Ok(Angles { cos: self.take(n_pairs)?, sin: self.take(n_pairs)? })
    }

    fn latent(&mut self, config: &Config) -> Result<LatentScratch<'m>, OutOfMemory> {
        let n_head = config.layers[0].n_head;
        let (rank, head_len_k, head_len_v) = config
            .latent
            .map_or((0, 0, 0), |latent| (latent.kv_lora_rank, latent.head_len_k, latent.head_len_v));
        Ok(LatentScratch {
            q_compressed: self.take(config.latent.and_then(|latent| latent.q_lora_rank).unwrap_or(0))?,
            q: self.take(n_head * head_len_k)?,
            kv: self.take(rank + head_len_k)?,
            heads: self.take(n_head * rank)?,
            gathered: self.take(rank.max(head_len_k))?,
            scattered: self.take(rank.max(head_len_v))?,
        })
    }

    fn per_layer(&mut self, config: &Config) -> Result<PerLayerScratch<'m>, OutOfMemory> {
        let len = config.n_embd_per_layer.unwrap_or(0);
        let n_all = config.layers.len().saturating_mul(len);
        Ok(PerLayerScratch {
            inputs: self.take(n_all)?,
            embedding: self.arena.take(n_all)?,
            gate: self.take(len)?,
        })
    }

    fn experts(&mut self, config: &Config) -> Result<ExpertScratch<'m>, OutOfMemory> {
        let (n_expert, n_used) =
            config.experts.map_or((0, 0), |experts| (experts.n_expert, experts.n_expert_used));
        let n_embd = if n_expert > 0 { config.n_embd } else { 0 };
        Ok(ExpertScratch {
            probabilities: self.take(n_expert)?,
            selection: self.arena.take(n_expert)?,
            chosen: self.arena.take(self.n_batch.saturating_mul(n_used))?,
            weights: self.take(n_used)?,
            gathered: self.take(n_embd)?,
            output: self.take(n_embd)?,
        })
    }
}

impl Ropes {
    /// The angles of a batch's positions.
    pub(super) fn set_angles(&self, positions: core::ops::Range<usize>, scratch: &mut MixerScratch<'_>) {
        for (rope, angles) in
            [(&self.full, &mut scratch.angles), (&self.windowed, &mut scratch.window_angles)]
        {
            let Some(rope) = rope else { continue };
            let rows =
                angles.cos.chunks_exact_mut(rope.n_pairs()).zip(angles.sin.chunks_exact_mut(rope.n_pairs()));
            for ((cos, sin), position) in rows.zip(positions.clone()) {
                rope.angles(position, cos, sin);
            }
        }
    }
}
