use super::*;
use crate::machine::{PciWindow, Registers};
use std::{cell::RefCell, collections::HashMap, rc::Rc, vec, vec::Vec};

const MIB: u64 = 1 << 20;

/// A function of the simulated machine: its identification and, for each BAR register, the bits that can be written and those
/// that always read as set.
#[derive(Clone, Default)]
struct FakeFunction {
    registers: HashMap<u8, u32>,
    bars: Vec<(u32, u32)>,
}

impl FakeFunction {
    fn new(ids: u32, class: u32, header_type: u32, bars: &[(u32, u32)]) -> Self {
        let registers = [(0x00, ids), (0x08, class << 8), (0x0c, header_type << 16)];
        Self { registers: registers.into(), bars: bars.to_vec() }
    }
}

/// Configuration space of the simulated machine: functions by bus, device and function number. A bus number is looked up among
/// the bridges' secondary buses, as hardware would route it.
#[derive(Clone, Default)]
struct FakeMachine(Rc<RefCell<HashMap<(usize, u8), FakeFunction>>>);

impl FakeMachine {
    /// `segment` 0 is the root bus; segment `n` is behind the bridge with device number `n`.
    fn plug(&self, segment: usize, device: u8, function: FakeFunction) {
        self.0.borrow_mut().insert((segment, device), function);
    }

    fn segment(&self, bus: u8) -> Option<usize> {
        if bus == 0 {
            return Some(0);
        }
        let machine = self.0.borrow();
        machine.iter().find_map(|(&(_, device), function)| {
            let numbers = function.registers.get(&bridge_register::BUS_NUMBERS)?;
            (numbers.to_le_bytes()[1] == bus).then_some(device as usize)
        })
    }

    fn register(&self, segment: usize, device: u8, offset: u8) -> u32 {
        let machine = self.0.borrow();
        let registers = &machine[&(segment, device)].registers;
        registers.get(&offset).copied().unwrap_or(0)
    }
}

impl ConfigurationAccess for FakeMachine {
    fn read_word(&self, address: Address, offset: u8) -> u32 {
        let segment = self.segment(address.bus).filter(|_| address.function == 0);
        let machine = self.0.borrow();
        let Some(function) = segment.and_then(|s| machine.get(&(s, address.device))) else {
            return u32::MAX;
        };
        function.registers.get(&offset).copied().unwrap_or_else(|| {
            let index = usize::from(offset.wrapping_sub(0x10) / 4);
            function.bars.get(index).map_or(0, |&(_, fixed)| fixed)
        })
    }

    fn write_word(&mut self, address: Address, offset: u8, data: u32) {
        let segment = self.segment(address.bus).unwrap();
        let mut machine = self.0.borrow_mut();
        let function = machine.get_mut(&(segment, address.device)).unwrap();
        let index = usize::from(offset.wrapping_sub(0x10) / 4);
        let data = match function.bars.get(index) {
            Some(&(writable, fixed)) => data & writable | fixed,
            None if (0x10..0x28).contains(&offset) && function.registers[&0x0c] == 0 => 0,
            // A 32-bit write would also write the status, which must not happen.
            None if offset == 0x04 => {
                let status = function.registers.get(&offset).map_or(0, |before| before & 0xffff_0000);
                status | data & 0xffff
            }
            None => data,
        };
        function.registers.insert(offset, data);
    }

    #[allow(unsafe_code, reason = "the trait has it so")]
    unsafe fn unsafe_clone(&self) -> Self {
        self.clone()
    }
}

fn host() -> PcieHost {
    let window = |bus_address, size_bytes, is_64_bit| PciWindow {
        bus_address,
        cpu_address: bus_address,
        size_bytes,
        is_64_bit,
    };
    PcieHost {
        ecam: Registers { address: 0, size_bytes: 256 * MIB },
        space: crate::machine::ConfigurationSpace::Ecam,
        buses: (0, 255),
        windows: vec![window(0x1000_0000, 0x2eff_0000, false), window(0x80_0000_0000, 0x80_0000_0000, true)],
        is_placed: false,
        interrupts: vec![],
        msi: None,
    }
}

