use super::{
    request::{NO_RESPONSE, outcome, request},
    *,
};
use std::vec;

/// A simulated logical unit that behaves as the standards say.
#[derive(Clone)]
struct FakeUnit {
    address: Address,
    kind: u8,
    n_blocks: u64,
    block_bytes: u32,
    serial: Option<&'static str>,
    /// The most blocks per command; 0 means no limit.
    max_blocks: u32,
    knows_capacity_16: bool,
    /// How many changes it reports first.
    attentions: usize,
    not_ready: Option<[u8; 2]>,
}

struct FakeAdapter {
    units: Vec<FakeUnit>,
    knows_luns: bool,
    /// Nothing answers from this target on.
    silent_from: u16,
    n_commands: usize,
    now_us: u64,
    takes_us: u64,
    /// The error of all commands to units of this target, except for lists of units.
    failing: Option<(u8, Refusal)>,
    /// Whether these units answer inquiries nevertheless.
    is_reserved: bool,
}

const CHECK: fn(u8, [u8; 2]) -> Refusal = |key, code| Refusal::Check(Sense { key, code });
const INVALID: [u8; 2] = [0x24, 0];

impl FakeAdapter {
    fn new(units: &[FakeUnit]) -> Self {
        Self {
            units: units.to_vec(),
            knows_luns: true,
            silent_from: 256,
            n_commands: 0,
            now_us: 0,
            takes_us: 1,
            failing: None,
            is_reserved: false,
        }
    }
}

fn put(data: &mut [u8], bytes: &[u8]) -> Result<usize, Refusal> {
    let length = data.len().min(bytes.len());
    data[..length].copy_from_slice(&bytes[..length]);
    Ok(length)
}

impl Carrier for FakeAdapter {
    fn execute(&mut self, address: Address, command: &Cdb, data: &mut [u8]) -> Result<usize, Refusal> {
        self.n_commands += 1;
        self.now_us += self.takes_us;
        if u16::from(address.target) >= self.silent_from {
            return Err(Refusal::Silent);
        }
        if self.units.iter().all(|unit| unit.address.target != address.target) {
            return Err(Refusal::NoUnit);
        }
        if command[0] == operation::REPORT_LUNS && self.knows_luns {
            let mut list = vec![0; 8];
            for unit in self.units.iter().filter(|unit| unit.address.target == address.target) {
                let [high, low] = unit.address.lun.to_be_bytes();
                list.extend([if high == 0 { 0 } else { 0x40 | high }, low, 0, 0, 0, 0, 0, 0]);
            }
            let length = list.len() as u32 - 8;
            list[..4].copy_from_slice(&length.to_be_bytes());
            assert_eq!(number(&command[6..10]) as usize, data.len());
            return put(data, &list);
        }
        let tells = self.is_reserved && command[0] == operation::INQUIRY;
        if let Some((_, refusal)) = self.failing.filter(|(target, _)| *target == address.target && !tells) {
            return Err(refusal);
        }
        let unit = self.units.iter_mut().find(|unit| unit.address == address);
        let unit = unit.ok_or(CHECK(5, [0x25, 0]))?;
        if command[0] == operation::INQUIRY {
            let mut bytes = vec![unit.kind, 0, 0, 0];
            match (command[1], command[2]) {
                (0, 0) => bytes.resize(36, b' '),
                (1, page::SERIAL_NUMBER) if let Some(serial) = unit.serial => {
                    (bytes[1], bytes[3]) = (0x80, serial.len() as u8);
                    bytes.extend(serial.bytes());
                }
                (1, page::BLOCK_LIMITS) => {
                    (bytes[1], bytes[3]) = (0xb0, 60);
                    bytes.resize(64, 0);
                    bytes[8..12].copy_from_slice(&unit.max_blocks.to_be_bytes());
                }
                _ => return Err(CHECK(5, INVALID)),
            }
            return put(data, &bytes);
        }
        if unit.attentions > 0 {
            unit.attentions -= 1;
            return Err(CHECK(Sense::UNIT_ATTENTION, [0x29, 0]));
        }
        match (command[0], command[1]) {
            (operation::TEST_UNIT_READY, _) => unit.not_ready.map_or(Ok(0), |code| Err(CHECK(2, code))),
            (operation::SERVICE_ACTION_IN_16, 0x10) if unit.knows_capacity_16 => {
                let mut bytes = (unit.n_blocks - 1).to_be_bytes().to_vec();
                bytes.extend(unit.block_bytes.to_be_bytes());
                bytes.resize(32, 0);
                assert_eq!(number(&command[10..14]), 32);
                put(data, &bytes)
            }
            (operation::READ_CAPACITY_10, 0) => {
                let mut bytes = (unit.n_blocks as u32 - 1).to_be_bytes().to_vec();
                bytes.extend(unit.block_bytes.to_be_bytes());
                put(data, &bytes)
            }
            _ => Err(CHECK(5, [0x20, 0])),
        }
    }

