//! Measures how fast prompts are read and tokens are generated: [`BenchPlan`], [`run`], [`BenchReport`].
//!
//! The time does not depend on which tokens are computed.

use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;

use super::FrontError;
use super::units::{Duration, Rate, per_second};
use crate::model::Input;
use crate::scheduler::MAX_RUNNING;
use crate::session::{Logits, Runner, SessionError, Span};
use crate::state::{OutOfPages, StateOptions};

/// Tokens of the prompt with which the time to the first token is measured.
pub const FIRST_TOKEN_PROMPT: usize = 5;

/// What to measure. Each measurement is repeated `n_runs` times, and the median counts. A short prompt comes first and,
/// if there are several runs, a whole run that does not count; they warm up caches and clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchPlan {
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Tokens evaluated one at a time; by an encoder, each as a text of its own.
    pub n_generate: usize,
    /// Tokens already computed before these; 0 for an encoder.
    pub depth: usize,
    /// Number of runs.
    pub n_runs: usize,
    /// Number of texts to generate together in an additional measurement; `None` for an encoder.
    pub n_parallel: Option<usize>,
}

impl BenchPlan {
    /// The default plan.
    pub const DEFAULT: Self = Self { n_prompt: 128, n_generate: 32, depth: 0, n_runs: 3, n_parallel: None };

    /// The number of positions that the context must have.
    pub fn needed_positions(&self) -> usize {
        self.n_prompt.max(self.depth.saturating_add(self.n_generate)).max(FIRST_TOKEN_PROMPT)
    }

    /// Checks beforehand that a runner has room for the whole plan, because the measurement takes minutes.
    fn check(&self, runner: &Runner<'_>) -> Result<(), FrontError> {
        if runner.model().config().is_encoder() {
            let given = [("--depth", self.depth > 0), ("--parallel", self.n_parallel.is_some())];
            if let Some(&(option, _)) = given.iter().find(|(_, is_given)| *is_given) {
                return Err(FrontError::EncoderOption { option });
            }
        }
        let StateOptions { n_ctx, n_slots, n_pages, .. } = runner.options().state;
        let n_tokens = self.needed_positions();
        if n_tokens > n_ctx {
            return Err(SessionError::ContextFull { n_tokens, n_past: 0, n_ctx }.into());
        }
        let n_texts = self.n_parallel.unwrap_or(1);
        let n_slots = n_slots.min(MAX_RUNNING);
        if !(1..=n_slots).contains(&n_texts) {
            return Err(FrontError::TooManyTexts { n_texts, n_slots });
        }
        let n_positions = self.depth + self.n_generate;
        let n_together = n_texts.saturating_mul(StateOptions::pages_of(n_positions));
        let n_needed = n_together.max(StateOptions::pages_of(n_tokens));
        if n_needed > n_pages {
            return Err(SessionError::Pages(OutOfPages { n_needed, n_free: n_pages }).into());
        }
        Ok(())
    }
}

/// The counters to measure with.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// Microseconds since some moment in the past; never goes back.
    pub clock_us: fn() -> u64,
    /// Instructions that this core has retired, `None` where the CPU does not count them.
    pub instructions_retired: fn() -> Option<u64>,
}

/// A number of tokens, and the time and instructions that they took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Tokens evaluated.
    pub tokens: usize,
    /// Time they took.
    pub elapsed_us: u64,
    /// Instructions they took on this core, where the CPU counts them.
    pub instructions: Option<u64>,
}

/// What a benchmark measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchResult {
    /// The prompt in an empty cache.
    pub prefill: Measurement,
    /// Tokens one at a time, at the depth that the plan states.
    pub decode: Measurement,
    /// The first token after a prompt of [`FIRST_TOKEN_PROMPT`].
    pub first_token_us: u64,
    /// Several texts together, one token of each at a time.
    pub batch: Option<BatchMeasurement>,
}

/// Texts that were generated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMeasurement {
    /// How many.
    pub n_parallel: usize,
    /// The tokens of all of them.
    pub decode: Measurement,
}