/// A 32-bit memory BAR.
fn memory32(size_bytes: u32) -> (u32, u32) {
    (!(size_bytes - 1), 0)
}

/// A 64-bit prefetchable memory BAR: two registers.
fn memory64(size_bytes: u64) -> [(u32, u32); 2] {
    let writable = !(size_bytes - 1);
    [(writable as u32, 0xc), ((writable >> 32) as u32, 0)]
}

fn enumerate(machine: &mut FakeMachine, host: &PcieHost) -> Vec<Function> {
    let mut buses = Buses::new(host);
    buses.scan(machine);
    buses.functions().to_vec()
}

#[test]
fn what_is_plugged_in_and_out_later_is_found_and_nothing_else_moves() {
    let mut machine = FakeMachine::default();
    let bridge = || FakeFunction::new(0x000c_1b36, 0x06_04_00, 1, &[]);
    let disk = || FakeFunction::new(0x1042_1af4, 0x01_00_00, 0, &[memory32(0x1000)]);
    machine.plug(0, 1, bridge());
    machine.plug(0, 2, bridge());
    machine.plug(2, 0, disk());
    machine.plug(0, 3, disk());
    let mut buses = Buses::new(&host());
    buses.scan(&mut machine);
    let before = buses.functions().to_vec();
    assert_eq!(before.len(), 4);
    assert_eq!(buses.take_vanished(&mut machine), []);
    buses.scan(&mut machine);
    assert_eq!(buses.functions(), before);

    machine.plug(1, 0, disk());
    buses.scan(&mut machine);
    assert_eq!(buses.functions()[..4], before);
    let added = &buses.functions()[4];
    let address = added.bars[0].address;
    assert_eq!((added.address.bus, added.device_id), (1, 0x1042));
    assert!(before.iter().flat_map(|function| &function.bars).all(|bar| bar.address < address));
    // Its bridge is open for it.
    let window = machine.register(0, 1, bridge_register::MEMORY_WINDOW);
    let (base, limit) = (u64::from(window & 0xfff0) << 16, u64::from(window & 0xfff0_0000) | 0xf_ffff);
    assert!((base..=limit).contains(&address));

    // Another function, which nobody has set up, takes the place of one.
    machine.plug(2, 0, disk());
    let vanished = buses.take_vanished(&mut machine);
    assert_eq!(vanished.iter().map(|address| address.bus).collect::<Vec<_>>(), [2]);
    buses.scan(&mut machine);
    assert_eq!(buses.functions().len(), 5);
    assert_ne!(buses.functions()[4].bars[0].address, 0);
}

#[test]
fn a_function_without_room_for_all_of_its_memory_stays_and_takes_no_more_of_it() {
    let mut machine = FakeMachine::default();
    machine.plug(0, 1, FakeFunction::new(1, 0, 0, &[memory32(0x1000), memory32(1 << 30)]));
    let mut buses = Buses::new(&host());
    buses.scan(&mut machine);
    let before = buses.functions().to_vec();
    assert_ne!(before[0].bars[0].address, 0);
    assert_eq!(before[0].bars[1].address, 0);
    assert_eq!(buses.take_vanished(&mut machine), []);
    buses.scan(&mut machine);
    assert_eq!(buses.functions(), before);
}

