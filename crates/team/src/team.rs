//! [`Team`]: implements the engine's [`Workers`] with cores or threads that wait as [`Waiting`] defines.
//!
//! One core has a closure and wants help; the others wait for a closure to run. A hypervisor, or the host that emulates the
//! machine, may take a core away at any time. Nothing therefore waits for a core that has not begun: the caller runs the closure
//! itself, closes the run, and waits only for the helpers inside.
//!
//! # Why no core ever runs a closure that is gone
//!
//! `word` holds the number of the run, whether it is open, and how many helpers are inside the run.
//!
//! 1. A helper gets inside by one compare-and-swap from a word that says *open* to the same word with one more helper inside. If
//!    the run was closed in between, or was closed and another one opened, the word is different (the number of the run never
//!    repeats) and the swap fails.
//! 2. Only [`run`](Team::run) opens and closes. It writes `job` before it opens, while the word is closed and nobody is inside,
//!    and it closes before it reads the number inside. After closing, rule 1 lets nobody in, so the number can only fall. When it
//!    is 0, nobody reads `job` or runs the closure it names, and `run` may return or write `job` again.
//! 3. The store that opens the run releases `job` to every helper that enters, whose swap acquires it. Each subtraction by a
//!    leaving helper releases what the closure wrote to the caller, whose load of 0 acquires it.
//!
//! # Why no core sleeps through a run
//!
//! A helper about to sleep sets its bit in `asleep` and then looks at the word again; the caller opens
//! the word and then looks at `asleep`. All four are sequentially consistent, so at least one of the
//! two sees the other: either the helper stays awake or the caller wakes it, and a wake-up that comes
//! before the sleep ends the sleep ([`Waiting::sleep`]). The same holds, with the roles exchanged, for the caller, which sleeps
//! until the last helper has left.
//!
//! Waking a sleeping helper only makes the run faster: the run also ends without it. The caller therefore wakes only one sleeper
//! and begins to work; every helper that enters wakes one more.

use super::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, UnsafeCell};
use llm::parallel::Workers;

/// The most cores that a team can have: one bit each.
pub const MAX_CORES: usize = u64::BITS as usize;

/// The core that calls [`Team::run`].
pub const CALLER: usize = 0;

/// How a core waits: by means of the hardware, or as a thread.
pub trait Waiting: Sync {
    /// Microseconds for which an idle core spins before it sleeps. This should be long enough for the work that one core does
    /// alone between two products. It should be no longer, because on a busy machine a spinning core takes time from one that
    /// computes.
    const AWAKE_US: u64;

    /// Microseconds since some moment in the past.
    fn now_us(&self) -> u64;

    /// Waits for a moment, or until [`notify`](Self::notify) is called.
    fn pause(&self);

    /// Ends the [`pause`](Self::pause) of every core that is in one or about to enter one.
    fn notify(&self);

    /// Puts the calling core, which is number `core`, to sleep until [`wake`](Self::wake) names it. Returns at once if that has
    /// happened since its last sleep. May return without a reason.
    fn sleep(&self, core: usize);

    /// Ends the sleep of `core`.
    fn wake(&self, core: usize);

    /// Called on the caller, now and then, while it has done its part of a run and waits for helpers that are still inside.
    /// Nobody else can finish what such a helper has begun, so if it stops forever, the team cannot go on. An implementation that
    /// considers the wait too long does not return.
    fn has_waited(&self, _waited_us: u64) {}

    /// Called on every core between two items of a run: see [`Workers::yield_now`].
    fn yield_now(&self) {}
}

type Job<'a> = &'a (dyn Fn() + Sync);

/// Cores that run one closure together.
pub struct Team<W> {
    pub(crate) waiting: W,
    /// See [`OPEN`], [`INSIDE`], [`RUN`].
    word: Line<AtomicU64>,
    /// The current run's closure.
    job: UnsafeCell<Option<Job<'static>>>,
    /// One bit for each core that is asleep or about to sleep.
    asleep: Line<AtomicU64>,
    /// Number of helpers that serve or will serve.
    helpers: AtomicUsize,
    /// Set while a core is in [`Team::run`].
    is_running: AtomicBool,
}