    fn pause(&mut self, duration_us: u64) {
        self.now_us += duration_us;
    }

    fn now_us(&self) -> u64 {
        self.now_us
    }
}

fn disk(target: u8, lun: u16) -> FakeUnit {
    FakeUnit {
        address: Address { target, lun },
        kind: 0,
        n_blocks: 1000,
        block_bytes: 512,
        serial: Some("tiny  "),
        max_blocks: 0,
        knows_capacity_16: true,
        attentions: 1,
        not_ready: None,
    }
}

#[test]
fn every_disk_of_every_target_is_found() {
    let mut units = vec![disk(0, 0), disk(0, 1), disk(0, 300), disk(3, 5), disk(255, 0)];
    (units[1].block_bytes, units[1].serial) = (4096, None);
    (units[2].max_blocks, units[2].attentions) = (64, 7);
    units[3].knows_capacity_16 = false;
    let mut adapter = FakeAdapter::new(&units);
    let found = find_units(&mut adapter, 255, 1 << 20);
    assert!(found.unfinished.is_none() && found.refused.is_empty());
    let geometry = |sector_count, block_bytes, request_bytes| Geometry {
        sector_count,
        block_bytes,
        request_bytes,
        align_bytes: 1,
    };
    let disks: Vec<_> =
        found.disks.iter().map(|disk| (&*disk.name, &*disk.serial, disk.unit.geometry)).collect();
    let expected = [
        ("scsi 0:0", "tiny", geometry(1000, 512, 1 << 20)),
        ("scsi 0:1", "", geometry(8000, 4096, 1 << 20)),
        ("scsi 0:300", "tiny", geometry(1000, 512, 32768)),
        ("scsi 3:5", "tiny", geometry(1000, 512, 1 << 20)),
        ("scsi 255:0", "tiny", geometry(1000, 512, 1 << 20)),
    ];
    assert_eq!(disks, expected);
    for FoundUnit { unit, .. } in &found.disks {
        assert_eq!(Address::from_number(unit.number).number(), unit.number);
    }
    // The size is asked for again; a disk with another block size counts as another disk.
    let unit = found.disks[0].unit;
    adapter.units[0].n_blocks = 77;
    assert_eq!(sector_count(&mut adapter, &unit), Some(77));
    adapter.units[0].block_bytes = 1024;
    assert_eq!(sector_count(&mut adapter, &unit), Some(0));
    // A unit that is gone has no size.
    let gone = adapter.units.remove(0);
    assert_eq!(sector_count(&mut adapter, &unit), Some(0));
    adapter.units.insert(0, gone);
    // Without a list, only the first unit is found.
    adapter.knows_luns = false;
    let names: Vec<_> =
        find_units(&mut adapter, 255, 1 << 20).disks.into_iter().map(|disk| disk.name).collect();
    assert_eq!(names, ["scsi 0:0", "scsi 255:0"]);
    // Targets beyond the last one are not tried.
    assert_eq!(find_units(&mut adapter, 3, 1 << 20).disks.len(), 1);
}

