//! `llm infer`: continues a prompt.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use llm::model::Model;
use llm::sampling::{Sampler, SamplingConfig};
use llm::session::{FinishReason, Session, Step};
use llm::tokenizer::{EncodeOptions, Tokenizer};

use crate::complain;
use crate::engine::{EngineArguments, SessionMemory};
use crate::model_file::ModelFile;

/// Continue a prompt and print the generated text, token by token.
///
/// Greedy, and so the same on every run, unless --temp says otherwise.
#[derive(Args)]
pub struct Arguments {
    /// The model, a GGUF file.
    #[arg(short, long, value_name = "FILE")]
    model: PathBuf,

    /// The text to continue.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: String,

    /// Tokens to generate at most.
    #[arg(short, long = "max-tokens", value_name = "N", default_value_t = 128)]
    n: usize,

    /// Print token ids, separated by spaces, instead of text.
    #[arg(long)]
    ids: bool,

    /// Read the names of special tokens in the prompt as those tokens, not as plain text.
    #[arg(long)]
    special: bool,

    /// End the generation at this text, which is not printed; may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,

    #[command(flatten)]
    sampling: SamplingArguments,

    #[command(flatten)]
    engine: EngineArguments,
}

#[derive(Args)]
#[command(next_help_heading = "Sampling")]
struct SamplingArguments {
    /// Temperature: 0 takes the likeliest token, 1 the model's own distribution.
    #[arg(long, value_name = "T", allow_negative_numbers = true, default_value_t = SamplingConfig::greedy().temperature)]
    temp: f32,

    /// Keep the K likeliest tokens; 0 keeps all.
    #[arg(long, value_name = "K", default_value_t = SamplingConfig::greedy().top_k)]
    top_k: u32,

    /// Keep the likeliest tokens that together reach probability P.
    #[arg(long, value_name = "P", allow_negative_numbers = true, default_value_t = SamplingConfig::greedy().top_p)]
    top_p: f32,

    /// Keep the tokens at least P times as likely as the likeliest.
    #[arg(long, value_name = "P", allow_negative_numbers = true, default_value_t = SamplingConfig::greedy().min_p)]
    min_p: f32,

    /// Make recent tokens less likely by this factor; 1 is off.
    #[arg(long, value_name = "R", allow_negative_numbers = true, default_value_t = SamplingConfig::greedy().repeat_penalty)]
    repeat_penalty: f32,

    /// Tokens back from the newest that --repeat-penalty looks at.
    #[arg(long, value_name = "N", default_value_t = SamplingConfig::greedy().repeat_last_n)]
    repeat_last_n: u32,

    /// Seed of the random choices.
    #[arg(long, value_name = "N", default_value_t = SamplingConfig::greedy().seed)]
    seed: u64,
}

impl SamplingArguments {
    fn config(&self) -> SamplingConfig {
        SamplingConfig {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n,
            seed: self.seed,
        }
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let file = ModelFile::open(&arguments.model)?;
    let gguf = file.gguf()?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let model = Model::load(&gguf)?;
    let n_vocab = model.config().n_vocab;

    let mut prompt = Vec::new();
    let encode_options = EncodeOptions { add_special: true, parse_special: arguments.special };
    tokenizer.encode(&arguments.prompt, encode_options, &mut prompt)?;
    if prompt.is_empty() {
        bail!("the prompt has no tokens, and this model asks for no start token");
    }

    let needed = prompt.len().saturating_add(arguments.n);
    let options = arguments.engine.session_options(model.config(), needed, 1);
    let mut memory = SessionMemory::allocate(model.config(), &options)?;
    let mut sampler = Sampler::new(arguments.sampling.config(), n_vocab)?;
    let workers = arguments.engine.workers()?;
    let kernels = arguments.engine.kernels()?;
    let mut session = Session::new(model, options, kernels, &workers, memory.as_mut_slice())?;

    let stop: Vec<&str> = arguments.stop.iter().map(String::as_str).collect();
    let mut generation = session.generate(&tokenizer, &mut sampler, &prompt, arguments.n, &stop)?;
    let mut output = stdout().lock();
    let mut separator = "";
    let reason = loop {
        match generation.step()? {
            Step::Token { id, .. } if arguments.ids => {
                write!(output, "{separator}{id}")?;
                separator = " ";
            }
            Step::Token { text, .. } => output.write_all(text.as_bytes())?,
            Step::Finished { reason, .. } if arguments.ids => break reason,
            Step::Finished { reason, text } => {
                output.write_all(text.as_bytes())?;
                break reason;
            }
        }
        output.flush()?;
    };
    writeln!(output)?;
    if reason == FinishReason::ContextFull {
        complain(&format!("stopped, since the context of {} tokens is full", options.n_ctx));
    }
    Ok(())
}
