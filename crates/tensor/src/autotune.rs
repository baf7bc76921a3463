//! Finds the set of kernels that is fastest on this machine: all sets run over the same weights and are timed.
//!
//! CPU features say what a CPU can do, not what it does well: an emulator supports every instruction, but is slow at those that
//! its host lacks. Linux chooses its RAID parity functions in the same way.
//!
//! Neighbours: [`crate::roofline`] has the products; [`crate::simd`] the sets.

use crate::{roofline, simd::Kernels};

/// Tokens of the products that are timed: one, as when text is generated, and several, as in a prompt.
const TOKENS: [usize; 2] = [1, 4];

/// How often each set is timed. The shortest time counts; an emulator translates the code during the first run.
const ROUNDS: usize = 4;

/// The set that takes the least time for a token, alone and among others together. The clock may have any unit. If several are
/// equal, the last one wins; `None` if there are no sets.
pub fn fastest(
    sets: impl Iterator<Item = &'static Kernels>,
    now: impl Fn() -> u64,
) -> Option<&'static Kernels> {
    let time = |kernels: &Kernels, n_tokens: usize| {
        let times = (0..ROUNDS).map(|_| {
            let start = now();
            roofline::multiply(kernels, n_tokens, 1);
            now().saturating_sub(start)
        });
        times.min().unwrap_or(u64::MAX) / n_tokens as u64
    };
    let times =
        sets.map(|kernels| (TOKENS.map(|n_tokens| time(kernels, n_tokens)).iter().sum::<u64>(), kernels));
    times.reduce(|best, next| if next.0 <= best.0 { next } else { best }).map(|(_, kernels)| kernels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn the_least_time_wins_and_the_last_among_equals() {
        // A simulated clock: each reading advances it by the next step.
        let run = |steps: &'static [u64]| {
            let (readings, time) = (Cell::new(0), Cell::new(0));
            fastest([Kernels::scalar(), Kernels::detect()].into_iter(), || {
                let reading = readings.replace(readings.get() + 1);
                let set = reading / (2 * ROUNDS * TOKENS.len());
                time.set(time.get() + steps[set]);
                time.get()
            })
            .map(Kernels::name)
        };
        assert_eq!(run(&[1, 100]), Some("scalar"));
        assert_eq!(run(&[100, 1]), Some(Kernels::detect().name()));
        assert_eq!(run(&[8, 8]), Some(Kernels::detect().name()));
        assert_eq!(fastest(core::iter::empty(), || 0).map(Kernels::name), None);
    }
}
