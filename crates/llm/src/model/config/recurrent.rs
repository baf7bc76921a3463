//! The hyper-parameters of recurrent sequence mixers.

use super::super::architecture::{
    Architecture, FeedForwardKind, KeyHeads, KimiDecay, OutputGate, RecurrenceKind,
};
use super::super::error::ModelError;
use super::keys::Keys;
use crate::recurrent_state::RecurrentShape;
use crate::simd::state_len;

/// A recurrent sequence mixer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RecurrentConfig {
    /// A selective state space with a decay for each element of its state.
    Mamba(MambaConfig),
    /// A selective state space with a decay for each head.
    Mamba2(Mamba2Config),
    /// Linear attention that corrects what it has stored.
    DeltaNet(DeltaNetConfig),
    /// A convolution over a few positions between two gates.
    ShortConvolution(ShortConvolutionConfig),
    /// A selective state space with the structure of Mamba, but with a decay for each head.
    HeadMamba(HeadMambaConfig),
    /// The gated delta rule with a decay for each channel.
    KimiDelta(KimiDeltaConfig),
    /// Linear attention with a constant decay.
    Lightning(LightningConfig),
    /// RWKV's sixth generation.
    Rwkv6(Rwkv6Config),
    /// RWKV's seventh generation.
    Rwkv7(Rwkv7Config),
}

/// A selective state space with a decay for each element of its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MambaConfig {
    /// Channels.
    pub n_inner: usize,
    /// Elements of each channel's state.
    pub n_state: usize,
    /// Positions that the convolution sees.
    pub n_conv: usize,
    /// Width to which step lengths are compressed.
    pub dt_rank: usize,
    /// Whether step lengths, inputs and outputs of the state are normalised; without weights if the file has none.
    pub is_normalised: bool,
}

/// A selective state space with a decay for each head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mamba2Config {
    /// Channels.
    pub n_inner: usize,
    /// Elements of each channel's state.
    pub n_state: usize,
    /// Positions that the convolution sees.
    pub n_conv: usize,
    /// Heads into which the channels are divided.
    pub n_head: usize,
    /// Groups of heads that share the vectors by which the state is written and read.
    pub n_group: usize,
}

/// Linear attention with the gated delta rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaNetConfig {
    /// Elements of a query or key.
    pub head_len_k: usize,
    /// Elements of a value.
    pub head_len_v: usize,
    /// Heads with queries and keys.
    pub n_head_k: usize,
    /// Heads with values, and therefore with a state.
    pub n_head_v: usize,
    /// Which queries and keys belong to which values.
    pub key_heads: KeyHeads,
    /// The nonlinearity of the output gates.
    pub output_gate: OutputGate,
    /// Positions that the convolution sees.
    pub n_conv: usize,
}

/// A convolution over a few positions between two gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortConvolutionConfig {
    /// Channels.
    pub n_inner: usize,
    /// Positions that the convolution sees.
    pub n_conv: usize,
}

/// A selective state space with the structure of Mamba, but with a decay for each head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadMambaConfig {
    /// Channels.
    pub n_inner: usize,
    /// Elements of each channel's state.
    pub n_state: usize,
    /// Positions that the convolution sees.
    pub n_conv: usize,
    /// Heads into which the channels are divided.
    pub n_head: usize,
    /// Width to which step lengths are compressed.
    pub dt_rank: usize,
}

/// The gated delta rule with a decay for each channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KimiDeltaConfig {
    /// Heads.
    pub n_head: usize,
    /// Elements of a query, key or value.
    pub head_len: usize,
    /// Positions that the convolutions see.
    pub n_conv: usize,
    /// The range of the logarithms of decays.
    pub decay_range: DecayRange,
}

/// The logarithms of decays; `a` is a constant of the head, `f` depends on the token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DecayRange {
    /// Any below 0: `a · softplus(f)`.
    All,
    /// Any between a least one and 0: `least · sigmoid(sign · a · f)`.
    Above {
        /// Below 0.
        least: f32,
        /// 1, or -1 if `a` is below 0.
        sign: f32,
    },
}

/// Linear attention with a constant decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LightningConfig {
    /// Heads.
    pub n_head: usize,
    /// Elements of a query, key or value.
    pub head_len: usize,
}

