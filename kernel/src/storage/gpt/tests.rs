use super::{
    super::{FaultyDisk, MemoryDisk},
    *,
};

/// The partition type of Linux' file systems, 0FC63DAF-8483-4772-8E79-3D69D8477DE4.
const LINUX: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

/// A disk in memory with any block size.
pub struct BlockDisk(pub MemoryDisk, pub usize);

impl BlockDevice for BlockDisk {
    fn capacity_bytes(&self) -> u64 {
        self.0.capacity_bytes()
    }

    fn serial(&self) -> &str {
        self.0.serial()
    }

    fn transport(&self) -> &str {
        self.0.transport()
    }

    fn block_bytes(&self) -> usize {
        self.1
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.0.read_at(offset_bytes, buffer)
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut checksum = Checksum::new();
    checksum.add(bytes);
    !checksum.0
}

/// A partition in a test: label, first and last block, and whether it is the firmware's.
pub type Part<'p> = (&'p str, u64, u64, bool);

fn put(bytes: &mut [u8], place: usize, value: &[u8]) {
    bytes[place..place + value.len()].copy_from_slice(value);
}

/// Writes a header's checksum.
fn seal(image: &mut [u8], header: usize) {
    put(image, header + 16, &[0; 4]);
    let checksum = crc32(&image[header..header + HEADER_BYTES]);
    put(image, header + 16, &checksum.to_le_bytes());
}

/// An image of 256 blocks with both tables of 128 entries.
pub fn image(block_bytes: usize, parts: &[Part<'_>]) -> Vec<u8> {
    const N_BLOCKS: usize = 256;
    let mut table = vec![0; 128 * 128];
    for (index, &(label, first, last, is_efi_system)) in parts.iter().enumerate() {
        let entry = &mut table[index * 128..][..128];
        put(entry, 0, if is_efi_system { &EFI_SYSTEM } else { &LINUX });
        put(entry, 16, &[index as u8 + 1; 16]);
        put(entry, 32, &first.to_le_bytes());
        put(entry, 40, &last.to_le_bytes());
        for (index, unit) in label.encode_utf16().enumerate() {
            put(entry, 56 + 2 * index, &unit.to_le_bytes());
        }
    }
    let n_table_blocks = table.len().div_ceil(block_bytes);
    let mut image = vec![0; N_BLOCKS * block_bytes];
    put(&mut image, 446 + 4, &[0xee]);
    put(&mut image, 510, &[0x55, 0xaa]);
    let last = N_BLOCKS - 1;
    for (place, other, table_place) in [(1, last, 2), (last, 1, last - n_table_blocks)] {
        let header = &mut image[place * block_bytes..];
        put(header, 0, b"EFI PART\0\0\x01\0\x5c\0\0\0");
        put(header, 24, &(place as u64).to_le_bytes());
        put(header, 32, &(other as u64).to_le_bytes());
        put(header, 40, &(2 + n_table_blocks as u64).to_le_bytes());
        put(header, 48, &((last - 1 - n_table_blocks) as u64).to_le_bytes());
        put(header, 72, &(table_place as u64).to_le_bytes());
        put(header, 80, &128_u32.to_le_bytes());
        put(header, 84, &128_u32.to_le_bytes());
        put(header, 88, &crc32(&table).to_le_bytes());
        seal(&mut image, place * block_bytes);
        put(&mut image, table_place * block_bytes, &table);
    }
    image
}

/// An image with a single partition that has this label and these contents.
pub fn image_with(label: &str, content: &[u8]) -> Vec<u8> {
    const BLOCK_BYTES: usize = 4096;
    let first = 40;
    let last = first + content.len().div_ceil(BLOCK_BYTES) as u64 - 1;
    let mut image = image(BLOCK_BYTES, &[(label, first, last, false)]);
    put(&mut image, first as usize * BLOCK_BYTES, content);
    image
}

const PARTS: [Part<'_>; 3] =
    [("EFI system", 34, 40, true), ("tiny", 41, 80, false), ("größe 🦀", 90, 90, false)];

fn look(image: &[u8], block_bytes: usize) -> Result<Option<Table>, Fault> {
    read(&mut BlockDisk(MemoryDisk::new("d", image.to_vec()), block_bytes))
}

#[test]
fn checksums_are_the_standards() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(b""), 0);
}

