//! The disks that models are read from.
//!
//! A [`BlockDevice`] reads bytes at any offset into any buffer. A [`Disk`] is a block device of the machine, together with what
//! the host said about the file on it; [`Disks`] are all of them. A [`DividedDisk`] has a table of partitions, and each partition
//! replaces it in the list as a disk of its own. Real devices are built on [`sectors`]; in tests, [`MemoryDisk`], [`FaultyDisk`]
//! and `unreliable_disk` replace them. [`Trust`] says which signers and roots are trusted; with it, [`Disks::read_at`] and
//! [`Disks::read_pieces`] check what they read. [`Undriven`] is a device that may have disks but has no driver here. The meaning
//! of the bytes is up to the modules above.

mod disks;
mod faulty_disk;
pub mod gpt;
mod memory_disk;
mod partition;
pub mod sectors;
mod trust;
#[cfg(test)]
pub mod trust_tests;
#[cfg(test)]
pub mod unreliable_disk;
mod verified;

pub use crate::undriven::{Undriven, virtio_type_of_pci};
pub use disks::{Change, DiskBus, Disks, Found, Vanished};
pub use faulty_disk::FaultyDisk;
#[cfg(test)]
pub use gpt::tests::image_with as gpt_image;
pub use gpt::{Entry, Fault as PartitionFault};
pub use memory_disk::MemoryDisk;
pub use partition::DividedDisk;
pub use trust::{Distrust, Mode, Standing, Trust, TrustSettings, is_proof};
pub use verified::{Seal, Verified};

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{
    fmt,
    ops::{ControlFlow, Range},
    sync::atomic::{AtomicU64, Ordering},
};

/// How long a disk may be silent before a read of it fails.
pub const PATIENCE_US: u64 = 5_000_000;

/// The shortest buffer for [`BlockDevice::read_pieces`].
pub const MIN_PIECES_BYTES: usize = 16 * sectors::SECTOR_BYTES;

/// A device that can be read at any offset.
pub trait BlockDevice: Send {
    /// Size of the device.
    fn capacity_bytes(&self) -> u64;

    /// The device's serial number, empty if it has none.
    fn serial(&self) -> &str;

    /// The name that a user has given to the contents of the device, empty if there is none.
    fn label(&self) -> &str {
        ""
    }

    /// How the device is attached, for people: `virtio-mmio`, `virtio-pci 00:02.0`.
    fn transport(&self) -> &str;

    /// Size of the blocks in which the device reads: a power of two.
    fn block_bytes(&self) -> usize {
        sectors::SECTOR_BYTES
    }

    /// True if the device still has not answered a request.
    fn is_silent(&self) -> bool {
        false
    }

    /// True if the device could not be restarted, so that only [`Disks::rescan`] can make it usable again.
    fn is_lost(&self) -> bool {
        false
    }

    /// Sets how long a read waits for an answer from now on.
    fn set_patience(&mut self, _patience_us: u64) {}

    /// Asks the device for its size again.
    fn refresh(&mut self) {}

    /// Restarts the device; all pending requests are dropped.
    ///
    /// # Errors
    /// [`ReadError::Lost`] if it cannot be restarted.
    fn reset(&mut self) -> Result<(), ReadError> {
        Ok(())
    }

    /// Tells the driver that the device is no longer there: it writes to no memory any more, and must not be used.
    fn unplugged(&mut self) {}

    /// Fills `buffer` from `offset_bytes` on.
    ///
    /// # Errors
    /// [`ReadError`] if the range exceeds the device or the device fails; the buffer's contents are then unspecified. After
    /// [`ReadError::NoAnswer`] and [`ReadError::Interrupted`] the device may still write to the buffer; the memory
    /// [pool](crate::memory::pool) does not give such memory to anything else.
    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// Reads a range of bytes piece by piece into `buffer` and passes the pieces to `use_piece`, in order, until that breaks off.
    /// If the device supports it, the next piece is read in the meantime.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at); the pieces that were passed on before the error are valid.
    ///
    /// # Panics
    /// If the buffer is shorter than [`MIN_PIECES_BYTES`].
    fn read_pieces(
        &mut self,
        range: Range<u64>,
        buffer: &mut [u8],
        use_piece: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        assert!(buffer.len() >= MIN_PIECES_BYTES, "a buffer of {} bytes", buffer.len());
        let mut offset_bytes = range.start;
        while offset_bytes < range.end {
            let length = (range.end - offset_bytes).min(buffer.len() as u64) as usize;
            self.read_at(offset_bytes, &mut buffer[..length])?;
            if use_piece(&buffer[..length]).is_break() {
                break;
            }
            offset_bytes += length as u64;
        }
        Ok(())
    }
}

