//! [`ReceiptWish`]: what the receipts for a request say besides the answers, and how they are signed.

use alloc::string::String;
use alloc::vec::Vec;

use llm::front::Report;
use trust::receipt;
use trust::sha256::Compress;

use super::desk::Desk;
use super::question::{nonce_of, notary};
use super::settings::Settings;
use crate::engine::Engine;
use crate::error::ApiError;

/// What receipts say besides the answers.
pub(super) struct ReceiptWish {
    model: receipt::Model<'static>,
    nonce: Option<String>,
    /// Whether the receipt is given only to clients that know the nonce.
    is_sealed: bool,
    /// The function that computes digests.
    compress: Compress,
}

impl ReceiptWish {
    /// For answers of the model with this name.
    ///
    /// # Errors
    /// If nobody signs receipts, or the model's files cannot be read.
    pub fn new(
        engine: &mut impl Engine,
        model: &str,
        nonce: Option<&str>,
        is_sealed: bool,
        settings: &Settings,
    ) -> Result<Self, ApiError> {
        let nonce = nonce_of(nonce)?;
        if is_sealed && nonce.is_none() {
            let message =
                "expected a text, since the receipt of an encrypted request is given to who knows its nonce";
            return Err(ApiError::field("nonce", message));
        }
        let compress = notary(settings)?.compress();
        Ok(Self { model: engine.record(Some(model))?, nonce: nonce.map(String::from), compress, is_sealed })
    }

    /// The function that computes digests.
    pub fn compress(&self) -> Compress {
        self.compress
    }

    /// Signs the receipt of an answer that has ended, and keeps it under the name `id`. Returns whether there was
    /// anything to sign.
    ///
    /// # Errors
    /// If nobody signs receipts any more, or if there is no memory for the receipt.
    pub fn sign<T>(
        &mut self,
        id: String,
        report: &Report,
        key: Option<usize>,
        desk: &mut Desk<'_, T>,
    ) -> Result<bool, ApiError> {
        let Some(work) = &report.work else { return Ok(false) };
        let adapters = match work.has_adapters() {
            true => Vec::new(),
            false => core::mem::take(&mut self.model.adapters),
        };
        let (time, nonce) = (desk.moment().unix_s, self.nonce.as_deref());
        // The current key is used: a snapshot may have been restored since the request came.
        let notary = notary(desk.settings)?;
        let signed = notary.receipt(&self.model, nonce, time, Some(work.prompt()), |writer| {
            work.write(writer, report);
        });
        if !adapters.is_empty() {
            self.model.adapters = adapters;
        }
        let signed = signed.map_err(|_| ApiError::out_of_memory())?;
        let secret = self.nonce.as_deref().filter(|_| self.is_sealed);
        desk.receipts.keep(id, key, secret, signed);
        Ok(true)
    }
}
