//! The layout of a disk.
//!
//! | what | where |
//! |---|---|
//! | protective MBR, partition table | the first blocks |
//! | EFI system partition | at 1 MiB |
//! | a partition for each model file | each at the next multiple of 1 MiB |
//! | room for more | up to the last MiB |
//! | second copy of the table | the last blocks |

use crate::{boot_partition, source::Source, table::ALIGNMENT_BYTES};

/// The places of everything on a new disk, in bytes.
pub struct Layout {
    /// The EFI system partition's start.
    pub boot_bytes: u64,
    /// The files' starts.
    pub starts_bytes: Vec<u64>,
    /// The disk's length.
    pub disk_bytes: u64,
}

impl Layout {
    /// The layout of a disk with these files.
    pub fn new(files: &[Source], spare_bytes: u64, block_bytes: u64) -> Self {
        let boot_bytes = ALIGNMENT_BYTES;
        let mut end_bytes = boot_bytes + boot_partition::BLOCKS * block_bytes;
        let place = |file: &Source| {
            let start_bytes = end_bytes.next_multiple_of(ALIGNMENT_BYTES);
            end_bytes = start_bytes + file.length_bytes;
            start_bytes
        };
        let starts_bytes = files.iter().map(place).collect();
        let spare_end_bytes =
            end_bytes.next_multiple_of(ALIGNMENT_BYTES) + spare_bytes.next_multiple_of(ALIGNMENT_BYTES);
        Self { boot_bytes, starts_bytes, disk_bytes: spare_end_bytes + ALIGNMENT_BYTES }
    }
}
