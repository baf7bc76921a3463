//! All disks of the machine, and what is plugged in besides.

use super::{BlockDevice, Disk, FileFacts, Undriven, number_disks};
use crate::pci;
use alloc::{boxed::Box, string::String, vec::Vec};
use core::{
    fmt,
    ops::{Deref, DerefMut},
};

/// Where disks are plugged in.
pub trait DiskBus: Send {
    /// The functions of the PCI bus.
    fn functions(&self) -> &[pci::Function];

    /// The devices that are there, those apart whose [`transport`](BlockDevice::transport) is in `known`.
    fn find(&mut self, known: &[&str]) -> Found;
}

/// What is plugged in.
#[derive(Default)]
pub struct Found {
    /// The disks.
    pub devices: Vec<Box<dyn BlockDevice>>,
    /// What else there may be disks behind.
    pub undriven: Vec<Undriven>,
}

/// The disks of the machine.
#[derive(Default)]
pub struct Disks {
    /// In the order of their numbers.
    list: Vec<Disk>,
    undriven: Vec<Undriven>,
    bus: Option<Box<dyn DiskBus>>,
}

impl Disks {
    /// The disks on a bus; `files` is what the host says about the files on them, by serial number.
    pub fn find(mut bus: Box<dyn DiskBus>, files: &[(String, FileFacts)]) -> Self {
        let Found { devices, undriven } = bus.find(&[]);
        Self { list: number_disks(devices, files), undriven, bus: Some(bus) }
    }

    /// What there may be disks behind that are not driven.
    pub fn undriven(&self) -> &[Undriven] {
        &self.undriven
    }

    /// The functions of the PCI bus.
    pub fn pci_functions(&self) -> &[pci::Function] {
        self.bus.as_ref().map_or(&[], |bus| bus.functions())
    }
}

/// Disks that nobody can plug in or out.
impl From<Vec<Disk>> for Disks {
    fn from(list: Vec<Disk>) -> Self {
        Self { list, ..Self::default() }
    }
}

impl Deref for Disks {
    type Target = Vec<Disk>;

    fn deref(&self) -> &Vec<Disk> {
        &self.list
    }
}

impl DerefMut for Disks {
    fn deref_mut(&mut self) -> &mut Vec<Disk> {
        &mut self.list
    }
}

impl fmt::Debug for Disks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disks").field("list", &self.list).field("undriven", &self.undriven).finish()
    }
}
