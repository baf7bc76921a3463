//! Describes where a command's data goes, by physical region pages (NVM Express Base 2.0, 4.1.1).

use crate::drivers::dma::{PAGE_BYTES, Pages};

/// Entries per page of a list.
const ENTRIES: usize = PAGE_BYTES / size_of::<u64>();

/// Pages needed for the list of `length` bytes at any alignment; each page but the last points to the next one.
pub fn list_pages(length: usize) -> usize {
    length.div_ceil(PAGE_BYTES).div_ceil(ENTRIES - 1)
}

/// The two entries of a command for `length` bytes at `address`. If the data spans more than two pages, the second entry points
/// to a list, which is written to `list`; that must have [`list_pages`] pages.
pub fn entries(address: u64, length: usize, list: &mut Pages) -> [u64; 2] {
    let page_bytes = PAGE_BYTES as u64;
    let end = address + length as u64;
    let second = (address / page_bytes + 1) * page_bytes;
    if end <= second + page_bytes {
        return [address, if end <= second { 0 } else { second }];
    }
    let n_pages = (end - second).div_ceil(page_bytes) as usize;
    let mut place = 0;
    for index in 0..n_pages {
        if place % ENTRIES == ENTRIES - 1 && index + 1 < n_pages {
            list.write_u64(place * 2, list.address() + (place as u64 + 1) * size_of::<u64>() as u64);
            place += 1;
        }
        list.write_u64(place * 2, second + index as u64 * page_bytes);
        place += 1;
    }
    [address, list.address()]
}
