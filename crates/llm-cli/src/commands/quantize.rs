//! `llm quantize`: converts the matrices of a GGUF file to another type.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use convert::{Fallbacks, ImportanceMatrix, MatrixTypes, ModelShape, TypeChooser};
use llm::gguf::split::{SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS_COUNT};
use llm::gguf::{Gguf, GgufWriter, TensorInfo, Value};
use llm::quant::{GgmlType, dequantize, is_supported, quantize, quantize_row};

use crate::model_file::{ModelFile, map};

/// Write a GGUF file with its matrices in another type.
///
/// Tensors of one dimension, routers of experts and convolutions stay as they are. Matrices whose rows are no whole
/// number of the type's blocks get a type with shorter blocks, as in llama.cpp; a line tells how many. With --imatrix
/// errors are smaller in the columns that matter more.
#[derive(Args)]
pub struct Arguments {
    /// GGUF file to read.
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// GGUF file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,

    /// Type of all matrices, such as Q4_0 or Q8_0, or the name of one of llama.cpp's mixtures, such as Q4_K_M or IQ4_XS.
    #[arg(value_name = "TYPE", value_parser = matrix_types)]
    types: MatrixTypes,

    /// Importance matrix that llama-imatrix measured, in GGUF or in the older format.
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
}

/// An importance matrix and the name of its file.
struct Importance {
    file: String,
    matrix: ImportanceMatrix,
}

impl Importance {
    fn open(path: &Path) -> Result<Self> {
        let bytes = map(path).with_context(|| format!("cannot read {}", path.display()))?;
        let matrix = ImportanceMatrix::parse(&bytes).with_context(|| path.display().to_string())?;
        Ok(Self { file: path.display().to_string(), matrix })
    }

    /// The importances of a tensor's columns, for each of its matrices one after another, if there are any.
    fn of(&self, tensor: &TensorInfo<'_>) -> Result<Option<&[f32]>> {
        let [n_cols, _, n_matrices, _] = tensor.dims.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        self.matrix.of(tensor.name, n_cols, n_matrices).with_context(|| self.file.clone())
    }

    /// Records in the file where the importances come from, under llama.cpp's keys.
    fn describe(&self, writer: &mut GgufWriter) -> Result<()> {
        writer.put_str("quantize.imatrix.file", &self.file)?;
        if let Some(dataset) = &self.matrix.dataset {
            writer.put_str("quantize.imatrix.dataset", dataset)?;
        }
        writer.put_u32("quantize.imatrix.entries_count", u32::try_from(self.matrix.len())?)?;
        if self.matrix.n_chunks > 0 {
            writer.put_u32("quantize.imatrix.chunks_count", self.matrix.n_chunks)?;
        }
        Ok(())
    }
}

/// Parses the name of a type that can be written, or of a mixture.
pub fn matrix_types(name: &str) -> Result<MatrixTypes, String> {
    MatrixTypes::from_name(name)
        .ok_or_else(|| format!("cannot be written; expected one of {}", MatrixTypes::names()))
}

