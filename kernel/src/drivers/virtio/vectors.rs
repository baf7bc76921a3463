//! [`Vectors`]: how a device behind a PCI function interrupts by messages, which need no handler.

use super::pci::{COMMON, Structure, common};
use crate::pci::Function;
use virtio_drivers::transport::pci::bus::ConfigurationAccess;

/// What tells a function's queues that they interrupt by messages, all of them by that of vector 0.
#[derive(Debug, Clone, Copy)]
pub struct Vectors {
    /// The number of the interrupt.
    pub interrupt: u32,
    /// Where the common configuration is.
    address: usize,
}

impl Vectors {
    /// Those of a function that has its memory, and whose messages raise `interrupt`.
    pub fn of_pci<C: ConfigurationAccess>(
        configuration: &mut C,
        function: &Function,
        interrupt: u32,
    ) -> Option<Self> {
        let address = Structure::find(configuration, function, COMMON, common::BYTES).ok()?.address;
        let vectors = Self { interrupt, address };
        vectors.assign(0).then_some(vectors)
    }

    /// Has a queue interrupt, which has not been enabled since the device was reset; false if the device cannot do that.
    pub fn assign(self, queue: u16) -> bool {
        /// Offsets in the common configuration (VIRTIO 1.2, 4.1.4.3).
        const QUEUE_SELECT: usize = 22;
        const QUEUE_VECTOR: usize = 26;
        // SAFETY: a register in a BAR, all of which are mapped for ever; the transport selects a queue anew whenever it needs one.
        unsafe { self.register(QUEUE_SELECT).write_volatile(queue) };
        self.set(QUEUE_VECTOR)
    }

    /// Has changes of the configuration interrupt; false if the device cannot do that.
    pub fn assign_configuration(self) -> bool {
        const CONFIGURATION_VECTOR: usize = 16;
        self.set(CONFIGURATION_VECTOR)
    }

    fn set(self, offset: usize) -> bool {
        const VECTOR: u16 = 0;
        let register = self.register(offset);
        // SAFETY: as above.
        unsafe {
            register.write_volatile(VECTOR);
            register.read_volatile() == VECTOR
        }
    }

    fn register(self, offset: usize) -> *mut u16 {
        core::ptr::with_exposed_provenance_mut(self.address + offset)
    }
}
