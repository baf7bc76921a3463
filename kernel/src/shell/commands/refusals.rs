//! `selftest refuse`: has memory refused. Only kernels that are built for tests have it.

use crate::memory::refusals;
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
};

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "selftest refuse",
    usage: "[FIRST [LAST]]",
    n_positional: 0..=2,
    options: &[],
    summary: "count larger blocks of the heap and regions of the pool, and refuse those of these numbers, from 0",
    details: "Shows what was counted since the last time, and what is in use.",
    run: refuse,
}];

fn refuse(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let first = arguments.value(0, "FIRST", "a number")?;
    let last = arguments.value(1, "LAST", "a number")?.or(first);
    let refused = first.zip(last).map_or(refusals::NOTHING, |(first, last)| first..=last);
    let counted = refusals::ALL.begin(refused);
    let (heap, pool) = ((shell.machine.heap_usage)(), shell.machine.pool);
    shell.terminal.print(format_args!(
        "{} requested, {} refused; heap {} bytes, pool {} bytes\n",
        counted.n_requested,
        counted.n_refused,
        heap.used_bytes,
        pool.total_bytes() - pool.free_bytes(),
    ));
    Ok(())
}
