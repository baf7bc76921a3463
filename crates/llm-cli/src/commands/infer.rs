//! `llm infer`: continues a prompt.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use llm::chat::Room;
use llm::model::Model;
use llm::sampling::Sampler;
use llm::session::{FinishReason, Session, Speculation, Step};
use llm::tokenizer::{EncodeOptions, Tokenizer};

use crate::chat_format::ChatArguments;
use crate::complain;
use crate::engine::{EngineArguments, SessionMemory};
use crate::model_file::ModelFile;
use crate::sampling::{SamplingArguments, max_tokens};

/// Continue a prompt and print the generated text, token by token.
///
/// Greedy, and so the same on every run, unless --temp, --top-k, --top-p, --min-p or --seed is given.
#[derive(Args)]
pub struct Arguments {
    /// The model, a GGUF file.
    #[arg(short, long, value_name = "FILE")]
    model: PathBuf,

    /// The text to continue; may be given as an argument.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// Tokens to generate at most, 128 unless told; may be given as an argument. -1 is until the text ends or the
    /// context, which then has room for 4096 tokens behind the prompt unless told, is full.
    #[arg(short, long = "max-tokens", aliases = ["predict", "n-predict"], value_name = "N", allow_negative_numbers = true, value_parser = max_tokens)]
    n: Option<usize>,

    /// With --prompt it is N.
    #[arg(
        value_name = "PROMPT",
        hide = true,
        allow_negative_numbers = true,
        required_unless_present = "prompt"
    )]
    prompt_argument: Option<String>,

    #[arg(value_name = "N", hide = true, conflicts_with = "n", allow_negative_numbers = true, value_parser = max_tokens)]
    n_argument: Option<usize>,

    /// Print token ids, separated by spaces, instead of text.
    #[arg(long)]
    ids: bool,

    /// Read the names of special tokens in the prompt as those tokens, not as plain text.
    #[arg(long, conflicts_with = "chat")]
    special: bool,

    /// Ask instead of continuing: format the prompt as a user's message in the model's chat format.
    #[arg(long)]
    chat: bool,

    /// End the generation at this text, which is not printed, or at the token of this name; may be given
    /// several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,

    /// Guess up to N tokens from what followed the same words before, and verify them in one batch: the
    /// same text, sooner where it repeats itself; says at the end how many guesses came true.
    #[arg(long, value_name = "N", default_value_t = 0)]
    speculate: usize,

    #[command(flatten)]
    format: ChatArguments,

    #[command(flatten)]
    sampling: SamplingArguments,

    #[command(flatten)]
    engine: EngineArguments,
}

const DEFAULT_MAX_TOKENS: usize = 128;

/// Length of the context behind the prompt if the text may go on for as long as it likes.
const ROOM_WITHOUT_LIMIT: usize = 4096;

impl Arguments {
    /// The prompt and N, each from its option or its argument; with the prompt as an option, N is the first argument.
    fn prompt_and_n(&self) -> Result<(&str, Option<usize>)> {
        let Some(prompt) = &self.prompt else {
            let prompt = self.prompt_argument.as_deref().expect("clap asks for one of them");
            return Ok((prompt, self.n.or(self.n_argument)));
        };
        match &self.prompt_argument {
            None => Ok((prompt, self.n)),
            Some(_) if self.n_argument.is_some() => {
                bail!("PROMPT is given twice; expected it as an argument or as --prompt")
            }
            Some(_) if self.n.is_some() => {
                bail!("N is given twice; expected it as an argument or as --max-tokens")
            }
            Some(word) => match max_tokens(word) {
                Ok(n) => Ok((prompt, Some(n))),
                Err(expected) => bail!("{word:?} behind --prompt is N: {expected}"),
            },
        }
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (text, n) = arguments.prompt_and_n()?;
    let max_tokens = n.unwrap_or(DEFAULT_MAX_TOKENS);
    let workers = arguments.engine.workers()?;
    let kernels = arguments.engine.kernels()?;
    let mut file = ModelFile::open(&arguments.model)?;
    file.pack(kernels, &workers)?;
    let gguf = file.gguf()?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let model = Model::load(&gguf)?;
    let n_vocab = model.config().n_vocab;

    let mut prompt = Vec::new();
    if arguments.chat {
        let format = arguments.format.format(&gguf, &tokenizer)?;
        let mut dialogue = arguments.format.dialogue()?;
        dialogue.ask(text)?;
        // One message: the context is made as long as it takes.
        let room = Room { n_ctx: usize::MAX, max_tokens };
        format.encode(&tokenizer, &mut dialogue, room, &mut prompt)?;
    } else if arguments.format.are_given() {
        bail!("--system, --template, --thinking and --no-thinking are about a chat: give --chat too");
    } else {
        let encode_options = EncodeOptions { add_special: true, parse_special: arguments.special };
        tokenizer.encode(text, encode_options, &mut prompt)?;
    }
    if prompt.is_empty() {
        bail!("the prompt has no tokens, and this model asks for no start token");
    }

    let room = if max_tokens == usize::MAX { ROOM_WITHOUT_LIMIT } else { max_tokens };
    let needed = prompt.len().saturating_add(room);
    let options =
        arguments.engine.session_options(model.config(), needed, arguments.speculate.saturating_add(1));
    let mut memory = SessionMemory::allocate(model.config(), &options)?;
    let mut sampler = Sampler::new(arguments.sampling.config(options.n_ctx)?, n_vocab)?;
    let mut session = Session::new(model, options, kernels, &workers, memory.as_mut_slice())?;

    let stop: Vec<&str> = arguments.stop.iter().map(String::as_str).collect();
    let generation = session.generate(&tokenizer, &mut sampler, &prompt, max_tokens, &stop)?;
    let mut generation = generation.speculate(arguments.speculate)?;
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
    if arguments.speculate > 0 {
        let Speculation { n_drafted, n_accepted } = generation.speculation();
        complain(&format!("{n_accepted} of {n_drafted} guessed tokens came"));
    }
    if reason == FinishReason::ContextFull {
        complain(&format!("stopped, since the context of {} tokens is full", options.n_ctx));
    }
    Ok(())
}
