//! [`Limits`]: bounds on how much a client may send and how slow it may be.

use alloc::format;

use crate::error::{ApiError, Status};

/// Bounds on how much a client may send and how slow it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request's head, and of the trailers of a body.
    pub head_bytes: usize,
    /// Most bytes of a request's body.
    pub body_bytes: usize,
    /// Once this many bytes wait to be sent, the text of a stream is gathered into larger pieces.
    pub outbox_bytes: usize,
    /// Most time from the first byte of a request to the end of its head.
    pub head_us: u64,
    /// Most time from the end of the head to the end of the body. Each 256 KiB of the body adds the same time again.
    pub body_us: u64,
    /// How long a connection may wait for its next request.
    pub idle_us: u64,
    /// How long the client may take none of the bytes that wait to be sent.
    pub stalled_us: u64,
}

/// Each time this many bytes of a body arrive, it gets another [`Limits::body_us`].
pub const BODY_STEP_BYTES: usize = 256 << 10;

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 << 10,
            body_bytes: 4 << 20,
            outbox_bytes: 64 << 10,
            head_us: 10_000_000,
            body_us: 10_000_000,
            idle_us: 60_000_000,
            stalled_us: 30_000_000,
        }
    }
}

/// The refusal for a body that is larger than `limit_bytes`.
pub(super) fn too_large(limit_bytes: usize) -> ApiError {
    let message = format!("the body of the request has more than {limit_bytes} bytes");
    ApiError::new(Status::ContentTooLarge, message)
}
