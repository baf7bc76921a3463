//! The texts across which DRY finds no repetitions, as sequences of the tokens that spell them.

use alloc::vec::Vec;

use super::FrontError;
use crate::sampling::Breakers;
use crate::tokenizer::{EncodeOptions, TokenKind, Tokenizer, TokenizerError};

/// Most bytes of a text; the rest is ignored, as in llama.cpp.
const MAX_BYTES: usize = 40;

/// Most tokens after the first one of a sequence; longer sequences are cut to this length.
const MAX_REST: usize = 20;

/// All sequences of `tokenizer`'s tokens in which one of these texts appears, from the token in which the text begins. A token that
/// contains a whole text is a sequence by itself. A token that ends with the beginning of a text is followed by the tokens of the rest,
/// encoded by itself.
///
/// # Errors
/// If the heap has no room.
pub fn breakers(tokenizer: &Tokenizer<'_>, texts: &[&str]) -> Result<Breakers, FrontError> {
    // For each way to cut a text in two: its beginning, and the tokens of the rest.
    let mut rests = Vec::new();
    for text in texts.iter().map(|text| &text.as_bytes()[..text.len().min(MAX_BYTES)]) {
        for n_begun in 1..text.len() {
            let mut rest = Vec::new();
            match tokenizer.encode_bytes(&text[n_begun..], EncodeOptions::default(), &mut rest) {
                Ok(()) => rest.truncate(MAX_REST),
                // A rest that the vocabulary cannot spell never appears.
                Err(TokenizerError::UnknownByte { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            let needed_bytes = (rests.len() + 1) * size_of::<(&[u8], Vec<u32>)>();
            rests.try_reserve(1).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
            rests.push((&text[..n_begun], rest));
        }
    }
    let mut breakers = Breakers::default();
    for id in 0..tokenizer.n_vocab() as u32 {
        let decoded;
        let word = match tokenizer.kind(id)? {
            TokenKind::Control => tokenizer.piece(id)?,
            _ => {
                decoded = tokenizer.decode(&[id])?;
                &decoded[..]
            }
        };
        let is_in_word = |text: &&str| {
            let text = &text.as_bytes()[..text.len().min(MAX_BYTES)];
            !text.is_empty() && word.windows(text.len()).any(|part| part == text)
        };
        if texts.iter().any(is_in_word) {
            breakers.add(id, &[])?;
        }
        for (_, rest) in rests.iter().filter(|(begun, _)| word.ends_with(begun)) {
            breakers.add(id, rest)?;
        }
    }
    Ok(breakers)
}
