use super::*;
use crate::llm::host;
use spin::Mutex;
use std::{cell::Cell, sync::Arc, vec};

thread_local! {
    static NOW_US: Cell<u64> = const { Cell::new(0) };
}

/// A namespace: number of blocks, blocks of 2^shift bytes, metadata.
#[derive(Clone, Copy)]
struct Namespace {
    id: u32,
    n_blocks: u64,
    shift: u8,
    metadata_bytes: u16,
}

/// A simulated controller that behaves as the specification says. Byte `n` of a namespace is a function of `n`.
struct Model {
    capabilities: u64,
    configuration: u32,
    status: u32,
    admin_lengths: u32,
    /// For each pair, the addresses of the queues of commands and of completions.
    bases: [[u64; 2]; 2],
    lengths: [[u16; 2]; 2],
    heads: [u16; 2],
    tails: [u16; 2],
    phases: [bool; 2],
    max_transfer_shift: u8,
    namespaces: Vec<Namespace>,
    knows_active_list: bool,
    /// Whether it answers no commands, or no admin commands.
    is_silent: bool,
    is_stuck: bool,
    never_ready: bool,
    is_gone: bool,
    /// The identifier that the next answer has instead of its own.
    lie: Option<u16>,
    bad_block: Option<u64>,
    /// How long an admin command takes.
    takes_us: u64,
    /// Namespaces that cannot be identified, and the status that they return.
    unknown: Vec<(u32, u16)>,
    /// When it was told to shut down, and how long that takes; `u64::MAX` means for ever.
    shut_down_us: Option<u64>,
    shutdown_takes_us: u64,
    /// The lengths of all reads.
    reads: Vec<usize>,
    /// The flags with which its queue of completions was created, and the masked interrupts.
    completions_flags: u32,
    masked: u32,
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Model>>);

fn byte_at(offset: u64) -> u8 {
    (offset ^ offset >> 8 ^ offset >> 16) as u8
}

fn contents(offset: u64, length: usize) -> Vec<u8> {
    (offset..offset + length as u64).map(byte_at).collect()
}

fn memory<T: Copy>(address: u64) -> T {
    // SAFETY: the driver has passed this address to the device for this purpose, so the memory is valid.
    unsafe { core::ptr::with_exposed_provenance::<T>(address as usize).read_unaligned() }
}

fn set_memory<T: Copy>(address: u64, value: T) {
    // SAFETY: the driver has passed this address to the device for this purpose, so the memory is valid.
    unsafe { core::ptr::with_exposed_provenance_mut::<T>(address as usize).write_unaligned(value) }
}

impl Model {
    /// The ranges of memory that a command's data goes to.
    fn parts(command: &Command, length: usize) -> Vec<(u64, usize)> {
        let entry = |word: usize| u64::from(command[word]) | u64::from(command[word + 1]) << 32;
        let (first, second) = (entry(6), entry(8));
        assert!(first.is_multiple_of(4), "PRP entry {first:#x}");
        let mut parts = vec![(first, length.min(4096 - (first % 4096) as usize))];
        let mut rest = length - parts[0].1;
        if rest == 0 {
            return parts;
        }
        if rest <= 4096 {
            assert!(second.is_multiple_of(4096));
            parts.push((second, rest));
            return parts;
        }
        let mut list = second;
        assert!(list.is_multiple_of(8));
        while rest > 0 {
            let mut page: u64 = memory(list);
            if list % 4096 == 4096 - 8 && rest > 4096 {
                list = page;
                page = memory(list);
            }
            assert!(page != 0 && page.is_multiple_of(4096), "PRP entry {page:#x}");
            parts.push((page, rest.min(4096)));
            rest -= rest.min(4096);
            list += 8;
        }
        parts
    }

    fn put(command: &Command, data: &[u8]) {
        let mut data = data;
        for (address, length) in Self::parts(command, data.len()) {
            let (part, rest) = data.split_at(length);
            let place = core::ptr::with_exposed_provenance_mut::<u8>(address as usize);
            // SAFETY: the driver has passed this address to the device for this purpose, so the memory is valid.
            unsafe { place.copy_from_nonoverlapping(part.as_ptr(), length) };
            data = rest;
        }
    }