/// Measures a model on a runner whose slots are empty; they are empty again afterwards. `go_on` is called while tokens are computed, and
/// may break off.
///
/// # Errors
/// If the tokens do not fit the context or the pages, or the texts do not fit the slots; if the model is an encoder and the plan has a
/// depth or several texts; if the heap has no room for that many runs, or `go_on` breaks off ([`SessionError::Stopped`]).
pub fn run(
    runner: &mut Runner<'_>,
    plan: BenchPlan,
    meter: Meter,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<BenchResult, FrontError> {
    plan.check(runner)?;
    let measured = measure_all(runner, plan, meter, go_on);
    for slot in 0..runner.options().state.n_slots {
        runner.truncate(slot, 0);
    }
    measured
}

fn measure_all(
    runner: &mut Runner<'_>,
    plan: BenchPlan,
    meter: Meter,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<BenchResult, FrontError> {
    let BenchPlan { n_prompt, n_generate, depth, n_runs, n_parallel } = plan;
    let n_texts = n_parallel.unwrap_or(1);
    let is_encoder = runner.model().config().is_encoder();
    // Each text has tokens of its own: no page is shared.
    let len = plan.needed_positions();
    let ids = synthetic_ids(n_texts.saturating_mul(len), runner.model().config().n_vocab)?;
    let text = |slot: usize| &ids[slot * len..][..len];
    // Reads the counter at least once per layer, so that no wrap is missed where no interrupt signals one.
    let go_on = &mut || {
        (meter.instructions_retired)();
        go_on()
    };
    let first_token = prefill(runner, &text(0)[..FIRST_TOKEN_PROMPT], meter, go_on)?;
    let (mut prefills, mut decodes) = (Runs::new(n_runs)?, Runs::new(n_runs)?);
    let first_counted = usize::from(n_runs > 1);
    for run in 0..first_counted + n_runs {
        let measured_prefill = prefill(runner, &text(0)[..n_prompt], meter, go_on)?;
        prefill(runner, &text(0)[..depth], meter, go_on)?;
        let measured_decode = measure(n_generate, meter, || {
            for position in depth..depth + n_generate {
                let span = next_token(0, position, text(0));
                // An encoder computes whole texts, so each token is a text of its own.
                let first_position = if is_encoder { 0 } else { position };
                runner.run(&[Span { first_position, ..span }], go_on)?;
            }
            Ok(())
        })?;
        if run >= first_counted {
            prefills.push(measured_prefill);
            decodes.push(measured_decode);
        }
    }
    let batch = match n_parallel {
        None => None,
        Some(n_parallel) => {
            let decode = decode_together(runner, plan, text, meter, go_on)?;
            Some(BatchMeasurement { n_parallel, decode })
        }
    };
    Ok(BenchResult {
        prefill: prefills.median(n_prompt),
        decode: decodes.median(n_generate),
        first_token_us: first_token.elapsed_us,
        batch,
    })
}

/// Computes the next tokens of several texts, one of each at a time; `text` gives the text of each slot.
fn decode_together<'t>(
    runner: &mut Runner<'_>,
    plan: BenchPlan,
    text: impl Fn(usize) -> &'t [u32],
    meter: Meter,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Measurement, FrontError> {
    let BenchPlan { n_generate, depth, n_runs, n_parallel, .. } = plan;
    let n_texts = n_parallel.unwrap_or(1);
    let mut spans = [next_token(0, 0, text(0)); MAX_RUNNING];
    let spans = &mut spans[..n_texts];
    let mut decodes = Runs::new(n_runs)?;
    let first_counted = usize::from(n_runs > 1);
    for run in 0..first_counted + n_runs {
        for slot in 0..n_texts {
            // The state of recurrent layers cannot always be truncated.
            if runner.truncate(slot, depth) < depth {
                compute(runner, slot, &text(slot)[..depth], go_on)?;
            }
        }
        let measured = measure(n_texts * n_generate, meter, || {
            for position in depth..depth + n_generate {
                for (slot, span) in spans.iter_mut().enumerate() {
                    *span = next_token(slot, position, text(slot));
                }
                runner.run(spans, go_on)?;
            }
            Ok(())
        })?;
        if run >= first_counted {
            decodes.push(measured);
        }
    }
    Ok(decodes.median(n_texts * n_generate))
}

/// One token of a text, and the logits after it.
fn next_token(slot: usize, position: usize, text: &[u32]) -> Span<'_> {
    let input = Input::Tokens(&text[position..=position]);
    Span { slot, first_position: position, input, logits: Logits::Last }
}

/// Ids spread over the vocabulary.
fn synthetic_ids(len: usize, n_vocab: usize) -> Result<Vec<u32>, FrontError> {
    const STRIDE: usize = 7919;
    let mut ids = Vec::new();
    let needed_bytes = len.saturating_mul(size_of::<u32>());
    ids.try_reserve_exact(len).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
    ids.extend((1..=len).map(|i| (i * STRIDE % n_vocab) as u32));
    Ok(ids)
}

/// Fills a slot with these tokens, and computes the logits after the last one.
fn compute(
    runner: &mut Runner<'_>,
    slot: usize,
    ids: &[u32],
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<(), FrontError> {
    runner.truncate(slot, 0);
    let n_batch = runner.options().n_batch;
    for (index, batch) in ids.chunks(n_batch).enumerate() {
        let first_position = index * n_batch;
        let is_last = first_position + batch.len() == ids.len();
        let logits = if is_last { Logits::Last } else { Logits::None };
        runner.run(&[Span { slot, first_position, input: Input::Tokens(batch), logits }], go_on)?;
    }
    Ok(())
}

/// Computes `ids` from an empty context.
fn prefill(
    runner: &mut Runner<'_>,
    ids: &[u32],
    meter: Meter,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Measurement, FrontError> {
    measure(ids.len(), meter, || compute(runner, 0, ids, go_on))
}

fn measure(
    tokens: usize,
    meter: Meter,
    work: impl FnOnce() -> Result<(), FrontError>,
) -> Result<Measurement, FrontError> {
    let start_us = (meter.clock_us)();
    let start_instructions = (meter.instructions_retired)();
    work()?;
    let end_instructions = (meter.instructions_retired)();
    Ok(Measurement {
        tokens,
        elapsed_us: (meter.clock_us)().saturating_sub(start_us),
        instructions: end_instructions.zip(start_instructions).map(|(end, start)| end.wrapping_sub(start)),
    })
}

/// The times of several runs, and their instruction counts where the CPU counts them.
struct Runs {
    elapsed_us: Vec<u64>,
    instructions: Vec<u64>,
}

impl Runs {
    fn new(n_runs: usize) -> Result<Self, FrontError> {
        let room = || {
            let needed_bytes = n_runs.saturating_mul(size_of::<u64>());
            let mut list = Vec::new();
            list.try_reserve_exact(n_runs).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
            Ok::<_, FrontError>(list)
        };
        Ok(Self { elapsed_us: room()?, instructions: room()? })
    }

    fn push(&mut self, measured: Measurement) {
        self.elapsed_us.push(measured.elapsed_us);
        self.instructions.extend(measured.instructions);
    }

    fn median(mut self, tokens: usize) -> Measurement {
        Measurement {
            tokens,
            elapsed_us: median(&mut self.elapsed_us).unwrap_or(0),
            instructions: median(&mut self.instructions),
        }
    }
}

/// The median. For an even number of values it is the mean of the middle two, rounded down; `None` if there are no
/// values.
pub fn median(values: &mut [u64]) -> Option<u64> {
    sort::sort(values);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n.is_multiple_of(2) => Some(values[middle - 1].midpoint(values[middle])),
        _ => Some(values[middle]),
    }
}

impl Measurement {
    /// Tokens per second; `None` if there are no tokens or no time passed.
    pub fn tokens_per_second(&self) -> Option<f64> {
        per_second(self.tokens as u64, self.elapsed_us)
    }

    /// Instructions per token, where the CPU counts them.
    pub fn instructions_per_token(&self) -> Option<u64> {
        self.instructions?.checked_div(self.tokens as u64)
    }
}

/// The result of a benchmark, and the configuration it was measured on. Its `Display` is a table for people;
/// [`json`](Self::json) is for programs.
#[derive(Debug, Clone, Copy)]
pub struct BenchReport<'r> {
    /// The model's name.
    pub model: &'r str,
    /// The name of the set of inner loops in use.
    pub kernel_set: &'static str,
    /// Cores, or threads, that computed.
    pub cores: usize,
    /// Bytes of the model loaded per second, from the first read until it was ready.
    pub load_bytes_per_s: Option<f64>,
    /// From the beginning of the load to the first token after a prompt of [`FIRST_TOKEN_PROMPT`].
    pub first_token_us: u64,
    /// What was measured.
    pub result: BenchResult,
}

impl BenchReport<'_> {
    /// The report as one JSON object.
    pub fn json(&self) -> impl fmt::Display + '_ {
        Json(self)
    }
}

