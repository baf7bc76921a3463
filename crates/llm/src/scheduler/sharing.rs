//! Decides which texts wait for a beginning that another text is computing, and when they continue.
//!
//! A text reuses what was computed for earlier texts with the same beginning. Texts that arrive at the same time would all compute that
//! beginning, so the younger ones wait with an empty slot. A text with exactly the same tokens becomes a fork of the older text as soon as
//! that has its first logits, and draws its first token from the same logits. Any other text starts with the common beginning as far as the
//! older text has computed it.

use super::sequence::Sequence;
use super::{Scheduler, SequenceId};
use crate::kv_cache::PAGE_LEN;
use crate::scheduler::Output;
use crate::state::StateOptions;
use core::ops::ControlFlow;

impl Scheduler<'_> {
    /// How many tokens at the start of a text it can take over if it waits for one of the `older` texts. 0 if these are less than half of
    /// the tokens still to be computed: then waiting is not worth it.
    ///
    /// With recurrent layers a text waits only for an equal one: in the middle of another text there may be no checkpoint.
    pub(super) fn awaited(&self, text: &Sequence, older: &[Sequence]) -> usize {
        let tokens = &text.tokens;
        if !text.can_reuse() {
            return 0;
        }
        let is_recurrent = self.runner.model().config().is_recurrent();
        let shared = |other: &Sequence| {
            let n_common = other.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
            match other.tokens == *tokens {
                true => n_common,
                false if is_recurrent => 0,
                false => n_common.min(tokens.len() - 1),
            }
        };
        let alike = older.iter().filter(|other| other.adapters == text.adapters);
        let in_prompt = alike.filter(|other| other.is_in_prompt());
        let to_come =
            in_prompt.map(|other| (other, shared(other))).filter(|(other, n)| other.n_computed < *n);
        let Some(n_shared) = to_come.map(|(_, n_shared)| n_shared).max() else { return 0 };
        let n_known = self.runner.n_known(text.slot, tokens);
        match 2 * n_shared.saturating_sub(n_known) >= tokens.len() - n_known {
            true => n_shared,
            false => 0,
        }
    }

    /// Starts the texts that no longer need to wait for an older text.
    pub(super) fn begin_awaiting(
        &mut self,
        on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>,
    ) {
        for index in 0..self.running.len() {
            let (older, rest) = self.running.split_at(index);
            let Some(sequence) = rest.first().filter(|sequence| sequence.n_awaited > 0) else { continue };
            let n_awaited = self.awaited(sequence, older);
            let sequence = &mut self.running[index];
            sequence.n_awaited = n_awaited;
            if n_awaited == 0 {
                let n_known = self.runner.reuse(sequence.slot, &sequence.tokens);
                sequence.begin(n_known, &mut self.counts, on_output);
            }
        }
        self.remove_finished(on_output);
    }

    /// The number of free pages that a waiting text will take if it gets its first `n_awaited` tokens from another
    /// text.
    pub(super) fn pages_lacking(&self, text: &Sequence, n_awaited: usize) -> usize {
        match n_awaited {
            0 if text.can_reuse() => self.runner.pages_lacking(text.slot, &text.tokens),
            _ => StateOptions::pages_of(text.tokens.len()) - n_awaited / PAGE_LEN,
        }
    }
}
