//! [`Desk`]: what a client needs of the server.

use alloc::vec::Vec;

use super::accounts::Accounts;
use super::metrics::Metrics;
use super::receipts::Receipts;
use super::settings::Settings;
use crate::audit::{Audit, Moment};

/// What a client needs of the server.
pub(super) struct Desk<'s, T> {
    pub settings: &'s Settings,
    /// Where an answer is written before it is sent.
    pub scratch: &'s mut Vec<u8>,
    pub metrics: &'s mut Metrics,
    /// What keys have used.
    pub accounts: &'s mut Accounts,
    /// Who has asked for what.
    pub audit: &'s mut Audit,
    /// The receipts of the last answers.
    pub receipts: &'s mut Receipts,
    /// Requests that nobody waits for any more.
    pub unwanted: &'s mut Vec<T>,
    pub now_us: u64,
}

impl<T> Desk<'_, T> {
    /// Now, by both clocks.
    pub fn moment(&self) -> Moment {
        self.settings.moment(self.now_us)
    }
}
