//! [`Team`]: the engine's [`Workers`] over cores, or threads, that wait as [`Waiting`] says.
//!
//! One core has a closure and wants help; the others wait for one. A core may be taken away at any
//! time, by a hypervisor or by the host that emulates it, so nothing waits for a core that has not
//! begun: the caller runs the closure itself, closes the run, and waits only for those inside.
//!
//! # Why no core ever runs a closure that is gone
//!
//! `word` holds the number of the run, whether it is open, and how many helpers are inside.
//!
//! 1. A helper gets inside by one compare-and-swap from a word that says *open* to the same word with
//!    one more inside. Were the run closed in between, or closed and another one opened, the word
//!    would differ (the number of the run never repeats) and the swap fails.
//! 2. Only [`run`](Team::run) opens and closes. It writes `job` before it opens, while the word is
//!    closed with nobody inside, and closes before it looks at the number inside. After closing,
//!    rule 1 lets nobody in, so the number can only fall; when it is 0 nobody reads `job` or runs what
//!    it names, and `run` may return or write it anew.
//! 3. The opening store releases `job` to whoever enters, whose swap acquires it; each leaving
//!    subtraction releases what the closure wrote to the caller, whose load of 0 acquires it.
//!
//! # Why no core sleeps through a run
//!
//! A helper about to sleep sets its bit in `asleep` and then looks at the word again; the caller opens
//! the word and then looks at `asleep`. All four are sequentially consistent, so at least one of the
//! two sees the other: either the helper stays awake or the caller wakes it, and a wake-up that comes
//! before the sleep ends the sleep ([`Waiting::sleep`]). The same holds, with the parts exchanged, for
//! the caller that sleeps until the last helper has left.
//!
//! That a sleeping helper is woken is a matter of speed alone: the run ends without it too. So the caller
//! wakes one sleeper only and begins to work; every helper that enters wakes one more.

use super::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, UnsafeCell};
use llm::parallel::Workers;

/// The most cores that a team has: one bit each.
pub const MAX_CORES: usize = u64::BITS as usize;

/// The core that calls [`Team::run`].
pub const CALLER: usize = 0;

/// How a core waits: by hardware, or as a thread.
pub trait Waiting: Sync {
    /// Microseconds for which an idle core looks out for work before it sleeps. Long enough for what one core does
    /// alone between two products; no longer, since on a busy machine a core that looks out takes time from one
    /// that computes.
    const AWAKE_US: u64;

    /// Microseconds since some moment in the past.
    fn now_us(&self) -> u64;

    /// Waits for a moment, or until [`notify`](Self::notify).
    fn pause(&self);

    /// Ends the [`pause`](Self::pause) of every core that is in one or about to enter one.
    fn notify(&self);

    /// Sleeps until [`wake`](Self::wake) names `core`, which is the one that calls; returns at once if
    /// that has happened since its last sleep. May return without reason.
    fn sleep(&self, core: usize);

    /// Ends the sleep of `core`.
    fn wake(&self, core: usize);

    /// Called on the caller, now and then, while it waits for helpers that are still inside of a run that it has done its part of. Nobody can do
    /// what such a helper has begun, so that one which has stopped for ever ends all that the team is for: who knows that this is too long does
    /// not return.
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
    /// One bit for each core that sleeps, or is about to.
    asleep: Line<AtomicU64>,
    /// Helpers that serve or will.
    helpers: AtomicUsize,
    /// Set while somebody is in [`Team::run`].
    is_running: AtomicBool,
}

/// In the word: helpers inside.
pub(crate) const INSIDE: u64 = 0xffff;
/// In the word: helpers may enter.
pub(crate) const OPEN: u64 = 1 << 16;
/// In the word: the lowest bit of the run's number.
pub(crate) const RUN: u64 = 1 << 17;

/// A value in a cache line of its own, so that what changes often slows nothing else down.
#[repr(align(128))]
struct Line<T>(T);

// SAFETY: every field but `job` is `Sync` by itself. `job` is written by `run` alone, when no helper is
// inside, and read by helpers that are inside; the module's comment says why these never meet.
unsafe impl<W: Waiting> Sync for Team<W> {}

/// What counts at most as waiting between two looks: a machine that stood still for hours has not waited for its cores, which stood still too.
const LONGEST_LOOK_US: u64 = 2_000_000;

impl<W: Waiting> Team<W> {
    /// A team of the caller alone.
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

    /// Says that one more helper will serve. To be called before it does, and before a run: whoever has asked
    /// how many cores take part may count on there being no more.
    pub fn expect_helper(&self) {
        self.helpers.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that a helper that was expected will not come.
    pub fn expect_no_helper(&self) {
        self.helpers.fetch_sub(1, Ordering::Relaxed);
    }

    /// The life of a helper that was [expected](Self::expect_helper): takes part in run after run, until
    /// `is_over` says so between two of them.
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

    /// Wakes every helper, so that it asks whether its service is over.
    pub fn wake_all(&self) {
        (0..MAX_CORES).for_each(|core| self.wake_if_asleep(core));
        self.waiting.notify();
    }

    /// Rule 1: gets inside the run that `word` names, if it is still open.
    fn enter(&self, word: u64) -> bool {
        self.word.0.compare_exchange(word, word + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Runs the closure of the run that this helper is inside of, and leaves.
    fn take_part(&self) {
        let _leaves_even_if_it_panics = Inside(self);
        // SAFETY: this helper is inside, so `run` leaves `job` alone; it wrote it before it opened.
        let job = self.job.with(|job| unsafe { *job });
        if let Some(job) = job {
            job();
        }
    }

    /// Sleeps, unless `has_reason` says of the word that there is a reason not to.
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
        // The load is what usually happens; who takes the bit away is the one to wake.
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

    /// Opens a run of `job`; rule 2.
    ///
    /// # Safety
    /// The caller must hold `is_running`, and keep `job` alive until [`Open`] has been dropped.
    unsafe fn open(&self, job: Job<'_>) -> Open<'_, W> {
        // SAFETY: only the lifetime changes, and the caller keeps `job` alive for as long as needed.
        let job = unsafe { core::mem::transmute::<Job<'_>, Job<'static>>(job) };
        // SAFETY: the word is closed with nobody inside, so no helper reads `job`.
        self.job.with_mut(|to| unsafe { *to = Some(job) });
        // Nobody else changes a closed word.
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

/// True if a helper that was last in `last_run` may enter the run that `word` names.
pub(crate) fn is_open_to(word: u64, last_run: u64) -> bool {
    word & OPEN != 0 && word / RUN != last_run
}

/// A run that helpers may enter. Dropped, it lets nobody in and waits for those inside.
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
        // A run within a run, or by a second caller, gets no help.
        if self.helpers.load(Ordering::Relaxed) == 0 || self.is_running.swap(true, Ordering::Acquire) {
            return job();
        }
        // SAFETY: `is_running` has just been taken; `job` lives until this function returns or unwinds,
        // and `_open` is dropped before.
        let _open = unsafe { self.open(job) };
        job();
    }

    fn yield_now(&self) {
        self.waiting.yield_now();
    }
}
