//! A counter of 32 bits, made one of 64.
//!
//! Counters of a PMU before PMUv3p5 wrap after some seconds. [`WideCounter`] adds up how far the counter has come
//! since it was last looked at, which must happen at least once in 2^32 counts.

/// What a counter of 32 bits has counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WideCounter {
    total: u64,
    /// The counter when it was last looked at.
    last: u32,
}

impl WideCounter {
    /// Nothing counted yet, of a counter that is 0.
    pub const fn new() -> Self {
        Self { total: 0, last: 0 }
    }

    /// Takes what the counter shows, less than 2^32 counts after the last look. Returns what has been counted in
    /// all.
    pub fn look(&mut self, count: u32) -> u64 {
        self.total += u64::from(count.wrapping_sub(self.last));
        self.last = count;
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_where_the_counter_wraps() {
        let mut wide = WideCounter::new();
        let mut counter = 0_u32;
        let mut expected = 0;
        for step in [0, 1, 1 << 31, u32::MAX, 3_000_000_000, 7, u32::MAX, 1 << 31, 1 << 31] {
            counter = counter.wrapping_add(step);
            expected += u64::from(step);
            assert_eq!(wide.look(counter), expected, "after {step} more");
        }
        assert!(expected > 1 << 33);
    }
}
