//! [`Ask`]: a request for what a model computes, but for its body.

use crate::error::{ApiError, Status};

/// A request for what a model computes, but for its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    /// Its number, from 1.
    pub number: u64,
    /// When it had come whole.
    pub arrived_us: u64,
    /// When it is taken.
    pub now_us: u64,
    /// Most tokens of prompt and answer, if there is such a limit.
    pub context: Option<usize>,
    /// Whether it came in an encrypted body.
    pub is_sealed: bool,
}

impl Ask {
    /// When the answer is wanted at the latest, `timeout_ms` after the request came: never if that is [`u64::MAX`].
    pub fn deadline_us(&self, timeout_ms: Option<u64>) -> u64 {
        timeout_ms.map_or(u64::MAX, |ms| self.arrived_us.saturating_add(ms.saturating_mul(1000)))
    }
}

/// What is answered where nothing was computed in time.
///
/// Source: google.rpc.Code, which maps `DEADLINE_EXCEEDED` to status 504, and Anthropic's `timeout_error`, which has the same.
pub(super) fn missed() -> ApiError {
    let message = "nothing was computed before timeout_ms was over";
    ApiError::new(Status::GatewayTimeout, message).with_code("deadline_exceeded")
}
