//! Workers that are threads, started for each piece of work.

use llm::parallel::Workers;

/// This number of threads.
pub struct Threads(pub usize);

impl Workers for Threads {
    fn count(&self) -> usize {
        self.0
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            (1..self.0).for_each(|_| drop(scope.spawn(job)));
            job();
        });
    }
}
