//! [`AnyTransport`]: the registers of a virtio device, whichever way they are accessed.

use super::pci::PciTransport;
use virtio_drivers::{
    Error, PhysAddr,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport, mmio::MmioTransport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// How a device's registers are accessed.
pub enum AnyTransport {
    /// Registers in memory (VIRTIO 1.2, 4.2).
    Mmio(MmioTransport<'static>),
    /// A PCI function.
    Pci(PciTransport),
    /// A simulated device in a test.
    #[cfg(test)]
    Fake(super::fake::FakeTransport),
}

impl From<MmioTransport<'static>> for AnyTransport {
    fn from(transport: MmioTransport<'static>) -> Self {
        Self::Mmio(transport)
    }
}

impl From<PciTransport> for AnyTransport {
    fn from(transport: PciTransport) -> Self {
        Self::Pci(transport)
    }
}

/// Runs the same code with any transport.
macro_rules! with {
    ($transport:expr, $name:ident => $use:expr) => {
        match $transport {
            AnyTransport::Mmio($name) => $use,
            AnyTransport::Pci($name) => $use,
            #[cfg(test)]
            AnyTransport::Fake($name) => $use,
        }
    };
}

impl Transport for AnyTransport {
    fn device_type(&self) -> DeviceType {
        with!(self, transport => transport.device_type())
    }

    #[inline(never)]
    fn read_device_features(&mut self) -> u64 {
        with!(self, transport => transport.read_device_features())
    }

    #[inline(never)]
    fn write_driver_features(&mut self, features: u64) {
        with!(self, transport => transport.write_driver_features(features));
    }

    #[inline(never)]
    fn max_queue_size(&mut self, queue: u16) -> u32 {
        with!(self, transport => transport.max_queue_size(queue))
    }

    #[inline(never)]
    fn notify(&mut self, queue: u16) {
        with!(self, transport => transport.notify(queue));
    }

    #[inline(never)]
    fn get_status(&self) -> DeviceStatus {
        with!(self, transport => transport.get_status())
    }

    #[inline(never)]
    fn set_status(&mut self, status: DeviceStatus) {
        with!(self, transport => transport.set_status(status));
    }

    #[inline(never)]
    fn set_guest_page_size(&mut self, bytes: u32) {
        with!(self, transport => transport.set_guest_page_size(bytes));
    }

    fn requires_legacy_layout(&self) -> bool {
        with!(self, transport => transport.requires_legacy_layout())
    }

    #[inline(never)]
    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        with!(self, transport => transport.queue_set(queue, size, descriptors, driver_area, device_area));
    }

    fn queue_unset(&mut self, queue: u16) {
        with!(self, transport => transport.queue_unset(queue));
    }

    #[inline(never)]
    fn queue_used(&mut self, queue: u16) -> bool {
        with!(self, transport => transport.queue_used(queue))
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        with!(self, transport => transport.ack_interrupt())
    }

    fn read_config_generation(&self) -> u32 {
        with!(self, transport => transport.read_config_generation())
    }

    #[inline(never)]
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        with!(self, transport => transport.read_config_space(offset))
    }

    #[inline(never)]
    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<(), Error> {
        with!(self, transport => transport.write_config_space(offset, value))
    }
}
