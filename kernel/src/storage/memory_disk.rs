//! A disk whose contents are in memory.

use super::{BlockDevice, ReadError};
use alloc::{string::String, vec::Vec};

/// A disk with the contents of a vector, for tests.
#[derive(Debug, Clone)]
pub struct MemoryDisk {
    serial: String,
    bytes: Vec<u8>,
}

impl MemoryDisk {
    /// A disk with the contents `bytes`.
    pub fn new(serial: &str, bytes: Vec<u8>) -> Self {
        Self { serial: String::from(serial), bytes }
    }
}

impl BlockDevice for MemoryDisk {
    fn capacity_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    fn transport(&self) -> &str {
        "memory"
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check_range(offset_bytes, buffer.len(), self.capacity_bytes())?;
        let start = offset_bytes as usize;
        buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_within_bounds_only() {
        let mut disk = MemoryDisk::new("m", (0..=255).collect());
        let mut buffer = [0; 3];
        disk.read_at(253, &mut buffer).unwrap();
        assert_eq!(buffer, [253, 254, 255]);
        assert!(disk.read_at(254, &mut buffer).is_err());
        disk.read_at(256, &mut []).unwrap();
    }
}
