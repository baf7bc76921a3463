//! Finds what firmware has set up, for machines that do not describe the bus's address windows.

use super::{Address, ConfigurationAccess, Shared};
use crate::machine::{ADDRESS_SPACE, PciWindow, PcieHost};
use alloc::vec::Vec;
use core::cell::RefCell;
use virtio_drivers::transport::pci::bus::{BarInfo, HeaderType, PciRoot};

/// Granularity of bridge windows.
const GRANULE_BYTES: u64 = 1 << 20;

/// The windows that contain the current memory of all functions, whether enabled or not, and the ranges that bridges are open
/// for: one window below 4 GiB and one above. The CPU's addresses are assumed to equal the bus's, as in ACPI when a machine says
/// nothing else.
pub fn placed_windows<C: ConfigurationAccess>(host: &PcieHost, configuration: &mut C) -> Vec<PciWindow> {
    /// Offset of a bridge's bus numbers (PCI-to-PCI Bridge Architecture 1.2, 3.2).
    const BUS_NUMBERS: u8 = 0x18;
    let configuration = RefCell::new(configuration);
    let mut root = PciRoot::new(Shared::new(&configuration));
    // Below and above 4 GiB: first address and end.
    let mut ranges = [(u64::MAX, 0); 2];
    let mut add = |address: u64, end: u64| {
        if address != 0 && address < end && end <= ADDRESS_SPACE.end {
            let (first, last) = &mut ranges[usize::from(address >> 32 != 0)];
            (*first, *last) = ((*first).min(address), (*last).max(end));
        }
    };
    let mut buses = Vec::from([host.buses.0]);
    // Each bus is examined once, whatever bridges say.
    let mut next = 0;
    while let Some(&bus) = buses.get(next) {
        next += 1;
        let functions: Vec<_> = root.enumerate_bus(bus).collect();
        for (address, info) in functions {
            let n_bars = match info.header_type {
                HeaderType::Standard => 6,
                HeaderType::PciPciBridge => {
                    let [_, secondary, ..] =
                        configuration.borrow().read_word(address, BUS_NUMBERS).to_le_bytes();
                    let is_there = (host.buses.0..=host.buses.1).contains(&secondary);
                    if is_there && !buses.contains(&secondary) {
                        buses.push(secondary);
                    }
                    let (start, end) = bridge_window(&**configuration.borrow(), address);
                    add(start, end);
                    2
                }
                _ => 0,
            };
            let mut index = 0;
            while index < n_bars {
                let Ok(Some(bar)) = root.bar_info(address, index) else {
                    index += 1;
                    continue;
                };
                index += if bar.takes_two_entries() { 2 } else { 1 };
                if let BarInfo::Memory { address, size, .. } = bar {
                    add(address, address.saturating_add(size));
                }
            }
        }
    }
    let windows = [false, true].into_iter().zip(ranges).filter_map(|(is_64_bit, (first, end))| {
        let first = first / GRANULE_BYTES * GRANULE_BYTES;
        let size_bytes = end.checked_next_multiple_of(GRANULE_BYTES)?.checked_sub(first)?;
        (end != 0).then_some(PciWindow { bus_address: first, cpu_address: first, size_bytes, is_64_bit })
    });
    windows.collect()
}

/// The range below 4 GiB that a bridge is open for, as start and end. If it is closed, the end is not above the start (PCI-to-PCI
/// Bridge Architecture 1.2, 3.2.5.8).
pub fn bridge_window<C: ConfigurationAccess>(configuration: &C, bridge: Address) -> (u64, u64) {
    const MEMORY_WINDOW: u8 = 0x20;
    let word = configuration.read_word(bridge, MEMORY_WINDOW);
    (u64::from(word & 0xfff0) << 16, u64::from(word & 0xfff0_0000) + GRANULE_BYTES)
}
