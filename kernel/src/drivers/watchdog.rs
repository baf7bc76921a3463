//! A watchdog: it restarts a machine whose main loop has stopped turning.
//!
//! There are drivers for two kinds: Arm's generic watchdog (Server Base System Architecture, Arm DEN 0029, "Generic Watchdog")
//! and crosvm's detector of stalled virtual CPUs (Linux, qemu,vcpu-stall-detector.yaml). Also compiled for the host, where a test
//! replaces the device.

use crate::machine::Watchdog as Device;

/// The registers, by their addresses.
pub trait Registers {
    /// Reads a register.
    fn read(&self, address: u64) -> u32;

    /// Writes a register.
    fn write(&mut self, address: u64, value: u32);
}

/// Offsets in the frames of a generic watchdog.
mod generic {
    /// Refresh frame: writing any value feeds the watchdog.
    pub const REFRESH: u64 = 0x000;
    /// Control frame: control and status; bit 0 enables the watchdog.
    pub const CONTROL: u64 = 0x000;
    /// Ticks of the system counter until the first signal. After the same time again there is a second signal, which restarts the
    /// machine.
    pub const OFFSET: u64 = 0x008;
    /// Its upper bits, from architecture version 1 on.
    pub const OFFSET_HIGH: u64 = 0x00c;
    /// Identification, with the architecture version in bits 19:16.
    pub const IDENTIFICATION: u64 = 0xfcc;
}

/// Offsets in the registers that a stall detector has for each CPU. The boot core's come first.
mod stall {
    pub const STATUS: u64 = 0x0;
    /// The start value of the countdown; writing it feeds the detector.
    pub const LOAD: u64 = 0x4;
    pub const CLOCK_HZ: u64 = 0xc;
}

/// How long the main loop may stand still, if the watchdog supports such a long time.
const TIMEOUT_US: u64 = 60_000_000;

/// How often it is fed during that time.
const FEEDINGS: u64 = 8;

/// A watchdog that is enabled.
pub struct Watchdog<R> {
    registers: R,
    device: Device,
    timeout_us: u64,
    due_us: u64,
}

impl<R: Registers> Watchdog<R> {
    /// Enables the watchdog, on a machine whose system counter has this frequency; `None` if it does not report that it is enabled.
    pub fn start(mut registers: R, device: Device, counter_hz: u64, now_us: u64) -> Option<Self> {
        let timeout_us = match device {
            Device::Generic { control, .. } => {
                let counter_hz = counter_hz.max(1);
                let has_high = registers.read(control.address + generic::IDENTIFICATION) >> 16 & 0xf != 0;
                let max_ticks = if has_high { (1 << 48) - 1 } else { u64::from(u32::MAX) };
                // There are two signals, so half of the time is set.
                let ticks = counter_hz.saturating_mul(TIMEOUT_US / 2_000_000).min(max_ticks);
                registers.write(control.address + generic::OFFSET, ticks as u32);
                if has_high {
                    registers.write(control.address + generic::OFFSET_HIGH, (ticks >> 32) as u32);
                }
                registers.write(control.address + generic::CONTROL, 1);
                if registers.read(control.address + generic::CONTROL) & 1 == 0 {
                    return None;
                }
                (u128::from(ticks) * 2_000_000 / u128::from(counter_hz)) as u64
            }
            Device::Stall { registers: block, clock_hz, timeout_s } => {
                registers.write(block.address + stall::CLOCK_HZ, clock_hz);
                u64::from(timeout_s) * 1_000_000
            }
        };
        let mut watchdog = Self { registers, device, timeout_us, due_us: 0 };
        watchdog.feed(now_us);
        if let Device::Stall { registers: block, .. } = device {
            watchdog.registers.write(block.address + stall::STATUS, 1);
        }
        Some(watchdog)
    }

    /// How long it waits to be fed before it restarts the machine.
    pub fn timeout_us(&self) -> u64 {
        self.timeout_us
    }

    /// Feeds it if it is time to; returns when the next time is.
    pub fn feed(&mut self, now_us: u64) -> u64 {
        if now_us >= self.due_us {
            self.due_us = now_us.saturating_add(self.timeout_us / FEEDINGS);
            match self.device {
                // Writes the time, so that it can be seen from outside when it was fed.
                Device::Generic { refresh, .. } => {
                    self.registers.write(refresh.address + generic::REFRESH, (now_us / 1000) as u32);
                }
                Device::Stall { registers: block, clock_hz, timeout_s } => {
                    self.registers.write(block.address + stall::LOAD, clock_hz.saturating_mul(timeout_s));
                }
            }
        }
        self.due_us
    }