/// The heads of RWKV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RwkvHeads {
    /// Channels, as many as the stream has.
    pub n_inner: usize,
    /// Channels of a head, the same for its keys and its values.
    pub head_len: usize,
    /// Heads with keys and values of their own; each serves neighbouring heads.
    pub n_head_kv: usize,
    /// The number of mixers of the layer that read tokens mixed with the ones before: 1 for this mixer alone, or 2.
    pub n_shift: usize,
}

/// RWKV's sixth generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rwkv6Config {
    /// Its heads.
    pub heads: RwkvHeads,
    /// Width to which the shares of the token before are compressed, for each of the five inputs.
    pub mix_rank: usize,
    /// Width to which decays are compressed.
    pub decay_rank: usize,
}

/// RWKV's seventh generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rwkv7Config {
    /// Its heads.
    pub heads: RwkvHeads,
    /// Width to which decays are compressed.
    pub decay_rank: usize,
    /// Width to which learning rates are compressed.
    pub rate_rank: usize,
    /// Width to which the shares of the first layer's values are compressed.
    pub value_rank: usize,
    /// Width to which gates are compressed; 0 in models without gates.
    pub gate_rank: usize,
}

const INNER: &str = "ssm.inner_size";
const STATE: &str = "ssm.state_size";
const CONV: &str = "ssm.conv_kernel";
const RANK: &str = "ssm.time_step_rank";
const GROUPS: &str = "ssm.group_count";

/// The row length of a state is a multiple of this, so that rows are whole vectors.
const ROW_MULTIPLE: usize = 8;

impl RecurrentConfig {
    pub(super) fn from_keys(
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
        kind: RecurrenceKind,
        n_embd: usize,
    ) -> Result<Self, ModelError> {
        Ok(match kind {
            RecurrenceKind::Mamba => RecurrentConfig::Mamba(MambaConfig {
                n_inner: keys.width(INNER)?,
                n_state: row(keys)?,
                n_conv: keys.width(CONV)?,
                dt_rank: keys.width(RANK)?,
                is_normalised: keys.optional_bool("ssm.dt_b_c_rms")?.unwrap_or(false),
            }),
            RecurrenceKind::Mamba2 => {
                let config = Mamba2Config {
                    n_inner: keys.width(INNER)?,
                    n_state: row(keys)?,
                    n_conv: keys.width(CONV)?,
                    n_head: divisor(keys, RANK, keys.width(INNER)?, "a divisor of ssm.inner_size")?,
                    n_group: divisor(keys, GROUPS, keys.width(RANK)?, "a divisor of ssm.time_step_rank")?,
                };
                RecurrentConfig::Mamba2(config)
            }
            RecurrenceKind::DeltaNet(key_heads, output_gate) => {
                let n_head_v = divisor(keys, RANK, keys.width(INNER)?, "a divisor of ssm.inner_size")?;
                RecurrentConfig::DeltaNet(DeltaNetConfig {
                    head_len_k: row(keys)?,
                    head_len_v: keys.width(INNER)? / n_head_v,
                    n_head_k: divisor(keys, GROUPS, n_head_v, "a divisor of ssm.time_step_rank")?,
                    n_head_v,
                    key_heads,
                    output_gate,
                    n_conv: keys.width(CONV)?,
                })
            }
            RecurrenceKind::ShortConvolution => RecurrentConfig::ShortConvolution(ShortConvolutionConfig {
                n_inner: n_embd,
                n_conv: keys.width("shortconv.l_cache")?,
            }),
            RecurrenceKind::HeadMamba if keys.optional_number(GROUPS)? != Some(0) => {
                return Err(keys.invalid(GROUPS, keys.width(GROUPS)?, "0 in this architecture"));
            }
            RecurrenceKind::HeadMamba => RecurrentConfig::HeadMamba(HeadMambaConfig {
                n_inner: keys.width(INNER)?,
                n_state: row(keys)?,
                n_conv: keys.width(CONV)?,
                n_head: divisor(keys, RANK, keys.width(INNER)?, "a divisor of ssm.inner_size")?,
                dt_rank: (n_embd / 16).max(64),
            }),
            RecurrenceKind::KimiDelta(decay) => RecurrentConfig::KimiDelta(KimiDeltaConfig {
                n_head: n_head(keys)?,
                head_len: row_of(keys, "kda.head_dim")?,
                n_conv: keys.width(CONV)?,
                decay_range: decay_range(keys, decay)?,
            }),
            RecurrenceKind::Lightning => {
                let n_head = n_head(keys)?;
                let head_len = match keys.optional_width("attention.key_length")? {
                    Some(_) => row_of(keys, "attention.key_length")?,
                    None => n_embd / n_head,
                };
                RecurrentConfig::Lightning(LightningConfig { n_head, head_len })
            }
            RecurrenceKind::Rwkv6 => RecurrentConfig::Rwkv6(Rwkv6Config {
                heads: RwkvHeads::from_keys(keys, architecture, n_embd)?,
                mix_rank: keys.width("time_mix_extra_dim")?,
                decay_rank: keys.width("time_decay_extra_dim")?,
            }),
            RecurrenceKind::Rwkv7 => RecurrentConfig::Rwkv7(Rwkv7Config {
                heads: RwkvHeads::from_keys(keys, architecture, n_embd)?.each_with_own(),
                decay_rank: keys.width("attention.decay_lora_rank")?,
                rate_rank: keys.width("attention.iclr_lora_rank")?,
                value_rank: keys.width("attention.value_residual_mix_lora_rank")?,
                gate_rank: keys.optional_number("attention.gate_lora_rank")?.unwrap_or(0),
            }),
        })
    }

