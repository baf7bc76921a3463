//! `llm tokenize`: turns text into token ids.

use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use llm::tokenizer::{EncodeOptions, Tokenizer};

use crate::model_file::ModelFile;

/// Print the token ids of each text on a line.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    /// The text itself; each of several gets a line.
    #[arg(required_unless_present = "file", allow_hyphen_values = true)]
    text: Option<String>,

    #[arg(value_name = "TEXT", hide = true)]
    more_texts: Vec<String>,

    #[arg(long, conflicts_with = "text")]
    file: Option<PathBuf>,

    #[arg(long)]
    no_bos: bool,

    #[arg(long)]
    special: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let file = ModelFile::open(&arguments.model)?;
    let gguf = file.gguf()?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let texts = match &arguments.file {
        Some(path) => vec![read_text(path)?],
        None => arguments.text.iter().chain(&arguments.more_texts).cloned().collect(),
    };
    let options = EncodeOptions { add_special: !arguments.no_bos, parse_special: arguments.special };
    let mut ids = Vec::new();
    let mut output = BufWriter::new(stdout().lock());
    for text in &texts {
        ids.clear();
        tokenizer.encode(text, options, &mut ids)?;
        for (index, id) in ids.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(output, "{separator}{id}")?;
        }
        writeln!(output)?;
    }
    Ok(output.flush()?)
}

/// The whole text of a file.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        anyhow!("{} is not UTF-8 at byte {offset}", path.display())
    })
}
