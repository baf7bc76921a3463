use super::*;
use crate::{llm::host, memory::pool::Region};
use std::{cell::Cell, rc::Rc};

thread_local! {
    static NOW_US: Cell<u64> = const { Cell::new(0) };
    /// When the user presses Ctrl-C.
    static CTRL_C_US: Cell<u64> = const { Cell::new(u64::MAX) };
    /// When the watchdog was last fed, and the longest time between two feedings.
    static FED_US: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// When the machine is stopped for an hour, and for how long it has been stopped.
    static STOPPED_US: Cell<(u64, u64)> = const { Cell::new((u64::MAX, 0)) };
}

const HOUR_US: u64 = 3_600_000_000;

/// The device's clock, which stands still while the machine is stopped.
fn device_us() -> u64 {
    NOW_US.get() - STOPPED_US.get().1
}

fn surroundings(pool: &'static Pool) -> Surroundings {
    NOW_US.set(0);
    CTRL_C_US.set(u64::MAX);
    FED_US.set((0, 0));
    STOPPED_US.set((u64::MAX, 0));
    Surroundings {
        // Time also advances when the clock is read.
        clock_us: || {
            NOW_US.set(NOW_US.get() + 1);
            NOW_US.get()
        },
        nap: || {
            NOW_US.set(NOW_US.get() + 100);
            if NOW_US.get() >= STOPPED_US.get().0 {
                STOPPED_US.set((u64::MAX, STOPPED_US.get().1 + HOUR_US));
                NOW_US.set(NOW_US.get() + HOUR_US);
            }
        },
        feed_watchdog: || FED_US.set((NOW_US.get(), longest_unfed_us())),
        is_interrupted: || NOW_US.get() >= CTRL_C_US.get(),
        pool,
    }
}

fn longest_unfed_us() -> u64 {
    let (fed_us, longest_us) = FED_US.get();
    longest_us.max(NOW_US.get() - fed_us)
}

/// Switches by which a test changes the device's behaviour.
#[derive(Default)]
struct Switches {
    /// It does not answer any more.
    is_silent: Cell<bool>,
    /// It needs a reset.
    is_broken: Cell<bool>,
    /// It does not stop when told to.
    is_unstoppable: Cell<bool>,
    n_resets: Cell<usize>,
}

/// A simulated device that works on one request after another, and may answer them in a different order.
struct FakeDevice {
    switches: Rc<Switches>,
    most: usize,
    geometry: Geometry,
    us_per_request: u64,
    us_per_kib: u64,
    bad_sector: Option<u64>,
    /// Whether the last of the finished requests is answered first.
    last_first: bool,
    /// For each request: slot, what is asked for, place, and when it is done.
    asked: Vec<(usize, Ask, NonNull<[u8]>, u64)>,
    log: Rc<std::cell::RefCell<Vec<(u64, usize)>>>,
}

fn byte_at(offset: u64) -> u8 {
    (offset ^ offset >> 8 ^ offset >> 16) as u8
}

const SECTORS: u64 = 40 << 11;

impl FakeDevice {
    fn new() -> Self {
        Self {
            switches: Rc::default(),
            most: 4,
            geometry: Geometry {
                sector_count: SECTORS,
                block_bytes: 4096,
                request_bytes: usize::MAX / 4096 * 4096,
                align_bytes: 1,
            },
            us_per_request: 20,
            us_per_kib: 0,
            bad_sector: None,
            last_first: false,
            asked: Vec::new(),
            log: Rc::default(),
        }
    }
}

