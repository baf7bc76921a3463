//! The raw output of the forward pass, a row for each token.

use core::fmt;
use core::ops::ControlFlow;

use crate::session::{Logits, Session, SessionError, SessionOptions};

/// Runs exactly these tokens from an empty context and gives `on_row` the logits of each, in order; an
/// encoder's are the last layer's values. `on_row` may end it.
///
/// # Errors
/// If there are no tokens, an id is not in the vocabulary, the tokens do not fit the context, or `on_row` breaks off
/// ([`SessionError::Stopped`]).
pub fn run(
    session: &mut Session<'_>,
    tokens: &[u32],
    on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
) -> Result<(), SessionError> {
    let SessionOptions { n_ctx, n_batch, n_logits, .. } = *session.options();
    match tokens.len() {
        0 => return Err(SessionError::NoTokens),
        n_tokens if n_tokens > n_ctx => return Err(SessionError::PromptTooLong { n_tokens, n_ctx }),
        _ => {}
    }
    let n_output = session.model().config().n_output();
    session.reset();
    for tokens in tokens.chunks(n_logits.min(n_batch)) {
        for row in session.forward(tokens, Logits::All)?.chunks(n_output) {
            if on_row(row).is_break() {
                return Err(SessionError::Stopped);
            }
        }
    }
    Ok(())
}

/// Shows a row as numbers separated by spaces; reading one back as f32 gives exactly its bits.
pub struct Row<'r>(pub &'r [f32]);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .enumerate()
            .try_for_each(|(index, logit)| write!(f, "{}{logit:e}", if index == 0 { "" } else { " " }))
    }
}
