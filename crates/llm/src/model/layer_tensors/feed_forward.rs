//! The tensors of feed-forward blocks, and of mixtures of experts.

use super::super::architecture::{Activation, ExpertLayers, FeedForwardKind, SharedExpert};
use super::super::config::{ExpertConfig, LATENT_KEYS};
use super::super::error::ModelError;
use super::super::experts::{ExpertBlock, ExpertLatent, ExpertLinear, Experts};
use super::super::feed_forward::DenseFeedForward;
use super::{FFN_PARTS, LayerTensors};
use crate::compute::Linear;
use crate::gguf::Name;

/// The parts of a mixture of experts: gate, up, down, and gate and up in one tensor.
const EXPERT_PARTS: [&str; 4] = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_gate_up_exps"];
/// The parts of the experts of the second kind, which read the output of others.
const CHUNK_PARTS: [&str; 4] = ["ffn_gate_chexps", "ffn_up_chexps", "ffn_down_chexps", "ffn_gate_up_chexps"];

impl<'a> LayerTensors<'_, '_, 'a> {
    #[inline(never)]
    pub(super) fn feed_forward(&mut self) -> Result<DenseFeedForward<'a>, ModelError> {
        let (n_embd, n_ff) = (self.config.n_embd, self.layer.n_ff);
        let biased = self.biased();
        let mut activation = self.dense_activation();
        let (gate, up) = match self.config.architecture.feed_forward {
            FeedForwardKind::None | FeedForwardKind::ChannelMix | FeedForwardKind::Plain => {
                (None, self.linear("ffn_up", n_ff, n_embd, biased)?)
            }
            FeedForwardKind::Gated | FeedForwardKind::HalfGated | FeedForwardKind::GatedOrBare => (
                Some(self.linear("ffn_gate", n_ff, n_embd, biased)?),
                self.linear("ffn_up", n_ff, n_embd, biased)?,
            ),
            FeedForwardKind::ByTensors { .. } if self.has("ffn_gate.weight") => (
                Some(self.linear("ffn_gate", n_ff, n_embd, false)?),
                self.linear("ffn_up", n_ff, n_embd, biased)?,
            ),
            FeedForwardKind::ByTensors { plain }
                if self.tensors.rows_of(&self.name("ffn_up.weight"))? != 2 * n_ff =>
            {
                activation = plain;
                (None, self.linear("ffn_up", n_ff, n_embd, biased)?)
            }
            FeedForwardKind::FusedGated | FeedForwardKind::ByTensors { .. } => {
                let fused = self.linear("ffn_up", 2 * n_ff, n_embd, biased)?;
                (Some(fused.rows(0..n_ff)), fused.rows(n_ff..2 * n_ff))
            }
        };
        Ok(DenseFeedForward {
            gate,
            up,
            down: self.linear("ffn_down", n_embd, n_ff, biased)?,
            activation,
            divisors: self.tensors.optional_vector(&self.name("ffn.act.scales"), n_ff)?,
            hidden_norm: match self.config.architecture.norms.hidden {
                Some(part) => Some(self.norm_of(part, n_ff)?),
                None => None,
            },
            gate_cutoff: self.layer.gate_cutoff,
        })
    }

    /// The nonlinearity of blocks that all tokens are sent to.
    fn dense_activation(&self) -> Activation {
        match (self.layer.xielu, self.layer.dense_limit) {
            (Some(xielu), _) => Activation::Xielu(xielu),
            (None, Some(limit)) => Activation::ClampedOutput(limit),
            (None, None) => self.config.activation,
        }
    }

    /// The block beside the experts, if the file has one.
    #[inline(never)]
    fn shared_expert(&mut self, shared: SharedExpert) -> Result<Option<DenseFeedForward<'a>>, ModelError> {
        let SharedExpert { parts, is_fused, .. } = shared;
        let n_embd = self.config.n_embd;
        let weight = |part: &str| Name::format(format_args!("{part}.weight"));
        if !parts.iter().any(|part| self.has(weight(part).as_str())) {
            return Ok(None);
        }
        let [gate, up, down] = parts;
        let (gate, up) = match is_fused {
            true => {
                let n_ff = self.tensors.rows_of(&self.name(weight(up).as_str()))? / 2;
                let fused = self.linear(up, 2 * n_ff, n_embd, false)?;
                (Some(fused.rows(0..n_ff)), fused.rows(n_ff..2 * n_ff))
            }
            false => {
                let n_ff = self.tensors.rows_of(&self.name(weight(up).as_str()))?;
                // It is gated if the experts are.
                let is_gated = self.has(weight(gate).as_str())
                    || self.has("ffn_gate_exps.weight")
                    || self.config.architecture.routing.is_none_or(|routing| !routing.gate_is_optional);
                let gate = match is_gated {
                    true => Some(self.linear(gate, n_ff, n_embd, false)?),
                    false => None,
                };
                (gate, self.linear(up, n_ff, n_embd, false)?)
            }
        };
        Ok(Some(DenseFeedForward {
            gate,
            up,
            down: self.linear(down, n_embd, up.weight.n_rows(), false)?,
            activation: self.dense_activation(),
            divisors: None,
            hidden_norm: None,
            gate_cutoff: None,
        }))
    }

    #[inline(never)]
    pub(super) fn experts(&mut self, config: &ExpertConfig) -> Result<Experts<'a>, ModelError> {
        let (n_embd, n_expert) = (self.config.n_embd, config.n_expert);
        let routing = self.config.architecture.routing;
        let latent = self.expert_latent(config.n_latent)?;
        let shared = match routing {
            Some(routing) => self.shared_expert(routing.shared)?,
            None => None,
        };
        if routing.is_some_and(|routing| routing.layers == ExpertLayers::WithRouter) {
            for part in FFN_PARTS {
                self.leave(part);
            }
        }
        Ok(Experts {
            config: ExpertConfig { n_expert_used: self.layer.n_expert_used, ..*config },
            router: self.linear("ffn_gate_inp", n_expert, n_embd, false)?,
            selection_bias: match self.tensors.optional_vector(&self.name("exp_probs_b.bias"), n_expert)? {
                None => self.tensors.optional_vector(&self.name("exp_probs_b"), n_expert)?,
                bias => bias,
            },
            block: self.expert_block(
                n_expert,
                EXPERT_PARTS,
                if latent.is_some() { config.n_latent } else { n_embd },
            )?,
            latent,
            chunks: match config.chunks {
                Some(chunks) => {
                    Some((chunks, self.expert_block(n_expert / chunks.n_expert, CHUNK_PARTS, n_embd)?))
                }
                None => None,
            },
            shared_gate: match shared {
                Some(_) => self.tensors.optional_row(&self.name("ffn_gate_inp_shexp.weight"), n_embd)?,
                None => None,
            },
            shared,
        })
    }

    /// The compression of tokens to this width for experts, in models that have one. Its tensors have two possible
    /// names.
    #[inline(never)]
    fn expert_latent(&mut self, n_latent: usize) -> Result<Option<ExpertLatent<'a>>, ModelError> {
        let n_embd = self.config.n_embd;
        let [down, norm, up] = match self.config.architecture.reads(LATENT_KEYS[0]) {
            _ if n_latent == 0 => return Ok(None),
            true => ["ffn_latent_down", "ffn_latent_norm", "ffn_latent_up"],
            false => ["ffn_routed_down", "ffn_routed_norm", "ffn_routed_up"],
        };
        Ok(Some(ExpertLatent {
            down: self.linear(down, n_latent, n_embd, false)?,
            norm: match self.has(Name::format(format_args!("{norm}.weight")).as_str()) {
                true => Some(self.norm_of(norm, n_latent)?),
                false => None,
            },
            up: self.linear(up, n_embd, n_latent, false)?,
        }))
    }

    /// The feed-forward blocks of `n_expert` experts. Families have different keys for their width, so it is taken from
    /// the tensors, which must agree.
    #[inline(never)]
    fn expert_block(
        &mut self,
        n_expert: usize,
        [gate, up, down, fused]: [&str; 4],
        n_embd: usize,
    ) -> Result<ExpertBlock<'a>, ModelError> {
        let weight = |part: &str| Name::format(format_args!("{part}.weight"));
        let (gate, up) = match self.has(weight(fused).as_str()) {
            true => {
                let n_ff = self.tensors.rows_of(&self.name(weight(fused).as_str()))? / 2;
                let both = self.expert_linear(fused, n_expert, 2 * n_ff, n_embd)?;
                (Some(both.part(0, n_ff)), both.part(n_ff, n_ff))
            }
            false => {
                let n_ff = self.tensors.rows_of(&self.name(weight(up).as_str()))?;
                let is_gated = self.has(weight(gate).as_str())
                    || self.config.architecture.routing.is_none_or(|routing| !routing.gate_is_optional);
                let gate = match is_gated {
                    true => Some(self.expert_linear(gate, n_expert, n_ff, n_embd)?),
                    false => None,
                };
                (gate, self.expert_linear(up, n_expert, n_ff, n_embd)?)
            }
        };
        Ok(ExpertBlock {
            gate,
            up,
            down: self.expert_linear(down, n_expert, n_embd, up.n_rows())?,
            activation: match self.layer.gate_limit {
                Some(limit) if self.config.architecture.clamps_after => Activation::ClampedOutput(limit),
                Some(limit) => Activation::ClampedSilu(limit),
                None => self.config.activation,
            },
        })
    }

    /// One matrix per expert, each with a factor and a bias if the file has them.
    #[inline(never)]
    fn expert_linear(
        &mut self,
        part: &str,
        n_expert: usize,
        rows: usize,
        cols: usize,
    ) -> Result<ExpertLinear<'a>, ModelError> {
        let of_part = |what: &str| self.name(Name::format(format_args!("{part}.{what}")).as_str());
        let (weight, bias) = (of_part("weight"), of_part("bias"));
        let scales = self.tensors.scales(self.scaled_name(part).as_str(), n_expert)?;
        let scales = scales.filter(|_| self.config.architecture.scales(part));
        let all = Linear {
            weight: self.tensors.stack(&weight, n_expert, rows, cols)?,
            scale: None,
            scales_bias: false,
            bias: self.tensors.optional_vectors(&bias, n_expert, rows)?,
            tensor: self.tensors.adaptable(&weight),
            first_row: 0,
        };
        Ok(ExpertLinear::new(all, scales, rows))
    }
}
