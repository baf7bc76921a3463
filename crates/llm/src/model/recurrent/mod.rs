//! Recurrent sequence mixers: what they know of the positions before is a state of fixed size.
//!
//! A file each has the plain recurrence and its paper. All go through each span of a batch token by token, so that a
//! text gives the same bits in batches of any length. Heads, or blocks of channels, are divided among the cores: each
//! is gone through by one core, in order.

mod convolution;
mod delta_net;
mod mamba;
mod mamba2;
mod short_convolution;

use core::ops::Range;

pub use convolution::Convolution;
pub use delta_net::{DeltaNet, DeltaNetGates};
pub use mamba::{Mamba, MambaNorms};
pub use mamba2::Mamba2;
pub use short_convolution::ShortConvolution;

use super::forward::Forward;
use super::scratch::Workspace;
use super::span::Batch;
use crate::recurrent_state::{Checkpoint, Checkpoints};
use crate::state::StateStore;

/// The weights of a recurrent mixer.
#[derive(Debug)]
pub enum Recurrent<'a> {
    /// A selective state space with a decay for each element of its state.
    Mamba(Mamba<'a>),
    /// A selective state space with a decay for each head.
    Mamba2(Mamba2<'a>),
    /// Linear attention with the gated delta rule.
    DeltaNet(DeltaNet<'a>),
    /// A convolution between two gates.
    ShortConvolution(ShortConvolution<'a>),
}

impl Forward<'_, '_> {
    /// The mixer of one layer, in the place of its input `x`, `[n_tokens][n_embd]`; what the layer keeps in the spans'
    /// slots of `store` becomes what it keeps after these tokens.
    pub(super) fn recurrent(
        &self,
        weights: &Recurrent<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        match weights {
            Recurrent::Mamba(mamba) => self.mamba(mamba, batch, x, store, workspace),
            Recurrent::Mamba2(mamba2) => self.mamba2(mamba2, batch, x, store, workspace),
            Recurrent::DeltaNet(delta_net) => self.delta_net(delta_net, batch, x, store, workspace),
            Recurrent::ShortConvolution(convolution) => {
                self.short_convolution(convolution, batch, x, store, workspace);
            }
        }
    }
}

/// Calls `scan` with the state and ranges of the tokens, in order, so that checkpoints are made between them.
fn scan_tokens(
    n_tokens: usize,
    state: &mut [f32],
    mut checkpoints: Checkpoints<'_>,
    mut scan: impl FnMut(&mut [f32], Range<usize>),
) {
    let mut first = 0;
    while let Some(Checkpoint { after, state: saved, .. }) = checkpoints.next_due() {
        if first < after {
            scan(state, first..after);
        }
        saved.copy_from_slice(state);
        first = after;
    }
    if first < n_tokens {
        scan(state, first..n_tokens);
    }
}

/// `ln(1 + exp(x))`, a smooth form of `max(x, 0)`.
fn softplus(x: f32) -> f32 {
    /// Above this it is `x` to the last bit.
    const LINEAR: f32 = 20.0;
    if x > LINEAR { x } else { libm::log1pf(libm::expf(x)) }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::arena::Arena;
    use crate::recurrent_state::{LayerMemory, RecurrentShape, RecurrentState, SavedStates};

    #[test]
    fn softplus_goes_from_zero_to_the_diagonal() {
        assert_eq!(softplus(-200.0), 0.0);
        assert!((softplus(0.0) - core::f32::consts::LN_2).abs() < 1e-7);
        assert!((softplus(20.0) - 20.0).abs() < 1e-5);
        assert_eq!(softplus(30.0), 30.0);
        assert!(softplus(f32::NAN).is_nan());
    }

    #[test]
    fn a_scan_stops_for_checkpoints_and_goes_on() {
        let shapes = [RecurrentShape { n_history: 0, n_state: 1 }];
        let mut memory = std::vec![0; 1024];
        let mut arena = Arena::new(&mut memory);
        let mut store = RecurrentState::carve(shapes.into_iter(), &mut arena).unwrap();
        let mut saved = SavedStates::carve(shapes.into_iter(), 2, &mut arena).unwrap();
        saved.plan(0, 0, 5);
        saved.plan(1, 0, 2);
        store.begin_batch(0, 5);
        let LayerMemory { state, checkpoints, .. } = store.layer(0, 0, &mut saved);
        scan_tokens(5, state, checkpoints, |state, tokens| {
            tokens.for_each(|token| state[0] += (token + 1) as f32);
        });
        assert_eq!(state, [15.0]);
        for (index, want) in [(1, 3.0), (0, 15.0)] {
            saved.restore(index, &mut store);
            assert_eq!(store.layer(0, 0, &mut saved).state, [want]);
        }
    }
}
