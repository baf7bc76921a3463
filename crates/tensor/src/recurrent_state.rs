//! The state that recurrent layers keep of a text.
//!
//! Unlike keys and values, this is not a list of positions: the state is replaced at each position and cannot be cut back.
//! Earlier states, the *checkpoints*, are therefore kept beside the current one, so that a text can return to them. One
//! checkpoint belongs to the sequence; any number are in a pool, [`SavedStates`].

use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::arena::{Arena, OutOfMemory};

/// Sizes of what one layer keeps of a text, in elements of 32 bits. They do not depend on the text's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecurrentShape {
    /// The last inputs of the convolution, `[n_conv - 1][channels]`.
    pub n_history: usize,
    /// The state of all heads or channels.
    pub n_state: usize,
}

/// The state of all layers, and a checkpoint of it.
#[derive(Debug)]
pub struct RecurrentState<'m> {
    /// One per layer.
    places: Vec<Place>,
    /// For each layer: the history of its convolution, then its state.
    current: &'m mut [f32],
    /// The same at an earlier position; empty if there is no room for it.
    checkpoint: &'m mut [f32],
    /// After how many positions the checkpoint was made; `None` if there is no checkpoint.
    checkpoint_position: Option<usize>,
    /// After how many tokens of the batch a checkpoint is to be made.
    checkpoint_after: Option<usize>,
    /// If the next batch is to make a checkpoint: how many of its tokens come after it.
    planned: Option<usize>,
}

/// Where a layer's part begins.
#[derive(Debug, Clone, Copy)]
struct Place {
    first: usize,
    shape: RecurrentShape,
}

/// The state of one layer.
#[derive(Debug)]
pub struct LayerMemory<'s> {
    /// The last inputs of the convolution.
    pub history: &'s mut [f32],
    /// The state of all heads or channels.
    pub state: &'s mut [f32],
    /// Where checkpoints are to be made in this batch.
    pub checkpoints: Checkpoints<'s>,
}

/// Where a layer's checkpoints of a batch go, in the order of the tokens that they are made after.
#[derive(Debug)]
pub struct Checkpoints<'s> {
    /// The sequence's own checkpoint, and how many tokens of the batch come before it.
    own: Option<(usize, &'s mut [f32])>,
    slot: u32,
    targets: &'s [Target],
    /// The states of all saved checkpoints.
    states: &'s mut [f32],
    state_len: usize,
    place: Place,
    /// The last checkpoint: after how many tokens it was made, and its index in `targets`.
    last: Option<(usize, usize)>,
}

/// Where a checkpoint of a layer is written.
#[derive(Debug)]
pub struct Checkpoint<'s> {
    /// How many tokens of the batch come before it.
    pub after: usize,
    /// Room for the last inputs of the convolution.
    pub history: &'s mut [f32],
    /// Room for the state.
    pub state: &'s mut [f32],
}

/// Stands for no slot.
const NO_SLOT: u32 = u32::MAX;

/// The batch in which a saved state is being made.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Target {
    /// The slot whose span makes it, or [`NO_SLOT`].
    slot: u32,
    /// How many tokens of the span come before it.
    after: u32,
}

/// States of all layers at earlier positions of any sequence, identified by number.
#[derive(Debug)]
pub struct SavedStates<'m> {
    /// `[n]`
    targets: &'m mut [Target],
    /// `[n][state_len]`
    states: &'m mut [f32],
    /// Number of elements of one state, as in a [`RecurrentState`].
    state_len: usize,
}

impl<'m> SavedStates<'m> {
    /// Takes the memory for `n` states of layers of these shapes from `arena`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if it is too small.
    pub fn carve(
        shapes: impl Iterator<Item = RecurrentShape>,
        n: usize,
        arena: &mut Arena<'m>,
    ) -> Result<Self, OutOfMemory> {
        let lengths = shapes.map(|shape| shape.n_history.saturating_add(shape.n_state));
        let state_len = lengths.fold(0, usize::saturating_add);
        let n = if state_len == 0 { 0 } else { n };
        let targets = arena.take::<Target>(n)?;
        targets.fill(Target { slot: NO_SLOT, after: 0 });
        Ok(SavedStates { targets, states: arena.take(n.saturating_mul(state_len))?, state_len })
    }

    /// Has the span of `slot` in this batch make number `index` after its first `after` tokens.
    pub fn plan(&mut self, index: usize, slot: usize, after: usize) {
        self.targets[index] = Target { slot: slot as u32, after: after as u32 };
    }

    /// Whether number `index` is being made.
    pub fn is_planned(&self, index: usize) -> bool {
        self.targets[index].slot != NO_SLOT
    }

    /// After how many tokens the span of `slot` makes a state in this batch. If it makes several, the one with the lowest number
    /// counts.
    pub fn planned(&self, slot: usize) -> Option<usize> {
        let target = self.targets.iter().find(|target| target.slot == slot as u32)?;
        Some(target.after as usize)
    }

