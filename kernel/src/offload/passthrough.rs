//! A display or 3D controller, found on the PCI bus, that does not compute.

use super::{Capabilities, Offload, OffloadError};
use crate::pci::{BarKind, Function};
use alloc::{format, string::String, vec::Vec};

/// PCI base class 3: display controllers, which include 3D controllers (PCI Code and ID Assignment Specification 1.11, 1.4).
const DISPLAY_CLASS: u8 = 0x03;

/// A graphics device whose memory is mapped but whose compute engines cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassthroughDevice {
    name: String,
    memory_bytes: Vec<u64>,
}

impl PassthroughDevice {
    /// The first display or 3D controller among `functions`, if there is one.
    pub fn probe(functions: &[Function]) -> Option<Self> {
        let function = functions.iter().find(|function| function.class == DISPLAY_CLASS)?;
        let kind = match function.subclass {
            0x00 => "VGA controller",
            0x02 => "3D controller",
            _ => "display controller",
        };
        let mapped = function.bars.iter().filter(|bar| bar.kind != BarKind::Io && bar.address != 0);
        Some(Self {
            name: format!(
                "{kind} {:04x}:{:04x} at {}",
                function.vendor_id, function.device_id, function.address
            ),
            memory_bytes: mapped.map(|bar| bar.size_bytes).collect(),
        })
    }
}

impl Offload for PassthroughDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { matmul: false, memory_bytes: self.memory_bytes.clone() }
    }

    fn matmul(&mut self, _weights: &[f32], _x: &[f32], _out: &mut [f32]) -> Result<(), OffloadError> {
        Err(OffloadError::Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{Address, Bar};

    fn function(class: u8, subclass: u8) -> Function {
        let bar = |index, address, kind| Bar { index, address, size_bytes: 0x100_0000, kind };
        Function {
            address: Address { bus: 1, device: 2, function: 0 },
            vendor_id: 0x1234,
            device_id: 0x1111,
            class,
            subclass,
            interface: 0,
            bars: [
                bar(0, 0x1000_0000, BarKind::Memory32),
                bar(2, 0, BarKind::Memory32),
                bar(4, 0x1000, BarKind::Io),
            ]
            .into(),
            notice: None,
        }
    }

    #[test]
    fn takes_a_display_controller_and_nothing_else() {
        let disk = function(0x01, 0x00);
        assert_eq!(PassthroughDevice::probe(&[]), None);
        assert_eq!(PassthroughDevice::probe(core::slice::from_ref(&disk)), None);
        let device = PassthroughDevice::probe(&[disk, function(0x03, 0x02)]).unwrap();
        assert_eq!(device.name(), "3D controller 1234:1111 at 01:02.0");
        assert_eq!(device.capabilities().memory_bytes, [0x100_0000]);
    }

    #[test]
    fn says_that_it_does_not_compute() {
        let mut device = PassthroughDevice::probe(&[function(0x03, 0x00)]).unwrap();
        assert!(!device.capabilities().matmul);
        let mut out = [5.0];
        assert_eq!(device.matmul(&[1.0], &[2.0], &mut out), Err(OffloadError::Unsupported));
        assert_eq!(out, [5.0]);
    }
}
