//! Decodes what a controller and its namespaces report about themselves (NVM Express Base 2.0, 5.17; NVM Command Set 1.0, 4.1.5).

use crate::{drivers::requests::Geometry, storage::legible};
use alloc::{format, string::String, vec::Vec};
use core::ops::Range;

/// The data structure that is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structure {
    /// A namespace.
    Namespace = 0,
    /// The controller.
    Controller = 1,
    /// The list of active namespaces.
    ActiveNamespaces = 2,
}

/// The most namespaces that are examined: far more than machines have.
const MAX_NAMESPACES: usize = 64;

#[inline(never)]
fn number(data: &[u8], bytes: Range<usize>) -> u64 {
    let bytes = data.get(bytes).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The parts of the controller's structure that are used.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Controller {
    /// Its serial number.
    pub serial: String,
    /// The most that a command transfers: log2 of a number of smallest pages; `None` if there is no limit.
    pub max_transfer_shift: Option<u8>,
    /// How long a shutdown may take (RTD3E); 0 if not given.
    pub shutdown_us: u64,
    /// The highest namespace number.
    pub n_namespaces: u32,
}

impl Controller {
    /// Decodes the structure.
    pub fn new(data: &[u8]) -> Self {
        let shift = number(data, 77..78) as u8;
        Self {
            serial: legible(data.get(4..24).unwrap_or_default()),
            max_transfer_shift: (shift != 0).then_some(shift),
            shutdown_us: number(data, 88..92),
            n_namespaces: number(data, 516..520) as u32,
        }
    }
}

/// The namespaces in a list, which ends at the first 0.
pub fn active_namespaces(data: &[u8]) -> Vec<u32> {
    let numbers = data.chunks_exact(4).map(|bytes| number(bytes, 0..4) as u32);
    numbers.take_while(|&id| id != 0).take(MAX_NAMESPACES).collect()
}

/// All possible namespaces.
pub fn all_namespaces(n_namespaces: u32) -> Vec<u32> {
    (1..=n_namespaces).take(MAX_NAMESPACES).collect()
}

/// The geometry of a namespace whose commands transfer up to `request_bytes`; `None` if the namespace is not active.
///
/// # Errors
/// Why it is not supported.
pub fn geometry(data: &[u8], request_bytes: usize) -> Option<Result<Geometry, String>> {
    const LARGEST_BLOCK_SHIFT: u64 = 16;
    let n_blocks = number(data, 0..8);
    if n_blocks == 0 {
        return None;
    }
    let format = number(data, 26..27);
    // If there are more than 16 formats, two more bits of the index are in a separate field.
    let index = (format & 0xf | (format >> 5 & 3) << 4) as usize;
    let format = number(data, 128 + 4 * index..132 + 4 * index);
    let (metadata_bytes, shift) = (format & 0xffff, format >> 16 & 0xff);
    if metadata_bytes != 0 {
        return Some(Err(format!(
            "its blocks have {metadata_bytes} bytes of metadata; expected a format with none (nvme format --ms=0)"
        )));
    }
    if !(9..=LARGEST_BLOCK_SHIFT).contains(&shift) {
        return Some(Err(format!(
            "its blocks have 2^{shift} bytes; expected 2^9 to 2^{LARGEST_BLOCK_SHIFT}"
        )));
    }
    let block_bytes = 1_usize << shift;
    let request_bytes = request_bytes / block_bytes * block_bytes;
    if request_bytes == 0 {
        return Some(Err(format!("its blocks have {block_bytes} bytes, more than a command transfers")));
    }
    let sector_count = n_blocks.saturating_mul(1 << (shift - 9));
    Some(Ok(Geometry { sector_count, block_bytes, request_bytes, align_bytes: 4 }))
}
