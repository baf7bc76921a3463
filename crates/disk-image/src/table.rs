//! The GUID partition table (UEFI specification 2.10, chapter 5), in bytes.

use anyhow::{Context, Result, bail, ensure};
use bytemuck::{bytes_of, cast_slice, pod_read_unaligned};
use gpt_disk_types::{
    Crc32, GptHeader, GptPartitionEntry, GptPartitionType, Guid, LbaLe, MasterBootRecord, U32Le, guid,
};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    mem::size_of,
    ops::Range,
};

/// The type of partitions that contain one GGUF file, from their first byte on.
pub const MODEL_TYPE: GptPartitionType = GptPartitionType(guid!("9d863930-f46c-4049-8d8d-4d7d18c9bd38"));

/// The type of partitions that contain the tree of digests, in dm-verity's format, of the file in the partition before.
pub const TREE_TYPE: GptPartitionType = GptPartitionType(guid!("adcbbc02-b7af-468d-af89-d3bcb84b60e9"));

/// The type of the partition that contains the manifest of models and its signature.
pub const MANIFEST_TYPE: GptPartitionType = GptPartitionType(guid!("1d6cac9f-7715-4cc2-b0a4-35dd7a578f8a"));

/// Partitions begin at multiples of this.
pub const ALIGNMENT_BYTES: u64 = 1 << 20;

/// Number of entries in a table: the required minimum, which takes 16 KiB.
pub const ENTRIES: usize = 128;

const ENTRIES_BYTES: u64 = (ENTRIES * size_of::<GptPartitionEntry>()) as u64;

/// A disk's partition table.
pub struct Table {
    /// The disk's own GUID.
    pub guid: Guid,
    /// Size of its blocks, in bytes.
    pub block_bytes: u64,
    /// Length of the disk in bytes, a multiple of the block size.
    pub disk_bytes: u64,
    /// All [`ENTRIES`] entries, used or not.
    pub entries: Vec<GptPartitionEntry>,
}

impl Table {
    /// A table without partitions.
    pub fn new(guid: Guid, block_bytes: u64, disk_bytes: u64) -> Self {
        Self { guid, block_bytes, disk_bytes, entries: vec![GptPartitionEntry::default(); ENTRIES] }
    }

    /// The end of the space for partitions. The second copy of the table is there.
    pub fn end_bytes(&self) -> u64 {
        self.disk_bytes - ENTRIES_BYTES - self.block_bytes
    }

    /// Makes a partition and returns its number, from 1.
    ///
    /// # Errors
    /// If the name is too long, or the table is full.
    pub fn add(
        &mut self,
        ty: GptPartitionType,
        name: &str,
        start_bytes: u64,
        length_bytes: u64,
        content: &[u8],
    ) -> Result<usize> {
        let free = self.entries.iter().position(|entry| !entry.is_used());
        let index =
            free.with_context(|| format!("the partition table is full: it has room for {ENTRIES}"))?;
        let number = index + 1;
        let last_block = (start_bytes + length_bytes.max(1)).div_ceil(self.block_bytes) - 1;
        self.entries[index] = GptPartitionEntry {
            partition_type_guid: ty,
            unique_partition_guid: crate::guid::of(&[
                &self.guid.to_bytes(),
                &number.to_le_bytes(),
                name.as_bytes(),
                content,
            ]),
            starting_lba: LbaLe::from_u64(start_bytes / self.block_bytes),
            ending_lba: LbaLe::from_u64(last_block),
            name: name.parse().map_err(|error| anyhow::anyhow!("partition name {name}: {error}"))?,
            ..GptPartitionEntry::default()
        };
        Ok(number)
    }

    /// Where a partition is, in bytes.
    pub fn range_bytes(&self, entry: &GptPartitionEntry) -> Range<u64> {
        let (first, last) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
        first.saturating_mul(self.block_bytes)..last.saturating_add(1).saturating_mul(self.block_bytes)
    }

    /// Where all partitions are, in bytes, in the order in which they are on the disk.
    pub fn ranges_bytes(&self) -> Vec<Range<u64>> {
        let used = self.entries.iter().filter(|entry| entry.is_used());
        let mut ranges: Vec<_> = used.map(|entry| self.range_bytes(entry)).collect();
        ranges.sort_by_key(|range| range.start);
        ranges
    }

    /// The header of the first or second copy.
    fn header(&self, is_first: bool) -> GptHeader {
        let last = self.disk_bytes / self.block_bytes - 1;
        let entries_blocks = ENTRIES_BYTES / self.block_bytes;
        let (own, other, entries) = match is_first {
            true => (1, last, 2),
            false => (last, 1, last - entries_blocks),
        };
        let mut header = GptHeader {
            my_lba: LbaLe::from_u64(own),
            alternate_lba: LbaLe::from_u64(other),
            first_usable_lba: LbaLe::from_u64(2 + entries_blocks),
            last_usable_lba: LbaLe::from_u64(last - entries_blocks - 1),
            disk_guid: self.guid,
            partition_entry_lba: LbaLe::from_u64(entries),
            number_of_partition_entries: U32Le::from_u32(ENTRIES as u32),
            partition_entry_array_crc32: crc32(cast_slice(&self.entries)),
            ..GptHeader::default()
        };
        header.update_header_crc32();
        header
    }

