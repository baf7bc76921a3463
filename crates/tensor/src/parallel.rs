//! The interface through which the engine uses several cores without owning a thread.
//!
//! [`Workers`] are the cores that a caller lends; [`for_each`] distributes items over them, and [`for_each_chunk`] disjoint
//! pieces of a buffer.

use core::sync::atomic::{AtomicUsize, Ordering};

use spin::Mutex;

/// Cores that can run one closure at the same time.
///
/// Implemented by [`Serial`] here, by a thread pool on the host and by the secondary cores in the kernel. Work is not divided in
/// advance: the closure claims its share, so a core that is taken away for a while simply claims less.
pub trait Workers: Sync {
    /// The maximum number of cores that take part, at least 1. It stays the same while the workers are in use.
    fn count(&self) -> usize;

    /// Runs `job` at least once, and at most once on each core, at the same time. It runs on the calling core too, unless
    /// [`count`](Self::count) other cores were faster. Returns when all runs that have begun have finished: a core that is slow
    /// to begin does not hold up the caller.
    fn run(&self, job: &(dyn Fn() + Sync));

    /// Called on every core after each item. A caller that has other work than computing gets its turn here. Does nothing by
    /// default.
    fn yield_now(&self) {}
}

/// The calling core alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Workers for Serial {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        job();
    }
}

/// Limits how many of some workers take part in a run: the first ones to come do.
#[derive(Clone, Copy)]
pub struct Limited<'w> {
    workers: &'w dyn Workers,
    most: usize,
}

impl<'w> Limited<'w> {
    /// At most `most` of `workers`, but at least one.
    pub fn new(workers: &'w dyn Workers, most: usize) -> Self {
        Self { workers, most: most.max(1) }
    }

    /// The maximum number that take part.
    pub fn most(&self) -> usize {
        self.most
    }
}

impl Workers for Limited<'_> {
    fn count(&self) -> usize {
        self.workers.count().min(self.most)
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        if self.most == 1 {
            return job();
        }
        if self.workers.count() <= self.most {
            return self.workers.run(job);
        }
        let come = AtomicUsize::new(0);
        self.workers.run(&|| {
            if come.fetch_add(1, Ordering::Relaxed) < self.most {
                job();
            }
        });
    }

    fn yield_now(&self) {
        self.workers.yield_now();
    }
}

/// Calls `work` with each item, on whichever core is free.
pub fn for_each<I: Iterator + Send>(workers: &dyn Workers, items: I, work: impl Fn(I::Item) + Sync) {
    let work = |item| {
        work(item);
        workers.yield_now();
    };
    if workers.count() == 1 || items.size_hint().1.is_some_and(|most| most <= 1) {
        return items.for_each(work);
    }
    let unclaimed = Mutex::new(items);
    workers.run(&|| {
        loop {
            // A separate statement, so that the lock is released before the item is processed.
            let claimed = unclaimed.lock().next();
            let Some(item) = claimed else { break };
            work(item);
        }
    });
}

/// The least number of tokens for which per-token work is divided among cores. For fewer, waking the cores takes as long as the
/// work.
const MIN_SHARED_TOKENS: usize = 8;

/// The workers for per-token work on `n_tokens`: only the calling core if there are few tokens.
pub fn for_tokens(workers: &dyn Workers, n_tokens: usize) -> &dyn Workers {
    if n_tokens < MIN_SHARED_TOKENS { &Serial } else { workers }
}

/// Calls `work` with the data of each token, on all cores if there are enough tokens.
pub fn for_each_token<I: ExactSizeIterator + Send>(
    workers: &dyn Workers,
    tokens: I,
    work: impl Fn(I::Item) + Sync,
) {
    for_each(for_tokens(workers, tokens.len()), tokens, work);
}

/// Calls `work` with each chunk of `chunk_len` elements of `data` (the last may be shorter) and its number, on whichever core is
/// free.
///
/// # Panics
///
/// If `chunk_len` is 0.
pub fn for_each_chunk<T: Send>(
    workers: &dyn Workers,
    data: &mut [T],
    chunk_len: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    for_each(workers, data.chunks_mut(chunk_len).enumerate(), |(index, chunk)| work(index, chunk));
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    struct Threads(usize);

    impl Workers for Threads {
        fn count(&self) -> usize {
            self.0
        }

        fn run(&self, job: &(dyn Fn() + Sync)) {
            std::thread::scope(|scope| (0..self.0).for_each(|_| drop(scope.spawn(job))));
        }
    }

    #[test]
    fn every_chunk_is_worked_on_once_whatever_the_number_of_cores() {
        for workers in [&Serial as &dyn Workers, &Threads(2), &Threads(5)] {
            let mut data = [0_usize; 103];
            for_each_chunk(workers, &mut data, 10, |index, chunk| {
                chunk.iter_mut().for_each(|element| *element += index + 1);
            });
            for (i, &element) in data.iter().enumerate() {
                assert_eq!(element, i / 10 + 1, "element {i} with {} cores", workers.count());
            }
        }
    }

    /// Threads that count how often they yield.
    struct Yielding(usize, AtomicUsize);

    impl Workers for Yielding {
        fn count(&self) -> usize {
            self.0
        }

        fn run(&self, job: &(dyn Fn() + Sync)) {
            Threads(self.0).run(job);
        }

        fn yield_now(&self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_caller_gets_its_turn_after_each_item() {
        for (n_cores, n_items) in [(1, 7), (3, 7), (3, 1), (2, 0)] {
            let workers = Yielding(n_cores, AtomicUsize::new(0));
            for_each(&Limited::new(&workers, 2), 0..n_items, |_| {});
            assert_eq!(workers.1.into_inner(), n_items, "{n_cores} cores");
        }
    }

    #[test]
    fn no_more_than_the_limit_take_part() {
        for (most, expected) in [(0, 1), (1, 1), (2, 2), (3, 3), (9, 4)] {
            let limited = Limited::new(&Threads(4), most);
            assert_eq!(limited.count(), expected);
            for _ in 0..20 {
                let runs = AtomicUsize::new(0);
                limited.run(&|| {
                    runs.fetch_add(1, Ordering::Relaxed);
                });
                assert_eq!(runs.into_inner(), expected, "at most {most}");
            }
        }
    }
}
