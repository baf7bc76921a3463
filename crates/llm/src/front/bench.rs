//! How fast prompts are read and tokens generated: [`BenchPlan`], [`run`], [`BenchReport`].
//!
//! Which tokens they are does not matter to the time that they take.

use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;

use super::FrontError;
use super::units::{Duration, Rate, per_second};
use crate::session::{Logits, Session, SessionError};

/// Tokens of the prompt by which the time to the first token is measured.
pub const FIRST_TOKEN_PROMPT: usize = 5;

/// What is measured. Each thing is measured a number of times, of which the median counts. Before it comes a short
/// prompt, and, if there are several runs, a whole run that does not count: it warms caches and clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchPlan {
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Tokens evaluated one at a time.
    pub n_generate: usize,
    /// Tokens that these come after.
    pub depth: usize,
    /// How often.
    pub n_runs: usize,
}

impl BenchPlan {
    /// What is measured unless told.
    pub const DEFAULT: Self = Self { n_prompt: 128, n_generate: 32, depth: 0, n_runs: 3 };

    /// Positions that the context must have.
    pub fn needed_positions(&self) -> usize {
        self.n_prompt.max(self.depth.saturating_add(self.n_generate)).max(FIRST_TOKEN_PROMPT)
    }
}

/// What measures.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// Microseconds since some moment in the past; never goes back.
    pub clock_us: fn() -> u64,
    /// Instructions that this core has retired, `None` where the CPU does not count them.
    pub instructions_retired: fn() -> Option<u64>,
}

/// Tokens, and what they took.
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
    /// Tokens one at a time, after as many as the plan says.
    pub decode: Measurement,
    /// The first token after a prompt of [`FIRST_TOKEN_PROMPT`].
    pub first_token_us: u64,
}

/// Measures a model. `go_on` is asked while tokens are computed, and may end it.
///
/// # Errors
/// If the tokens do not fit the context, the heap has no room for so many runs, or `go_on` breaks off
/// ([`SessionError::Stopped`]).
pub fn run(
    session: &mut Session<'_>,
    plan: BenchPlan,
    meter: Meter,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<BenchResult, FrontError> {
    let n_ctx = session.options().n_ctx;
    let BenchPlan { n_prompt, n_generate, depth, n_runs } = plan;
    // The session would say so too, but only after minutes of work.
    let n_tokens = plan.needed_positions();
    if n_tokens > n_ctx {
        return Err(SessionError::ContextFull { n_tokens, n_past: 0, n_ctx }.into());
    }
    let ids = synthetic_prompt(n_tokens, session.model().config().n_vocab);
    // A counter that wraps is looked at once a layer, also where no interrupt tells of it.
    let go_on = &mut || {
        (meter.instructions_retired)();
        go_on()
    };
    let first_token = prefill(session, &ids[..FIRST_TOKEN_PROMPT], meter, go_on)?;
    let (mut prefills, mut decodes) = (Runs::new(n_runs)?, Runs::new(n_runs)?);
    let first_counted = usize::from(n_runs > 1);
    for run in 0..first_counted + n_runs {
        let measured_prefill = prefill(session, &ids[..n_prompt], meter, go_on)?;
        prefill(session, &ids[..depth], meter, go_on)?;
        let measured_decode = measure(n_generate, meter, || {
            for id in &ids[depth..][..n_generate] {
                session.forward_while(&[*id], Logits::Last, go_on)?;
            }
            Ok(())
        })?;
        if run >= first_counted {
            prefills.push(measured_prefill);
            decodes.push(measured_decode);
        }
    }
    session.reset();
    Ok(BenchResult {
        prefill: prefills.median(n_prompt),
        decode: decodes.median(n_generate),
        first_token_us: first_token.elapsed_us,
    })
}

/// Ids spread over the vocabulary.
fn synthetic_prompt(len: usize, n_vocab: usize) -> Vec<u32> {
    const STRIDE: usize = 7919;
    (1..=len).map(|i| (i * STRIDE % n_vocab) as u32).collect()
}

/// Computes `ids` from an empty context.
fn prefill(
    session: &mut Session<'_>,
    ids: &[u32],
    meter: Meter,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Measurement, FrontError> {
    session.reset();
    measure(ids.len(), meter, || {
        if !ids.is_empty() {
            session.forward_while(ids, Logits::Last, go_on)?;
        }
        Ok(())
    })
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

/// Times, and counts of instructions as far as there are any, of several runs.
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

/// The value in the middle; of an even number, the mean of the middle two, rounded down. `None` of none.
pub fn median(values: &mut [u64]) -> Option<u64> {
    values.sort_unstable();
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n.is_multiple_of(2) => Some(values[middle - 1].midpoint(values[middle])),
        _ => Some(values[middle]),
    }
}

impl Measurement {
    /// Tokens per second; `None` without tokens or time.
    pub fn tokens_per_second(&self) -> Option<f64> {
        per_second(self.tokens as u64, self.elapsed_us)
    }

    /// Instructions per token, where they are counted.
    pub fn instructions_per_token(&self) -> Option<u64> {
        self.instructions?.checked_div(self.tokens as u64)
    }
}

/// The result of a benchmark with what it was measured on. It shows itself as a table for people;
/// [`json`](Self::json) is for programs.
#[derive(Debug, Clone, Copy)]
pub struct BenchReport<'r> {
    /// The model's name.
    pub model: &'r str,
    /// The inner loops that the CPU's instructions allow, by name.
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
        for (name, measured) in [("prefill", result.prefill), ("decode", result.decode)] {
            let Measurement { tokens, elapsed_us, .. } = measured;
            let rate = Rate(measured.tokens_per_second());
            write!(f, "{name:<8} {tokens} tokens in {}: {rate} tokens/s", Duration(elapsed_us))?;
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
        let BenchResult { prefill, decode, .. } = result;
        // Other cores' instructions are not counted.
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
        write!(f, ",\"first_token_us\":{first_token_us}}}")
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
        assert!(synthetic_prompt(1000, 97).iter().all(|&id| id < 97));
    }

    #[test]
    fn json_is_escaped_and_has_null_for_what_is_not_known() {
        let measured = |tokens, instructions| Measurement { tokens, elapsed_us: 2_000_000, instructions };
        let result =
            BenchResult { prefill: measured(8, Some(24)), decode: measured(3, None), first_token_us: 1 };
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
        let several = BenchReport { cores: 2, ..report };
        assert!(several.json().to_string().contains("\"pp_insn_per_token\":null"));
        assert!(
            report.to_string().contains("prefill  8 tokens in 2.00 s: 4.0 tokens/s, 3 instructions/token\n")
        );
    }
}
