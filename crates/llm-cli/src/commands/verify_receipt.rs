//! `llm verify-receipt`: computes an answer again and says whether its receipt is right.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use llm::front::receipt::{Verdict, facts, verify};
use llm::session::RunnerOptions;
use llm::state::StateOptions;
use trust::fixed::Fixed;
use trust::receipt::{MAX_NONCE_BYTES, Receipt};
use trust::sha256::PORTABLE;

use crate::complain;
use crate::engine::{EngineArguments, EngineMemory, clock_us, runner_options};

/// Say whether a receipt is right: whether its key has signed it, it is about this model, and the model gives the same
/// answer by the same bits.
///
/// FILE has the receipt, or text that ends with it, as `llm infer --receipt` prints. The last line of the output is ACCEPT,
/// or REJECT and why; the exit status is 0, 1 for REJECT, or 1 with a line on standard error if it cannot be told.
#[derive(Args)]
pub struct Arguments {
    /// The receipt
    #[arg(value_name = "FILE")]
    receipt: PathBuf,

    /// The model that it is about, a GGUF file
    #[arg(long)]
    model: PathBuf,

    /// The public key that must have signed it, 64 hexadecimal digits; unless given, any that the receipt names
    #[arg(long, value_name = "HEX", value_parser = public_key)]
    key: Option<Fixed<32>>,

    /// What its nonce must be
    #[arg(long, value_name = "TEXT")]
    nonce: Option<String>,

    /// The prompt's tokens, for a receipt without them: a file with their ids
    #[arg(long, value_name = "FILE")]
    prompt_tokens: Option<PathBuf>,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs the command.
///
/// # Errors
/// If the receipt is wrong, or if it cannot be checked.
pub fn run(arguments: &Arguments) -> Result<()> {
    let path = &arguments.receipt;
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let receipt: Receipt<'_> = serde_json::from_slice(receipt_in(&text))
        .with_context(|| format!("{}: no receipt", path.display()))?;
    match judge(arguments, &receipt)? {
        Verdict::Accept => Ok(writeln!(stdout(), "ACCEPT")?),
        verdict @ Verdict::Reject { .. } => {
            writeln!(stdout(), "{verdict}")?;
            bail!("{}: the receipt is wrong", path.display())
        }
    }
}

fn judge(arguments: &Arguments, receipt: &Receipt<'_>) -> Result<Verdict> {
    let reject = |reason| Ok(Verdict::Reject { token: None, reason });
    let record = &receipt.record;
    if !receipt.is_signed().map_err(|_| anyhow::anyhow!("no memory for the receipt"))? {
        return reject("the signature is not that of the key over the record");
    }
    if arguments.key.is_some_and(|key| key != receipt.key) {
        return reject("another key has signed it");
    }
    if arguments.nonce.as_deref().is_some_and(|nonce| Some(nonce) != record.nonce.as_deref()) {
        return reject("the nonce is another one");
    }
    if record.nonce.as_ref().is_some_and(|nonce| nonce.len() > MAX_NONCE_BYTES) {
        return reject("the nonce is too long");
    }
    writeln!(stdout(), "signed by {} ({})", receipt.key, record.maker.program.escape_debug())?;
    if let Some(digest) = record.maker.image_sha256 {
        writeln!(stdout(), "kernel image {digest}")?;
    }
    let opened = arguments.engine.open(&arguments.model)?;
    let about = opened.record("", !record.work.request.adapters.is_empty())?;
    if about.files != record.model.files {
        return reject("it is about another model");
    }
    if about.adapters != record.model.adapters {
        return reject("it is about other adapters, or about them in another order");
    }
    let read;
    let prompt = match (&arguments.prompt_tokens, &receipt.prompt_tokens) {
        (Some(path), _) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let ids = text.split([' ', ',', '\n', '[', ']']).filter(|word| !word.is_empty()).map(str::parse);
            read = ids
                .collect::<Result<Vec<u32>, _>>()
                .with_context(|| format!("{}: no ids", path.display()))?;
            &read
        }
        (None, Some(prompt)) => prompt,
        (None, None) => {
            bail!("the receipt does not show the prompt; give its tokens with --prompt-tokens FILE")
        }
    };
    let n_tokens = record.work.answer.tokens.len();
    let recorded = facts(&record.work.state)?;
    let prompter = opened.prompter()?;
    let model = opened.model(prompter.gguf())?;
    if !(1..=model.config().n_ctx_train).contains(&recorded.n_ctx) {
        return reject("it has more positions than the model");
    }
    let options = runner_options(model.config(), recorded.n_ctx, 1, 1);
    // A long context needs no memory beyond that for the text.
    let n_pages = StateOptions::pages_of(prompt.len().saturating_add(n_tokens).min(recorded.n_ctx));
    let state = StateOptions { kv_type: recorded.kv_type, n_pages: n_pages.max(1), ..options.state };
    let options = RunnerOptions { state, precision: recorded.precision, ..options };
    let mut memory = EngineMemory::allocate(model.config(), &options)?;
    let mut responder = opened.responder(prompter, model, options, 1, &mut memory)?;
    let shows = stderr().is_terminal();
    Ok(verify(&mut responder, &record.work, prompt, PORTABLE, clock_us, &mut |n_come| {
        if shows && n_come % 100 == 0 {
            complain(&format!("{n_come} of {n_tokens} tokens"));
        }
    })?)
}

/// The receipt in a text: the last line that begins like a receipt, or the whole text.
fn receipt_in(text: &[u8]) -> &[u8] {
    let lines = text.split(|&byte| byte == b'\n');
    lines.map(|line| line.trim_ascii()).rfind(|line| line.starts_with(b"{\"key\":")).unwrap_or(text)
}

fn public_key(digits: &str) -> Result<Fixed<32>, String> {
    Fixed::parse(digits).ok_or_else(|| "expected 64 hexadecimal digits".into())
}
