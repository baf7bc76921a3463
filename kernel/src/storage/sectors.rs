//! Reads any bytes from devices that read whole blocks.
//!
//! Devices transfer blocks of one or more sectors, but callers want bytes. [`read_bytes`] makes the device write all whole blocks
//! directly into the caller's buffer at once, and copies only the partial blocks at the ends. [`read_pieces`] passes the data to
//! a callback instead.

use super::ReadError;
use core::ops::{ControlFlow, Range};

/// Size of a sector. Positions and lengths are counted in sectors, whatever the block size (VIRTIO 1.2, 5.2.2).
pub const SECTOR_BYTES: usize = 512;

/// A device that reads whole blocks.
pub trait Sectors {
    /// Number of sectors. The last block may have fewer than the others.
    fn sector_count(&self) -> u64;

    /// Size of a block: a power of two, at least [`SECTOR_BYTES`]. Requests begin and end at block boundaries.
    fn block_bytes(&self) -> usize;

    /// Fills `buffer`, whose length is a non-zero multiple of a block, from sector `first` on, which must begin a block.
    ///
    /// # Errors
    /// The error of the first request that failed.
    fn read_sectors(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), Failure>;

    /// Size of the device's own memory: a non-zero multiple of a block.
    fn own_bytes(&self) -> usize;

    /// Reads `n_sectors` from sector `first` on, which must begin a block, into the device's own memory, and returns them. They
    /// must be whole blocks, or the existing part of an incomplete last block.
    ///
    /// # Errors
    /// If the request failed.
    ///
    /// # Panics
    /// If there are more than [`own_bytes`](Self::own_bytes).
    fn read_own(&mut self, first: u64, n_sectors: usize) -> Result<&[u8], Failure>;

    /// Reads whole blocks through `buffer`, and passes each lot to `use_lot`, in order, until that breaks off.
    ///
    /// # Errors
    /// Those of [`read_sectors`](Self::read_sectors).
    fn read_pipelined(
        &mut self,
        sectors: Range<u64>,
        buffer: &mut [u8],
        use_lot: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure>;
}

/// Why sectors could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The device reported an error.
    Request {
        /// The first sector of the request.
        first: u64,
        /// Number of sectors in the request.
        count: usize,
    },
    /// The device does not answer.
    NoAnswer {
        /// How long it has been waited for.
        waited_us: u64,
    },
    /// The device is smaller now, has another block size, or has been replaced by another one.
    Changed,
    /// The user interrupted the wait.
    Interrupted,
    /// The device needs a reset, or broke the rules.
    Broken,
    /// The device has not stopped or started when told to.
    Lost {
        /// Size of the memory that it may still write to.
        lent_bytes: usize,
    },
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Request { first, count } => Self::Device {
                offset_bytes: first.saturating_mul(SECTOR_BYTES as u64),
                length_bytes: count * SECTOR_BYTES,
            },
            Failure::NoAnswer { waited_us } => Self::NoAnswer { waited_us },
            Failure::Changed => Self::Changed,
            Failure::Interrupted => Self::Interrupted,
            Failure::Broken => Self::Broken,
            Failure::Lost { lent_bytes } => Self::Lost { lent_bytes },
        }
    }
}

/// Fills `buffer` from byte `offset_bytes` of the device on.
///
/// # Errors
/// [`ReadError`] if the range exceeds the device or a request fails.
pub fn read_bytes(device: &mut impl Sectors, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
    ReadError::check_range(offset_bytes, buffer.len(), capacity_bytes(device))?;
    let block_bytes = device.block_bytes();
    let mut offset_bytes = offset_bytes;
    let mut rest = buffer;
    let skip = (offset_bytes % block_bytes as u64) as usize;
    if skip > 0 {
        let length = rest.len().min(block_bytes - skip);
        let (head, tail) = rest.split_at_mut(length);
        head.copy_from_slice(&block(device, offset_bytes)?[skip..skip + length]);
        offset_bytes += length as u64;
        rest = tail;
    }

    let whole = rest.len() / block_bytes * block_bytes;
    let (middle, tail) = rest.split_at_mut(whole);
    if !middle.is_empty() {
        device.read_sectors(offset_bytes / SECTOR_BYTES as u64, middle)?;
        offset_bytes += whole as u64;
    }

    if !tail.is_empty() {
        tail.copy_from_slice(&block(device, offset_bytes)?[..tail.len()]);
    }
    Ok(())
}