    /// Channels of the convolution, or of the mix with the token before.
    pub fn n_channels(&self) -> usize {
        match self {
            RecurrentConfig::Mamba(config) => config.n_inner,
            RecurrentConfig::Mamba2(config) => config.n_channels(),
            RecurrentConfig::DeltaNet(config) => config.n_channels(),
            RecurrentConfig::ShortConvolution(config) => config.n_inner,
            RecurrentConfig::HeadMamba(config) => config.n_inner,
            RecurrentConfig::KimiDelta(config) => 3 * config.n_inner(),
            RecurrentConfig::Lightning(_) => 0,
            RecurrentConfig::Rwkv6(Rwkv6Config { heads, .. }) => heads.n_inner,
            RecurrentConfig::Rwkv7(Rwkv7Config { heads, .. }) => heads.n_inner,
        }
    }

    /// The shape of the state that it keeps for a text.
    pub fn shape(&self) -> RecurrentShape {
        let of_heads = |n_head: usize, n_rows, n_cols| n_head.saturating_mul(state_len(n_rows, n_cols));
        let (n_conv, n_state) = match self {
            RecurrentConfig::Mamba(config) => (config.n_conv, state_len(config.n_inner, config.n_state)),
            RecurrentConfig::Mamba2(config) => {
                (config.n_conv, of_heads(config.n_head, config.head_len(), config.n_state))
            }
            RecurrentConfig::DeltaNet(config) => {
                (config.n_conv, of_heads(config.n_head_v, config.head_len_v, config.head_len_k))
            }
            RecurrentConfig::ShortConvolution(config) => (config.n_conv, 0),
            RecurrentConfig::HeadMamba(config) => {
                (config.n_conv, of_heads(config.n_head, config.head_len(), config.n_state))
            }
            RecurrentConfig::KimiDelta(config) => {
                (config.n_conv, of_heads(config.n_head, config.head_len, config.head_len))
            }
            RecurrentConfig::Lightning(config) => {
                (1, of_heads(config.n_head, config.head_len, config.head_len))
            }
            RecurrentConfig::Rwkv6(Rwkv6Config { heads, .. })
            | RecurrentConfig::Rwkv7(Rwkv7Config { heads, .. }) => {
                (heads.n_shift + 1, of_heads(heads.n_head(), heads.head_len, heads.head_len))
            }
        };
        // Each of the numbers is small, but a product of four may overflow.
        RecurrentShape { n_history: (n_conv - 1).saturating_mul(self.n_channels()), n_state }
    }
}

impl Mamba2Config {
    /// Channels of the convolution: inputs, then the vectors by which the state is written, then those by which it is
    /// read.
    pub fn n_channels(&self) -> usize {
        self.n_inner + 2 * self.n_group * self.n_state
    }

    /// Channels of a head.
    pub fn head_len(&self) -> usize {
        self.n_inner / self.n_head
    }
}

impl DeltaNetConfig {
    /// Elements of all queries, or of all keys.
    pub fn n_key(&self) -> usize {
        self.n_head_k * self.head_len_k
    }

    /// Elements of all values.
    pub fn n_value(&self) -> usize {
        self.n_head_v * self.head_len_v
    }

