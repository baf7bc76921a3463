//! The relative position bias of T5 (Raffel et al. 2020): a term of a score that depends on the distance between key and query.
//!
//! Distances fall into buckets. Small distances have a bucket each; larger ones share buckets, whose width grows with the
//! distance; all from [`FARTHEST`] on share the last. Keys before the query and keys after it have separate buckets.

/// The distance from which on all distances share the last bucket.
pub const FARTHEST: usize = 128;

/// The bucket of each distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelativeBuckets {
    /// For each `key - query` from `-FARTHEST` to `FARTHEST`.
    of: [u16; 2 * FARTHEST + 1],
    /// The number of buckets.
    n_buckets: usize,
}

/// The bias of each head's scores.
#[derive(Debug, Clone, Copy)]
pub struct RelativeBias<'c> {
    /// The bucket of each distance.
    pub buckets: &'c RelativeBuckets,
    /// `[n_buckets][n_head]`
    pub weights: &'c [f32],
    /// Number of heads.
    pub n_head: usize,
}

impl RelativeBuckets {
    /// Makes `n_buckets` buckets; half of them are for keys after the query.
    ///
    /// # Panics
    ///
    /// If `n_buckets` is less than 4 or more than 65536.
    pub fn new(n_buckets: usize) -> Self {
        assert!((4..=0x1_0000).contains(&n_buckets), "{n_buckets} buckets");
        let n_half = n_buckets / 2;
        let n_exact = n_half / 2;
        let of_distance = |distance: usize| match distance {
            _ if distance < n_exact => distance,
            _ => {
                let octaves = f64::from(libm::logf(distance as f32 / n_exact as f32));
                let all_octaves = libm::log(FARTHEST as f64 / n_exact as f64);
                let beyond = octaves * (n_half - n_exact) as f64 / all_octaves;
                ((n_exact as f64 + beyond) as f32 as usize).min(n_half - 1)
            }
        };
        RelativeBuckets {
            n_buckets,
            of: core::array::from_fn(|index| match index.checked_sub(FARTHEST) {
                Some(0) | None => of_distance(FARTHEST - index) as u16,
                Some(behind) => (n_half + of_distance(behind)) as u16,
            }),
        }
    }

    /// The number of buckets.
    pub fn n_buckets(&self) -> usize {
        self.n_buckets
    }

    /// The bucket of a key at position `key` for the query at position `query`.
    #[inline(always)]
    pub fn bucket(&self, key: usize, query: usize) -> usize {
        let index = (key + FARTHEST).saturating_sub(query).min(2 * FARTHEST);
        usize::from(self.of[index])
    }
}

impl RelativeBias<'_> {
    /// The bias of the score of a key at position `key`, for the query of this head at position `query`.
    #[inline(always)]
    pub(super) fn of(&self, head: usize, key: usize, query: usize) -> f32 {
        self.weights[self.buckets.bucket(key, query) * self.n_head + head]
    }
}
