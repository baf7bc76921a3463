//! `llm info`: what a GGUF file holds.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use llm::gguf::{Gguf, Value};
use llm::model::Config;
use llm::session::{Session, SessionOptions};
use llm::simd::Kernels;
use llm::tokenizer::Tokenizer;

use crate::model_file::ModelFile;

/// Show a model's architecture, hyper-parameters, tensor types, tokenizer and sizes.
#[derive(Args)]
pub struct Arguments {
    /// The model, a GGUF file.
    #[arg(short, long, value_name = "FILE", required_unless_present = "kernels")]
    model: Option<PathBuf>,

    /// List the instruction sets of this CPU that --kernels of the other commands takes, `scalar` first.
    #[arg(long)]
    kernels: bool,

    /// Also list all metadata keys with their values; long arrays are cut.
    #[arg(long)]
    metadata: bool,

    /// Also list all tensors with type, shape, place and size.
    #[arg(long)]
    tensors: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut output = BufWriter::new(stdout().lock());
    if arguments.kernels {
        for kernels in Kernels::all() {
            writeln!(output, "{}", kernels.name())?;
        }
    }
    if let Some(path) = &arguments.model {
        let file = ModelFile::open(path)?;
        let gguf = file.gguf()?;
        summarize(&mut output, path, &file, &gguf)?;
        if arguments.metadata {
            list_metadata(&mut output, &gguf)?;
        }
        if arguments.tensors {
            list_tensors(&mut output, &gguf)?;
        }
    }
    Ok(output.flush()?)
}

fn summarize(output: &mut impl Write, path: &Path, file: &ModelFile, gguf: &Gguf<'_>) -> io::Result<()> {
    let mut row = |name: &str, value: &dyn fmt::Display| writeln!(output, "{name:<16}{value}");
    row("file", &format_args!("{} ({})", path.display(), Bytes(file.len_bytes())))?;
    row("name", &file.display_name(gguf))?;
    row("format", &format_args!("GGUF v{}, alignment {}", gguf.version(), gguf.alignment()))?;
    match Config::from_gguf(gguf) {
        Ok(config) => {
            row("architecture", &config.architecture.name)?;
            let layer = &config.layers[0];
            let (n_head, n_head_kv) = config.head_counts();
            row("layers", &config.layers.len())?;
            row("embedding", &config.n_embd)?;
            row("heads", &format_args!("{n_head} ({n_head_kv} for keys and values)"))?;
            row("feed-forward", &layer.n_ff)?;
            row("context", &config.n_ctx_train)?;
            row("vocabulary", &config.n_vocab)?;
            row("cache, scratch", &describe_memory(&config))?;
        }
        Err(error) => row("model", &format_args!("cannot be run: {error}"))?,
    }
    row("tokenizer", &describe_tokenizer(gguf))?;
    row("parameters", &parameters(gguf))?;
    for (ty, (count, bytes)) in tensor_types(gguf) {
        row("tensors", &format_args!("{count} of {ty} ({})", Bytes(bytes)))?;
    }
    Ok(())
}

fn list_metadata(output: &mut impl Write, gguf: &Gguf<'_>) -> io::Result<()> {
    writeln!(output, "\nmetadata")?;
    for (key, value) in gguf.metadata() {
        writeln!(output, "  {key} = {}", Shown(&value))?;
    }
    Ok(())
}

fn list_tensors(output: &mut impl Write, gguf: &Gguf<'_>) -> io::Result<()> {
    writeln!(output, "\ntensors")?;
    for tensor in gguf.tensors() {
        let shape: Vec<String> = tensor.shape().iter().map(u64::to_string).collect();
        writeln!(
            output,
            "  {} {} [{}] at {} ({} bytes)",
            tensor.name,
            tensor.ty,
            shape.join(" x "),
            gguf.data_offset() + tensor.offset,
            tensor.size_bytes
        )?;
    }
    Ok(())
}

fn describe_tokenizer(gguf: &Gguf<'_>) -> String {
    let key = |name: &str| gguf.str_value(name).ok().flatten();
    let Some(kind) = key("tokenizer.ggml.model") else {
        return String::from("none");
    };
    let pre = key("tokenizer.ggml.pre").map_or(String::new(), |pre| format!(", pre-tokenizer {pre}"));
    match Tokenizer::from_gguf(gguf) {
        Ok(tokenizer) => format!("{kind}{pre}, {} tokens", tokenizer.n_vocab()),
        Err(error) => format!("{kind}{pre}, cannot be used: {error}"),
    }
}

/// What a session over the whole context takes beside the file.
fn describe_memory(config: &Config) -> String {
    let options = SessionOptions::generate(config.n_ctx_train);
    match Session::required_bytes(config, &options) {
        Ok(bytes) => format!("{} for the whole context in f16", Bytes(bytes as u64)),
        Err(error) => format!("cannot be computed: {error}"),
    }
}

fn parameters(gguf: &Gguf<'_>) -> u64 {
    gguf.tensors().iter().map(|tensor| tensor.n_elements()).sum()
}

/// Number of tensors and bytes of each type, by the type's name.
fn tensor_types(gguf: &Gguf<'_>) -> BTreeMap<&'static str, (usize, u64)> {
    let mut types = BTreeMap::new();
    for tensor in gguf.tensors() {
        let (count, bytes) = types.entry(tensor.ty.name()).or_insert((0, 0));
        *count += 1;
        *bytes += tensor.size_bytes;
    }
    types
}

/// A size in bytes with a rounded one in a larger unit.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        let mut rounded = self.0 as f64;
        let mut unit = None;
        for next in UNITS {
            if rounded < 1024.0 {
                break;
            }
            rounded /= 1024.0;
            unit = Some(next);
        }
        match unit {
            Some(unit) => write!(f, "{rounded:.1} {unit}, {} bytes", self.0),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// A metadata value: texts escaped, long texts and arrays cut.
struct Shown<'v, 'a>(&'v Value<'a>);

impl fmt::Display for Shown<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_CHARS: usize = 200;
        const MAX_ELEMENTS: usize = 6;
        match self.0 {
            Value::String(text) => {
                let text = text.to_string();
                let cut: String = text.chars().take(MAX_CHARS).collect();
                let rest = if cut.len() < text.len() { " ..." } else { "" };
                write!(f, "\"{}\"{rest}", cut.escape_debug())
            }
            Value::Array(array) => {
                write!(f, "{} of {}: [", array.len(), array.element_type())?;
                for (index, value) in array.values().take(MAX_ELEMENTS).enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{}", Shown(&value))?;
                }
                f.write_str(if array.len() > MAX_ELEMENTS { ", ...]" } else { "]" })
            }
            scalar => scalar.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_rounded_unit() {
        assert_eq!(Bytes(1023).to_string(), "1023 bytes");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB, 1536 bytes");
        assert_eq!(Bytes(618_769_408).to_string(), "590.1 MiB, 618769408 bytes");
    }
}
