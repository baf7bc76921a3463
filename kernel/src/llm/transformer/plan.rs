//! [`Plan`]: what a model needs, known before anything is reserved for it.

use llm::{model::Config, quant::Packer, session::Session};

use super::loaded::{Engine, session_options};
use crate::{
    llm::{BackendError, DEFAULT_N_CTX, Header},
    memory::pool::Shortage,
    storage::MIN_PIECES_BYTES,
};

/// A context is not made shorter than this to fit the memory.
const MIN_DEFAULT_N_CTX: usize = 64;

/// What a model needs before it is loaded.
pub(super) struct Plan {
    pub header: Header,
    pub config: Config,
    pub packer: Packer,
    pub engine: Engine,
    pub weights_bytes: usize,
    pub n_ctx: usize,
    pub session_bytes: usize,
}

/// The context length of a model and the bytes of its session: what was asked for, or the longest, by halves, that
/// `room` says a session has room with.
///
/// # Errors
/// If a context that was asked for does not fit, or none; or the model cannot have it.
pub(super) fn plan_context(
    config: &Config,
    asked: Option<usize>,
    engine: &Engine,
    room: impl Fn(usize) -> Result<(), Shortage>,
) -> Result<(usize, usize), BackendError> {
    let wanted = asked.unwrap_or(config.n_ctx_train.min(DEFAULT_N_CTX));
    let mut n_ctx = wanted;
    loop {
        let options = session_options(config, n_ctx, engine);
        // Before it is the session's memory, the weights come through it.
        let session_bytes = Session::required_bytes(config, &options)?.max(MIN_PIECES_BYTES);
        match room(session_bytes) {
            Ok(()) => {
                if n_ctx < wanted {
                    log::warn!("memory suffices for a context of {n_ctx} tokens, not {wanted}");
                }
                return Ok((n_ctx, session_bytes));
            }
            Err(shortage) if asked.is_some() || n_ctx <= MIN_DEFAULT_N_CTX => {
                return Err(BackendError::out_of_memory(shortage, n_ctx));
            }
            Err(_) => n_ctx = (n_ctx / 2).max(MIN_DEFAULT_N_CTX),
        }
    }
}
