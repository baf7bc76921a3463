//! A simulated service and redistributor, which behave as the architecture says, for tests of the driver.

use super::*;
use spin::Mutex;
use std::{collections::BTreeMap, sync::Arc, vec};

const ADDRESS: u64 = 0x808_0000;
const REDISTRIBUTOR_ADDRESS: u64 = 0x80a_0000;

/// The state and the properties of the service.
struct Model {
    registers: BTreeMap<usize, u64>,
    redistributor: BTreeMap<usize, u64>,
    /// GICR_CTLR of another core's redistributor.
    other_control: u32,
    /// For each GITS_BASER, the bits that cannot be changed.
    fixed: [u64; 2],
    has_two_levels: bool,
    sees_caches: bool,
    never_stops: bool,
    never_disables: bool,
    /// The number of a command that it does not carry out.
    stalls_at: Option<u64>,
    commands: Vec<[u64; 4]>,
}

#[derive(Clone)]
struct Service(Arc<Mutex<Model>>);

struct Redistributor(Arc<Mutex<Model>>);

/// Another core's redistributor.
struct Other(Arc<Mutex<Model>>);

fn memory<T: Copy>(address: u64) -> T {
    // SAFETY: the driver has passed this address to the device for this purpose, so the memory is valid.
    unsafe { core::ptr::with_exposed_provenance::<T>(address as usize).read_unaligned() }
}

const ADDRESS_BITS: u64 = 0xffff_ffff_f000;

impl Model {
    fn base(&self, value: u64) -> u64 {
        if self.sees_caches { value } else { value & !(3 << 10) }
    }

    /// Carries out the commands that have been added to the queue.
    fn work(&mut self, end: u64) {
        let start = self.registers[&GITS_CREADR];
        let queue = self.registers[&GITS_CBASER] & ADDRESS_BITS;
        assert!(queue.is_multiple_of(0x1_0000));
        let mut at = start;
        while at != end && self.registers[&GITS_CTLR] & 1 != 0 {
            let command: [u64; 4] = memory(queue + at);
            if self.stalls_at == Some(command[0] & 0xff) {
                at |= 1;
                break;
            }
            self.commands.push(command);
            at = (at + 32) % 4096;
        }
        self.registers.insert(GITS_CREADR, at);
    }
}

impl Block for Service {
    fn read(&self, offset: usize) -> u32 {
        self.read_u64(offset) as u32
    }

    fn write(&mut self, offset: usize, value: u32) {
        assert_eq!(offset, GITS_CTLR);
        let mut model = self.0.lock();
        let quiet = if value & 1 == 0 && !model.never_stops { QUIESCENT } else { 0 };
        model.registers.insert(offset, u64::from(value & 1 | quiet));
    }

    fn read_u64(&self, offset: usize) -> u64 {
        let model = self.0.lock();
        model.registers.get(&offset).copied().unwrap_or(0)
    }

    fn write_u64(&mut self, offset: usize, value: u64) {
        let mut model = self.0.lock();
        match offset {
            GITS_CWRITER => {
                if value == 0 {
                    model.registers.insert(GITS_CREADR, 0);
                }
                model.work(value);
            }
            GITS_CBASER => {
                let value = model.base(value);
                model.registers.insert(offset, value);
            }
            // Only the tables for devices and for collections exist.
            0x100 | 0x108 => {
                let index = (offset - 0x100) / 8;
                const FIXED: u64 = 7 << 56 | 0x1f << 48;
                let indirect = if model.has_two_levels && index == 0 { 0 } else { 1 << 62 };
                let pages = model.fixed[index] & 3 << 8;
                let free = !(FIXED | indirect | if pages != 0 { 3 << 8 } else { 0 });
                let value = model.base(value) & free | model.fixed[index];
                model.registers.insert(offset, value);
            }
            0x110..0x140 => {}
            _ => panic!("register {offset:#x} of the service is written"),
        }
    }
}

impl Block for Redistributor {
    fn read(&self, offset: usize) -> u32 {
        self.read_u64(offset) as u32
    }

    fn write(&mut self, offset: usize, value: u32) {
        assert_eq!(offset, GICR_CTLR);
        let mut model = self.0.lock();
        let stays = if model.never_disables { ENABLE_LPIS } else { 0 };
        model.redistributor.insert(offset, (value | stays).into());
    }

    fn read_u64(&self, offset: usize) -> u64 {
        self.0.lock().redistributor.get(&offset).copied().unwrap_or(0)
    }

    fn write_u64(&mut self, offset: usize, value: u64) {
        let mut model = self.0.lock();
        assert_eq!(model.redistributor[&GICR_CTLR] & u64::from(ENABLE_LPIS), 0, "tables move under it");
        assert_eq!(model.other_control & ENABLE_LPIS, 0, "tables move under another one");
        let value = model.base(value);
        model.redistributor.insert(offset, value);
    }
}

