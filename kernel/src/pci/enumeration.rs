//! Walks the buses, numbers them and gives BARs their addresses.
//!
//! Depth first: a bridge's memory window is whatever was given away while the buses behind it were
//! walked, rounded to the megabyte that bridge registers count in (PCI-to-PCI Bridge Architecture
//! Specification 1.2, chapter 3).

use super::{
    Address, Bar, BarKind, ConfigurationAccess, Function, MAX_CAPABILITIES, Notice, placed::bridge_window,
    window::Window,
};
use crate::machine::{PciWindow, PcieHost};
use alloc::vec::Vec;
use core::cell::RefCell;
use log::warn;
use virtio_drivers::transport::pci::bus::{
    BarInfo, Command, DeviceFunctionInfo, HeaderType, MemoryBarType, PciRoot,
};

/// Bridge windows begin and end at multiples of this.
const BRIDGE_GRANULE_BYTES: u64 = 1 << 20;

/// BARs of at least this size go to the 64-bit window if they can: the 32-bit one is small.
const LARGE_BAR_BYTES: u64 = 64 << 20;

/// Offsets in a bridge's configuration space (PCI-to-PCI Bridge Architecture 1.2, 3.2).
mod bridge_register {
    pub const BUS_NUMBERS: u8 = 0x18;
    pub const MEMORY_WINDOW: u8 = 0x20;
    pub const PREFETCHABLE_WINDOW: u8 = 0x24;
    pub const PREFETCHABLE_BASE_HIGH: u8 = 0x28;
    pub const PREFETCHABLE_LIMIT_HIGH: u8 = 0x2c;
}

/// Offsets in the PCI Express capability, and bits there (PCI Express Base 5.0, 7.5.3).
mod express {
    pub const CAPABILITY: u8 = 0x10;
    /// Types of ports: of a root complex, and of switches.
    pub const PORTS: core::ops::RangeInclusive<u16> = 4..=6;
    pub const SLOT_CAPABILITIES: u8 = 0x14;
    pub const POWER_CONTROLLER_PRESENT: u32 = 1 << 1;
    /// Control in the lower half, status in the upper one.
    pub const SLOT_CONTROL_AND_STATUS: u8 = 0x18;
    pub const POWER_INDICATOR: u32 = 0b11 << 8;
    pub const POWER_INDICATOR_ON: u32 = 0b01 << 8;
    pub const POWER_OFF: u32 = 1 << 10;
    pub const ATTENTION_BUTTON_PRESSED: u32 = 1 << 16;
    pub const PRESENCE_DETECTED: u32 = 1 << 22;
}

/// The buses below a host bridge, as they have been set up.
#[derive(Debug)]
pub struct Buses {
    /// What is left to give away. Where firmware has placed everything, that is nothing but what is left of a bridge's window.
    low: Option<Window>,
    high: Option<Window>,
    /// All of it that the CPU reaches.
    windows: Vec<PciWindow>,
    is_placed: bool,
    first_bus: u8,
    next_bus: Option<u8>,
    last_bus: u8,
    functions: Vec<Function>,
    /// Bridges, and the buses right behind them.
    bridges: Vec<(Address, u8)>,
}

impl Buses {
    /// Nothing set up yet below `host`.
    pub fn new(host: &PcieHost) -> Self {
        let window = |is_64_bit| {
            let mut windows = host.windows.iter().filter(|_| !host.is_placed);
            windows.find(|window| window.is_64_bit == is_64_bit).map(Window::new)
        };
        Self {
            low: window(false),
            high: window(true),
            windows: host.windows.clone(),
            is_placed: host.is_placed,
            first_bus: host.buses.0,
            next_bus: host.buses.0.checked_add(1),
            last_bus: host.buses.1,
            functions: Vec::new(),
            bridges: Vec::new(),
        }
    }

