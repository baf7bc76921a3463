//! [`Settings`]: the configuration of a server.

use alloc::rc::Rc;

use trust::notary::Notary;
use trust::sealed::Recipient;

use crate::audit::Moment;
use crate::error::{ApiError, Status};
use crate::http::Limits;
use crate::keys::Keys;

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds on how much a client may send and how slow it may be.
    pub limits: Limits,
    /// Most connections at a time.
    pub max_connections: usize,
    /// The keys that are accepted; empty if requests need none.
    pub keys: Keys,
    /// Whether requests may load and unload models.
    pub admin: bool,
    /// The time at which the caller's clock showed 0, in seconds since 1970; `None` if unknown.
    pub start_unix_s: Option<u64>,
    /// A number that differs at every start of a server. It becomes part of the names of answers.
    pub nonce: u64,
    /// The notary that signs receipts, if there is one.
    pub notary: Option<Rc<Notary>>,
    /// Returns an unpredictable secret, if there are random numbers.
    pub secret: fn() -> Option<[u8; 32]>,
    /// Whether requests with clients' texts are taken only if their bodies are sealed.
    pub sealed_only: bool,
    /// Number of tokens to guess at a time, see [`Request`](llm::front::Request).
    pub speculate: usize,
    /// Returns a seed for a request that has none.
    pub random: fn() -> u64,
    /// Whether memory is too low for anything new. Requests that wait for a model are then refused, and running
    /// requests are given up, the most recent first, until memory is available again.
    pub is_memory_low: fn() -> bool,
}

impl Settings {
    /// The time in seconds since 1970, 0 if unknown.
    pub(super) fn unix_s(&self, now_us: u64) -> u64 {
        self.moment(now_us).unix_s.unwrap_or(0)
    }

    /// The key that bodies are sealed to.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn recipient(&self) -> Result<&Recipient, ApiError> {
        self.opens().map(|notary| notary.recipient())
    }

    /// The notary that holds this key.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn opens(&self) -> Result<&Rc<Notary>, ApiError> {
        self.notary.as_ref().ok_or_else(no_random_numbers)
    }

    /// Unpredictable random numbers.
    ///
    /// # Errors
    /// If there are none.
    pub(super) fn secret(&self) -> Result<[u8; 32], ApiError> {
        (self.secret)().ok_or_else(no_random_numbers)
    }

    /// A moment on both clocks.
    pub(super) fn moment(&self, now_us: u64) -> Moment {
        Moment { now_us, unix_s: self.start_unix_s.map(|start| start + now_us / 1_000_000) }
    }
}

/// The error if a body cannot be sealed for lack of random numbers.
fn no_random_numbers() -> ApiError {
    let message = "this server takes no encrypted bodies: it has no source of random numbers";
    ApiError::new(Status::NotImplemented, message)
}
