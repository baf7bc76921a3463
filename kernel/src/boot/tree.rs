//! Finds the device tree: at the address from the boot loader, or else where QEMU puts it for ELF files.

use crate::{
    arch::{boot_map, entry, image, probe},
    device_tree::{self, StructureError},
    memory::boot_map::{Kind, MapError},
};
use core::{fmt, ops::Range, slice};
use dtoolkit::fdt::Fdt;

/// QEMU passes no address to programs that it does not recognise as Linux. It then puts the tree at the start of RAM or, if the
/// program extends below that (as the kernel's ELF file does), into the flash at address 0.
const QEMU_RAM: u64 = 0x4000_0000;

/// The part of the header that is read first (Devicetree Specification 0.4, 5.2).
const HEADER_BYTES: u64 = 40;

/// Larger sizes are taken for garbage. The boot protocol allows 2 MiB, and QEMU doubles the size of the tree that it is given.
const MAX_TREE_BYTES: u64 = 64 << 20;

const PAGE_BYTES: u64 = 4096;

/// A device tree and its place.
pub struct Found {
    /// The tree.
    pub tree: Fdt<'static>,
    /// Its place in physical memory.
    pub range: Range<u64>,
    /// If the boot loader named another tree: its address, and what is wrong with it.
    pub instead_of: Option<(u64, TreeError)>,
}

/// Why there is no device tree at an address.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TreeError {
    /// The CPU cannot address it.
    #[error("{0}")]
    Unmappable(MapError),
    /// There is no memory at this address.
    #[error("there is no memory at {0:#x}")]
    NoMemory(u64),
    /// The data there begins with this word instead of a tree's magic number.
    #[error("there is {0:#010x} instead of 0xd00dfeed")]
    OtherMagic(u32),
    /// The header gives this size, which is impossible.
    #[error("its header tells {0} bytes, expected {HEADER_BYTES} to {MAX_TREE_BYTES}")]
    Size(u64),
    /// It lies within the kernel image, whose variables would overwrite it.
    #[error("the kernel occupies {:#x} to {:#x}", image::whole().start, image::whole().end)]
    WithinImage,
    /// Its structure is broken.
    #[error("{0}")]
    Invalid(StructureError),
}

/// There is no device tree in any of the places that were searched.
#[derive(Debug)]
pub struct NoTree {
    register: u64,
    named: Option<TreeError>,
    in_ram: TreeError,
    in_flash: TreeError,
}

impl fmt::Display for NoTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no device tree: x0 is {:#x}", self.register)?;
        if let Some(error) = &self.named {
            write!(f, ", but {error}")?;
        }
        let Self { in_ram, in_flash, .. } = self;
        write!(f, "; at {QEMU_RAM:#x}, {in_ram}; at 0x0, {in_flash}; ")?;
        match entry::level() {
            // With `secure=on`, QEMU passes no device tree to an ELF file, but it does to an Image.
            3 => write!(f, "start the arm64 Image of scripts/image instead of the ELF file"),
            _ => write!(f, "pass its address in x0"),
        }
    }
}

/// The device tree at an address, if one is there.
pub fn at(address: u64) -> Option<Found> {
    if address == 0 {
        return None;
    }
    let (tree, range) = read(address).ok()?;
    Some(Found { tree, range, instead_of: None })
}

/// Looks for the device tree; `register` is x0 at the entry point.
///
/// # Errors
/// [`NoTree`] says for each place why there is no tree.
pub fn find(register: u64) -> Result<Found, NoTree> {
    let mut named = None;
    if register != 0 {
        match read(register) {
            Ok((tree, range)) => return Ok(Found { tree, range, instead_of: None }),
            Err(error) => named = Some(error),
        }
    }
    let found = read(QEMU_RAM).or_else(|in_ram| read_flash().map_err(|in_flash| (in_ram, in_flash)));
    match found {
        Ok((tree, range)) => {
            let instead_of = named.map(|error| (register, error));
            Ok(Found { tree, range, instead_of })
        }
        Err((in_ram, in_flash)) => Err(NoTree { register, named, in_ram, in_flash }),
    }
}

fn read(address: u64) -> Result<(Fdt<'static>, Range<u64>), TreeError> {
    map_readable(address..address.saturating_add(HEADER_BYTES))?;
    let start = core::ptr::with_exposed_provenance::<u8>(address as usize);
    // SAFETY: these bytes were read successfully just now, and any bytes are valid as `u8`.
    let header = unsafe { slice::from_raw_parts(start, HEADER_BYTES as usize) };
    let size_bytes = size_bytes(header)?;
    let range = address..address.saturating_add(size_bytes);
    let image = image::whole();
    if range.start < image.end && image.start < range.end {
        return Err(TreeError::WithinImage);
    }
    map_readable(range.clone())?;
    // SAFETY: every page of the range was read successfully just now, and nothing writes to them while the tree is in use.
    let bytes = unsafe { slice::from_raw_parts(start, size_bytes as usize) };
    let tree = device_tree::open(bytes).map_err(TreeError::Invalid)?;
    Ok((tree, range))
}

/// Maps the pages that `range` touches, and reads a word of each to check that there is memory.
pub fn map_readable(range: Range<u64>) -> Result<(), TreeError> {
    boot_map::map(range.clone(), Kind::Ram).map_err(TreeError::Unmappable)?;
    let mut page = range.start / PAGE_BYTES * PAGE_BYTES;
    while page < range.end {
        probe::read_u32(page as usize).ok_or(TreeError::NoMemory(page))?;
        page += PAGE_BYTES;
    }
    Ok(())
}

/// The tree in the flash at address 0, copied to the memory behind the kernel image, because Rust has no references to address 0.
fn read_flash() -> Result<(Fdt<'static>, Range<u64>), TreeError> {
    boot_map::map(0..1, Kind::Ram).map_err(TreeError::Unmappable)?;
    let word = |offset: u64| probe::read_u32(offset as usize).map(u32::to_ne_bytes);
    let first = word(0).ok_or(TreeError::NoMemory(0))?;
    let second = word(4).ok_or(TreeError::NoMemory(4))?;
    let mut header = [0; 8];
    header[..4].copy_from_slice(&first);
    header[4..].copy_from_slice(&second);
    let size_bytes = size_bytes(&header)?;
    let copy = image::whole().end;
    map_readable(copy..copy + size_bytes.next_multiple_of(4))?;
    boot_map::map(0..size_bytes, Kind::Ram).map_err(TreeError::Unmappable)?;
    for offset in (0..size_bytes).step_by(4) {
        let word = word(offset).ok_or(TreeError::NoMemory(offset))?;
        let place = core::ptr::with_exposed_provenance_mut::<[u8; 4]>((copy + offset) as usize);
        // SAFETY: `place` was mapped just now and lies behind the image, where nothing is in use yet.
        unsafe { place.write(word) };
    }
    read(copy)
}

/// The size of the tree that begins with these bytes.
fn size_bytes(header: &[u8]) -> Result<u64, TreeError> {
    let Some(size_bytes) = device_tree::total_size_bytes(header) else {
        let magic = header.first_chunk().map_or(0, |&magic| u32::from_be_bytes(magic));
        return Err(TreeError::OtherMagic(magic));
    };
    let size_bytes = size_bytes as u64;
    let is_possible = (HEADER_BYTES..=MAX_TREE_BYTES).contains(&size_bytes);
    is_possible.then_some(size_bytes).ok_or(TreeError::Size(size_bytes))
}
