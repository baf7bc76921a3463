//! `llm mem-bench`: how fast this machine reads memory and multiplies, which bounds what a model can reach.

use std::io::{Write, stdout};
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use clap::Args;
use llm::front::bench::median;
use llm::front::units::per_second;
use llm::parallel::Workers;
use llm::roofline;
use llm::simd::Kernels;
use memmap2::MmapMut;

use crate::engine::{clock_us, positive};
use crate::thread_pool::{MAX_THREADS, ThreadPool};

/// Tokens of a batch for which weights are read once.
const MANY_TOKENS: usize = 64;

/// Products of one call that is timed: 268 million.
const N_TIMES_ONE_TOKEN: usize = 4096;

/// Read so much, many times what caches hold.
const SIZE_MIB: usize = 1024;

/// Of which the median is shown.
const RUNS: usize = 5;

/// Measure how fast memory is read, by one thread, by two and so on, and how fast Q4_0 weights that stay in
/// the caches are multiplied by one.
#[derive(Args)]
pub struct Arguments {
    /// Threads that read at most [default: one per core].
    #[arg(short = 't', long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let by_cores = || available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let threads = arguments.threads.unwrap_or_else(by_cores);
    let workers = ThreadPool::new(threads).with_context(|| format!("cannot start {threads} threads"))?;
    let kernels = Kernels::detect();
    let context = || format!("no {SIZE_MIB} MiB of memory to read");
    let mut memory = MmapMut::map_anon(SIZE_MIB << 20).with_context(context)?;
    // As weights lie once they are packed. A system that has none of these pages is slower, not wrong.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    memory.fill(1);

    let mut output = stdout().lock();
    writeln!(output, "read {SIZE_MIB} MiB")?;
    for n_threads in 1..=workers.count() {
        let rate = median_rate(|| {
            roofline::read(&workers, n_threads, &memory);
            memory.len() as u64
        });
        writeln!(output, "  {n_threads} threads  {rate:.1} GB/s")?;
    }
    writeln!(output, "multiply Q4_0 on 1 thread with {}", kernels.name())?;
    for n_tokens in [1, MANY_TOKENS] {
        let n_times = N_TIMES_ONE_TOKEN / n_tokens;
        let rate = median_rate(|| roofline::multiply(kernels, n_tokens, n_times));
        writeln!(output, "  {n_tokens:<2} tokens  {rate:.1} billion products/s")?;
    }
    Ok(())
}

/// Billions a second of what `work` does each time, as it says.
fn median_rate(mut work: impl FnMut() -> u64) -> f64 {
    let mut done = 0;
    let mut times_us = [0; RUNS];
    for time_us in &mut times_us {
        let start_us = clock_us();
        done = work();
        *time_us = clock_us() - start_us;
    }
    per_second(done, median(&mut times_us).unwrap_or(0)).unwrap_or(0.0) / 1e9
}