    /// Whether the CPU reaches all of this: pages of PCI memory are those that the windows had when the kernel was booted.
    fn is_reached(&self, address: u64, size_bytes: u64) -> bool {
        let is_within = |window: &PciWindow| {
            let offset = address.checked_sub(window.cpu_address);
            offset
                .and_then(|offset| offset.checked_add(size_bytes))
                .is_some_and(|end| end <= window.size_bytes)
        };
        self.windows.iter().any(is_within)
    }

    /// The functions, in the order in which they were found.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Where an interrupt pin of a function, 1 to 4, comes out on the first bus: device and pin. Each bridge on the way hands the
    /// pins of the devices behind it on in turn (PCI-to-PCI Bridge Architecture 1.2, 9.1).
    pub fn root_pin(&self, mut function: Address, mut pin: u8) -> Option<(u8, u8)> {
        if !(1..=4).contains(&pin) {
            return None;
        }
        while function.bus != self.first_bus {
            pin = (pin - 1 + function.device) % 4 + 1;
            (function, _) = *self.bridges.iter().find(|(_, secondary)| *secondary == function.bus)?;
        }
        Some((function.device, pin))
    }

    /// Says how a function that is driven now tells that it has done something.
    pub fn set_notice(&mut self, address: Address, notice: Notice) {
        let function = self.functions.iter_mut().find(|function| function.address == address);
        function.into_iter().for_each(|function| function.notice = Some(notice));
    }

    /// The requester ID that the messages of a function have; `None` if one of the bridges on their way gives them another one, as
    /// those to buses other than PCI Express may (PCI Express to PCI/PCI-X Bridge Specification 1.0, 2.3).
    pub fn requester<C: ConfigurationAccess>(&self, configuration: &mut C, function: Address) -> Option<u16> {
        let configuration = RefCell::new(configuration);
        let root = PciRoot::new(Shared(&configuration));
        let mut bus = function.bus;
        while bus != self.first_bus {
            let (bridge, _) = *self.bridges.iter().find(|(_, secondary)| *secondary == bus)?;
            let mut capabilities = root.capabilities(bridge).take(MAX_CAPABILITIES);
            let capability = capabilities.find(|found| found.id == express::CAPABILITY)?;
            let kind = capability.private_header >> 4 & 0xf;
            if !express::PORTS.contains(&kind) || bridge.bus == bus {
                return None;
            }
            bus = bridge.bus;
        }
        let pci_function = u16::from(function.device) << 3 | u16::from(function.function);
        Some(u16::from(function.bus) << 8 | pci_function)
    }

    /// Finds functions and sets them up: all of them at first, later those that have been plugged in, as far as
    /// nothing else is behind their bridge. What has been set up before stays as it is.
    ///
    /// A BAR that fits into no window is listed with address 0, and its function's memory is left
    /// disabled. So is one that firmware, or a monitor, has placed outside all windows and that does not fit into one either: the CPU
    /// does not reach it.
    pub fn scan<C: ConfigurationAccess>(&mut self, configuration: &mut C) {
        let configuration = RefCell::new(configuration);
        let bridges = self.bridges.clone();
        let first_bus = self.first_bus;
        let mut walk = Walk::new(self, &configuration);
        walk.scan_bus(first_bus);
        for (bridge, secondary) in bridges {
            walk.set_slot_power(bridge, true);
            if walk.buses.functions.iter().all(|function| function.address.bus != secondary) {
                walk.open_bridge(bridge, secondary);
            }
        }
    }