/// In the word: helpers inside.
pub(crate) const INSIDE: u64 = 0xffff;
/// In the word: helpers may enter.
pub(crate) const OPEN: u64 = 1 << 16;
/// In the word: the lowest bit of the run's number.
pub(crate) const RUN: u64 = 1 << 17;

/// A value in its own cache line, so that frequent changes of it do not slow down accesses to other values.
#[repr(align(128))]
struct Line<T>(T);

// SAFETY: every field but `job` is `Sync` by itself. `job` is written only by `run`, when no helper is inside, and read only by
// helpers that are inside. The module's documentation proves that these accesses never overlap.
unsafe impl<W: Waiting> Sync for Team<W> {}

/// The longest time between two checks that counts as waiting: if the whole machine stood still for hours, the caller has not
/// waited for its cores, because they stood still too.
const LONGEST_LOOK_US: u64 = 2_000_000;

impl<W: Waiting> Team<W> {
    /// A team of only the caller.
    pub const fn new(waiting: W) -> Self {
        Self {
            waiting,
            word: Line(AtomicU64::new(0)),
            job: UnsafeCell::new(None),
            asleep: Line(AtomicU64::new(0)),
            helpers: AtomicUsize::new(0),
            is_running: AtomicBool::new(false),
        }
    }

    /// Announces that one more helper will serve. This must be called before the helper serves, and before any run: code that has
    /// asked for the number of cores may rely on there being no more.
    pub fn expect_helper(&self) {
        self.helpers.fetch_add(1, Ordering::Relaxed);
    }

    /// Announces that an expected helper will not come.
    pub fn expect_no_helper(&self) {
        self.helpers.fetch_sub(1, Ordering::Relaxed);
    }

    /// The life of a helper that was [expected](Self::expect_helper): takes part in one run after another, until `is_over`
    /// returns true between two runs.
    ///
    /// # Panics
    /// If `core` is the [`CALLER`] or not below [`MAX_CORES`].
    pub fn serve(&self, core: usize, is_over: impl Fn() -> bool) {
        assert!(core != CALLER && core < MAX_CORES, "core {core} cannot be a helper");
        let mut last_run = 0;
        let mut idle_since_us = self.waiting.now_us();
        while !is_over() {
            let word = self.word.0.load(Ordering::Acquire);
            if is_open_to(word, last_run) {
                if self.enter(word) {
                    last_run = word / RUN;
                    self.wake_one_helper();
                    self.take_part();
                    idle_since_us = self.waiting.now_us();
                }
            } else if self.waiting.now_us().saturating_sub(idle_since_us) < W::AWAKE_US {
                self.waiting.pause();
            } else {
                self.sleep_unless(core, |word| is_open_to(word, last_run) || is_over());
                idle_since_us = self.waiting.now_us();
            }
        }
    }

    /// Wakes every helper, so that it checks whether its service is over.
    pub fn wake_all(&self) {
        (0..MAX_CORES).for_each(|core| self.wake_if_asleep(core));
        self.waiting.notify();
    }

