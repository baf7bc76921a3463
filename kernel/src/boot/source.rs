//! The source that describes the machine: a device tree, or UEFI firmware with a device tree or ACPI tables.

use super::tree;
use crate::{
    acpi::{AcpiError, Tables},
    arch::{boot_map, image},
    device_tree::{self, EarlyPlatform},
    drivers::pcie::Ecam,
    firmware::Told,
    machine::Platform,
    memory::{
        boot_map::{Kind, MapError},
        layout,
    },
    pci,
};
use core::{ops::Range, slice};

/// The description of the machine, as far as it is known before there is a heap.
pub struct Source {
    teller: Teller,
    told: Option<&'static Told>,
}

#[allow(clippy::large_enum_variant, reason = "there is one, on the stack, and no heap yet")]
enum Teller {
    Tree(tree::Found),
    Acpi(Tables<'static>),
}

/// No source describes the machine in a usable way.
#[derive(Debug, thiserror::Error)]
pub enum NoSource {
    /// No firmware and no device tree.
    #[error("{0}")]
    Tree(tree::NoTree),
    /// Firmware without a device tree, whose ACPI tables cannot be used.
    #[error("{0}")]
    Acpi(AcpiError),
    /// The data that the firmware left cannot be mapped.
    #[error("what the firmware has told: {0}")]
    Told(MapError),
}

impl Source {
    /// Finds the source. `tree_address` is the device tree's address as the boot loader or the firmware gives it; `told` is the
    /// data from the firmware. If there are both a device tree and ACPI tables, the tree is used because it says more, unless it
    /// is empty.
    ///
    /// # Errors
    /// [`NoSource`].
    ///
    /// # Safety
    /// If `told` is not null, it must be the value that uefi.rs stored.
    pub unsafe fn find(tree_address: u64, told: *const Told) -> Result<Self, NoSource> {
        if told.is_null() {
            let found = tree::find(tree_address).map_err(NoSource::Tree)?;
            return Ok(Self { teller: Teller::Tree(found), told: None });
        }
        let start = told.addr() as u64;
        map(start..start + size_of::<Told>() as u64)?;
        // SAFETY: the caller promises that `told` is the value that uefi.rs stored; its memory was mapped just now.
        let told = unsafe { &*told };
        for bytes in [Some(told.memory_map.descriptors), told.boot_args].into_iter().flatten() {
            map(range(bytes))?;
        }
        let teller = match tree::at(tree_address) {
            Some(found) if told.rsdp_address == 0 || !device_tree::is_empty(&found.tree) => {
                Teller::Tree(found)
            }
            _ => Teller::Acpi(Tables::open(told.rsdp_address, &mut read).map_err(NoSource::Acpi)?),
        };
        Ok(Self { teller, told: Some(told) })
    }

    /// The data that the firmware left.
    pub fn told(&self) -> Option<&'static Told> {
        self.told
    }

    /// The device tree, if it is the source.
    pub fn tree(&self) -> Option<&tree::Found> {
        match &self.teller {
            Teller::Tree(found) => Some(found),
            Teller::Acpi(_) => None,
        }
    }

    /// What is needed to report why the machine cannot be booted.
    pub fn early_platform(&self) -> EarlyPlatform<'static> {
        let mut early = match &self.teller {
            Teller::Tree(found) => EarlyPlatform::from_tree(&found.tree),
            Teller::Acpi(tables) => {
                EarlyPlatform { console: tables.console(), psci: tables.psci(), boot_args: &[] }
            }
        };
        early.boot_args = self.told.and_then(|told| told.boot_args).unwrap_or(early.boot_args);
        early
    }

    /// The RAM, in any order.
    pub fn banks(&self) -> impl Iterator<Item = Range<u64>> {
        let of_firmware = self.told.map(|told| told.memory_map.usable());
        let of_tree = self.tree().filter(|_| self.told.is_none());
        let of_tree = of_tree.map(|found| device_tree::memory_banks(&found.tree));
        of_firmware.into_iter().flatten().chain(of_tree.into_iter().flatten())
    }

    /// The parts of the RAM that are occupied while this source is in use.
    pub fn taken(&self) -> impl Iterator<Item = Range<u64>> {
        let of_tree = self.tree().into_iter().flat_map(|found| {
            [found.range.clone()].into_iter().chain(device_tree::reserved_memory(&found.tree))
        });
        let of_firmware = self.told.into_iter().flat_map(|told| {
            let start = core::ptr::from_ref(told).addr() as u64;
            let itself = start..start + size_of::<Told>() as u64;
            [itself, range(told.memory_map.descriptors), range(told.boot_args.unwrap_or_default())]
        });
        let tables = match &self.teller {
            Teller::Acpi(tables) => Some(tables.bytes().map(range)),
            Teller::Tree(_) => None,
        };
        of_tree.chain(of_firmware).chain(tables.into_iter().flatten()).chain([image::whole()])
    }

    /// The complete description of the machine. It is a copy: nothing in it refers to the source.
    pub fn platform(&self) -> Platform {
        let memory = || layout::join(self.banks().collect());
        let boot_args = self.told.and_then(|told| told.boot_args);
        match &self.teller {
            Teller::Tree(found) => {
                let memory = self.told.map(|_| memory());
                let mut platform =
                    Platform::from_tree(&found.tree, memory).expect("the heap was placed in its memory");
                if let Some(boot_args) = boot_args {
                    platform.boot_args = boot_args.into();
                }
                platform
            }
            Teller::Acpi(tables) => {
                let mut platform = tables.platform(memory(), boot_args.unwrap_or_default());
                // A bridge whose configuration space cannot be mapped is treated as absent.
                platform.pcie =
                    platform.pcie.filter(|host| boot_map::map(host.ecam.range(), Kind::Device).is_ok());
                if let Some(host) = &mut platform.pcie {
                    // SAFETY: the configuration space was mapped just now, and nothing else uses it.
                    let ecam = unsafe { Ecam::new(host) };
                    host.windows =
                        ecam.map(|mut ecam| pci::placed_windows(host, &mut ecam)).unwrap_or_default();
                }
                platform
            }
        }
    }
}

fn map(range: Range<u64>) -> Result<(), NoSource> {
    boot_map::map(range, Kind::Ram).map_err(NoSource::Told)
}

fn range(bytes: &[u8]) -> Range<u64> {
    let start = bytes.as_ptr().addr() as u64;
    start..start + bytes.len() as u64
}

/// Bytes in the firmware's memory, if they can be read.
fn read(address: u64, length: usize) -> Option<&'static [u8]> {
    let end = address.checked_add(length as u64).filter(|_| address != 0)?;
    tree::map_readable(address..end).ok()?;
    // SAFETY: every page of the range was read successfully just now. The firmware is no longer running, and its memory is not
    // reused before the tables have been read.
    Some(unsafe { slice::from_raw_parts(core::ptr::with_exposed_provenance(address as usize), length) })
}
