//! The hyper-parameters of recurrent sequence mixers.

use super::architecture::{KeyHeads, RecurrenceKind};
use super::error::ModelError;
use super::keys::Keys;
use crate::recurrent_state::RecurrentShape;
use crate::simd::state_len;

/// A recurrent sequence mixer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecurrentConfig {
    /// A selective state space with a decay for each element of its state.
    Mamba(MambaConfig),
    /// A selective state space with a decay for each head.
    Mamba2(Mamba2Config),
    /// Linear attention that corrects what it has stored.
    DeltaNet(DeltaNetConfig),
    /// A convolution over a few positions between two gates.
    ShortConvolution(ShortConvolutionConfig),
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
    /// Width that the lengths of steps are compressed to.
    pub dt_rank: usize,
    /// Whether step lengths, inputs and outputs of the state are normalised, without weights where the file has none.
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
    /// Heads that the channels are divided into.
    pub n_head: usize,
    /// Groups of heads that share what the state is written and read by.
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
    /// Heads with values, and so with a state.
    pub n_head_v: usize,
    /// Which queries and keys go with which values.
    pub key_heads: KeyHeads,
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

const INNER: &str = "ssm.inner_size";
const STATE: &str = "ssm.state_size";
const CONV: &str = "ssm.conv_kernel";
const RANK: &str = "ssm.time_step_rank";
const GROUPS: &str = "ssm.group_count";

/// Rows of a state are whole vectors.
const ROW_MULTIPLE: usize = 8;

impl RecurrentConfig {
    pub(super) fn from_keys(
        keys: &Keys<'_, '_>,
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
            RecurrenceKind::DeltaNet(key_heads) => {
                let n_head_v = divisor(keys, RANK, keys.width(INNER)?, "a divisor of ssm.inner_size")?;
                RecurrentConfig::DeltaNet(DeltaNetConfig {
                    head_len_k: row(keys)?,
                    head_len_v: keys.width(INNER)? / n_head_v,
                    n_head_k: divisor(keys, GROUPS, n_head_v, "a divisor of ssm.time_step_rank")?,
                    n_head_v,
                    key_heads,
                    n_conv: keys.width(CONV)?,
                })
            }
            RecurrenceKind::ShortConvolution => RecurrentConfig::ShortConvolution(ShortConvolutionConfig {
                n_inner: n_embd,
                n_conv: keys.width("shortconv.l_cache")?,
            }),
        })
    }

    /// Channels that the convolution runs over.
    pub fn n_channels(&self) -> usize {
        match self {
            RecurrentConfig::Mamba(config) => config.n_inner,
            RecurrentConfig::Mamba2(config) => config.n_channels(),
            RecurrentConfig::DeltaNet(config) => config.n_channels(),
            RecurrentConfig::ShortConvolution(config) => config.n_inner,
        }
    }

    /// What it keeps of a text.
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
        };
        // Each of the numbers is small, but a product of four need not fit.
        RecurrentShape { n_history: (n_conv - 1).saturating_mul(self.n_channels()), n_state }
    }
}

impl Mamba2Config {
    /// Channels that the convolution runs over: inputs, then what the state is written by, then what it is read by.
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

    /// Channels that the convolution runs over: queries, then keys, then values.
    pub fn n_channels(&self) -> usize {
        2 * self.n_key() + self.n_value()
    }

    /// The head whose query and key go with the value of head `head`.
    pub fn key_head(&self, head: usize) -> usize {
        match self.key_heads {
            KeyHeads::Neighbours => head / (self.n_head_v / self.n_head_k),
            KeyHeads::Cyclic => head % self.n_head_k,
        }
    }
}

/// The length of a row of the state.
fn row(keys: &Keys<'_, '_>) -> Result<usize, ModelError> {
    match keys.width(STATE)? {
        len if len.is_multiple_of(ROW_MULTIPLE) => Ok(len),
        len => Err(keys.invalid(STATE, len, "a multiple of 8")),
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
