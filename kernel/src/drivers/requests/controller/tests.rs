use super::*;
use crate::{
    drivers::requests::{OWN_BYTES, Requests, Surroundings},
    llm::host,
    storage::sectors::{Failure, Sectors},
};
use std::cell::Cell;

thread_local! {
    static NOW_US: Cell<u64> = const { Cell::new(0) };
}

const BLOCK_BYTES: usize = 4096;

/// Switches by which a test changes the controller's behaviour.
#[derive(Debug, Default)]
struct Switches {
    is_silent: bool,
    /// It answers something that it was not asked.
    lies: bool,
    is_unstoppable: bool,
    is_unstartable: bool,
    /// Its requests fail; the inner value is the size that it then reports.
    fails: Option<Option<u64>>,
    n_resets: usize,
    most_at_a_time: usize,
}

/// A simulated controller: block `n` of unit `u` contains `u + n` in every byte.
struct FakeController {
    switches: Arc<Mutex<Switches>>,
    most: usize,
    asked: Vec<(usize, u64, u64, NonNull<[u8]>)>,
}

// SAFETY: each test uses it in a single thread.
unsafe impl Send for FakeController {}

fn unit(number: u64) -> Unit {
    let geometry =
        Geometry { sector_count: 1 << 20, block_bytes: BLOCK_BYTES, request_bytes: 1 << 20, align_bytes: 4 };
    Unit { number, geometry }
}

impl Controller for FakeController {
    fn max_in_flight(&self) -> usize {
        self.most
    }

    fn units(&mut self) -> Units {
        Units::default()
    }

    fn sector_count(&mut self, unit: &Unit) -> Option<u64> {
        self.switches.lock().fails.unwrap_or(Some(unit.geometry.sector_count))
    }

