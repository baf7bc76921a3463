//! The texts across which DRY finds no repetitions, as the sequences of tokens that spell them.

use alloc::vec::Vec;

use super::FrontError;
use crate::sampling::Breakers;
use crate::tokenizer::{EncodeOptions, TokenKind, Tokenizer, TokenizerError};

/// Most bytes of a text; what is behind them does not count, as in llama.cpp.
const MAX_BYTES: usize = 40;

/// Most tokens behind the first one of a sequence; of longer ones these count.
const MAX_REST: usize = 20;

/// The sequences of `tokenizer`'s tokens that a text contains one of these in, from the token in which it begins. A token that
/// holds a whole one is a sequence by itself; behind one that holds a beginning comes the rest as it is encoded by itself.
///
/// # Errors
/// If the heap has no room.
pub fn breakers(tokenizer: &Tokenizer<'_>, texts: &[&str]) -> Result<Breakers, FrontError> {
    // Of each text each beginning, and what then follows.
    let mut rests = Vec::new();
    for text in texts.iter().map(|text| &text.as_bytes()[..text.len().min(MAX_BYTES)]) {
        for n_begun in 1..text.len() {
            let mut rest = Vec::new();
            match tokenizer.encode_bytes(&text[n_begun..], EncodeOptions::default(), &mut rest) {
                Ok(()) => rest.truncate(MAX_REST),
                // What cannot be spelled never comes.
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
