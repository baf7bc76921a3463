//! MSI-X: a function interrupts by writing a value to an address. Both are in a table in one of its BARs, with an entry for each
//! vector (PCI Local Bus 3.0, 6.8.2).

use super::{Address, ConfigurationAccess, Function, MAX_CAPABILITIES, Shared};
use core::cell::RefCell;
use virtio_drivers::transport::pci::bus::PciRoot;

/// The capability's ID, and offsets in it.
const CAPABILITY: u8 = 0x11;
const TABLE: u8 = 4;

/// Bits of Message Control, which is the upper half of the capability's first word.
const ENABLE: u32 = 1 << 31;
const FUNCTION_MASK: u32 = 1 << 30;

/// Size of a table entry, which has four words: address, upper half of the address, data, control.
const ENTRY_BYTES: usize = 16;

/// Bit in an entry's control word: the vector is masked.
const MASKED: u32 = 1;

/// The message by which a function interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The address that it writes to.
    pub address: u64,
    /// The value that it writes.
    pub data: u32,
    /// The interrupt that this raises.
    pub interrupt: u32,
}

/// A table of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msix {
    function: Address,
    /// Offset of the capability in configuration space.
    capability: u8,
    /// The CPU's address of the table.
    pub table_address: u64,
    /// Number of vectors, at most 2048.
    pub n_vectors: u16,
}

impl Msix {
    /// The table of a function; `None` if it has none, or if the table does not lie in its memory.
    pub fn find<C: ConfigurationAccess>(configuration: &mut C, function: &Function) -> Option<Self> {
        let configuration = RefCell::new(configuration);
        let root = PciRoot::new(Shared::new(&configuration));
        let mut capabilities = root.capabilities(function.address).take(MAX_CAPABILITIES);
        let found = capabilities.find(|capability| capability.id == CAPABILITY)?;
        let table = configuration.borrow().read_word(function.address, found.offset.checked_add(TABLE)?);
        let n_vectors = (found.private_header & 0x7ff) + 1;
        let (bar_number, offset) = ((table & 7) as u8, u64::from(table & !7));
        let bar = function.bars.iter().find(|bar| bar.index == bar_number && bar.address != 0)?;
        let end = offset + u64::from(n_vectors) * ENTRY_BYTES as u64;
        let (function, capability) = (function.address, found.offset);
        let table_address = bar.address + offset;
        (end <= bar.size_bytes).then_some(Self { function, capability, table_address, n_vectors })
    }

    /// Makes the function send `message` for its first vector, and nothing for the others. `write` writes a word of the table at
    /// a byte offset. From now on the function does not use its pins.
    pub fn enable<C: ConfigurationAccess>(
        &self,
        configuration: &mut C,
        message: &Message,
        write: &mut dyn FnMut(usize, u32),
    ) {
        // Masks all vectors while the table changes.
        let control = configuration.read_word(self.function, self.capability) | ENABLE;
        configuration.write_word(self.function, self.capability, control | FUNCTION_MASK);
        for vector in 0..usize::from(self.n_vectors) {
            write(vector * ENTRY_BYTES + 12, MASKED);
        }
        let words = [message.address as u32, (message.address >> 32) as u32, message.data, 0];
        for (index, word) in words.into_iter().enumerate() {
            write(index * size_of::<u32>(), word);
        }
        configuration.write_word(self.function, self.capability, control & !FUNCTION_MASK);
    }

    /// Stops the function from sending messages, so that it interrupts by its pins.
    pub fn disable<C: ConfigurationAccess>(&self, configuration: &mut C) {
        let control = configuration.read_word(self.function, self.capability) & !ENABLE;
        configuration.write_word(self.function, self.capability, control);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{Bar, BarKind};
    use std::{cell::RefCell, rc::Rc, vec, vec::Vec};

    const FUNCTION: Address = Address { bus: 0, device: 3, function: 0 };

    /// Configuration space of one function, and the writes to it and to its table.
    #[derive(Clone)]
    struct Fake(Rc<RefCell<Vec<u32>>>);

    impl ConfigurationAccess for Fake {
        fn read_word(&self, _: Address, offset: u8) -> u32 {
            self.0.borrow()[usize::from(offset) / 4]
        }

        fn write_word(&mut self, _: Address, offset: u8, data: u32) {
            self.0.borrow_mut()[usize::from(offset) / 4] = data;
        }

        #[allow(unsafe_code, reason = "the trait has it so")]
        unsafe fn unsafe_clone(&self) -> Self {
            self.clone()
        }
    }

    /// A function with the words at these offsets in its configuration space.
    fn fake(words: &[(usize, u32)]) -> Fake {
        let mut space = vec![0; 64];
        // There is a list of capabilities, which begins at 0x40.
        (space[1], space[0x34 / 4]) = (1 << 20, 0x40);
        words.iter().for_each(|&(offset, word)| space[offset / 4] = word);
        Fake(Rc::new(RefCell::new(space)))
    }

    fn function(size_bytes: u64) -> Function {
        Function {
            address: FUNCTION,
            vendor_id: 0,
            device_id: 0,
            class: 0,
            subclass: 0,
            interface: 0,
            bars: vec![Bar { index: 1, address: 0x1000_0000, size_bytes, kind: BarKind::Memory32 }],
            notice: None,
        }
    }

    fn find(words: &[(usize, u32)], size_bytes: u64) -> Option<Msix> {
        Msix::find(&mut fake(words), &function(size_bytes))
    }

    #[test]
    fn the_table_is_found_in_the_memory_of_its_function() {
        let other = (0x40, 0x0000_6009);
        let found = find(&[other, (0x60, 0x0003_0011), (0x64, 0x0801)], 0x1000).unwrap();
        assert_eq!((found.table_address, found.n_vectors), (0x1000_0800, 4));
        // A different capability; one beyond configuration space.
        assert_eq!(find(&[other], 0x1000), None);
        assert_eq!(find(&[(0x40, 0xfc09), (0xfc, 0x11)], 0x1000), None);
        // A table in a BAR that does not exist, and one that is longer than its BAR.
        assert_eq!(find(&[(0x40, 0x0003_0011), (0x44, 0x0802)], 0x1000), None);
        assert_eq!(find(&[(0x40, 0x07ff_0011), (0x44, 0x0001)], 0x4000), None);
        // A chain that forms a loop.
        assert_eq!(find(&[(0x40, 0x6009), (0x60, 0x4009)], 0x1000), None);
    }

    #[test]
    fn one_vector_is_set_while_none_can_be_sent_and_disabled_it_leaves_the_pin() {
        let mut fake = fake(&[(0x40, 0x0001_0011), (0x44, 1)]);
        let msix = Msix::find(&mut fake, &function(0x1000)).unwrap();
        let message = Message { address: 0x1_0802_0040, data: 81, interrupt: 81 };
        let mut table = [7; 8];
        let seen = fake.clone();
        msix.enable(&mut fake, &message, &mut |offset, word| {
            assert_eq!(seen.read_word(FUNCTION, 0x40), 0xc001_0011);
            table[offset / 4] = word;
        });
        assert_eq!(table, [0x0802_0040, 1, 81, 0, 7, 7, 7, 1]);
        assert_eq!(seen.read_word(FUNCTION, 0x40), 0x8001_0011);
        msix.disable(&mut fake);
        assert_eq!(seen.read_word(FUNCTION, 0x40), 0x0001_0011);
    }
}
