//! Decides what goes into a batch.

use super::Scheduler;
use super::sequence::Sequence;
use crate::kv_cache::PAGE_LEN;
use crate::model::{Input, Logits, Span};
use crate::state::StateOptions;

/// Some tokens of a text in a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// The text's index among the running ones.
    pub index: usize,
    /// The number of its next tokens.
    pub n_tokens: usize,
    /// The number of guesses that follow them.
    pub n_guessed: usize,
}

impl Part {
    /// The span of these tokens. If they reach the end of the text, it asks for the logits after the last one and after
    /// each guess.
    pub fn span<'t>(&self, sequence: &'t Sequence) -> Span<'t> {
        Span {
            slot: sequence.slot,
            first_position: sequence.n_computed,
            input: Input::Tokens(&sequence.tokens[sequence.n_computed..][..self.n_tokens + self.n_guessed]),
            logits: match self.n_rows(sequence) {
                0 => Logits::None,
                n_rows => Logits::Tail(n_rows),
            },
        }
    }

    /// The number of rows of logits of the span.
    pub fn n_rows(&self, sequence: &Sequence) -> usize {
        let ends_there = sequence.pool.is_none() && self.n_tokens == sequence.n_pending();
        if ends_there { 1 + self.n_guessed } else { 0 }
    }
}

impl Scheduler<'_> {
    /// Fills `parts`: first the next token of each answer, then parts of prompts, then guesses at the next tokens of answers. Each group
    /// starts with the oldest text and skips texts that wait for another one. Texts of an encoder are not divided: those that do not fit
    /// wait for the next batch.
    pub(super) fn plan(&mut self) {
        self.parts.clear();
        let is_encoder = self.runner.model().config().is_encoder();
        let mut room = Room { n_tokens: self.runner.options().n_batch, n_pages: self.runner.n_free_pages() };
        for is_prompt in [false, true] {
            let mut index = 0;
            while index < self.running.len() {
                let sequence = &self.running[index];
                let is_next =
                    |sequence: &Sequence| sequence.n_awaited == 0 && sequence.is_behind() == is_prompt;
                if is_next(sequence) {
                    // Prompts get equal shares of the room. An answer gets what it needs, but must leave one token for each answer after
                    // it.
                    let n_others = self.running[index + 1..].iter().filter(|other| is_next(other)).count();
                    let share = match is_prompt {
                        _ if is_encoder => room.n_tokens,
                        true => room.n_tokens.div_ceil(1 + n_others),
                        false => room.n_tokens - n_others,
                    };
                    let n_pending = sequence.n_pending();
                    if !is_encoder || n_pending <= share {
                        self.add(index, n_pending.min(share), &mut room);
                    }
                }
                index += 1;
            }
        }
        self.guess(room);
    }

    /// Adds guesses to the answers that continue; each gets its share of the room. With recurrent layers there must be a checkpoint to
    /// return to.
    fn guess(&mut self, mut room: Room) {
        let is_recurrent = self.runner.model().config().is_recurrent();
        let n_rows: usize = self.parts.iter().map(|part| part.n_rows(&self.running[part.index])).sum();
        let mut n_rows_left = self.runner.options().n_logits - n_rows;
        let is_answer = |part: &Part| {
            let sequence = &self.running[part.index];
            sequence.is_answering() && part.n_tokens == sequence.n_pending()
        };
        let mut n_answers = self.parts.iter().filter(|part| is_answer(part)).count();
        for part in &mut self.parts {
            let sequence = &mut self.running[part.index];
            if !sequence.is_answering() || part.n_tokens < sequence.n_pending() {
                continue;
            }
            let first = sequence.n_computed + part.n_tokens;
            let share = room.n_tokens.min(n_rows_left).div_ceil(n_answers);
            n_answers -= 1;
            part.n_guessed = sequence.guess(share.min(room.positions_after(first, 0)));
            if is_recurrent && part.n_guessed > 0 && !self.runner.plan_return(sequence.slot, part.n_tokens) {
                sequence.drop_guesses();
                part.n_guessed = 0;
            }
            room.take(first, part.n_guessed, 0);
            n_rows_left -= part.n_guessed;
        }
    }

    /// Adds up to `most` tokens of a text. If there is no page for even one of them, younger texts give up their slots.
    fn add(&mut self, index: usize, most: usize, room: &mut Room) {
        let n_tokens = loop {
            let sequence = &self.running[index];
            let n_copied = self.pages_to_copy(sequence);
            let n_tokens = most.min(room.positions_after(sequence.n_computed, n_copied));
            let is_in_batch = |index| self.parts.iter().any(|part: &Part| part.index == index);
            let youngest = self.running.len() - 1;
            if n_tokens > 0 || most == 0 || youngest == index || is_in_batch(youngest) {
                break n_tokens;
            }
            // Pages for the rest of the batch are not yet subtracted from the free pages.
            let n_taken = self.runner.n_free_pages() - room.n_pages;
            self.preempt_youngest();
            room.n_pages = self.runner.n_free_pages() - n_taken;
        };
        if n_tokens > 0 {
            let sequence = &self.running[index];
            room.take(sequence.n_computed, n_tokens, self.pages_to_copy(sequence));
            self.parts.push(Part { index, n_tokens, n_guessed: 0 });
        }
    }
}

impl Scheduler<'_> {
    /// Pages that a text must copy before it continues, because other texts hold them too.
    pub(super) fn pages_to_copy(&self, sequence: &Sequence) -> usize {
        usize::from(self.runner.is_last_page_shared(sequence.slot))
    }
}

/// The remaining room in a batch.
struct Room {
    n_tokens: usize,
    n_pages: usize,
}

impl Room {
    /// The number of further positions that there are pages for, in a text of `n_computed` positions that first copies
    /// `n_copied` pages.
    fn positions_after(&self, n_computed: usize, n_copied: usize) -> usize {
        let in_last_page = n_computed.next_multiple_of(PAGE_LEN) - n_computed;
        match self.n_pages.checked_sub(n_copied) {
            Some(n_pages) => in_last_page + n_pages * PAGE_LEN,
            None => 0,
        }
    }

    fn take(&mut self, n_computed: usize, n_tokens: usize, n_copied: usize) {
        let n_all = StateOptions::pages_of(n_computed + n_tokens);
        self.n_tokens -= n_tokens;
        self.n_pages -= n_all - StateOptions::pages_of(n_computed) + n_copied;
    }
}