/// A machine with two root ports of a megabyte each, behind which firmware has placed disks. Its bus numbers differ from those
/// that the kernel would assign.
fn placed_machine() -> (FakeMachine, PcieHost) {
    let mut machine = FakeMachine::default();
    let disk = || FakeFunction::new(0x1042_1af4, 0x01_00_00, 0, &[memory32(0x1000)]);
    for (device, bus, window) in [(1, 4, 0x1020_1020), (2, 7, 0x1010_1010)] {
        machine.plug(0, device, FakeFunction::new(0x000c_1b36, 0x06_04_00, 1, &[]));
        let bridge = Address { bus: 0, device, function: 0 };
        machine.write_word(bridge, bridge_register::BUS_NUMBERS, u32::from(bus) << 8 | u32::from(bus) << 16);
        machine.write_word(bridge, bridge_register::MEMORY_WINDOW, window);
        machine.plug(usize::from(device), 0, disk());
        machine.write_word(Address { bus, device: 0, function: 0 }, 0x10, (window & 0xfff0) << 16);
    }
    machine.plug(0, 3, disk());
    machine.write_word(Address { bus: 0, device: 3, function: 0 }, 0x10, 0x1000_0000);
    let mut host = PcieHost { windows: vec![], is_placed: true, ..host() };
    host.windows = crate::pci::placed_windows(&host, &mut machine);
    (machine, host)
}

#[test]
fn what_firmware_has_placed_stays_where_it_is() {
    let (mut machine, host) = placed_machine();
    let window = &host.windows[0];
    assert_eq!((window.cpu_address, window.size_bytes, host.windows.len()), (0x1000_0000, 3 * MIB, 1));
    let mut buses = Buses::new(&host);
    buses.scan(&mut machine);
    let placed = |buses: &Buses| -> Vec<_> {
        let disks = buses.functions().iter().filter(|function| function.class == 1);
        disks.map(|disk| (disk.address.bus, disk.bars[0].address)).collect()
    };
    assert_eq!(placed(&buses), [(4, 0x1020_0000), (7, 0x1010_0000), (0, 0x1000_0000)]);
    assert_eq!(machine.register(0, 1, bridge_register::MEMORY_WINDOW), 0x1020_1020);
    assert_eq!(machine.register(1, 0, 0x10), 0x1020_0000);
    // Memory space and bus master are enabled.
    assert_eq!(machine.register(1, 0, 0x04) & 0x6, 0x6);

    // A function that takes its place gets the rest of the bridge's window.
    machine.plug(1, 0, FakeFunction::new(0x1042_1af4, 0x01_00_00, 0, &[memory32(0x2000)]));
    machine.plug(1, 1, FakeFunction::new(0x1042_1af4, 0x01_00_00, 0, &[memory32(0x10_0000)]));
    buses.take_vanished(&mut machine);
    buses.scan(&mut machine);
    assert_eq!(placed(&buses)[2..], [(4, 0x1020_0000), (4, 0)]);
    assert_eq!(buses.root_pin(Address { bus: 4, device: 0, function: 0 }, 1), Some((1, 1)));
}

#[test]
fn memory_that_was_placed_outside_the_windows_later_is_not_used() {
    let (mut machine, host) = placed_machine();
    let mut buses = Buses::new(&host);
    buses.scan(&mut machine);
    let n_before = buses.functions().len();
    // Beyond the windows, across the end of one, beyond everything that is mapped, and within a window.
    let places =
        [(0x2000_0000, 0x2000), (0x1020_0000, 2 * MIB), (1 << 50, 0x2000), (0x1000_2000_u64, 0x2000)];
    for (device, (place, size_bytes)) in (4..).zip(places) {
        let [low, high] = memory64(size_bytes);
        machine.plug(0, device, FakeFunction::new(0x1042_1af4, 0x01_00_00, 0, &[low, high]));
        let address = Address { bus: 0, device, function: 0 };
        machine.write_word(address, 0x10, place as u32);
        machine.write_word(address, 0x14, (place >> 32) as u32);
        machine.write_word(address, 0x04, 0x2);
    }
    // Behind a bridge it gets another place.
    machine.plug(1, 0, FakeFunction::new(0x1042_1af4, 0x01_00_00, 0, &[memory32(0x2000)]));
    machine.write_word(Address { bus: 4, device: 0, function: 0 }, 0x10, 0x3000_0000);
    assert_eq!(buses.take_vanished(&mut machine).len(), 1);
    buses.scan(&mut machine);
    let added: Vec<_> = buses.functions()[n_before - 1..].iter().map(|f| f.bars[0].address).collect();
    assert_eq!(added, [0, 0, 0, 0x1000_2000, 0x1020_0000]);
    // The registers are cleared so that nobody else relies on them, and nothing responds there.
    for device in [4, 5, 6] {
        let words = [0x10, 0x14, 0x04].map(|offset| machine.register(0, device, offset));
        assert_eq!((words[0] & !0xf, words[1], words[2] & 0x6), (0, 0, 0));
    }
    assert_eq!(machine.register(0, 7, 0x04) & 0x6, 0x6);
}