#[test]
fn what_is_no_disk_is_refused_by_a_line() {
    let mut units = vec![disk(0, 0), disk(1, 0), disk(2, 0), disk(3, 0), disk(4, 0), disk(5, 0), disk(6, 0)];
    units[0].kind = 5;
    units[1].kind = 0x7f;
    units[2].not_ready = Some([0x3a, 1]);
    units[3].not_ready = Some([0x04, 2]);
    units[4].block_bytes = 520;
    (units[5].block_bytes, units[5].max_blocks) = (65536, 1);
    units[6].kind = 13;
    let found = find_units(&mut FakeAdapter::new(&units), 7, 4096);
    assert!(found.disks.is_empty() && found.unfinished.is_none());
    let lines: Vec<_> =
        found.refused.iter().map(|(name, what, reason)| format!("{what} at {name}: {reason}")).collect();
    let expected = [
        "a SCSI CD-ROM drive at scsi 0:0: models are read from disks only",
        "a SCSI disk at scsi 2:0: there is no medium in it",
        "a SCSI disk at scsi 3:0: it is not ready: sense 2/04/02",
        "a SCSI disk at scsi 4:0: its blocks have 520 bytes; expected a power of two from 512 to 65536",
        "a SCSI disk at scsi 5:0: its blocks have 65536 bytes, more than a command transfers",
        "a SCSI device at scsi 6:0: models are read from disks only",
    ];
    assert_eq!(lines, expected);
    // A unit that is not ready still exists, since a medium can be removed.
    assert!(found.may_have("scsi 3:0") && !found.may_have("scsi 2:0"));
}

#[test]
fn an_adapter_that_does_not_answer_is_not_waited_for_again() {
    let mut adapter = FakeAdapter::new(&[disk(0, 0), disk(1, 0)]);
    adapter.silent_from = 1;
    let found = find_units(&mut adapter, 255, 1 << 20);
    assert_eq!((found.disks.len(), found.unfinished), (1, Some(SILENT)));
    assert!(adapter.n_commands < 10, "{} commands", adapter.n_commands);
    // A unit with endless changes is asked only a few times.
    let mut adapter = FakeAdapter::new(&[disk(0, 0)]);
    adapter.units[0].attentions = usize::MAX;
    let found = find_units(&mut adapter, 0, 1 << 20);
    assert_eq!((found.disks.len(), &*found.refused[0].2), (0, "it is not ready: sense 6/29/00"));
    assert!(adapter.n_commands < 20, "{} commands", adapter.n_commands);
}

#[test]
fn a_unit_that_fails_is_not_taken_for_absent() {
    let names = |found: &Units| -> Vec<_> { found.disks.iter().map(|disk| disk.name.clone()).collect() };
    for (refusal, says) in [
        (Refusal::Busy, "it stays busy"),
        (Refusal::Failed, "it does not say what it is: its commands fail"),
        (CHECK(4, [0x44, 0]), "it does not say what it is: sense 4/44/00"),
    ] {
        let mut adapter = FakeAdapter::new(&[disk(0, 0), disk(1, 0), disk(2, 0)]);
        adapter.failing = Some((1, refusal));
        let found = find_units(&mut adapter, 255, 4096);
        assert_eq!((names(&found), found.unfinished), (vec!["scsi 0:0".into(), "scsi 2:0".into()], None));
        let [(name, what, reason)] = &found.refused[..] else { panic!("{:?}", found.refused) };
        assert_eq!((&**name, *what, &**reason), ("scsi 1:0", "a SCSI unit", says));
        assert!(found.may_have("scsi 1:0") && found.may_have("scsi 2:0") && !found.may_have("scsi 1:00"));
        // A busy unit is given time, beginning with 10 ms.
        assert_eq!(adapter.now_us > 1_000_000, refusal == Refusal::Busy, "{} us", adapter.now_us);
        // A target that does not list its units may still have the earlier ones.
        adapter.knows_luns = false;
        adapter.failing = Some((1, Refusal::Failed));
        let found = find_units(&mut adapter, 255, 4096);
        assert_eq!(&*found.refused[0].0, "scsi 1:");
        assert!(found.may_have("scsi 1:7") && !found.may_have("scsi 17:0"));
    }
    // Absent units are not failures; an adapter on which everything fails is given up.
    let mut adapter = FakeAdapter::new(&[disk(0, 0)]);
    adapter.failing = Some((0, Refusal::NoUnit));
    let found = find_units(&mut adapter, 255, 4096);
    assert!(found.unfinished.is_none() && found.refused.is_empty() && !found.may_have("scsi 0:0"));
}