/// Prints a line about matrices in another type than requested, if there are any.
pub fn tell(fallbacks: &Fallbacks) -> io::Result<()> {
    if fallbacks.is_empty() { Ok(()) } else { writeln!(io::stdout(), "{fallbacks}") }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    if same_file(&arguments.input, &arguments.output) {
        bail!("{} cannot be read and written at once", arguments.input.display());
    }
    let importance = arguments.imatrix.as_deref().map(Importance::open).transpose()?;
    let file = ModelFile::open(&arguments.input)?;
    let gguf = file.gguf()?;
    let plan = Plan::new(&gguf, arguments.types, importance)?;
    let context = || arguments.output.display().to_string();
    let output = File::create(&arguments.output).with_context(context)?;
    let result = plan.write(&gguf, BufWriter::new(output)).with_context(context);
    if result.is_err() {
        // Half a model is useless. Only the error of writing it is reported.
        let _ = std::fs::remove_file(&arguments.output);
    }
    result?;
    if let Some(missing) = &plan.not_measured {
        writeln!(io::stdout(), "{missing}")?;
    }
    Ok(tell(&plan.fallbacks)?)
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// How a file is changed.
struct Plan {
    types: MatrixTypes,
    importance: Option<Importance>,
    /// The type of each tensor.
    chosen: Vec<GgmlType>,
    fallbacks: Fallbacks,
    /// A line that names matrices without importances, if only some matrices have them.
    not_measured: Option<String>,
}

impl Plan {
    fn new(gguf: &Gguf<'_>, types: MatrixTypes, importance: Option<Importance>) -> Result<Self> {
        let matrices = gguf.tensors().iter().filter(|tensor| is_changed(tensor));
        let mut chooser = TypeChooser::new(types, model_shape(gguf), matrices.map(|tensor| tensor.name));
        if importance.is_some() {
            chooser = chooser.with_importance();
        }
        let mut chosen = Vec::with_capacity(gguf.tensors().len());
        let mut without = Vec::new();
        for tensor in gguf.tensors() {
            if !is_changed(tensor) {
                chosen.push(tensor.ty);
                continue;
            }
            let ty = chooser.choose(
                tensor.name,
                usize::try_from(tensor.dims[0])?,
                usize::try_from(tensor.dims[2])?,
            );
            let is_measured = match &importance {
                Some(importance) => importance.of(tensor)?.is_some(),
                None => false,
            };
            if !is_measured && types.needs_importance(tensor.name, ty) {
                let option = if importance.is_some() {
                    "the file of --imatrix has none"
                } else {
                    "give --imatrix FILE"
                };
                bail!("{}: {ty} needs the importance of each column; {option}", tensor.name);
            }
            if !is_measured && tensor.ty != ty {
                without.push(tensor.name);
            }
            chosen.push(ty);
        }
        let not_measured = importance
            .as_ref()
            .filter(|_| !without.is_empty())
            .map(|importance| format!("{} has no importances for {}", importance.file, list(&without)));
        Ok(Self { types, importance, chosen, fallbacks: chooser.fallbacks(), not_measured })
    }

    fn write(&self, gguf: &Gguf<'_>, mut output: impl Write) -> Result<()> {
        let file_type = Value::U32(self.types.file_type());
        let mut changed =
            vec![("general.file_type", file_type), ("general.quantization_version", Value::U32(2))];
        let mut writer = GgufWriter::new();
        for (key, value) in gguf.metadata() {
            match key {
                // The writer uses the format's default alignment, and writes a single file.
                "general.alignment" | SPLIT_NO | SPLIT_COUNT | SPLIT_TENSORS_COUNT => {}
                // They describe the weights as they were before.
                _ if self.importance.is_some() && key.starts_with("quantize.imatrix.") => {}
                _ => match changed.iter().position(|entry| entry.0 == key) {
                    Some(index) => writer.put(key, changed.remove(index).1)?,
                    None => writer.put(key, value)?,
                },
            }
        }
        for (key, value) in changed {
            writer.put(key, value)?;
        }
        if let Some(importance) = &self.importance {
            importance.describe(&mut writer)?;
        }
        for (tensor, &ty) in gguf.tensors().iter().zip(&self.chosen) {
            writer.declare_tensor(tensor.name, ty, tensor.shape())?;
        }
        let mut data = writer.write_header(|bytes: &[u8]| output.write_all(bytes))?;
        let (mut values, mut blocks) = (Vec::new(), Vec::new());
        for (tensor, &to) in gguf.tensors().iter().zip(&self.chosen) {
            let bytes = gguf.tensor_data(tensor)?;
            if to == tensor.ty {
                data.write(bytes)?;
                continue;
            }
            let importance = match &self.importance {
                Some(importance) => importance.of(tensor)?,
                None => None,
            };
            let [n_cols, n_rows] = [tensor.dims[0], tensor.dims[1]].map(usize::try_from);
            let (n_cols, n_rows) = (n_cols?, n_rows?);
            let row_bytes = |ty: GgmlType| ty.row_bytes(n_cols).with_context(|| tensor.name.to_owned());
            values.resize(n_cols, 0.0);
            blocks.resize(row_bytes(to)?, 0);
            for (index, row) in bytes.chunks_exact(row_bytes(tensor.ty)?).enumerate() {
                dequantize(tensor.ty, row, &mut values);
                match importance.and_then(|all| all.chunks_exact(n_cols).nth(index / n_rows)) {
                    Some(importance) => quantize_row(to, &values, importance, &mut blocks),
                    None => quantize(to, &values, &mut blocks),
                }
                data.write(&blocks)?;
            }
        }
        data.finish::<io::Error>()?;
        Ok(output.flush()?)
    }
}

/// The first names of a list, and how many more there are.
fn list(names: &[&str]) -> String {
    let (shown, more) = names.split_at(names.len().min(3));
    let rest = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("{}{rest}", shown.join(", "))
}

/// Whether a tensor is a matrix whose type is changed. llama.cpp's quantiser excludes certain names.
fn is_changed(tensor: &TensorInfo<'_>) -> bool {
    const STAY: [&str; 32] = [
        "_norm.weight",
        "ffn_gate_inp.weight",
        "ffn_gate_tid2eid.weight",
        "altup",
        "laurel",
        "per_layer_model_proj",
        "position_embd",
        "token_types.weight",
        "ssm_conv1d",
        "shortconv.conv.weight",
        "indexer.k_proj.weight",
        "indexer.q_proj.weight",
        "time_mix_first.weight",
        "time_mix_w0.weight",
        "time_mix_w1.weight",
        "time_mix_w2.weight",
        "time_mix_v0.weight",
        "time_mix_v1.weight",
        "time_mix_v2.weight",
        "time_mix_a0.weight",
        "time_mix_a1.weight",
        "time_mix_a2.weight",
        "time_mix_g1.weight",
        "time_mix_g2.weight",
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
        "attn_rel_b.weight",
        ".rel_pos",
        ".patch_embd",
        ".patch_merger",
        "rvq.codebook",
    ];
    tensor.dims[1..].iter().any(|&n| n > 1)
        && tensor.name.ends_with("weight")
        && is_supported(tensor.ty)
        && !STAY.iter().any(|part| tensor.name.contains(part))
}

/// The properties of the model in a file. Missing properties do not matter for the choice.
fn model_shape<'g>(gguf: &Gguf<'g>) -> ModelShape<'g> {
    let architecture = gguf.str_value("general.architecture").ok().flatten().unwrap_or_default();
    // If a file has a number for each layer, llama.cpp uses the first layer's.
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
