//! Walks the buses, numbers them, and assigns addresses to BARs.
//!
//! The walk is depth first. A bridge's memory window is whatever was assigned while the buses behind it were walked, rounded to
//! the megabyte granularity of bridge registers (PCI-to-PCI Bridge Architecture Specification 1.2, chapter 3).

#[cfg(test)]
mod tests;

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

/// BARs of at least this size go into the 64-bit window if possible, because the 32-bit one is small.
const LARGE_BAR_BYTES: u64 = 64 << 20;

/// Offsets in a bridge's configuration space (PCI-to-PCI Bridge Architecture 1.2, 3.2).
mod bridge_register {
    pub const BUS_NUMBERS: u8 = 0x18;
    pub const MEMORY_WINDOW: u8 = 0x20;
    pub const PREFETCHABLE_WINDOW: u8 = 0x24;
    pub const PREFETCHABLE_BASE_HIGH: u8 = 0x28;
    pub const PREFETCHABLE_LIMIT_HIGH: u8 = 0x2c;
}

/// Offsets in the PCI Express capability, and bits of its registers (PCI Express Base 5.0, 7.5.3).
mod express {
    pub const CAPABILITY: u8 = 0x10;
    /// Types of ports that may have slots: those of a root complex, and of switches.
    pub const PORTS: core::ops::RangeInclusive<u16> = 4..=6;
    pub const SLOT_CAPABILITIES: u8 = 0x14;
    pub const POWER_CONTROLLER_PRESENT: u32 = 1 << 1;
    /// Control in the lower half, status in the upper half.
    pub const SLOT_CONTROL_AND_STATUS: u8 = 0x18;
    pub const POWER_INDICATOR: u32 = 0b11 << 8;
    pub const POWER_INDICATOR_ON: u32 = 0b01 << 8;
    pub const POWER_OFF: u32 = 1 << 10;
    pub const ATTENTION_BUTTON_PRESSED: u32 = 1 << 16;
    pub const PRESENCE_DETECTED: u32 = 1 << 22;
}

/// The buses below a host bridge, and how they have been set up.
#[derive(Debug)]
pub struct Buses {
    /// Address space that can still be assigned. If firmware has placed everything, that is only the rest of a bridge's window.
    low: Option<Window>,
    high: Option<Window>,
    /// All address space that the CPU can reach.
    windows: Vec<PciWindow>,
    is_placed: bool,
    first_bus: u8,
    next_bus: Option<u8>,
    last_bus: u8,
    functions: Vec<Function>,
    /// Bridges, and the numbers of the buses directly behind them.
    bridges: Vec<(Address, u8)>,
}

impl Buses {
    /// The buses below `host`, with nothing set up yet.
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

    /// Whether the CPU can reach this whole range: only the windows that existed when the kernel was booted are mapped.
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

    /// The device and the pin on the first bus at which an interrupt pin (1 to 4) of a function arrives. Each bridge on the way
    /// rotates the pins of the devices behind it (PCI-to-PCI Bridge Architecture 1.2, 9.1).
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

    /// Sets how a function, which has a driver now, signals to the driver.
    pub fn set_notice(&mut self, address: Address, notice: Notice) {
        let function = self.functions.iter_mut().find(|function| function.address == address);
        function.into_iter().for_each(|function| function.notice = Some(notice));
    }

    /// The requester ID of a function's messages; `None` if a bridge on their way replaces it, as bridges to buses other than PCI
    /// Express may do (PCI Express to PCI/PCI-X Bridge Specification 1.0, 2.3).
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

    /// Finds functions and sets them up: the first time all of them; later those that have been plugged in, if nothing else is
    /// behind their bridge. What was set up before stays as it is.
    ///
    /// A BAR that fits into no window is listed with address 0, and its function's memory stays disabled. The same holds for a
    /// BAR that firmware or a monitor has placed outside all windows, where the CPU cannot reach it, if it does not fit into a
    /// window either.
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

