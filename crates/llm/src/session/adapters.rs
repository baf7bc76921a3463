//! Adapters of a runner, and how they change each of its slots.

use alloc::vec::Vec;

use super::error::SessionError;
use crate::arena::OutOfMemory;
use crate::compute::{Adaptation, LowRanks, Rows};
use crate::model::Span;

/// Number of different sets of scales that are remembered, so that results computed with each of them can be reused.
const REMEMBERED: usize = 64;

/// Adapters, and the scale of each in every slot.
#[derive(Debug, Default)]
pub(super) struct Adapters {
    adapters: Vec<LowRanks>,
    /// The scales of slots for which no others are set.
    usual: Vec<f32>,
    /// The scales of group 0: the usual scales when the adapters were set.
    first: Vec<f32>,
    /// `[n_slots][n_adapters]`
    scales: Vec<f32>,
    /// Groups of texts that share computed results: the scales and the number of each group, oldest first.
    groups: Vec<(Vec<f32>, u64)>,
    last_group: u64,
    /// The slot of each token of a batch.
    token_slots: Vec<u32>,
    /// The slot of each row of logits.
    row_slots: Vec<u32>,
}

impl Adapters {
    pub fn list(&self) -> &[LowRanks] {
        &self.adapters
    }

    pub fn usual(&self) -> &[f32] {
        &self.usual
    }

    /// Replaces the adapters, and sets all slots to the usual scales.
    pub fn set(
        &mut self,
        adapters: Vec<LowRanks>,
        usual: Vec<f32>,
        n_slots: usize,
        n_batch: usize,
        n_logits: usize,
    ) -> Result<(), SessionError> {
        assert_eq!(usual.len(), adapters.len(), "scales, and adapters");
        let n_scales = n_slots.saturating_mul(adapters.len());
        let needed_bytes = (n_scales + n_batch + n_logits).saturating_mul(4);
        let out_of_heap = |_| OutOfMemory { needed_bytes, available_bytes: 0 };
        let mut new = Adapters { last_group: self.last_group, ..Adapters::default() };
        new.scales.try_reserve_exact(n_scales).map_err(out_of_heap)?;
        (0..n_slots).for_each(|_| new.scales.extend_from_slice(&usual));
        new.token_slots.try_reserve_exact(n_batch).map_err(out_of_heap)?;
        new.row_slots.try_reserve_exact(n_logits).map_err(out_of_heap)?;
        new.groups.try_reserve_exact(REMEMBERED).map_err(out_of_heap)?;
        new.first.try_reserve_exact(usual.len()).map_err(out_of_heap)?;
        new.first.extend_from_slice(&usual);
        (new.adapters, new.usual) = (adapters, usual);
        *self = new;
        Ok(())
    }

    /// Changes the usual scales.
    pub fn set_usual(&mut self, usual: &[f32]) {
        self.usual.copy_from_slice(usual);
    }

    /// Removes and returns the adapters and the usual scales.
    pub fn take(&mut self) -> (Vec<LowRanks>, Vec<f32>) {
        let Adapters { adapters, usual, .. } = core::mem::take(self);
        (adapters, usual)
    }

    /// Changes the scales of a slot. Returns the group that its texts belong to, if the scales changed.
    pub fn adapt(&mut self, slot: usize, scales: &[f32]) -> Option<u64> {
        let n = self.adapters.len();
        assert!(scales.len() <= n, "{} scales, {n} adapters", scales.len());
        let of_slot = &mut self.scales[slot * n..][..n];
        let padded = || scales.iter().copied().chain(core::iter::repeat(0.0)).take(n);
        if of_slot.iter().copied().eq(padded()) {
            return None;
        }
        of_slot.iter_mut().zip(padded()).for_each(|(own, scale)| *own = scale);
        if *of_slot == *self.first {
            return Some(0);
        }
        if let Some((_, group)) = self.groups.iter().find(|(known, _)| known == of_slot) {
            return Some(*group);
        }
        if self.groups.len() == REMEMBERED {
            // Results that texts of this group left behind can no longer be found.
            self.groups.remove(0);
        }
        self.last_group += 1;
        self.groups.push((of_slot.to_vec(), self.last_group));
        Some(self.last_group)
    }

    /// Gives slot `to` the scales of slot `from`.
    pub fn copy(&mut self, from: usize, to: usize) {
        let n = self.adapters.len();
        self.scales.copy_within(from * n..(from + 1) * n, to * n);
    }

    /// Notes which slot each token and each row of logits of a batch belongs to.
    pub fn place(&mut self, spans: &[Span<'_>], n_embd: usize) {
        self.token_slots.clear();
        self.row_slots.clear();
        if self.adapters.is_empty() {
            return;
        }
        for span in spans {
            let n_tokens = span.input.n_tokens(n_embd);
            let slots = core::iter::repeat(span.slot as u32);
            self.token_slots.extend(slots.clone().take(n_tokens));
            self.row_slots.extend(slots.take(span.logits.rows(n_tokens)));
        }
    }

    /// The adaptation of the tokens of the last placed batch, and the slot of each of its rows of logits.
    pub fn of_batch(&self) -> (Adaptation<'_>, &[u32]) {
        let Adapters { adapters, scales, token_slots, row_slots, .. } = self;
        (Adaptation { adapters, scales, rows: Rows::OfSlots(token_slots) }, row_slots)
    }
}
