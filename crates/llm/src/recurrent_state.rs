//! What recurrent layers keep of a text.
//!
//! Unlike keys and values it is no list of positions: it is replaced at each position and cannot be cut back. One
//! earlier state is kept beside the current one, the *checkpoint*, to which a session can return.

use alloc::vec::Vec;

use crate::arena::{Arena, OutOfMemory};

/// What one layer keeps of a text, in elements of 32 bits, however long the text is.
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
    /// Of each layer, the history of its convolution, then its state.
    current: &'m mut [f32],
    /// The same, as it was at an earlier position.
    checkpoint: &'m mut [f32],
    /// Positions that the checkpoint was made after; none where there is none.
    checkpoint_position: Option<usize>,
    /// Tokens of the batch after which a checkpoint is to be made.
    checkpoint_after: Option<usize>,
    /// Whether the next batch is to make one.
    is_planned: bool,
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
    /// Where a checkpoint is to be made in this batch, if one is.
    pub checkpoint: Option<Checkpoint<'s>>,
}

/// Where a layer's checkpoint goes.
#[derive(Debug)]
pub struct Checkpoint<'s> {
    /// Tokens of the batch before it.
    pub after: usize,
    /// For the last inputs of the convolution.
    pub history: &'s mut [f32],
    /// For the state.
    pub state: &'s mut [f32],
}

impl<'m> RecurrentState<'m> {
    /// Takes the memory for the state of layers of these shapes, and its checkpoint, from `arena`, and a few bytes per
    /// layer from the heap.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if either is too small.
    pub fn carve(
        shapes: impl ExactSizeIterator<Item = RecurrentShape>,
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
            // Lengths past the address space are refused by `take` like any others that do not fit.
            len = len.saturating_add(shape.n_history).saturating_add(shape.n_state);
        }
        Ok(RecurrentState {
            places,
            current: arena.take(len)?,
            checkpoint: arena.take(len)?,
            checkpoint_position: None,
            checkpoint_after: None,
            is_planned: false,
        })
    }

    /// Whether no layer is recurrent.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    /// The state before the first position; the checkpoint is given up.
    pub fn clear(&mut self) {
        self.current.fill(0.0);
        self.checkpoint_position = None;
    }

    /// Makes this the same state as another of the same layers, its checkpoint too, but none that is only planned.
    ///
    /// # Panics
    ///
    /// If their layers are not of the same shapes.
    pub fn copy_from(&mut self, other: &Self) {
        self.current.copy_from_slice(other.current);
        self.checkpoint.copy_from_slice(other.checkpoint);
        self.checkpoint_position = other.checkpoint_position;
        self.is_planned = false;
    }

    /// Lets the next batch make a checkpoint, before its last token and in the place of an earlier one.
    pub fn plan_checkpoint(&mut self) {
        self.is_planned = true;
    }

    /// Lets the next batch make no checkpoint.
    pub fn drop_plan(&mut self) {
        self.is_planned = false;
    }

    /// Prepares for a batch of `n_tokens` that begins at `position`.
    pub fn begin_batch(&mut self, position: usize, n_tokens: usize) {
        if position == 0 {
            self.clear();
        }
        self.checkpoint_after = None;
        if core::mem::take(&mut self.is_planned) {
            self.checkpoint_after = n_tokens.checked_sub(1);
            // Not before the whole batch is computed.
            self.checkpoint_position = None;
        }
    }

    /// States that the batch, which began at `position`, is computed.
    pub fn end_batch(&mut self, position: usize) {
        if let Some(after) = self.checkpoint_after.take() {
            self.checkpoint_position = Some(position + after);
        }
    }

    /// Returns to the checkpoint if it was made after at most `n_past` positions, or else to the beginning; answers after
    /// how many positions the state is now. Where no layer is recurrent, that is `n_past`.
    pub fn go_back(&mut self, n_past: usize) -> usize {
        match self.checkpoint_position {
            _ if self.is_empty() => n_past,
            Some(position) if position <= n_past => {
                self.current.copy_from_slice(self.checkpoint);
                position
            }
            _ => 0,
        }
    }

    /// The state of one layer, to be replaced by that after the batch.
    ///
    /// # Panics
    ///
    /// If there is no such layer.
    pub fn layer(&mut self, layer: usize) -> LayerMemory<'_> {
        let Place { first, shape } = self.places[layer];
        let range = first..first + shape.n_history + shape.n_state;
        let (history, state) = self.current[range.clone()].split_at_mut(shape.n_history);
        let checkpoint = self.checkpoint_after.map(|after| {
            let (history, state) = self.checkpoint[range].split_at_mut(shape.n_history);
            Checkpoint { after, history, state }
        });
        LayerMemory { history, state, checkpoint }
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
        RecurrentState::carve(SHAPES.into_iter(), arena).unwrap()
    }

    #[test]
    fn a_state_goes_back_to_its_checkpoint_or_to_the_beginning() {
        let mut arena = Arena::measuring();
        carve(&mut arena);
        let mut memory = vec![0xff; arena.used_bytes() + crate::arena::ALIGN];
        let mut state = carve(&mut Arena::new(&mut memory));
        assert!(!state.is_empty());
        state.plan_checkpoint();
        state.begin_batch(0, 3);
        for layer in [0, 2] {
            let LayerMemory { history, checkpoint, .. } = state.layer(layer);
            assert!(history.iter().all(|x| *x == 0.0));
            let checkpoint = checkpoint.unwrap();
            assert_eq!(checkpoint.after, 2);
            history.fill(5.0);
            checkpoint.history.fill(2.0);
            checkpoint.state.fill(3.0);
        }
        // Broken off: nothing to go back to.
        assert_eq!(state.go_back(2), 0);
        state.end_batch(0);
        assert_eq!(state.go_back(1), 0);
        assert_eq!(state.go_back(2), 2);
        assert_eq!(state.layer(0).history, [2.0; 2]);
        assert_eq!(state.layer(0).state, [3.0; 3]);
        assert_eq!(state.layer(2).history, [2.0; 4]);
        state.begin_batch(2, 4);
        assert!(state.layer(0).checkpoint.is_none());
        state.end_batch(2);
        assert_eq!(state.go_back(9), 2);
        state.begin_batch(0, 4);
        assert_eq!(state.layer(2).history, [0.0; 4]);
        assert_eq!(state.go_back(9), 0);
    }
}
