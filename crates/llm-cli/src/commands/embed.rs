//! `llm embed`: turns texts into vectors.

use std::io::{BufWriter, Write, stdout};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use llm::front::embedding::{Embedding, EmbeddingWish, Pooling};
use llm::front::logits::Row;
use llm::front::options::{BATCH_N_PARALLEL, NO_TEXTS};
use llm::front::{FrontError, MAX_WAITING, PROMPT_ENCODING, Prompt, Prompter, batch, vectors};
use llm::session::SessionError;

use crate::commands::tokenize::read_text;
use crate::engine::{EngineArguments, EngineMemory, Opened, clock_us, n_texts};
use crate::interrupt;

/// Show each text as a vector of length 1, by the hidden states of any model.
///
/// A line per text has the numbers of its vector; reading a number back as f32 gives exactly its bits. With --pooling none there is
/// a line per token, and an empty line after each text; with --pooling rank the scores of the model's classifier.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    #[arg(
        value_name = "TEXT",
        hide = true,
        allow_negative_numbers = true,
        conflicts_with = "texts",
        required_unless_present = "texts"
    )]
    text_arguments: Vec<String>,

    #[arg(long)]
    texts: Option<PathBuf>,

    #[arg(long, value_parser = pooling)]
    pooling: Option<Pooling>,

    #[arg(long)]
    no_normalise: bool,

    #[arg(long, value_parser = n_texts)]
    parallel: Option<usize>,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let texts = Texts::read(arguments.texts.as_deref(), &arguments.text_arguments)?;
    let normalise = arguments.no_normalise.then_some(false);
    let wish = EmbeddingWish { pooling: arguments.pooling, normalise, max_tokens: None };
    let opened = arguments.engine.open(&arguments.model)?;
    let prompter = opened.prompter()?;
    let mut ids = Vec::new();
    for text in texts.iter() {
        let mut of_text = Vec::new();
        prompter.tokenizer()?.encode(text, PROMPT_ENCODING, &mut of_text)?;
        ids.push(of_text);
    }
    let mut output = BufWriter::new(stdout().lock());
    let is_apart = arguments.pooling == Some(Pooling::None);
    compute(
        &arguments.engine,
        &opened,
        prompter,
        &ids,
        arguments.parallel,
        wish,
        &mut |_, width, embedding| {
            for row in embedding.values.chunks(if is_apart { width } else { embedding.values.len() }) {
                writeln!(output, "{}", Row(row))?;
            }
            if is_apart {
                writeln!(output)?;
            }
            Ok(())
        },
    )?;
    Ok(output.flush()?)
}

/// Texts from arguments, or from the lines of a file.
pub struct Texts<'a> {
    file: Option<String>,
    arguments: &'a [String],
}

impl<'a> Texts<'a> {
    /// Reads the texts.
    pub fn read(path: Option<&Path>, arguments: &'a [String]) -> Result<Self> {
        let texts = Self { file: path.map(read_text).transpose()?, arguments };
        if texts.iter().next().is_none() {
            bail!("{NO_TEXTS}");
        }
        Ok(texts)
    }

    /// The texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let of_file = self.file.iter().flat_map(|text| batch::prompts(text));
        of_file.chain(self.arguments.iter().map(String::as_str))
    }
}

/// Turns texts into vectors, and calls `show` with each, its index and the width of a token's vector.
pub fn compute(
    engine: &EngineArguments,
    opened: &Opened,
    prompter: Prompter<'_>,
    ids: &[Vec<u32>],
    parallel: Option<usize>,
    wish: EmbeddingWish,
    show: &mut dyn FnMut(usize, usize, &Embedding) -> Result<()>,
) -> Result<()> {
    let model = opened.model(prompter.gguf())?;
    let width = model.config().n_embd;
    let longest = ids.iter().map(Vec::len).max().unwrap_or(1);
    let n_slots = parallel.unwrap_or(BATCH_N_PARALLEL.min(ids.len().max(1)));
    let options = engine.runner_options(model.config(), longest, 1, n_slots);
    let mut memory = EngineMemory::allocate(model.config(), &options)?;
    let mut responder = opened.responder(prompter, model, options, MAX_WAITING, &mut memory)?;

    interrupt::listen()?;
    let listening = interrupt::while_answering();
    let mut error = None;
    let mut go_on = || match listening.is_interrupted() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let text = |place: usize| Prompt::Ids(&ids[place]);
    let computed = vectors::run(
        &mut responder,
        (ids.len(), &text),
        wish,
        clock_us,
        &mut go_on,
        &mut |place, embedding| {
            error = show(place, width, embedding).err();
            if error.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    match (error, computed) {
        (Some(error), _) => Err(error),
        (None, Err(FrontError::Session(SessionError::Stopped))) => interrupt::exit(),
        (None, computed) => Ok(computed?),
    }
}

fn pooling(name: &str) -> Result<Pooling, String> {
    name.parse().map_err(|()| format!("expected {}", Pooling::EXPECTED))
}
