//! Extends a 32-bit counter to 64 bits.
//!
//! Counters of a PMU before PMUv3p5 wrap after a few seconds. [`WideCounter`] adds up how far the counter has advanced between
//! reads; it must be read at least once in 2^32 counts.

/// The total of a 32-bit counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WideCounter {
    total: u64,
    /// The counter's value at the last read.
    last: u32,
}

impl WideCounter {
    /// A total of 0, for a counter whose value is 0.
    pub const fn new() -> Self {
        Self { total: 0, last: 0 }
    }

    /// Adds a new value of the counter, which must be less than 2^32 counts after the previous one. Returns the total.
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