    /// A state that the span of `slot` makes in this batch, and after how many tokens. The state is no longer planned then.
    pub fn take_planned(&mut self, slot: usize) -> Option<(usize, usize)> {
        let index = self.targets.iter().position(|target| target.slot == slot as u32)?;
        self.targets[index].slot = NO_SLOT;
        Some((index, self.targets[index].after as usize))
    }

    /// Copies the state of a sequence to number `index`.
    pub fn save(&mut self, index: usize, state: &RecurrentState<'_>) {
        self.states[index * self.state_len..][..self.state_len].copy_from_slice(state.current);
    }

    /// Copies number `index` to the state of a sequence.
    pub fn restore(&self, index: usize, state: &mut RecurrentState<'_>) {
        state.current.copy_from_slice(&self.states[index * self.state_len..][..self.state_len]);
    }
}

impl Checkpoints<'_> {
    /// Where the next checkpoint is written.
    pub fn next_due(&mut self) -> Option<Checkpoint<'_>> {
        let planned = self.targets.iter().enumerate().filter(|(_, target)| target.slot == self.slot);
        let planned = planned.map(|(index, target)| (target.after as usize, index));
        // The sequence's own checkpoint is numbered after all others.
        let own = self.own.as_ref().map(|(after, _)| (*after, self.targets.len()));
        let next = planned.chain(own).filter(|next| self.last.is_none_or(|last| last < *next)).min()?;
        self.last = Some(next);
        let (after, index) = next;
        let Place { first, shape } = self.place;
        let state = match (&mut self.own, index == self.targets.len()) {
            (Some((_, own)), true) => &mut **own,
            _ => &mut self.states[index * self.state_len + first..][..shape.n_history + shape.n_state],
        };
        let (history, state) = state.split_at_mut(shape.n_history);
        Some(Checkpoint { after, history, state })
    }
}

impl<'m> RecurrentState<'m> {
    /// Takes the memory for the state of layers of these shapes from `arena`, and for a checkpoint if one is wanted, and a few
    /// bytes per layer from the heap.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if either is too small.
    pub fn carve(
        shapes: impl ExactSizeIterator<Item = RecurrentShape>,
        has_checkpoint: bool,
        arena: &mut Arena<'m>,
    ) -> Result<Self, OutOfMemory> {
        let mut places = Vec::new();
        places.try_reserve_exact(shapes.len()).map_err(|_| OutOfMemory {
            needed_bytes: shapes.len() * size_of::<Place>(),
            available_bytes: 0,
        })?;
        let mut len = 0_usize;
        for shape in shapes {
            places.push(Place { first: len, shape });
            // Lengths beyond the address space saturate; `take` refuses them like any others that do not fit.
            len = len.saturating_add(shape.n_history).saturating_add(shape.n_state);
        }
        Ok(RecurrentState {
            places,
            current: arena.take(len)?,
            checkpoint: arena.take(if has_checkpoint { len } else { 0 })?,
            checkpoint_position: None,
            checkpoint_after: None,
            planned: None,
        })
    }

    /// Whether no layer is recurrent.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    /// Resets to the state before the first position; the checkpoint is dropped.
    pub fn clear(&mut self) {
        self.current.fill(0.0);
        self.checkpoint_position = None;
    }

    /// Copies another state of the same layers, including its checkpoint but not a planned one.
    ///
    /// # Panics
    ///
    /// If the shapes of the layers differ.
    pub fn copy_from(&mut self, other: &Self) {
        self.current.copy_from_slice(other.current);
        self.checkpoint.copy_from_slice(other.checkpoint);
        self.checkpoint_position = other.checkpoint_position;
        self.planned = None;
    }

    /// Has the next batch make a checkpoint before its last `n_after` tokens, if there is room for one. It replaces the earlier
    /// checkpoint.
    pub fn plan_checkpoint(&mut self, n_after: usize) {
        self.planned = Some(n_after).filter(|_| !self.checkpoint.is_empty());
    }

    /// Cancels the checkpoint planned for the next batch.
    pub fn drop_plan(&mut self) {
        self.planned = None;
    }

    /// Prepares for a batch with `n_tokens` of the sequence, from `position` on.
    pub fn begin_batch(&mut self, position: usize, n_tokens: usize) {
        if position == 0 {
            self.clear();
        }
        self.checkpoint_after = None;
        if let Some(n_after) = self.planned.take() {
            self.checkpoint_after = n_tokens.checked_sub(n_after);
            // The checkpoint becomes valid only when the whole batch has been computed.
            self.checkpoint_position = None;
        }
    }

    /// Notes that the batch that began at `position` has been computed.
    pub fn end_batch(&mut self, position: usize) {
        if let Some(after) = self.checkpoint_after.take() {
            self.checkpoint_position = Some(position + after);
        }
    }

    /// After how many positions the checkpoint was made, if there is one.
    pub fn checkpoint_position(&self) -> Option<usize> {
        self.checkpoint_position
    }