    /// Forgets functions that are no longer there, or that are other ones now, and tells their addresses.
    pub fn take_vanished<C: ConfigurationAccess>(&mut self, configuration: &mut C) -> Vec<Address> {
        let is_there = |function: &Function| {
            const COMMAND: u8 = 4;
            let ids = u32::from(function.device_id) << 16 | u32::from(function.vendor_id);
            // One that nobody has set up answers to no address, nor does one whose memory was left disabled.
            let needs_memory = function.bars.iter().any(|bar| bar.address != 0) && function.has_memory();
            let answers =
                configuration.read_word(function.address, COMMAND) & Command::MEMORY_SPACE.bits() as u32;
            configuration.read_word(function.address, 0) == ids && (answers != 0 || !needs_memory)
        };
        let (there, vanished): (Vec<_>, Vec<_>) = self.functions.drain(..).partition(is_there);
        self.functions = there;
        vanished.into_iter().map(|function| function.address).collect()
    }

    /// The functions whose slot's attention button was pressed: somebody wants to take them out.
    pub fn wanted_out<C: ConfigurationAccess>(&mut self, configuration: &mut C) -> Vec<Address> {
        let configuration = RefCell::new(configuration);
        let bridges = self.bridges.clone();
        let walk = Walk::new(self, &configuration);
        let is_pressed = |bridge: Address| {
            let slot = walk.slot(bridge)?;
            Some(walk.configuration.read_word(bridge, slot) & express::ATTENTION_BUTTON_PRESSED != 0)
        };
        let pressed = bridges.into_iter().filter(|&(bridge, _)| is_pressed(bridge) == Some(true));
        let buses: Vec<u8> = pressed.map(|(_, secondary)| secondary).collect();
        let functions = walk.buses.functions.iter().map(|function| function.address);
        functions.filter(|address| buses.contains(&address.bus)).collect()
    }

    /// Turns the power of a slot off, so that what is in it can be taken out.
    pub fn release<C: ConfigurationAccess>(&mut self, configuration: &mut C, function: Address) {
        let configuration = RefCell::new(configuration);
        let bridge = self.bridges.iter().find(|(_, secondary)| *secondary == function.bus).copied();
        self.functions.retain(|other| other.address.bus != function.bus);
        if let Some((bridge, _)) = bridge {
            Walk::new(self, &configuration).set_slot_power(bridge, false);
        }
    }
}

/// Configuration space for several users in turn: `PciRoot`, which owns its access and has no method
/// for the registers of a bridge, and the walk, which writes those.
pub struct Shared<'c, 'm, C>(&'c RefCell<&'m mut C>);

impl<'c, 'm, C> Shared<'c, 'm, C> {
    /// One user's access.
    pub fn new(configuration: &'c RefCell<&'m mut C>) -> Self {
        Self(configuration)
    }
}

impl<C: ConfigurationAccess> ConfigurationAccess for Shared<'_, '_, C> {
    fn read_word(&self, function: Address, register_offset: u8) -> u32 {
        self.0.borrow().read_word(function, register_offset)
    }

    fn write_word(&mut self, function: Address, register_offset: u8, data: u32) {
        let mut configuration = self.0.borrow_mut();
        configuration.write_word(function, register_offset, data);
    }

    #[allow(unsafe_code, reason = "the trait has it so")]
    unsafe fn unsafe_clone(&self) -> Self {
        Self(self.0)
    }
}

struct Walk<'b, 'c, 'm, C: ConfigurationAccess> {
    root: PciRoot<Shared<'c, 'm, C>>,
    configuration: Shared<'c, 'm, C>,
    buses: &'b mut Buses,
}

impl<'b, 'c, 'm, C: ConfigurationAccess> Walk<'b, 'c, 'm, C> {
    fn new(buses: &'b mut Buses, configuration: &'c RefCell<&'m mut C>) -> Self {
        Self { root: PciRoot::new(Shared(configuration)), configuration: Shared(configuration), buses }
    }

    /// Sets up what is new on a bus.
    fn scan_bus(&mut self, bus: u8) {
        let found: Vec<_> = self.root.enumerate_bus(bus).collect();
        for (address, info) in found {
            if self.buses.functions.iter().any(|known| known.address == address) {
                continue;
            }
            let is_bridge = info.header_type == HeaderType::PciPciBridge;
            self.add_function(address, &info, if is_bridge { 2 } else { 6 });
            if is_bridge {
                self.scan_bridge(address);
            }
        }
    }

