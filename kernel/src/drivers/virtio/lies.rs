//! Tests each driver with a device that lies: it must report an error or nothing, and never panic or access memory that does not
//! belong to it. A device that has broken a rule is stopped; a disk may be used again after a reset.

use super::{
    balloon::VirtioBalloon,
    block::{BlockChannel, InitError},
    console::VirtioConsole,
    entropy::VirtioEntropy,
    fake::{self, Fake, Lie, surroundings},
    net::VirtioNet,
    scsi::VirtioScsi,
    transport::AnyTransport,
    vsock::VirtioVsock,
};
use crate::{
    drivers::{
        balloon::{Device, List},
        requests::{
            Requests,
            controller::{Shared, UnitChannel},
        },
    },
    llm::host,
    memory::pool::Pool,
    net::{Link, VsockDevice},
    storage::sectors::{Failure, Sectors},
};
use std::{boxed::Box, format, string::ToString, vec, vec::Vec};
use virtio_drivers::transport::DeviceType;

/// All kinds of lies.
const LIES: [Lie; 11] = [
    Lie::NoDescriptor,
    Lie::NotGiven,
    Lie::Twice,
    Lie::TooLong,
    Lie::Short(5),
    Lie::Short(100),
    Lie::Jump(1),
    Lie::Jump(300),
    // One step back.
    Lie::Jump(u16::MAX),
    Lie::Jump(u16::MAX - 1),
    Lie::Silence,
];

/// Lies in which a device reports something done that it was not asked to do.
fn is_told(lie: Lie) -> bool {
    matches!(lie, Lie::NoDescriptor | Lie::NotGiven)
}

pub(super) const SIZE_MAX: u64 = 1 << 1;
pub(super) const SEG_MAX: u64 = 1 << 2;
const BLK_SIZE: u64 = 1 << 6;
pub(super) const INDIRECT_DESC: u64 = 1 << 28;

