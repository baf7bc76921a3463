//! A disk with unreadable parts, for tests of the code that uses disks.

use super::{BlockDevice, ReadError};
use core::ops::Range;

/// A disk, part of which cannot be read.
#[derive(Debug, Clone)]
pub struct FaultyDisk<D> {
    inner: D,
    bad_bytes: Range<u64>,
}

impl<D: BlockDevice> FaultyDisk<D> {
    /// `inner`, but every read that touches `bad_bytes` fails.
    pub fn new(inner: D, bad_bytes: Range<u64>) -> Self {
        Self { inner, bad_bytes }
    }
}

impl<D: BlockDevice> BlockDevice for FaultyDisk<D> {
    fn capacity_bytes(&self) -> u64 {
        self.inner.capacity_bytes()
    }

    fn serial(&self) -> &str {
        self.inner.serial()
    }

    fn transport(&self) -> &str {
        self.inner.transport()
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.inner.read_at(offset_bytes, buffer)?;
        let end = offset_bytes + buffer.len() as u64;
        if offset_bytes < self.bad_bytes.end && self.bad_bytes.start < end {
            return Err(ReadError::Device { offset_bytes, length_bytes: buffer.len() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MemoryDisk, *};
    use std::vec;

    #[test]
    fn only_reads_that_touch_the_bad_bytes_fail() {
        let mut disk = FaultyDisk::new(MemoryDisk::new("f", vec![7; 100]), 50..60);
        let mut buffer = [0; 10];
        disk.read_at(40, &mut buffer).unwrap();
        disk.read_at(60, &mut buffer).unwrap();
        assert_eq!(
            disk.read_at(41, &mut buffer),
            Err(ReadError::Device { offset_bytes: 41, length_bytes: 10 })
        );
    }
}
