//! [`Ask`]: a request for something that a model computes, without its body.

use crate::error::{ApiError, Status};

/// A request for something that a model computes, without its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    /// The request's number, counted from 1.
    pub number: u64,
    /// When the request had arrived completely.
    pub arrived_us: u64,
    /// When the request is passed on to the engine.
    pub now_us: u64,
    /// Most tokens of prompt and answer together, if limited.
    pub context: Option<usize>,
    /// Whether it came in an encrypted body.
    pub is_sealed: bool,
}

impl Ask {
    /// The latest time at which the answer is wanted: `timeout_ms` after the request arrived, or [`u64::MAX`] for no
    /// limit.
    pub fn deadline_us(&self, timeout_ms: Option<u64>) -> u64 {
        timeout_ms.map_or(u64::MAX, |ms| self.arrived_us.saturating_add(ms.saturating_mul(1000)))
    }
}

/// The error for a request for which nothing was computed in time.
///
/// Source: google.rpc.Code, which maps `DEADLINE_EXCEEDED` to status 504, and Anthropic's `timeout_error`, which has
/// the same status.
pub(super) fn missed() -> ApiError {
    let message = "nothing was computed before timeout_ms was over";
    ApiError::new(Status::GatewayTimeout, message).with_code("deadline_exceeded")
}