/// A text that a device reports about itself, without spaces and zeros at the ends, and without control characters, which a
/// terminal would obey.
pub fn legible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches([' ', '\0']).chars();
    text.map(|character| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character })
        .collect()
}

/// Why a read failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The range is not within the device.
    #[error(
        "cannot read {length_bytes} bytes at byte {offset_bytes} of a disk of \
                 {capacity_bytes} bytes"
    )]
    OutOfRange {
        /// Where the read should have begun.
        offset_bytes: u64,
        /// Length of the read.
        length_bytes: usize,
        /// Size of the device.
        capacity_bytes: u64,
    },
    /// The device reported an error.
    #[error("the disk failed to read {length_bytes} bytes at byte {offset_bytes}")]
    Device {
        /// Where the failed request began.
        offset_bytes: u64,
        /// How long the failed request was.
        length_bytes: usize,
    },
    /// The device failed to read its last block, which is incomplete.
    #[error(
        "the disk failed to read its last block: expected a size that is a multiple of its blocks of \
                 {block_bytes} bytes, not {capacity_bytes}"
    )]
    PartialBlock {
        /// Size of the device.
        capacity_bytes: u64,
        /// Size of its blocks.
        block_bytes: usize,
    },
    /// The device has not answered.
    #[error("the disk has not answered for {}.{} s", .waited_us / 1_000_000, .waited_us / 100_000 % 10)]
    NoAnswer {
        /// How long it has been waited for.
        waited_us: u64,
    },
    /// The device is smaller now, has another block size, or has been replaced by another one.
    #[error("the disk is another one now or has another size; disks rescan looks for it anew")]
    Changed,
    /// The user interrupted the wait for the device.
    #[error("stopped")]
    Interrupted,
    /// The device needed a reset or broke the rules; its pending requests are lost.
    #[error("the disk has failed and had to be reset")]
    Broken,
    /// The contents are not trusted: see [`Disk::standing`].
    #[error("what the disk holds is not trusted")]
    Distrusted,
    /// The heap has no room for the data.
    #[error("the heap has no room for what is read of the disk")]
    NoRoom,
    /// The device has not stopped or started when told to: see [`Disk::is_lost`].
    #[error(fmt = lost)]
    Lost {
        /// Size of the memory that it may still write to, which is never used again.
        lent_bytes: usize,
    },
}

fn lost(lent_bytes: &usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match lent_bytes {
        0 => f.write_str("the disk does not start again"),
        _ => write!(f, "the disk does not confirm a reset, so {lent_bytes} bytes of memory stay lent to it"),
    }
}

impl ReadError {
    /// Checks that a range lies within a device.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if it does not.
    pub fn check_range(offset_bytes: u64, length_bytes: usize, capacity_bytes: u64) -> Result<(), Self> {
        match offset_bytes.checked_add(length_bytes as u64) {
            Some(end) if end <= capacity_bytes => Ok(()),
            _ => Err(Self::OutOfRange { offset_bytes, length_bytes, capacity_bytes }),
        }
    }
}

/// What the host says about the file on a disk. This is needed because a disk's own size is rounded up to whole sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Exact length of the file.
    pub length_bytes: u64,
    /// The SHA-256 that the file should have, if the host knows it.
    pub sha256: Option<[u8; 32]>,
}

/// A disk of the machine.
pub struct Disk {
    index: usize,
    identity: u64,
    device: Box<dyn BlockDevice>,
    file: Option<FileFacts>,
    standing: Standing,
}