impl Channel for FakeDevice {
    fn max_in_flight(&self) -> usize {
        self.most
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    unsafe fn start(&mut self, slot: usize, ask: Ask, place: NonNull<[u8]>) -> Result<(), Broken> {
        assert!(self.asked.len() < self.most, "more requests than fit");
        assert!(self.asked.iter().all(|&(taken, ..)| taken != slot), "slot {slot} is taken");
        if let Ask::Sectors(first) = ask {
            assert!(!place.is_empty() && place.len().is_multiple_of(self.geometry.block_bytes));
            assert!((first * 512).is_multiple_of(self.geometry.block_bytes as u64));
            assert!(place.len() <= self.geometry.request_bytes);
            self.log.borrow_mut().push((first, place.len()));
        }
        let start_us = self.asked.last().map_or(0, |&(.., done_us)| done_us).max(device_us());
        let done_us = start_us + self.us_per_request + self.us_per_kib * (place.len() as u64 >> 10);
        self.asked.push((slot, ask, place, done_us));
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken> {
        let n_done = self.asked.iter().filter(|(.., done_us)| *done_us <= device_us()).count();
        if n_done == 0 || self.switches.is_silent.get() || self.switches.is_broken.get() {
            return Ok(None);
        }
        let (slot, ask, mut place, _) = self.asked.remove(if self.last_first { n_done - 1 } else { 0 });
        // SAFETY: the place belongs to the device until it is returned from here.
        let place = unsafe { place.as_mut() };
        match ask {
            Ask::Sectors(first) => {
                for (byte, offset) in place.iter_mut().zip(first * 512..) {
                    *byte = byte_at(offset);
                }
                let sectors = first..first + place.len() as u64 / 512;
                Ok(Some((slot, self.bad_sector.is_none_or(|bad| !sectors.contains(&bad)))))
            }
            Ask::SerialNumber => {
                place[..4].copy_from_slice(b"fake");
                Ok(Some((slot, true)))
            }
        }
    }

    fn is_broken(&self) -> bool {
        self.switches.is_broken.get()
    }

    fn halt(&mut self) -> Result<(), usize> {
        if self.switches.is_unstoppable.get() {
            return Err(100);
        }
        self.asked.clear();
        self.switches.is_broken.set(false);
        self.switches.n_resets.set(self.switches.n_resets.get() + 1);
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Broken> {
        Ok(())
    }

    fn unplugged(&mut self) {
        self.asked.clear();
    }
}

struct Bench {
    pool: &'static Pool,
    switches: Rc<Switches>,
    log: Rc<std::cell::RefCell<Vec<(u64, usize)>>>,
    disk: Requests<FakeDevice>,
}

impl Bench {
    fn new(device: FakeDevice) -> Self {
        let pool = host::pool(64 << 20);
        let (switches, log) = (device.switches.clone(), device.log.clone());
        Self { pool, switches, log, disk: Requests::new(Box::new(device), surroundings(pool)).unwrap() }
    }

    fn region(&self, length: usize) -> Region {
        self.pool.reserve(length, 64).unwrap()
    }

    /// Reads into memory of the pool, and frees it.
    fn read(&mut self, first: u64, length: usize) -> Result<(), Failure> {
        let mut region = self.region(length);
        region.fill(0);
        self.disk.read_sectors(first, &mut region)?;
        assert!(region.iter().zip(first * 512..).all(|(&byte, offset)| byte == byte_at(offset)));
        Ok(())
    }
}

#[test]
fn a_read_of_any_length_is_right_whatever_the_order_of_answers() {
    for (most, last_first) in [(1, false), (2, true), (4, false), (4, true)] {
        let mut bench = Bench::new(FakeDevice { most, last_first, ..FakeDevice::new() });
        for n_blocks in [1, 15, 16, 17, 1000, 5000] {
            bench.read(8 * 7, n_blocks * 4096).unwrap();
        }
        let mut next = 8;
        let mut buffer = bench.region(8 << 20);
        let mut check = |lot: &[u8]| {
            assert!(lot.iter().zip(next * 512..).all(|(&byte, offset)| byte == byte_at(offset)));
            next += lot.len() as u64 / 512;
            ControlFlow::Continue(())
        };
        bench.disk.read_pipelined(8..SECTORS, &mut buffer, &mut check).unwrap();
        assert_eq!(next, SECTORS);
        assert_eq!(bench.disk.serial(PATIENCE_US), b"fake");
    }
}

#[test]
fn memory_that_cannot_be_pinned_is_not_given_to_the_device() {
    let mut bench = Bench::new(FakeDevice::new());
    let mut buffer = [0; 40 << 10];
    bench.disk.read_sectors(16, &mut buffer).unwrap();
    assert!(buffer.iter().zip(16 * 512..).all(|(&byte, offset)| byte == byte_at(offset)));
    assert_eq!(*bench.log.borrow(), [(16, OWN_BYTES), (16 + 64, 8 << 10)]);
}

/// The unaligned half of a buffer is read through the disk's own memory.
#[test]
fn a_device_writes_only_where_its_requests_can_begin() {
    let geometry = Geometry { align_bytes: 4, ..FakeDevice::new().geometry };
    let mut bench = Bench::new(FakeDevice { geometry, ..FakeDevice::new() });
    let mut region = bench.region(64 << 10);
    for start in [0, 4, 6] {
        bench.log.borrow_mut().clear();
        let buffer = &mut region[start..start + (40 << 10)];
        bench.disk.read_sectors(16, buffer).unwrap();
        assert!(buffer.iter().zip(16 * 512..).all(|(&byte, offset)| byte == byte_at(offset)));
        assert_eq!(bench.log.borrow().len(), if start % 4 == 0 { 1 } else { 2 });
    }
    let mut next = 0;
    let mut check = |lot: &[u8]| {
        assert!(lot.iter().zip(next..).all(|(&byte, offset)| byte == byte_at(offset)));
        next += lot.len() as u64;
        ControlFlow::Continue(())
    };
    bench.disk.read_pipelined(0..64, &mut region[2..], &mut check).unwrap();
    assert_eq!(next, 64 * 512);
}

#[test]
fn requests_grow_on_a_fast_disk_and_stay_small_on_a_slow_one() {
    let mut fast = Bench::new(FakeDevice::new());
    fast.read(0, 40 << 20).unwrap();
    assert_eq!(fast.log.borrow()[0], (0, 64 << 10));
    assert!(fast.log.borrow().len() < 40);
    assert!(fast.log.borrow().iter().any(|&(_, length)| length == 4 << 20));
    // 300 kB/s.
    let mut slow = Bench::new(FakeDevice { us_per_kib: 3_400, ..FakeDevice::new() });
    slow.read(0, 8 << 20).unwrap();
    assert!(slow.log.borrow().iter().all(|&(_, length)| length == 64 << 10));
    let limited = Geometry { request_bytes: 8192, ..FakeDevice::new().geometry };
    let mut limited = Bench::new(FakeDevice { geometry: limited, ..FakeDevice::new() });
    limited.read(0, 1 << 20).unwrap();
}

#[test]
fn a_bad_sector_is_the_error_of_its_request() {
    let mut bench = Bench::new(FakeDevice { bad_sector: Some(9999), ..FakeDevice::new() });
    let Err(Failure::Request { first, count }) = bench.read(0, 16 << 20) else { panic!("no error") };
    assert!((first..first + count as u64).contains(&9999));
    bench.read(0, 4 << 20).unwrap();
    assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
}

#[test]
fn a_serial_number_has_a_patience_of_its_own() {
    let mut bench = Bench::new(FakeDevice::new());
    bench.switches.is_silent.set(true);
    let start_us = NOW_US.get();
    assert_eq!(bench.disk.serial(300_000), b"");
    assert!((300_000..400_000).contains(&(NOW_US.get() - start_us)));
    let silent = bench.read(0, 4096);
    assert!(matches!(silent, Err(Failure::NoAnswer { waited_us: PATIENCE_US..5_100_000 })), "{silent:?}");
}

#[test]
fn a_machine_that_was_stopped_has_not_waited_for_its_disks() {
    // Each request takes a second and a half.
    let mut slow = Bench::new(FakeDevice { us_per_request: 1_500_000, ..FakeDevice::new() });
    for second in [0, 1, 3] {
        STOPPED_US.set((NOW_US.get() + second * 1_000_000, STOPPED_US.get().1));
        slow.read(0, 1 << 20).unwrap();
        assert_eq!(STOPPED_US.get().0, u64::MAX, "it was not stopped");
    }
    slow.switches.is_silent.set(true);
    let silent = slow.read(0, 4096);
    assert!(matches!(silent, Err(Failure::NoAnswer { waited_us: PATIENCE_US..5_100_000 })), "{silent:?}");
    let surroundings = surroundings(host::pool(64));
    STOPPED_US.set((50_000, 0));
    let mut n_looks = 0;
    assert!(surroundings.wait_until(1_000_000, &mut || {
        n_looks += 1;
        n_looks == 5_000
    }));
}

#[test]
fn what_a_silent_disk_may_write_to_is_nobodys_until_it_answers() {
    let mut bench = Bench::new(FakeDevice::new());
    bench.switches.is_silent.set(true);
    let silent = bench.read(0, 16 << 20);
    assert!(matches!(silent, Err(Failure::NoAnswer { waited_us: PATIENCE_US..5_100_000 })), "{silent:?}");
    // Four requests of 64 KiB, and no other part of the region.
    assert_eq!(bench.pool.held_bytes(), 4 * (64 << 10));
    assert_eq!(bench.pool.free_bytes() + bench.pool.held_bytes(), bench.pool.total_bytes());
    bench.disk.set_patience(1_000_000);
    let silent = bench.read(0, 4096);
    assert!(matches!(silent, Err(Failure::NoAnswer { waited_us: 1_000_000..1_100_000 })), "{silent:?}");
    assert!(matches!(bench.disk.read_own(0, 8), Err(Failure::NoAnswer { .. })));
    assert!(bench.disk.is_silent());
    assert_eq!(bench.log.borrow().len(), 4);

    bench.switches.is_silent.set(false);
    bench.read(0, 16 << 20).unwrap();
    assert!(!bench.disk.is_silent());
    assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
}

#[test]
fn the_watchdog_is_fed_however_long_a_device_is_waited_for() {
    let mut bench = Bench::new(FakeDevice::new());
    bench.switches.is_silent.set(true);
    assert!(matches!(bench.read(0, 1 << 20), Err(Failure::NoAnswer { .. })));
    assert!(NOW_US.get() >= PATIENCE_US && longest_unfed_us() < 1_000, "{}", longest_unfed_us());
    let surroundings = surroundings(host::pool(64));
    assert!(!surroundings.wait_until(127_000_000, &mut || false));
    assert!(NOW_US.get() > 127_000_000 && longest_unfed_us() < 1_000, "{}", longest_unfed_us());
    // Includes waits that end before the core sleeps.
    let start_us = NOW_US.get();
    FED_US.set((start_us, 0));
    while NOW_US.get() < start_us + 1_000_000 {
        let mut n_looks = 0;
        let is_done = &mut || {
            n_looks += 1;
            n_looks > 10
        };
        assert!(surroundings.wait_until(1_000, is_done));
    }
    assert!(longest_unfed_us() < 1_000, "{}", longest_unfed_us());
}

#[test]
fn ctrl_c_is_heard_within_half_a_second() {
    // In one case, each answer comes just before the time limit.
    for (is_silent, us_per_kib) in [(true, 0), (false, 2_265), (false, 3_400), (false, 30_000)] {
        let mut bench = Bench::new(FakeDevice { us_per_kib, ..FakeDevice::new() });
        bench.switches.is_silent.set(is_silent);
        let ctrl_c_us = NOW_US.get() + 1_500_000;
        CTRL_C_US.set(ctrl_c_us);
        assert_eq!(bench.read(0, 16 << 20), Err(Failure::Interrupted));
        assert!(NOW_US.get() - ctrl_c_us < 500_000, "heard after {} µs", NOW_US.get() - ctrl_c_us);
        assert!(bench.pool.held_bytes() > 0);
        // The pending answers arrive, and then the disk works as before.
        CTRL_C_US.set(u64::MAX);
        bench.switches.is_silent.set(false);
        bench.read(0, 4096).unwrap();
        assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
    }
}

#[test]
fn who_breaks_off_does_not_wait_for_a_silent_disk() {
    let mut bench = Bench::new(FakeDevice::new());
    let switches = bench.switches.clone();
    let mut buffer = bench.region(1 << 20);
    let mut start_us = 0;
    let mut stop = |_: &[u8]| {
        switches.is_silent.set(true);
        start_us = NOW_US.get();
        ControlFlow::Break(())
    };
    bench.disk.read_pipelined(0..SECTORS, &mut buffer, &mut stop).unwrap();
    assert!(NOW_US.get() - start_us < 300_000);
    drop(buffer);
    assert!(bench.pool.held_bytes() > 0);
}

#[test]
fn a_broken_disk_is_reset_and_comes_back() {
    let mut bench = Bench::new(FakeDevice::new());
    bench.switches.is_broken.set(true);
    assert_eq!(bench.read(0, 1 << 20), Err(Failure::Broken));
    assert_eq!(bench.switches.n_resets.get(), 1);
    assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
    bench.read(0, 1 << 20).unwrap();

    // The same for a disk that was silent.
    bench.switches.is_silent.set(true);
    assert!(bench.read(0, 1 << 20).is_err());
    bench.switches.is_silent.set(false);
    bench.disk.reset().unwrap();
    assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
    bench.read(0, 1 << 20).unwrap();
    assert_eq!(bench.switches.n_resets.get(), 2);
}

/// Silence alone does not cause a reset.
#[test]
fn a_silent_disk_that_then_is_broken_is_reset_without_being_told() {
    let mut bench = Bench::new(FakeDevice::new());
    bench.switches.is_silent.set(true);
    assert!(bench.read(0, 1 << 20).is_err());
    assert!(bench.read(0, 1 << 20).is_err());
    assert_eq!(bench.switches.n_resets.get(), 0);
    bench.switches.is_silent.set(false);
    bench.switches.is_broken.set(true);
    bench.read(0, 1 << 20).unwrap();
    assert_eq!(bench.switches.n_resets.get(), 1);
    assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
}

#[test]
fn memory_of_a_disk_that_does_not_stop_is_given_to_nobody_for_ever() {
    let mut bench = Bench::new(FakeDevice::new());
    bench.switches.is_silent.set(true);
    assert!(bench.read(0, 1 << 20).is_err());
    let held_bytes = bench.pool.held_bytes();
    assert!(held_bytes > 0);
    bench.switches.is_unstoppable.set(true);
    assert!(!bench.disk.is_lost());
    // Includes the disk's own memory, and what the channel reports.
    let lost = Failure::Lost { lent_bytes: held_bytes + OWN_BYTES + 100 };
    assert_eq!(bench.disk.reset(), Err(lost));
    assert!(bench.disk.is_lost());
    assert_eq!(bench.disk.reset(), Err(lost));
    assert_eq!(bench.read(0, 4096), Err(lost));
    // Nothing can be read either into memory that the device could not write to anyway.
    assert_eq!(bench.disk.read_sectors(0, &mut [0; 4096]), Err(lost));
    assert_eq!(
        bench.disk.read_pipelined(0..8, &mut [0; 4096], &mut |_| ControlFlow::Continue(())),
        Err(lost)
    );
    assert_eq!(bench.disk.read_own(0, 8).map(drop), Err(lost));
    drop(bench.disk);
    assert_eq!(bench.pool.held_bytes(), held_bytes);
    // Except if the device is gone.
    let mut bench = Bench::new(FakeDevice::new());
    bench.switches.is_silent.set(true);
    assert!(bench.read(0, 1 << 20).is_err());
    bench.switches.is_unstoppable.set(true);
    bench.disk.unplugged();
    assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
}
