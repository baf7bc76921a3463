//! QEMU's firmware configuration device, `fw_cfg`, which gives the guest files from the host. Source: QEMU, docs/specs/fw_cfg.rst.
//!
//! Also compiled for the host, where a test replaces the device.

use alloc::vec::Vec;

/// The registers of the device.
pub trait Registers {
    /// Selects an item, to be read from its beginning.
    fn select(&mut self, key: u16);

    /// The next byte of the item; 0 after its end.
    fn read(&mut self) -> u8;
}

/// The item that identifies the device.
const SIGNATURE: (u16, [u8; 4]) = (0x0000, *b"QEMU");
/// The directory: a count, followed by that many entries (size, key, two reserved bytes, name). Numbers are big-endian.
const FILE_DIRECTORY: u16 = 0x0019;
/// Keys have 14 bits.
const MAX_FILES: u32 = 1 << 14;
/// Length of the name field, which is padded with zeros.
const NAME_BYTES: usize = 56;

/// The file of this name; `None` if there is no such file, or no device.
///
/// # Errors
/// The file's size, if it exceeds `max_bytes`.
pub fn read_file(device: &mut impl Registers, name: &str, max_bytes: u32) -> Result<Option<Vec<u8>>, u32> {
    device.select(SIGNATURE.0);
    if bytes::<4>(device) != SIGNATURE.1 {
        return Ok(None);
    }
    device.select(FILE_DIRECTORY);
    let n_files = u32::from_be_bytes(bytes(device)).min(MAX_FILES);
    for _ in 0..n_files {
        let size_bytes = u32::from_be_bytes(bytes(device));
        let [high, low, _, _] = bytes(device);
        let entry: [u8; NAME_BYTES] = bytes(device);
        if entry.split(|&byte| byte == 0).next() != Some(name.as_bytes()) {
            continue;
        }
        if size_bytes > max_bytes {
            return Err(size_bytes);
        }
        device.select(u16::from_be_bytes([high, low]));
        return Ok(Some((0..size_bytes).map(|_| device.read()).collect()));
    }
    Ok(None)
}

fn bytes<const N: usize>(device: &mut impl Registers) -> [u8; N] {
    core::array::from_fn(|_| device.read())
}

/// The device's registers in memory.
#[cfg(target_os = "none")]
pub struct Mmio(core::ptr::NonNull<u8>);

#[cfg(target_os = "none")]
impl Mmio {
    const SELECTOR: usize = 8;

    /// The registers at this place; `None` if its address is 0.
    ///
    /// # Safety
    /// They must belong to such a device, be mapped as device memory, and be used by nothing else.
    pub unsafe fn new(registers: &crate::machine::Registers) -> Option<Self> {
        core::ptr::NonNull::new(core::ptr::with_exposed_provenance_mut(registers.address as usize)).map(Self)
    }
}

#[cfg(target_os = "none")]
impl Registers for Mmio {
    fn select(&mut self, key: u16) {
        // SAFETY: the caller of `new` promised that the registers are mapped; the selector is a big-endian 16-bit number.
        unsafe { self.0.byte_add(Self::SELECTOR).cast::<u16>().write_volatile(key.to_be()) };
    }

    fn read(&mut self) -> u8 {
        // SAFETY: the caller of `new` promised that the registers are mapped; reading a byte of the data register returns the
        // item's next byte.
        unsafe { self.0.read_volatile() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, vec};

    /// The items, the selected one, and the read position in it.
    #[derive(Default)]
    struct Device {
        items: BTreeMap<u16, Vec<u8>>,
        key: u16,
        offset: usize,
        n_reads: usize,
    }

    impl Registers for Device {
        fn select(&mut self, key: u16) {
            (self.key, self.offset) = (key, 0);
        }

        fn read(&mut self) -> u8 {
            self.n_reads += 1;
            let byte = self.items.get(&self.key).and_then(|item| item.get(self.offset));
            self.offset += 1;
            byte.copied().unwrap_or(0)
        }
    }

    impl Device {
        fn with_files(files: &[(&str, &[u8])]) -> Self {
            let mut directory = (files.len() as u32).to_be_bytes().to_vec();
            let mut items = BTreeMap::from([(0, b"QEMU".to_vec())]);
            for (key, (name, content)) in (0x20_u16..).zip(files) {
                directory.extend((content.len() as u32).to_be_bytes());
                directory.extend(key.to_be_bytes());
                directory.extend([0; 2]);
                let mut entry = name.as_bytes().to_vec();
                entry.resize(NAME_BYTES, 0);
                directory.extend(entry);
                items.insert(key, content.to_vec());
            }
            items.insert(FILE_DIRECTORY, directory);
            Self { items, ..Self::default() }
        }
    }

    #[test]
    fn a_file_is_found_by_its_whole_name() {
        let longest = "n".repeat(NAME_BYTES);
        let files: [(&str, &[u8]); 4] =
            [("opt/a", b"first"), ("opt/ab", b"second\0\n"), ("opt/empty", b""), (&longest, b"long")];
        let mut device = Device::with_files(&files);
        for (name, content) in files {
            assert_eq!(read_file(&mut device, name, 8), Ok(Some(content.to_vec())), "{name}");
        }
        for name in ["opt/", "opt/abc", "", "opt/ab\0"] {
            assert_eq!(read_file(&mut device, name, 8), Ok(None), "{name:?}");
        }
        assert_eq!(read_file(&mut device, "opt/ab", 7), Err(8));
    }

    #[test]
    fn what_is_no_such_device_has_no_file() {
        assert_eq!(read_file(&mut Device::default(), "", 8), Ok(None));
        let mut device = Device::with_files(&[("opt/a", b"first")]);
        device.items.insert(0, b"qemu".to_vec());
        assert_eq!(read_file(&mut device, "opt/a", 8), Ok(None));
    }

    #[test]
    fn whatever_the_directory_says_the_search_ends() {
        let mut random = 1_u64;
        for _ in 0..20 {
            let mut device = Device::with_files(&[("opt/a", b"first"), ("opt/b", b"second")]);
            let directory = device.items.get_mut(&FILE_DIRECTORY).unwrap();
            for _ in 0..8 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (random >> 33) as usize % directory.len();
                directory[at] = (random >> 24) as u8;
            }
            directory.truncate((random >> 40) as usize % (directory.len() + 1));
            if let Ok(Some(content)) = read_file(&mut device, "opt/b", 64) {
                assert!(content.len() <= 64);
            }
            assert!(device.n_reads <= 8 + 64 * (MAX_FILES as usize + 1));
        }
        let mut device = Device::with_files(&[]);
        device.items.insert(FILE_DIRECTORY, vec![0xff; 4]);
        assert_eq!(read_file(&mut device, "opt/a", 8), Ok(None));
    }
}
