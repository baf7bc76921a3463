//! `llm bench`: how fast prompts are read and tokens generated.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use llm::model::Model;
use llm::parallel::Workers;
use llm::session::{Logits, Session};
use serde::Serialize;

use crate::engine::{EngineArguments, SessionMemory, positive};
use crate::model_file::ModelFile;

/// Length of the prompt whose first token is timed from the opening of the file.
const FIRST_TOKEN_PROMPT: usize = 5;

/// Measure prefill and decode in tokens per second: medians over several runs, after one warm-up.
///
/// Prefill reads a prompt of -p tokens into an empty cache; decode generates -n tokens one by one after -d
/// others.
#[derive(Args)]
pub struct Arguments {
    /// The model, a GGUF file.
    #[arg(short, long, value_name = "FILE")]
    model: PathBuf,

    /// Tokens of the prompt.
    #[arg(short = 'p', long = "prompt-tokens", visible_alias = "prompt", alias = "n-prompt", value_name = "N", default_value_t = 128, value_parser = positive)]
    prompt_tokens: usize,

    /// Tokens to generate.
    #[arg(short = 'n', long = "generate-tokens", visible_alias = "generate", alias = "n-gen", value_name = "N", default_value_t = 32, value_parser = positive)]
    generate_tokens: usize,

    /// Tokens before those that are generated.
    #[arg(short = 'd', long, alias = "n-depth", value_name = "N", default_value_t = 0)]
    depth: usize,

    /// Runs of each measurement.
    #[arg(short = 'r', long = "repetitions", visible_alias = "runs", value_name = "N", default_value_t = 3, value_parser = positive)]
    repetitions: usize,

    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    engine: EngineArguments,
}

/// One row of results, with the same fields as the kernel's `llm bench`; `None` is "not measured".
#[derive(Serialize)]
struct Report {
    model: String,
    kernel_set: &'static str,
    cores: usize,
    pp_tokens: usize,
    pp_tps: f64,
    tg_tokens: usize,
    tg_tps: f64,
    pp_insn_per_token: Option<f64>,
    tg_insn_per_token: Option<f64>,
    load_bytes_per_s: Option<f64>,
    first_token_us: u64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let report = measure(arguments)?;
    let mut output = stdout().lock();
    if arguments.json {
        return Ok(writeln!(output, "{}", serde_json::to_string(&report)?)?);
    }
    writeln!(output, "model        {}", report.model)?;
    writeln!(output, "kernels      {}, {} threads", report.kernel_set, report.cores)?;
    writeln!(output, "prefill      {:.2} tokens/s ({} tokens)", report.pp_tps, report.pp_tokens)?;
    writeln!(output, "decode       {:.2} tokens/s ({} tokens)", report.tg_tps, report.tg_tokens)?;
    let first_token_ms = report.first_token_us as f64 / 1e3;
    writeln!(
        output,
        "first token  {first_token_ms:.1} ms after opening the file ({FIRST_TOKEN_PROMPT}-token prompt)"
    )?;
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<Report> {
    let started = Instant::now();
    let workers = arguments.engine.workers()?;
    let kernels = arguments.engine.kernels()?;
    let mut file = ModelFile::open(&arguments.model)?;
    file.pack(kernels, &workers)?;
    let gguf = file.gguf()?;
    let model = Model::load(&gguf)?;
    let n_vocab = model.config().n_vocab;
    let (pp_tokens, tg_tokens) = (arguments.prompt_tokens, arguments.generate_tokens);
    let depth = arguments.depth;
    let needed = pp_tokens.max(depth.saturating_add(tg_tokens)).max(FIRST_TOKEN_PROMPT);
    let options = arguments.engine.session_options(model.config(), needed, 1);
    if needed > options.n_ctx {
        bail!("{needed} tokens do not fit into a context of {}", options.n_ctx);
    }
    let mut memory = SessionMemory::allocate(model.config(), &options)?;
    let mut session = Session::new(model, options, kernels, &workers, memory.as_mut_slice())?;

    let prompt = synthetic_prompt(needed, n_vocab);
    prefill(&mut session, &prompt[..FIRST_TOKEN_PROMPT])?;
    let first_token = started.elapsed();

    let mut pp = Vec::new();
    let mut tg = Vec::new();
    // The first run warms caches, clock frequencies and the file's pages, and is not counted.
    for counted in (0..=arguments.repetitions).map(|run| run > 0) {
        let prefill_time = timed(|| prefill(&mut session, &prompt[..pp_tokens]))?;
        prefill(&mut session, &prompt[..depth])?;
        let decode_time = timed(|| decode(&mut session, &prompt[depth..depth + tg_tokens]))?;
        if counted {
            pp.push(prefill_time);
            tg.push(decode_time);
        }
    }
    Ok(Report {
        model: file.display_name(&gguf),
        kernel_set: kernels.name(),
        cores: workers.count(),
        pp_tokens,
        pp_tps: pp_tokens as f64 / median(pp).as_secs_f64(),
        tg_tokens,
        tg_tps: tg_tokens as f64 / median(tg).as_secs_f64(),
        pp_insn_per_token: None,
        tg_insn_per_token: None,
        load_bytes_per_s: None,
        first_token_us: u64::try_from(first_token.as_micros()).unwrap_or(u64::MAX),
    })
}

/// Ids spread over the vocabulary: speed must not depend on what the text says.
fn synthetic_prompt(len: usize, n_vocab: usize) -> Vec<u32> {
    const STRIDE: usize = 7919;
    (1..=len).map(|i| (i * STRIDE % n_vocab) as u32).collect()
}

fn prefill(session: &mut Session<'_>, prompt: &[u32]) -> Result<()> {
    session.reset();
    if !prompt.is_empty() {
        session.forward(prompt, Logits::Last)?;
    }
    Ok(())
}

fn decode(session: &mut Session<'_>, tokens: &[u32]) -> Result<()> {
    for token in tokens {
        session.forward(std::slice::from_ref(token), Logits::Last)?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

/// The middle value; of an even number, the mean of the middle two.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    let middle = times.len() / 2;
    if times.len().is_multiple_of(2) { (times[middle - 1] + times[middle]) / 2 } else { times[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle() {
        let times = |ms: &[u64]| ms.iter().map(|&ms| Duration::from_millis(ms)).collect();
        assert_eq!(median(times(&[9, 1, 4])), Duration::from_millis(4));
        assert_eq!(median(times(&[9, 1, 4, 5])), Duration::from_micros(4500));
    }

    #[test]
    fn the_prompt_stays_within_the_vocabulary() {
        assert!(synthetic_prompt(1000, 97).iter().all(|&id| id < 97));
    }
}