    unsafe fn start(
        &mut self,
        tag: usize,
        unit: &Unit,
        first: u64,
        place: NonNull<[u8]>,
    ) -> Result<(), Broken> {
        assert!(tag < self.most && self.asked.iter().all(|&(taken, ..)| taken != tag), "tag {tag} is taken");
        self.asked.push((tag, unit.number, first, place));
        let mut switches = self.switches.lock();
        switches.most_at_a_time = switches.most_at_a_time.max(self.asked.len());
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken> {
        let switches = self.switches.lock();
        if switches.lies {
            return Ok(Some((self.most + 7, true)));
        }
        if switches.is_silent || self.asked.is_empty() {
            return Ok(None);
        }
        // Answers the last request first.
        let (tag, number, first, mut place) = self.asked.pop().unwrap();
        // SAFETY: the place belongs to the controller until it is returned from here.
        for (index, block) in unsafe { place.as_mut() }.chunks_mut(BLOCK_BYTES).enumerate() {
            block.fill((number + first) as u8 + index as u8);
        }
        Ok(Some((tag, switches.fails.is_none())))
    }

    fn is_broken(&self) -> bool {
        false
    }

    fn halt(&mut self) -> Result<(), usize> {
        let mut switches = self.switches.lock();
        if switches.is_unstoppable {
            return Err(77);
        }
        switches.n_resets += 1;
        switches.lies = false;
        self.asked.clear();
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Broken> {
        if self.switches.lock().is_unstartable { Err(Broken) } else { Ok(()) }
    }

    fn unplugged(&mut self) {
        self.asked.clear();
    }
}

type Disk = Requests<UnitChannel>;

/// A controller with disks, and its switches.
fn bench<const N: usize>(most: usize) -> (Arc<Mutex<Switches>>, Arc<Mutex<Shared>>, [Disk; N]) {
    let pool = host::pool(8 << 20);
    let surroundings = Surroundings {
        clock_us: || {
            NOW_US.set(NOW_US.get() + 1);
            NOW_US.get()
        },
        nap: || NOW_US.set(NOW_US.get() + 100),
        feed_watchdog: || {},
        is_interrupted: || false,
        pool,
    };
    let switches = Arc::<Mutex<Switches>>::default();
    let shared =
        Shared::new(Box::new(FakeController { switches: switches.clone(), most, asked: Vec::new() }));
    let channels: [UnitChannel; N] =
        core::array::from_fn(|index| UnitChannel::new(&shared, unit(index as u64 + 1)));
    let disks = channels.map(|channel| Requests::new(Box::new(channel), surroundings).unwrap());
    (switches, shared, disks)
}

fn read(disk: &mut Disk, number: u64, first_block: u64, n_blocks: usize) -> Result<(), Failure> {
    let mut region = disk.surroundings.pool.reserve(n_blocks * BLOCK_BYTES, 64).unwrap();
    disk.read_sectors(first_block * 8, &mut region)?;
    for (index, block) in region.chunks(BLOCK_BYTES).enumerate() {
        assert!(
            block.iter().all(|&byte| byte == (number + first_block) as u8 + index as u8),
            "block {index}"
        );
    }
    Ok(())
}

#[test]
fn each_disk_gets_the_answers_to_its_own_requests() {
    let (switches, _, [mut one, mut two]) = bench(16);
    read(&mut one, 1, 3, 100).unwrap();
    read(&mut two, 2, 40, 100).unwrap();
    assert_eq!(switches.lock().most_at_a_time, 4);
    // The second disk is not told what the first one has not been told.
    switches.lock().is_silent = true;
    assert!(matches!(read(&mut one, 1, 0, 100), Err(Failure::NoAnswer { .. })));
    assert!(matches!(read(&mut two, 2, 0, 100), Err(Failure::NoAnswer { .. })));
    switches.lock().is_silent = false;
    read(&mut two, 2, 7, 9).unwrap();
    assert!(one.is_silent() && !two.is_silent());
    read(&mut one, 1, 7, 9).unwrap();
    assert_eq!(switches.lock().n_resets, 0);
    let pool = one.surroundings.pool;
    assert_eq!(pool.free_bytes(), pool.total_bytes());
}

#[test]
fn many_disks_have_few_requests_each() {
    let (switches, shared, mut disks) = bench::<4>(5);
    for (number, disk) in (1..).zip(&mut disks) {
        read(disk, number, 0, 200).unwrap();
    }
    assert_eq!(switches.lock().most_at_a_time, 1, "five tags for four disks");
    assert_eq!(shared.lock().max_units(), 5);
    let [mut one, _, _, _] = disks;
    let pool = one.surroundings.pool;
    read(&mut one, 1, 0, 200).unwrap();
    drop(one);
    assert_eq!((switches.lock().n_resets, pool.held_bytes()), (0, 0));
}

#[test]
fn a_reset_for_one_disk_fails_what_the_others_had_asked_for_and_no_more() {
    let (switches, _, [mut one, mut two]) = bench(16);
    switches.lock().is_silent = true;
    assert!(read(&mut two, 2, 0, 100).is_err());
    let pool = one.surroundings.pool;
    assert!(pool.held_bytes() > 0);
    one.reset().unwrap();
    switches.lock().is_silent = false;
    read(&mut two, 2, 0, 100).unwrap();
    read(&mut one, 1, 0, 100).unwrap();
    assert_eq!((switches.lock().n_resets, pool.held_bytes()), (1, 0));
    // Tags that were not used for any request.
    switches.lock().lies = true;
    assert_eq!(read(&mut one, 1, 0, 100), Err(Failure::Broken));
    assert_eq!(switches.lock().n_resets, 2);
    read(&mut one, 1, 0, 100).unwrap();
    read(&mut two, 2, 0, 100).unwrap();
}

#[test]
fn a_disk_that_goes_while_it_is_asked_leaves_the_others() {
    let (switches, _, [mut one, mut two]) = bench(16);
    switches.lock().is_silent = true;
    assert!(read(&mut one, 1, 0, 100).is_err());
    drop(one);
    assert_eq!((switches.lock().n_resets, two.surroundings.pool.held_bytes()), (1, 0));
    switches.lock().is_silent = false;
    read(&mut two, 2, 0, 100).unwrap();
}

#[test]
fn a_controller_that_does_not_stop_is_lost_to_all_and_keeps_their_memory() {
    let (switches, shared, [mut one, mut two]) = bench(16);
    switches.lock().is_silent = true;
    assert!(read(&mut one, 1, 0, 100).is_err());
    assert!(read(&mut two, 2, 0, 100).is_err());
    let pool = one.surroundings.pool;
    let held_bytes = pool.held_bytes();
    assert!(held_bytes > 0);
    switches.lock().is_unstoppable = true;
    let lost = Failure::Lost { lent_bytes: held_bytes / 2 + OWN_BYTES + 77 };
    assert_eq!(one.reset(), Err(lost));
    assert!(!shared.lock().is_running());
    // The controller's own memory is not counted again.
    assert_eq!(two.reset(), Err(Failure::Lost { lent_bytes: held_bytes / 2 + OWN_BYTES }));
    drop((one, two));
    assert_eq!(pool.held_bytes(), held_bytes);
}

#[test]
fn a_controller_that_is_left_or_gone_is_not_started_again() {
    for is_gone in [false, true] {
        let (switches, shared, [mut one, mut two]) = bench(16);
        switches.lock().is_silent = true;
        assert!(read(&mut one, 1, 0, 100).is_err());
        match is_gone {
            true => one.unplugged(),
            false => shared.lock().leave(),
        }
        assert!(!shared.lock().is_running());
        assert_eq!(read(&mut two, 2, 0, 1), Err(Failure::Broken));
        assert!(two.is_lost());
        drop((one, two, shared));
        assert_eq!(switches.lock().n_resets, usize::from(!is_gone));
    }
    // If the controller only fails to restart, the next disk tries again.
    let (switches, _, [mut one, mut two]) = bench(16);
    switches.lock().is_unstartable = true;
    assert!(one.reset().is_err());
    switches.lock().is_unstartable = false;
    assert_eq!(read(&mut two, 2, 0, 1), Err(Failure::Broken));
    read(&mut two, 2, 0, 1).unwrap();
}

#[test]
fn a_disk_that_has_changed_says_so() {
    let (switches, shared, [mut disk]) = bench::<1>(4);
    read(&mut disk, 1, 0, 1).unwrap();
    // If the size is unchanged, or if there is no answer, the request simply failed.
    for says in [Some(1 << 20), Some(2 << 20), None] {
        switches.lock().fails = Some(says);
        assert_eq!(read(&mut disk, 1, 8, 1), Err(Failure::Request { first: 64, count: 8 }), "{says:?}");
    }
    for says in [Some(0), Some((1 << 20) - 8)] {
        switches.lock().fails = Some(says);
        assert_eq!(read(&mut disk, 1, 8, 1), Err(Failure::Changed), "{says:?}");
        assert_eq!(disk.read_own(8, 8).map(drop), Err(Failure::Changed), "{says:?}");
    }
    // A disk that has grown, and then reports no size, has not shrunk.
    switches.lock().fails = Some(Some(2 << 20));
    disk.refresh();
    switches.lock().fails = Some(None);
    assert_eq!(read(&mut disk, 1, 8, 1), Err(Failure::Request { first: 64, count: 8 }));
    // A disk counts as another one if its block size has changed or a command transfers less; not if it has more blocks, or if
    // nothing is reported.
    let shared = shared.lock();
    let mut found = unit(1);
    found.geometry.sector_count += 8;
    found.geometry.request_bytes *= 2;
    assert!(!shared.is_stale(&found));
    found.geometry.request_bytes /= 4;
    assert!(shared.is_stale(&found));
    found.geometry.request_bytes *= 2;
    found.geometry.block_bytes = 512;
    assert!(shared.is_stale(&found) && !shared.is_stale(&Unit { number: 2, ..found }));
    drop(shared);
    drop(disk);
}

#[test]
fn a_disk_in_use_is_known_by_its_shape_until_it_is_dropped() {
    let (_, shared, disks) = bench::<2>(4);
    let mut found = unit(2);
    found.geometry.block_bytes = 512;
    assert!(shared.lock().is_stale(&found));
    drop(disks);
    assert!(!shared.lock().is_stale(&found));
}