impl fmt::Display for BenchReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, kernel_set, cores, first_token_us, result, .. } = self;
        writeln!(f, "model    {model}\nkernels  {kernel_set}\ncores    {cores}")?;
        let batch = result.batch.map(|batch| ("batch", batch.n_parallel, batch.decode));
        let one_text = [("prefill", 1, result.prefill), ("decode", 1, result.decode)];
        for (name, n_texts, measured) in one_text.into_iter().chain(batch) {
            let Measurement { tokens, elapsed_us, .. } = measured;
            let rate = Rate(measured.tokens_per_second());
            write!(f, "{name:<8} {tokens} tokens ")?;
            if n_texts > 1 {
                write!(f, "of {n_texts} texts ")?;
            }
            write!(f, "in {}: {rate} tokens/s", Duration(elapsed_us))?;
            match measured.instructions_per_token() {
                Some(per_token) => writeln!(f, ", {per_token} instructions/token")?,
                None => writeln!(f)?,
            }
        }
        let first_token = Duration(*first_token_us);
        writeln!(
            f,
            "first    {first_token} from the load to the token after a prompt of {FIRST_TOKEN_PROMPT}"
        )
    }
}

struct Json<'j, 'r>(&'j BenchReport<'r>);

impl fmt::Display for Json<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BenchReport { model, kernel_set, cores, load_bytes_per_s, first_token_us, result } = *self.0;
        let BenchResult { prefill, decode, batch, .. } = result;
        // The instructions of other cores are not counted, so the number would be misleading.
        let count = |measured: Measurement| OrNull(measured.instructions_per_token().filter(|_| cores == 1));
        write!(f, "{{\"model\":\"")?;
        for c in model.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        write!(f, "\",\"kernel_set\":\"{kernel_set}\",\"cores\":{cores}")?;
        write!(f, ",\"pp_tokens\":{},\"pp_tps\":{}", prefill.tokens, OrNull(prefill.tokens_per_second()))?;
        write!(f, ",\"tg_tokens\":{},\"tg_tps\":{}", decode.tokens, OrNull(decode.tokens_per_second()))?;
        write!(f, ",\"pp_insn_per_token\":{}", count(prefill))?;
        write!(f, ",\"tg_insn_per_token\":{}", count(decode))?;
        write!(f, ",\"load_bytes_per_s\":{}", OrNull(load_bytes_per_s))?;
        write!(f, ",\"first_token_us\":{first_token_us}")?;
        if let Some(BatchMeasurement { n_parallel, decode }) = batch {
            write!(f, ",\"n_parallel\":{n_parallel},\"batch_tps\":{}", OrNull(decode.tokens_per_second()))?;
            write!(f, ",\"batch_insn_per_token\":{}", count(decode))?;
        }
        f.write_str("}")
    }
}