impl Block for Other {
    fn read(&self, offset: usize) -> u32 {
        assert_eq!(offset, GICR_CTLR);
        self.0.lock().other_control
    }

    fn write(&mut self, offset: usize, value: u32) {
        assert_eq!(offset, GICR_CTLR);
        let mut model = self.0.lock();
        if !model.never_disables {
            model.other_control = value;
        }
    }

    fn read_u64(&self, _: usize) -> u64 {
        unreachable!("nothing else of it matters")
    }

    fn write_u64(&mut self, _: usize, _: u64) {
        unreachable!("nothing else of it matters")
    }
}

fn model() -> Service {
    Service(Arc::new(Mutex::new(Model {
        // Device numbers of 16 bits; already enabled by a boot loader.
        registers: [(GITS_TYPER, 15 << 13 | 1), (GITS_CTLR, 1), (0x100, 1 << 56), (0x108, 4 << 56)].into(),
        redistributor: [(GICR_TYPER, 3 << 8 | 1), (GICR_CTLR, 0)].into(),
        other_control: 0,
        fixed: [1 << 56 | 7 << 48, 4 << 56 | 7 << 48],
        has_two_levels: true,
        sees_caches: true,
        never_stops: false,
        never_disables: false,
        stalls_at: None,
        commands: Vec::new(),
    })))
}

fn its_with(service: &Service, n_interrupts: u32) -> Result<Its, ItsError> {
    let registers = Box::new(Redistributor(service.0.clone()));
    let others: Vec<Box<dyn Block>> = vec![Box::new(Other(service.0.clone()))];
    let target = Target { registers, address: REDISTRIBUTOR_ADDRESS, n_interrupts, others };
    Its::new(Box::new(service.clone()), ADDRESS, target, |_| ())
}

fn its(service: &Service) -> Result<Its, ItsError> {
    its_with(service, 8192)
}

#[test]
fn devices_are_mapped_to_interrupts_of_the_boot_core() {
    let service = model();
    let mut its = its(&service).unwrap();
    let translater = ADDRESS + 0x1_0040;
    for (device, interrupt) in [(0x0008, 8192), (0x0100, 8193)] {
        let message = its.message(device).unwrap();
        assert_eq!(message, Message { address: translater, data: 0, interrupt });
    }
    let model = service.0.lock();
    assert_eq!(model.registers[&GITS_CTLR] & 1, 1);
    assert_eq!(model.redistributor[&GICR_CTLR] & 1, 1);
    // The target is number 3. First MAPC and SYNC, then MAPD, MAPTI, INV and SYNC for each device.
    let target = 3 << 16;
    assert_eq!(model.commands[..2], [[0x09, 0, 1 << 63 | target, 0], [0x05, 0, target, 0]]);
    let [map_device, map_event, invalidate, sync] = model.commands[6..] else {
        panic!("{:?}", model.commands)
    };
    let events = map_device[2] & !(1 << 63);
    assert_eq!(map_device, [0x08 | 0x100 << 32, 0, 1 << 63 | events, 0]);
    assert_eq!(events, (model.commands[2][2] & !(1 << 63)) + 256);
    assert_eq!(map_event, [0x0a | 0x100 << 32, 8193 << 32, 0, 0]);
    assert_eq!(invalidate, [0x0c | 0x100 << 32, 0, 0, 0]);
    assert_eq!(sync, [0x05, 0, target, 0]);
    // Two of 8192 interrupts are enabled.
    let properties = model.redistributor[&GICR_PROPBASER];
    assert_eq!(properties & 0x1f, 13);
    assert_eq!(memory::<[u8; 4]>(properties & ADDRESS_BITS), [0xa3, 0xa3, 0xa2, 0xa2]);
    assert_eq!(memory::<u8>((properties & ADDRESS_BITS) + 8191), 0xa2);
    let pending = model.redistributor[&GICR_PENDBASER];
    assert!(pending & PENDING_IS_ZERO != 0 && (pending & ADDRESS_BITS).is_multiple_of(0x1_0000));
    // The table of devices has two levels; the first page exists.
    let table = model.registers[&0x100];
    assert_eq!(table & !ADDRESS_BITS, 1 << 63 | 1 << 62 | 7 << 59 | 1 << 56 | 7 << 48 | 1 << 10);
    let entries: [u64; 2] = memory(table & ADDRESS_BITS);
    assert!(entries[0] & VALID_ADDRESS == entries[0] && entries[0] >> 63 == 1 && entries[1] == 0);
}

const VALID_ADDRESS: u64 = 1 << 63 | ADDRESS_BITS;