impl Disk {
    /// A disk with number `index`, and what the host says about the file on it.
    pub fn new(index: usize, device: Box<dyn BlockDevice>, file: Option<FileFacts>) -> Self {
        Self { index, identity: unused_identity(), device, file, standing: Standing::Unchecked }
    }

    /// Identifies the disk: no other disk since the start has the same value, not even one with the same number or serial number,
    /// nor this disk before its size changed.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// The disk's number, counted from 0, in the order in which disks were attached.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The device's serial number, empty if it has none.
    pub fn serial(&self) -> &str {
        self.device.serial()
    }

    /// The name that a user has given to the contents of the disk, empty if there is none.
    pub fn label(&self) -> &str {
        self.device.label()
    }

    /// How the disk is attached.
    pub fn transport(&self) -> &str {
        self.device.transport()
    }

    /// Size of the device.
    pub fn capacity_bytes(&self) -> u64 {
        self.device.capacity_bytes()
    }

    /// Size of the blocks in which the device reads.
    pub fn block_bytes(&self) -> usize {
        self.device.block_bytes()
    }

    /// True if the device still has not answered a request.
    pub fn is_silent(&self) -> bool {
        self.device.is_silent()
    }

    /// True if the device could not be restarted, so that only [`Disks::rescan`] can make it usable again.
    pub fn is_lost(&self) -> bool {
        self.device.is_lost()
    }

    /// Sets how long a read waits for an answer from now on; the default is [`PATIENCE_US`].
    pub fn set_patience(&mut self, patience_us: u64) {
        self.device.set_patience(patience_us);
    }

    /// Asks the device for its size again. If that has changed, what the host said about the file no longer applies.
    pub fn refresh(&mut self) {
        let capacity_bytes = self.capacity_bytes();
        self.device.refresh();
        if self.capacity_bytes() != capacity_bytes {
            self.file = None;
            self.identity = unused_identity();
            self.standing = Standing::Unchecked;
        }
    }

    /// Tells the driver that the device is no longer there.
    pub fn unplugged(&mut self) {
        self.device.unplugged();
    }

    /// Restarts the device; all pending requests are dropped.
    ///
    /// # Errors
    /// Those of [`BlockDevice::reset`].
    pub fn reset(&mut self) -> Result<(), ReadError> {
        self.device.reset()
    }

    /// What the host says about the file on this disk.
    pub fn file(&self) -> Option<FileFacts> {
        self.file
    }

    /// Whether the contents of the disk are trusted.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The signature or root that vouches for the file on the disk; the file is checked against it as it is read.
    pub fn seal(&self) -> Option<&Seal> {
        match &self.standing {
            Standing::Verified(verified) => Some(verified.seal()),
            _ => None,
        }
    }

    /// Length of the file on the disk: the vouched-for length; otherwise the length that the host says, if it fits the device;
    /// otherwise the size of the device.
    pub fn length_bytes(&self) -> u64 {
        let capacity_bytes = self.capacity_bytes();
        if let Standing::Verified(verified) = &self.standing {
            return verified.length_bytes().min(capacity_bytes);
        }
        match self.file {
            Some(file) => file.length_bytes.min(capacity_bytes),
            None => capacity_bytes,
        }
    }

    /// Fills `buffer` from `offset_bytes` on, without checking the data.
    ///
    /// # Errors
    /// Those of [`BlockDevice::read_at`].
    pub fn read_raw_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.device.read_at(offset_bytes, buffer)
    }

    /// Reads a range of bytes piece by piece through `buffer`, without checking the data, like [`BlockDevice::read_pieces`].
    ///
    /// # Errors
    /// Those of [`BlockDevice::read_pieces`].
    ///
    /// # Panics
    /// Those of [`BlockDevice::read_pieces`].
    pub fn read_raw_pieces(
        &mut self,
        range: Range<u64>,
        buffer: &mut [u8],
        use_piece: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.device.read_pieces(range, buffer, use_piece)
    }
}