/// Reads a range of bytes through `buffer` and passes the pieces to `use_piece`, in order, until that breaks off.
///
/// # Errors
/// Those of [`read_bytes`].
pub fn read_pieces(
    device: &mut impl Sectors,
    range: Range<u64>,
    buffer: &mut [u8],
    use_piece: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let capacity_bytes = capacity_bytes(device);
    let block_bytes = device.block_bytes() as u64;
    let length = range.end.saturating_sub(range.start);
    // A length that exceeds the address space also exceeds any disk.
    ReadError::check_range(range.start, usize::try_from(length).unwrap_or(usize::MAX), capacity_bytes)?;
    if length == 0 {
        return Ok(());
    }
    let mut lot_offset = range.start / block_bytes * block_bytes;
    let within = |offset: u64, lot_offset: u64| offset.saturating_sub(lot_offset) as usize;
    let mut use_lot = |lot: &[u8]| {
        let piece = within(range.start, lot_offset)..within(range.end, lot_offset).min(lot.len());
        lot_offset += lot.len() as u64;
        use_piece(&lot[piece])
    };
    // The last block may be incomplete.
    let next = range.end.div_ceil(block_bytes).saturating_mul(block_bytes);
    let whole_end = next.min(capacity_bytes / block_bytes * block_bytes);
    let sector_bytes = SECTOR_BYTES as u64;
    let sectors = range.start / block_bytes * block_bytes / sector_bytes..whole_end / sector_bytes;
    let mut end = ControlFlow::Continue(());
    if !sectors.is_empty() {
        device.read_pipelined(sectors, buffer, &mut |lot| {
            end = use_lot(lot);
            end
        })?;
    }
    if end.is_continue() && whole_end < range.end {
        // This is the last piece, so it makes no difference whether it breaks off.
        let _ = use_lot(block(device, whole_end)?);
    }
    Ok(())
}

/// Reads whole blocks through the device's own memory, for buffers that the device cannot write to.
///
/// # Errors
/// Those of [`Sectors::read_own`].
pub fn read_by_own(
    device: &mut impl Sectors,
    sectors: Range<u64>,
    use_lot: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let most = device.own_bytes() / SECTOR_BYTES;
    for first in sectors.clone().step_by(most) {
        let count = most.min((sectors.end - first) as usize);
        if use_lot(device.read_own(first, count)?).is_break() {
            break;
        }
    }
    Ok(())
}

fn capacity_bytes(device: &impl Sectors) -> u64 {
    bytes_of(device.sector_count())
}

/// The number of bytes in this many sectors. If a disk claims more than a byte number can express, the result is limited to whole
/// sectors.
pub fn bytes_of(n_sectors: u64) -> u64 {
    const SECTOR: u64 = SECTOR_BYTES as u64;
    n_sectors.min(u64::MAX / SECTOR) * SECTOR
}