/// Like units that another host has reserved, next to some that it has not.
#[test]
fn many_units_that_fail_do_not_hide_the_others() {
    let mut units: Vec<_> = (0..20).map(|lun| disk(0, lun)).collect();
    units.push(disk(1, 0));
    let mut adapter = FakeAdapter::new(&units);
    (adapter.failing, adapter.is_reserved) = (Some((0, Refusal::Failed)), true);
    let found = find_units(&mut adapter, 255, 4096);
    assert_eq!((found.disks.len(), found.refused.len(), found.unfinished), (1, 20, None));
    assert_eq!(found.refused[19].1, "a SCSI disk");
    assert!(found.may_have("scsi 0:19") && !found.may_have("scsi 0:20"));
    // An adapter on which everything fails is given up, and the result says so.
    adapter.is_reserved = false;
    let found = find_units(&mut adapter, 255, 4096);
    assert_eq!((found.disks.len(), found.refused.len()), (0, 8));
    assert_eq!(found.unfinished, Some("it is not searched further: all that it is asked fails"));
    // Units that their target reports as absent are not failures.
    adapter.failing = Some((0, CHECK(5, [0x25, 0])));
    let found = find_units(&mut adapter, 255, 4096);
    assert_eq!((found.disks.len(), found.refused.len(), found.unfinished), (1, 0, None));
}

#[test]
fn a_search_has_an_end() {
    let units: Vec<_> = (0..=255).map(|target| disk(target, 0)).collect();
    let mut adapter = FakeAdapter::new(&units);
    adapter.takes_us = 200_000;
    let found = find_units(&mut adapter, 255, 4096);
    assert!(found.unfinished == Some(SLOW) && !found.disks.is_empty() && found.may_have("scsi 255:0"));
    assert!(adapter.now_us < SEARCH_US + 10_000_000, "{} us", adapter.now_us);
    // Also if one target has all the units.
    let units: Vec<_> = (0..64).map(|lun| disk(0, lun)).collect();
    let mut adapter = FakeAdapter::new(&units);
    adapter.takes_us = 200_000;
    let found = find_units(&mut adapter, 255, 4096);
    assert!(found.unfinished == Some(SLOW) && !found.disks.is_empty() && found.may_have("scsi 0:63"));
    assert!(adapter.now_us < SEARCH_US + 10_000_000, "{} us", adapter.now_us);
}

#[test]
fn a_unit_that_may_have_changed_is_asked_before_it_reads_on() {
    let mut adapter = FakeAdapter::new(&[disk(0, 0)]);
    let unit = find_units(&mut adapter, 0, 4096).disks[0].unit;
    for code in [[0x28, 0], [0x2a, 9], [0x3f, 0x0e]] {
        assert!(CHECK(Sense::UNIT_ATTENTION, code).is_change());
    }
    assert!(!CHECK(Sense::UNIT_ATTENTION, [0x29, 0]).is_change() && !CHECK(5, [0x2a, 0]).is_change());
    assert!(still_has(&mut adapter, &unit, 1000) && !still_has(&mut adapter, &unit, 1001));
    adapter.units[0].n_blocks = 500;
    assert!(still_has(&mut adapter, &unit, 500) && !still_has(&mut adapter, &unit, 501));
    adapter.units[0].block_bytes = 4096;
    assert!(!still_has(&mut adapter, &unit, 1));
}