    /// Disables it.
    pub fn stop(mut self) {
        let (Device::Generic { control: block, .. } | Device::Stall { registers: block, .. }) = self.device;
        // Both kinds have this register at the same place: generic::CONTROL, stall::STATUS.
        self.registers.write(block.address, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;
    use std::{cell::RefCell, collections::BTreeMap, rc::Rc, vec, vec::Vec};

    #[derive(Default, Clone)]
    struct Fake(Rc<RefCell<State>>);

    #[derive(Default)]
    struct State {
        values: BTreeMap<u64, u32>,
        written: Vec<(u64, u32)>,
        /// Whether writes have no effect.
        is_dead: bool,
    }

    impl Registers for Fake {
        fn read(&self, address: u64) -> u32 {
            self.0.borrow().values.get(&address).copied().unwrap_or(0)
        }
        fn write(&mut self, address: u64, value: u32) {
            let mut state = self.0.borrow_mut();
            state.written.push((address, value));
            if !state.is_dead {
                state.values.insert(address, value);
            }
        }
    }

    impl Fake {
        fn take(&self) -> Vec<(u64, u32)> {
            core::mem::take(&mut self.0.borrow_mut().written)
        }
    }

    fn registers(address: u64) -> machine::Registers {
        machine::Registers { address, size_bytes: 0x1000 }
    }

    fn generic() -> Device {
        Device::Generic { refresh: registers(0x2000), control: registers(0x1000) }
    }

    #[test]
    fn a_generic_watchdog_is_fed_eight_times_before_it_bites() {
        let fake = Fake::default();
        let mut watchdog = Watchdog::start(fake.clone(), generic(), 62_500_000, 5_000).unwrap();
        assert_eq!(fake.take(), [(0x1008, 1_875_000_000), (0x1000, 1), (0x2000, 5)]);
        assert_eq!(watchdog.timeout_us(), 60_000_000);
        assert_eq!(watchdog.feed(7_504_999), 7_505_000);
        assert_eq!(fake.take(), []);
        assert_eq!(watchdog.feed(7_505_000), 15_005_000);
        assert_eq!(fake.take(), [(0x2000, 7505)]);
        watchdog.stop();
        assert_eq!(fake.take(), [(0x1000, 0)]);
    }

    #[test]
    fn a_fast_counter_makes_it_wait_as_long_as_it_can() {
        let fake = Fake::default();
        let watchdog = Watchdog::start(fake.clone(), generic(), 1_000_000_000, 0).unwrap();
        assert_eq!(fake.take()[0], (0x1008, u32::MAX));
        assert_eq!(watchdog.timeout_us(), 8_589_934);
        // A watchdog whose offset has 48 bits.
        fake.0.borrow_mut().values.insert(0x1fcc, 0x0001_043b);
        let watchdog = Watchdog::start(fake.clone(), generic(), 1_000_000_000, 0).unwrap();
        assert_eq!(fake.take()[..2], [(0x1008, 30_000_000_000_u64 as u32), (0x100c, 6)]);
        assert_eq!(watchdog.timeout_us(), 60_000_000);
        for counter_hz in [0, u64::MAX] {
            assert!(Watchdog::start(fake.clone(), generic(), counter_hz, u64::MAX).is_some());
        }
    }

    #[test]
    fn what_does_not_turn_on_is_not_fed() {
        let fake = Fake(Rc::new(RefCell::new(State { is_dead: true, ..State::default() })));
        assert!(Watchdog::start(fake, generic(), 62_500_000, 0).is_none());
    }

    #[test]
    fn a_stall_detector_counts_from_what_the_tree_says() {
        let fake = Fake::default();
        let device = Device::Stall { registers: registers(0x3000), clock_hz: 10, timeout_s: 8 };
        let mut watchdog = Watchdog::start(fake.clone(), device, 62_500_000, 0).unwrap();
        assert_eq!(fake.take(), vec![(0x300c, 10), (0x3004, 80), (0x3000, 1)]);
        assert_eq!(watchdog.feed(999_999), 1_000_000);
        assert_eq!(watchdog.feed(1_000_000), 2_000_000);
        assert_eq!(fake.take(), [(0x3004, 80)]);
        watchdog.stop();
        assert_eq!(fake.take(), [(0x3000, 0)]);
    }
}
