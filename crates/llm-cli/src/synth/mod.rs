//! Models with random weights, for measuring speed and memory without a download.
//!
//! [`Shape`] gives the size, [`Vocabulary`] invents the tokens, and [`WeightPool`] the weights; [`write_model`] writes them into
//! a GGUF file. The same shape and types always give the same file.

mod recurrent;
mod shape;
mod vocabulary;
mod weights;

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result};
use convert::{Fallbacks, MatrixTypes, ModelShape, TypeChooser};
use llm::gguf::{GgufError, GgufWriter};
use llm::quant::GgmlType;
use oorandom::Rand32;

pub use shape::{SYNTAX, Shape};

use shape::Architecture;
use vocabulary::Vocabulary;
use weights::{WeightPool, normal};

const SEED: u64 = 0x5eed;

/// Writes a model of this shape, with its matrices in these types. Returns which matrices got another type than the mixture's.
///
/// # Errors
///
/// If the widths are not multiples of the block length of the type that all matrices are to have, or if the output fails.
pub fn write_model(shape: &Shape, types: MatrixTypes, mut output: impl Write) -> Result<Fallbacks> {
    let mut writer = GgufWriter::new();
    describe(&mut writer, shape, types.file_type())?;
    describe_vocabulary(&mut writer, shape)?;
    let tensors = tensors(shape);
    let (tensor_types, fallbacks) = tensor_types(&tensors, shape, types);
    for (tensor, &ty) in tensors.iter().zip(&tensor_types) {
        writer.declare_tensor(&tensor.name, ty, &tensor.dims)?;
    }

    let mut random = Rand32::new(SEED);
    let mut pools = BTreeMap::new();
    let mut row = Vec::new();
    let mut data = writer.write_header(|bytes: &[u8]| output.write_all(bytes)).context("cannot write")?;
    for (tensor, ty) in tensors.iter().zip(tensor_types) {
        let (width, rows) = (tensor.dims[0], tensor.dims.get(1).copied().unwrap_or(1));
        let row_bytes = ty.row_bytes(width as usize).context("a row exceeds the address space")?;
        row.resize(row_bytes, 0);
        for _ in 0..rows {
            match tensor.content {
                Content::Matrix => {
                    let deviation = 1.0 / (width as f32).sqrt();
                    let pool = pools.entry((width, ty.name()));
                    let pool = pool.or_insert_with(|| WeightPool::new(ty, deviation, &mut random));
                    pool.fill_row(&mut row, &mut random);
                }
                Content::Around(mean) => {
                    for weight in row.chunks_exact_mut(4) {
                        weight.copy_from_slice(&(mean + 0.02 * normal(&mut random)).to_le_bytes());
                    }
                }
            }
            data.write(&row).context("cannot write")?;
        }
    }
    data.finish::<io::Error>()?;
    output.flush().context("cannot write")?;
    Ok(fallbacks)
}

/// The type of each tensor.
fn tensor_types(tensors: &[Tensor], shape: &Shape, types: MatrixTypes) -> (Vec<GgmlType>, Fallbacks) {
    let model = ModelShape {
        architecture: shape.architecture.name(),
        n_layer: shape.n_layer,
        n_head: shape.n_head,
        n_head_kv: shape.n_head_kv,
        n_expert: 0,
    };
    let is_matrix = |tensor: &&Tensor| matches!(tensor.content, Content::Matrix);
    let matrices = tensors.iter().filter(is_matrix).map(|tensor| tensor.name.as_str());
    let mut chooser = TypeChooser::new(types, model, matrices);
    let types = tensors.iter().map(|tensor| match (&tensor.content, types) {
        (Content::Around(_), _) => GgmlType::F32,
        // Somebody who measures one type wants only that type.
        (Content::Matrix, MatrixTypes::All(ty)) => ty,
        (Content::Matrix, MatrixTypes::Mixture(_)) => {
            chooser.choose(&tensor.name, tensor.dims[0] as usize, 1)
        }
    });
    (types.collect(), chooser.fallbacks())
}

