//! `mem bench`: how fast this machine reads memory and multiplies, which bounds what a model can reach.

use llm::{
    front::{
        bench::median,
        units::{Rate, Size, per_second},
    },
    roofline,
};

use crate::llm::BackendError;
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
};

/// Less could lie in a large last-level cache.
const MIN_BYTES: usize = 48 << 20;
const MAX_BYTES: usize = 256 << 20;
const ALIGN_BYTES: usize = 64;

/// Of which the median is shown.
const RUNS: usize = 5;

/// Products of one call that is timed: 64 million.
const N_TIMES_ONE_TOKEN: usize = 1024;
const MANY_TOKENS: usize = 64;

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "mem bench",
    usage: "",
    n_positional: 0..=0,
    options: &[],
    summary: "measure how fast memory is read and weights are multiplied",
    details: "Reads free memory, 256 MiB of it if there are so many, with one core, with two and so on; then\n\
              multiplies Q4_0 weights that stay in the caches on one core. Medians of five runs. A model that is\n\
              loaded takes memory from what can be read.",
    run: bench,
}];

fn bench(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let machine = &shell.machine;
    let (clock_us, kernels, workers) = (machine.clock_us, machine.kernels, machine.workers);
    let size_bytes =
        machine.pool.largest_free_bytes().clamp(MIN_BYTES, MAX_BYTES) / ALIGN_BYTES * ALIGN_BYTES;
    let mut memory = machine.pool.reserve(size_bytes, ALIGN_BYTES).map_err(BackendError::NoBuffer)?;
    memory.fill(1);

    shell.terminal.print(format_args!("read {}\n", Size(size_bytes as u64)));
    for n_cores in 1..=workers.count() {
        let rate = median_rate(shell, clock_us, || {
            roofline::read(workers, n_cores, &memory);
            size_bytes as u64
        })?;
        let name = if n_cores == 1 { "core" } else { "cores" };
        shell.terminal.print(format_args!("  {n_cores} {name:<5}    {rate} GB/s\n"));
    }
    shell.terminal.print(format_args!("multiply Q4_0 on 1 core with {}\n", kernels.name()));
    for n_tokens in [1, MANY_TOKENS] {
        let n_times = N_TIMES_ONE_TOKEN / n_tokens;
        let rate = median_rate(shell, clock_us, || roofline::multiply(kernels, n_tokens, n_times))?;
        let name = if n_tokens == 1 { "token" } else { "tokens" };
        shell.terminal.print(format_args!("  {n_tokens:<2} {name:<7} {rate} billion products/s\n"));
    }
    Ok(())
}

/// Billions a second of what `work` does each time, as it says.
fn median_rate(
    shell: &mut Shell<'_>,
    clock_us: fn() -> u64,
    mut work: impl FnMut() -> u64,
) -> Result<Rate, CommandError> {
    let mut times_us = [0; RUNS];
    let mut done = 0;
    for time_us in &mut times_us {
        let started_us = clock_us();
        done = work();
        *time_us = clock_us().saturating_sub(started_us);
        if shell.terminal.check_interrupt().is_break() {
            return Err(BackendError::Cancelled.into());
        }
    }
    let elapsed_us = median(&mut times_us).unwrap_or(0);
    Ok(Rate(per_second(done, elapsed_us).map(|rate| rate / 1e9)))
}
