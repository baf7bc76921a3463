//! The code of `team.rs` itself, run in every order of its steps and with every stale value that the memory model
//! allows, up to a number of preemptions (crate loom; Norris and Demsky, "CDSChecker", 2013).
//!
//! `interleavings` follows more orders of a paraphrase, in which all cores see the same memory; here it is the code, and
//! loom looks for a closure, or what it writes, used without an order between the cores, and for a wake-up that is lost.
//! Not found out is what sequential consistency has beyond acquiring and releasing the newest value.

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
    /// One a core: whether it has been woken since its last sleep.
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

/// What a run writes: a cell that no two cores may be at, for each index that they claim.
struct Work {
    next: AtomicUsize,
    cells: [UnsafeCell<u32>; 2],
}

// SAFETY: loom fails where two threads are at a cell without an order between them.
unsafe impl Sync for Work {}

impl Work {
    fn do_some(&self) {
        while let Some(cell) = self.cells.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            // SAFETY: loom fails where this meets another access.
            cell.with_mut(|cell| unsafe { *cell += 1 });
        }
    }
}

/// `n_runs` runs with `n_helpers`, in every order with at most so many preemptions.
fn check(n_helpers: usize, n_runs: usize, preemptions: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let team =
            Arc::new(Team::new(Sleepers { woken: (0..=n_helpers).map(|_| Default::default()).collect() }));
        let is_over = Arc::new(AtomicBool::new(false));
        is_over.store(false, Ordering::Relaxed);
        (0..n_helpers).for_each(|_| team.expect_helper());
        // Loom's values are made where they are first used: by this thread, so that it is before the others.
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
                // SAFETY: loom fails where a helper is still at it.
                assert_eq!(cell.with(|cell| unsafe { *cell }), 1);
            }
        }
        is_over.store(true, Ordering::SeqCst);
        // Each wakes one that sleeps.
        (0..n_helpers).for_each(|_| team.run(&|| {}));
        helpers.into_iter().for_each(|helper| helper.join().unwrap());
    });
}

/// Three cores are expected. One never comes, as one that does not start; one stops for good during the first run, before it begins,
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
                // SAFETY: loom fails where a helper is still at it.
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
