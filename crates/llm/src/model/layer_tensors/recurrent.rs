//! The tensors of recurrent mixers.

use super::super::architecture::NormWeights;
use super::super::config::{
    DeltaNetConfig, HeadMambaConfig, KimiDeltaConfig, LightningConfig, Mamba2Config, MambaConfig,
    RecurrentConfig, ShortConvolutionConfig,
};
use super::super::error::ModelError;
use super::super::recurrent::{
    Convolution, DeltaNet, DeltaNetGates, HeadMamba, KimiDelta, Lightning, Mamba, Mamba2, MambaNorms,
    Projection, Recurrent, ShortConvolution,
};
use super::LayerTensors;
use crate::compute::{Linear, Norm};
use crate::gguf::Name;

impl<'a> LayerTensors<'_, '_, 'a> {
    pub(super) fn recurrent(&mut self, config: RecurrentConfig) -> Result<Recurrent<'a>, ModelError> {
        Ok(match config {
            RecurrentConfig::Mamba(config) => Recurrent::Mamba(self.mamba(config)?),
            RecurrentConfig::Mamba2(config) => Recurrent::Mamba2(self.mamba2(config)?),
            RecurrentConfig::DeltaNet(config) => Recurrent::DeltaNet(self.delta_net(config)?),
            RecurrentConfig::ShortConvolution(config) => {
                Recurrent::ShortConvolution(self.short_convolution(config)?)
            }
            RecurrentConfig::Rwkv6(config) => Recurrent::Rwkv6(self.rwkv6(config)?),
            RecurrentConfig::HeadMamba(config) => Recurrent::HeadMamba(self.head_mamba(config)?),
            RecurrentConfig::KimiDelta(config) => Recurrent::KimiDelta(self.kimi_delta(config)?),
            RecurrentConfig::Lightning(config) => Recurrent::Lightning(self.lightning(config)?),
            RecurrentConfig::Rwkv7(config) => Recurrent::Rwkv7(self.rwkv7(config)?),
        })
    }

    #[inline(never)]
    fn mamba(&mut self, config: MambaConfig) -> Result<Mamba<'a>, ModelError> {
        let MambaConfig { n_inner, n_state, n_conv, dt_rank, is_normalised } = config;
        let n_embd = self.config.n_embd;
        // FalconMamba normalises without weights, Jamba with weights.
        let parts = ["ssm_dt_norm.weight", "ssm_b_norm.weight", "ssm_c_norm.weight"];
        let has_weights = parts.iter().any(|part| self.has(part));
        let weights = if has_weights { NormWeights::Weight } else { NormWeights::None };
        let norms = match is_normalised || has_weights {
            true => Some(MambaNorms {
                dt: self.inner_norm("ssm_dt_norm", weights, dt_rank)?,
                b: self.inner_norm("ssm_b_norm", weights, n_state)?,
                c: self.inner_norm("ssm_c_norm", weights, n_state)?,
            }),
            false => None,
        };
        Ok(Mamba {
            config,
            w_in: self.linear("ssm_in", 2 * n_inner, n_embd, false)?,
            convolution: self.convolution("ssm_conv1d", n_conv, n_inner, true)?,
            w_x: self.linear("ssm_x", dt_rank + 2 * n_state, n_inner, false)?,
            norms,
            w_dt: self.linear("ssm_dt", n_inner, dt_rank, true)?,
            a: self.vectors("ssm_a", n_inner, n_state)?,
            d: self.vectors("ssm_d", 1, n_inner)?,
            w_out: self.linear("ssm_out", n_embd, n_inner, false)?,
        })
    }

    #[inline(never)]
    fn mamba2(&mut self, config: Mamba2Config) -> Result<Mamba2<'a>, ModelError> {
        let Mamba2Config { n_inner, n_conv, n_head, n_group, .. } = config;
        let (n_embd, n_channels) = (self.config.n_embd, config.n_channels());
        let norm = self.name("ssm_norm.weight");
        Ok(Mamba2 {
            config,
            w_in: self.linear("ssm_in", n_inner + n_channels + n_head, n_embd, false)?,
            convolution: self.convolution("ssm_conv1d", n_conv, n_channels, false)?,
            dt_bias: self.vectors("ssm_dt.bias", 1, n_head)?,
            a: self.vectors("ssm_a", n_head, 1)?,
            d: self.vectors("ssm_d", n_head, 1)?,
            norm: self.tensors.optional_vectors(&norm, n_group, n_inner / n_group)?,
            w_out: self.linear("ssm_out", n_embd, n_inner, false)?,
        })
    }

    #[inline(never)]
    fn delta_net(&mut self, config: DeltaNetConfig) -> Result<DeltaNet<'a>, ModelError> {
        let DeltaNetConfig { head_len_v, n_head_v, n_conv, .. } = config;
        let (n_embd, n_channels, n_value) = (self.config.n_embd, config.n_channels(), config.n_value());
        // Older files have this matrix instead of the two that follow; some have all three.
        if self.has("attn_qkv.weight") {
            let older = self.name("ssm_in.weight");
            self.tensors.optional_matrix(&older, n_channels + n_value, n_embd)?;
            self.tensors.scale(self.name("ssm_in").as_str())?;
        }
        Ok(DeltaNet {
            config,
            wqkv: self.linear("attn_qkv", n_channels, n_embd, false)?,
            w_gate: self.linear("attn_gate", n_value, n_embd, false)?,
            convolution: self.convolution("ssm_conv1d", n_conv, n_channels, false)?,
            gates: match self.has("ssm_ba.weight") {
                true => DeltaNetGates::Together(self.linear("ssm_ba", 2 * n_head_v, n_embd, false)?),
                false => DeltaNetGates::Apart {
                    beta: self.linear("ssm_beta", n_head_v, n_embd, false)?,
                    alpha: self.linear("ssm_alpha", n_head_v, n_embd, false)?,
                },
            },
            dt_bias: self.vectors("ssm_dt.bias", 1, n_head_v)?,
            a: self.vectors("ssm_a", 1, n_head_v)?,
            norm: self.vectors("ssm_norm.weight", 1, head_len_v)?,
            w_out: self.linear("ssm_out", n_embd, n_value, false)?,
        })
    }

    #[inline(never)]
    fn head_mamba(&mut self, config: HeadMambaConfig) -> Result<HeadMamba<'a>, ModelError> {
        let HeadMambaConfig { n_inner, n_state, n_conv, n_head, dt_rank } = config;
        let n_embd = self.config.n_embd;
        Ok(HeadMamba {
            config,
            w_in: self.linear("ssm_in", 2 * n_inner, n_embd, false)?,
            convolution: self.convolution("ssm_conv1d", n_conv, n_inner, false)?,
            w_x: self.linear("ssm_x", 2 * n_state + dt_rank, n_inner, false)?,
            norms: MambaNorms {
                dt: self.inner_norm("ssm_dt_norm", NormWeights::Weight, dt_rank)?,
                b: self.inner_norm("ssm_b_norm", NormWeights::Weight, n_state)?,
                c: self.inner_norm("ssm_c_norm", NormWeights::Weight, n_state)?,
            },
            w_dt: self.linear("ssm_dt", n_head, dt_rank, true)?,
            a: self.vectors("ssm_a", 1, n_head)?,
            d: self.vectors("ssm_d", 1, n_head)?,
            w_out: self.linear("ssm_out", n_embd, n_inner, false)?,
        })
    }

    #[inline(never)]
    fn kimi_delta(&mut self, config: KimiDeltaConfig) -> Result<KimiDelta<'a>, ModelError> {
        let KimiDeltaConfig { n_head, head_len, n_conv, .. } = config;
        let (n_embd, n_inner) = (self.config.n_embd, config.n_inner());
        let mut convolution = |part: &str, index: usize| {
            let name = self.name(part);
            let weight = self.tensors.optional_floats(&name, [n_conv, 1, n_inner, 1])?;
            let weight = weight.ok_or(ModelError::MissingTensor(name))?;
            let first_history = index * (n_conv - 1) * n_inner;
            Ok::<_, ModelError>(Convolution {
                weight,
                bias: None,
                n_conv,
                n_channels: n_inner,
                first_history,
            })
        };
        let convolutions = [
            convolution("ssm_conv1d_q.weight", 0)?,
            convolution("ssm_conv1d_k.weight", 1)?,
            convolution("ssm_conv1d_v.weight", 2)?,
        ];
        let qkv = match self.has("attn_qkv.weight") {
            true => {
                let all = self.plain_linear("attn_qkv", 3 * n_inner, n_embd)?;
                [0, 1, 2].map(|index| all.rows(index * n_inner..(index + 1) * n_inner))
            }
            false => [
                self.plain_linear("attn_q", n_inner, n_embd)?,
                self.plain_linear("attn_k", n_inner, n_embd)?,
                self.plain_linear("attn_v", n_inner, n_embd)?,
            ],
        };
        // Some files have an additional dimension.
        let a = self.name("ssm_a");
        let is_row = self.tensors.rows_of(&a)? == n_head;
        let a_dims = if is_row { [1, n_head, 1, 1] } else { [n_head, 1, 1, 1] };
        let a = self.tensors.optional_floats(&a, a_dims)?.ok_or(ModelError::MissingTensor(a))?;
        Ok(KimiDelta {
            config,
            qkv,
            convolutions,
            forget: self.projection(["ssm_f_a", "ssm_f_b"], n_inner, head_len)?,
            forget_bias: self.vectors("ssm_dt.bias", 1, n_inner)?,
            a,
            beta: self.plain_linear("ssm_beta", n_head, n_embd)?,
            gate: match self.has("ssm_g.weight") {
                true => Projection::Full(self.plain_linear("ssm_g", n_inner, n_embd)?),
                false => self.projection(["ssm_g_a", "ssm_g_b"], n_inner, head_len)?,
            },
            norm: self.vectors("ssm_norm.weight", 1, head_len)?,
            w_out: self.plain_linear("attn_output", n_embd, n_inner)?,
        })
    }

    /// The product of two matrices with `rank` dimensions between them, or a single matrix, depending on the rows of
    /// the first.
    #[inline(never)]
    fn projection(
        &mut self,
        parts: [&str; 2],
        rows: usize,
        rank: usize,
    ) -> Result<Projection<'a>, ModelError> {
        let n_embd = self.config.n_embd;
        let [first, second] = parts;
        let weight = |part: &str| Name::format(format_args!("{part}.weight"));
        let n_first = self.tensors.rows_of(&self.name(weight(first).as_str()))?;
        let has_second = self.has(weight(second).as_str());
        Ok(match n_first == rank && (rank != rows || has_second) {
            true => Projection::LowRank([
                self.plain_linear(first, rank, n_embd)?,
                self.plain_linear(second, rows, rank)?,
            ]),
            false => Projection::Full(self.plain_linear(first, rows, n_embd)?),
        })
    }

    #[inline(never)]
    fn lightning(&mut self, config: LightningConfig) -> Result<Lightning<'a>, ModelError> {
        let LightningConfig { n_head, head_len } = config;
        let (n_embd, n_inner) = (self.config.n_embd, n_head * head_len);
        Ok(Lightning {
            config,
            wqkv: self.plain_linear("attn_qkv", 3 * n_inner, n_embd)?,
            gate: self.plain_linear("attn_gate", n_inner, n_embd)?,
            norm: self.norm_of("attn_norm_2", n_inner)?,
            w_out: self.plain_linear("attn_output", n_embd, n_inner)?,
        })
    }

    /// Only the matrix, because the reference here ignores its bias and its factor.
    fn plain_linear(&mut self, part: &str, rows: usize, cols: usize) -> Result<Linear<'a>, ModelError> {
        Ok(Linear::new(self.linear(part, rows, cols, false)?.weight))
    }

    fn short_convolution(
        &mut self,
        config: ShortConvolutionConfig,
    ) -> Result<ShortConvolution<'a>, ModelError> {
        let ShortConvolutionConfig { n_inner, n_conv } = config;
        let n_embd = self.config.n_embd;
        Ok(ShortConvolution {
            config,
            w_in: self.linear("shortconv.in_proj", 3 * n_inner, n_embd, false)?,
            convolution: self.convolution("shortconv.conv", n_conv, n_inner, false)?,
            w_out: self.linear("shortconv.out_proj", n_embd, n_inner, false)?,
        })
    }

    #[inline(never)]
    fn convolution(
        &mut self,
        part: &str,
        n_conv: usize,
        n_channels: usize,
        bias_is_required: bool,
    ) -> Result<Convolution<'a>, ModelError> {
        let of_part = |what: &str| self.name(Name::format(format_args!("{part}.{what}")).as_str());
        let (weight, bias) = (of_part("weight"), of_part("bias"));
        Ok(Convolution {
            weight: self
                .tensors
                .optional_vectors(&weight, n_channels, n_conv)?
                .ok_or(ModelError::MissingTensor(weight))?,
            bias: match bias_is_required {
                true => Some(self.tensors.vector(&bias, n_channels)?),
                false => self.tensors.optional_vector(&bias, n_channels)?,
            },
            n_conv,
            n_channels,
            first_history: 0,
        })
    }

    /// `[count][len]`, F32.
    #[inline(never)]
    pub(super) fn vectors(&mut self, part: &str, count: usize, len: usize) -> Result<&'a [f32], ModelError> {
        let name = self.name(part);
        self.tensors.optional_vectors(&name, count, len)?.ok_or(ModelError::MissingTensor(name))
    }

    #[inline(never)]
    fn inner_norm(&mut self, part: &str, weights: NormWeights, len: usize) -> Result<Norm<'a>, ModelError> {
        let name = self.name(part);
        self.tensors.norm(name.as_str(), weights, len)
    }
}
