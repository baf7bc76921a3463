//! Text from tokens as they come, in whole characters.

use alloc::string::String;
use alloc::vec::Vec;

use super::Tokenizer;
use super::error::{TokenizerError, reserve};

/// Turns tokens into text one by one. A character whose last bytes have not come yet is held back.
///
/// Bytes that cannot become a character are shown as U+FFFD. [`StreamDecoder::new`] allocates all buffers; they suffice
/// for every token of its tokenizer.
#[derive(Debug)]
pub struct StreamDecoder {
    /// The beginning of a character, at most three bytes. During a push, also the bytes of the token.
    bytes: Vec<u8>,
    /// The text that the last push returned.
    text: String,
}

/// The longest beginning of a character that is held back.
const MAX_HELD_BYTES: usize = 3;

impl StreamDecoder {
    /// A decoder at the beginning of a text.
    ///
    /// # Errors
    /// [`TokenizerError::OutOfMemory`].
    pub fn new(tokenizer: &Tokenizer<'_>) -> Result<Self, TokenizerError> {
        let mut decoder = Self { bytes: Vec::new(), text: String::new() };
        let most_bytes = MAX_HELD_BYTES + tokenizer.longest_piece_bytes();
        reserve(&mut decoder.bytes, most_bytes)?;
        decoder.make_room_for_text(most_bytes)?;
        Ok(decoder)
    }

    /// Reserves room for the text of `n_bytes` bytes, each of which may become a U+FFFD.
    fn make_room_for_text(&mut self, n_bytes: usize) -> Result<(), TokenizerError> {
        let needed_bytes = n_bytes * char::REPLACEMENT_CHARACTER.len_utf8();
        self.text.try_reserve(needed_bytes).map_err(|_| TokenizerError::OutOfMemory { needed_bytes })
    }

    /// Takes the next token and returns the text that it completes, if any.
    ///
    /// # Errors
    /// [`TokenizerError::NoSuchToken`]; [`TokenizerError::OutOfMemory`] only with a different tokenizer than the
    /// decoder was made for.
    pub fn push(&mut self, tokenizer: &Tokenizer<'_>, id: u32) -> Result<Option<&str>, TokenizerError> {
        self.text.clear();
        tokenizer.token_bytes(id, &mut self.bytes)?;
        self.make_room_for_text(self.bytes.len())?;
        let mut taken = 0;
        let mut chunks = self.bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.text.push_str(chunk.valid());
            taken += chunk.valid().len();
            let broken = chunk.invalid();
            let may_continue = chunks.peek().is_none() && could_continue(broken);
            if !broken.is_empty() && !may_continue {
                self.text.push(char::REPLACEMENT_CHARACTER);
                taken += broken.len();
            }
        }
        self.bytes.drain(..taken);
        Ok(Some(self.text.as_str()).filter(|text| !text.is_empty()))
    }

    /// Ends the text. Returns U+FFFD if an incomplete character was held back.
    pub fn finish(&mut self) -> Option<&str> {
        let held = !self.bytes.is_empty();
        self.bytes.clear();
        held.then_some("\u{fffd}")
    }
}

/// Whether further bytes could complete the incomplete bytes at the end of a text to a character.
fn could_continue(broken: &[u8]) -> bool {
    match core::str::from_utf8(broken) {
        Ok(_) => false,
        // No length means that the bytes are valid but incomplete.
        Err(error) => error.error_len().is_none(),
    }
}
