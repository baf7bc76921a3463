//! From whole sectors to any bytes.
//!
//! Devices transfer sectors; callers want bytes. [`read_bytes`] lets the device write whole
//! sectors straight into the caller's buffer, all of them at once, and copies only the partial sectors at
//! either end; [`read_pieces`] shows what lies between the ends of the range.

use super::ReadError;
use core::ops::{ControlFlow, Range};

/// Size of a sector (VIRTIO 1.2, 5.2.2).
pub const SECTOR_BYTES: usize = 512;

/// A device that reads whole sectors.
pub trait Sectors {
    /// How many sectors there are.
    fn sector_count(&self) -> u64;

    /// Fills `buffer`, a non-zero multiple of [`SECTOR_BYTES`] long, from sector `first` on.
    ///
    /// # Errors
    /// The first of its requests that the device reported an error for.
    fn read_sectors(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), FailedRequest>;

    /// Reads sectors through `buffer`, which has room for some of them, and hands each lot over in order until
    /// `use_lot` breaks off.
    ///
    /// # Errors
    /// As [`read_sectors`](Self::read_sectors).
    fn read_lots(
        &mut self,
        sectors: Range<u64>,
        buffer: &mut [u8],
        use_lot: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), FailedRequest>;
}

/// A request that a device reported an error for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedRequest {
    /// The first sector asked for.
    pub first: u64,
    /// How many sectors were asked for.
    pub count: usize,
}

impl From<FailedRequest> for ReadError {
    fn from(FailedRequest { first, count }: FailedRequest) -> Self {
        Self::Device {
            offset_bytes: first.saturating_mul(SECTOR_BYTES as u64),
            length_bytes: count * SECTOR_BYTES,
        }
    }
}

/// Fills `buffer` from byte `offset_bytes` of the device on.
///
/// # Errors
/// [`ReadError`] if the range leaves the device or a request fails.
pub fn read_bytes(device: &mut impl Sectors, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
    let capacity_bytes = device.sector_count().saturating_mul(SECTOR_BYTES as u64);
    ReadError::check_range(offset_bytes, buffer.len(), capacity_bytes)?;

    let mut sector = offset_bytes / SECTOR_BYTES as u64;
    let mut rest = buffer;
    let skip = (offset_bytes % SECTOR_BYTES as u64) as usize;
    if skip > 0 {
        let length = rest.len().min(SECTOR_BYTES - skip);
        let (head, tail) = rest.split_at_mut(length);
        read_partial(device, sector, skip, head)?;
        sector += 1;
        rest = tail;
    }

    let whole = rest.len() / SECTOR_BYTES * SECTOR_BYTES;
    let (middle, tail) = rest.split_at_mut(whole);
    if !middle.is_empty() {
        device.read_sectors(sector, middle)?;
        sector += (middle.len() / SECTOR_BYTES) as u64;
    }

    if !tail.is_empty() {
        read_partial(device, sector, 0, tail)?;
    }
    Ok(())
}

/// Reads a range of bytes through `buffer` and hands the pieces over in order until `use_piece` breaks off.
///
/// # Errors
/// As [`read_bytes`].
pub fn read_pieces(
    device: &mut impl Sectors,
    range: Range<u64>,
    buffer: &mut [u8],
    use_piece: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let sector_bytes = SECTOR_BYTES as u64;
    let capacity_bytes = device.sector_count().saturating_mul(sector_bytes);
    let length = range.end.saturating_sub(range.start);
    // A length beyond the address space is beyond any disk as well.
    ReadError::check_range(range.start, usize::try_from(length).unwrap_or(usize::MAX), capacity_bytes)?;
    let sectors = range.start / sector_bytes..range.end.div_ceil(sector_bytes);
    let mut lot_offset = sectors.start * sector_bytes;
    let within = |offset: u64, lot_offset: u64| offset.saturating_sub(lot_offset) as usize;
    device.read_lots(sectors, buffer, &mut |lot| {
        let piece = within(range.start, lot_offset)..within(range.end, lot_offset).min(lot.len());
        lot_offset += lot.len() as u64;
        use_piece(&lot[piece])
    })?;
    Ok(())
}

fn read_partial(
    device: &mut impl Sectors,
    sector: u64,
    skip: usize,
    buffer: &mut [u8],
) -> Result<(), ReadError> {
    let mut bounce = [0; SECTOR_BYTES];
    device.read_sectors(sector, &mut bounce)?;
    buffer.copy_from_slice(&bounce[skip..skip + buffer.len()]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Eight sectors of which the one numbered `bad` fails; remembers the requests.
    struct FakeDevice {
        bytes: Vec<u8>,
        bad: Option<u64>,
        requests: Vec<(u64, usize)>,
    }

    impl FakeDevice {
        fn new(bad: Option<u64>) -> Self {
            let bytes = (0..8 * SECTOR_BYTES).map(|i| (i * 7 + i / 256) as u8);
            Self { bytes: bytes.collect(), bad, requests: Vec::new() }
        }
    }

    impl Sectors for FakeDevice {
        fn sector_count(&self) -> u64 {
            8
        }

        fn read_sectors(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), FailedRequest> {
            assert!(!buffer.is_empty() && buffer.len().is_multiple_of(SECTOR_BYTES));
            self.requests.push((first, buffer.len()));
            let start = first as usize * SECTOR_BYTES;
            buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
            let sectors = first..first + (buffer.len() / SECTOR_BYTES) as u64;
            match self.bad {
                Some(bad) if sectors.contains(&bad) => Err(FailedRequest { first: bad, count: 1 }),
                _ => Ok(()),
            }
        }

        fn read_lots(
            &mut self,
            sectors: Range<u64>,
            buffer: &mut [u8],
            use_lot: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
        ) -> Result<(), FailedRequest> {
            let most = buffer.len() / SECTOR_BYTES;
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
        let mut device = FakeDevice::new(None);
        let edges = [0, 1, 511, 512, 513, 1023, 1024, 2000, 4095, 4096];
        for start in edges {
            for end in edges.into_iter().filter(|&end| end >= start) {
                let mut buffer = std::vec![0; end - start];
                read_bytes(&mut device, start as u64, &mut buffer).unwrap();
                assert_eq!(buffer, device.bytes[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn pieces_of_any_range_follow_each_other() {
        let mut device = FakeDevice::new(None);
        let edges = [0, 1, 511, 512, 513, 1023, 1024, 2000, 4095, 4096];
        for start in edges {
            for end in edges.into_iter().filter(|&end| end >= start) {
                let mut read = Vec::new();
                let mut take = |piece: &[u8]| {
                    read.extend_from_slice(piece);
                    ControlFlow::Continue(())
                };
                read_pieces(&mut device, start as u64..end as u64, &mut [0; 1024], &mut take).unwrap();
                assert_eq!(read, device.bytes[start..end], "{start}..{end}");
            }
        }
        device.requests.clear();
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
    fn whole_sectors_are_one_request() {
        let mut device = FakeDevice::new(None);
        read_bytes(&mut device, 512, &mut [0; 2048]).unwrap();
        assert_eq!(device.requests, [(1, 2048)]);
        device.requests.clear();
        read_bytes(&mut device, 500, &mut [0; 1100]).unwrap();
        assert_eq!(device.requests, [(0, 512), (1, 1024), (3, 512)]);
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