    /// Channels of the convolution: queries, then keys, then values.
    pub fn n_channels(&self) -> usize {
        2 * self.n_key() + self.n_value()
    }

    /// The head whose query and key belong to the value of head `head`.
    pub fn key_head(&self, head: usize) -> usize {
        match self.key_heads {
            KeyHeads::Neighbours => head / (self.n_head_v / self.n_head_k),
            KeyHeads::Cyclic => head % self.n_head_k,
        }
    }
}

impl HeadMambaConfig {
    /// Channels of a head.
    pub fn head_len(&self) -> usize {
        self.n_inner / self.n_head
    }
}

impl KimiDeltaConfig {
    /// Elements of all queries, keys or values.
    pub fn n_inner(&self) -> usize {
        self.n_head.saturating_mul(self.head_len)
    }
}

/// The number of heads of the first layer, which recurrent layers use too.
fn n_head(keys: &Keys<'_, '_>) -> Result<usize, ModelError> {
    keys.layer_width("attention.head_count", 0, keys.width("block_count")?)
}

fn decay_range(keys: &Keys<'_, '_>, decay: KimiDecay) -> Result<DecayRange, ModelError> {
    const LEAST: &str = "kda.gate_lower_bound";
    Ok(match decay {
        KimiDecay::Softplus => DecayRange::All,
        KimiDecay::MaybeBounded => match keys.optional_below_zero(LEAST)? {
            Some(least) => DecayRange::Above { least, sign: -1.0 },
            None => DecayRange::All,
        },
        KimiDecay::Bounded => {
            if keys.optional_bool("kda.safe_gate")? == Some(false) {
                return Err(keys.unsupported("kda.safe_gate", "false", "true in this architecture"));
            }
            DecayRange::Above { least: keys.below_zero(LEAST)?, sign: 1.0 }
        }
    })
}

impl RwkvHeads {
    fn from_keys(
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
        n_embd: usize,
    ) -> Result<Self, ModelError> {
        const LEN: &str = "wkv.head_size";
        const KV: &str = "attention.head_count_kv";
        const SHIFTS: &str = "token_shift_count";
        let head_len = divisor(keys, LEN, n_embd, "a divisor of embedding_length")?;
        row_of(keys, LEN)?;
        let n_head = n_embd / head_len;
        let n_head_kv = match architecture.feed_forward {
            FeedForwardKind::ChannelMix => n_head,
            // 0 means as many as there are heads.
            _ => keys.optional_number(KV)?.filter(|&n_head_kv| n_head_kv > 0).unwrap_or(n_head),
        };
        if !n_head.is_multiple_of(n_head_kv) {
            return Err(keys.invalid(KV, n_head_kv, "a divisor of embedding_length / wkv.head_size"));
        }
        let (n_shift, expected) = match architecture.feed_forward {
            FeedForwardKind::ChannelMix => (2, "2"),
            _ => (1, "1"),
        };
        match keys.optional_number(SHIFTS)? {
            Some(count) if count != n_shift => Err(keys.invalid(SHIFTS, count, expected)),
            _ => Ok(RwkvHeads { n_inner: n_embd, head_len, n_head_kv, n_shift }),
        }
    }

    /// The same, with keys and values of its own for each head.
    fn each_with_own(self) -> Self {
        RwkvHeads { n_head_kv: self.n_head(), ..self }
    }

    /// Heads, each with a state.
    pub fn n_head(&self) -> usize {
        self.n_inner / self.head_len
    }
}

/// The length of a row of the state.
fn row(keys: &Keys<'_, '_>) -> Result<usize, ModelError> {
    row_of(keys, STATE)
}

/// The length of a row of the state, by this key.
fn row_of(keys: &Keys<'_, '_>, suffix: &str) -> Result<usize, ModelError> {
    match keys.width(suffix)? {
        len if len.is_multiple_of(ROW_MULTIPLE) => Ok(len),
        len => Err(keys.invalid(suffix, len, "a multiple of 8")),
    }
}

/// A number that divides another.
fn divisor(
    keys: &Keys<'_, '_>,
    suffix: &str,
    whole: usize,
    expected: &'static str,
) -> Result<usize, ModelError> {
    match keys.width(suffix)? {
        number if whole.is_multiple_of(number) => Ok(number),
        number => Err(keys.invalid(suffix, number, expected)),
    }
}
