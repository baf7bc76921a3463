//! Adds models to an existing disk.

use crate::{
    boot_partition,
    source::Source,
    table::{ALIGNMENT_BYTES, Table},
};
use anyhow::{Context, Result, bail, ensure};
use gpt_disk_types::{GptPartitionEntry, GptPartitionType};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    ops::Range,
    path::Path,
};

/// Adds files to a raw disk made by [`create`](crate::create); returns a line that names them. The partition table is written
/// last; until then the disk has its old partitions.
///
/// # Errors
/// If the disk is not such a disk, has no room, or already has a partition of the same name; if a file cannot be read or does not
/// match its checksum.
pub fn add(disk: &Path, files: &[Source]) -> Result<String> {
    let context = || disk.display().to_string();
    let mut file = OpenOptions::new().read(true).write(true).open(disk).with_context(context)?;
    let mut table = Table::read(&mut file).with_context(context)?;
    let boot_bytes = boot_partition_bytes(&table).with_context(context)?;
    let mut volume = vec![0; (boot_bytes.end - boot_bytes.start) as usize];
    file.seek(SeekFrom::Start(boot_bytes.start)).with_context(context)?;
    file.read_exact(&mut volume).with_context(context)?;
    let before = volume.clone();
    // Nothing is written if the boot arguments do not fit. Their length does not depend on the checksums.
    let lines: String = files.iter().map(|source| source.boot_arg(&"0".repeat(64))).collect();
    boot_partition::add_to_config(&mut volume, &lines).with_context(context)?;
    volume.copy_from_slice(&before);
    let mut boot_args = String::new();
    for source in files {
        let is_taken =
            |name: &str| table.entries.iter().any(|entry| entry.is_used() && entry.name.to_string() == name);
        ensure!(
            !is_taken(&source.name),
            "{}: a partition is called {} already; {}:NAME gives it another name",
            disk.display(),
            source.name,
            source.path.display()
        );
        let start_bytes = place(&table, source.length_bytes).with_context(context)?;
        let mut write = |offset_bytes: u64, piece: &[u8]| {
            file.seek(SeekFrom::Start(start_bytes + offset_bytes))?;
            file.write_all(piece).with_context(context)
        };
        let digest = source.read(&mut write)?;
        // The rest of the file's last block must not keep earlier contents.
        let end_bytes = source.length_bytes;
        write(end_bytes, &vec![0; (end_bytes.next_multiple_of(table.block_bytes) - end_bytes) as usize])?;
        table.add(source.ty, &source.name, start_bytes, source.length_bytes, digest.as_bytes())?;
        boot_args.push_str(&source.boot_arg(&digest));
    }
    boot_partition::add_to_config(&mut volume, &boot_args).with_context(context)?;
    file.sync_data().with_context(context)?;
    write_changes(&mut file, boot_bytes.start, &before, &volume).with_context(context)?;
    table.write(&mut file).with_context(context)?;
    let names: Vec<&str> = files.iter().map(|source| source.name.as_str()).collect();
    Ok(format!("{}: added {}\n", disk.display(), names.join(", ")))
}

/// The first free place for this many bytes.
fn place(table: &Table, length_bytes: u64) -> Result<u64> {
    let mut start_bytes = ALIGNMENT_BYTES;
    let mut largest_bytes = 0;
    let end = table.end_bytes();
    for range in table.ranges_bytes().into_iter().chain(std::iter::once(end..end)) {
        let free_bytes = range.start.saturating_sub(start_bytes);
        if length_bytes <= free_bytes {
            return Ok(start_bytes);
        }
        largest_bytes = largest_bytes.max(free_bytes);
        start_bytes = start_bytes.max(range.end.next_multiple_of(ALIGNMENT_BYTES));
    }
    bail!(
        "no room for {length_bytes} bytes, {largest_bytes} are free; `truncate -s +SIZE` makes the disk longer"
    )
}

/// Where the EFI system partition is.
fn boot_partition_bytes(table: &Table) -> Result<Range<u64>> {
    const MOST_BYTES: u64 = 1 << 30;
    let is_it = |entry: &&GptPartitionEntry| { entry.partition_type_guid } == GptPartitionType::EFI_SYSTEM;
    let entry = table
        .entries
        .iter()
        .find(is_it)
        .context("no EFI system partition; expected a disk of scripts/disk")?;
    let range = table.range_bytes(entry);
    ensure!(
        range.end - range.start <= MOST_BYTES,
        "an EFI system partition of more than {MOST_BYTES} bytes; expected a disk of scripts/disk"
    );
    Ok(range)
}

/// Writes only the changed parts of a volume: the less is written, the less can go wrong.
fn write_changes(disk: &mut File, start_bytes: u64, before: &[u8], after: &[u8]) -> Result<()> {
    const PIECE_BYTES: usize = 4096;
    let pieces = before.chunks(PIECE_BYTES).zip(after.chunks(PIECE_BYTES)).enumerate();
    for (index, (_, piece)) in pieces.filter(|(_, (before, after))| before != after) {
        disk.seek(SeekFrom::Start(start_bytes + (index * PIECE_BYTES) as u64))?;
        disk.write_all(piece)?;
    }
    Ok(())
}