struct OrNull<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for OrNull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [9, 1, 4]), Some(4));
        assert_eq!(median(&mut [9, 1, 4, 5]), Some(4));
        assert_eq!(median(&mut [8, 1, 4, 6]), Some(5));
        assert_eq!(median(&mut [u64::MAX, u64::MAX]), Some(u64::MAX));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn the_prompt_stays_within_the_vocabulary() {
        assert!(synthetic_ids(1000, 97).unwrap().iter().all(|&id| id < 97));
    }

    #[test]
    fn json_is_escaped_and_has_null_for_what_is_not_known() {
        let measured = |tokens, instructions| Measurement { tokens, elapsed_us: 2_000_000, instructions };
        let result = BenchResult {
            prefill: measured(8, Some(24)),
            decode: measured(3, None),
            first_token_us: 1,
            batch: None,
        };
        let report = BenchReport {
            model: "a\"\\\n.gguf",
            kernel_set: "scalar",
            cores: 1,
            load_bytes_per_s: None,
            first_token_us: 7,
            result,
        };
        assert_eq!(
            report.json().to_string(),
            "{\"model\":\"a\\\"\\\\\\u000a.gguf\",\"kernel_set\":\"scalar\",\"cores\":1,\"pp_tokens\":8,\"pp_tps\":4,\
             \"tg_tokens\":3,\"tg_tps\":1.5,\"pp_insn_per_token\":3,\"tg_insn_per_token\":null,\
             \"load_bytes_per_s\":null,\"first_token_us\":7}"
        );
        let batch = Some(BatchMeasurement { n_parallel: 4, decode: measured(12, Some(60)) });
        let with_batch = BenchReport { result: BenchResult { batch, ..result }, ..report };
        let more = ",\"first_token_us\":7,\"n_parallel\":4,\"batch_tps\":6,\"batch_insn_per_token\":5}";
        assert!(with_batch.json().to_string().ends_with(more));
        assert!(
            with_batch
                .to_string()
                .contains("\nbatch    12 tokens of 4 texts in 2.00 s: 6.0 tokens/s, 5 instructions/token\n")
        );
        let several = BenchReport { cores: 2, ..report };
        assert!(several.json().to_string().contains("\"pp_insn_per_token\":null"));
        assert!(
            report.to_string().contains("prefill  8 tokens in 2.00 s: 4.0 tokens/s, 3 instructions/token\n")
        );
    }
}
