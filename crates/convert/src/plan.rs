//! Which tensor of a checkpoint becomes which tensor of the GGUF file.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use llm::quant::GgmlType;

use super::awq::{AwqFormat, AwqMatrix};
use super::checkpoint::{Checkpoint, Floats};
use super::{Fallbacks, MatrixTypes, ModelConfig, ModelShape, RowOrder, TypeChooser};

/// A tensor to be written.
#[derive(Debug)]
pub struct OutputTensor<'c> {
    pub name: String,
    pub ty: GgmlType,
    pub rows: usize,
    pub cols: usize,
    pub order: RowOrder,
    pub source: Source<'c>,
    /// Whether it has one dimension.
    is_vector: bool,
}

/// Where the values come from.
#[derive(Debug)]
pub enum Source<'c> {
    /// A plain tensor.
    Floats(Floats<'c>),
    /// A quantised matrix.
    Awq(AwqMatrix<'c>),
    /// Computed.
    Values(Vec<f32>),
}

impl OutputTensor<'_> {
    /// In ggml's order.
    pub fn dims(&self) -> Vec<u64> {
        if self.is_vector { vec![self.cols as u64] } else { vec![self.cols as u64, self.rows as u64] }
    }
}

/// Tensors that repeat what the hyper-parameters say.
const REDUNDANT: &str = ".rotary_emb.inv_freq";

/// Lists the tensors of the file in its order.
///
/// # Errors
///
/// When a tensor is missing, has another shape than the hyper-parameters say, or has no place.
pub fn plan<'c>(
    config: &ModelConfig,
    checkpoint: &'c Checkpoint<'c>,
    awq: Option<AwqFormat>,
) -> Result<Vec<OutputTensor<'c>>> {
    let mut planner = Planner { checkpoint, awq, tensors: Vec::new(), taken: BTreeSet::new() };
    let [n_embd, n_ff, n_vocab, head_len] =
        [config.hidden_size, config.intermediate_size, config.vocab_size, config.head_dim()]
            .map(|n| n as usize);
    let n_q = config.num_attention_heads as usize * head_len;
    let n_kv = config.num_key_value_heads() as usize * head_len;
    let turned = match config.turns_neighbours() {
        true => RowOrder::Interleaved { head_len },
        false => RowOrder::Same,
    };

    planner.float_matrix("token_embd", "model.embed_tokens", [n_vocab, n_embd])?;
    for layer in 0..config.num_hidden_layers {
        let to = |part: &str| format!("blk.{layer}.{part}");
        let from = |part: &str| format!("model.layers.{layer}.{part}");
        planner.vector(&to("attn_norm.weight"), &from("input_layernorm.weight"), n_embd, RowOrder::Same)?;
        for (to_part, from_part, rows, order) in [
            ("attn_q", "q_proj", n_q, turned),
            ("attn_k", "k_proj", n_kv, turned),
            ("attn_v", "v_proj", n_kv, RowOrder::Same),
        ] {
            planner.matrix(&to(to_part), &from(&format!("self_attn.{from_part}")), [rows, n_embd], order)?;
        }
        planner.matrix(&to("attn_output"), &from("self_attn.o_proj"), [n_embd, n_q], RowOrder::Same)?;
        planner.vector(
            &to("ffn_norm.weight"),
            &from("post_attention_layernorm.weight"),
            n_embd,
            RowOrder::Same,
        )?;
        planner.matrix(&to("ffn_gate"), &from("mlp.gate_proj"), [n_ff, n_embd], RowOrder::Same)?;
        planner.matrix(&to("ffn_up"), &from("mlp.up_proj"), [n_ff, n_embd], RowOrder::Same)?;
        planner.matrix(&to("ffn_down"), &from("mlp.down_proj"), [n_embd, n_ff], RowOrder::Same)?;
    }
    // Only now, since as many of them are made as the heads that were found say; they stand before the layers.
    if let Some(factors) = config.rope_factors()? {
        let tensor = OutputTensor {
            name: "rope_freqs.weight".to_owned(),
            ty: GgmlType::F32,
            rows: 1,
            cols: factors.len(),
            order: RowOrder::Same,
            source: Source::Values(factors),
            is_vector: true,
        };
        planner.tensors.insert(1, tensor);
    }
    planner.vector("output_norm.weight", "model.norm.weight", n_embd, RowOrder::Same)?;
    if config.tie_word_embeddings {
        // Some writers store the tied matrix twice.
        planner.taken.insert("lm_head.weight".to_owned());
    } else {
        planner.float_matrix("output", "lm_head", [n_vocab, n_embd])?;
    }
    planner.finish()
}