    /// Rule 1: gets inside the run that `word` names, if it is still open.
    fn enter(&self, word: u64) -> bool {
        self.word.0.compare_exchange(word, word + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Runs the closure of the run that this helper is inside, and leaves.
    fn take_part(&self) {
        let _leaves_even_if_it_panics = Inside(self);
        // SAFETY: this helper is inside, so `run` does not write `job`; it wrote `job` before it opened the run.
        let job = self.job.with(|job| unsafe { *job });
        if let Some(job) = job {
            job();
        }
    }

    /// Sleeps, unless `has_reason` finds a reason in the word not to.
    fn sleep_unless(&self, core: usize, has_reason: impl Fn(u64) -> bool) {
        let bit = 1 << core;
        self.asleep.0.fetch_or(bit, Ordering::SeqCst);
        if !has_reason(self.word.0.load(Ordering::SeqCst)) {
            self.waiting.sleep(core);
        }
        self.asleep.0.fetch_and(!bit, Ordering::SeqCst);
    }

    fn wake_if_asleep(&self, core: usize) {
        let bit = 1 << core;
        // Usually the load suffices. The core that clears the bit is the one that must wake the sleeper.
        if self.asleep.0.load(Ordering::SeqCst) & bit != 0
            && self.asleep.0.fetch_and(!bit, Ordering::SeqCst) & bit != 0
        {
            self.waiting.wake(core);
        }
    }

    fn wake_one_helper(&self) {
        let helpers = self.asleep.0.load(Ordering::SeqCst) & !(1 << CALLER);
        if helpers != 0 {
            self.wake_if_asleep(helpers.trailing_zeros() as usize);
        }
    }

    /// Opens a run of `job`, following rule 2.
    ///
    /// # Safety
    /// The caller must hold `is_running`, and keep `job` alive until [`Open`] has been dropped.
    unsafe fn open(&self, job: Job<'_>) -> Open<'_, W> {
        // SAFETY: only the lifetime changes. The caller of this function keeps `job` alive until [`Open`] has been dropped, and
        // nobody runs it after that.
        let job = unsafe { core::mem::transmute::<Job<'_>, Job<'static>>(job) };
        // SAFETY: the caller holds `is_running`, so the word is closed and nobody is inside: no helper reads `job`.
        self.job.with_mut(|to| unsafe { *to = Some(job) });
        // No other core changes a closed word.
        let run = self.word.0.load(Ordering::Relaxed) / RUN + 1;
        self.word.0.store(run * RUN + OPEN, Ordering::SeqCst);
        self.waiting.notify();
        self.wake_one_helper();
        Open(self)
    }

    fn wait_until_nobody_is_inside(&self) {
        let is_empty = |word| word & INSIDE == 0;
        let (mut last_us, mut waited_us) = (self.waiting.now_us(), 0);
        while !is_empty(self.word.0.load(Ordering::Acquire)) {
            let now_us = self.waiting.now_us();
            waited_us += now_us.saturating_sub(last_us).min(LONGEST_LOOK_US);
            last_us = now_us;
            self.waiting.has_waited(waited_us);
            if waited_us < W::AWAKE_US {
                self.waiting.pause();
            } else {
                self.sleep_unless(CALLER, is_empty);
            }
        }
    }
}

/// Whether a helper that was last in `last_run` may enter the run that `word` names.
pub(crate) fn is_open_to(word: u64, last_run: u64) -> bool {
    word & OPEN != 0 && word / RUN != last_run
}

/// A run that helpers may enter. When it is dropped, it closes the run and waits for the helpers inside.
struct Open<'a, W: Waiting>(&'a Team<W>);

impl<W: Waiting> Drop for Open<'_, W> {
    fn drop(&mut self) {
        self.0.word.0.fetch_and(!OPEN, Ordering::SeqCst);
        self.0.wait_until_nobody_is_inside();
        self.0.is_running.store(false, Ordering::Release);
    }
}

/// A helper that is inside a run.
struct Inside<'a, W: Waiting>(&'a Team<W>);

impl<W: Waiting> Drop for Inside<'_, W> {
    fn drop(&mut self) {
        let word = self.0.word.0.fetch_sub(1, Ordering::SeqCst) - 1;
        if word & (INSIDE | OPEN) == 0 {
            self.0.waiting.notify();
            self.0.wake_if_asleep(CALLER);
        }
    }
}

impl<W: Waiting> Workers for Team<W> {
    fn count(&self) -> usize {
        1 + self.helpers.load(Ordering::Relaxed)
    }

    fn run(&self, job: Job<'_>) {
        // A nested run, or a run by a second caller, gets no help.
        if self.helpers.load(Ordering::Relaxed) == 0 || self.is_running.swap(true, Ordering::Acquire) {
            return job();
        }
        // SAFETY: `is_running` has just been taken. `job` lives until this function returns or unwinds, and `_open` is dropped
        // before that.
        let _open = unsafe { self.open(job) };
        job();
    }

    fn yield_now(&self) {
        self.waiting.yield_now();
    }
}