fn describe(writer: &mut GgufWriter, shape: &Shape, file_type: u32) -> Result<(), GgufError> {
    let architecture = shape.architecture.name();
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    writer.put_str("general.architecture", architecture)?;
    writer.put_str("general.name", &shape.name)?;
    writer.put_str("general.description", "random weights: for measuring, not for reading")?;
    writer.put_u32("general.file_type", file_type)?;
    writer.put_u32("general.quantization_version", 2)?;
    writer.put_u32(&key("vocab_size"), shape.n_vocab)?;
    writer.put_u32(&key("context_length"), shape.n_ctx)?;
    writer.put_u32(&key("embedding_length"), shape.n_embd)?;
    writer.put_u32(&key("block_count"), shape.n_layer)?;
    writer.put_u32(&key("feed_forward_length"), shape.n_ff)?;
    writer.put_u32(&key("attention.head_count"), shape.n_head)?;
    match shape.recurrent {
        Some(recurrent) => recurrent::describe(writer, shape, recurrent)?,
        None => writer.put_u32(&key("attention.head_count_kv"), shape.n_head_kv)?,
    }
    if shape.architecture == Architecture::Gpt2 {
        writer.put_f32(&key("attention.layer_norm_epsilon"), shape.norm_eps)
    } else {
        writer.put_f32(&key("attention.layer_norm_rms_epsilon"), shape.norm_eps)?;
        if shape.architecture != Architecture::Qwen35 {
            writer.put_u32(&key("rope.dimension_count"), shape.head_len())?;
        }
        writer.put_f32(&key("rope.freq_base"), shape.rope_freq_base)
    }
}

fn describe_vocabulary(writer: &mut GgufWriter, shape: &Shape) -> Result<(), GgufError> {
    let n_vocab = shape.n_vocab as usize;
    let vocabulary = match shape.architecture {
        Architecture::Llama => Vocabulary::sentencepiece(n_vocab),
        Architecture::Gpt2 => Vocabulary::byte_level_bpe(n_vocab, "gpt-2"),
        Architecture::Qwen2 | Architecture::Qwen35 => Vocabulary::byte_level_bpe(n_vocab, "qwen2"),
        Architecture::Mamba2 | Architecture::Lfm2 | Architecture::GraniteHybrid => {
            Vocabulary::byte_level_bpe(n_vocab, "gpt-2")
        }
    };
    writer.put_str("tokenizer.ggml.model", vocabulary.kind)?;
    if let Some(pre) = vocabulary.pre {
        writer.put_str("tokenizer.ggml.pre", pre)?;
    }
    writer.put_strings("tokenizer.ggml.tokens", vocabulary.tokens.iter())?;
    writer.put_i32s("tokenizer.ggml.token_type", &vocabulary.token_types)?;
    if let Some(scores) = &vocabulary.scores {
        writer.put_f32s("tokenizer.ggml.scores", scores)?;
    }
    if let Some(merges) = &vocabulary.merges {
        writer.put_strings("tokenizer.ggml.merges", merges.iter())?;
    }
    if let Some(bos_id) = vocabulary.bos_id {
        writer.put_u32("tokenizer.ggml.bos_token_id", bos_id)?;
    }
    if let Some(unknown_id) = vocabulary.unknown_id {
        writer.put_u32("tokenizer.ggml.unknown_token_id", unknown_id)?;
    }
    writer.put_u32("tokenizer.ggml.eos_token_id", vocabulary.eos_id)?;
    writer.put_bool("tokenizer.ggml.add_bos_token", vocabulary.bos_id.is_some())
}

/// A tensor of the file.
struct Tensor {
    name: String,
    /// In ggml's order: row length, then number of rows.
    dims: Vec<u64>,
    content: Content,
}

enum Content {
    /// Weights of a matrix product, scaled so that its output is as large as its input.
    Matrix,
    /// F32 values close to this one: norms, biases, positions.
    Around(f32),
}

