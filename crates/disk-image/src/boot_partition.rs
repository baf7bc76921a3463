//! The EFI system partition: a FAT32 volume that holds the boot arguments, and the kernel's Image in the place where firmware
//! looks by default (UEFI specification 2.10, section 3.5.1.1).

use anyhow::{Context, Result, ensure};
use fatfs::{Date, DateTime, Dir, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use std::io::{Cursor, Read, Write};

/// The smallest round number of blocks for FAT32 with clusters of one block, which firmware must be able to read on disks (UEFI
/// specification 2.10, section 13.3.1): FAT32 needs at least 65525 clusters. With blocks of 512 bytes it is 33 MiB.
pub const BLOCKS: u64 = 67_584;

/// The folders and the file that firmware boots on aarch64.
const FOLDERS: [&str; 2] = ["EFI", "EFI/BOOT"];
const BOOT_FILE: &str = "EFI/BOOT/BOOTAA64.EFI";

/// The file with the boot arguments, in the root.
const CONFIG_FILE: &str = "ferrite.cfg";

/// The beginning of that file.
pub const CONFIG_START: &str = "# Boot arguments of Ferrite, on any number of lines.\n";

/// How many bytes of it the kernel reads.
const MAX_CONFIG_BYTES: usize = 64 << 10;

/// Whether firmware on aarch64 takes these bytes for a program: they have the headers of PE/COFF (Microsoft, PE Format), and the
/// machine in the headers is arm64. Other errors are left for the firmware to report.
pub fn is_application(image: &[u8]) -> bool {
    let number = |offset: usize| Some(u32::from_le_bytes(*image.get(offset..)?.first_chunk()?));
    let header = number(0x3c).map(|offset| offset as usize);
    let is_pe = header
        .is_some_and(|header| image.get(header..).is_some_and(|bytes| bytes.starts_with(b"PE\0\0\x64\xaa")));
    image.starts_with(b"MZ") && is_pe
}

fn check_config(config: &str) -> Result<()> {
    let length = config.len();
    ensure!(
        length <= MAX_CONFIG_BYTES,
        "{length} bytes of boot arguments; the kernel reads {MAX_CONFIG_BYTES}"
    );
    Ok(())
}

/// A volume of [`BLOCKS`] blocks with the Image and the boot arguments.
///
/// # Errors
/// If they do not fit, or if the kernel would not read all arguments.
pub fn make(block_bytes: u64, image: &[u8], config: &str, volume_id: u32) -> Result<Vec<u8>> {
    check_config(config)?;
    let mut volume = vec![0; (BLOCKS * block_bytes) as usize];
    let options = FormatVolumeOptions::new()
        .bytes_per_sector(block_bytes as u16)
        .bytes_per_cluster(block_bytes as u32)
        .fat_type(FatType::Fat32)
        .volume_id(volume_id)
        .volume_label(*b"FERRITE    ");
    fatfs::format_volume(Cursor::new(&mut volume[..]), options)?;
    with_root(&mut volume, |root| {
        for folder in FOLDERS {
            root.create_dir(folder)?;
        }
        let full = || format!("the Image of {} bytes does not fit into the boot partition", image.len());
        root.create_file(BOOT_FILE)?.write_all(image).with_context(full)?;
        Ok(root.create_file(CONFIG_FILE)?.write_all(config.as_bytes())?)
    })?;
    mend_parent_of_first_folder(&mut volume);
    Ok(volume)
}

/// Adds lines to the boot arguments of a volume.
///
/// # Errors
/// If the volume is not FAT, has no boot arguments or no room, or if the kernel would not read all arguments.
pub fn add_to_config(volume: &mut [u8], lines: &str) -> Result<()> {
    with_root(volume, |root| {
        let mut file = root.open_file(CONFIG_FILE).with_context(|| CONFIG_FILE.to_owned())?;
        let mut config = String::new();
        file.read_to_string(&mut config).with_context(|| CONFIG_FILE.to_owned())?;
        let break_before = if config.is_empty() || config.ends_with('\n') { "" } else { "\n" };
        let added = format!("{break_before}{lines}");
        check_config(&(config + &added))?;
        Ok(file.write_all(added.as_bytes())?)
    })
}

/// Calls `work` with the root folder of a volume.
fn with_root(volume: &mut [u8], work: impl FnOnce(&Dir<'_, Cursor<&mut [u8]>>) -> Result<()>) -> Result<()> {
    let file_system = FileSystem::new(Cursor::new(volume), FsOptions::new().time_provider(&FixedTime))?;
    work(&file_system.root_dir())?;
    // Counts the free clusters, for readers that trust the volume's own count.
    file_system.stats()?;
    Ok(file_system.unmount()?)
}

/// The time of everything on the volume: the earliest time of FAT.
#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// In a folder in the root, the entry for the parent must name cluster 0, whatever the root's cluster is (Microsoft, FAT32 File
/// System Specification 1.03, "FAT Directory Structure"). fatfs writes the root's cluster instead; this corrects it. The first
/// folder is in the cluster after the root's.
fn mend_parent_of_first_folder(volume: &mut [u8]) {
    let number = |offset: usize, bytes: usize| {
        volume[offset..offset + bytes].iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte))
    };
    let (block_bytes, reserved, fats, fat_blocks) =
        (number(11, 2), number(14, 2), number(16, 1), number(36, 4));
    let first_folder = (reserved + fats * fat_blocks + 1) * block_bytes;
    let parent = first_folder + 32;
    assert!(volume[parent..].starts_with(b".. "), "the second entry of the first folder");
    volume[parent + 20..parent + 22].fill(0);
    volume[parent + 26..parent + 28].fill(0);
}
