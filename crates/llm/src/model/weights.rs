//! A model's tensors, borrowed from the file and checked against its hyper-parameters.
//!
//! [`Weights`] can only be made whole: every tensor that the family requires is there with its right
//! shape, and no tensor is left over. Fused tensors are taken apart here, so that the forward pass
//! knows one form only.

use alloc::vec::Vec;

use zerocopy::FromBytes;

use super::architecture::{NormKind, Positions};
use super::config::Config;
use super::error::ModelError;
use crate::gguf::{Gguf, Name, TensorInfo};
use crate::quant::{GgmlType, Matrix};

/// All tensors of a model.
#[derive(Debug)]
pub struct Weights<'a> {
    /// One row of `n_embd` per token.
    pub token_embd: Matrix<'a>,
    /// One row of `n_embd` per position, in families with learned positions.
    pub position_embd: Option<Matrix<'a>>,
    /// The layers, first to last.
    pub layers: Vec<Layer<'a>>,
    /// The normalisation before the output matrix.
    pub output_norm: Norm<'a>,
    /// `[n_vocab × n_embd]`: the output matrix; the embedding again where the file has none.
    pub output: Linear<'a>,
    /// What the rotary frequencies are divided by, `[n_rot / 2]`.
    pub rope_factors: Option<&'a [f32]>,
}

/// One layer: attention, then the feed-forward block, each after its normalisation.
#[derive(Debug)]
pub struct Layer<'a> {
    /// Before attention.
    pub attn_norm: Norm<'a>,
    /// `[n_head · head_len_k × n_embd]`
    pub wq: Linear<'a>,
    /// `[n_head_kv · head_len_k × n_embd]`
    pub wk: Linear<'a>,
    /// `[n_head_kv · head_len_v × n_embd]`
    pub wv: Linear<'a>,
    /// `[n_embd × n_head · head_len_v]`
    pub wo: Linear<'a>,
    /// Before the feed-forward block.
    pub ffn_norm: Norm<'a>,
    /// `[n_ff × n_embd]`, in families with a gated block.
    pub ffn_gate: Option<Linear<'a>>,
    /// `[n_ff × n_embd]`
    pub ffn_up: Linear<'a>,
    /// `[n_embd × n_ff]`
    pub ffn_down: Linear<'a>,
}

/// An affine map: `W x + b`.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// `W`, one row per output.
    pub weight: Matrix<'a>,
    /// `b`, one element per output.
    pub bias: Option<&'a [f32]>,
}

/// The learned part of a normalisation, `[n_embd]` each.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// Multiplied with.
    pub weight: &'a [f32],
    /// Added.
    pub bias: Option<&'a [f32]>,
}

/// Tensors of older files that repeat what the hyper-parameters say.
const REDUNDANT: [&str; 1] = [".attn_rot_embd"];

impl<'a> Weights<'a> {
    pub(super) fn load(gguf: &Gguf<'a>, config: &Config) -> Result<Self, ModelError> {
        let mut tensors = Tensors::new(gguf, config)?;
        let token_embd = tensors.matrix(&Name::from("token_embd.weight"), config.n_vocab, config.n_embd)?;
        let position_embd = match config.architecture.positions {
            Positions::Learned => Some(tensors.matrix(
                &Name::from("position_embd.weight"),
                config.n_ctx_train,
                config.n_embd,
            )?),
            Positions::Rope(_) => None,
        };
        let mut layers = Vec::new();
        layers
            .try_reserve_exact(config.n_layer)
            .map_err(|_| ModelError::OutOfHeap { needed_bytes: config.n_layer * size_of::<Layer<'_>>() })?;
        for index in 0..config.n_layer {
            layers.push(tensors.layer(index)?);
        }
        let output =
            match tensors.optional_matrix(&Name::from("output.weight"), config.n_vocab, config.n_embd)? {
                Some(weight) => weight,
                None => token_embd,
            };
        let n_pairs = config.rope.as_ref().map_or(0, |rope| rope.n_rot / 2);
        let weights = Weights {
            token_embd,
            position_embd,
            layers,
            output_norm: tensors.norm("output_norm")?,
            output: Linear {
                weight: output,
                bias: tensors.optional_vector(&Name::from("output.bias"), config.n_vocab)?,
            },
            rope_factors: tensors.optional_vector(&Name::from("rope_freqs.weight"), n_pairs)?,
        };
        tensors.all_taken()?;
        Ok(weights)
    }
}

/// The tensors of a file, and which of them have been taken.
struct Tensors<'g, 'a> {
    gguf: &'g Gguf<'a>,
    config: &'g Config,
    taken: Vec<bool>,
}

impl<'g, 'a> Tensors<'g, 'a> {
    fn new(gguf: &'g Gguf<'a>, config: &'g Config) -> Result<Self, ModelError> {
        let n_tensors = gguf.tensors().len();
        let mut taken = Vec::new();
        taken.try_reserve_exact(n_tensors).map_err(|_| ModelError::OutOfHeap { needed_bytes: n_tensors })?;
        taken.resize(n_tensors, false);
        Ok(Tensors { gguf, config, taken })
    }

    fn layer(&mut self, index: usize) -> Result<Layer<'a>, ModelError> {
        let Config { n_embd, n_ff, n_head, n_head_kv, head_len_k, head_len_v, .. } = *self.config;
        let name = |part: &str| Name::format(format_args!("blk.{index}.{part}"));
        let (wq, wk, wv) = self.qkv(&name)?;
        debug_assert_eq!(
            (wq.weight.n_rows(), wk.weight.n_rows(), wv.weight.n_rows()),
            (n_head * head_len_k, n_head_kv * head_len_k, n_head_kv * head_len_v)
        );
        Ok(Layer {
            attn_norm: self.norm(name("attn_norm").as_str())?,
            wq,
            wk,
            wv,
            wo: self.linear(&name("attn_output"), n_embd, n_head * head_len_v)?,
            ffn_norm: self.norm(name("ffn_norm").as_str())?,
            ffn_gate: match self.config.architecture.gated {
                true => Some(self.linear(&name("ffn_gate"), n_ff, n_embd)?),
                false => None,
            },
            ffn_up: self.linear(&name("ffn_up"), n_ff, n_embd)?,
            ffn_down: self.linear(&name("ffn_down"), n_embd, n_ff)?,
        })
    }

    /// The projections to queries, keys and values: three tensors, or one with their rows in turn.
    fn qkv(
        &mut self,
        name: &dyn Fn(&str) -> Name,
    ) -> Result<(Linear<'a>, Linear<'a>, Linear<'a>), ModelError> {
        let Config { n_embd, n_head, n_head_kv, head_len_k, head_len_v, .. } = *self.config;
        let (n_q, n_k, n_v) = (n_head * head_len_k, n_head_kv * head_len_k, n_head_kv * head_len_v);
        if self.gguf.tensor(name("attn_qkv.weight").as_str()).is_some() {
            let qkv = self.linear(&name("attn_qkv"), n_q + n_k + n_v, n_embd)?;
            let part = |from: usize, to: usize| Linear {
                weight: qkv.weight.rows(from..to),
                bias: qkv.bias.map(|bias| &bias[from..to]),
            };
            return Ok((part(0, n_q), part(n_q, n_q + n_k), part(n_q + n_k, n_q + n_k + n_v)));
        }
        Ok((
            self.linear(&name("attn_q"), n_q, n_embd)?,
            self.linear(&name("attn_k"), n_k, n_embd)?,
            self.linear(&name("attn_v"), n_v, n_embd)?,
        ))
    }

    /// `<name>.weight`, and `<name>.bias` where there is one.
    fn linear(&mut self, name: &Name, rows: usize, cols: usize) -> Result<Linear<'a>, ModelError> {
        Ok(Linear {
            weight: self.matrix(&Name::format(format_args!("{name}.weight")), rows, cols)?,
            bias: self.optional_vector(&Name::format(format_args!("{name}.bias")), rows)?,
        })
    }

