//! [`Vectors`]: interrupts of a device behind a PCI function by messages, which need no handler.

use super::pci::{COMMON, Structure, common};
use crate::pci::Function;
use virtio_drivers::transport::pci::bus::ConfigurationAccess;

/// Makes a function's queues interrupt by messages; all of them use the message of vector 0.
#[derive(Debug, Clone, Copy)]
pub struct Vectors {
    /// The number of the interrupt.
    pub interrupt: u32,
    /// Address of the common configuration.
    address: usize,
}

impl Vectors {
    /// For a function whose memory is mapped, and whose messages raise `interrupt`.
    pub fn of_pci<C: ConfigurationAccess>(
        configuration: &mut C,
        function: &Function,
        interrupt: u32,
    ) -> Option<Self> {
        let address = Structure::find(configuration, function, COMMON, common::BYTES).ok()?.address;
        let vectors = Self { interrupt, address };
        vectors.assign(0).then_some(vectors)
    }

    /// Makes a queue interrupt; must be called before the queue is enabled after a reset. False if the device cannot do that.
    pub fn assign(self, queue: u16) -> bool {
        /// Offsets in the common configuration (VIRTIO 1.2, 4.1.4.3).
        const QUEUE_SELECT: usize = 22;
        const QUEUE_VECTOR: usize = 26;
        // SAFETY: the register is in a BAR, and all BARs are mapped for ever; the transport selects a queue again whenever it needs one.
        unsafe { self.register(QUEUE_SELECT).write_volatile(queue) };
        self.set(QUEUE_VECTOR)
    }

    /// Makes changes of the configuration interrupt; false if the device cannot do that.
    pub fn assign_configuration(self) -> bool {
        const CONFIGURATION_VECTOR: usize = 16;
        self.set(CONFIGURATION_VECTOR)
    }

    fn set(self, offset: usize) -> bool {
        const VECTOR: u16 = 0;
        let register = self.register(offset);
        // SAFETY: the registers are in a BAR, and all BARs are mapped for ever.
        unsafe {
            register.write_volatile(VECTOR);
            register.read_volatile() == VECTOR
        }
    }

    fn register(self, offset: usize) -> *mut u16 {
        core::ptr::with_exposed_provenance_mut(self.address + offset)
    }
}