#[test]
fn buses_that_firmware_has_numbered_in_a_circle_are_walked_once() {
    let (mut machine, host) = placed_machine();
    for device in [1, 2] {
        machine.write_word(Address { bus: 0, device, function: 0 }, bridge_register::BUS_NUMBERS, 0);
    }
    let mut buses = Buses::new(&host);
    buses.scan(&mut machine);
    assert_eq!(buses.functions().len(), 3);
}

#[test]
fn messages_keep_their_requester_on_express_buses_only() {
    // Behind a root port; behind a bridge to conventional PCI; behind a bridge that reports no type.
    for (kind, expected) in [(4, Some(0x0100)), (7, None), (0, None)] {
        let mut machine = FakeMachine::default();
        let mut bridge = FakeFunction::new(0x000c_1b36, 0x06_04_00, 1, &[]);
        if kind != 0 {
            bridge.registers.extend([(0x04, 1 << 20), (0x34, 0x40), (0x40, kind << 20 | 0x10)]);
        }
        machine.plug(0, 1, bridge);
        machine.plug(1, 0, FakeFunction::new(1, 0, 0, &[]));
        machine.plug(0, 2, FakeFunction::new(1, 0, 0, &[]));
        let mut buses = Buses::new(&host());
        buses.scan(&mut machine);
        let mut of = |bus, device| buses.requester(&mut machine, Address { bus, device, function: 0 });
        assert_eq!((of(1, 0), of(0, 2), of(5, 0)), (expected, Some(0x0010), None), "{kind}");
    }
}

#[test]
fn capabilities_of_a_bridge_that_go_in_a_circle_end() {
    let mut machine = FakeMachine::default();
    let mut bridge = FakeFunction::new(0x000c_1b36, 0x06_04_00, 1, &[]);
    bridge.registers.extend([(0x04, 1 << 20), (0x34, 0x40), (0x40, 0x4009)]);
    machine.plug(0, 1, bridge);
    machine.plug(1, 0, FakeFunction::new(1, 0, 0, &[]));
    let mut buses = Buses::new(&host());
    buses.scan(&mut machine);
    buses.scan(&mut machine);
    assert_eq!(buses.wanted_out(&mut machine), []);
    assert_eq!(buses.requester(&mut machine, Address { bus: 1, device: 0, function: 0 }), None);
}

#[test]
fn what_notices_are_called() {
    let mut machine = FakeMachine::default();
    machine.plug(0, 2, FakeFunction::new(1, 0, 0, &[]));
    let mut buses = Buses::new(&host());
    buses.scan(&mut machine);
    let address = buses.functions()[0].address;
    assert_eq!(buses.functions()[0].notice, None);
    let notices = [Notice::Polled, Notice::Pin(35), Notice::Message(80), Notice::Message(8192)];
    let names = notices.map(|notice| {
        buses.set_notice(address, notice);
        std::format!("{}", buses.functions()[0].notice.unwrap())
    });
    assert_eq!(names, ["polled", "interrupt 35", "MSI 80", "LPI 8192"]);
}

#[test]
fn an_empty_bus_has_no_functions() {
    assert_eq!(enumerate(&mut FakeMachine::default(), &host()), []);
}

