//! The tensors of RWKV's mixers.

use super::super::architecture::NormWeights;
use super::super::config::{Rwkv6Config, Rwkv7Config, RwkvHeads};
use super::super::error::ModelError;
use super::super::recurrent::{ChannelMix, LowRank, Receptance, Rwkv6, Rwkv6Bonus, Rwkv6Input, Rwkv7};
use super::LayerTensors;
use crate::compute::{Linear, Norm};
use crate::gguf::Name;

/// The inputs of RWKV-6 in the order of the tensors: those of decay, keys, values, receptance and gates.
const INPUTS: [&str; 5] = ["w", "k", "v", "r", "g"];

const FUSED_SHARES: &str = "time_mix_lerp_fused.weight";

impl<'a> LayerTensors<'_, '_, 'a> {
    #[inline(never)]
    pub(super) fn rwkv6(&mut self, config: Rwkv6Config) -> Result<Rwkv6<'a>, ModelError> {
        let Rwkv6Config { heads: RwkvHeads { n_inner, head_len, n_head_kv, .. }, mix_rank, decay_rank } =
            config;
        let n_kv = n_head_kv * head_len;
        let w2 = self.tensors.stack(&self.name("time_mix_w2.weight"), INPUTS.len(), n_inner, mix_rank)?;
        // Files have the shares of each input separately, of all inputs together, or both with the same content.
        let fused = self.tensors.optional_floats(&self.name(FUSED_SHARES), [n_inner, 1, 1, INPUTS.len()])?;
        let mut shares = [&[][..]; INPUTS.len()];
        for (index, (shares, input)) in shares.iter_mut().zip(INPUTS).enumerate() {
            let name = self.name(Name::format(format_args!("time_mix_lerp_{input}.weight")).as_str());
            let apart = self.tensors.optional_vector(&name, n_inner)?;
            let of_fused = fused.map(|fused| &fused[index * n_inner..][..n_inner]);
            *shares = of_fused.or(apart).ok_or(ModelError::MissingTensor(name))?;
        }
        let first = self.name("time_mix_first.weight");
        let bonus = match self.tensors.optional_vectors(&first, n_inner / head_len, head_len)? {
            Some(first) => Some(Rwkv6Bonus { first, norm: self.head_norm(n_inner)? }),
            None => None,
        };
        Ok(Rwkv6 {
            config,
            shares: self.vectors("time_mix_lerp_x.weight", 1, n_inner)?,
            w1: self.linear("time_mix_w1", INPUTS.len() * mix_rank, n_inner, false)?,
            inputs: core::array::from_fn(|index| Rwkv6Input {
                shares: shares[index],
                w2: Linear::new(w2.rows(index * n_inner..(index + 1) * n_inner)),
            }),
            decay_bias: self.vectors("time_mix_decay.weight", 1, n_inner)?,
            decay_w1: self.linear("time_mix_decay_w1", decay_rank, n_inner, false)?,
            decay_w2: self.linear("time_mix_decay_w2", n_inner, decay_rank, false)?,
            key: self.linear("time_mix_key", n_kv, n_inner, false)?,
            value: self.linear("time_mix_value", n_kv, n_inner, false)?,
            receptance: self.linear("time_mix_receptance", n_inner, n_inner, false)?,
            gate: self.linear("time_mix_gate", n_inner, n_inner, false)?,
            bonus,
            output: self.linear("time_mix_output", n_inner, n_inner, false)?,
        })
    }

    #[inline(never)]
    pub(super) fn rwkv7(&mut self, config: Rwkv7Config) -> Result<Rwkv7<'a>, ModelError> {
        let Rwkv7Config { heads: RwkvHeads { n_inner, .. }, decay_rank, rate_rank, value_rank, gate_rank } =
            config;
        let gate = match self.has("time_mix_g1.weight") {
            true => Some([
                self.linear("time_mix_g1", gate_rank, n_inner, false)?,
                self.linear("time_mix_g2", n_inner, gate_rank, false)?,
            ]),
            false => None,
        };
        // Files without gates may still have the shares of their input.
        let name = self.name(FUSED_SHARES);
        let has_six = gate.is_some() || self.tensors.planes_of(&name)? == 6;
        let shares = self.tensors.optional_floats(&name, [n_inner, 1, 1, if has_six { 6 } else { 5 }])?;
        let shares = shares.ok_or(ModelError::MissingTensor(name))?;
        // The first layer has these tensors too, with a different shape, but does not use them.
        let value_share =
            self.low_rank("v", if self.index == 0 { rate_rank } else { value_rank }, n_inner)?;
        Ok(Rwkv7 {
            config,
            shares: &shares[..if gate.is_some() { 6 } else { 5 } * n_inner],
            receptance: self.linear("time_mix_receptance", n_inner, n_inner, false)?,
            key: self.linear("time_mix_key", n_inner, n_inner, false)?,
            value: self.linear("time_mix_value", n_inner, n_inner, false)?,
            decay: self.low_rank("w", decay_rank, n_inner)?,
            rate: self.low_rank("a", rate_rank, n_inner)?,
            first_value: Some(value_share).filter(|_| self.index > 0),
            gate,
            k_k: self.vectors("time_mix_k_k.weight", 1, n_inner)?,
            k_a: self.vectors("time_mix_k_a.weight", 1, n_inner)?,
            r_k: self.vectors("time_mix_r_k.weight", 1, n_inner)?,
            norm: match self.has("time_mix_ln.weight") {
                true => Some(self.head_norm(n_inner)?),
                false => None,
            },
            output: self.linear("time_mix_output", n_inner, n_inner, false)?,
        })
    }

    pub(super) fn channel_mix(&mut self) -> Result<ChannelMix<'a>, ModelError> {
        let (n_embd, n_ff) = (self.config.n_embd, self.layer.n_ff);
        let receptance = match self.has("channel_mix_receptance.weight") {
            true => Some(Receptance {
                shares: self.vectors("channel_mix_lerp_r.weight", 1, n_embd)?,
                weight: self.linear("channel_mix_receptance", n_embd, n_embd, false)?,
            }),
            false => None,
        };
        Ok(ChannelMix {
            key_shares: self.vectors("channel_mix_lerp_k.weight", 1, n_embd)?,
            key: self.linear("channel_mix_key", n_ff, n_embd, false)?,
            value: self.linear("channel_mix_value", n_embd, n_ff, false)?,
            receptance,
        })
    }

    /// The maps `<letter>2 · <letter>1` and the bias `<letter>0`.
    fn low_rank(&mut self, letter: &str, rank: usize, n_inner: usize) -> Result<LowRank<'a>, ModelError> {
        let part = |number: usize| Name::format(format_args!("time_mix_{letter}{number}"));
        let bias = Name::format(format_args!("{}.weight", part(0).as_str()));
        Ok(LowRank {
            bias: self.vectors(bias.as_str(), 1, n_inner)?,
            w1: self.linear(part(1).as_str(), rank, n_inner, false)?,
            w2: self.linear(part(2).as_str(), n_inner, rank, false)?,
        })
    }

    #[inline(never)]
    fn head_norm(&mut self, n_inner: usize) -> Result<Norm<'a>, ModelError> {
        self.tensors.norm(self.name("time_mix_ln").as_str(), NormWeights::WeightAndBias, n_inner)
    }
}
