//! [`Limits`]: what a client may make large or slow.

use alloc::format;

use crate::error::{ApiError, Status};

/// What a client may make large or slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head, and of the trailers of a body.
    pub head_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes that wait to be sent before the text of a stream is gathered into larger pieces.
    pub outbox_bytes: usize,
    /// From the first byte of a request to the end of its head.
    pub head_us: u64,
    /// From the end of the head to the end of the body, and as much again for each 256 KiB of it.
    pub body_us: u64,
    /// How long a connection may wait for its next request.
    pub idle_us: u64,
    /// How long the client may take none of the bytes that wait to be sent.
    pub stalled_us: u64,
}

/// A body has [`Limits::body_us`] of time for each so many bytes of it.
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

/// What a body is refused with that is larger than `limit_bytes`.
pub(super) fn too_large(limit_bytes: usize) -> ApiError {
    let message = format!("the body of the request has more than {limit_bytes} bytes");
    ApiError::new(Status::ContentTooLarge, message)
}
