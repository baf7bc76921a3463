//! Tokens in, text out: [`TextStream`].

use super::SessionError;
use super::stop_text::StopText;
use crate::tokenizer::{StreamDecoder, Tokenizer};

/// The text of an answer as its tokens come: whole characters, and nothing that may yet become part of a stop string.
///
/// The buffers are made at once and suffice for every token.
pub(crate) struct TextStream {
    decoder: StreamDecoder,
    text: StopText,
}

impl TextStream {
    /// The beginning of a text that ends before the first of the `stop` strings.
    pub fn new(tokenizer: &Tokenizer<'_>, stop: &[&str]) -> Result<Self, SessionError> {
        let decoder = StreamDecoder::new(tokenizer)?;
        Ok(Self { decoder, text: StopText::new(stop, tokenizer.longest_piece_bytes())? })
    }

    /// Adds a token; whether a stop string is complete.
    pub fn push(&mut self, tokenizer: &Tokenizer<'_>, id: u32) -> Result<bool, SessionError> {
        self.text.push(self.decoder.push(tokenizer, id)?.unwrap_or(""));
        if !tokenizer.kind(id)?.has_text() {
            self.text.push_name(tokenizer.piece(id)?);
        }
        Ok(self.text.is_stopped())
    }

    /// Ends the text: what was held back is certain.
    pub fn finish(&mut self) {
        self.text.push(self.decoder.finish().unwrap_or(""));
        self.text.release();
    }

    /// What has become certain since the last token was added.
    pub fn take(&mut self) -> &str {
        self.text.take()
    }
}
