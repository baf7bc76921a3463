//! Decides which waiting text gets a slot next, and which one gives its slot up.
//!
//! The text that has waited longest is next, once there are pages for its prompt. A text whose grammar's tables find no memory while other
//! texts have theirs waits for these to end, and texts that need no tables may overtake it. If the running answers need more pages than
//! there are, the youngest text waits again.

use super::sequence::Sequence;
use super::{Finish, Output, Scheduler, SequenceId};
use crate::sampling::SamplingError;
use crate::state::StateOptions;
use core::ops::ControlFlow;

/// A waiting text whose tables do not fit into memory beside those of the running texts. It is tried again when one of these has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lacking {
    id: SequenceId,
    /// How many running texts had tables.
    n_holding: usize,
    /// How many texts have overtaken it since then.
    n_overtaken: usize,
}

/// Most texts that may overtake a text that lacks memory.
const MAX_OVERTAKEN: usize = 64;

impl Scheduler<'_> {
    /// Gives free slots to the texts that have waited longest, as far as there are pages for them beside those that running prompts still
    /// need. Those that need not wait for another text's results begin.
    pub(super) fn admit(&mut self, on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>) {
        if core::mem::take(&mut self.is_lent) {
            self.free_slots.iter().for_each(|&slot| _ = self.runner.truncate(slot, 0));
        }
        self.begin_awaiting(on_output);
        while let (Some(&slot), Some(index)) = (self.free_slots.last(), self.next_waiting()) {
            let next = &mut self.waiting[index];
            next.slot = slot;
            self.runner.adapt(slot, &next.adapters);
            let next = &self.waiting[index];
            let n_awaited = self.awaited(next, &self.running);
            let n_needed = self.pages_lacking(next, n_awaited) + self.pages_promised();
            if !self.running.is_empty() && n_needed > self.runner.n_free_pages() {
                break;
            }
            let (id, n_holding) = (next.id, self.n_holding());
            let prepared = self.waiting[index].prepare(on_output);
            let n_overtaken = self.lacking.map_or(0, |lacking| lacking.n_overtaken);
            if let Err(SamplingError::OutOfMemory { .. }) = prepared
                && (index, n_holding > 0) == (0, true)
            {
                let is_known = self.lacking.is_some_and(|lacking| lacking.id == id);
                let n_overtaken = if is_known { n_overtaken } else { 0 };
                self.lacking = Some(Lacking { id, n_holding, n_overtaken });
                continue;
            }
            self.lacking = self.lacking.filter(|_| index > 0);
            self.lacking.iter_mut().for_each(|lacking| lacking.n_overtaken += 1);
            let Some(mut sequence) = self.waiting.remove(index) else { break };
            self.free_slots.pop();
            (sequence.slot, sequence.n_awaited) = (slot, n_awaited);
            if let Err(error) = prepared {
                sequence.finish = Some(Finish::Sampling(error));
            }
            if n_awaited == 0 && sequence.finish.is_none() {
                let n_known =
                    if sequence.can_reuse() { self.runner.reuse(slot, &sequence.tokens) } else { 0 };
                sequence.begin(n_known, &mut self.counts, on_output);
            }
            if let Some(finish) = sequence.finish {
                self.give_back(slot);
                // The answer is over whether or not the receiver breaks.
                let _ = on_output(sequence.id, sequence.finished(finish));
                continue;
            }
            // This text is younger than all running ones, because the oldest waits at the front and only the youngest
            // gives up its slot.
            self.running.push(sequence);
        }
    }

    /// The index of the waiting text whose turn it is: the one that has waited longest. While running texts occupy the memory for its
    /// tables, texts that need no tables overtake it, up to [`MAX_OVERTAKEN`] of them.
    fn next_waiting(&self) -> Option<usize> {
        let first = self.waiting.front()?;
        match &self.lacking {
            Some(lacking) if (lacking.id, lacking.n_holding) == (first.id, self.n_holding()) => {
                let needs_none = |text: &Sequence| !text.lacks_tables();
                self.waiting.iter().position(needs_none).filter(|_| lacking.n_overtaken < MAX_OVERTAKEN)
            }
            _ => Some(0),
        }
    }

    /// How many of the running texts have tables of a grammar.
    fn n_holding(&self) -> usize {
        self.running.iter().filter(|text| text.has_tables()).count()
    }

    /// Pages that running texts still need for the tokens that they already have.
    fn pages_promised(&self) -> usize {
        let lacking = |sequence: &Sequence| match sequence.n_awaited {
            0 => {
                StateOptions::pages_of(sequence.tokens.len()) + self.pages_to_copy(sequence)
                    - StateOptions::pages_of(self.runner.len(sequence.slot))
            }
            n_awaited => self.pages_lacking(sequence, n_awaited),
        };
        self.running.iter().map(lacking).sum()
    }

    /// Takes the slot from the youngest text and makes it wait.
    pub(super) fn preempt_youngest(&mut self) {
        let Some(mut sequence) = self.running.pop() else { return };
        self.give_back(sequence.slot);
        (sequence.n_computed, sequence.n_awaited) = (0, 0);
        self.waiting.push_front(sequence);
        self.counts.n_preempted += 1;
    }

    /// Empties a slot. Its pages can be found again until they are needed.
    pub(super) fn give_back(&mut self, slot: usize) {
        self.runner.truncate(slot, 0);
        self.free_slots.push(slot);
    }
}
