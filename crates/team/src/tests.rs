//! Tests the team with threads instead of cores.

use crate::{Team, Waiting};
use llm::parallel::Workers;
use std::{
    boxed::Box,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
    vec::Vec,
};

/// Threads instead of cores.
struct Threads {
    start: Instant,
    /// For each core, whether it has been woken since its last sleep.
    woken: Vec<(Mutex<bool>, Condvar)>,
    /// While this is held, helpers that have nothing to do stop in `pause`, as if they had been taken away.
    gate: Mutex<()>,
    /// How far the clock has jumped forward.
    jump_us: AtomicUsize,
    /// The longest waiting time that the caller was told.
    waited_us: AtomicUsize,
}

impl Waiting for Threads {
    const AWAKE_US: u64 = 200;

    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64 + self.jump_us.load(Ordering::SeqCst) as u64
    }

    fn pause(&self) {
        drop(self.gate.lock().unwrap());
        thread::yield_now();
    }

    fn notify(&self) {}

    fn has_waited(&self, waited_us: u64) {
        self.waited_us.fetch_max(waited_us as usize, Ordering::SeqCst);
    }

    fn sleep(&self, core: usize) {
        let (woken, changed) = &self.woken[core];
        let mut woken = woken.lock().unwrap();
        // The caller wakes up now and then.
        if core == 0 {
            (woken, _) =
                changed.wait_timeout_while(woken, Duration::from_millis(5), |woken| !*woken).unwrap();
            *woken = true;
        }
        while !*woken {
            let (guard, limit) = changed.wait_timeout(woken, Duration::from_secs(20)).unwrap();
            assert!(!limit.timed_out(), "core {core} was never woken");
            woken = guard;
        }
        *woken = false;
    }

    fn wake(&self, core: usize) {
        let (woken, changed) = &self.woken[core];
        *woken.lock().unwrap() = true;
        changed.notify_one();
    }
}

/// Runs `body` with a team of `count` threads, all of which serve.
fn with_team(count: usize, body: impl FnOnce(&Team<Threads>)) {
    let team = Team::new(Threads {
        start: Instant::now(),
        woken: (0..count).map(|_| Default::default()).collect(),
        gate: Mutex::new(()),
        jump_us: AtomicUsize::new(0),
        waited_us: AtomicUsize::new(0),
    });
    let is_over = AtomicBool::new(false);
    /// Ends the service even if `body` panics: otherwise the scope would wait forever.
    struct End<'a>(&'a AtomicBool, &'a Team<Threads>);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
            self.1.wake_all();
        }
    }
    thread::scope(|scope| {
        for core in 1..count {
            let (team, is_over) = (&team, &is_over);
            team.expect_helper();
            scope.spawn(move || team.serve(core, || is_over.load(Ordering::SeqCst)));
        }
        assert_eq!(team.count(), count);
        let _end = End(&is_over, &team);
        body(&team);
    });
}

/// A run as its closure sees it. It is never freed, so that a closure that runs too late is detected.
struct Run {
    number: usize,
    next: AtomicUsize,
    done: [AtomicUsize; 24],
}

