//! `llm infer`: continues a prompt.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use llm::chat::{Dialogue, Room};

use llm::front::options::INFER_MAX_TOKENS;
use llm::front::{MAX_WAITING, Prompt, Request, Wanted};
use trust::notary::Notary;
use trust::receipt::MAX_NONCE_BYTES;

use crate::chat_format::ChatArguments;
use crate::engine::{EngineArguments, EngineMemory, clock_us};
use crate::generation::{GenerationArguments, LogprobArguments, Output, max_tokens, tell};
use crate::receipts::{notary, now_unix_s};

/// Continue a prompt and print the generated text, token by token.
///
/// Greedy, and so the same on every run, unless --temp, --top-k, --top-p, --min-p or --seed is given. With -n -1 and
/// without --ctx, the context has room for 4096 tokens behind the prompt.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    #[arg(long, allow_hyphen_values = true)]
    prompt: Option<String>,

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

    #[arg(long)]
    ids: bool,

    #[arg(long)]
    receipt: bool,

    #[arg(long)]
    nonce: Option<String>,

    #[arg(long)]
    receipt_key: Option<PathBuf>,

    #[arg(long)]
    special: bool,

    #[arg(long)]
    chat: bool,

    #[command(flatten)]
    format: ChatArguments,

    #[command(flatten)]
    generation: GenerationArguments,

    #[command(flatten)]
    logprobs: LogprobArguments,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Room in the context after the prompt if the length of the text is not limited.
pub const ROOM_WITHOUT_LIMIT: usize = 4096;

impl Arguments {
    /// The prompt and N, each from its option or its argument. If the prompt is an option, N is the first argument.
    fn prompt_and_n(&self) -> Result<(&str, Option<usize>)> {
        let n = self.generation.max_tokens();
        let Some(prompt) = &self.prompt else {
            let prompt = self.prompt_argument.as_deref().expect("clap asks for one of them");
            return Ok((prompt, n.or(self.n_argument)));
        };
        match &self.prompt_argument {
            None => Ok((prompt, n)),
            Some(_) if self.n_argument.is_some() => {
                bail!("PROMPT is given twice; expected it as an argument or as --prompt")
            }
            Some(_) if n.is_some() => {
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
    let thinking_budget = arguments.generation.thinking_budget();
    let task = arguments.format.task(arguments.chat, arguments.special, thinking_budget)?;
    let logprobs = arguments.logprobs.wish()?;
    let wanted = Wanted { logprobs, ..arguments.generation.wanted(n.unwrap_or(INFER_MAX_TOKENS))? };
    let max_tokens = wanted.max_tokens;
    let opened = arguments.engine.open(&arguments.model)?;
    let mut prompter = opened.prompter()?;
    let model = opened.model(prompter.gguf())?;
    arguments.generation.show_weights(prompter.gguf(), opened.file.bytes());

    // The prompt is encoded first, because the context is made as long as needed.
    let mut dialogue = Dialogue::default();
    let prompt = task.prompt(text, &mut dialogue)?;
    let mut ids = Vec::new();
    let encoded = prompter.encode(&prompt, Room { n_ctx: usize::MAX, max_tokens }, &mut ids)?;
    if ids.is_empty() {
        bail!("the prompt has no tokens, and this model asks for no start token");
    }

    let room = if max_tokens == usize::MAX { ROOM_WITHOUT_LIMIT } else { max_tokens };
    let needed = ids.len().saturating_add(room);
    let options = arguments.engine.runner_options(model.config(), needed, wanted.speculate + 1, 1);
    let mut memory = EngineMemory::allocate(model.config(), &options)?;
    let mut responder = opened.responder(prompter, model, options, MAX_WAITING, &mut memory)?;
    let mut output = Output::of_ids(arguments.ids);
    if arguments.nonce.as_ref().is_some_and(|nonce| nonce.len() > MAX_NONCE_BYTES) {
        bail!("--nonce can have {MAX_NONCE_BYTES} bytes");
    }
    let notary = arguments.receipt.then(|| notary(arguments.receipt_key.as_deref())).transpose()?;
    let request = Request {
        receipt: notary.as_ref().map(Notary::compress),
        ..wanted.request(Prompt::Encoded(&ids, encoded.format, &[]))
    };
    let report = responder.generate(request, clock_us, &mut |event| output.show(&event))?;
    output.finish()?;
    if let (Some(notary), Some(work)) = (notary, &report.work) {
        let name = arguments.model.file_stem().unwrap_or_default().to_string_lossy();
        let receipt = notary.receipt(
            &opened.record(&name, work.has_adapters())?,
            arguments.nonce.as_deref(),
            now_unix_s(),
            Some(work.prompt()),
            |writer| work.write(writer, &report),
        );
        let mut receipt = receipt.map_err(|_| anyhow::anyhow!("no memory for the receipt"))?;
        receipt.push(b'\n');
        stdout().write_all(&receipt)?;
    }
    tell(&wanted, &report, options.state.n_ctx);
    Ok(())
}