    /// `<name>.weight` with, for a LayerNorm, `<name>.bias`.
    fn norm(&mut self, name: &str) -> Result<Norm<'a>, ModelError> {
        let n_embd = self.config.n_embd;
        let bias = Name::format(format_args!("{name}.bias"));
        Ok(Norm {
            weight: self.vector(&Name::format(format_args!("{name}.weight")), n_embd)?,
            bias: match self.config.architecture.norm {
                NormKind::Layer => Some(self.vector(&bias, n_embd)?),
                NormKind::Rms => None,
            },
        })
    }

    fn matrix(&mut self, name: &Name, rows: usize, cols: usize) -> Result<Matrix<'a>, ModelError> {
        self.optional_matrix(name, rows, cols)?.ok_or(ModelError::MissingTensor(*name))
    }

    fn optional_matrix(
        &mut self,
        name: &Name,
        rows: usize,
        cols: usize,
    ) -> Result<Option<Matrix<'a>>, ModelError> {
        let Some(tensor) = self.take(name, [cols as u64, rows as u64, 1, 1])? else { return Ok(None) };
        let data = self.gguf.tensor_data(tensor)?;
        match Matrix::new(tensor.ty, rows, cols, data) {
            Ok(matrix) => Ok(Some(matrix)),
            Err(_) => Err(ModelError::UnsupportedType {
                tensor: *name,
                ty: tensor.ty,
                supported: "a type that this engine multiplies with",
            }),
        }
    }

    fn vector(&mut self, name: &Name, len: usize) -> Result<&'a [f32], ModelError> {
        self.optional_vector(name, len)?.ok_or(ModelError::MissingTensor(*name))
    }

    fn optional_vector(&mut self, name: &Name, len: usize) -> Result<Option<&'a [f32]>, ModelError> {
        let Some(tensor) = self.take(name, [len as u64, 1, 1, 1])? else { return Ok(None) };
        let unsupported = ModelError::UnsupportedType {
            tensor: *name,
            ty: tensor.ty,
            supported: "F32 at an offset that is a multiple of 4",
        };
        if tensor.ty != GgmlType::F32 {
            return Err(unsupported);
        }
        match <[f32]>::ref_from_bytes(self.gguf.tensor_data(tensor)?) {
            Ok(vector) => Ok(Some(vector)),
            Err(_) => Err(unsupported),
        }
    }

    /// Marks a tensor as taken, if it is there and has these dimensions.
    fn take(&mut self, name: &Name, expected: [u64; 4]) -> Result<Option<&'g TensorInfo<'a>>, ModelError> {
        let Some(index) = self.gguf.tensor_index(name.as_str()) else { return Ok(None) };
        let tensor = &self.gguf.tensors()[index];
        if tensor.dims != expected {
            return Err(ModelError::WrongShape { tensor: *name, dims: tensor.dims, expected });
        }
        self.taken[index] = true;
        Ok(Some(tensor))
    }

    fn all_taken(&self) -> Result<(), ModelError> {
        let is_redundant = |name: &str| REDUNDANT.iter().any(|part| name.contains(part));
        let left_over = self
            .gguf
            .tensors()
            .iter()
            .zip(&self.taken)
            .find(|(tensor, taken)| !**taken && !is_redundant(tensor.name));
        match left_over {
            Some((tensor, _)) => Err(ModelError::UnknownTensor(Name::from(tensor.name))),
            None => Ok(()),
        }
    }
}
