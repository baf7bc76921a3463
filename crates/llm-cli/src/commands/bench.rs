//! `llm bench`: how fast prompts are read and tokens are generated.

use std::io::{Write, stdout};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use llm::front::bench::{self, BenchPlan, BenchReport, Meter};
use llm::parallel::Workers;

use crate::engine::{EngineArguments, EngineMemory, clock_us, n_texts, positive};

/// Measure prefill and decode in tokens per second: medians over several runs, after one warm-up.
///
/// Prefill reads a prompt of -p tokens into an empty cache; decode generates -n tokens one by one after -d
/// others; with --parallel, the same is done with several texts at once, and their tokens are counted together.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    #[arg(long, value_parser = positive)]
    prompt: Option<usize>,

    #[arg(long, value_parser = positive)]
    generate: Option<usize>,

    #[arg(long)]
    depth: Option<usize>,

    #[arg(long, value_parser = positive)]
    runs: Option<usize>,

    #[arg(long, value_parser = n_texts)]
    parallel: Option<usize>,

    #[arg(long)]
    json: bool,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let start_us = clock_us();
    let default = BenchPlan::DEFAULT;
    let plan = BenchPlan {
        n_prompt: arguments.prompt.unwrap_or(default.n_prompt),
        n_generate: arguments.generate.unwrap_or(default.n_generate),
        depth: arguments.depth.unwrap_or(default.depth),
        n_runs: arguments.runs.unwrap_or(default.n_runs),
        n_parallel: arguments.parallel,
    };
    let opened = arguments.engine.open(&arguments.model)?;
    let gguf = opened.file.gguf()?;
    let model = opened.model(&gguf)?;
    let needed = plan.needed_positions();
    let options = arguments.engine.runner_options(model.config(), needed, 1, arguments.parallel.unwrap_or(1));
    if needed > options.state.n_ctx {
        bail!("{needed} tokens do not fit into a context of {}", options.state.n_ctx);
    }
    let mut memory = EngineMemory::allocate(model.config(), &options)?;
    let mut runner = opened.runner(model, options, &mut memory)?;
    let load_us = clock_us() - start_us;
    let meter = Meter { clock_us, instructions_retired: || None };
    let result = bench::run(&mut runner, plan, meter, &mut || ControlFlow::Continue(()))?;
    let report = BenchReport {
        model: &opened.file.display_name(&gguf),
        kernel_set: opened.kernels.name(),
        cores: opened.workers.count(),
        // The file is mapped: its bytes are loaded only when they are needed.
        load_bytes_per_s: None,
        first_token_us: load_us + result.first_token_us,
        result,
    };
    match arguments.json {
        true => writeln!(stdout(), "{}", report.json())?,
        false => write!(stdout(), "{report}")?,
    }
    Ok(())
}
