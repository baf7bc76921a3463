//! [`ThreadPool`]: the host's threads as a [`Team`], which implements the engine's [`Workers`]. With [`meanwhile`], other code
//! gets its turn while they compute.
//!
//! A token needs hundreds of short parallel runs. The threads are therefore started once; after each run they spin for a while,
//! waiting for the next one, and only then go to sleep.

use std::cell::Cell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::Context;
use llm::parallel::Workers;
use team::{Team, Waiting};

pub use team::MAX_CORES as MAX_THREADS;

/// Threads that run one closure together with the calling thread.
///
/// A thread that is slow to begin does not hold up the caller. A call during another thread's run, or from within a run, does all
/// of its work alone.
pub struct ThreadPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    team: Team<Parking>,
    is_closing: AtomicBool,
}

impl ThreadPool {
    /// A pool with the requested number of threads or, by default, one for each core of this machine.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn of(asked: Option<usize>) -> anyhow::Result<Self> {
        let by_cores = || thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let count = asked.unwrap_or_else(by_cores);
        Self::new(count).with_context(|| format!("cannot start {count} threads"))
    }

    /// A pool of `count` threads, including the caller.
    ///
    /// # Errors
    /// If there would be more than [`MAX_THREADS`], or if the system refuses to start one.
    pub fn new(count: usize) -> std::io::Result<Self> {
        if count > MAX_THREADS {
            return Err(std::io::Error::other(format!("at most {MAX_THREADS} take part")));
        }
        let shared = Shared { team: Team::new(Parking::new(count)), is_closing: AtomicBool::new(false) };
        let mut pool = Self { shared: Arc::new(shared), threads: Vec::new() };
        for index in 1..count {
            let shared = Arc::clone(&pool.shared);
            shared.team.expect_helper();
            let serve = move || shared.team.serve(index, || shared.is_closing.load(Ordering::SeqCst));
            pool.threads.push(thread::Builder::new().name(format!("llm-{index}")).spawn(serve)?);
        }
        Ok(pool)
    }
}

impl Workers for ThreadPool {
    fn count(&self) -> usize {
        self.shared.team.count()
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        // A pool thread survives a panic in its closure; the panic continues in the calling thread.
        let panic = Mutex::new(None);
        self.shared.team.run(&|| {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
                lock(&panic).get_or_insert(payload);
            }
        });
        if let Some(payload) = panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(payload);
        }
    }

    fn yield_now(&self) {
        self.shared.team.yield_now();
    }
}

thread_local! {
    static LOOK: Cell<Option<Box<dyn Fn()>>> = const { Cell::new(None) };
}

/// From now on, calls `look` on this thread between the items that a pool processes for it.
pub fn meanwhile(look: impl Fn() + 'static) {
    LOOK.set(Some(Box::new(look)));
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::SeqCst);
        self.shared.team.wake_all();
        for thread in self.threads.drain(..) {
            // Panics of its closures have been caught, so the result says nothing.
            let _ = thread.join();
        }
    }
}

/// How threads wait: first in a loop, then asleep until they are woken.
struct Parking {
    start: Instant,
    /// One for each thread.
    places: Vec<Place>,
}

#[derive(Default)]
struct Place {
    /// Whether the thread has been woken since its last sleep.
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Parking {
    fn new(count: usize) -> Self {
        Self { start: Instant::now(), places: (0..count.max(1)).map(|_| Place::default()).collect() }
    }
}

impl Waiting for Parking {
    const AWAKE_US: u64 = 100;

    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn pause(&self) {
        spin_loop();
    }

    // A pause lasts only a moment, so there is nobody to notify.
    fn notify(&self) {}

    fn sleep(&self, thread: usize) {
        let place = &self.places[thread];
        let mut is_woken = lock(&place.is_woken);
        while !*is_woken {
            is_woken = place.changed.wait(is_woken).unwrap_or_else(PoisonError::into_inner);
        }
        *is_woken = false;
    }

    fn wake(&self, thread: usize) {
        let place = &self.places[thread];
        *lock(&place.is_woken) = true;
        place.changed.notify_one();
    }

    fn yield_now(&self) {
        // It is removed while it runs, so that it is not called within itself.
        if let Some(look) = LOOK.take() {
            look();
            LOOK.set(Some(look));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    /// Runs a closure on the pool, and waits inside it until `count` threads take part.
    fn run_with_all(pool: &ThreadPool, count: usize) {
        let seen = Mutex::new(Vec::new());
        let start = Instant::now();
        pool.run(&|| {
            seen.lock().unwrap().push(thread::current().id());
            while seen.lock().unwrap().len() < count {
                assert!(start.elapsed() < Duration::from_secs(60), "not all threads came");
                thread::yield_now();
            }
        });
        let mut seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), count);
        seen.sort_by_key(|id| format!("{id:?}"));
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn every_thread_comes_to_help_once_a_run() {
        for count in [1, 2, 5] {
            let pool = ThreadPool::new(count).unwrap();
            assert_eq!(pool.count(), count);
            for _ in 0..100 {
                run_with_all(&pool, count);
            }
        }
    }

    #[test]
    fn sleeping_threads_wake_up() {
        let pool = ThreadPool::new(3).unwrap();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(20));
            run_with_all(&pool, 3);
        }
    }

    #[test]
    fn a_thread_that_never_begins_does_not_hold_the_caller_up() {
        let shared = Shared { team: Team::new(Parking::new(2)), is_closing: AtomicBool::new(false) };
        shared.team.expect_helper();
        let pool = ThreadPool { shared: Arc::new(shared), threads: Vec::new() };
        assert_eq!(pool.count(), 2);
        for _ in 0..3 {
            let ran = AtomicUsize::new(0);
            pool.run(&|| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(ran.into_inner(), 1);
        }
    }

    #[test]
    fn a_run_within_a_run_is_done_by_its_caller() {
        let pool = ThreadPool::new(3).unwrap();
        for _ in 0..50 {
            let (outer, inner) = (AtomicUsize::new(0), AtomicUsize::new(0));
            pool.run(&|| {
                outer.fetch_add(1, Ordering::Relaxed);
                pool.run(&|| {
                    inner.fetch_add(1, Ordering::Relaxed);
                });
            });
            assert_eq!(outer.into_inner(), inner.into_inner());
        }
    }

    #[test]
    fn callers_on_several_threads_do_not_wait_for_each_other() {
        let pool = ThreadPool::new(2).unwrap();
        let n_inside = AtomicUsize::new(0);
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let caller = thread::current().id();
                    pool.run(&|| {
                        if thread::current().id() != caller {
                            return;
                        }
                        n_inside.fetch_add(1, Ordering::SeqCst);
                        while n_inside.load(Ordering::SeqCst) < 3 {
                            assert!(start.elapsed() < Duration::from_secs(60), "callers took turns");
                            thread::yield_now();
                        }
                    });
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = ThreadPool::new(3).unwrap();
        let caller = thread::current().id();
        for panics_on_caller in [true, false] {
            let has_helped = AtomicBool::new(false);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&|| {
                    let on_caller = thread::current().id() == caller;
                    if !on_caller {
                        has_helped.store(true, Ordering::SeqCst);
                    }
                    while !has_helped.load(Ordering::SeqCst) {
                        thread::yield_now();
                    }
                    assert_ne!(on_caller, panics_on_caller, "wanted by the test");
                });
            }));
            assert!(result.is_err());
            run_with_all(&pool, 3);
        }
    }

    #[test]
    fn more_threads_than_take_part_are_refused() {
        assert!(ThreadPool::new(MAX_THREADS + 1).is_err());
    }
}