#[test]
fn sizes_and_assigns_every_kind_of_bar() {
    let mut machine = FakeMachine::default();
    let [low, high] = memory64(16 * MIB);
    let bars = [memory32(0x1000), (0xffff_ff80, 1), low, high];
    machine.plug(0, 3, FakeFunction::new(0x1111_1234, 0x03_80_00, 0, &bars));
    let functions = enumerate(&mut machine, &host());
    assert_eq!(functions.len(), 1);
    let function = &functions[0];
    assert_eq!((function.vendor_id, function.device_id), (0x1234, 0x1111));
    assert_eq!((function.class, function.subclass), (0x03, 0x80));
    assert_eq!(
        function.bars,
        [
            Bar { index: 0, address: 0x1000_0000, size_bytes: 0x1000, kind: BarKind::Memory32 },
            Bar { index: 1, address: 0, size_bytes: 0x80, kind: BarKind::Io },
            Bar { index: 2, address: 0x1100_0000, size_bytes: 16 * MIB, kind: BarKind::Memory64 },
        ]
    );
    assert_eq!(machine.register(0, 3, 0x10), 0x1000_0000);
    assert_eq!(machine.register(0, 3, 0x18), 0x1100_000c);
    // Memory space and bus master are enabled.
    assert_eq!(machine.register(0, 3, 0x04) & 0x6, 0x6);
}

#[test]
fn large_bars_go_high_and_what_fits_nowhere_stays_off() {
    let mut machine = FakeMachine::default();
    machine.plug(0, 1, FakeFunction::new(0x2204_10de, 0x03_02_00, 0, &memory64(32 << 30)));
    machine.plug(0, 2, FakeFunction::new(1, 0, 0, &[memory32(1 << 30)]));
    let functions = enumerate(&mut machine, &host());
    assert_eq!(functions[0].bars[0].address, 0x80_0000_0000);
    assert_eq!(functions[1].bars[0].address, 0);
    assert_eq!(machine.register(0, 2, 0x04) & 0x2, 0);
}

#[test]
fn a_bridge_opens_for_what_lies_behind_it() {
    let mut machine = FakeMachine::default();
    let bridge = || FakeFunction::new(0x000c_1b36, 0x06_04_00, 1, &[memory32(0x1000)]);
    machine.plug(0, 1, bridge());
    machine.plug(0, 2, bridge());
    let mut bars = vec![memory32(0x10_0000)];
    bars.push((0, 0));
    bars.extend(memory64(256 * MIB));
    machine.plug(1, 0, FakeFunction::new(0x1050_1af4, 0x03_00_00, 0, &bars));
    let functions = enumerate(&mut machine, &host());

    let addresses: Vec<_> = functions.iter().map(|function| std::format!("{}", function.address)).collect();
    assert_eq!(addresses, ["00:01.0", "01:00.0", "00:02.0"]);
    let behind = &functions[1].bars;
    assert_eq!(behind[0].address, 0x1010_0000);
    assert_eq!(behind[1].address, 0x80_0000_0000);

    // Primary 0, secondary 1, subordinate 1; the second bridge has bus 2 to itself.
    assert_eq!(machine.register(0, 1, 0x18) & 0xff_ffff, 0x01_01_00);
    assert_eq!(machine.register(0, 2, 0x18) & 0xff_ffff, 0x02_02_00);
    // 0x1010_0000..=0x101f_ffff, and 256 MiB from 0x80_0000_0000 on.
    assert_eq!(machine.register(0, 1, 0x20), 0x1010_1010);
    assert_eq!(machine.register(0, 1, 0x24), 0x0ff0_0000);
    assert_eq!(machine.register(0, 1, 0x28), 0x80);
    assert_eq!(machine.register(0, 1, 0x2c), 0x80);
    // Nothing behind the second bridge: base above limit.
    let closed = machine.register(0, 2, 0x20);
    assert!(closed & 0xfff0 > closed >> 16 & 0xfff0);
}
