//! Creates a new disk.

use crate::{
    boot_partition, guid,
    layout::Layout,
    output::{CLUSTER_BYTES, Output},
    source::Source,
    table::{ENTRIES, Table},
};
use anyhow::{Context, Result, ensure};
use gpt_disk_types::GptPartitionType;
use std::{fs, path::Path};

/// The properties of a new disk.
pub struct Plan<'p> {
    /// The kernel's Image.
    pub image: &'p Path,
    /// Boot arguments.
    pub boot_args: &'p str,
    /// The files that become partitions.
    pub files: &'p [Source],
    /// Free space for more partitions, in bytes.
    pub spare_bytes: u64,
    /// Size of the disk's blocks, in bytes.
    pub block_bytes: u64,
    /// The path of the disk.
    pub output: &'p Path,
    /// Whether to write a qcow2 file instead of a raw one.
    pub is_qcow2: bool,
}

/// Writes a disk; returns a line that describes its contents.
///
/// # Errors
/// If a file cannot be read or does not match its checksum, or if the disk cannot be written.
pub fn create(plan: &Plan<'_>) -> Result<String> {
    let image = fs::read(plan.image).with_context(|| plan.image.display().to_string())?;
    ensure!(
        boot_partition::is_application(&image),
        "{}: no UEFI application for aarch64, as the Image of scripts/image is",
        plan.image.display()
    );
    ensure!(plan.files.len() < ENTRIES, "{} files; a disk has room for {}", plan.files.len(), ENTRIES - 1);
    // Replacing a file while it is being read would destroy it.
    if let Ok(output) = plan.output.canonicalize() {
        let inputs = plan.files.iter().map(|file| file.path.as_path()).chain([plan.image]);
        let is_input = inputs.filter_map(|input| input.canonicalize().ok()).any(|input| input == output);
        ensure!(!is_input, "{}: the disk would replace one of the files that go onto it", output.display());
    }

    let Layout { boot_bytes, starts_bytes, disk_bytes } =
        Layout::new(plan.files, plan.spare_bytes, plan.block_bytes);
    let mut output = Output::new(plan.output, plan.is_qcow2)?;
    let mut config = format!("{}{}\n", boot_partition::CONFIG_START, plan.boot_args.trim());
    let mut digests = Vec::new();
    for (file, start_bytes) in plan.files.iter().zip(&starts_bytes) {
        let digest = file.read(&mut |offset_bytes, piece| output.write(start_bytes + offset_bytes, piece))?;
        config.push_str(&file.boot_arg(&digest));
        digests.push(digest);
    }

    let disk_guid =
        guid::of(&[&plan.block_bytes.to_le_bytes(), &disk_bytes.to_le_bytes(), &image, config.as_bytes()]);
    let volume_id = disk_guid.to_bytes()[..4].try_into().map(u32::from_le_bytes)?;
    let volume = boot_partition::make(plan.block_bytes, &image, &config, volume_id)?;
    output.write(boot_bytes, &volume)?;

    let mut table = Table::new(disk_guid, plan.block_bytes, disk_bytes);
    table.add(GptPartitionType::EFI_SYSTEM, "EFI System", boot_bytes, volume.len() as u64, &[])?;
    for ((file, start_bytes), digest) in plan.files.iter().zip(starts_bytes).zip(&digests) {
        table.add(file.ty, &file.name, start_bytes, file.length_bytes, digest.as_bytes())?;
    }
    output.write(0, &table.start())?;
    let mut end = table.end();
    end.splice(0..0, vec![0; CLUSTER_BYTES - end.len()]);
    output.write(disk_bytes - CLUSTER_BYTES as u64, &end)?;
    output.finish(disk_bytes)?;

    let names: Vec<&str> = plan.files.iter().map(|file| file.name.as_str()).collect();
    Ok(format!(
        "{}: {}\n",
        plan.output.display(),
        if names.is_empty() { "no models".into() } else { names.join(", ") }
    ))
}
