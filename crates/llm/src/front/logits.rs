//! The raw output of the forward pass, a row for each token.

use core::fmt;
use core::ops::ControlFlow;

use crate::model::Input;
use crate::session::{Logits, Runner, RunnerOptions, SessionError, Span};

/// Runs exactly these tokens on a runner whose first slot is empty, and passes the logits of each token to `on_row`, in
/// order; for an encoder these are the last layer's values. `on_row` may break off. The slot is empty again afterwards.
///
/// # Errors
/// If there are no tokens, an id is not in the vocabulary, the tokens do not fit the context, or `on_row` breaks off
/// ([`SessionError::Stopped`]).
pub fn run(
    runner: &mut Runner<'_>,
    tokens: &[u32],
    on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
) -> Result<(), SessionError> {
    check(runner, tokens)?;
    let RunnerOptions { n_batch, n_logits, .. } = *runner.options();
    let shown = show_rows(runner, tokens, n_logits.min(n_batch), on_row);
    runner.truncate(SLOT, 0);
    shown
}

/// Checks that there are tokens, and no more than fit the context.
pub(super) fn check(runner: &Runner<'_>, tokens: &[u32]) -> Result<(), SessionError> {
    let n_ctx = runner.options().state.n_ctx;
    match tokens.len() {
        0 => Err(SessionError::NoTokens),
        n_tokens if n_tokens > n_ctx => Err(SessionError::PromptTooLong { n_tokens, n_ctx }),
        _ => Ok(()),
    }
}

/// The slot in which they are computed.
pub(super) const SLOT: usize = 0;

fn show_rows(
    runner: &mut Runner<'_>,
    tokens: &[u32],
    n_at_once: usize,
    on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
) -> Result<(), SessionError> {
    let n_output = runner.model().config().n_output();
    for (index, tokens) in tokens.chunks(n_at_once).enumerate() {
        let (first_position, input) = (index * n_at_once, Input::Tokens(tokens));
        let span = Span { slot: SLOT, first_position, input, logits: Logits::All };
        for row in runner.run(&[span], &mut || ControlFlow::Continue(()))?.chunks(n_output) {
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