    fn add_function(&mut self, address: Address, info: &DeviceFunctionInfo, bar_count: u8) {
        let mut bars = Vec::new();
        let mut index = 0;
        while index < bar_count {
            let bar_info = match self.root.bar_info(address, index) {
                Ok(bar_info) => bar_info,
                Err(error) => {
                    warn!("pci {address}: BAR {index}: {error}");
                    break;
                }
            };
            let width = match &bar_info {
                Some(bar_info) if bar_info.takes_two_entries() => 2,
                _ => 1,
            };
            if let Some(bar_info) = bar_info {
                bars.push(self.assign(address, index, &bar_info));
            }
            index += width;
        }

        // A pin that nobody listens to may be shared with one that somebody does.
        let (_status, command) = self.root.get_status_command(address);
        let mut command = command | Command::INTERRUPT_DISABLE;
        if bars.iter().any(Bar::has_no_place) {
            warn!("pci {address}: no room for all of its memory, left disabled");
            if info.header_type != HeaderType::PciPciBridge {
                command -= Command::MEMORY_SPACE;
            }
        } else {
            command |= Command::MEMORY_SPACE | Command::BUS_MASTER;
        }
        self.root.set_command(address, command);
        self.buses.functions.push(Function {
            address,
            vendor_id: info.vendor_id,
            device_id: info.device_id,
            class: info.class,
            subclass: info.subclass,
            interface: info.prog_if,
            bars,
            notice: None,
        });
    }

    fn assign(&mut self, function: Address, index: u8, info: &BarInfo) -> Bar {
        let (size_bytes, kind) = match *info {
            BarInfo::IO { size, .. } => (u64::from(size), BarKind::Io),
            BarInfo::Memory { size, address_type, .. } => match address_type {
                MemoryBarType::Width64 => (size, BarKind::Memory64),
                MemoryBarType::Width32 | MemoryBarType::Below1MiB => (size, BarKind::Memory32),
            },
        };
        let mut bar = Bar { index, address: 0, size_bytes, kind };
        if let BarInfo::Memory { address, .. } = *info
            && self.buses.is_placed
            && address != 0
            && self.buses.is_reached(address, size_bytes)
        {
            // Where nobody says which addresses lead to the bus, they are the same there.
            return Bar { address, ..bar };
        }
        let Buses { low, high, .. } = &mut *self.buses;
        let windows = match kind {
            BarKind::Io => return bar,
            BarKind::Memory32 => [low.as_mut(), None],
            BarKind::Memory64 if size_bytes >= LARGE_BAR_BYTES => [high.as_mut(), low.as_mut()],
            BarKind::Memory64 => [low.as_mut(), high.as_mut()],
        };
        let take = |window: &mut Window| Some((window.take(size_bytes)?, *window));
        let taken = windows.into_iter().flatten().find_map(take);
        // A bridge that was plugged in later may say of itself what it wants.
        let taken =
            taken.filter(|(address, window)| self.buses.is_reached(window.cpu_address(*address), size_bytes));
        // Firmware may have left an address that leads nowhere now.
        let bus_address = taken.map_or(0, |(bus_address, window)| {
            bar.address = window.cpu_address(bus_address);
            bus_address
        });
        match kind {
            BarKind::Memory64 => self.root.set_bar_64(function, index, bus_address),
            _ => self.root.set_bar_32(function, index, bus_address as u32),
        }
        bar
    }

