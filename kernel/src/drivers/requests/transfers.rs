//! Divides a read into requests: [`InPlace`] reads bytes to their final place, [`InLots`] passes them to a callback.

use super::REQUESTS_IN_FLIGHT;
use crate::storage::sectors::{Failure, SECTOR_BYTES};
use core::{
    mem::take,
    ops::{ControlFlow, Range},
};

/// Supplies the requests of a read, one after another.
pub(super) trait Transfer<'b> {
    /// The next request, of up to `limit_bytes` but at least one block.
    fn next(&mut self, limit_bytes: usize) -> Option<Next<'b>>;

    /// Takes back the place of a request, in the order of the requests, with `length` bytes read. If this breaks off, no more
    /// requests are made.
    fn take(&mut self, place: &'b mut [u8], length: usize) -> ControlFlow<()>;
}

/// A request.
#[derive(Default)]
pub(super) struct Next<'b> {
    /// The first sector.
    pub first: u64,
    /// Where the data goes: to the beginning of this.
    pub place: &'b mut [u8],
    /// Number of bytes to read.
    pub length: usize,
}

impl Next<'_> {
    /// The error if the request fails.
    pub fn failure(&self) -> Failure {
        Failure::Request { first: self.first, count: self.length / SECTOR_BYTES }
    }

    /// The addresses that a device writes to.
    pub fn addresses(&self) -> Range<usize> {
        let start = self.place.as_ptr().expose_provenance();
        start..start + self.length
    }
}

/// Rounds down to whole blocks, but to at least one.
fn round_to_blocks(bytes: usize, block_bytes: usize) -> usize {
    (bytes / block_bytes).max(1) * block_bytes
}

/// Reads blocks to their final place.
pub(super) struct InPlace<'b> {
    /// The next sector.
    pub first: u64,
    /// Where it and the following ones go.
    pub rest: &'b mut [u8],
    /// Size of a block.
    pub block_bytes: usize,
}

impl<'b> Transfer<'b> for InPlace<'b> {
    fn next(&mut self, limit_bytes: usize) -> Option<Next<'b>> {
        let length = self.rest.len().min(round_to_blocks(limit_bytes, self.block_bytes));
        if length == 0 {
            return None;
        }
        let (place, rest) = take(&mut self.rest).split_at_mut(length);
        self.rest = rest;
        let first = self.first;
        self.first += (length / SECTOR_BYTES) as u64;
        Some(Next { first, place, length })
    }

    fn take(&mut self, _: &'b mut [u8], _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Reads blocks and passes them to a callback.
pub(super) struct InLots<'b, 'u> {
    /// The sectors that have not been requested yet.
    pub sectors: Range<u64>,
    /// Buffers that no request is using.
    pub free: [Option<&'b mut [u8]>; REQUESTS_IN_FLIGHT],
    /// The callback.
    pub use_lot: &'u mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    /// Size of a block.
    pub block_bytes: usize,
}

impl<'b> Transfer<'b> for InLots<'b, '_> {
    fn next(&mut self, limit_bytes: usize) -> Option<Next<'b>> {
        let first = self.sectors.start;
        if self.sectors.is_empty() {
            return None;
        }
        let place = self.free.iter_mut().find_map(Option::take)?;
        let most = place.len().min(round_to_blocks(limit_bytes, self.block_bytes));
        let count = (self.sectors.end - first).min((most / SECTOR_BYTES) as u64);
        self.sectors.start += count;
        Some(Next { first, place, length: count as usize * SECTOR_BYTES })
    }

    fn take(&mut self, place: &'b mut [u8], length: usize) -> ControlFlow<()> {
        let end = (self.use_lot)(&place[..length]);
        if let Some(free) = self.free.iter_mut().find(|free| free.is_none()) {
            *free = Some(place);
        }
        end
    }
}
