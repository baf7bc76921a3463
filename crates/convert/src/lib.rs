//! Converts checkpoints in the format of the Hugging Face hub to GGUF: bytes in, bytes out.
//!
//! [`convert`] reads [`Files`] and writes a model of one of the families in the tables of `families`. `Checkpoint` holds the
//! tensors (safetensors), `ModelConfig` the hyper-parameters (config.json), and `Vocabulary` the tokenizer and the chat
//! templates. `plan` maps the tensors of a checkpoint to those of the file, and `weight` gives their numbers. `awq` and `gptq`
//! read matrices quantised by AutoAWQ or GPTQ, as described by `quantization`. [`MatrixTypes`] chooses the types of the other
//! matrices, both here and in other programs that write files.
//!
//! Checkpoints come from strangers: whatever they contain, the result is a model or an error.
#![forbid(unsafe_code)]

mod awq;
mod checkpoint;
mod decoders;
mod encoders;
mod families;
mod family;
mod file_type;
mod gptq;
mod imatrix;
mod matrix_types;
mod model_config;
mod plan;
mod pooling;
mod quantization;
mod rope_scaling;
mod vocabulary;
mod weight;

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use llm::gguf::{GgufError, GgufWriter};
use llm::quant::{GgmlType, can_quantize, quantize};

use checkpoint::Checkpoint;
use model_config::ModelConfig;
use plan::{OutputTensor, Source};
use quantization::{Quantization, Scheme};
use vocabulary::Vocabulary;
use weight::Order;

pub use file_type::file_type;
pub use imatrix::ImportanceMatrix;
pub use matrix_types::{Fallbacks, MatrixTypes, Mixture, ModelShape, TypeChooser};

/// The files of a checkpoint, by name in its directory.
pub trait Files {
    /// The bytes of a file, or `None` if there is no file of this name.
    ///
    /// # Errors
    ///
    /// If the file exists but cannot be read.
    fn open(&self, name: &str) -> io::Result<Option<Bytes<'_>>>;

    /// The names of the files in a folder; empty if there is no such folder.
    ///
    /// # Errors
    ///
    /// If the folder exists but cannot be read.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
}

/// The bytes of a file, read or mapped.
pub type Bytes<'f> = Box<dyn AsRef<[u8]> + 'f>;

impl Files for BTreeMap<String, Vec<u8>> {
    fn open(&self, name: &str) -> io::Result<Option<Bytes<'_>>> {
        Ok(self.get(name).map(|bytes| Box::new(bytes) as Bytes<'_>))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let in_folder = |path: &String| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
        Ok(self.keys().filter_map(in_folder).collect())
    }
}

/// The bytes of a file that may be missing. Errors name the file.
fn read_optional<'f>(files: &'f dyn Files, name: &str) -> Result<Option<Bytes<'f>>> {
    files.open(name).with_context(|| name.to_owned())
}

/// The bytes of a required file.
fn read<'f>(files: &'f dyn Files, name: &str) -> Result<Bytes<'f>> {
    read_optional(files, name)?.with_context(|| format!("{name}: there is no such file"))
}

/// How the matrices of a checkpoint are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrices {
    /// As f32, f16 or bf16, or packed by GPTQ and to be dequantised; written in these types.
    Plain(MatrixTypes),
    /// Packed by AutoAWQ, 4 bits each; written as Q4_1, which holds the same values except that `zero · scale` is rounded to f16.
    Awq,
}

