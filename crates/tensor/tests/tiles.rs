//! A result is divided among cores although some of the cores never come.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};
use std::thread;
use tensor::parallel::{Serial, Workers};
use tensor::simd::tiles::{Output, Tile, TileSize, for_each_tile};

/// Workers, of which only some come.
#[derive(Default)]
struct Coming {
    count: usize,
    n_coming: usize,
    n_yields: AtomicUsize,
}

impl Workers for Coming {
    fn count(&self) -> usize {
        self.count
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        thread::scope(|scope| (0..self.n_coming).for_each(|_| drop(scope.spawn(job))));
    }

    fn yield_now(&self) {
        self.n_yields.fetch_add(1, Ordering::Relaxed);
    }
}

/// Calls `job` with `count` tiles of one element and returns the elements.
fn each_of(workers: &dyn Workers, count: usize, job: &(dyn Fn(&mut Tile<'_>) + Sync)) -> Vec<f32> {
    let mut elements = vec![0.0; count];
    let output = Output { out: &mut elements, n_rows: 1 };
    for_each_tile(workers, [output], TileSize { rows: 1, tokens: 1 }, &|_, mut tile| job(&mut tile));
    elements
}

#[test]
fn each_tile_is_claimed_once_whoever_comes() {
    for count in [0, 1, 2, 3, 7, 16, 17, 100] {
        for (n_workers, n_coming) in [(2, 1), (2, 2), (3, 2), (16, 5), (40, 1), (40, 8)] {
            let workers = Coming { count: n_workers, n_coming, ..Coming::default() };
            let done = each_of(&workers, count, &|tile| tile.token(0)[0] += 1.0);
            assert_eq!(done, vec![1.0; count], "{n_coming} of {n_workers}");
            assert_eq!(workers.n_yields.into_inner(), count, "after each");
        }
    }
}

#[test]
fn a_worker_alone_takes_them_in_order() {
    for workers in [&Serial as &dyn Workers, &Coming { count: 3, n_coming: 1, ..Coming::default() }] {
        let order = Mutex::new(Vec::new());
        each_of(workers, 10, &|tile| order.lock().unwrap().push(tile.tokens().start));
        assert_eq!(order.into_inner().unwrap(), Vec::from_iter(0..10));
    }
}
