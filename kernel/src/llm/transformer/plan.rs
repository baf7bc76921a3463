//! [`Plan`]: the memory that a model needs, computed before anything is reserved.

use alloc::vec::Vec;
use core::ops::Range;

use llm::{
    front::CHECKPOINTS_PER_TEXT,
    kv_cache::PAGE_LEN,
    model::Config,
    quant::Packer,
    session::{Runner, RunnerOptions},
    state::StateOptions,
};

use super::loaded::{Engine, runner_options};
use crate::{
    llm::{BackendError, DEFAULT_N_CTX, Header},
    memory::pool::Shortage,
    storage::MIN_PIECES_BYTES,
};

/// A context is not shortened below this length to fit into the memory.
const MIN_DEFAULT_N_CTX: usize = 64;

/// The memory that a model needs, and how it is loaded.
pub(super) struct Plan {
    pub header: Header,
    pub config: Config,
    pub packer: Packer,
    /// Where the file, or each part of a split model, lies within the weights.
    pub places: Vec<Range<u64>>,
    pub engine: Engine,
    pub weights_bytes: usize,
    pub options: RunnerOptions,
    pub session_bytes: usize,
    /// Whether the loaded model of the same path must be unloaded first to make room.
    pub replaces_first: bool,
}

/// The bytes of a model's runner if there is memory for everything that is requested or usual.
///
/// # Errors
/// If the model cannot have such a context.
pub(super) fn wanted_bytes(
    config: &Config,
    asked: Option<usize>,
    engine: &Engine,
) -> Result<usize, BackendError> {
    let n_ctx = wanted_n_ctx(config, asked);
    runner_bytes(config, &runner_options(config, wanted_state(config, n_ctx, engine), engine))
}

/// The context length that a model gets if the memory allows: the requested one, or else the usual one, limited to the model's own.
fn wanted_n_ctx(config: &Config, asked: Option<usize>) -> usize {
    asked.unwrap_or(config.n_ctx_train.min(DEFAULT_N_CTX))
}

/// The state for contexts of this length, for all texts.
fn wanted_state(config: &Config, n_ctx: usize, engine: &Engine) -> StateOptions {
    let &Engine { n_slots, kv_type, .. } = engine;
    let n_checkpoints = if config.is_recurrent() { n_slots * CHECKPOINTS_PER_TEXT } else { 0 };
    let n_pages = StateOptions::pages_of(n_ctx).saturating_mul(n_slots).min(StateOptions::MAX_PAGES);
    StateOptions {
        n_slots,
        n_ctx,
        n_pages,
        kv_type,
        finds_prefixes: true,
        n_checkpoints,
        own_checkpoints: false,
    }
}

fn runner_bytes(config: &Config, options: &RunnerOptions) -> Result<usize, BackendError> {
    // Before the memory belongs to the runner, it is the buffer through which the weights are read.
    Ok(Runner::required_bytes(config, options)?.max(MIN_PIECES_BYTES))
}

/// The options of a model's runner, and its size in bytes. Contexts have the requested length; otherwise the longest, found by
/// halving, for which `room` says that there is room. If there is less room, first recurrent layers get fewer checkpoints; then
/// texts share fewer pages, by halving, but at least as many as one full text needs; then there are fewer texts, by halving, if
/// that is acceptable.
///
/// # Errors
/// If a requested context does not fit, or none does, or the model cannot have it.
pub(super) fn plan_runner(
    config: &Config,
    asked: Option<usize>,
    engine: &Engine,
    room: impl Fn(usize) -> Result<(), Shortage>,
) -> Result<(RunnerOptions, usize), BackendError> {
    let wanted = wanted_n_ctx(config, asked);
    let mut n_ctx = wanted;
    let mut tried = *engine;
    loop {
        let shortage = match plan_state(config, n_ctx, &tried, &room)? {
            Ok(planned) => {
                if tried.n_slots < engine.n_slots {
                    log::warn!("memory suffices for {} texts at once, not {}", tried.n_slots, engine.n_slots);
                }
                if n_ctx < wanted {
                    log::warn!("memory suffices for a context of {n_ctx} tokens, not {wanted}");
                }
                return Ok(planned);
            }
            Err(shortage) => shortage,
        };
        if engine.may_have_fewer_slots && tried.n_slots > 1 {
            tried.n_slots /= 2;
            continue;
        }
        if asked.is_some() || n_ctx <= MIN_DEFAULT_N_CTX {
            return Err(BackendError::out_of_memory(shortage, n_ctx));
        }
        n_ctx = (n_ctx / 2).max(MIN_DEFAULT_N_CTX);
    }
}

/// Like [`plan_runner`], for contexts of this length.
fn plan_state(
    config: &Config,
    n_ctx: usize,
    engine: &Engine,
    room: &impl Fn(usize) -> Result<(), Shortage>,
) -> Result<Result<(RunnerOptions, usize), Shortage>, BackendError> {
    let of_one = StateOptions::pages_of(n_ctx);
    let mut state = wanted_state(config, n_ctx, engine);
    let of_all = state.n_pages;
    loop {
        let options = runner_options(config, state, engine);
        let session_bytes = runner_bytes(config, &options)?;
        let shortage = match room(session_bytes) {
            Ok(()) => {
                if state.n_pages < of_all {
                    let (n_tokens, n_texts) = (state.n_pages * PAGE_LEN, state.n_slots);
                    log::warn!(
                        "memory suffices for {n_tokens} tokens of {n_texts} texts, which may have to wait for room"
                    );
                }
                return Ok(Ok((options, session_bytes)));
            }
            Err(shortage) => shortage,
        };
        match (state.n_checkpoints, state.n_pages) {
            (1.., _) => state.n_checkpoints /= 2,
            (0, n_pages) if n_pages > of_one => state.n_pages = (n_pages / 2).max(of_one),
            _ => return Ok(Err(shortage)),
        }
    }
}
