//! [`ChannelDisk`]: implements `storage::BlockDevice` with requests.

use super::Requests;
use crate::storage::{
    BlockDevice, ReadError,
    sectors::{self, Sectors},
};
use alloc::string::String;
use core::ops::{ControlFlow, Range};

/// A disk behind a channel, and its names.
pub struct ChannelDisk {
    requests: Requests,
    serial: String,
    transport: String,
}

impl ChannelDisk {
    /// The disk with this serial number and this [place](BlockDevice::transport).
    pub fn new(requests: Requests, serial: String, transport: String) -> Self {
        Self { requests, serial, transport }
    }
}

impl BlockDevice for ChannelDisk {
    fn capacity_bytes(&self) -> u64 {
        sectors::bytes_of(self.requests.sector_count())
    }

    fn block_bytes(&self) -> usize {
        self.requests.block_bytes()
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    fn transport(&self) -> &str {
        &self.transport
    }

    fn is_silent(&self) -> bool {
        self.requests.is_silent()
    }

    fn is_lost(&self) -> bool {
        self.requests.is_lost()
    }

    fn set_patience(&mut self, patience_us: u64) {
        self.requests.set_patience(patience_us);
    }

    fn refresh(&mut self) {
        self.requests.refresh();
    }

    fn reset(&mut self) -> Result<(), ReadError> {
        Ok(self.requests.reset()?)
    }

    fn unplugged(&mut self) {
        self.requests.unplugged();
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        sectors::read_bytes(&mut self.requests, offset_bytes, buffer)
    }

    fn read_pieces(
        &mut self,
        range: Range<u64>,
        buffer: &mut [u8],
        use_piece: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        sectors::read_pieces(&mut self.requests, range, buffer, use_piece)
    }
}