/// The block that contains byte `offset_bytes`.
fn block(device: &mut impl Sectors, offset_bytes: u64) -> Result<&[u8], ReadError> {
    let block_bytes = device.block_bytes();
    let capacity_bytes = capacity_bytes(device);
    let start = offset_bytes / block_bytes as u64 * block_bytes as u64;
    let length_bytes = (capacity_bytes - start).min(block_bytes as u64) as usize;
    match device.read_own(start / SECTOR_BYTES as u64, length_bytes / SECTOR_BYTES) {
        Ok(block) => Ok(block),
        Err(Failure::Request { .. }) if length_bytes < block_bytes => {
            Err(ReadError::PartialBlock { capacity_bytes, block_bytes })
        }
        Err(failure) => Err(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A disk of eight sectors, one of which (`bad`) fails. It records the requests.
    struct FakeDevice {
        bytes: Vec<u8>,
        block_bytes: usize,
        bad: Option<u64>,
        requests: Vec<(u64, usize)>,
    }

    impl FakeDevice {
        fn new(bad: Option<u64>) -> Self {
            Self::with_blocks(SECTOR_BYTES, 8, bad)
        }

        fn with_blocks(block_bytes: usize, n_sectors: usize, bad: Option<u64>) -> Self {
            let bytes = (0..n_sectors * SECTOR_BYTES).map(|i| (i * 7 + i / 256) as u8);
            Self { bytes: bytes.collect(), block_bytes, bad, requests: Vec::new() }
        }

        /// Like QEMU, it refuses requests that are not whole blocks.
        fn request(&mut self, first: u64, length: usize) -> Result<&[u8], Failure> {
            self.requests.push((first, length));
            let sectors = first..first + (length / SECTOR_BYTES) as u64;
            if !(first as usize * SECTOR_BYTES).is_multiple_of(self.block_bytes)
                || !length.is_multiple_of(self.block_bytes)
            {
                return Err(Failure::Request { first, count: length / SECTOR_BYTES });
            }
            match self.bad {
                Some(bad) if sectors.contains(&bad) => Err(Failure::Request { first: bad, count: 1 }),
                _ => Ok(&self.bytes[first as usize * SECTOR_BYTES..][..length]),
            }
        }
    }

    impl Sectors for FakeDevice {
        fn sector_count(&self) -> u64 {
            (self.bytes.len() / SECTOR_BYTES) as u64
        }

        fn block_bytes(&self) -> usize {
            self.block_bytes
        }

        fn read_sectors(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), Failure> {
            assert!(!buffer.is_empty() && buffer.len().is_multiple_of(self.block_bytes));
            buffer.copy_from_slice(self.request(first, buffer.len())?);
            Ok(())
        }

        fn own_bytes(&self) -> usize {
            self.block_bytes * 3
        }

        fn read_own(&mut self, first: u64, n_sectors: usize) -> Result<&[u8], Failure> {
            assert!(n_sectors > 0 && n_sectors * SECTOR_BYTES <= self.own_bytes());
            self.request(first, n_sectors * SECTOR_BYTES)
        }

        fn read_pipelined(
            &mut self,
            sectors: Range<u64>,
            buffer: &mut [u8],
            use_lot: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
        ) -> Result<(), Failure> {
            let most = buffer.len() / self.block_bytes * (self.block_bytes / SECTOR_BYTES);
            if most == 0 {
                return read_by_own(self, sectors, use_lot);
            }
            let mut first = sectors.start;
            while first < sectors.end {
                let count = most.min((sectors.end - first) as usize);
                let lot = &mut buffer[..count * SECTOR_BYTES];
                self.read_sectors(first, lot)?;
                if use_lot(lot).is_break() {
                    break;
                }
                first += count as u64;
            }
            Ok(())
        }
    }

    #[test]
    fn any_offset_and_length_reads_the_right_bytes() {
        for block_bytes in [512, 1024, 2048, 4096] {
            let mut device = FakeDevice::with_blocks(block_bytes, 16, None);
            let edges = [0, 1, 511, 512, 513, 1023, 1024, 2000, 4095, 4096, 4097, 5000, 8191, 8192];
            for start in edges {
                for end in edges.into_iter().filter(|&end| end >= start) {
                    let mut buffer = std::vec![0; end - start];
                    read_bytes(&mut device, start as u64, &mut buffer).unwrap();
                    assert_eq!(buffer, device.bytes[start..end], "{start}..{end} in {block_bytes}");
                }
            }
        }
    }

    /// Claims to have more sectors than there are addresses, and has none.
    struct Liar;

    impl Sectors for Liar {
        fn sector_count(&self) -> u64 {
            u64::MAX
        }

        fn block_bytes(&self) -> usize {
            4096
        }

        fn read_sectors(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), Failure> {
            Err(Failure::Request { first, count: buffer.len() / SECTOR_BYTES })
        }

        fn own_bytes(&self) -> usize {
            4096
        }

        fn read_own(&mut self, first: u64, count: usize) -> Result<&[u8], Failure> {
            Err(Failure::Request { first, count })
        }

        fn read_pipelined(
            &mut self,
            sectors: Range<u64>,
            _: &mut [u8],
            _: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
        ) -> Result<(), Failure> {
            Err(Failure::Request { first: sectors.start, count: 1 })
        }
    }

    #[test]
    fn a_disk_may_say_that_it_is_larger_than_all_addresses() {
        for start in [u64::MAX - 1, u64::MAX - 5000, u64::MAX / 2] {
            for end in [u64::MAX, u64::MAX - 1] {
                let read =
                    read_pieces(&mut Liar, start..end, &mut [0; 8192], &mut |_| ControlFlow::Continue(()));
                let is_beyond = end > bytes_of(u64::MAX);
                assert!(read.is_err() == (start < end || is_beyond), "{start}..{end}");
            }
            assert!(read_bytes(&mut Liar, start, &mut [0; 600]).is_err());
        }
        assert_eq!(bytes_of(u64::MAX), u64::MAX - 511);
    }

    /// Claims to have more sectors than there are addresses, and returns those that it is asked for.
    struct Endless([u8; 4096]);

    impl Sectors for Endless {
        fn sector_count(&self) -> u64 {
            u64::MAX
        }

        fn block_bytes(&self) -> usize {
            4096
        }

        fn read_sectors(&mut self, _: u64, _: &mut [u8]) -> Result<(), Failure> {
            Ok(())
        }

        fn own_bytes(&self) -> usize {
            4096
        }

        fn read_own(&mut self, _: u64, n_sectors: usize) -> Result<&[u8], Failure> {
            Ok(&self.0[..n_sectors * SECTOR_BYTES])
        }

        fn read_pipelined(
            &mut self,
            sectors: Range<u64>,
            _: &mut [u8],
            use_lot: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
        ) -> Result<(), Failure> {
            read_by_own(self, sectors, use_lot)
        }
    }

    #[test]
    fn the_last_bytes_that_have_numbers_can_be_asked_for() {
        for before in [0, 1, 511, 512, 513, 4095, 4096, 5000] {
            for length in [1, 9, 511, 600] {
                let start = u64::MAX - before;
                let read = read_bytes(&mut Endless([0; 4096]), start, &mut std::vec![0; length]);
                let is_within = start.checked_add(length as u64).is_some_and(|end| end <= u64::MAX - 511);
                assert_eq!(read.is_ok(), is_within, "{length} bytes {before} before the end");
                let take = &mut |_: &[u8]| ControlFlow::Continue(());
                let end = start.saturating_add(length as u64);
                let _ = read_pieces(&mut Endless([0; 4096]), start..end, &mut [0; 8192], take);
            }
        }
    }

    #[test]
    fn pieces_of_any_range_follow_each_other() {
        for block_bytes in [512, 1024, 4096] {
            let mut device = FakeDevice::with_blocks(block_bytes, 16, None);
            let edges = [0, 1, 511, 512, 513, 1023, 1024, 2000, 4095, 4096, 6000, 8192];
            for start in edges {
                for end in edges.into_iter().filter(|&end| end >= start) {
                    let mut read = Vec::new();
                    let mut take = |piece: &[u8]| {
                        read.extend_from_slice(piece);
                        ControlFlow::Continue(())
                    };
                    let range = start as u64..end as u64;
                    read_pieces(&mut device, range, &mut [0; 1024], &mut take).unwrap();
                    assert_eq!(read, device.bytes[start..end], "{start}..{end} in {block_bytes}");
                }
            }
        }
        let mut device = FakeDevice::new(None);
        let mut stop = |_: &[u8]| ControlFlow::Break(());
        read_pieces(&mut device, 0..4096, &mut [0; 1024], &mut stop).unwrap();
        assert_eq!(device.requests, [(0, 1024)]);
        let past = read_pieces(&mut device, 4000..4097, &mut [0; 1024], &mut stop);
        assert_eq!(
            past,
            Err(ReadError::OutOfRange { offset_bytes: 4000, length_bytes: 97, capacity_bytes: 4096 })
        );
    }

    #[test]
    fn whole_blocks_are_one_request() {
        let mut device = FakeDevice::new(None);
        read_bytes(&mut device, 512, &mut [0; 2048]).unwrap();
        assert_eq!(device.requests, [(1, 2048)]);
        device.requests.clear();
        read_bytes(&mut device, 500, &mut [0; 1100]).unwrap();
        assert_eq!(device.requests, [(0, 512), (1, 1024), (3, 512)]);
        let mut device = FakeDevice::with_blocks(2048, 32, None);
        read_bytes(&mut device, 2000, &mut [0; 9000]).unwrap();
        assert_eq!(device.requests, [(0, 2048), (4, 8192), (20, 2048)]);
    }

    #[test]
    fn a_last_block_that_is_not_whole_is_asked_for_as_it_is_and_explained() {
        let mut device = FakeDevice::with_blocks(4096, 11, None);
        read_bytes(&mut device, 0, &mut [0; 4096]).unwrap();
        let partial = Err(ReadError::PartialBlock { capacity_bytes: 5632, block_bytes: 4096 });
        device.requests.clear();
        assert_eq!(read_bytes(&mut device, 4096, &mut [0; 10]), partial);
        assert_eq!(device.requests, [(8, 3 * 512)]);
        let mut n_bytes = 0;
        let mut count = |piece: &[u8]| {
            n_bytes += piece.len();
            ControlFlow::Continue(())
        };
        assert_eq!(read_pieces(&mut device, 100..4200, &mut [0; 8192], &mut count), partial);
        assert_eq!(n_bytes, 3996);
    }

    #[test]
    fn errors_name_the_place() {
        let mut device = FakeDevice::new(Some(3));
        assert_eq!(
            read_bytes(&mut device, 1024, &mut [0; 1024]),
            Err(ReadError::Device { offset_bytes: 3 * 512, length_bytes: 512 })
        );
        read_bytes(&mut device, 2048, &mut [0; 10]).unwrap();
        assert_eq!(
            read_bytes(&mut device, 4000, &mut [0; 97]),
            Err(ReadError::OutOfRange { offset_bytes: 4000, length_bytes: 97, capacity_bytes: 4096 })
        );
    }
}
