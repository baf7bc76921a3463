//! Address space of the host bridge, which is assigned from the bottom up.

use crate::machine::PciWindow;

/// The rest of a window.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    next: u64,
    end: u64,
    cpu_minus_bus: u64,
}

impl Window {
    /// A window of which nothing has been assigned.
    pub fn new(window: &PciWindow) -> Self {
        Self {
            next: window.bus_address,
            end: window.bus_address.saturating_add(window.size_bytes),
            cpu_minus_bus: window.cpu_address.wrapping_sub(window.bus_address),
        }
    }

    /// Assigns `size_bytes`, a power of two, at a multiple of that size, and returns the bus address. Address 0 is never
    /// assigned, because devices interpret it as "no address".
    pub fn take(&mut self, size_bytes: u64) -> Option<u64> {
        let start = self.next.max(1).checked_next_multiple_of(size_bytes)?;
        let end = start.checked_add(size_bytes)?;
        if end > self.end {
            return None;
        }
        self.next = end;
        Some(start)
    }

    /// Moves the start of the rest up to a multiple of `align_bytes` and returns it.
    pub fn align(&mut self, align_bytes: u64) -> u64 {
        self.next = match self.next.checked_next_multiple_of(align_bytes) {
            Some(next) => next.min(self.end),
            None => self.end,
        };
        self.next
    }

    /// The CPU's address that corresponds to `bus_address`.
    pub fn cpu_address(&self, bus_address: u64) -> u64 {
        bus_address.wrapping_add(self.cpu_minus_bus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(bus_address: u64, size_bytes: u64) -> Window {
        Window::new(&PciWindow {
            bus_address,
            cpu_address: bus_address + 0x10_0000_0000,
            size_bytes,
            is_64_bit: false,
        })
    }

    #[test]
    fn addresses_are_aligned_to_their_size() {
        let mut window = window(0x1000, 0xf000);
        assert_eq!(window.take(0x10), Some(0x1000));
        assert_eq!(window.take(0x1000), Some(0x2000));
        assert_eq!(window.take(0x4000), Some(0x4000));
        assert_eq!(window.take(0x8000), Some(0x8000));
        assert_eq!(window.take(1), None);
        assert_eq!(window.cpu_address(0x2000), 0x10_0000_2000);
    }

    #[test]
    fn address_zero_is_skipped_and_overflow_refused() {
        assert_eq!(window(0, 0x100).take(0x10), Some(0x10));
        assert_eq!(window(0x1000, 0x1000).take(1 << 63), None);
        assert_eq!(window(0x1000, 0x800).align(0x10_0000), 0x1800);
    }
}