fn unused_identity() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("index", &self.index)
            .field("serial", &self.serial())
            .field("capacity_bytes", &self.capacity_bytes())
            .field("file", &self.file)
            .finish()
    }
}

/// Whether the size of a device is that of a file of this length, rounded up.
fn fills(facts: &FileFacts, device: &dyn BlockDevice) -> bool {
    let rest_bytes = device.capacity_bytes().checked_sub(facts.length_bytes);
    rest_bytes.is_some_and(|rest| rest < device.block_bytes() as u64)
}

/// Numbers devices as disks. Devices whose serial numbers are in `files` come first, in that order; the others follow in the
/// order found. If several have the same serial number, one of them has the file: the first one whose size fits, or else the
/// first one.
pub fn number_disks(devices: Vec<Box<dyn BlockDevice>>, files: &[(String, FileFacts)]) -> Vec<Disk> {
    let position = |device: &dyn BlockDevice| {
        let named = |(serial, _): &(String, FileFacts)| serial == device.serial();
        files.iter().position(named)
    };
    let mut devices = devices;
    sort::short_by_key(&mut devices, |device| position(device.as_ref()).unwrap_or(usize::MAX));
    let is_named = |device: &dyn BlockDevice, serial: &str| device.serial() == serial;
    let holders = files.iter().map(|(serial, facts)| {
        let holds = devices.iter().position(|device| is_named(&**device, serial) && fills(facts, &**device));
        holds.or_else(|| devices.iter().position(|device| is_named(&**device, serial)))
    });
    let holders: Vec<Option<usize>> = holders.collect();
    let numbered = devices.into_iter().enumerate().map(|(index, device)| {
        let file = holders.iter().position(|holder| *holder == Some(index));
        Disk::new(index, device, file.map(|file| files[file].1))
    });
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{string::ToString, vec};

    fn device(serial: &str, size_bytes: usize) -> Box<dyn BlockDevice> {
        Box::new(MemoryDisk::new(serial, vec![0; size_bytes]))
    }

    #[test]
    fn what_a_device_says_is_legible() {
        assert_eq!(legible(b" QEMU\x1b[2J\x07disk  \0\0"), "QEMU\u{fffd}[2J\u{fffd}disk");
        assert_eq!(legible("größe".as_bytes()), "größe");
        assert_eq!(legible(&[0xff, b'a', 0]), "\u{fffd}a");
        assert_eq!(legible(b"  \0"), "");
    }

    #[test]
    fn disks_follow_the_order_that_the_host_gave() {
        let facts = |length_bytes| FileFacts { length_bytes, sha256: None };
        let files = [
            (String::from("b"), facts(600)),
            (String::from("absent"), facts(1)),
            (String::from("a"), facts(9999)),
        ];
        let devices =
            vec![device("", 512), device("a", 1024), device("x", 0), device("b", 4096), device("b", 1024)];
        let disks = number_disks(devices, &files);
        let serials: Vec<_> = disks.iter().map(|disk| disk.serial().to_string()).collect();
        assert_eq!(serials, ["b", "b", "a", "", "x"]);
        // A larger disk with the same name holds something else.
        let files: Vec<_> = disks.iter().map(|disk| disk.file().map(|file| file.length_bytes)).collect();
        assert_eq!(files, [None, Some(600), Some(9999), None, None]);
        let lengths: Vec<_> = disks.iter().map(Disk::length_bytes).collect();
        assert_eq!(lengths, [4096, 600, 1024, 512, 0]);
        assert_eq!(disks[1].index(), 1);
        assert_eq!(disks[2].index(), 2);
    }

    #[test]
    fn ranges_are_checked_without_overflow() {
        assert!(ReadError::check_range(0, 0, 0).is_ok());
        assert!(ReadError::check_range(512, 512, 1024).is_ok());
        assert!(ReadError::check_range(512, 513, 1024).is_err());
        let error = ReadError::check_range(u64::MAX, 2, 1024).unwrap_err();
        assert!(error.to_string().contains("a disk of 1024 bytes"));
    }
}
