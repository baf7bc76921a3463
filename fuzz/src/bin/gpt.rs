//! Any bytes as the partition table of a disk: an error of one line, or partitions that lie on the disk, apart from each other.
//!
//! The first byte says how long blocks are, which checksums are made right and whether the first header is broken; the next 92 are the
//! header, the others the entries in block 2, and in the block that the second header names.
#![no_main]

use ferrite_kernel::storage::gpt::{Fault, read};
use ferrite_kernel::storage::{BlockDevice, ReadError};
use fuzz::{assert_line, take};
use libfuzzer_sys::fuzz_target;

const N_BLOCKS: usize = 40;
const HEADER_BYTES: usize = 92;

struct Disk {
    bytes: Vec<u8>,
    block_bytes: usize,
}

impl BlockDevice for Disk {
    fn capacity_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn serial(&self) -> &str {
        ""
    }

    fn transport(&self) -> &str {
        "memory"
    }

    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check_range(offset_bytes, buffer.len(), self.capacity_bytes())?;
        buffer.copy_from_slice(&self.bytes[offset_bytes as usize..][..buffer.len()]);
        Ok(())
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&kind, mut rest)) = input.split_first() else { return };
    let block_bytes = if kind & 1 == 0 { 512 } else { 4096 };
    let mut disk = Disk { bytes: vec![0; N_BLOCKS * block_bytes], block_bytes };
    let header = take(&mut rest, HEADER_BYTES);
    let place = if kind & 2 == 0 { 1 } else { N_BLOCKS - 1 };
    let at = place * block_bytes;
    disk.bytes[450] = 0xee;
    disk.bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.bytes[at..at + header.len()].copy_from_slice(header);
    let field = |bytes: &[u8], from: usize, n: usize| {
        bytes[at + from..][..n].iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
    };
    let table = usize::try_from(field(&disk.bytes, 72, 8)).unwrap_or(usize::MAX).saturating_mul(block_bytes);
    if let Some(room) = disk.bytes.get_mut(table..).filter(|_| table >= 2 * block_bytes) {
        let n = room.len().min(rest.len());
        room[..n].copy_from_slice(&rest[..n]);
    }
    if kind & 4 == 0 {
        let n_bytes = (field(&disk.bytes, 80, 4) * field(&disk.bytes, 84, 4)).min(1 << 20) as usize;
        if let Some(entries) = disk.bytes.get(table..).and_then(|rest| rest.get(..n_bytes)) {
            let checksum = crc32(entries);
            disk.bytes[at + 88..at + 92].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    if kind & 8 == 0 {
        disk.bytes[at + 24..at + 32].copy_from_slice(&(place as u64).to_le_bytes());
        let length = field(&disk.bytes, 12, 4) as usize;
        disk.bytes[at + 16..at + 20].fill(0);
        if let Some(header) = disk.bytes.get(at..).and_then(|rest| rest.get(..length.min(block_bytes))) {
            let checksum = crc32(header);
            disk.bytes[at + 16..at + 20].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    let table = match read(&mut disk) {
        Ok(table) => table.expect("the first block says that the disk is divided"),
        Err(fault) => {
            assert!(!matches!(fault, Fault::Read(_)) || kind & 2 != 0, "{fault}");
            return assert_line(&fault.to_string());
        }
    };
    assert_eq!(table.instead_of.is_some(), kind & 2 != 0);
    let capacity = disk.capacity_bytes();
    let mut last = 0;
    for entry in &table.entries {
        assert!(entry.number > last);
        last = entry.number;
        assert!(entry.bytes.start < entry.bytes.end && entry.bytes.end <= capacity);
        assert!(!entry.label.contains(char::is_control));
    }
    let mut places: Vec<_> = table.entries.iter().map(|entry| entry.bytes.clone()).collect();
    places.sort_by_key(|place| place.start);
    assert!(places.is_sorted_by(|place, next| place.end <= next.start));
});

/// CRC-32 as the table has it.
fn crc32(bytes: &[u8]) -> u32 {
    const fn table() -> [u32; 256] {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut value, mut bit) = (byte as u32, 0);
            while bit < 8 {
                value = value >> 1 ^ if value & 1 != 0 { 0xedb8_8320 } else { 0 };
                bit += 1;
            }
            table[byte] = value;
            byte += 1;
        }
        table
    }
    static TABLE: [u32; 256] = table();
    let step = |sum: u32, byte: &u8| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)];
    !bytes.iter().fold(u32::MAX, step)
}
