//! `llm infer`, `bench`, `stats`, `offload`: run and measure a loaded model.

use alloc::rc::Rc;
use core::{cell::RefCell, num::NonZeroUsize, ops::ControlFlow};

use llm::{
    chat::Dialogue,
    front::{
        Apart, Event, FrontError, LogprobLine, Report, Request,
        bench::{BenchPlan, BenchReport},
        options::{self, IDS, INFER_MAX_TOKENS, NONCE, PROMPT, RECEIPT},
        units::{Duration, Rate, Size, per_second},
    },
};
use trust::{canonical::OutOfMemory, notary::Notary, receipt::MAX_NONCE_BYTES};

use super::chat::ChatOptions;
use super::generation;
use super::loading::{engine_options, ensure_loaded, wait_until_idle};
use super::numbers::print_ids;
use crate::llm::{BackendError, FOLDER, Occupancy};
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
    progress::PromptStatus,
    terminal::Terminal,
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "llm infer",
        usage: "PROMPT [N]",
        n_positional: 0..=2,
        options: options::INFER,
        summary: "continue PROMPT by up to N tokens, 128 unless told; Ctrl-C stops",
        details: "The most likely token is taken each time, so that the same prompt gives the same text, unless\n\
                  --temp, --top-k, --top-p, --min-p or --seed is given; the temperature is then 0.8 unless told.\n\
                  If no model is loaded, the first one is.",
        run: infer,
    },
    Command {
        name: "llm bench",
        usage: "",
        n_positional: 0..=0,
        options: options::BENCH,
        summary: "measure a prompt and generation: tokens per second, instructions per token",
        details: "Instructions are the boot core's, shown where the CPU counts them; QEMU does with -icount. Requests that\n\
                  clients have made are answered first, and those that they make meanwhile after it.",
        run: bench,
    },
    Command {
        name: "llm stats",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show what was loaded and inferred since the start",
        details: "next tokens is the time from each token of an answer to the next. p50 is what half of these times do not\n\
                  exceed, p99 what 99 of 100 do not, each as the upper end of a bucket that is at most 1.6 % wide.\n\
                  deadlines are answers to clients that took longer than their timeout_ms, and the last of them: the names of\n\
                  answers end with these digits.",
        run: stats,
    },
    Command {
        name: "llm offload",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show which device computes",
        details: "",
        run: offload,
    },
];

fn infer(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    // If the prompt is given as an option, N is the first argument.
    let (text, n_index) = match arguments.option_text(PROMPT.name)? {
        Some(prompt) => (prompt, 0),
        None => (arguments.text(0, "PROMPT")?.ok_or(CommandError::Usage(arguments.command()))?, 1),
    };
    if arguments.positional().len() > n_index + 1 {
        return Err(CommandError::GivenTwice { argument: "PROMPT", option: PROMPT.name });
    }
    let task = ChatOptions::new(shell, arguments)?.task(arguments)?;
    let engine = engine_options(shell, arguments)?;
    let wanted = generation::wanted(shell, arguments, n_index, INFER_MAX_TOKENS)?;
    let nonce = arguments.option_text(NONCE.name)?;
    let receipt = if arguments.has(RECEIPT.name) { Some(notary(shell, nonce)?.compress()) } else { None };
    ensure_loaded(shell, arguments, Some(engine))?;
    let mut dialogue = Dialogue::default();
    let prompt = task.prompt(text, &mut dialogue).map_err(BackendError::from)?;
    let request = Request { receipt, ..wanted.request(prompt) };
    let report = generate(shell, request, arguments.has(IDS.name))?;
    if receipt.is_some() {
        // Read the key now, because a snapshot may have been restored in the meantime.
        let notary = notary(shell, nonce)?;
        print_receipt(shell, &notary, &report, nonce)?;
    }
    Ok(())
}

/// The signer of a receipt with this nonce.
fn notary(shell: &Shell<'_>, nonce: Option<&str>) -> Result<Rc<Notary>, BackendError> {
    if nonce.is_some_and(|nonce| nonce.len() > MAX_NONCE_BYTES) {
        return Err(BackendError::NonceTooLong);
    }
    shell.serving.notary().ok_or(BackendError::NoReceiptKey)
}