    /// Drops a checkpoint that was made after more than `position` positions.
    pub fn drop_checkpoint_after(&mut self, position: usize) {
        self.checkpoint_position = self.checkpoint_position.filter(|&made_at| made_at <= position);
    }

    /// Returns to the checkpoint.
    pub fn go_back(&mut self) {
        self.current.copy_from_slice(self.checkpoint);
    }

    /// The last inputs of one layer's convolution, and its state.
    ///
    /// # Panics
    ///
    /// If there is no such layer; also in the methods below.
    pub fn parts(&mut self, layer: usize) -> [&mut [f32]; 2] {
        let Place { first, shape } = self.places[layer];
        let part = &mut self.current[first..][..shape.n_history + shape.n_state];
        part.split_at_mut(shape.n_history).into()
    }

    /// The state of one layer during a batch in which the sequence is the span of `slot`. The caller replaces it with the state
    /// after the batch.
    pub fn layer<'s>(
        &'s mut self,
        layer: usize,
        slot: usize,
        saved: &'s mut SavedStates<'_>,
    ) -> LayerMemory<'s> {
        let place = self.places[layer];
        let Place { first, shape } = place;
        let range = first..first + shape.n_history + shape.n_state;
        let (history, state) = self.current[range.clone()].split_at_mut(shape.n_history);
        let own = self.checkpoint_after.map(|after| (after, &mut self.checkpoint[range]));
        let SavedStates { targets, states, state_len } = saved;
        let checkpoints =
            Checkpoints { own, slot: slot as u32, targets, states, state_len: *state_len, place, last: None };
        LayerMemory { history, state, checkpoints }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    const SHAPES: [RecurrentShape; 3] = [
        RecurrentShape { n_history: 2, n_state: 3 },
        RecurrentShape { n_history: 0, n_state: 0 },
        RecurrentShape { n_history: 4, n_state: 0 },
    ];

    fn carve<'m>(arena: &mut Arena<'m>) -> RecurrentState<'m> {
        RecurrentState::carve(SHAPES.into_iter(), true, arena).unwrap()
    }

    #[test]
    fn a_state_goes_back_to_its_checkpoint_or_to_a_saved_one() {
        let mut arena = Arena::measuring();
        carve(&mut arena);
        SavedStates::carve(SHAPES.into_iter(), 3, &mut arena).unwrap();
        let mut memory = vec![0xff; arena.used_bytes() + crate::arena::ALIGN];
        let mut arena = Arena::new(&mut memory);
        let mut state = carve(&mut arena);
        let mut saved = SavedStates::carve(SHAPES.into_iter(), 3, &mut arena).unwrap();
        assert!(!state.is_empty());
        state.plan_checkpoint(1);
        saved.plan(2, 7, 1);
        saved.plan(0, 7, 2);
        saved.plan(1, 6, 1);
        state.begin_batch(0, 3);
        for layer in [0, 2] {
            let LayerMemory { history, mut checkpoints, .. } = state.layer(layer, 7, &mut saved);
            assert!(history.iter().all(|x| *x == 0.0));
            history.fill(5.0);
            let mut value = 0.0;
            // If both are made after the same token, the saved ones come first.
            for want in [1, 2, 2] {
                let checkpoint = checkpoints.next_due().unwrap();
                assert_eq!(checkpoint.after, want);
                value += 1.0;
                checkpoint.history.fill(value);
                checkpoint.state.fill(-value);
            }
            assert!(checkpoints.next_due().is_none());
        }
        // Not valid before the batch has been computed.
        assert_eq!(state.checkpoint_position(), None);
        state.end_batch(0);
        assert_eq!(state.checkpoint_position(), Some(2));
        state.go_back();
        let memory = state.layer(0, 7, &mut saved);
        assert_eq!((&*memory.history, &*memory.state), (&[3.0; 2][..], &[-3.0; 3][..]));
        assert_eq!(state.layer(2, 7, &mut saved).history, [3.0; 4]);
        assert_eq!([(); 3].map(|()| saved.take_planned(7)), [Some((0, 2)), Some((2, 1)), None]);
        assert_eq!([0, 1, 2].map(|index| saved.is_planned(index)), [false, true, false]);
        saved.restore(0, &mut state);
        assert_eq!(state.layer(2, 7, &mut saved).history, [2.0; 4]);
        saved.save(1, &state);
        state.clear();
        assert_eq!(state.layer(2, 7, &mut saved).history, [0.0; 4]);
        saved.restore(1, &mut state);
        assert_eq!(state.layer(2, 7, &mut saved).history, [2.0; 4]);
        state.begin_batch(2, 4);
        assert!(state.layer(0, 7, &mut saved).checkpoints.next_due().is_none());
        state.end_batch(2);
        state.begin_batch(0, 4);
        assert_eq!(state.layer(2, 7, &mut saved).history, [0.0; 4]);
        assert_eq!(state.checkpoint_position(), None);
    }
}
