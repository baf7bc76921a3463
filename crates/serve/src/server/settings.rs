//! [`Settings`]: what a server is set to.

use alloc::rc::Rc;

use trust::notary::Notary;
use trust::sealed::Recipient;

use crate::audit::Moment;
use crate::error::{ApiError, Status};
use crate::http::Limits;
use crate::keys::Keys;

/// What a server is set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What clients may make large or slow.
    pub limits: Limits,
    /// Most connections at a time.
    pub max_connections: usize,
    /// The keys of which requests must bring one, if any.
    pub keys: Keys,
    /// Whether requests may load and unload models.
    pub admin: bool,
    /// The time at which the caller's clock showed 0, in seconds since 1970; `None` where that is not known.
    pub start_unix_s: Option<u64>,
    /// A number that no other start of a server has, for the names of answers.
    pub nonce: u64,
    /// Who signs receipts, if anybody can.
    pub notary: Option<Rc<Notary>>,
    /// Gives a secret that nobody could have told beforehand, if there are random numbers.
    pub secret: fn() -> Option<[u8; 32]>,
    /// Whether requests with clients' texts are taken only if their bodies are sealed.
    pub sealed_only: bool,
    /// Tokens that are guessed at a time, see [`Request`](llm::front::Request).
    pub speculate: usize,
    /// Gives a seed to a request that has none.
    pub random: fn() -> u64,
    /// Whether there is no memory for anything new: requests that wait for a model are refused then, and what is computed is
    /// given up, the last request first, until there is.
    pub is_memory_low: fn() -> bool,
}

impl Settings {
    /// The time in seconds since 1970, 0 if that is not known.
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

    /// Whose that key is.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn opens(&self) -> Result<&Rc<Notary>, ApiError> {
        self.notary.as_ref().ok_or_else(no_random_numbers)
    }

    /// Numbers that nobody could have told beforehand.
    ///
    /// # Errors
    /// If there are none.
    pub(super) fn secret(&self) -> Result<[u8; 32], ApiError> {
        (self.secret)().ok_or_else(no_random_numbers)
    }

    /// A time by both clocks.
    pub(super) fn moment(&self, now_us: u64) -> Moment {
        Moment { now_us, unix_s: self.start_unix_s.map(|start| start + now_us / 1_000_000) }
    }
}

/// What is answered where a body cannot be sealed.
fn no_random_numbers() -> ApiError {
    let message = "this server takes no encrypted bodies: it has no source of random numbers";
    ApiError::new(Status::NotImplemented, message)
}