/// Prints the receipt of an answer in one line.
fn print_receipt(
    shell: &mut Shell<'_>,
    notary: &Notary,
    report: &Report,
    nonce: Option<&str>,
) -> Result<(), BackendError> {
    let Some(work) = &report.work else { return Ok(()) };
    let Shell { backend, terminal, machine, .. } = shell;
    let mut model = backend.record(None, &mut |_| terminal.check_interrupt())?;
    if !work.has_adapters() {
        model.adapters.clear();
    }
    let time = (machine.now_seconds)();
    let receipt =
        notary.receipt(&model, nonce, time, Some(work.prompt()), |writer| work.write(writer, report));
    let receipt = receipt.map_err(|OutOfMemory { needed_bytes }| FrontError::OutOfHeap { needed_bytes })?;
    terminal.print(format_args!("{}\n", str::from_utf8(&receipt).unwrap_or_default()));
    Ok(())
}

/// Has a request answered, and prints the text as it arrives, or the ids at the end, or a line for each token with its
/// probability. Then prints statistics.
pub(super) fn generate(
    shell: &mut Shell<'_>,
    request: Request<'_>,
    as_ids: bool,
) -> Result<Report, BackendError> {
    let mut printed = false;
    let mut has_lines = false;
    let tells_apart = request.tell_apart;
    let mut apart = Apart::new(shell.terminal.is_interactive());
    let result = answer(shell, request, &mut |terminal, event| {
        match event {
            Event::Trace { step, logits } => log::info!("step {step}: {logits}"),
            Event::Forgotten(forgotten) => terminal.note(format_args!("[{forgotten}]")),
            &Event::Token { id, logprobs: Some(logprobs), tokenizer, .. } => {
                has_lines = true;
                let tokenizer = Some(tokenizer).filter(|_| !as_ids);
                terminal.print(format_args!("{}\n", LogprobLine { id, logprobs, tokenizer }));
            }
            _ => {}
        }
        if has_lines {
            return;
        }
        if tells_apart {
            apart.show(event, &mut |text| {
                printed = true;
                terminal.print(format_args!("{text}"));
            });
        } else if !as_ids && !event.text().is_empty() {
            printed = true;
            terminal.print(format_args!("{}", event.text()));
        }
    });
    let terminal = &mut shell.terminal;
    match &result {
        _ if has_lines => {}
        Ok(report) if as_ids => print_ids(terminal, &report.ids),
        Ok(report) if !tells_apart && report.output.ends_with('\n') => {}
        // An error may come after text has been printed.
        Err(_) if !printed => {}
        _ => terminal.print(format_args!("\n")),
    }
    let report = result?;
    terminal.note(format_args!("[{report}]"));
    Ok(report)
}

/// Has the current model answer a request, together with those from the network, and reports each event.
fn answer<'a>(
    shell: &mut Shell<'a>,
    request: Request<'_>,
    tell: &mut dyn FnMut(&mut Terminal<'a>, &Event<'_>),
) -> Result<Report, BackendError> {
    let Shell { backend, terminal, serving, machine, .. } = shell;
    let n_batch = backend.responder(None)?.runner().options().n_batch;
    let status = PromptStatus::new(machine.clock_us, backend.model(None)?.n_layer, n_batch);
    let ticket = backend.submit(None, request)?;
    let terminal = RefCell::new(terminal);
    let mut end = None;
    let mut is_stopped = false;
    loop {
        serving.bring_requests(&mut **backend);
        let stepped = backend.step(
            &mut || {
                let terminal = &mut *terminal.borrow_mut();
                status.report(terminal);
                let checked = terminal.check_interrupt();
                is_stopped |= checked.is_break();
                checked
            },
            &mut |of, event| {
                if of != ticket {
                    status.share(&mut terminal.borrow_mut());
                    return serving.event(of, &event);
                }
                match &event {
                    Event::Finished { report, .. } => end = Some(report.copy().map_err(BackendError::from)),
                    Event::Failed { error, .. } => end = Some(Err(BackendError::Front((*error).clone()))),
                    _ => {}
                }
                let terminal = &mut *terminal.borrow_mut();
                status.take(&event, terminal);
                tell(terminal, &event);
                ControlFlow::Continue(())
            },
        );
        if let Some(end) = end {
            return end;
        }
        status.end_batch(*stepped.as_ref().unwrap_or(&0));
        if is_stopped && let Some(report) = backend.cancel(ticket) {
            terminal.borrow_mut().clear_status();
            return Ok(report);
        }
        if let Err(error) = stepped {
            backend.cancel(ticket);
            return Err(error);
        }
    }
}