#[test]
fn requests_and_responses_are_virtios() {
    let bytes = request(Address { target: 7, lun: 0x123 }, &read(0x0102_0304_0506, 0x2000));
    assert_eq!(bytes[..8], [1, 7, 0x41, 0x23, 0, 0, 0, 0]);
    assert_eq!(bytes[8..19], [0; 11]);
    assert_eq!(bytes[19..35], [0x88, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0x20, 0, 0, 0]);
    assert_eq!(bytes[35..], [0; 16]);
    let response = |sense_bytes: u32, residual: u32, status: u8, response: u8, sense: &[u8]| {
        let mut bytes = [0; 108];
        bytes[..4].copy_from_slice(&sense_bytes.to_le_bytes());
        bytes[4..8].copy_from_slice(&residual.to_le_bytes());
        (bytes[10], bytes[11]) = (status, response);
        bytes[12..12 + sense.len()].copy_from_slice(sense);
        bytes
    };
    assert_eq!(outcome(&response(0, 0, 0, 0, &[]), 512), Ok(512));
    assert_eq!(outcome(&response(0, 12, 0, 0, &[]), 512), Ok(500));
    assert_eq!(outcome(&response(0, 513, 0, 0, &[]), 512), Err(Refusal::Failed));
    assert_eq!(outcome(&response(0, 0, 0, 3, &[]), 512), Err(Refusal::NoUnit));
    assert_eq!(outcome(&response(0, 0, 8, 0, &[]), 512), Err(Refusal::Busy));
    assert_eq!(outcome(&NO_RESPONSE, 512), Err(Refusal::Failed), "nothing has been written");
    let fixed = [0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 9];
    let described = [0x72, 6, 0x2a, 9, 0, 0, 0, 0];
    for sense in [&fixed[..], &described] {
        let refusal = outcome(&response(sense.len() as u32, 0, 2, 0, sense), 0).unwrap_err();
        assert_eq!(refusal, CHECK(6, [0x2a, 9]));
        assert!(refusal.is_passing());
    }
    // Whatever lengths the device reports.
    assert_eq!(outcome(&response(u32::MAX, 0, 2, 0, &fixed), 0), Err(CHECK(6, [0x2a, 9])));
    assert_eq!(outcome(&response(0, 0, 2, 0, &fixed), 0), Err(CHECK(0, [0, 0])));
}

/// An adapter that answers with random data.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u8
    }
}

impl Carrier for Noise {
    fn execute(&mut self, _: Address, command: &Cdb, data: &mut [u8]) -> Result<usize, Refusal> {
        if self.next() < 16 {
            return Err(CHECK(self.next() & 15, [self.next(), 0]));
        }
        data.iter_mut().for_each(|byte| *byte = if self.next() < 128 { 0 } else { self.next() });
        match command[0] {
            operation::INQUIRY if command[1] == 1 => data[1] = command[2],
            operation::INQUIRY => data[0] &= 1,
            _ if self.next() < 128 && data.len() >= 12 => data[8..12].copy_from_slice(&[0, 0, 16, 0]),
            _ => {}
        }
        Ok(usize::from(self.next()).min(data.len()))
    }

    fn pause(&mut self, _: u64) {}

    fn now_us(&self) -> u64 {
        0
    }
}

#[test]
fn any_answers_have_a_meaning() {
    let mut n_disks = 0;
    for seed in 0..200 {
        let found = find_units(&mut Noise(seed), 3, 1 << 20);
        n_disks += found.disks.len();
        for FoundUnit { unit: Unit { geometry, .. }, .. } in found.disks {
            assert!(geometry.block_bytes.is_power_of_two() && (512..=65536).contains(&geometry.block_bytes));
            assert!(
                geometry.request_bytes.is_multiple_of(geometry.block_bytes) && geometry.request_bytes > 0
            );
        }
    }
    assert!(n_disks > 100, "{n_disks} disks");
}
