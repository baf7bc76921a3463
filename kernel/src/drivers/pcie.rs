//! The PCI host bridge, whose configuration space is mapped into memory.

use crate::{machine::PcieHost, pci};
use core::ptr::NonNull;
use safe_mmio::{UniqueMmioPointer, fields::ReadPureWrite};

/// Configuration space of one host bridge.
pub struct Ecam {
    words: UniqueMmioPointer<'static, [ReadPureWrite<u32>]>,
    host: PcieHost,
}

impl Ecam {
    /// The ECAM of `host`, or `None` if its address is null.
    ///
    /// # Safety
    /// The ECAM must be mapped as device memory for ever and used by nothing else.
    pub unsafe fn new(host: &PcieHost) -> Option<Self> {
        let first = core::ptr::with_exposed_provenance_mut(host.ecam.address as usize);
        let count = host.ecam.size_bytes as usize / size_of::<u32>();
        let words = NonNull::slice_from_raw_parts(NonNull::new(first)?, count);
        Some(Self {
            // SAFETY: the caller promises mapped registers that nothing else uses.
            words: unsafe { UniqueMmioPointer::new(words) },
            host: host.clone(),
        })
    }

    fn word_index(&self, function: pci::Address, register_offset: u8) -> Option<usize> {
        let pci::Address { bus, device, function } = function;
        let offset = self.host.configuration_offset(bus, device, function, register_offset)?;
        Some(offset as usize / size_of::<u32>())
    }
}

impl pci::ConfigurationAccess for Ecam {
    fn read_word(&self, function: pci::Address, register_offset: u8) -> u32 {
        // Reads of a function that does not exist return all ones.
        let Some(index) = self.word_index(function, register_offset) else {
            return u32::MAX;
        };
        match (*self.words).get(index) {
            Some(word) => word.read(),
            None => u32::MAX,
        }
    }

    fn write_word(&mut self, function: pci::Address, register_offset: u8, data: u32) {
        let Some(index) = self.word_index(function, register_offset) else {
            return;
        };
        if let Some(mut word) = self.words.get(index) {
            word.write(data);
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        let words = NonNull::new(self.words.ptr().cast_mut()).expect("it was not null before");
        Self {
            // SAFETY: the pointer comes from `self.words`, so it is valid. The caller only reads registers without side effects,
            // so a second pointer does no harm.
            words: unsafe { UniqueMmioPointer::new(words) },
            host: self.host.clone(),
        }
    }
}