/// The configuration of a disk: capacity in sectors, maximum size of a segment, maximum number of segments, block size.
pub(super) fn disk_configuration(capacity: u64, size_max: u32, seg_max: u32, block_bytes: u32) -> Vec<u8> {
    let mut bytes = capacity.to_le_bytes().to_vec();
    for number in [size_max, seg_max, 0, block_bytes] {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

pub(super) type Disk = Requests<BlockChannel<AnyTransport>>;

pub(super) fn disk(fake: &Fake, pool: &'static Pool) -> Result<Disk, InitError> {
    let channel = BlockChannel::new(fake.transport(), None, surroundings(pool))?;
    Ok(Requests::new(Box::new(channel), surroundings(pool)).unwrap())
}

/// Reads from this sector on; checks that data that comes without an error is right.
pub(super) fn read(
    disk: &mut impl Sectors,
    pool: &'static Pool,
    first: u64,
    n_bytes: usize,
) -> Result<(), Failure> {
    let mut region = pool.reserve(n_bytes, 64).unwrap();
    region.fill(0xee);
    disk.read_sectors(first, &mut region)?;
    for (sector, bytes) in (first..).zip(region.chunks(512)) {
        assert!(bytes.iter().all(|&byte| byte == sector as u8), "sector {sector}");
    }
    Ok(())
}

#[test]
fn a_disk_that_lies_gives_an_error_and_then_what_it_holds() {
    for (features, queue_size) in [(0, 4), (INDIRECT_DESC, 16), (0, 256)] {
        for lie in LIES {
            let pool = host::pool(8 << 20);
            let device =
                Fake::new(DeviceType::Block, features, &disk_configuration(1 << 16, 0, 0, 512), fake::block);
            device.state().queue_size = queue_size;
            let mut disk = disk(&device, pool).unwrap();
            assert_eq!(disk.serial(1_000_000), b"fake");
            read(&mut disk, pool, 3, 1 << 20).unwrap();
            let n_resets = device.state().n_resets;
            device.lie(0, lie);
            for _ in 0..5 {
                let told = read(&mut disk, pool, 7, 1 << 20);
                let expected = match lie {
                    _ if is_told(lie) => told == Err(Failure::Broken),
                    Lie::Short(100) => matches!(told, Err(Failure::Request { .. })),
                    Lie::TooLong => told.is_ok(),
                    Lie::Silence => matches!(told, Err(Failure::NoAnswer { .. })),
                    _ => true,
                };
                assert!(expected, "{lie:?}: {told:?}");
                let told = disk.read_own(9, 1).map(<[u8]>::to_vec);
                assert!(told.is_err() || told == Ok(vec![9; 512]), "{lie:?}: {told:?}");
            }
            let has_been_stopped = device.state().n_resets > n_resets;
            assert!(has_been_stopped || !is_told(lie), "{lie:?}");
            device.state().lie = None;
            // While the disk was silent, it was not asked again.
            let _ = disk.reset();
            read(&mut disk, pool, 9, 1 << 20).unwrap_or_else(|error| panic!("after {lie:?}: {error:?}"));
            assert_eq!(pool.free_bytes(), pool.total_bytes(), "{lie:?}");
            // A device that keeps running although told to stop keeps the memory that it may write to.
            device.state().is_unstoppable = true;
            device.lie(0, Lie::NoDescriptor);
            assert_eq!(read(&mut disk, pool, 7, 4096), Err(Failure::Broken));
            assert!(disk.is_lost(), "{lie:?}");
            assert!(matches!(read(&mut disk, pool, 7, 4096), Err(Failure::Lost { .. })), "{lie:?}");
        }
    }
}

#[test]
fn a_disk_whose_configuration_makes_no_sense_is_refused_in_a_line_or_works() {
    let good = || disk_configuration(1 << 16, 65_536, 8, 512);
    let sizes = [0, 1, 3, 511, 512, 513, 4096, 1 << 17, 1 << 31, u32::MAX];
    let mut n_refused = 0;
    let mut check = |configuration: &[u8], features: u64, queue_size: u32, is_restless: bool| {
        let pool = host::pool(2 << 20);
        let device = Fake::new(DeviceType::Block, features, configuration, fake::block);
        device.state().queue_size = queue_size;
        device.state().is_restless.set(is_restless);
        match disk(&device, pool) {
            Ok(mut disk) => {
                let n_bytes = disk.block_bytes().max(65_536);
                let told = read(&mut disk, pool, 0, n_bytes);
                // A part of a request may lie beyond the end of the disk.
                assert!(told.is_ok(), "{configuration:?}: {told:?}");
                let last = disk.sector_count();
                let _ = crate::storage::sectors::read_bytes(&mut disk, last.wrapping_mul(512), &mut [0; 9]);
                let _ = crate::storage::sectors::read_bytes(&mut disk, u64::MAX - 600, &mut [0; 9]);
            }
            Err(error) => {
                n_refused += 1;
                let line = error.to_string();
                assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
                assert!(device.is_stopped(), "{line}");
            }
        }
    };
    for size_max in sizes {
        for seg_max in [0, 1, 7, u32::MAX] {
            let configuration = disk_configuration(1 << 16, size_max, seg_max, 512);
            check(&configuration, SIZE_MAX | SEG_MAX | INDIRECT_DESC, 16, false);
            check(&configuration, SIZE_MAX | SEG_MAX, 4, false);
        }
    }
    for block_bytes in sizes {
        check(&disk_configuration(1 << 16, 0, 0, block_bytes), BLK_SIZE, 16, false);
    }
    for capacity in [0, 1, u64::MAX / 512, u64::MAX] {
        check(&disk_configuration(capacity, 0, 0, 512), 0, 16, false);
    }
    for queue_size in [0, 1, 2, 3, 5, 17, 32_768, 65_535, u32::MAX] {
        check(&good(), 0, queue_size, false);
    }
    for length in 0..good().len() {
        check(&good()[..length], SIZE_MAX | SEG_MAX | BLK_SIZE, 16, true);
    }
    check(&good(), u64::MAX, 16, true);
    assert!(n_refused > 20, "{n_refused}");
}

/// The limits of requests stay the same, but a device that is reset may accept only shorter segments than before.
#[test]
fn a_disk_that_takes_less_after_a_reset_is_lost() {
    for (size_max, seg_max, block_bytes) in [(512, 8, 512), (512, 1, 512), (0, 0, 4096), (65_536, 1, 512)] {
        let pool = host::pool(8 << 20);
        let features = SIZE_MAX | SEG_MAX | BLK_SIZE | INDIRECT_DESC;
        let device = Fake::new(
            DeviceType::Block,
            features,
            &disk_configuration(1 << 16, 1 << 20, 8, 512),
            fake::block,
        );
        let mut disk = disk(&device, pool).unwrap();
        read(&mut disk, pool, 3, 4 << 20).unwrap();
        device.state().configuration = disk_configuration(1 << 16, size_max, seg_max, block_bytes);
        device.lie(0, Lie::NotGiven);
        assert_eq!(read(&mut disk, pool, 3, 4 << 20), Err(Failure::Broken));
        device.state().lie = None;
        match (size_max, block_bytes) {
            // No limit.
            (0, 512) => read(&mut disk, pool, 3, 4 << 20).unwrap(),
            _ => assert_eq!(read(&mut disk, pool, 3, 4 << 20), Err(Failure::Lost { lent_bytes: 0 })),
        }
        assert_eq!(pool.free_bytes(), pool.total_bytes());
    }
}

#[test]
fn an_adapter_that_lies_gives_an_error_and_then_what_its_disks_hold() {
    let mut configuration = vec![0; 36];
    configuration[8..12].copy_from_slice(&8192_u32.to_le_bytes());
    // A single target.
    for lie in LIES {
        let pool = host::pool(8 << 20);
        let device = Fake::new(DeviceType::ScsiHost, INDIRECT_DESC, &configuration, fake::scsi);
        let adapter = VirtioScsi::new(device.transport(), None, surroundings(pool)).unwrap();
        let shared = Shared::new(Box::new(adapter));
        let units = shared.lock().units();
        assert_eq!((units.disks.len(), units.unfinished), (1, None), "{units:?}");
        let channel = Box::new(UnitChannel::new(&shared, units.disks[0].unit));
        let mut disk = Requests::new(channel, surroundings(pool)).unwrap();
        read(&mut disk, pool, 3, 1 << 20).unwrap();
        device.lie(2, lie);
        for _ in 0..3 {
            let told = read(&mut disk, pool, 7, 1 << 20);
            // A disk is lost if it cannot confirm, after a restart, that it is still the same one.
            let is_refused = matches!(told, Err(Failure::Broken | Failure::Lost { lent_bytes: 0 }));
            assert!(is_refused || !is_told(lie), "{lie:?}: {told:?}");
            let told = read(&mut disk, pool, 7, 512);
            assert!(told.is_err() || !is_told(lie), "{lie:?}: {told:?}");
        }
        if !disk.is_lost() {
            // The reported list may be too short, but not too long.
            assert!(shared.lock().units().disks.len() <= 1, "{lie:?}");
        }
        device.state().lie = None;
        if disk.reset().is_ok() {
            read(&mut disk, pool, 9, 1 << 20).unwrap_or_else(|error| panic!("after {lie:?}: {error:?}"));
        }
        assert!(!disk.is_lost() || is_told(lie) || lie == Lie::Silence, "{lie:?}");
        assert_eq!(pool.free_bytes(), pool.total_bytes(), "{lie:?}");
    }
}

const FRAME: [u8; 12 + 60] = [0x5a; 72];

#[test]
fn a_network_device_that_lies_is_stopped() {
    for (queue, lie) in LIES.into_iter().flat_map(|lie| [(0, lie), (1, lie)]) {
        let device = Fake::new(DeviceType::Network, 0, &[], fake::packets);
        let pool = host::pool(64);
        let mut link =
            VirtioNet::new(device.transport(), "net".into(), (None, None), surroundings(pool)).unwrap();
        let bring = || device.bring(0, &FRAME);
        assert!(bring());
        let frame = link.receive().unwrap();
        assert_eq!(frame.buffer[frame.range.clone()], FRAME[12..]);
        link.recycle(frame.buffer);
        device.lie(queue, lie);
        for _ in 0..200 {
            if !device.is_stopped() {
                bring();
            }
            if let Some(frame) = link.receive() {
                assert!(frame.range.len() <= 2048 && frame.range.end <= frame.buffer.len(), "{lie:?}");
                link.recycle(frame.buffer);
            }
            link.send(60, &mut |frame| frame.fill(1));
        }
        let failure = link.failure().map(ToString::to_string);
        // All descriptors of the first queue have been given to the device.
        let is_told = lie == Lie::NoDescriptor || lie == Lie::NotGiven && queue == 1;
        assert!(failure.is_some() || !is_told, "{lie:?} about queue {queue}");
        assert!(failure.is_some() || lie != Lie::TooLong || queue == 1, "{lie:?} about queue {queue}");
        assert!(failure.is_none() || device.is_stopped() && !link.can_send(), "{lie:?}: {failure:?}");
        assert!(failure.is_none_or(|line| line.starts_with("it") && !line.contains('\n')));
        fake::keep(link);
    }
    // An endless stream of empty frames does not block anything else.
    let device = Fake::new(DeviceType::Network, 0, &[], fake::packets);
    let mut link =
        VirtioNet::new(device.transport(), "net".into(), (None, None), surroundings(host::pool(64))).unwrap();
    device.lie(0, Lie::Short(3));
    for _ in 0..10 {
        while device.bring(0, &FRAME) {}
        assert!(link.receive().is_none() && link.failure().is_none());
    }
    // Queues that are too short, and an invalid configuration.
    for queue_size in [0, 1, 63] {
        let device = Fake::new(DeviceType::Network, 1 << 5 | 1 << 16, &[], fake::packets);
        device.state().queue_size = queue_size;
        let refused =
            VirtioNet::new(device.transport(), "net".into(), (None, None), surroundings(host::pool(64)));
        assert!(!refused.map(drop).unwrap_err().to_string().is_empty());
    }
    fake::keep(link);
}

#[test]
fn a_socket_device_that_lies_is_stopped() {
    for (queue, lie) in LIES.into_iter().flat_map(|lie| [(0, lie), (1, lie), (2, lie)]) {
        let device = Fake::new(DeviceType::Socket, 0, &[3, 0, 0, 0, 0, 0, 0, 0], fake::packets);
        let mut socket =
            VirtioVsock::new(device.transport(), "vsock".into(), (None, None), surroundings(host::pool(64)))
                .unwrap();
        assert_eq!(socket.cid(), 3);
        device.lie(queue, lie);
        let mut n_events = 0;
        for _ in 0..200 {
            if !device.is_stopped() {
                device.bring(0, &FRAME);
                device.bring(2, &[0; 4]);
            }
            n_events += usize::from(socket.take_reset());
            if let Some(frame) = socket.receive() {
                assert!(frame.range.end <= frame.buffer.len(), "{lie:?}");
                socket.recycle(frame);
            }
            socket.send(44, &mut |packet| packet.fill(1));
        }
        let is_told = lie == Lie::NoDescriptor && queue < 2 || lie == Lie::NotGiven && queue == 1;
        assert!(socket.failure().is_some() || !is_told, "{lie:?} of queue {queue}");
        assert!(socket.failure().is_none() || device.is_stopped(), "{lie:?} of queue {queue}");
        assert!(n_events <= 200, "{n_events}");
        fake::keep(socket);
    }
}

#[test]
fn a_console_that_lies_keeps_nobody_waiting() {
    for (queue, lie) in LIES.into_iter().flat_map(|lie| [(0, lie), (1, lie)]) {
        let device = Fake::new(DeviceType::Console, 0, &[], fake::packets);
        let mut console = VirtioConsole::new(device.transport(), None, surroundings(host::pool(64))).unwrap();
        assert!(device.bring(0, b"typed"));
        let typed: Vec<u8> = core::iter::from_fn(|| console.read()).collect();
        assert_eq!(typed, b"typed");
        device.lie(queue, lie);
        let start_us = fake::now_us();
        let mut n_read = 0;
        for _ in 0..50 {
            if !device.is_stopped() {
                device.bring(0, b"typed");
            }
            n_read += (0..2000).map_while(|_| console.read()).count();
            for byte in [b'x'; 1000] {
                console.write(byte);
            }
            console.flush();
        }
        // There is only one wait for a silent device, and it cannot claim to have delivered more than there is room for.
        assert!(fake::now_us() - start_us < 1_500_000, "{lie:?} of queue {queue}");
        assert!(n_read <= 50 * 2000, "{lie:?} of queue {queue}: {n_read}");
        assert!(device.is_stopped() || !is_told(lie), "{lie:?} of queue {queue}");
        fake::keep(console);
    }
    let device = Fake::new(DeviceType::Console, 0, &[], fake::packets);
    device.state().queue_size = 1;
    assert!(VirtioConsole::new(device.transport(), None, surroundings(host::pool(64))).is_none());
}

#[test]
fn a_source_of_random_numbers_that_lies_gives_none() {
    let of = |device: &Fake| VirtioEntropy::new(device.transport(), surroundings(host::pool(64)));
    let seed = |device: &Fake| of(device).seed();
    let new = || Fake::new(DeviceType::EntropySource, 0, &[], fake::entropy);
    assert_eq!(seed(&new()), Some([7; 32]));
    for lie in LIES {
        let device = new();
        device.lie(0, lie);
        let told = seed(&device);
        let is_nothing = is_told(lie) || matches!(lie, Lie::Short(5) | Lie::Silence | Lie::Jump(u16::MAX));
        assert!(told.is_none() || !is_nothing && told == Some([7; 32]) || lie == Lie::Short(100), "{lie:?}");
        assert!(device.is_stopped(), "{lie:?}");
    }
    for queue_size in [0, 1] {
        let device = new();
        device.state().queue_size = queue_size;
        assert_eq!(seed(&device), None);
    }
    // If asked again, it supplies bytes again, although it was silent in between.
    let device = new();
    let mut entropy = of(&device);
    assert_eq!(entropy.seed(), Some([7; 32]));
    device.lie(0, Lie::Silence);
    assert_eq!(entropy.seed(), None);
    device.state().lie = None;
    assert_eq!(entropy.seed(), Some([7; 32]));
    assert!(device.is_stopped());
    let device = new();
    device.state().is_unstoppable = true;
    device.state().status_of_somebody_else();
    assert_eq!(seed(&device), None);
}

#[test]
fn a_balloon_that_lies_is_told_apart_and_can_be_stopped() {
    const REPORTING: u64 = 1 << 5;
    for (queue, lie) in LIES.into_iter().flat_map(|lie| [(0, lie), (1, lie), (2, lie)]) {
        let device = Fake::new(DeviceType::MemoryBalloon, REPORTING, &[0xff; 8], fake::balloon);
        let new = VirtioBalloon::new(device.transport(), None, surroundings(host::pool(64)));
        let mut balloon = new.unwrap().0;
        let memory = fake::keep([0; 64]);
        assert_eq!((balloon.wanted_pages(), balloon.takes_reports()), (u32::MAX, true));
        let mut ask = |balloon: &mut VirtioBalloon| {
            match queue {
                0 => balloon.tell(List::Inflate, &mut (7..20)),
                1 => balloon.tell(List::Deflate, &mut (7..2000)),
                _ => balloon.report(memory),
            }?;
            balloon.is_done()
        };
        assert_eq!(ask(&mut balloon), Ok(true));
        device.lie(queue, lie);
        let told: Vec<_> = (0..3).map(|_| ask(&mut balloon)).collect();
        assert!(told[0].is_err() || !is_told(lie), "{lie:?} of queue {queue}: {told:?}");
        assert!(told[0] == Ok(false) || lie != Lie::Silence, "{lie:?} of queue {queue}: {told:?}");
        balloon.stop();
        assert!(device.is_stopped());
        fake::keep(balloon);
    }
    for length in 0..8 {
        // A configuration that is too short asks for no memory.
        let device = Fake::new(DeviceType::MemoryBalloon, 0, &[0xff; 8][..length], fake::balloon);
        let new = VirtioBalloon::new(device.transport(), None, surroundings(host::pool(64)));
        let mut balloon = new.unwrap().0;
        assert_eq!(balloon.wanted_pages() == 0, length < 4);
        balloon.set_actual_pages(1);
        fake::keep(balloon);
    }
    for queue_size in [0, 1, 3] {
        let device = Fake::new(DeviceType::MemoryBalloon, 0, &[0xff; 8], fake::balloon);
        device.state().queue_size = queue_size;
        assert!(VirtioBalloon::new(device.transport(), None, surroundings(host::pool(64))).is_none());
    }
}

/// The error lines for nonsensical devices, as users read them.
#[test]
fn errors_say_what_would_be_right() {
    let device = Fake::new(DeviceType::Block, BLK_SIZE, &disk_configuration(8, 0, 0, 3), fake::block);
    let line = format!("{}", disk(&device, host::pool(64)).map(drop).unwrap_err());
    assert!(line.contains("its blocks have 3 bytes; expected a power of two"), "{line}");
}