#[test]
fn everything_is_done_once_and_nothing_after_the_end() {
    static CURRENT: AtomicUsize = AtomicUsize::new(0);
    let late = AtomicUsize::new(0);
    for count in [1, 2, 3, 4, 8] {
        with_team(count, |team| {
            for number in 1..=3000 {
                let run: &Run =
                    Box::leak(Box::new(Run { number, next: AtomicUsize::new(0), done: Default::default() }));
                CURRENT.store(number, Ordering::SeqCst);
                team.run(&|| {
                    loop {
                        if CURRENT.load(Ordering::SeqCst) != run.number {
                            late.fetch_add(1, Ordering::SeqCst);
                        }
                        let index = run.next.fetch_add(1, Ordering::Relaxed);
                        let Some(done) = run.done.get(index) else {
                            break;
                        };
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
                CURRENT.store(0, Ordering::SeqCst);
                assert!(run.done.iter().all(|done| done.load(Ordering::Relaxed) == 1), "run {number}");
                // Some runs find the helpers awake, some find them about to sleep, and some asleep.
                if number % 500 == 0 {
                    thread::sleep(Duration::from_millis(5));
                } else if number % 7 == 0 {
                    thread::sleep(Duration::from_micros(Threads::AWAKE_US));
                }
            }
        });
    }
    assert_eq!(late.into_inner(), 0);
}

#[test]
fn sleeping_helpers_come_to_help() {
    with_team(3, |team| {
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(5));
            let caller = thread::current().id();
            let has_help = AtomicBool::new(false);
            let start = Instant::now();
            team.run(&|| {
                if thread::current().id() != caller {
                    has_help.store(true, Ordering::SeqCst);
                }
                while !has_help.load(Ordering::SeqCst) {
                    assert!(start.elapsed() < Duration::from_secs(20), "nobody came");
                    thread::yield_now();
                }
            });
        }
    });
}

#[test]
fn a_helper_that_has_not_begun_is_not_waited_for_and_comes_too_late() {
    with_team(2, |team| {
        let caller = thread::current().id();
        for _ in 0..50 {
            let gate = team.waiting.gate.lock().unwrap();
            // The helper is now in front of the gate or asleep, or will find the run below open.
            let helped = AtomicBool::new(false);
            let runs = AtomicUsize::new(0);
            team.run(&|| {
                runs.fetch_add(1, Ordering::SeqCst);
                helped.fetch_or(thread::current().id() != caller, Ordering::SeqCst);
            });
            let after_run = runs.load(Ordering::SeqCst);
            assert_eq!(after_run, 1 + usize::from(helped.into_inner()));
            drop(gate);
            thread::sleep(Duration::from_micros(300));
            assert_eq!(runs.load(Ordering::SeqCst), after_run);
        }
    });
}

#[test]
fn a_helper_inside_is_waited_for() {
    with_team(2, |team| {
        let caller = thread::current().id();
        let is_inside = AtomicBool::new(false);
        let has_finished = AtomicBool::new(false);
        team.run(&|| {
            if thread::current().id() == caller {
                while !is_inside.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
            } else {
                is_inside.store(true, Ordering::SeqCst);
                // Long enough for the caller to fall asleep.
                thread::sleep(Duration::from_millis(30));
                // As if the machine had been stopped for an hour.
                team.waiting.jump_us.store(3_600_000_000, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(10));
                has_finished.store(true, Ordering::SeqCst);
            }
        });
        assert!(has_finished.into_inner());
        // If the jump had counted as waiting, `has_waited` would have been told so.
        let waited_us = team.waiting.waited_us.load(Ordering::SeqCst);
        assert!((10_000..30_000_000).contains(&waited_us), "{waited_us} us");
    });
}

#[test]
fn a_run_within_a_run_is_done_by_its_caller() {
    with_team(4, |team| {
        let outer = AtomicUsize::new(0);
        let inner = AtomicUsize::new(0);
        team.run(&|| {
            outer.fetch_add(1, Ordering::SeqCst);
            team.run(&|| {
                inner.fetch_add(1, Ordering::SeqCst);
            });
        });
        assert_eq!(outer.into_inner(), inner.into_inner());
    });
}

#[test]
fn a_closure_that_panics_leaves_the_team_as_it_was() {
    with_team(3, |team| {
        let caller = thread::current().id();
        for _ in 0..20 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(&|| assert_ne!(thread::current().id(), caller, "wanted by the test"));
            }));
            assert!(result.is_err());
            let ran = AtomicUsize::new(0);
            team.run(&|| {
                ran.fetch_add(1, Ordering::SeqCst);
            });
            assert!((1..=3).contains(&ran.into_inner()));
        }
    });
}
