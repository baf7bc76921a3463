//! Numbers about a model: how fast it runs, how large its weights are.

use alloc::{vec, vec::Vec};
use core::ops::ControlFlow;

use llm::{
    gguf::Gguf,
    quant::Matrix,
    session::{Logits, Session},
};

use super::Engine;
use crate::llm::{BackendError, BenchPlan, BenchResult, Measurement};

/// Evaluates prompts, and tokens one at a time. Which tokens they are does not matter to the time it
/// takes. What the load took is not known here. `go_on` is asked while they are evaluated, and may end it.
pub(super) fn bench(
    session: &mut Session<'_>,
    plan: BenchPlan,
    engine: &Engine,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<BenchResult, BackendError> {
    let n_vocab = session.model().config().n_vocab;
    let n_ctx = session.options().n_ctx;
    let BenchPlan { n_prompt, n_generate, depth, n_runs } = plan;
    // The session would say so too, but only after minutes of work.
    let n_tokens = n_prompt.max(depth.saturating_add(n_generate)).max(FIRST_TOKEN_PROMPT);
    if n_tokens > n_ctx {
        return Err(llm::session::SessionError::ContextFull { n_tokens, n_past: 0, n_ctx }.into());
    }
    let ids: Vec<u32> = (1..=n_tokens).map(|i| (i * 7919 % n_vocab) as u32).collect();
    let prefill = |session: &mut Session<'_>, n: usize, go_on: &mut dyn FnMut() -> ControlFlow<()>| {
        session.reset();
        measure(n, engine, || {
            if n > 0 {
                session.forward_while(&ids[..n], Logits::Last, &mut || {
                    // A counter that wraps is looked at once a layer, also where no interrupt tells of it.
                    (engine.instructions_retired)();
                    go_on()
                })?;
            }
            Ok(())
        })
    };
    // Warms the caches as well.
    let first_token = prefill(session, FIRST_TOKEN_PROMPT, go_on)?;
    let mut runs = (Vec::new(), Vec::new());
    for list in [&mut runs.0, &mut runs.1] {
        let needed_bytes = n_runs.saturating_mul(size_of::<Measurement>());
        list.try_reserve_exact(n_runs).map_err(|_| BackendError::OutOfHeap { needed_bytes })?;
    }
    for _ in 0..n_runs {
        runs.0.push(prefill(session, n_prompt, go_on)?);
        prefill(session, depth, go_on)?;
        runs.1.push(measure(n_generate, engine, || {
            for id in &ids[depth..][..n_generate] {
                session.forward(&[*id], Logits::Last)?;
                (engine.instructions_retired)();
                if go_on().is_break() {
                    return Err(BackendError::Cancelled);
                }
            }
            Ok(())
        })?);
    }
    session.reset();
    Ok(BenchResult {
        prefill: median(runs.0),
        decode: median(runs.1),
        kernel_set: engine.kernels.name(),
        load_bytes_per_s: None,
        first_token_us: first_token.elapsed_us,
    })
}

/// Tokens of the prompt for the time to the first token.
const FIRST_TOKEN_PROMPT: usize = 5;

/// The run that took the median time, the shorter of two.
fn median(mut runs: Vec<Measurement>) -> Measurement {
    runs.sort_by_key(|run| run.elapsed_us);
    runs.get(runs.len().saturating_sub(1) / 2).copied().unwrap_or(Measurement {
        tokens: 0,
        elapsed_us: 0,
        instructions: None,
    })
}

fn measure(
    tokens: usize,
    engine: &Engine,
    work: impl FnOnce() -> Result<(), BackendError>,
) -> Result<Measurement, BackendError> {
    let start_us = (engine.clock_us)();
    let start_instructions = (engine.instructions_retired)();
    work()?;
    let end_instructions = (engine.instructions_retired)();
    Ok(Measurement {
        tokens,
        elapsed_us: (engine.clock_us)().saturating_sub(start_us),
        instructions: end_instructions.zip(start_instructions).map(|(end, start)| end.wrapping_sub(start)),
    })
}

/// Logs the mean and the largest magnitude of each tensor: weights that are all zero, or not numbers, were
/// read wrongly.
pub(super) fn log_weight_magnitudes(gguf: &Gguf<'_>) {
    for tensor in gguf.tensors() {
        let cols = tensor.dims[0] as usize;
        let rows = (tensor.n_elements() / tensor.dims[0]) as usize;
        let Ok(data) = gguf.tensor_data(tensor) else { continue };
        let matrix = Matrix::new(tensor.ty, rows, cols, data);
        let Ok(matrix) = matrix.map(|matrix| matrix.packed(gguf.packing())) else {
            log::info!(
                "{}: {} weights of type {}, not computed with",
                tensor.name,
                tensor.n_elements(),
                tensor.ty
            );
            continue;
        };
        let mut row = vec![0.0; cols];
        let mut sum = 0.0;
        let mut max: f32 = 0.0;
        for index in 0..rows {
            matrix.dequantize_row(index, &mut row);
            for weight in &row {
                sum += f64::from(weight.abs());
                max = max.max(weight.abs());
            }
        }
        let mean = sum / tensor.n_elements() as f64;
        log::info!(
            "{}: {} [{rows} x {cols}], mean magnitude {mean:.6}, largest {max:.6}",
            tensor.name,
            tensor.ty
        );
    }
}

/// Logs the range of the logits: they should neither be all equal nor contain anything but numbers.
pub(super) fn log_logits_range(step: usize, logits: &[f32]) {
    let min = logits.iter().copied().fold(f32::INFINITY, f32::min);
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    log::info!("step {step}: logits from {min:.3} to {max:.3}");
}
