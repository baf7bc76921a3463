//! What firmware has set up, where nobody says which addresses lead to the bus.

use super::{ConfigurationAccess, Shared};
use crate::machine::{PciWindow, PcieHost};
use alloc::vec::Vec;
use core::cell::RefCell;
use virtio_drivers::transport::pci::bus::{BarInfo, HeaderType, PciRoot};

/// Bridges divide addresses in units of this.
const GRANULE_BYTES: u64 = 1 << 20;

/// The windows in which the memory of all functions lies now, one below 4 GiB and one above. The CPU's addresses are taken for the
/// bus's, as ACPI has it on machines that say nothing else.
pub fn placed_windows<C: ConfigurationAccess>(host: &PcieHost, configuration: &mut C) -> Vec<PciWindow> {
    let configuration = RefCell::new(configuration);
    let mut root = PciRoot::new(Shared::new(&configuration));
    // Below and above 4 GiB: first address and end.
    let mut ranges = [(u64::MAX, 0); 2];
    for bus in host.buses.0..=host.buses.1 {
        let functions: Vec<_> = root.enumerate_bus(bus).collect();
        for (address, info) in functions {
            let n_bars = match info.header_type {
                HeaderType::Standard => 6,
                HeaderType::PciPciBridge => 2,
                _ => 0,
            };
            let mut index = 0;
            while index < n_bars {
                let Ok(Some(bar)) = root.bar_info(address, index) else {
                    index += 1;
                    continue;
                };
                index += if bar.takes_two_entries() { 2 } else { 1 };
                if let BarInfo::Memory { address, size, .. } = bar
                    && address != 0
                    && let Some(end) = address.checked_add(size)
                {
                    let (first, last) = &mut ranges[usize::from(address >> 32 != 0)];
                    (*first, *last) = ((*first).min(address), (*last).max(end));
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