    fn administer(&mut self, command: &Command) -> u16 {
        const INVALID_FIELD: u16 = 2;
        NOW_US.set(NOW_US.get() + self.takes_us);
        let data = || u64::from(command[6]) | u64::from(command[7]) << 32;
        match (command[0] & 0xff, command[10] & 0xff) {
            (operation::IDENTIFY, 0) => {
                if let Some((_, status)) = self.unknown.iter().find(|(id, _)| *id == command[1]) {
                    return *status;
                }
                let mut page = [0; 4096];
                if let Some(namespace) = self.namespaces.iter().find(|namespace| namespace.id == command[1]) {
                    page[..8].copy_from_slice(&namespace.n_blocks.to_le_bytes());
                    page[26] = 3;
                    page[140..142].copy_from_slice(&namespace.metadata_bytes.to_le_bytes());
                    page[142] = namespace.shift;
                }
                Self::put(command, &page);
            }
            (operation::IDENTIFY, 1) => {
                let mut page = [0; 4096];
                page[4..24].copy_from_slice(b"tiny                ");
                page[77] = self.max_transfer_shift;
                page[516] = 3;
                page[88..92].copy_from_slice(&2_000_000_u32.to_le_bytes());
                Self::put(command, &page);
            }
            (operation::IDENTIFY, 2) if self.knows_active_list => {
                let mut page = [0; 4096];
                for (namespace, place) in self.namespaces.iter().zip(page.chunks_exact_mut(4)) {
                    place.copy_from_slice(&namespace.id.to_le_bytes());
                }
                Self::put(command, &page);
            }
            (operation::SET_FEATURES, 7) => {}
            (operation::CREATE_COMPLETIONS, 1) => {
                self.completions_flags = command[11];
                self.bases[1][1] = data();
                self.lengths[1][1] = (command[10] >> 16) as u16 + 1;
            }
            (operation::CREATE_COMMANDS, 1) => {
                assert!(self.bases[1][1] != 0, "completions come first");
                assert_eq!(command[11], 1 << 16 | 1);
                self.bases[1][0] = data();
                self.lengths[1][0] = (command[10] >> 16) as u16 + 1;
            }
            _ => return INVALID_FIELD,
        }
        0
    }

    fn read(&mut self, command: &Command) -> u16 {
        const OUT_OF_RANGE: u16 = 0x80;
        const UNRECOVERED: u16 = 0x281;
        assert_eq!(command[0] & 0xff, operation::READ);
        let namespace = self.namespaces.iter().find(|namespace| namespace.id == command[1]).unwrap();
        let first = u64::from(command[10]) | u64::from(command[11]) << 32;
        let n_blocks = u64::from(command[12] & 0xffff) + 1;
        if first + n_blocks > namespace.n_blocks {
            return OUT_OF_RANGE;
        }
        if self.bad_block.is_some_and(|bad| (first..first + n_blocks).contains(&bad)) {
            return UNRECOVERED;
        }
        let offset = first << namespace.shift;
        let data = contents(offset, (n_blocks << namespace.shift) as usize);
        assert!(self.max_transfer_shift == 0 || data.len() <= 4096 << self.max_transfer_shift);
        self.reads.push(data.len());
        Self::put(command, &data);
        0
    }

    fn work(&mut self, pair: usize, tail: u16) {
        let [n_commands, n_completions] = self.lengths[pair];
        assert!(tail < n_commands);
        while self.heads[pair] != tail && !self.is_silent && !(pair == 0 && self.is_stuck) {
            let command: Command = memory(self.bases[pair][0] + 64 * u64::from(self.heads[pair]));
            self.heads[pair] = (self.heads[pair] + 1) % n_commands;
            let status = if pair == 0 { self.administer(&command) } else { self.read(&command) };
            let id = self.lie.take().unwrap_or((command[0] >> 16) as u16);
            let last = u32::from(id) | u32::from(self.phases[pair]) << 16 | u32::from(status) << 17;
            let place = self.bases[pair][1] + 16 * u64::from(self.tails[pair]);
            set_memory(place, [0, 0, (pair as u32) << 16 | u32::from(self.heads[pair]), last]);
            self.tails[pair] = (self.tails[pair] + 1) % n_completions;
            self.phases[pair] ^= self.tails[pair] == 0;
        }
    }
}