#[test]
fn partitions_have_their_places_and_labels() {
    for block_bytes in [512, 4096] {
        let table = look(&image(block_bytes, &PARTS), block_bytes).unwrap().unwrap();
        assert_eq!(table.instead_of, None);
        let bytes = |first: u64, last: u64| first * block_bytes as u64..(last + 1) * block_bytes as u64;
        let entries: Vec<_> = table
            .entries
            .iter()
            .map(|entry| (entry.number, &*entry.label, entry.bytes.clone(), entry.is_efi_system))
            .collect();
        let expected = [
            (1, "EFI system", bytes(34, 40), true),
            (2, "tiny", bytes(41, 80), false),
            (3, "größe 🦀", bytes(90, 90), false),
        ];
        assert_eq!(entries, expected);
        assert_eq!(table.entries[1].guid, [2; 16]);
    }
}

#[test]
fn a_disk_without_a_protective_record_is_whole() {
    let mut bytes = image(512, &PARTS);
    bytes[450] = 0x83;
    assert_eq!(look(&bytes, 512), Ok(None));
    let mut bytes = image(512, &PARTS);
    bytes[511] = 0;
    assert_eq!(look(&bytes, 512), Ok(None));
    for length in [0, 511, 512] {
        assert_eq!(look(&vec![0x55; length], 512), Ok(None));
    }
    let bad = |bytes| read(&mut FaultyDisk::new(MemoryDisk::new("d", image(512, &PARTS)), bytes));
    assert_eq!(bad(0..1), Ok(None));
    // Either the first table or both tables are unreadable.
    assert!(matches!(bad(600..601), Ok(Some(Table { instead_of: Some(Fault::Read(_)), .. }))));
    assert!(matches!(bad(600..256 * 512), Err(Fault::Read(_))));
}

#[test]
fn the_second_table_stands_in_for_a_broken_first_one() {
    for block_bytes in [512, 4096] {
        let whole = image(block_bytes, &PARTS);
        let entries = look(&whole, block_bytes).unwrap().unwrap().entries;
        let header = block_bytes;
        let check = |change: &dyn Fn(&mut [u8]), fault: Fault| {
            let mut bytes = whole.clone();
            change(&mut bytes);
            let table = look(&bytes, block_bytes).unwrap().unwrap();
            assert_eq!((&table.entries, table.instead_of), (&entries, Some(fault)));
            // Without the second table, there is none left.
            let last = bytes.len() - block_bytes;
            bytes[last] = b'X';
            assert_eq!(look(&bytes, block_bytes), Err(fault));
        };
        check(&|bytes| bytes[header] = b'X', Fault::NoHeader { block: 1, block_bytes });
        check(&|bytes| bytes[header + 40] ^= 1, Fault::HeaderChecksum);
        check(&|bytes| bytes[2 * block_bytes + 5000] ^= 1, Fault::EntriesChecksum);
        check(&|bytes| bytes[header + 8] = 9, Fault::Header);
        check(&|bytes| bytes[header + 12] = 91, Fault::Header);
        check(&|bytes| bytes[header + 24] = 2, Fault::Header);
        let sealed = |place: usize, value: &[u8], fault: Fault| {
            let change = |bytes: &mut [u8]| {
                put(bytes, header + place, value);
                seal(bytes, header);
            };
            check(&change, fault);
        };
        let entries = |count, entry_bytes, block| Fault::Entries { count, entry_bytes, block };
        sealed(80, &u32::MAX.to_le_bytes(), entries(u32::MAX, 128, 2));
        sealed(80, &1025_u32.to_le_bytes(), entries(1025, 128, 2));
        sealed(84, &64_u32.to_le_bytes(), entries(128, 64, 2));
        sealed(84, &384_u32.to_le_bytes(), entries(128, 384, 2));
        sealed(84, &8192_u32.to_le_bytes(), entries(128, 8192, 2));
        sealed(72, &u64::MAX.to_le_bytes(), entries(128, 128, u64::MAX));
        sealed(72, &1_u64.to_le_bytes(), entries(128, 128, 1));
        sealed(72, &255_u64.to_le_bytes(), entries(128, 128, 255));
    }
}