/// Reads a checkpoint and writes it as GGUF. Returns lines about differences: matrices in another type than requested, and
/// features that GGUF cannot express.
///
/// # Errors
///
/// If a file is missing or broken, the model's family is unknown, or the output fails.
pub fn convert(files: &dyn Files, matrices: Matrices, mut output: impl Write) -> Result<Vec<String>> {
    if let Matrices::Plain(MatrixTypes::All(ty)) = matrices
        && !can_quantize(ty)
    {
        bail!("matrices cannot be written as {ty}");
    }
    let config = ModelConfig::read(files)?;
    let scheme = config.quantization.as_ref().map(Quantization::scheme).transpose()?;
    match (matrices, scheme) {
        (Matrices::Plain(_), None | Some(Scheme::Gptq(_))) | (Matrices::Awq, Some(Scheme::Awq(_))) => {}
        (Matrices::Awq, None) => {
            bail!("config.json has no quantization_config; --hf converts plain checkpoints")
        }
        (Matrices::Awq, Some(Scheme::Gptq(_))) => bail!("the checkpoint is GPTQ's; --hf converts it"),
        (Matrices::Plain(_), Some(Scheme::Awq(_))) => {
            bail!("the checkpoint is quantised; --awq converts those of AutoAWQ")
        }
    }
    let checkpoint = Checkpoint::open(files)?;
    // This comes before the vocabulary: from here on, the numbers in config.json are known to match existing tensors.
    let mut tensors = plan::plan(&config, &checkpoint, scheme)?;
    let mut notes = Vec::new();
    if let Some(window) = config.left_out_window() {
        notes.push(format!(
            "sliding_window {window} is left out, as by llama.cpp: all positions are looked at"
        ));
    }
    for (part, note) in config.family().frame.told {
        if checkpoint.names().any(|name| name.contains(part)) {
            notes.push((*note).to_owned());
        }
    }
    let (file_type, fallbacks) = match matrices {
        Matrices::Plain(types) => {
            let fallbacks = plan::choose_types(&config, &mut tensors, types);
            if let Some(tensor) =
                tensors.iter().find(|tensor| types.needs_importance(&tensor.name, tensor.ty))
            {
                let (name, ty) = (&tensor.name, tensor.ty);
                bail!(
                    "{name}: {ty} needs the importance of each column: convert to F16, then `llm quantize --imatrix`"
                );
            }
            (types.file_type(), fallbacks)
        }
        Matrices::Awq => (file_type(GgmlType::Q4_1), Fallbacks::default()),
    };
    let vocabulary = Vocabulary::read(files, &config, &mut notes)?;

    let mut writer = GgufWriter::new();
    let has_classifier = tensors.iter().any(|tensor| tensor.name.starts_with("cls."));
    config.describe(&mut writer, file_type, has_classifier)?;
    vocabulary.describe(&mut writer)?;
    for tensor in &tensors {
        writer.declare_tensor(&tensor.name, tensor.ty, &tensor.dims())?;
    }
    let mut data = writer.write_header(|bytes: &[u8]| output.write_all(bytes)).context("cannot write")?;
    for tensor in &tensors {
        let bytes = tensor_bytes(tensor).with_context(|| tensor.name.clone())?;
        data.write(&bytes).context("cannot write")?;
    }
    data.finish::<io::Error>()?;
    output.flush().context("cannot write")?;
    if !fallbacks.is_empty() {
        notes.push(fallbacks.to_string());
    }
    Ok(notes)
}

/// The bytes of a tensor in the file.
fn tensor_bytes(tensor: &OutputTensor<'_>) -> Result<Vec<u8>> {
    let row_bytes = tensor.ty.row_bytes(tensor.cols).context("a row is no whole number of blocks")?;
    let n_bytes = (tensor.rows.checked_mul(tensor.n_matrices)).and_then(|rows| rows.checked_mul(row_bytes));
    let n_bytes = n_bytes.context("the tensor is too large")?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(n_bytes)
        .with_context(|| format!("there are no {n_bytes} bytes of memory for it"))?;
    bytes.resize(n_bytes, 0);
    match &tensor.source {
        Source::Values(values) => quantize(tensor.ty, values, &mut bytes),
        Source::Weights(weights) => {
            let (mut row, mut ordered) = (vec![0.0; tensor.cols], vec![0.0; tensor.cols]);
            for (index, out) in bytes.chunks_exact_mut(row_bytes).enumerate() {
                let (weight, row_of_weight) = (index / tensor.rows, index % tensor.rows);
                weights[weight].read_row(tensor.order.source(row_of_weight), &mut row);
                if tensor.col_order != Order::Same {
                    for (col, value) in ordered.iter_mut().enumerate() {
                        *value = row[tensor.col_order.source(col)];
                    }
                    row.copy_from_slice(&ordered);
                }
                tensor.change.apply(&mut row);
                quantize(tensor.ty, &row, out);
            }
        }
        Source::Awq(matrices) => {
            for (matrix, out) in matrices.iter().zip(bytes.chunks_exact_mut(tensor.rows * row_bytes)) {
                matrix.write_q4_1(tensor.order, out);
            }
        }
    }
    Ok(bytes)
}

/// Adds a number, if there is one.
fn put_optional_u32(writer: &mut GgufWriter, key: &str, value: Option<u32>) -> Result<(), GgufError> {
    value.map_or(Ok(()), |value| writer.put_u32(key, value))
}
