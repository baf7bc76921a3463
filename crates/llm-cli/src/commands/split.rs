//! `llm split`: writes a model as several files.

use std::io::{Write, stdout};
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use llm::gguf::split::{SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS_COUNT};
use llm::gguf::{DEFAULT_ALIGNMENT, Gguf, GgufWriter, Value};

use crate::engine::positive;
use crate::model_file::ModelFile;
use crate::output::write_whole;
use crate::split::PartName;

/// Write a model as several files, PREFIX-00001-of-00003.gguf and so on, as llama.cpp's gguf-split does.
///
/// The first file has the metadata; each has some of the tensors (default: 128). The files' paths go to standard output.
#[derive(Args)]
pub struct Arguments {
    /// GGUF file to read.
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// What the paths of the files to write begin with.
    #[arg(value_name = "PREFIX")]
    prefix: String,

    /// Tensors in a file at most.
    #[arg(long, value_name = "N", value_parser = positive)]
    split_max_tensors: Option<usize>,

    /// Bytes of tensors in a file at most, in millions or thousands of millions: 500M, 2G. A longer tensor has a file of its own.
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "split_max_tensors")]
    split_max_size: Option<u64>,

    /// Write no tensors into the first file.
    #[arg(long)]
    no_tensor_first_split: bool,
}

/// How many tensors go into a file.
#[derive(Clone, Copy)]
enum Most {
    Tensors(usize),
    Bytes(u64),
}

/// Most tensors in a file by default.
const USUAL_TENSORS: usize = 128;

/// Parses a number of bytes in millions or thousands of millions.
fn size(text: &str) -> Result<u64, String> {
    let units = [('M', 1_000_000), ('G', 1_000_000_000)];
    let parsed = units
        .into_iter()
        .find_map(|(unit, bytes)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(bytes));
    parsed.filter(|&bytes| bytes > 0).ok_or_else(|| String::from("expected a size such as 500M or 2G"))
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let file = ModelFile::open(&arguments.input)?;
    let gguf = file.gguf()?;
    let most = match (arguments.split_max_size, arguments.split_max_tensors) {
        (Some(bytes), _) => Most::Bytes(bytes),
        (None, n_tensors) => Most::Tensors(n_tensors.unwrap_or(USUAL_TENSORS)),
    };
    let parts = parts(&gguf, most, arguments.no_tensor_first_split);
    let count = u16::try_from(parts.len());
    let count = count
        .with_context(|| format!("{} files are too many; expected at most {}", parts.len(), u16::MAX))?;
    let paths = (1..=count.into()).map(|number| PartName::new(&arguments.prefix, number, count.into()));
    let paths: Vec<PathBuf> = paths.map(|name| name.to_string().into()).collect();
    if let Some(taken) = paths.iter().find(|path| path.exists()) {
        bail!("{} is there already", taken.display());
    }
    for (number, (path, tensors)) in (0..count).zip(paths.iter().zip(parts)) {
        write_whole(path, |output| write_part(&gguf, number, count, tensors, output))?;
        writeln!(stdout(), "{}", path.display())?;
    }
    Ok(())
}

/// The range of tensors for each file, by their indices.
fn parts(gguf: &Gguf<'_>, most: Most, none_in_first: bool) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    if none_in_first {
        parts.push(0..0);
    }
    let (mut begin, mut n_bytes) = (0, 0);
    for (index, tensor) in gguf.tensors().iter().enumerate() {
        let padded = tensor.size_bytes.next_multiple_of(DEFAULT_ALIGNMENT.into());
        let is_full = match most {
            Most::Tensors(n_tensors) => index - begin == n_tensors,
            Most::Bytes(bytes) => index > begin && n_bytes + padded > bytes,
        };
        if is_full {
            parts.push(begin..index);
            (begin, n_bytes) = (index, 0);
        }
        n_bytes += padded;
    }
    parts.push(begin..gguf.tensors().len());
    parts
}

/// Writes part `number`, counted from 0.
fn write_part(
    gguf: &Gguf<'_>,
    number: u16,
    count: u16,
    tensors: Range<usize>,
    output: &mut impl Write,
) -> Result<()> {
    let mut writer = GgufWriter::new();
    if number == 0 {
        let is_own = |key: &str| [SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS_COUNT].contains(&key);
        let others = gguf.metadata().filter(|(key, _)| !is_own(key));
        others.into_iter().try_for_each(|(key, value)| writer.put(key, value))?;
    }
    let n_tensors = i32::try_from(gguf.tensors().len())?;
    // In the order and with the types that gguf-split uses.
    writer.put(SPLIT_NO, Value::U16(number))?;
    writer.put(SPLIT_TENSORS_COUNT, Value::I32(n_tensors))?;
    writer.put(SPLIT_COUNT, Value::U16(count))?;
    let tensors = &gguf.tensors()[tensors];
    for tensor in tensors {
        writer.declare_tensor(tensor.name, tensor.ty, tensor.shape())?;
    }
    let mut data = writer.write_header(|bytes: &[u8]| output.write_all(bytes))?;
    for tensor in tensors {
        data.write(gguf.tensor_data(tensor)?)?;
    }
    Ok(data.finish::<std::io::Error>()?)
}