impl Registers for Fake {
    fn read(&self, offset: usize) -> u32 {
        let model = self.0.lock();
        match offset {
            _ if model.is_gone => NOT_THERE,
            CAP => model.capabilities as u32,
            0x04 => (model.capabilities >> 32) as u32,
            CC => model.configuration,
            CSTS => match model.shut_down_us {
                Some(since) if NOW_US.get() - since >= model.shutdown_takes_us => {
                    model.status | SHUTDOWN_DONE
                }
                _ => model.status,
            },
            _ => panic!("register {offset:#x} is read"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut model = self.0.lock();
        let model = &mut *model;
        let set_half =
            |base: &mut u64, shift: u32| *base = *base & !(0xffff_ffff << shift) | u64::from(value) << shift;
        match offset {
            INTMS => model.masked = value,
            AQA => model.admin_lengths = value,
            ASQ => set_half(&mut model.bases[0][0], 0),
            0x2c => set_half(&mut model.bases[0][0], 32),
            ACQ => set_half(&mut model.bases[0][1], 0),
            0x34 => set_half(&mut model.bases[0][1], 32),
            CC if value & SHUTDOWN != 0 && !model.is_gone => {
                assert_eq!(value, model.configuration | SHUTDOWN_NORMAL);
                model.shut_down_us = Some(NOW_US.get());
            }
            CC if value & ENABLE != 0 => {
                assert_eq!(value & 0xff_fff0, ENTRY_SIZES & 0xff_fff0);
                let lengths = [model.admin_lengths & 0xfff, model.admin_lengths >> 16];
                model.lengths[0] = lengths.map(|length| length as u16 + 1);
                (model.heads, model.tails, model.phases) = ([0; 2], [0; 2], [true; 2]);
                model.configuration = value;
                model.status = if model.never_ready { 0 } else { READY };
            }
            CC => {
                model.configuration = value;
                if !model.never_ready {
                    model.status = 0;
                }
            }
            // The stride is 8 bytes.
            0x1000 => model.work(0, value as u16),
            0x1010 => model.work(1, value as u16),
            0x1008 | 0x1018 => {}
            _ => panic!("register {offset:#x} is written"),
        }
    }
}

fn surroundings() -> Surroundings {
    NOW_US.set(0);
    Surroundings {
        clock_us: || {
            NOW_US.set(NOW_US.get() + 1);
            NOW_US.get()
        },
        nap: || NOW_US.set(NOW_US.get() + 100),
        feed_watchdog: || {},
        is_interrupted: || false,
        pool: host::pool(64),
    }
}

fn namespace(id: u32, shift: u8) -> Namespace {
    Namespace { id, n_blocks: ((24 << 20) >> shift).max(1), shift, metadata_bytes: 0 }
}

fn model(namespaces: &[Namespace]) -> Fake {
    Fake(Arc::new(Mutex::new(Model {
        // 33 entries, 2 s, a doorbell every 8 bytes, the NVM command set.
        capabilities: 32 | 4 << 24 | 1 << 32 | 1 << 37,
        configuration: 0,
        status: 0,
        admin_lengths: 0,
        bases: [[0; 2]; 2],
        lengths: [[0; 2]; 2],
        heads: [0; 2],
        tails: [0; 2],
        phases: [true; 2],
        max_transfer_shift: 0,
        namespaces: namespaces.to_vec(),
        knows_active_list: true,
        is_silent: false,
        is_stuck: false,
        never_ready: false,
        is_gone: false,
        lie: None,
        bad_block: None,
        takes_us: 0,
        unknown: Vec::new(),
        shut_down_us: None,
        shutdown_takes_us: 0,
        reads: Vec::new(),
        completions_flags: 0,
        masked: 0,
    })))
}

/// The queue is contiguous; it interrupts by vector 0 only if there is a handler.
#[test]
fn it_interrupts_where_messages_are_heeded() {
    for (has_messages, flags, masked) in [(false, 1, u32::MAX), (true, 3, 0)] {
        let fake = model(&[namespace(1, 9)]);
        Nvme::new(fake.clone(), has_messages, surroundings(), u64::MAX).unwrap();
        let model = fake.0.lock();
        assert_eq!((model.completions_flags, model.masked), (flags, masked));
    }
}

fn start(fake: &Fake) -> Result<Nvme<Fake>, InitError> {
    Nvme::new(fake.clone(), false, surroundings(), u64::MAX)
}

/// Makes one request; returns whether it succeeded.
fn read(
    nvme: &mut Nvme<Fake>,
    tag: usize,
    unit: &Unit,
    first: u64,
    place: &mut [u8],
) -> Result<bool, Broken> {
    // SAFETY: the controller either answers at once, or is stopped before the memory is freed.
    unsafe { nvme.start(tag, unit, first, NonNull::from(&mut *place)) }?;
    match nvme.finish()? {
        Some((finished, succeeded)) if finished == tag => Ok(succeeded),
        other => panic!("{other:?} for {tag}"),
    }
}

#[test]
fn namespaces_are_disks_with_their_blocks_and_serial_numbers() {
    let mut namespaces =
        vec![namespace(1, 9), namespace(2, 12), namespace(5, 13), namespace(7, 9), namespace(8, 30)];
    namespaces[3].metadata_bytes = 8;
    let fake = model(&namespaces);
    fake.0.lock().max_transfer_shift = 5;
    let mut nvme = start(&fake).unwrap();
    assert_eq!(nvme.max_in_flight(), 16);
    let units = nvme.units();
    let found: Vec<_> =
        units.disks.iter().map(|disk| (&*disk.name, &*disk.serial, disk.unit.geometry)).collect();
    let geometry = |block_bytes| Geometry {
        sector_count: 24 << 11,
        block_bytes,
        request_bytes: 128 << 10,
        align_bytes: 4,
    };
    let expected = [
        ("namespace 1", "tiny", geometry(512)),
        ("namespace 2", "tiny-2", geometry(4096)),
        ("namespace 5", "tiny-5", geometry(8192)),
    ];
    assert_eq!(found, expected);
    let refused: Vec<_> =
        units.refused.iter().map(|(name, _, reason)| std::format!("{name}: {reason}")).collect();
    assert!(refused[0].starts_with("namespace 7: its blocks have 8 bytes of metadata"), "{refused:?}");
    assert!(refused[1].starts_with("namespace 8: its blocks have 2^30 bytes"), "{refused:?}");
    // Sizes are asked for again; a disk with another block size counts as another disk.
    let unit = units.disks[0].unit;
    fake.0.lock().namespaces[0].n_blocks = 9;
    assert_eq!(nvme.sector_count(&unit), Some(9));
    fake.0.lock().namespaces[0].shift = 12;
    assert_eq!(nvme.sector_count(&unit), Some(0));
    fake.0.lock().namespaces.clear();
    assert_eq!(nvme.sector_count(&unit), Some(0));
    // Without the list, all numbers up to the controller's maximum are tried.
    let fake = model(&[namespace(2, 9), namespace(3, 12)]);
    fake.0.lock().knows_active_list = false;
    let names: Vec<_> = start(&fake).unwrap().units().disks.into_iter().map(|disk| disk.name).collect();
    assert_eq!(names, ["namespace 2", "namespace 3"]);
}

/// Every kind of page list, in queues that wrap around many times.
#[test]
fn reads_of_any_length_reach_any_place() {
    for shift in [9, 12] {
        let fake = model(&[namespace(1, shift)]);
        let mut nvme = start(&fake).unwrap();
        let unit = nvme.units().disks[0].unit;
        assert_eq!(unit.geometry.request_bytes, 4 << 20);
        let mut memory = vec![0; 1031 * PAGE_BYTES];
        let skip = memory.as_ptr().align_offset(PAGE_BYTES);
        let memory = &mut memory[skip..];
        let block_bytes = 1_usize << shift;
        let expected = contents(3 << shift, 4 << 20);
        let lengths = [1, 2, 3, 7, 8, 9, 16, 17, 511, 512, 513, 1021, 1024];
        for (tag, length) in lengths.into_iter().flat_map(|n| [n * 4096, n * block_bytes]).enumerate() {
            let starts: &[usize] = if length < 1 << 20 { &[0, 4, 2048, 4092] } else { &[0, 4] };
            for &start in starts {
                let place = &mut memory[start..start + length];
                place.fill(0);
                assert_eq!(read(&mut nvme, tag % 16, &unit, 3, place), Ok(true));
                assert!(*place == expected[..length], "{length} bytes at {start}");
            }
        }
        let one = &mut memory[..block_bytes];
        assert_eq!(read(&mut nvme, 0, &unit, 1 << 40, one), Ok(false), "beyond the end");
        fake.0.lock().bad_block = Some(77);
        assert_eq!(read(&mut nvme, 0, &unit, 77, one), Ok(false));
        assert_eq!(read(&mut nvme, 0, &unit, 78, one), Ok(true));
        assert!(!nvme.is_broken());
    }
}

#[test]
fn a_command_has_no_more_than_the_controller_transfers() {
    let fake = model(&[namespace(1, 9)]);
    fake.0.lock().max_transfer_shift = 1;
    let mut nvme = start(&fake).unwrap();
    let unit = nvme.units().disks[0].unit;
    assert_eq!(unit.geometry.request_bytes, 8192);
    let mut place = vec![0_u32; 4096];
    // SAFETY: every bit pattern is a valid number.
    let place = unsafe { place.align_to_mut::<u8>().1 };
    assert_eq!(read(&mut nvme, 0, &unit, 0, &mut place[..8192]), Ok(true));
    assert_eq!(read(&mut nvme, 0, &unit, 0, &mut place[..8192 + 512]), Err(Broken));
    assert_eq!(read(&mut nvme, 16, &unit, 0, &mut place[..512]), Err(Broken));
    // For every value of the limit.
    for shift in 0..=255 {
        fake.0.lock().max_transfer_shift = shift;
        let nvme = start(&fake).unwrap();
        assert_eq!(
            nvme.request_bytes,
            if (1..10).contains(&shift) { 4096 << shift } else { 4 << 20 },
            "{shift}"
        );
    }
}

#[test]
fn a_controller_that_does_not_start_says_why() {
    let fake = model(&[]);
    let error = |fake: &Fake| start(fake).err().unwrap();
    let with = |change: &dyn Fn(&mut Model)| {
        let fake = model(&[]);
        change(&mut fake.0.lock());
        fake
    };
    assert!(start(&fake).is_ok());
    assert_eq!(error(&with(&|model| model.is_gone = true)), InitError::NotThere);
    assert_eq!(error(&with(&|model| model.capabilities &= !(1 << 37))), InitError::NoNvm);
    assert_eq!(error(&with(&|model| model.capabilities |= 1 << 48)), InitError::PageSize);
    // The driver waits as long as the controller says that it may take.
    let not_ready = error(&with(&|model| model.never_ready = true));
    assert_eq!(not_ready, InitError::NotReady { status: 0, waited_ms: 2000, limit_ms: 2000 });
    assert!((2_000_000..5_000_000).contains(&NOW_US.get()), "{}", NOW_US.get());
    let stays_ready = with(&|model| (model.never_ready, model.status) = (true, READY));
    assert_eq!(error(&stays_ready), InitError::NotReady { status: READY, waited_ms: 2000, limit_ms: 2000 });
    // Others may be waiting for their turn.
    for dead in [with(&|model| model.never_ready = true), stays_ready] {
        let error = Nvme::new(dead, false, surroundings(), 500_000).err().unwrap();
        assert!(matches!(error, InitError::NotReady { waited_ms: 500, limit_ms: 2000, .. }), "{error}");
        assert!(error.to_string().ends_with("; a rescan waits longer"), "{error}");
        assert!((500_000..1_200_000).contains(&NOW_US.get()), "{}", NOW_US.get());
    }
    assert_eq!(error(&with(&|model| model.is_silent = true)), InitError::Command(Fault::Silent));
    assert_eq!(error(&with(&|model| model.lie = Some(999))), InitError::Command(Fault::Broken));
    // The minimum of two entries, which allows one command at a time.
    let short = with(&|model| model.capabilities = model.capabilities & !0xffff | 1);
    assert_eq!(start(&short).unwrap().max_in_flight(), 1);
}

#[test]
fn answers_to_admin_commands_that_come_late_are_not_taken_for_others() {
    let fake = model(&[namespace(1, 9)]);
    let mut nvme = start(&fake).unwrap();
    let unit = nvme.units().disks[0].unit;
    fake.0.lock().is_stuck = true;
    assert_eq!(nvme.sector_count(&unit), None);
    let waited_us = NOW_US.get();
    assert!(waited_us > ADMIN_US);
    assert_eq!(nvme.units().unfinished, Some(SILENT));
    assert!(NOW_US.get() - waited_us < 1000, "nobody waits twice");
    let mut place = [0_u32; 128];
    // SAFETY: every bit pattern is a valid number.
    assert_eq!(read(&mut nvme, 0, &unit, 0, unsafe { place.align_to_mut().1 }), Ok(true));
    fake.0.lock().is_stuck = false;
    fake.0.lock().work(0, nvme.last_id % 33);
    assert_eq!(nvme.units().disks.len(), 1);
}

#[test]
fn a_controller_is_stopped_and_started_again() {
    let fake = model(&[namespace(1, 9)]);
    let mut nvme = start(&fake).unwrap();
    let unit = nvme.units().disks[0].unit;
    let mut place = [0_u32; 128];
    // SAFETY: every bit pattern is a valid number.
    let place: &mut [u8] = unsafe { place.align_to_mut().1 };
    fake.0.lock().status = READY | FATAL;
    assert!(nvme.is_broken());
    assert_eq!(nvme.halt(), Ok(()));
    assert_eq!(read(&mut nvme, 0, &unit, 0, place), Err(Broken));
    assert_eq!((nvme.finish(), nvme.restart()), (Err(Broken), Ok(())));
    assert!(!nvme.is_broken());
    assert_eq!(read(&mut nvme, 0, &unit, 0, place), Ok(true));
    // A controller that has answered something that it was not asked is not used before it is restarted.
    fake.0.lock().lie = Some(999);
    assert_eq!(nvme.sector_count(&unit), None);
    assert!(nvme.is_broken());
    fake.0.lock().lie = None;
    assert_eq!((nvme.halt(), nvme.restart()), (Ok(()), Ok(())));
    assert!(!nvme.is_broken());
    assert_eq!(read(&mut nvme, 0, &unit, 0, place), Ok(true));
    // A disk whose commands now transfer less does not count as the same.
    fake.0.lock().max_transfer_shift = 1;
    assert_eq!(nvme.halt(), Ok(()));
    assert_eq!(nvme.restart(), Err(Broken));
    // A controller that does not stop keeps its queues, its page and the lists.
    let fake = model(&[namespace(1, 9)]);
    let mut nvme = start(&fake).unwrap();
    let unit = nvme.units().disks[0].unit;
    assert_eq!(read(&mut nvme, 3, &unit, 0, place), Ok(true));
    (fake.0.lock().never_ready, fake.0.lock().status) = (true, READY);
    assert_eq!(nvme.halt(), Err((2 + 2 + 1 + 3) * PAGE_BYTES));
    assert_eq!(nvme.restart(), Err(Broken));
    // A controller that is gone writes to no memory.
    let fake = model(&[]);
    let mut nvme = start(&fake).unwrap();
    fake.0.lock().is_gone = true;
    assert!(nvme.is_broken());
    assert_eq!(nvme.halt(), Ok(()));
}

#[test]
fn a_controller_is_told_before_power_is_cut() {
    for takes_us in [0, 1_500_000, u64::MAX] {
        let fake = model(&[namespace(1, 9)]);
        // The power key has been pressed.
        let surroundings = Surroundings { is_interrupted: || true, ..surroundings() };
        let nvme = Nvme::new(fake.clone(), false, surroundings, u64::MAX).unwrap();
        fake.0.lock().shutdown_takes_us = takes_us;
        let before_us = NOW_US.get();
        drop(crate::drivers::requests::controller::Shared::new(alloc::boxed::Box::new(nvme)));
        assert!(fake.0.lock().shut_down_us.is_some());
        assert_eq!(fake.0.lock().configuration & ENABLE, 0);
        // It says that it takes up to two seconds.
        let waited_us = NOW_US.get() - before_us;
        assert!(waited_us >= takes_us.min(2_000_000) && waited_us < 2_100_000, "{waited_us}");
    }
    // A controller that is stopped is not shut down again.
    let fake = model(&[namespace(1, 9)]);
    let mut nvme = start(&fake).unwrap();
    assert_eq!(nvme.halt(), Ok(()));
    nvme.shut_down();
    assert_eq!(fake.0.lock().shut_down_us, None);
}

#[test]
fn a_namespace_that_cannot_be_identified_is_not_taken_for_absent() {
    let fake = model(&[namespace(1, 9), namespace(2, 9)]);
    let mut nvme = start(&fake).unwrap();
    fake.0.lock().unknown = vec![(2, 6)];
    let units = nvme.units();
    assert_eq!((units.disks.len(), units.unfinished), (1, None));
    let (name, what, reason) = &units.refused[0];
    assert_eq!((&**name, *what), ("namespace 2", "an NVMe namespace"));
    assert_eq!(reason, "its admin command 0x6 fails with status 0x6");
    // A namespace that the controller does not have counts as absent: without a list, all numbers are tried.
    fake.0.lock().knows_active_list = false;
    fake.0.lock().unknown = vec![(2, 0x0b)];
    let absent = nvme.units();
    assert!(absent.refused.is_empty() && absent.may_have("namespace 1") && !absent.may_have("namespace 2"));
    // If the controller is slow, not all namespaces are examined.
    let many: Vec<_> = (1..=60).map(|id| namespace(id, 9)).collect();
    let fake = model(&many);
    let mut slow = start(&fake).unwrap();
    fake.0.lock().takes_us = 1_000_000;
    let found = slow.units();
    assert!((8..14).contains(&found.disks.len()), "{}", found.disks.len());
    assert_eq!(found.unfinished, Some(SLOW));
    assert!(units.may_have("namespace 1") && units.may_have("namespace 2") && !units.may_have("namespace 3"));
}

/// Whatever a controller reports about its namespaces, each is either used or rejected.
#[test]
fn any_structure_has_a_meaning() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    for _ in 0..300 {
        let mut data = [0_u8; 4096];
        data.iter_mut().for_each(|byte| *byte = random());
        if random() < 128 {
            data[128..384].chunks_mut(4).for_each(|format| format[..2].fill(0));
        }
        if let Some(Ok(geometry)) = identify::geometry(&data, 4 << 20) {
            assert!(geometry.block_bytes.is_power_of_two() && (512..=65536).contains(&geometry.block_bytes));
            assert!(
                geometry.request_bytes.is_multiple_of(geometry.block_bytes) && geometry.request_bytes > 0
            );
        }
        assert!(identify::active_namespaces(&data).len() <= 64);
        identify::Controller::new(&data);
    }
    assert_eq!(identify::geometry(&[], 4096), None);
    assert_eq!(identify::all_namespaces(u32::MAX).len(), 64);
}
