//! [`Histogram`] counts durations in buckets, to give quantiles in fixed memory.
//!
//! Times up to 127 µs have a bucket each. Above, each doubling of the time has 64 buckets of the same width, so that the width of a bucket
//! is at most 1/64 (1.6 %) of the times in it. The last one ends at 2³² µs (71 minutes) and also counts all longer times. The layout is
//! that of HdrHistogram (<https://hdrhistogram.github.io/HdrHistogram/>), with two significant figures.

use alloc::vec;
use alloc::vec::Vec;

/// A doubling of the time has two to this power buckets.
const SUB_BITS: u32 = 6;
/// Bits of the longest time that is not merely counted in the last bucket.
const MAX_BITS: u32 = 32;
/// Buckets.
const N_BUCKETS: usize = ((MAX_BITS - SUB_BITS + 1) as usize) << SUB_BITS;

/// The number of times measured in each bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    n: u64,
    sum_us: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; N_BUCKETS], n: 0, sum_us: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Counts a time, in microseconds. Nothing is allocated.
    pub fn add(&mut self, us: u64) {
        self.n += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
        let us = us.min((1 << MAX_BITS) - 1);
        // The number of low bits that are dropped; 0 for times that have a bucket each.
        let shift = (us | 1 << SUB_BITS).ilog2() - SUB_BITS;
        self.counts[((shift as usize) << SUB_BITS) + (us >> shift) as usize] += 1;
    }

    /// How many times were counted.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Their sum, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The longest, in microseconds; 0 if there is none.
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// A time in microseconds that `percent` % of all times do not exceed: the longest time in the bucket of the exact quantile, but no
    /// longer than the longest one measured. 0 if no time was counted.
    pub fn percentile_us(&self, percent: u64) -> u64 {
        let rank = (u128::from(self.n) * u128::from(percent)).div_ceil(100) as u64;
        let mut n_before = 0;
        let is_it = |&count: &u64| {
            n_before += count;
            n_before >= rank
        };
        let last = N_BUCKETS - 1;
        let bucket = self.counts.iter().position(is_it).filter(|&bucket| bucket < last);
        bucket.map_or(self.max_us, |bucket| bound_us(bucket).min(self.max_us))
    }
}

/// The longest time of a bucket.
fn bound_us(bucket: usize) -> u64 {
    let shift = (bucket >> SUB_BITS).saturating_sub(1);
    let first = bucket - (shift << SUB_BITS);
    ((first as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_has_a_bucket_that_is_hardly_wider_than_it() {
        let mut next = 0;
        for bucket in 0..N_BUCKETS {
            let (first, last) = (next, bound_us(bucket));
            for us in [first, last] {
                let mut one = Histogram::default();
                one.add(us);
                assert_eq!(one.counts[bucket], 1, "{us} in {bucket}");
            }
            assert!((last - first) * 64 <= first, "{first} to {last}");
            next = last + 1;
        }
        assert_eq!(next, 1 << MAX_BITS);
    }

    #[test]
    fn percentiles_are_within_a_bucket_of_those_of_the_sorted_times() {
        let mut seed = 1_u64;
        for n in [1_usize, 2, 3, 99, 100, 101, 5000] {
            let mut histogram = Histogram::default();
            let mut times: Vec<u64> = (0..n)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 33) >> (seed % 30)
                })
                .collect();
            times.iter().for_each(|&us| histogram.add(us));
            times.sort_unstable();
            for percent in [1, 50, 99, 100] {
                let exact = times[(n * percent).div_ceil(100) - 1];
                let told = histogram.percentile_us(percent as u64);
                assert!(exact <= told && told - exact <= exact / 64, "{exact}, {told}: {percent} % of {n}");
            }
            assert_eq!((histogram.n(), histogram.max_us()), (n as u64, times[n - 1]));
            assert_eq!(histogram.sum_us(), times.iter().sum::<u64>());
        }
    }

    #[test]
    fn nothing_and_what_takes_longer_than_any_bucket_have_their_figures() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.percentile_us(50), histogram.max_us()), (0, 0));
        histogram.add(u64::MAX);
        assert_eq!((histogram.percentile_us(50), histogram.sum_us()), (u64::MAX, u64::MAX));
    }
}
