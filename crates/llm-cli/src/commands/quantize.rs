//! `llm quantize`: the matrices of a GGUF file in another type.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use llm::gguf::{Gguf, GgufWriter, TensorInfo, Value};
use llm::quant::{GgmlType, can_quantize, dequantize, is_supported, quantize};

use crate::model_file::ModelFile;
use convert::file_type;

/// Write a GGUF file with its matrices in another type.
///
/// Tensors of one dimension, routers of experts and convolutions stay as they are; so do matrices whose rows are
/// no whole number of the type's blocks.
#[derive(Args)]
pub struct Arguments {
    /// GGUF file to read.
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// GGUF file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,

    /// Type of the matrices, such as Q4_0 or Q8_0.
    #[arg(value_name = "TYPE", value_parser = quantizable_type)]
    ty: GgmlType,
}

/// Parses the name of a type that can be written.
pub fn quantizable_type(name: &str) -> Result<GgmlType, String> {
    match GgmlType::from_name(name) {
        Some(ty) if can_quantize(ty) => Ok(ty),
        Some(ty) => {
            Err(format!("{ty} cannot be written; Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, F16 can, among others"))
        }
        None => Err("expected a tensor type such as Q4_0, Q8_0 or F16".to_owned()),
    }
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
    let result = requantize(&gguf, arguments.ty, BufWriter::new(output)).with_context(context);
    if result.is_err() {
        // Half a model is of no use; that it could not be written is what is reported.
        let _ = std::fs::remove_file(&arguments.output);
    }
    result
}

fn same_file(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn requantize(gguf: &Gguf<'_>, ty: GgmlType, mut output: impl Write) -> Result<()> {
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata() {
        match key {
            // The writer aligns by the format's default.
            "general.alignment" => {}
            "general.file_type" => writer.put_u32(key, file_type(ty))?,
            _ => writer.put(key, value)?,
        }
    }
    if gguf.get("general.file_type").is_none() {
        writer.put("general.file_type", Value::U32(file_type(ty)))?;
    }
    for tensor in gguf.tensors() {
        writer.declare_tensor(tensor.name, type_of(tensor, ty), tensor.shape())?;
    }
    let mut data = writer.write_header(|bytes: &[u8]| output.write_all(bytes))?;
    let (mut values, mut blocks) = (Vec::new(), Vec::new());
    for tensor in gguf.tensors() {
        let (bytes, to) = (gguf.tensor_data(tensor)?, type_of(tensor, ty));
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
    Ok(())
}

/// The type that a tensor is written in.
fn type_of(tensor: &TensorInfo<'_>, ty: GgmlType) -> GgmlType {
    let is_matrix = tensor.dims[1] > 1 && tensor.name.ends_with(".weight");
    let must_stay = ["ffn_gate_inp", "conv", "ssm_", "position_embd", "token_types", "_norm", "attn_rel_b"];
    let fits = usize::try_from(tensor.dims[0]).is_ok_and(|n_cols| ty.row_bytes(n_cols).is_some());
    if is_matrix
        && fits
        && is_supported(tensor.ty)
        && !must_stay.iter().any(|part| tensor.name.contains(part))
    {
        ty
    } else {
        tensor.ty
    }
}
