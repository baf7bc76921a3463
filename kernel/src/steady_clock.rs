//! [`SteadyClock`]: time that never goes back, made of a counter that may.
//!
//! A counter that a hypervisor sets anew, or one with an erratum, goes back by hours, and deadlines, time-outs and the protocols of the
//! network would wait until it has caught up. A jump forward is believed: nobody can tell it from a machine that was stopped for so long.

use core::sync::atomic::{AtomicU64, Ordering};

/// Two cores that look at the same moment may note their looks in the other order: that is no jump.
const RACE_US: u64 = 1_000;

/// The time, in microseconds.
#[derive(Debug, Default)]
pub struct SteadyClock {
    /// The latest time that was told.
    last_us: AtomicU64,
    /// How far the counter has gone back, all jumps together.
    behind_us: AtomicU64,
}

impl SteadyClock {
    /// A clock that has not been looked at.
    pub const fn new() -> Self {
        Self { last_us: AtomicU64::new(0), behind_us: AtomicU64::new(0) }
    }

    /// The time when the counter shows this. After a jump back it goes on from where it was.
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
        // Forward by hours, back by hours, to the beginning, and all of that again.
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