fn bench(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    const TOKENS: &str = "a number of tokens, 1 or more";
    let at_least_one =
        |option, expected| Ok::<_, CommandError>(arguments.option(option, expected)?.map(NonZeroUsize::get));
    let default = BenchPlan::DEFAULT;
    let engine = engine_options(shell, arguments)?;
    let plan = BenchPlan {
        n_prompt: at_least_one("prompt", TOKENS)?.unwrap_or(default.n_prompt),
        n_generate: at_least_one("generate", TOKENS)?.unwrap_or(default.n_generate),
        depth: arguments.option("depth", "a number of tokens")?.unwrap_or(default.depth),
        n_runs: at_least_one("runs", "a number of runs, 1 or more")?.unwrap_or(default.n_runs),
        n_parallel: engine.n_parallel,
    };
    ensure_loaded(shell, arguments, Some(engine))?;
    wait_until_idle(shell)?;
    let Shell { backend, terminal, .. } = shell;
    let (result, runs_on) = backend.bench(None, plan, &mut || terminal.check_interrupt())?;
    let path = backend.model(None)?.path.as_str();
    let report = BenchReport {
        model: path.strip_prefix(FOLDER).unwrap_or(path).trim_start_matches('/'),
        kernel_set: runs_on.kernel_set,
        cores: runs_on.n_cores,
        load_bytes_per_s: per_second(runs_on.load_bytes, runs_on.load_us),
        first_token_us: runs_on.load_us + result.first_token_us,
        result,
    };
    match arguments.has("json") {
        true => terminal.print(format_args!("{}\n", report.json())),
        false => terminal.print(format_args!("{report}")),
    }
    Ok(())
}

fn stats(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let stats = shell.backend.statistics();
    let decode_us = stats.latency_us.saturating_sub(stats.first_token_us);
    let load_rate = per_second(stats.load_bytes, stats.load_us).map(|rate| rate / 1e6);
    shell.terminal.print(format_args!(
        "loads         {} ({} bytes, {} MB/s)\n\
         inferences    {}\n\
         prompt tokens {}\n\
         tokens        {} ({} tokens/s after the first)\n\
         guessed       {} of {} tokens came\n\
         batches       {}\n\
         prefix hits   {} ({} tokens reused)\n\
         preemptions   {}\n\
         first token   {} on average\n\
         next tokens   p50 {}, p99 {}, max {}\n",
        stats.loads,
        stats.load_bytes,
        Rate(load_rate),
        stats.inferences,
        stats.prompt_tokens,
        stats.tokens_emitted,
        Rate(per_second(stats.tokens_emitted.saturating_sub(stats.inferences), decode_us)),
        stats.drafts_accepted,
        stats.tokens_drafted,
        stats.batches,
        stats.prefix_hits,
        stats.tokens_reused,
        stats.preemptions,
        Duration(stats.first_token_us.checked_div(stats.inferences).unwrap_or(0)),
        Duration(stats.token_us.percentile_us(50)),
        Duration(stats.token_us.percentile_us(99)),
        Duration(stats.token_us.max_us()),
    ));
    let Shell { backend, terminal, serving, .. } = shell;
    serving.with_overdue(&mut |overdue| {
        terminal.print(format_args!("deadlines     {} missed\n", overdue.n));
        for (number, by_us) in overdue.last() {
            terminal.print(format_args!("  request …{number:08x} by {}\n", Duration(by_us)));
        }
    });
    for status in backend.models() {
        let Occupancy { n_running, n_waiting, n_used_pages, n_pages } = status.occupancy;
        let path = &status.metadata.path;
        terminal.print(format_args!(
            "{path}: {n_running} texts running, {n_waiting} waiting; {n_used_pages} of {n_pages} pages used\n"
        ));
    }
    Ok(())
}

fn offload(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let Some(device) = shell.backend.offload() else {
        shell.terminal.print(format_args!("no device to offload to was found; the CPU computes\n"));
        return Ok(());
    };
    // Requests the smallest possible product, to check that the device does what it reports.
    let answer = device.matmul(&[1.0], &[1.0], &mut [0.0]);
    let capabilities = device.capabilities();
    shell.terminal.print(format_args!("{}\n", device.name()));
    for (index, bytes) in capabilities.memory_bytes.iter().enumerate() {
        shell.terminal.print(format_args!("mapped memory {index}: {}\n", Size(*bytes)));
    }
    match answer {
        Ok(()) => shell.terminal.print(format_args!("matrix products: computed by the device\n")),
        Err(error) => shell.terminal.print(format_args!("matrix products: {error}; the CPU computes\n")),
    }
    Ok(())
}
