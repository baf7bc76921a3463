//! Tests reads of a disk by its queue: in pieces, in any order of the answers, with errors, and with counts that are too small. What a
//! device does that breaks the rules is in `lies`.

use super::{
    fake::{self, BAD_SECTOR, Fake, Lie, Serve},
    lies::{INDIRECT_DESC, SEG_MAX, SIZE_MAX, disk, disk_configuration, read},
};
use crate::{
    llm::host,
    storage::sectors::{Failure, Sectors},
};
use std::vec::Vec;
use virtio_drivers::transport::DeviceType;

/// A disk of 32 MiB without limits of its requests.
fn device(features: u64, queue_size: u32, serve: Serve) -> Fake {
    let device = Fake::new(DeviceType::Block, features, &disk_configuration(1 << 16, 0, 0, 512), serve);
    device.state().queue_size = queue_size;
    device
}

/// Features and lengths of a queue in which several requests have room.
const ROOMY: [(u64, u32); 3] = [(INDIRECT_DESC, 4), (INDIRECT_DESC, 16), (0, 256)];

#[test]
fn answers_may_come_in_any_order() {
    for (features, queue_size) in ROOMY {
        let device = device(features, queue_size, fake::block);
        let pool = host::pool(8 << 20);
        let mut disk = disk(&device, pool).unwrap();
        device.state().is_backwards = true;
        for (first, n_bytes) in [(3, 1 << 20), (7, 5 << 20), (0, 512), (65_535, 512), (1, 1_000 * 512)] {
            read(&mut disk, pool, first, n_bytes).unwrap();
        }
        assert!(device.state().n_overtaking > 3, "{}", device.state().n_overtaking);
        assert_eq!(disk.serial(1_000_000), b"fake");
        assert_eq!(pool.free_bytes(), pool.total_bytes());
    }
    // A queue with room for one request gets one at a time.
    let device = device(0, 4, fake::block);
    let pool = host::pool(2 << 20);
    let mut disk = disk(&device, pool).unwrap();
    device.state().is_backwards = true;
    read(&mut disk, pool, 3, 1 << 20).unwrap();
    assert_eq!(device.state().n_overtaking, 0);
}

#[test]
fn requests_have_no_larger_and_no_more_pieces_than_the_device_takes() {
    for (size_max, seg_max) in [(512, 1), (512, 6), (700, 3), (4096, 2), (4096, 100), (65_536, 4)] {
        for features in [0, INDIRECT_DESC] {
            let pool = host::pool(2 << 20);
            let configuration = disk_configuration(1 << 16, size_max, seg_max, 512);
            let features = SIZE_MAX | SEG_MAX | features;
            let device = Fake::new(DeviceType::Block, features, &configuration, fake::block);
            let mut disk = disk(&device, pool).unwrap();
            for (first, n_bytes) in [(3, 1 << 20), (100, 512), (5, 7 * 512), (9, 65_536)] {
                read(&mut disk, pool, first, n_bytes).unwrap();
            }
            let (largest_bytes, most_pieces) = device.state().most;
            // The last piece of a request takes its status.
            assert!(largest_bytes <= size_max as usize, "{size_max}: {largest_bytes}");
            assert!(most_pieces <= seg_max as usize + 1, "{seg_max}: {most_pieces}");
            // A read of a mebibyte needs all that there may be, of which the driver uses eight at most.
            assert!(most_pieces > 1 && most_pieces > seg_max.min(4) as usize, "{size_max}: {most_pieces}");
        }
    }
}

#[test]
fn an_error_is_that_of_the_request_which_got_it() {
    for is_backwards in [false, true] {
        for (features, queue_size) in ROOMY.into_iter().chain([(0, 4)]) {
            let device = device(features, queue_size, fake::damaged_block);
            let pool = host::pool(8 << 20);
            let mut disk = disk(&device, pool).unwrap();
            device.state().is_backwards = is_backwards;
            for first in [0, 1, 500, BAD_SECTOR - 1, BAD_SECTOR] {
                let told = read(&mut disk, pool, first, 2 << 20);
                let Err(Failure::Request { first: from, count }) = told else { panic!("{first}: {told:?}") };
                let request = from..from + count as u64;
                assert!(request.contains(&BAD_SECTOR), "{first}: {request:?}");
                assert!(from >= first && request.end <= first + 4096, "{first}: {request:?}");
            }
            // What lies before and behind can be read, and the sector itself still cannot.
            read(&mut disk, pool, 0, BAD_SECTOR as usize * 512).unwrap();
            read(&mut disk, pool, BAD_SECTOR + 1, 1 << 20).unwrap();
            let one = Err(Failure::Request { first: BAD_SECTOR, count: 1 });
            assert_eq!(read(&mut disk, pool, BAD_SECTOR, 512), one);
            assert_eq!(disk.read_own(BAD_SECTOR, 1).map(<[u8]>::to_vec), one.map(|()| Vec::new()));
            assert_eq!(disk.read_own(BAD_SECTOR - 1, 1).unwrap(), [(BAD_SECTOR - 1) as u8; 512]);
            assert_eq!(device.state().n_resets, 1, "an error is no reason to reset the disk");
            assert_eq!(pool.free_bytes(), pool.total_bytes());
        }
    }
}

#[test]
fn only_the_status_of_success_is_success() {
    for serve in [fake::unwilling_block, fake::undecided_block] {
        let device = device(0, 256, serve);
        let pool = host::pool(2 << 20);
        let mut disk = disk(&device, pool).unwrap();
        for n_bytes in [512, 1 << 20] {
            let told = read(&mut disk, pool, 3, n_bytes);
            assert!(matches!(told, Err(Failure::Request { .. })), "{told:?}");
        }
        assert_eq!(disk.read_own(3, 1), Err(Failure::Request { first: 3, count: 1 }));
        assert!(!disk.is_silent());
    }
}

/// A device may count nothing, or its status alone; one that counts less than was asked for has read less.
#[test]
fn a_read_that_was_too_short_has_failed() {
    for (count, is_read) in [(0, true), (1, true), (2, false), (511, false), (512, true), (513, true)] {
        let device = device(INDIRECT_DESC, 16, fake::block);
        let pool = host::pool(2 << 20);
        let mut disk = disk(&device, pool).unwrap();
        device.lie(0, Lie::Counts(count));
        let told = read(&mut disk, pool, 3, 512);
        let expected = if is_read { Ok(()) } else { Err(Failure::Request { first: 3, count: 1 }) };
        assert_eq!(told, expected, "{count} bytes");
        // A serial number may be shorter than its place.
        assert_eq!(disk.serial(1_000_000), b"fake", "{count} bytes");
    }
}
