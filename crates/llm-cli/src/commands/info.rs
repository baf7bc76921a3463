//! `llm info`: describes the contents of a GGUF file.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufWriter, Write, stdout};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use llm::front::describe;
use llm::gguf::Gguf;
use llm::model::Config;
use llm::sampling::ChainLines;
use llm::session::Runner;
use llm::simd::Kernels;
use llm::tokenizer::Tokenizer;

use crate::engine::runner_options;
use crate::generation::sampling::{self, SamplingArguments};
use crate::model_file::ModelFile;

/// Show a model's architecture, hyper-parameters, tensor types, tokenizer and sizes.
#[derive(Args)]
pub struct Arguments {
    #[arg(long, required_unless_present_any = ["kernels", "shows_sampling"])]
    model: Option<PathBuf>,

    #[arg(long)]
    kernels: bool,

    #[arg(long = "sampling")]
    shows_sampling: bool,

    #[command(flatten)]
    sampling: SamplingArguments,

    #[arg(long)]
    metadata: bool,

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
    if arguments.shows_sampling {
        let request = arguments.sampling.request();
        let config = sampling::config(&request)?;
        write!(output, "{}", ChainLines { config: &config, request: &request })?;
    }
    if let Some(path) = &arguments.model {
        let file = ModelFile::open(path)?;
        let gguf = file.gguf()?;
        summarize(&mut output, path, &file, &gguf)?;
        if arguments.metadata {
            list(&mut output, "metadata", &gguf, describe::metadata)?;
        }
        if arguments.tensors {
            list(&mut output, "tensors", &gguf, describe::tensors)?;
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

fn list(output: &mut impl Write, title: &str, gguf: &Gguf<'_>, entries: describe::List) -> io::Result<()> {
    writeln!(output, "\n{title}")?;
    let mut written = Ok(());
    // If the output fails, the code below reports it.
    let _ = entries(gguf, &mut |line| {
        written = writeln!(output, "  {line}");
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written
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

/// The memory that a text over the whole context needs in addition to the file.
fn describe_memory(config: &Config) -> String {
    let options = runner_options(config, config.n_ctx_train, 1, 1);
    match Runner::required_bytes(config, &options) {
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

/// Displays a size in bytes, with a rounded value in a larger unit.
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
