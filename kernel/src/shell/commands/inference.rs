//! `llm infer`, `bench`, `stats`, `offload`: what the loaded model does.

use alloc::{string::String, vec::Vec};
use core::{fmt, num::NonZeroUsize};

use super::models::{
    CONTEXT_OPTION, EXPECTED_CONTEXT, KV_TYPE_OPTION, MODEL_OPTION, ensure_loaded, set_kv_type,
};
use super::numbers::print_ids;
use super::sampling::{
    MAX_TOKENS_OPTION, MIN_P_OPTION, REPEAT_LAST_N_OPTION, REPEAT_PENALTY_OPTION, SEED_OPTION,
    TEMPERATURE_OPTION, TOP_K_OPTION, TOP_P_OPTION, max_tokens, sampling,
};
use crate::llm::{BenchPlan, BenchResult, FOLDER, FinishReason, InferenceResult, Measurement, per_second};
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError, OptionSpec},
    terminal::Terminal,
    units::{Duration, Rate},
};

const DEFAULT_MAX_TOKENS: usize = 64;
const DEFAULT_BENCH_PROMPT: usize = 64;
const DEFAULT_BENCH_GENERATE: usize = 32;

pub(super) const STOP_OPTION: OptionSpec = OptionSpec::new(
    "stop",
    "TEXT",
    "end at this text, or at the token of this name; may be given several times",
);

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "llm infer",
        usage: "PROMPT [N]",
        n_positional: 0..=2,
        options: &[
            MODEL_OPTION,
            OptionSpec::new("prompt", "TEXT", "as the argument PROMPT").or(&["p"]),
            MAX_TOKENS_OPTION,
            TEMPERATURE_OPTION,
            TOP_K_OPTION,
            TOP_P_OPTION,
            MIN_P_OPTION,
            REPEAT_PENALTY_OPTION,
            REPEAT_LAST_N_OPTION,
            SEED_OPTION,
            OptionSpec::new(
                "speculate",
                "N",
                "guess up to N tokens, 8 at most, from what followed the same words: same text, sooner",
            ),
            STOP_OPTION,
            OptionSpec::flag("ids", "print the ids of the tokens, at the end, not text"),
            CONTEXT_OPTION,
            KV_TYPE_OPTION,
            OptionSpec::flag("verbose", "log the logits' range at each step"),
        ],
        summary: "continue PROMPT by up to N tokens, 64 unless told; Ctrl-C stops",
        details: "The most likely token is taken each time, so that the same prompt gives the same text, unless\n\
                  --temp, --top-k, --top-p, --min-p or --seed is given; the temperature is then 0.8 unless told.\n\
                  If no model is loaded, the first one is.",
        run: infer,
    },
    Command {
        name: "llm bench",
        usage: "",
        n_positional: 0..=0,
        options: &[
            MODEL_OPTION,
            CONTEXT_OPTION,
            KV_TYPE_OPTION,
            OptionSpec::new("prompt", "N", "tokens of the prompt, 64 unless told").or(&[
                "p",
                "prompt-tokens",
                "n-prompt",
            ]),
            OptionSpec::new("generate", "N", "tokens generated, 32 unless told").or(&[
                "n",
                "generate-tokens",
                "n-gen",
            ]),
            OptionSpec::new("depth", "N", "tokens before those, 0 unless told").or(&["d", "n-depth"]),
            OptionSpec::new("runs", "N", "how often, 1 unless told; medians are shown")
                .or(&["r", "repetitions"]),
            OptionSpec::flag("json", "one JSON object, with the keys of the host's bench"),
        ],
        summary: "measure a prompt and generation: tokens per second, instructions per token",
        details: "Instructions are the boot core's, shown where the CPU counts them; QEMU does with -icount.",
        run: bench,
    },
    Command {
        name: "llm stats",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show what was loaded and inferred since the start",
        details: "",
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
    // With the prompt as an option, N is the first argument.
    let (prompt, n_index) = match arguments.option_text("prompt")? {
        Some(prompt) => (prompt, 0),
        None => (arguments.text(0, "PROMPT")?.ok_or(CommandError::Usage(arguments.command()))?, 1),
    };
    if arguments.positional().len() > n_index + 1 {
        return Err(CommandError::GivenTwice { argument: "PROMPT", option: "prompt" });
    }
    let max_tokens = max_tokens(arguments, n_index, DEFAULT_MAX_TOKENS)?;
    let sampling = sampling(shell, arguments)?;
    let stop = stop_strings(arguments)?;
    let n_ctx = arguments.option("ctx", EXPECTED_CONTEXT)?;
    let n_speculated = arguments.option("speculate", "a number of tokens")?.unwrap_or(0);

    shell.backend.set_speculation(n_speculated);
    shell.backend.set_sampling_config(sampling)?;
    shell.backend.set_stop_strings(stop);
    shell.backend.set_verbose(arguments.has("verbose"));
    let as_ids = arguments.has("ids");
    set_kv_type(shell, arguments)?;
    ensure_loaded(shell, arguments, n_ctx)?;
    let Shell { backend, terminal, .. } = shell;
    let result = backend.infer_streaming(prompt, max_tokens, &mut |text| {
        if !as_ids {
            terminal.print(format_args!("{text}"));
        }
        terminal.check_interrupt()
    });
    match &result {
        Ok(result) if as_ids => print_ids(terminal, &result.ids),
        Ok(result) if result.output.ends_with('\n') => {}
        // Text may have been streamed before an error.
        _ => terminal.print(format_args!("\n")),
    }
    note_result(terminal, &result?);
    Ok(())
}

/// The texts that end a generation.
pub(super) fn stop_strings(arguments: &Arguments<'_>) -> Result<Vec<String>, CommandError> {
    arguments.option_texts(STOP_OPTION.name).map(|text| text.map(String::from)).collect()
}