#[test]
fn tables_are_as_the_service_wants_them() {
    // A flat table of 4 KiB pages: 65536 bytes, room for 8192 devices.
    let service = model();
    service.0.lock().has_two_levels = false;
    let mut flat = its(&service).unwrap();
    assert_eq!(service.0.lock().registers[&0x100] & 0x4000_0000_0000_03ff, 15);
    flat.message(8191).unwrap();
    assert_eq!(flat.message(8192), Err(ItsError::NoRoom { device: 8192 }));

    // Pages of 64 KiB; a service that bypasses the caches; targets given by address.
    let service = model();
    service.0.lock().fixed[0] |= 2 << 8;
    service.0.lock().sees_caches = false;
    *service.0.lock().registers.get_mut(&GITS_TYPER).unwrap() |= 1 << 19;
    let mut its = its(&service).unwrap();
    its.message(0xffff).unwrap();
    // There would be room, but the service supports only 16-bit numbers.
    assert_eq!(its.message(0x1_0000), Err(ItsError::NoRoom { device: 0x1_0000 }));
    let model = service.0.lock();
    let table = model.registers[&0x100];
    assert!((table & ADDRESS_BITS).is_multiple_of(0x1_0000));
    assert_eq!(table & !ADDRESS_BITS, 1 << 63 | 1 << 62 | 1 << 59 | 1 << 56 | 7 << 48 | 2 << 8);
    assert_eq!(model.commands[0], [0x09, 0, 1 << 63 | REDISTRIBUTOR_ADDRESS, 0]);
    assert_eq!(model.redistributor[&GICR_PROPBASER] & 0xfff, 1 << 7 | 13);
    // 8192 devices per page: the eighth page exists.
    let entries: [u64; 8] = memory(table & ADDRESS_BITS);
    assert_eq!(entries.map(|entry| entry >> 63), [0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn what_does_not_answer_or_is_not_there_is_told() {
    let error = |change: &dyn Fn(&mut Model)| {
        let service = model();
        change(&mut service.0.lock());
        its(&service).err()
    };
    assert_eq!(error(&|_| ()), None);
    let changes: [&dyn Fn(&mut Model); 3] = [
        &|model| _ = model.registers.insert(GITS_TYPER, 0),
        &|model| _ = model.redistributor.insert(GICR_TYPER, 0),
        &|model| _ = model.registers.remove(&0x100),
    ];
    assert_eq!(changes.map(error), [Some(ItsError::NoInterrupts); 3]);
    assert_eq!(error(&|model| model.never_stops = true), Some(ItsError::NoAnswer));
    let enabled = |model: &mut Model| _ = model.redistributor.insert(GICR_CTLR, 1);
    assert_eq!(error(&enabled), None);
    let stuck = |model: &mut Model| {
        enabled(model);
        model.never_disables = true;
    };
    assert_eq!(error(&stuck), Some(ItsError::InUse));
    let other_enabled = |model: &mut Model| model.other_control = ENABLE_LPIS;
    assert_eq!(error(&other_enabled), None);
    let other_stuck = |model: &mut Model| {
        other_enabled(model);
        model.never_disables = true;
        model.redistributor.insert(GICR_CTLR, 0);
    };
    assert_eq!(error(&other_stuck), Some(ItsError::InUse));
    assert_eq!(error(&|model| model.stalls_at = Some(9)), Some(ItsError::NoAnswer));
    assert_eq!(its_with(&model(), 0).err(), Some(ItsError::NoInterrupts));

    // After the service has failed to carry out a command, it gets no more commands.
    let service = model();
    let mut its = its(&service).unwrap();
    its.message(1).unwrap();
    service.0.lock().stalls_at = Some(8);
    assert_eq!(its.message(2), Err(ItsError::NoAnswer));
    service.0.lock().stalls_at = None;
    let told = service.0.lock().commands.len();
    assert_eq!(its.message(3), Err(ItsError::NoAnswer));
    assert_eq!(service.0.lock().commands.len(), told);
    core::mem::forget(its);
}

#[test]
fn interrupts_come_to_an_end() {
    let service = model();
    let mut few = its_with(&service, 2).unwrap();
    let given = [1, 2, 3].map(|device| few.message(device).map(|message| message.interrupt));
    assert_eq!(given, [Ok(8192), Ok(8193), Err(ItsError::NoneLeft)]);
    // The queue wraps around several times.
    let service = model();
    let mut its = its(&service).unwrap();
    let given: Vec<_> = (0..65).map(|device| its.message(device << 8).is_ok()).collect();
    assert_eq!(given, [vec![true; 64], vec![false]].concat());
    assert_eq!(service.0.lock().commands.len(), 2 + 4 * 64);
}
