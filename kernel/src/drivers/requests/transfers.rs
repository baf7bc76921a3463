//! What a read asks a disk for, request by request: [`InPlace`] for bytes that go where they belong, [`InLots`] for
//! those that are shown to somebody.

use super::REQUESTS_IN_FLIGHT;
use crate::storage::sectors::{Failure, SECTOR_BYTES};
use core::{
    mem::take,
    ops::{ControlFlow, Range},
};

/// What is to be read, request by request.
pub(super) trait Transfer<'b> {
    /// The next request: of up to `limit_bytes`, but one block at least.
    fn next(&mut self, limit_bytes: usize) -> Option<Next<'b>>;

    /// Takes a request's place back, in the order of the requests, with `length` bytes read. To break off means no
    /// more requests.
    fn take(&mut self, place: &'b mut [u8], length: usize) -> ControlFlow<()>;
}

/// A request to be made.
#[derive(Default)]
pub(super) struct Next<'b> {
    /// The first sector.
    pub first: u64,
    /// Where the sectors go: to its beginning.
    pub place: &'b mut [u8],
    /// How much is read.
    pub length: usize,
}

impl Next<'_> {
    /// What it means that the request has failed.
    pub fn failure(&self) -> Failure {
        Failure::Request { first: self.first, count: self.length / SECTOR_BYTES }
    }

    /// The addresses that a device writes to.
    pub fn addresses(&self) -> Range<usize> {
        let start = self.place.as_ptr().expose_provenance();
        start..start + self.length
    }
}

/// Whole blocks, one at least.
fn round_to_blocks(bytes: usize, block_bytes: usize) -> usize {
    (bytes / block_bytes).max(1) * block_bytes
}

/// Blocks that are read to where they belong.
pub(super) struct InPlace<'b> {
    /// The next sector.
    pub first: u64,
    /// Where it goes, with all that follow it.
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

/// Blocks that are shown to somebody.
pub(super) struct InLots<'b, 'u> {
    /// Those that nobody has asked for yet.
    pub sectors: Range<u64>,
    /// Places that no request has.
    pub free: [Option<&'b mut [u8]>; REQUESTS_IN_FLIGHT],
    /// Who they are shown to.
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
