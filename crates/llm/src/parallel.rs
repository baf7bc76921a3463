//! The seam through which the engine uses several cores without owning a thread.

/// Cores that can run one closure at the same time.
///
/// Implemented by [`Serial`] here, by a thread pool on the host and by the secondary cores in the
/// kernel. Work is not divided here: the closure claims its share from an atomic counter, so a core
/// that is taken away for a while simply claims less.
pub trait Workers: Sync {
    /// How many cores take part, at least 1.
    fn count(&self) -> usize;

    /// Runs `job` once on every core, the caller's among them, and returns when all have finished.
    fn run(&self, job: &(dyn Fn() + Sync));
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
