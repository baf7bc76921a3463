//! `llm mem-bench`: how fast this machine reads memory and multiplies, which limits the speed of a model.

use std::io::{Write, stdout};
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use clap::Args;
use llm::front::roofs::{self, RoofPlan};
use llm::simd::Kernels;
use memmap2::MmapMut;

use crate::engine::{clock_us, positive};
use crate::thread_pool::ThreadPool;

/// Number of products in one timed call: 268 million.
const N_TIMES: usize = 4096;

/// Amount of memory that is read: many times as much as caches hold.
const SIZE_MIB: usize = 1024;

/// Measure how fast memory is read, by one thread, by two and so on, and how fast Q4_0 weights that stay in
/// the caches are multiplied by one.
#[derive(Args)]
pub struct Arguments {
    #[arg(long, value_parser = positive)]
    threads: Option<usize>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let workers = ThreadPool::of(arguments.threads)?;
    let kernels = Kernels::detect();
    let context = || format!("no {SIZE_MIB} MiB of memory to read");
    let mut memory = MmapMut::map_anon(SIZE_MIB << 20).with_context(context)?;
    // In huge pages, like packed weights. A system without huge pages gives slower results, not wrong ones.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    memory.fill(1);

    let plan = RoofPlan { workers: &workers, kernels, memory: &memory, n_times: N_TIMES, clock_us };
    let mut written = Ok(());
    // If the output fails, the code below reports it.
    let _ = roofs::run(&plan, &mut |line| {
        written = line.map_or(Ok(()), |line| writeln!(stdout(), "{line}"));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    Ok(written?)
}