    /// The contents of the disk's start: the protective MBR, the header, the entries.
    pub fn start(&self) -> Vec<u8> {
        let block_bytes = self.block_bytes as usize;
        let mut bytes =
            bytes_of(&MasterBootRecord::protective_mbr(self.disk_bytes / self.block_bytes)).to_vec();
        bytes.resize(block_bytes, 0);
        bytes.extend_from_slice(bytes_of(&self.header(true)));
        bytes.resize(2 * block_bytes, 0);
        bytes.extend_from_slice(cast_slice(&self.entries));
        bytes
    }

    /// The contents of the disk's end: the entries, the header.
    pub fn end(&self) -> Vec<u8> {
        let mut bytes = cast_slice(&self.entries).to_vec();
        bytes.extend_from_slice(bytes_of(&self.header(false)));
        bytes.resize((ENTRIES_BYTES + self.block_bytes) as usize, 0);
        bytes
    }

    /// Reads the first copy of a disk's table. If the disk has become longer, the result is the table for the longer disk.
    ///
    /// # Errors
    /// If the disk has no table, a damaged one, or one that this program would not have made.
    pub fn read(disk: &mut File) -> Result<Self> {
        const QCOW2_MAGIC: &[u8] = b"QFI\xfb";
        let disk_bytes = disk.seek(SeekFrom::End(0))?;
        disk.rewind()?;
        let mut start = Vec::new();
        let start_bytes = 2 * 4096 + ENTRIES_BYTES;
        (&*disk).take(start_bytes).read_to_end(&mut start)?;
        ensure!(
            !start.starts_with(QCOW2_MAGIC),
            "a qcow2 disk; expected a raw one, as `qemu-img convert -O raw` makes it"
        );
        ensure!(start.len() as u64 == start_bytes, "no partition table");
        let has_header = |block_bytes: &usize| start[*block_bytes..].starts_with(b"EFI PART");
        let Some(block_bytes) = [512, 4096].into_iter().find(has_header) else { bail!("no partition table") };
        let header: GptHeader = pod_read_unaligned(&start[block_bytes..][..size_of::<GptHeader>()]);
        let entries = &start[2 * block_bytes..][..ENTRIES_BYTES as usize];
        ensure!(
            header.calculate_header_crc32() == header.header_crc32,
            "the header of its partition table is damaged"
        );
        let layout = (
            header.partition_entry_lba.to_u64(),
            header.number_of_partition_entries.to_u32(),
            header.size_of_partition_entry.to_u32(),
        );
        ensure!(
            layout == (2, ENTRIES as u32, size_of::<GptPartitionEntry>() as u32),
            "a partition table of another layout than scripts/disk makes"
        );
        ensure!(header.partition_entry_array_crc32 == crc32(entries), "its partition table is damaged");
        let block_bytes = block_bytes as u64;
        ensure!(
            disk_bytes.is_multiple_of(block_bytes),
            "its length of {disk_bytes} bytes is no multiple of its blocks of {block_bytes}"
        );
        let entries = entries.chunks_exact(size_of::<GptPartitionEntry>()).map(pod_read_unaligned).collect();
        let table = Self { guid: header.disk_guid, block_bytes, disk_bytes, entries };
        let room_bytes = disk_bytes.saturating_sub(ENTRIES_BYTES + block_bytes);
        for range in table.ranges_bytes() {
            ensure!(
                range.start < range.end,
                "its partition table is damaged: a partition ends before it begins"
            );
            ensure!(range.end <= room_bytes, "it is shorter than its partitions");
        }
        Ok(table)
    }

    /// Writes both copies. The first one is written last: until then, the old table is valid.
    ///
    /// # Errors
    /// If the disk cannot be written to.
    pub fn write(&self, disk: &mut File) -> Result<()> {
        for (offset_bytes, bytes) in [(self.end_bytes(), self.end()), (0, self.start())] {
            disk.seek(SeekFrom::Start(offset_bytes))?;
            disk.write_all(&bytes)?;
            disk.sync_data()?;
        }
        Ok(())
    }
}

/// The checksum used in tables.
fn crc32(bytes: &[u8]) -> Crc32 {
    let algorithm = crc::Crc::<u32>::new(&Crc32::ALGORITHM);
    Crc32(U32Le::from_u32(algorithm.checksum(bytes)))
}
