//! `mem bench`: measures how fast this machine reads memory and multiplies, which limits the speed of every model.

use core::ops::ControlFlow;

use llm::front::roofs::{self, RoofPlan};

use crate::llm::BackendError;
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
};
use crate::system::Machine;

/// A smaller buffer could fit into a large last-level cache.
const MIN_BYTES: usize = 48 << 20;
const MAX_BYTES: usize = 256 << 20;
const ALIGN_BYTES: usize = 64;

/// Number of products per timed call: 64 million multiplications.
const N_TIMES: usize = 1024;

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
    let Shell { machine, terminal, .. } = shell;
    let size_bytes =
        machine.pool.largest_free_bytes().clamp(MIN_BYTES, MAX_BYTES) / ALIGN_BYTES * ALIGN_BYTES;
    let mut memory = machine.pool.reserve(size_bytes, ALIGN_BYTES).map_err(BackendError::NoBuffer)?;
    memory.fill(1);
    let &mut Machine { workers, kernels, clock_us, .. } = machine;
    let plan = RoofPlan { workers, kernels, memory: &memory, n_times: N_TIMES, clock_us };
    let measured = roofs::run(&plan, &mut |line| match line {
        Some(line) => {
            terminal.print(format_args!("{line}\n"));
            ControlFlow::Continue(())
        }
        None => terminal.check_interrupt(),
    });
    match measured {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(BackendError::Cancelled.into()),
    }
}
