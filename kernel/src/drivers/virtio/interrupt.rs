//! How a device interrupts: by a [`Line`], or, behind a PCI function, by messages, which its queues are told by [`Vectors`].
//!
//! The handler of a line only takes the interrupt back, so that the device can raise the next one; messages need not even that. That
//! there was one is known to whoever waits for [any](crate::drivers::interrupts::count).

use crate::{
    drivers::interrupts::{self, InterruptError},
    machine::Interrupt,
    pci,
};
use core::cell::RefCell;
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, PciRoot};

/// Registers of an MMIO transport (VIRTIO 1.2, 4.2.2).
const INTERRUPT_STATUS: usize = 0x60;
const INTERRUPT_ACK: usize = 0x64;

/// How a device interrupts.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    interrupt: Interrupt,
    handler: fn(usize),
    /// The address that the handler is called with.
    address: usize,
}

impl Line {
    /// That of the device behind an MMIO transport whose registers begin at `address`.
    pub fn of_mmio(interrupt: Interrupt, address: u64) -> Self {
        Self { interrupt, handler: acknowledge_mmio, address: address as usize }
    }

    /// That of a PCI function which has its memory, and whose pin leads to `interrupt`.
    pub fn of_pci<C: ConfigurationAccess>(
        configuration: &mut C,
        function: &pci::Function,
        interrupt: Interrupt,
    ) -> Option<Self> {
        /// A structure of one byte, the interrupt status.
        const ISR: u8 = 3;
        let address = structure_address(configuration, function, ISR, 1)? as usize;
        let configuration = RefCell::new(configuration);
        let mut root = PciRoot::new(pci::Shared::new(&configuration));
        let (_, command) = root.get_status_command(function.address);
        root.set_command(function.address, command - Command::INTERRUPT_DISABLE);
        Some(Self { interrupt, handler: acknowledge_pci, address })
    }

    /// The number of the interrupt.
    pub fn interrupt(&self) -> u32 {
        self.interrupt.number
    }

    /// Takes the device's interrupts from now on.
    ///
    /// # Errors
    /// See [`interrupts::enable`].
    pub fn enable(&self) -> Result<(), InterruptError> {
        interrupts::enable(self.interrupt, self.handler, self.address)
    }
}

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
        function: &pci::Function,
        interrupt: u32,
    ) -> Option<Self> {
        const COMMON: u8 = 1;
        const COMMON_BYTES: u64 = 56;
        let address = structure_address(configuration, function, COMMON, COMMON_BYTES)?;
        let vectors = Self { interrupt, address: address as usize };
        (address.is_multiple_of(4) && vectors.assign(0)).then_some(vectors)
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

/// Where a structure of a function is that has `size_bytes` at least (VIRTIO 1.2, 4.1.4).
fn structure_address<C: ConfigurationAccess>(
    configuration: &mut C,
    function: &pci::Function,
    kind: u8,
    size_bytes: u64,
) -> Option<u64> {
    const VENDOR_SPECIFIC: u8 = 0x09;
    /// In a capability: the number of the BAR, and the offset in that.
    const BAR: u8 = 4;
    const OFFSET: u8 = 8;
    let configuration = RefCell::new(configuration);
    let root = PciRoot::new(pci::Shared::new(&configuration));
    let is_it = |id: u8, header: u16| id == VENDOR_SPECIFIC && (header >> 8) as u8 == kind;
    let mut capabilities = root.capabilities(function.address).take(pci::MAX_CAPABILITIES);
    let found = capabilities.find(|capability| is_it(capability.id, capability.private_header))?;
    let read = |offset: u8| {
        let place = found.offset.checked_add(offset)?;
        Some(configuration.borrow().read_word(function.address, place))
    };
    let (bar_number, offset) = (read(BAR)? as u8, u64::from(read(OFFSET)?));
    let bar = function.bars.iter().find(|bar| bar.index == bar_number && bar.address != 0)?;
    (offset + size_bytes <= bar.size_bytes).then_some(bar.address + offset)
}

fn acknowledge_mmio(address: usize) {
    let status = core::ptr::with_exposed_provenance::<u32>(address + INTERRUPT_STATUS);
    let acknowledge = core::ptr::with_exposed_provenance_mut::<u32>(address + INTERRUPT_ACK);
    // SAFETY: registers of a transport, which whoever made the bus promised to be mapped for ever; the driver of what is plugged in
    // does not touch these two.
    unsafe { acknowledge.write_volatile(status.read_volatile()) };
}

fn acknowledge_pci(address: usize) {
    // SAFETY: a register in a BAR, all of which are mapped for ever; to read it takes the interrupt back, and the driver of the
    // function does not touch it.
    let _ = unsafe { core::ptr::with_exposed_provenance::<u8>(address).read_volatile() };
}