    fn scan_bridge(&mut self, bridge: Address) {
        if self.buses.is_placed {
            let word = self.configuration.read_word(bridge, bridge_register::BUS_NUMBERS);
            let [_, secondary, ..] = word.to_le_bytes();
            let mut taken = self.buses.bridges.iter().map(|(_, bus)| *bus).chain([self.buses.first_bus]);
            // A bus is behind one bridge, or there would be no end of them.
            if (self.buses.first_bus..=self.buses.last_bus).contains(&secondary)
                && taken.all(|bus| bus != secondary)
            {
                self.buses.bridges.push((bridge, secondary));
                self.open_bridge(bridge, secondary);
            }
            return;
        }
        let Some(secondary) = self.buses.next_bus.filter(|&bus| bus <= self.buses.last_bus) else {
            warn!("pci {bridge}: no bus number left for what is behind this bridge");
            return;
        };
        self.buses.next_bus = secondary.checked_add(1);
        self.buses.bridges.push((bridge, secondary));
        self.write_bus_numbers(bridge, secondary, self.buses.last_bus);
        self.open_bridge(bridge, secondary);
        let subordinate = self.buses.next_bus.map_or(u8::MAX, |next| next - 1);
        self.write_bus_numbers(bridge, secondary, subordinate);
    }

    /// Sets up what is behind a bridge with nothing set up behind it, and opens the bridge for that.
    fn open_bridge(&mut self, bridge: Address, secondary: u8) {
        if self.buses.is_placed {
            let rest = self.rest_of_window(bridge, secondary);
            let before = core::mem::replace(&mut self.buses.low, rest);
            self.scan_bus(secondary);
            self.buses.low = before;
            return;
        }
        let low_start = align(&mut self.buses.low);
        let high_start = align(&mut self.buses.high);
        self.scan_bus(secondary);
        let low_end = align(&mut self.buses.low);
        let high_end = align(&mut self.buses.high);
        self.write_windows(bridge, (low_start, low_end), (high_start, high_end));
    }

    /// What firmware has left of a bridge's window behind the memory of the functions there; nothing if bridges are among them.
    fn rest_of_window(&mut self, bridge: Address, secondary: u8) -> Option<Window> {
        let (mut start, end) = bridge_window(&self.configuration, bridge);
        let functions: Vec<_> = self.root.enumerate_bus(secondary).collect();
        for (address, info) in functions {
            if info.header_type != HeaderType::Standard {
                return None;
            }
            let bars = self.root.bars(address).ok()?;
            for (address, size_bytes) in bars.iter().flatten().filter_map(BarInfo::memory_address_size) {
                if (start..end).contains(&address) {
                    start = start.max(address.checked_add(size_bytes)?);
                }
            }
        }
        let size_bytes = end.checked_sub(start).filter(|&size_bytes| start != 0 && size_bytes > 0)?;
        Some(Window::new(&PciWindow { bus_address: start, cpu_address: start, size_bytes, is_64_bit: false }))
    }

    /// Where control and status of a bridge's slot are, if its power can be turned on and off.
    fn slot(&self, bridge: Address) -> Option<u8> {
        let mut capabilities = self.root.capabilities(bridge).take(MAX_CAPABILITIES);
        let capability = capabilities.find(|found| found.id == express::CAPABILITY)?;
        let capabilities = capability.offset.checked_add(express::SLOT_CAPABILITIES)?;
        let has_power =
            self.configuration.read_word(bridge, capabilities) & express::POWER_CONTROLLER_PRESENT;
        (has_power != 0).then_some(capability.offset.checked_add(express::SLOT_CONTROL_AND_STATUS)?)
    }

    /// Turns a slot off, or on if something is in it; what had happened there is thereby known.
    fn set_slot_power(&mut self, bridge: Address, on: bool) {
        let Some(slot) = self.slot(bridge) else { return };
        let word = self.configuration.read_word(bridge, slot);
        if on && (word & express::PRESENCE_DETECTED == 0 || word & express::POWER_OFF == 0) {
            return;
        }
        let power =
            if on { express::POWER_INDICATOR_ON } else { express::POWER_INDICATOR | express::POWER_OFF };
        let rest = word & !(express::POWER_INDICATOR | express::POWER_OFF);
        // Bits of the status are cleared by writing them.
        self.configuration.write_word(bridge, slot, rest | power);
    }

