//! [`ThreadPool`]: the host's implementation of the engine's [`Workers`].
//!
//! A token needs hundreds of short parallel runs, so the threads are started once, look out for the
//! next run for a few microseconds after each one and only then go to sleep.

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use llm::parallel::Workers;

/// How often a waiting thread looks before it sleeps; some tens of microseconds, the length of the
/// serial stretches between two matrix products.
const SPINS_BEFORE_SLEEP: u32 = 2000;

/// Threads that run one closure together with the thread that asks for it.
///
/// A run must not start another run on the same pool.
pub struct ThreadPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Lets callers take turns.
    turn: Mutex<()>,
}

type Job<'a> = &'a (dyn Fn() + Sync);

struct Shared {
    /// Counts the runs; a change tells the threads that `job` holds a new one.
    generation: AtomicU64,
    /// The current run's closure; written by the caller between two runs, when no thread reads it.
    job: UnsafeCell<Option<Job<'static>>>,
    /// Threads that have not finished the current run.
    unfinished: AtomicUsize,
    /// Who waits for `unfinished` to become 0.
    caller: Mutex<Option<Thread>>,
    panicked: AtomicBool,
    closing: AtomicBool,
}

// SAFETY: every field but `job` is `Sync` by itself. `ThreadPool::run` writes `job` only while it
// holds `turn` and `unfinished` is 0, that is while no thread is between reading `generation` and
// decrementing `unfinished`; the release store to `generation` orders the write before the reads.
unsafe impl Sync for Shared {}

// SAFETY: the closure in `job` is `Sync`, so a reference to it may be sent to other threads.
unsafe impl Send for Shared {}

impl ThreadPool {
    /// A pool in which `count` threads take part, the caller among them.
    ///
    /// # Errors
    /// When the system refuses to start a thread.
    pub fn new(count: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            unfinished: AtomicUsize::new(0),
            caller: Mutex::new(None),
            panicked: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        });
        let mut pool = Self { shared, threads: Vec::new(), turn: Mutex::new(()) };
        for index in 1..count {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new().name(format!("llm-{index}")).spawn(move || shared.serve())?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }
}

impl Workers for ThreadPool {
    fn count(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, job: Job<'_>) {
        if self.threads.is_empty() {
            return job();
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        *lock(&shared.caller) = Some(thread::current());
        // SAFETY: only the lifetime changes. The reference is used by threads that have not yet
        // decremented `unfinished`, and this function does not return or unwind before that is 0.
        let job_for_threads = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(job) };
        // SAFETY: no thread reads `job` now, see `impl Sync for Shared`.
        unsafe { *shared.job.get() = Some(job_for_threads) };
        shared.unfinished.store(self.threads.len(), Ordering::Relaxed);
        shared.generation.fetch_add(1, Ordering::Release);
        for thread in &self.threads {
            thread.thread().unpark();
        }

        let own_share = catch_unwind(AssertUnwindSafe(job));
        wait_until(|| shared.unfinished.load(Ordering::Acquire) == 0);

        if let Err(panic) = own_share {
            resume_unwind(panic);
        }
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a thread of the pool panicked");
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared.generation.fetch_add(1, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A thread's own panics are caught in `serve`, so there is nothing to learn here.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The life of one thread: waits for the next run, takes part, says that it has finished.
    fn serve(&self) {
        let mut seen = 0;
        loop {
            wait_until(|| self.generation.load(Ordering::Acquire) != seen);
            seen += 1;
            if self.closing.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: the caller wrote `job` before it raised `generation` and leaves it alone until
            // this thread decrements `unfinished` below.
            let job = unsafe { *self.job.get() };
            let job = job.expect("a run begins by setting its closure");
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            if self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1
                && let Some(caller) = &*lock(&self.caller)
            {
                caller.unpark();
            }
        }
    }
}

/// Returns once `ready` says so; whoever makes it so unparks this thread afterwards.
fn wait_until(ready: impl Fn() -> bool) {
    for _ in 0..SPINS_BEFORE_SLEEP {
        if ready() {
            return;
        }
        spin_loop();
    }
    while !ready() {
        thread::park();
    }
}

fn lock(caller: &Mutex<Option<Thread>>) -> std::sync::MutexGuard<'_, Option<Thread>> {
    caller.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_takes_part_in_every_run() {
        for count in [1, 2, 5] {
            let pool = ThreadPool::new(count).unwrap();
            assert_eq!(pool.count(), count);
            for _ in 0..300 {
                let seen = Mutex::new(Vec::new());
                pool.run(&|| seen.lock().unwrap().push(thread::current().id()));
                let mut seen = seen.into_inner().unwrap();
                assert_eq!(seen.len(), count);
                seen.sort_by_key(|id| format!("{id:?}"));
                seen.dedup();
                assert_eq!(seen.len(), count);
            }
        }
    }

    #[test]
    fn sleeping_threads_wake_up() {
        let pool = ThreadPool::new(3).unwrap();
        let ran = AtomicUsize::new(0);
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(20));
            pool.run(&|| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!(ran.into_inner(), 9);
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let pool = ThreadPool::new(2).unwrap();
        let ran = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.run(&|| {
                            ran.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(ran.into_inner(), 4 * 100 * 2);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = ThreadPool::new(3).unwrap();
        let caller = thread::current().id();
        for panics_on_caller in [true, false] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&|| {
                    let on_caller = thread::current().id() == caller;
                    assert_ne!(on_caller, panics_on_caller, "wanted by the test");
                });
            }));
            assert!(result.is_err());
            let ran = AtomicUsize::new(0);
            pool.run(&|| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(ran.into_inner(), 3);
        }
    }
}
