//! [`Desk`]: the parts of the server that a client uses.

use alloc::vec::Vec;

use super::accounts::Accounts;
use super::metrics::Metrics;
use super::receipts::Receipts;
use super::settings::Settings;
use crate::audit::{Audit, Moment};

/// The parts of the server that a client uses.
pub(super) struct Desk<'s, T> {
    pub settings: &'s Settings,
    /// Where an answer is written before it is sent.
    pub scratch: &'s mut Vec<u8>,
    pub metrics: &'s mut Metrics,
    /// How many tokens each key has used.
    pub accounts: &'s mut Accounts,
    /// The log of requests.
    pub audit: &'s mut Audit,
    /// The receipts of the most recent answers.
    pub receipts: &'s mut Receipts,
    /// Requests that nobody waits for any more.
    pub unwanted: &'s mut Vec<T>,
    pub now_us: u64,
}

impl<T> Desk<'_, T> {
    /// The current moment on both clocks.
    pub fn moment(&self) -> Moment {
        self.settings.moment(self.now_us)
    }
}