    fn write_bus_numbers(&mut self, bridge: Address, secondary: u8, subordinate: u8) {
        let [_, _, _, latency_timer] =
            self.configuration.read_word(bridge, bridge_register::BUS_NUMBERS).to_le_bytes();
        let word = u32::from_le_bytes([bridge.bus, secondary, subordinate, latency_timer]);
        self.configuration.write_word(bridge, bridge_register::BUS_NUMBERS, word);
    }

    /// Opens the bridge for two ranges of addresses, start and end.
    fn write_windows(&mut self, bridge: Address, low: (u64, u64), high: (u64, u64)) {
        // A base above the limit closes a window.
        const CLOSED: (u64, u64) = (0xfff0_0000, 0);
        let base_and_limit = |(start, end): (u64, u64)| {
            if start < end { (start, end - 1) } else { CLOSED }
        };
        let register =
            |(base, limit): (u64, u64)| ((base >> 16) as u32 & 0xfff0) | ((limit as u32) & 0xfff0_0000);
        let low = base_and_limit(low);
        let high = base_and_limit(high);
        for (offset, word) in [
            (bridge_register::MEMORY_WINDOW, register(low)),
            (bridge_register::PREFETCHABLE_WINDOW, register(high)),
            (bridge_register::PREFETCHABLE_BASE_HIGH, (high.0 >> 32) as u32),
            (bridge_register::PREFETCHABLE_LIMIT_HIGH, (high.1 >> 32) as u32),
        ] {
            self.configuration.write_word(bridge, offset, word);
        }
    }
}

fn align(window: &mut Option<Window>) -> u64 {
    match window {
        Some(window) => window.align(BRIDGE_GRANULE_BYTES),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{PciWindow, Registers};
    use std::{cell::RefCell, collections::HashMap, rc::Rc, vec, vec::Vec};

    const MIB: u64 = 1 << 20;

    /// A function of the made-up machine: identification, and for each BAR register the bits that
    /// can be written and those that always read as set.
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

    /// Configuration space of the made-up machine: the functions by bus, device and function, where
    /// a bus number is looked up among the bridges' secondary buses as hardware would route it.
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
                // The status is not written like that.
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
            windows: vec![
                window(0x1000_0000, 0x2eff_0000, false),
                window(0x80_0000_0000, 0x80_0000_0000, true),
            ],
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

        // Another one in the place of one, which nobody has set up.
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

    /// Two root ports behind each of which firmware has placed a disk, and which have a megabyte each; its bus numbers are not those that
    /// the kernel would give.
    fn placed_machine() -> (FakeMachine, PcieHost) {
        let mut machine = FakeMachine::default();
        let disk = || FakeFunction::new(0x1042_1af4, 0x01_00_00, 0, &[memory32(0x1000)]);
        for (device, bus, window) in [(1, 4, 0x1020_1020), (2, 7, 0x1010_1010)] {
            machine.plug(0, device, FakeFunction::new(0x000c_1b36, 0x06_04_00, 1, &[]));
            let bridge = Address { bus: 0, device, function: 0 };
            machine.write_word(
                bridge,
                bridge_register::BUS_NUMBERS,
                u32::from(bus) << 8 | u32::from(bus) << 16,
            );
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
        // Memory space and bus master.
        assert_eq!(machine.register(1, 0, 0x04) & 0x6, 0x6);

        // What takes its place gets what is left of the bridge's window.
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
        // Beyond the windows, across the end of one, beyond all that is mapped, and within a window.
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
        // Nobody else trusts the registers, and nothing answers there.
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
        // Behind a root port, behind a bridge to conventional PCI, behind one that says nothing of itself.
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
        // Memory space and bus master.
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

        let addresses: Vec<_> =
            functions.iter().map(|function| std::format!("{}", function.address)).collect();
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
}