/// All tensors of a shape, by llama.cpp's names.
fn tensors(shape: &Shape) -> Vec<Tensor> {
    let [n_embd, n_embd_kv, n_ff] = [shape.n_embd, shape.n_embd_kv(), shape.n_ff].map(u64::from);
    let [n_vocab, n_ctx] = [shape.n_vocab, shape.n_ctx].map(u64::from);
    let is_gpt2 = shape.architecture == Architecture::Gpt2;

    let mut tensors = TensorList::default();
    tensors.matrix("token_embd", n_embd, n_vocab);
    if is_gpt2 {
        tensors.vectors("position_embd.weight", &[n_embd, n_ctx], 0.0);
    }
    for layer in 0..shape.n_layer {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let recurrent = shape.recurrent_at(layer);
        if let Some(recurrent) = recurrent {
            recurrent::tensors(&mut tensors, shape, recurrent, layer);
        }
        let n_q = u64::from(shape.n_head * shape.head_len());
        let n_gates = if shape.architecture == Architecture::Qwen35 { n_q } else { 0 };
        let attention = [
            ("attn_q", n_embd, n_q + n_gates),
            ("attn_k", n_embd, n_embd_kv),
            ("attn_v", n_embd, n_embd_kv),
            ("attn_output", n_q, n_embd),
        ];
        let feed_forward = [("ffn_gate", n_embd, n_ff), ("ffn_up", n_embd, n_ff), ("ffn_down", n_ff, n_embd)];
        let gpt2 = [
            ("attn_qkv", n_embd, 3 * n_embd),
            ("attn_output", n_embd, n_embd),
            ("ffn_up", n_embd, n_ff),
            ("ffn_down", n_ff, n_embd),
        ];
        let linears: &[&[(&str, u64, u64)]] = match (shape.architecture, recurrent) {
            (Architecture::Gpt2, _) => &[&gpt2],
            (Architecture::Mamba2, _) => &[],
            (_, Some(_)) => &[&feed_forward],
            (_, None) => &[&attention, &feed_forward],
        };
        let linears = linears.iter().copied().flatten();
        let norms: &[&str] = match shape.architecture {
            Architecture::Mamba2 => &["attn_norm"],
            Architecture::Qwen35 => &["attn_norm", "post_attention_norm"],
            _ => &["attn_norm", "ffn_norm"],
        };
        let has_head_norms = matches!(shape.architecture, Architecture::Qwen35 | Architecture::Lfm2);
        if has_head_norms && recurrent.is_none() {
            for norm in ["attn_q_norm.weight", "attn_k_norm.weight"] {
                tensors.vectors(&name(norm), &[shape.head_len().into()], 1.0);
            }
        }
        for norm in norms {
            tensors.norm(&name(norm), n_embd, is_gpt2);
        }
        for &(part, width, rows) in linears {
            tensors.matrix(&name(part), width, rows);
            let has_bias = match shape.architecture {
                Architecture::Gpt2 => true,
                Architecture::Qwen2 => ["attn_q", "attn_k", "attn_v"].contains(&part),
                _ => false,
            };
            if has_bias {
                tensors.vectors(&format!("{}.bias", name(part)), &[rows], 0.0);
            }
        }
    }
    let output_norm = match shape.architecture {
        Architecture::Lfm2 => "token_embd_norm",
        _ => "output_norm",
    };
    tensors.norm(output_norm, n_embd, is_gpt2);
    if !shape.tied {
        tensors.matrix("output", n_embd, n_vocab);
    }
    tensors.0
}

#[derive(Default)]
struct TensorList(Vec<Tensor>);

impl TensorList {
    fn matrix(&mut self, name: &str, width: u64, rows: u64) {
        let name = format!("{name}.weight");
        self.0.push(Tensor { name, dims: vec![width, rows], content: Content::Matrix });
    }

    fn norm(&mut self, name: &str, width: u64, has_bias: bool) {
        self.vectors(&format!("{name}.weight"), &[width], 1.0);
        if has_bias {
            self.vectors(&format!("{name}.bias"), &[width], 0.0);
        }
    }

    fn vectors(&mut self, name: &str, dims: &[u64], mean: f32) {
        self.0.push(Tensor { name: name.to_owned(), dims: dims.to_vec(), content: Content::Around(mean) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(shape: &str) -> u64 {
        let shape = Shape::parse(shape).unwrap();
        tensors(&shape).iter().map(|tensor| tensor.dims.iter().product::<u64>()).sum()
    }

    #[test]
    fn published_shapes_have_the_published_parameters() {
        assert_eq!(parameters("tinyllama-1.1b"), 1_100_048_384);
        assert_eq!(parameters("gpt2-124m"), 124_439_808);
        assert_eq!(parameters("qwen2.5-0.5b"), 494_032_768);
        assert_eq!(parameters("smollm2-135m"), 134_515_008);
        assert!((360_000_000..380_000_000).contains(&parameters("mamba2-370m")));
        assert!((740_000_000..880_000_000).contains(&parameters("qwen3.5-0.8b")));
        assert_eq!(parameters("lfm2-350m"), 354_483_968);
        assert!((330_000_000..350_000_000).contains(&parameters("granite-4-h-350m")));
        assert!((9_000_000..11_000_000).contains(&parameters("tiny-10m")));
    }
}
