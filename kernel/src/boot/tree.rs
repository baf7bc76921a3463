//! Finding the device tree: where the boot loader says that it is, or else where QEMU puts it for ELF files.

use crate::{
    arch::{boot_map, entry, image, probe},
    device_tree::{self, StructureError},
    memory::boot_map::{Kind, MapError},
};
use core::{fmt, ops::Range, slice};
use dtoolkit::fdt::Fdt;

/// Where QEMU puts the tree, without telling, for programs that it does not take for Linux: at the start of RAM,
/// or if the program reaches below that, as the kernel's ELF file does, into the flash at address 0.
const QEMU_RAM: u64 = 0x4000_0000;

/// The part of the header that is read first (Devicetree Specification 0.4, 5.2).
const HEADER_BYTES: u64 = 40;

/// The boot protocol allows 2 MiB, QEMU doubles the size of what it is given: beyond this it is no size.
const MAX_TREE_BYTES: u64 = 64 << 20;

const PAGE_BYTES: u64 = 4096;

/// A device tree and where it lies.
pub struct Found {
    /// The tree.
    pub tree: Fdt<'static>,
    /// Its place in physical memory.
    pub range: Range<u64>,
    /// What is wrong with the tree that the boot loader named, if this is another one.
    pub instead_of: Option<(u64, TreeError)>,
}

/// Why there is no device tree at an address.
#[derive(Debug, Clone)]
pub enum TreeError {
    /// The CPU cannot read so far.
    Unmappable(MapError),
    /// Nothing answers at this address.
    NoMemory(u64),
    /// What is there begins with this word, and not with a tree's.
    OtherMagic(u32),
    /// The header tells this size.
    Size(u64),
    /// It lies within the kernel, which needs the place for its variables.
    WithinImage,
    /// Its structure is broken.
    Invalid(StructureError),
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmappable(error) => write!(f, "{error}"),
            Self::NoMemory(address) => write!(f, "there is no memory at {address:#x}"),
            Self::OtherMagic(magic) => write!(f, "there is {magic:#010x} instead of 0xd00dfeed"),
            Self::Size(bytes) => {
                write!(f, "its header tells {bytes} bytes, expected {HEADER_BYTES} to {MAX_TREE_BYTES}")
            }
            Self::WithinImage => {
                let Range { start, end } = image::whole();
                write!(f, "the kernel occupies {start:#x} to {end:#x}")
            }
            Self::Invalid(error) => write!(f, "{error}"),
        }
    }
}

/// There is no device tree in any of the places.
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
            // QEMU with `secure=on` puts the tree of an ELF file nowhere, but that of an Image.
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
/// [`NoTree`] tells for each place why it is not there.
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
    // SAFETY: it could be read just now; were it no header, it would be bytes all the same.
    let header = unsafe { slice::from_raw_parts(start, HEADER_BYTES as usize) };
    let size_bytes = size_bytes(header)?;
    let range = address..address.saturating_add(size_bytes);
    let image = image::whole();
    if range.start < image.end && image.start < range.end {
        return Err(TreeError::WithinImage);
    }
    map_readable(range.clone())?;
    // SAFETY: each of its pages could be read just now, and nothing writes to them while the tree is in use.
    let bytes = unsafe { slice::from_raw_parts(start, size_bytes as usize) };
    let tree = device_tree::open(bytes).map_err(TreeError::Invalid)?;
    Ok((tree, range))
}

/// Maps what `range` touches, and reads a word of each page to see that something answers.
pub fn map_readable(range: Range<u64>) -> Result<(), TreeError> {
    boot_map::map(range.clone(), Kind::Ram).map_err(TreeError::Unmappable)?;
    let mut page = range.start / PAGE_BYTES * PAGE_BYTES;
    while page < range.end {
        probe::read_u32(page as usize).ok_or(TreeError::NoMemory(page))?;
        page += PAGE_BYTES;
    }
    Ok(())
}

/// The tree in the flash at address 0, to which there are no references: copied to the memory behind the kernel
/// image.
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
        // SAFETY: mapped just now; memory behind the image that nothing uses yet.
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
