//! `llm quantize`: the matrices of a GGUF file in another type.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use convert::{Fallbacks, MatrixTypes, ModelShape, TypeChooser};
use llm::gguf::split::{SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS_COUNT};
use llm::gguf::{Gguf, GgufWriter, TensorInfo, Value};
use llm::quant::{GgmlType, dequantize, is_supported, quantize};

use crate::model_file::ModelFile;

/// Write a GGUF file with its matrices in another type.
///
/// Tensors of one dimension, routers of experts and convolutions stay as they are. Matrices whose rows are no whole
/// number of the type's blocks get a type with shorter blocks, as in llama.cpp; a line tells how many.
#[derive(Args)]
pub struct Arguments {
    /// GGUF file to read.
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// GGUF file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,

    /// Type of the matrices, such as Q4_0 or Q8_0, or the name of llama.cpp's mixture of K types, such as Q4_K_M.
    #[arg(value_name = "TYPE", value_parser = matrix_types)]
    types: MatrixTypes,
}

/// Parses the name of a type that can be written, or of a mixture.
pub fn matrix_types(name: &str) -> Result<MatrixTypes, String> {
    MatrixTypes::from_name(name)
        .ok_or_else(|| format!("cannot be written; expected one of {}", MatrixTypes::names()))
}

/// Prints the line that tells of matrices in another type than was asked for, if there are any.
pub fn tell(fallbacks: &Fallbacks) -> io::Result<()> {
    if fallbacks.is_empty() { Ok(()) } else { writeln!(io::stdout(), "{fallbacks}") }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    if same_file(&arguments.input, &arguments.output) {
        bail!("{} cannot be read and written at once", arguments.input.display());
    }
    let file = ModelFile::open(&arguments.input)?;
    let gguf = file.gguf()?;
    let context = || arguments.output.display().to_string();
    let output = File::create(&arguments.output).with_context(context)?;
    let result = requantize(&gguf, arguments.types, BufWriter::new(output)).with_context(context);
    if result.is_err() {
        // Half a model is of no use; that it could not be written is what is reported.
        let _ = std::fs::remove_file(&arguments.output);
    }
    Ok(tell(&result?)?)
}

fn same_file(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn requantize(gguf: &Gguf<'_>, types: MatrixTypes, mut output: impl Write) -> Result<Fallbacks> {
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata() {
        match key {
            // The writer aligns by the format's default, and writes one file.
            "general.alignment" | SPLIT_NO | SPLIT_COUNT | SPLIT_TENSORS_COUNT => {}
            "general.file_type" => writer.put_u32(key, types.file_type())?,
            _ => writer.put(key, value)?,
        }
    }
    if gguf.get("general.file_type").is_none() {
        writer.put("general.file_type", Value::U32(types.file_type()))?;
    }
    let mut chooser = TypeChooser::new(
        types,
        model_shape(gguf),
        gguf.tensors().iter().filter(|tensor| is_changed(tensor)).map(|tensor| tensor.name),
    );
    let mut chosen = Vec::with_capacity(gguf.tensors().len());
    for tensor in gguf.tensors() {
        let ty = if is_changed(tensor) {
            chooser.choose(tensor.name, usize::try_from(tensor.dims[0])?)
        } else {
            tensor.ty
        };
        writer.declare_tensor(tensor.name, ty, tensor.shape())?;
        chosen.push(ty);
    }
    let mut data = writer.write_header(|bytes: &[u8]| output.write_all(bytes))?;
    let (mut values, mut blocks) = (Vec::new(), Vec::new());
    for (tensor, to) in gguf.tensors().iter().zip(chosen) {
        let bytes = gguf.tensor_data(tensor)?;
        if to == tensor.ty {
            data.write(bytes)?;
            continue;
        }
        let n_cols = usize::try_from(tensor.dims[0])?;
        let row_bytes = |ty: GgmlType| ty.row_bytes(n_cols).with_context(|| tensor.name.to_owned());
        values.resize(n_cols, 0.0);
        blocks.resize(row_bytes(to)?, 0);
        for row in bytes.chunks_exact(row_bytes(tensor.ty)?) {
            dequantize(tensor.ty, row, &mut values);
            quantize(to, &values, &mut blocks);
            data.write(&blocks)?;
        }
    }
    data.finish::<io::Error>()?;
    output.flush()?;
    Ok(chooser.fallbacks())
}

/// Whether a tensor is a matrix whose type is chosen, by the names that llama.cpp's quantiser leaves as they are.
fn is_changed(tensor: &TensorInfo<'_>) -> bool {
    const STAY: [&str; 16] = [
        "_norm",
        "ffn_gate_inp.weight",
        "ffn_gate_tid2eid.weight",
        "altup",
        "laurel",
        "per_layer_model_proj",
        "conv",
        "ssm_",
        "indexer.",
        "time_mix_",
        "position_embd",
        "token_types",
        "attn_rel_b",
        ".rel_pos",
        ".patch_embd",
        ".patch_merger",
    ];
    tensor.dims[1..].iter().any(|&n| n > 1)
        && tensor.name.ends_with("weight")
        && is_supported(tensor.ty)
        && !STAY.iter().any(|part| tensor.name.contains(part))
}

/// What a file says of its model; what it does not say does not matter to the choice.
fn model_shape<'g>(gguf: &Gguf<'g>) -> ModelShape<'g> {
    let architecture = gguf.str_value("general.architecture").ok().flatten().unwrap_or_default();
    // Of numbers that a file has for each layer, llama.cpp takes the first one's.
    let number = |suffix: &str| {
        let value = gguf.get(format!("{architecture}.{suffix}").as_str())?;
        let first = value.as_array().map_or(Some(value), |array| array.values().next())?;
        first.as_integer()?.try_into().ok()
    };
    let n_head = number("attention.head_count").unwrap_or(0);
    ModelShape {
        architecture,
        n_layer: number("block_count").unwrap_or(0),
        n_head,
        n_head_kv: number("attention.head_count_kv").unwrap_or(n_head),
        n_expert: number("expert_count").unwrap_or(0),
    }
}