/// Prints how an inference went, as status lines.
pub(super) fn note_result(terminal: &mut Terminal<'_>, result: &InferenceResult) {
    let reason = match result.finish_reason {
        FinishReason::MaxTokens => "",
        FinishReason::EndOfText => ", end of text",
        FinishReason::StopString => ", stop string",
        FinishReason::ContextFull => ", context full",
        FinishReason::Cancelled => ", stopped",
    };
    if let Some(forgotten) = result.forgotten {
        terminal.note(format_args!("[{forgotten}]"));
    }
    terminal.note(format_args!(
        "[{} prompt tokens, {} generated, first after {}, {} tokens/s{reason}]",
        result.prompt_tokens,
        result.tokens_emitted,
        Duration(result.first_token_us),
        Rate(result.tokens_per_second()),
    ));
}

fn bench(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    const TOKENS: &str = "a number of tokens, 1 or more";
    let at_least_one =
        |option, expected| Ok::<_, CommandError>(arguments.option(option, expected)?.map(NonZeroUsize::get));
    let plan = BenchPlan {
        n_prompt: at_least_one("prompt", TOKENS)?.unwrap_or(DEFAULT_BENCH_PROMPT),
        n_generate: at_least_one("generate", TOKENS)?.unwrap_or(DEFAULT_BENCH_GENERATE),
        depth: arguments.option("depth", "a number of tokens")?.unwrap_or(0),
        n_runs: at_least_one("runs", "a number of runs, 1 or more")?.unwrap_or(1),
    };
    let n_ctx = arguments.option("ctx", EXPECTED_CONTEXT)?;
    set_kv_type(shell, arguments)?;
    ensure_loaded(shell, arguments, n_ctx)?;
    let Shell { backend, terminal, machine, .. } = shell;
    let result = backend.bench(plan, &mut || terminal.check_interrupt())?;
    let cores = machine.workers.count();
    if arguments.has("json") {
        let path = backend.model_metadata().map_or("", |metadata| &*metadata.path);
        let model = path.strip_prefix(FOLDER).unwrap_or(path).trim_start_matches('/');
        terminal.print(format_args!("{}\n", JsonReport { model, cores, result }));
        return Ok(());
    }
    terminal.print(format_args!("kernels  {}\ncores    {cores}\n", result.kernel_set));
    for (name, measured) in [("prefill", result.prefill), ("decode", result.decode)] {
        let Measurement { tokens, elapsed_us, .. } = measured;
        let rate = Rate(per_second(tokens as u64, elapsed_us));
        terminal
            .print(format_args!("{name:<8} {tokens} tokens in {}: {rate} tokens/s", Duration(elapsed_us)));
        match per_token(measured) {
            Some(per_token) => terminal.print(format_args!(", {per_token} instructions/token\n")),
            None => terminal.print(format_args!("\n")),
        }
    }
    Ok(())
}

fn per_token(measured: Measurement) -> Option<u64> {
    measured.instructions?.checked_div(measured.tokens as u64)
}

/// The keys that the host's `llm bench --json` has.
struct JsonReport<'r> {
    model: &'r str,
    cores: usize,
    result: BenchResult,
}

impl fmt::Display for JsonReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BenchResult { prefill, decode, kernel_set, load_bytes_per_s, first_token_us } = self.result;
        let rate = |measured: Measurement| Json(per_second(measured.tokens as u64, measured.elapsed_us));
        // Other cores' instructions are not counted.
        let count = |measured| Json(per_token(measured).filter(|_| self.cores == 1));
        write!(f, "{{\"model\":\"")?;
        for c in self.model.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        write!(f, "\",\"kernel_set\":\"{kernel_set}\",\"cores\":{}", self.cores)?;
        write!(f, ",\"pp_tokens\":{},\"pp_tps\":{}", prefill.tokens, rate(prefill))?;
        write!(f, ",\"tg_tokens\":{},\"tg_tps\":{}", decode.tokens, rate(decode))?;
        write!(f, ",\"pp_insn_per_token\":{}", count(prefill))?;
        write!(f, ",\"tg_insn_per_token\":{}", count(decode))?;
        write!(f, ",\"load_bytes_per_s\":{},\"first_token_us\":{first_token_us}}}", Json(load_bytes_per_s))
    }
}

/// A number, or null.
struct Json<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
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
         first token   {} on average\n",
        stats.loads,
        stats.load_bytes,
        Rate(load_rate),
        stats.inferences,
        stats.prompt_tokens,
        stats.tokens_emitted,
        Rate(per_second(stats.tokens_emitted.saturating_sub(stats.inferences), decode_us)),
        stats.drafts_accepted,
        stats.tokens_drafted,
        Duration(stats.first_token_us.checked_div(stats.inferences).unwrap_or(0)),
    ));
    Ok(())
}

fn offload(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let Some(device) = shell.backend.offload() else {
        shell.terminal.print(format_args!("no device to offload to was found; the CPU computes\n"));
        return Ok(());
    };
    // Asked for the smallest product there is, the device shows whether it keeps its word.
    let answer = device.matmul(&[1.0], &[1.0], &mut [0.0]);
    let capabilities = device.capabilities();
    shell.terminal.print(format_args!("{}\n", device.name()));
    for (index, bytes) in capabilities.memory_bytes.iter().enumerate() {
        shell.terminal.print(format_args!("mapped memory {index}: {}\n", crate::shell::units::Size(*bytes)));
    }
    match answer {
        Ok(()) => shell.terminal.print(format_args!("matrix products: computed by the device\n")),
        Err(error) => shell.terminal.print(format_args!("matrix products: {error}; the CPU computes\n")),
    }
    Ok(())
}