    /// Forgets functions that are gone or have been replaced by others, and returns their addresses.
    pub fn take_vanished<C: ConfigurationAccess>(&mut self, configuration: &mut C) -> Vec<Address> {
        let is_there = |function: &Function| {
            const COMMAND: u8 = 4;
            let ids = u32::from(function.device_id) << 16 | u32::from(function.vendor_id);
            // A function that nobody has set up responds at no address, and neither does one whose memory stayed disabled.
            let needs_memory = function.bars.iter().any(|bar| bar.address != 0) && function.has_memory();
            let answers =
                configuration.read_word(function.address, COMMAND) & Command::MEMORY_SPACE.bits() as u32;
            configuration.read_word(function.address, 0) == ids && (answers != 0 || !needs_memory)
        };
        let (there, vanished): (Vec<_>, Vec<_>) = self.functions.drain(..).partition(is_there);
        self.functions = there;
        vanished.into_iter().map(|function| function.address).collect()
    }

    /// The functions whose slot's attention button was pressed, because somebody wants to unplug them.
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

    /// Turns off the power of a slot, so that its function can be unplugged.
    pub fn release<C: ConfigurationAccess>(&mut self, configuration: &mut C, function: Address) {
        let configuration = RefCell::new(configuration);
        let bridge = self.bridges.iter().find(|(_, secondary)| *secondary == function.bus).copied();
        self.functions.retain(|other| other.address.bus != function.bus);
        if let Some((bridge, _)) = bridge {
            Walk::new(self, &configuration).set_slot_power(bridge, false);
        }
    }
}

/// Lets two users take turns in accessing configuration space: `PciRoot`, which owns its access and has no method for a bridge's
/// registers, and the walk, which writes these.
pub struct Shared<'c, 'm, C>(&'c RefCell<&'m mut C>);

impl<'c, 'm, C> Shared<'c, 'm, C> {
    /// A user's access.
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

    /// Sets up the new functions of a bus.
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

        // An unused pin may share its interrupt with a used one, so it is disabled.
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
            // If nothing says which bus addresses lead there, they equal the CPU's.
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
        // A bridge that was plugged in later may claim any window for itself, so make sure that the CPU reaches the address.
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
            // Each bus must be behind only one bridge, since the walk would not end otherwise.
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

    /// Sets up what is behind a bridge that has not been set up, and opens the bridge for it.
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

    /// The rest of a bridge's window, as firmware has set it, after the memory of the functions there; `None` if there are
    /// bridges among them.
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

    /// Where the control and status register of a bridge's slot is, if the slot's power can be switched.
    fn slot(&self, bridge: Address) -> Option<u8> {
        let mut capabilities = self.root.capabilities(bridge).take(MAX_CAPABILITIES);
        let capability = capabilities.find(|found| found.id == express::CAPABILITY)?;
        let capabilities = capability.offset.checked_add(express::SLOT_CAPABILITIES)?;
        let has_power =
            self.configuration.read_word(bridge, capabilities) & express::POWER_CONTROLLER_PRESENT;
        (has_power != 0).then_some(capability.offset.checked_add(express::SLOT_CONTROL_AND_STATUS)?)
    }

    /// Turns a slot off, or on if something is plugged in, and clears the slot's events.
    fn set_slot_power(&mut self, bridge: Address, on: bool) {
        let Some(slot) = self.slot(bridge) else { return };
        let word = self.configuration.read_word(bridge, slot);
        if on && (word & express::PRESENCE_DETECTED == 0 || word & express::POWER_OFF == 0) {
            return;
        }
        let power =
            if on { express::POWER_INDICATOR_ON } else { express::POWER_INDICATOR | express::POWER_OFF };
        let rest = word & !(express::POWER_INDICATOR | express::POWER_OFF);
        // Status bits are cleared by writing ones.
        self.configuration.write_word(bridge, slot, rest | power);
    }

    fn write_bus_numbers(&mut self, bridge: Address, secondary: u8, subordinate: u8) {
        let [_, _, _, latency_timer] =
            self.configuration.read_word(bridge, bridge_register::BUS_NUMBERS).to_le_bytes();
        let word = u32::from_le_bytes([bridge.bus, secondary, subordinate, latency_timer]);
        self.configuration.write_word(bridge, bridge_register::BUS_NUMBERS, word);
    }

    /// Opens the bridge for two ranges of addresses, each given by start and end.
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