#[test]
fn a_partition_that_cannot_be_is_named() {
    for (first, last) in [(80, 79), (1, 40), (41, 255), (41, u64::MAX), (u64::MAX, u64::MAX)] {
        let bytes = image(512, &[PARTS[0], ("bad", first, last, false)]);
        let fault = look(&bytes, 512).unwrap_err();
        assert_eq!(fault, Fault::Place { number: 2, first, last });
    }
    let fault = Fault::Place { number: 2, first: 1, last: 40 };
    assert_eq!(std::format!("{fault}"), "partition 2 cannot have the blocks 1 to 40");
}

/// An image that was made for a different block size.
#[test]
fn other_blocks_are_told() {
    let fault = look(&image(512, &PARTS), 4096).unwrap_err();
    assert_eq!(std::format!("{fault}"), "no header is in block 1, of 4096 bytes");
    assert!(look(&image(4096, &PARTS), 512).is_err());
}

/// Whatever is in a table, it is either read or rejected. Checksums are corrected, so that later checks are reached as well.
#[test]
fn any_table_has_a_meaning() {
    let mut state = 7_u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    let whole = image(512, &PARTS);
    let mut n_tables = 0;
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random() % 4 {
            let place = match random() % 4 {
                0 => 512 + 8 + random() % 84,
                1 => random() % 512,
                _ => 1024 + random() % 384,
            };
            bytes[place] = match random() % 3 {
                0 => 0xff,
                1 => 0,
                _ => random() as u8,
            };
        }
        if random() % 2 == 0 {
            let count = number_32(&bytes[592..596]) as usize;
            let length = number_32(&bytes[596..600]) as usize;
            if let Some(table) = bytes.get(1024..1024_usize.saturating_add(count.saturating_mul(length))) {
                let checksum = crc32(table);
                put(&mut bytes, 512 + 88, &checksum.to_le_bytes());
            }
            seal(&mut bytes, 512);
        }
        if random() % 2 == 0 {
            let last = bytes.len() - 512;
            bytes[last + random() % 92] ^= 1;
        }
        if let Ok(Some(table)) = look(&bytes, 512) {
            n_tables += 1;
            for entry in table.entries {
                assert!(entry.bytes.start < entry.bytes.end && entry.bytes.end <= bytes.len() as u64);
            }
        }
    }
    assert!(n_tables > 1000, "{n_tables} tables");
}

#[test]
fn partitions_that_overlap_are_refused() {
    const APART: [Part<'_>; 3] = [("a", 60, 80, false), ("b", 41, 50, false), ("c", 51, 59, false)];
    assert_eq!(look(&image(512, &APART), 512).unwrap().unwrap().entries.len(), 3);
    for (last, numbers) in [(51, [2, 3]), (80, [1, 2]), (50, [0; 2])] {
        let table = look(&image(512, &[APART[0], ("b", 41, last, false), APART[2]]), 512);
        assert_eq!(table.is_ok(), last == 50);
        if let Err(fault) = table {
            assert_eq!(fault, Fault::Overlap { numbers });
            let [first, second] = numbers;
            assert_eq!(std::format!("{fault}"), std::format!("the partitions {first} and {second} overlap"));
        }
    }
    let same = look(&image(512, &[APART[0], ("b", 60, 60, false)]), 512);
    assert!(matches!(same, Err(Fault::Overlap { .. })));
}
