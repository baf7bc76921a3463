//! [`SteadyClock`]: time that never goes back, derived from a counter that may.
//!
//! A counter can go back by hours if a hypervisor sets it or if it has an erratum. Deadlines, time-outs and network protocols
//! would then wait until it has caught up. A jump forward is accepted, since it looks the same as a machine that was stopped for
//! that long.

use core::sync::atomic::{AtomicU64, Ordering};

/// Two cores that read the counter at the same moment may record their values in the opposite order; a difference up to this is
/// not a jump.
const RACE_US: u64 = 1_000;

/// The time, in microseconds.
#[derive(Debug, Default)]
pub struct SteadyClock {
    /// The latest time that was returned.
    last_us: AtomicU64,
    /// How far the counter has gone back: the sum of all jumps.
    behind_us: AtomicU64,
}

impl SteadyClock {
    /// A clock that has not been read yet.
    pub const fn new() -> Self {
        Self { last_us: AtomicU64::new(0), behind_us: AtomicU64::new(0) }
    }

    /// The time for this value of the counter. After a jump back, time continues from where it was.
    pub fn at(&self, counter_us: u64) -> u64 {
        let now_us = counter_us.saturating_add(self.behind_us.load(Ordering::Relaxed));
        let last_us = self.last_us.load(Ordering::Relaxed);
        if now_us >= last_us {
            self.last_us.store(now_us, Ordering::Relaxed);
            return now_us;
        }
        let back_us = last_us - now_us;
        if back_us > RACE_US {
            self.behind_us.fetch_add(back_us, Ordering::Relaxed);
        }
        last_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_where_it_was() {
        const HOUR_US: u64 = 3_600_000_000;
        let clock = SteadyClock::new();
        let mut counter_us = 5 * HOUR_US;
        let mut last_us = clock.at(counter_us);
        assert_eq!(last_us, counter_us);
        // Jumps forward by hours, back by hours and to the beginning; then all of them again.
        for jump_us in [0, 7, -3, 2, -6, -4, 100, -104, 1].map(|hours: i64| hours * HOUR_US as i64).repeat(3)
        {
            counter_us = counter_us.saturating_add_signed(jump_us);
            let now_us = clock.at(counter_us);
            assert_eq!(now_us - last_us, jump_us.max(0) as u64, "{jump_us}");
            last_us = now_us;
            for step_us in [1, 0, 30, 1_000_000] {
                counter_us += step_us;
                let next_us = clock.at(counter_us);
                assert!(next_us >= last_us, "{jump_us}");
                last_us = next_us;
            }
            assert_eq!(last_us - now_us, 1_000_031);
        }
    }

    #[test]
    fn cores_that_look_at_once_make_no_jump() {
        let clock = SteadyClock::new();
        assert_eq!(
            [1_000_000, 999_990, 999_001, 1_000_001].map(|us| clock.at(us)),
            [1_000_000, 1_000_000, 1_000_000, 1_000_001]
        );
        assert_eq!([u64::MAX, 0, 1].map(|us| clock.at(us)), [u64::MAX; 3]);
    }
}
