//! Runs the code of `team.rs` itself in every order of its steps, and with every stale value that the memory model allows, up to
//! a number of preemptions (crate loom; Norris and Demsky, "CDSChecker", 2013).
//!
//! `interleavings` explores more orders, but of a model of the code in which all cores see the same memory. Here the code itself
//! runs, and loom looks for a closure, or data that it writes, that is used without an order between the cores, and for a lost
//! wake-up. It cannot find errors that depend on the additional guarantees of sequential consistency over acquiring and releasing
//! the newest value.

#[allow(dead_code, reason = "no test needs all of it")]
mod sync;
#[allow(dead_code, reason = "no test needs all of it")]
#[path = "team.rs"]
#[expect(clippy::duplicate_mod, reason = "here with loom's values, there with those of core")]
mod team;

use llm::parallel::Workers;
use loom::{
    cell::UnsafeCell,
    sync::{Condvar, Mutex},
    thread,
};
use std::{sync::Arc, vec::Vec};
use sync::{AtomicBool, AtomicUsize, Ordering};
use team::{Team, Waiting};

/// Threads that sleep as soon as they have nothing to do.
struct Sleepers {
    /// For each core, whether it has been woken since its last sleep.
    woken: Vec<(Mutex<bool>, Condvar)>,
}

impl Waiting for Sleepers {
    const AWAKE_US: u64 = 0;

    fn now_us(&self) -> u64 {
        0
    }

    fn pause(&self) {}

    fn notify(&self) {}

    fn sleep(&self, core: usize) {
        let (woken, changed) = &self.woken[core];
        let mut woken = woken.lock().unwrap();
        while !*woken {
            woken = changed.wait(woken).unwrap();
        }
        *woken = false;
    }

    fn wake(&self, core: usize) {
        let (woken, changed) = &self.woken[core];
        *woken.lock().unwrap() = true;
        changed.notify_one();
    }
}

/// The data that a run writes: a cell for each index that cores claim. No two cores may access a cell at once.
struct Work {
    next: AtomicUsize,
    cells: [UnsafeCell<u32>; 2],
}

// SAFETY: the cells are loom's, which fails the test if two threads access a cell without an order between them.
unsafe impl Sync for Work {}

impl Work {
    fn do_some(&self) {
        while let Some(cell) = self.cells.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            // SAFETY: each index is claimed by one core only; loom fails the test if this access meets another.
            cell.with_mut(|cell| unsafe { *cell += 1 });
        }
    }
}

/// Checks `n_runs` runs with `n_helpers` helpers, in every order with at most `preemptions` preemptions.
fn check(n_helpers: usize, n_runs: usize, preemptions: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let team =
            Arc::new(Team::new(Sleepers { woken: (0..=n_helpers).map(|_| Default::default()).collect() }));
        let is_over = Arc::new(AtomicBool::new(false));
        is_over.store(false, Ordering::Relaxed);
        (0..n_helpers).for_each(|_| team.expect_helper());
        // Loom's values are created on first use. This thread uses them here, so that they exist before the other threads begin.
        team.run(&|| {});
        let helpers: Vec<_> = (1..=n_helpers)
            .map(|core| {
                let (team, is_over) = (Arc::clone(&team), Arc::clone(&is_over));
                thread::spawn(move || team.serve(core, || is_over.load(Ordering::SeqCst)))
            })
            .collect();
        for _ in 0..n_runs {
            let work = Work { next: AtomicUsize::new(0), cells: [0, 0].map(UnsafeCell::new) };
            work.next.store(0, Ordering::Relaxed);
            team.run(&|| work.do_some());
            for cell in &work.cells {
                // SAFETY: the run has ended, so no helper accesses the cell; loom fails the test if one still does.
                assert_eq!(cell.with(|cell| unsafe { *cell }), 1);
            }
        }
        is_over.store(true, Ordering::SeqCst);
        // Each run wakes one sleeping helper.
        (0..n_helpers).for_each(|_| team.run(&|| {}));
        helpers.into_iter().for_each(|helper| helper.join().unwrap());
    });
}

/// Three cores are expected. One never comes, like a core that does not start. One stops for good during the first run: before it
/// begins, inside it, or after it. The runs end without them, and nothing is lost.
/// inside or after it. The runs end without them, and nothing is lost.
#[test]
fn a_helper_that_stops_early_and_one_that_never_comes() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let team = Arc::new(Team::new(Sleepers { woken: (0..3).map(|_| Default::default()).collect() }));
        let has_stopped = Arc::new(AtomicBool::new(false));
        has_stopped.store(false, Ordering::Relaxed);
        (0..2).for_each(|_| team.expect_helper());
        team.run(&|| {});
        let helper = {
            let (team, has_stopped) = (Arc::clone(&team), Arc::clone(&has_stopped));
            thread::spawn(move || team.serve(1, || has_stopped.load(Ordering::SeqCst)))
        };
        for _ in 0..2 {
            let work = Work { next: AtomicUsize::new(0), cells: [0, 0].map(UnsafeCell::new) };
            work.next.store(0, Ordering::Relaxed);
            team.run(&|| {
                has_stopped.store(true, Ordering::SeqCst);
                work.do_some();
            });
            for cell in &work.cells {
                // SAFETY: the run has ended, so no helper accesses the cell; loom fails the test if one still does.
                assert_eq!(cell.with(|cell| unsafe { *cell }), 1);
            }
        }
        team.run(&|| {});
        helper.join().unwrap();
    });
}

#[test]
fn one_helper_in_two_runs() {
    check(1, 2, 3);
}

#[test]
fn two_helpers_in_a_run() {
    check(2, 1, 2);
}