/// Gives the matrices, which are in F16 so far, the types that were asked for.
pub fn choose_types(config: &ModelConfig, tensors: &mut [OutputTensor<'_>], types: MatrixTypes) -> Fallbacks {
    let shape = ModelShape {
        architecture: config.architecture(),
        n_layer: config.num_hidden_layers,
        n_head: config.num_attention_heads,
        n_head_kv: config.num_key_value_heads(),
        n_expert: 0,
    };
    let matrices = tensors.iter().filter(|tensor| !tensor.is_vector).map(|tensor| tensor.name.as_str());
    let mut chooser = TypeChooser::new(types, shape, matrices);
    for tensor in tensors.iter_mut().filter(|tensor| !tensor.is_vector) {
        tensor.ty = chooser.choose(&tensor.name, tensor.cols);
    }
    chooser.fallbacks()
}

struct Planner<'c> {
    checkpoint: &'c Checkpoint<'c>,
    awq: Option<AwqFormat>,
    tensors: Vec<OutputTensor<'c>>,
    taken: BTreeSet<String>,
}

impl<'c> Planner<'c> {
    /// `<from>.weight`, and `<from>.bias` where there is one; or what AutoAWQ made of the weight.
    fn matrix(&mut self, to: &str, from: &str, shape: [usize; 2], order: RowOrder) -> Result<()> {
        match self.awq {
            Some(format) if self.checkpoint.has(&format!("{from}.qweight")) => {
                let matrix = AwqMatrix::open(self.checkpoint, from, format)?;
                check_shape(from, matrix.shape(), shape)?;
                self.taken.extend(["qweight", "qzeros", "scales"].map(|part| format!("{from}.{part}")));
                self.tensors.push(OutputTensor {
                    name: format!("{to}.weight"),
                    ty: GgmlType::Q4_1,
                    rows: shape[0],
                    cols: shape[1],
                    order,
                    source: Source::Awq(matrix),
                    is_vector: false,
                });
            }
            _ => self.ordered_float_matrix(to, from, shape, order)?,
        }
        let bias = format!("{from}.bias");
        if self.checkpoint.has(&bias) {
            self.vector(&format!("{to}.bias"), &bias, shape[0], order)
        } else {
            Ok(())
        }
    }

    fn float_matrix(&mut self, to: &str, from: &str, shape: [usize; 2]) -> Result<()> {
        self.ordered_float_matrix(to, from, shape, RowOrder::Same)
    }

    fn ordered_float_matrix(
        &mut self,
        to: &str,
        from: &str,
        shape: [usize; 2],
        order: RowOrder,
    ) -> Result<()> {
        let from = format!("{from}.weight");
        let floats = self.checkpoint.floats(&from)?;
        check_shape(&from, floats.shape, shape)?;
        self.push_floats(format!("{to}.weight"), from, GgmlType::F16, shape, order, floats, false);
        Ok(())
    }

    fn vector(&mut self, to: &str, from: &str, len: usize, order: RowOrder) -> Result<()> {
        let floats = self.checkpoint.floats(from)?;
        check_shape(from, floats.shape, [1, len])?;
        if order == RowOrder::Same {
            self.push_floats(to.to_owned(), from.to_owned(), GgmlType::F32, [1, len], order, floats, true);
        } else {
            let values = (0..len).map(|index| floats.at(0, order.source_row(index))).collect();
            self.taken.insert(from.to_owned());
            self.tensors.push(OutputTensor {
                name: to.to_owned(),
                ty: GgmlType::F32,
                rows: 1,
                cols: len,
                order: RowOrder::Same,
                source: Source::Values(values),
                is_vector: true,
            });
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one tensor")]
    fn push_floats(
        &mut self,
        name: String,
        from: String,
        ty: GgmlType,
        [rows, cols]: [usize; 2],
        order: RowOrder,
        floats: Floats<'c>,
        is_vector: bool,
    ) {
        self.taken.insert(from);
        self.tensors.push(OutputTensor {
            name,
            ty,
            rows,
            cols,
            order,
            source: Source::Floats(floats),
            is_vector,
        });
    }

    fn finish(self) -> Result<Vec<OutputTensor<'c>>> {
        let left_over =
            self.checkpoint.names().find(|name| !self.taken.contains(*name) && !name.ends_with(REDUNDANT));
        match left_over {
            Some(name) => bail!("tensor {name} has no place in this family"),
            None => Ok(self.tensors),
        }
    }
}

fn check_shape(name: &str, shape: [usize; 2], expected: [usize; 2]) -> Result<()> {
    if shape != expected {
        bail!("tensor {name} has shape {shape:?}, config.json says {expected:?}");
    }
    Ok(())
}
