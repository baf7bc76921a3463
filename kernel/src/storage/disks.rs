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

    /// Which of the devices with these names, as their [`transport`](BlockDevice::transport) gives them, are no
    /// longer there, are other ones now, or are to be taken out. [`find`](Self::find) is called next.
    fn vanished(&mut self, known: &[&str]) -> Vec<Vanished>;

    /// The devices that are there, those apart whose [`transport`](BlockDevice::transport) is in `known`.
    fn find(&mut self, known: &[&str]) -> Found;
}

/// A device that is not to be used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vanished {
    /// Its name.
    pub transport: String,
    /// True if it is there still, so that it can be stopped.
    pub is_reachable: bool,
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
    /// What the host says about files, by serial number.
    files: Vec<(String, FileFacts)>,
}

/// What has become of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is gone.
    Gone {
        /// The disk.
        disk: usize,
        /// Its serial number.
        serial: String,
    },
    /// It is new; its number may be that of one that is gone.
    New {
        /// The disk.
        disk: usize,
        /// Its serial number.
        serial: String,
        /// Its size.
        capacity_bytes: u64,
    },
    /// It has another size.
    Resized {
        /// The disk.
        disk: usize,
        /// What it held before.
        from_bytes: u64,
        /// What it holds now.
        to_bytes: u64,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { disk, serial } => write!(f, "disk {disk} ({serial:?}) is gone"),
            Self::New { disk, serial, capacity_bytes } => {
                write!(f, "disk {disk} ({serial:?}) is new: {capacity_bytes} bytes")
            }
            Self::Resized { disk, from_bytes, to_bytes } => {
                write!(f, "disk {disk} has {to_bytes} bytes, no longer {from_bytes}")
            }
        }
    }
}

impl Disks {
    /// The disks on a bus; `files` is what the host says about the files on them, by serial number.
    pub fn find(mut bus: Box<dyn DiskBus>, files: &[(String, FileFacts)]) -> Self {
        let Found { devices, undriven } = bus.find(&[]);
        Self { list: number_disks(devices, files), undriven, bus: Some(bus), files: files.to_vec() }
    }

    /// Looks at everything again. Disks that stay keep their numbers; those that are lost are started anew.
    pub fn rescan(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(bus) = &mut self.bus else { return changes };
        let names =
            |list: &[Disk]| -> Vec<String> { list.iter().map(|disk| disk.transport().into()).collect() };
        fn as_strs(names: &[String]) -> Vec<&str> {
            names.iter().map(String::as_str).collect()
        }
        let mut vanished = bus.vanished(&as_strs(&names(&self.list)));
        for disk in self.list.iter().filter(|disk| disk.is_lost()) {
            if vanished.iter().all(|known| known.transport != disk.transport()) {
                // What the device may still write to is nobody's, so that nothing has to be known of it any more.
                vanished.push(Vanished { transport: disk.transport().into(), is_reachable: true });
            }
        }
        let mut gone = Vec::new();
        for Vanished { transport, is_reachable } in vanished {
            let Some(position) = self.list.iter().position(|disk| disk.transport() == transport) else {
                continue;
            };
            let mut disk = self.list.remove(position);
            if !is_reachable {
                disk.unplugged();
            }
            changes.push(Change::Gone { disk: disk.index(), serial: disk.serial().into() });
            gone.push((transport, disk.index()));
        }
        for disk in &mut self.list {
            let from_bytes = disk.capacity_bytes();
            disk.refresh();
            let to_bytes = disk.capacity_bytes();
            if from_bytes != to_bytes {
                changes.push(Change::Resized { disk: disk.index(), from_bytes, to_bytes });
            }
        }
        let Found { devices, undriven } = bus.find(&as_strs(&names(&self.list)));
        self.undriven = undriven;
        for device in devices {
            let before = gone.iter().find(|(transport, _)| transport == device.transport());
            let after_all = || self.list.iter().map(|disk| disk.index() + 1).max().unwrap_or(0);
            let number = before.map_or_else(after_all, |&(_, number)| number);
            let capacity_bytes = device.capacity_bytes();
            // What the host said at the start holds for a file of that size.
            let file = self.files.iter().find(|(serial, facts)| {
                let rest_bytes = capacity_bytes.checked_sub(facts.length_bytes);
                serial == device.serial() && rest_bytes.is_some_and(|rest| rest < device.block_bytes() as u64)
            });
            let disk = Disk::new(number, device, file.map(|&(_, facts)| facts));
            changes.push(Change::New { disk: number, serial: disk.serial().into(), capacity_bytes });
            self.list.push(disk);
        }
        self.list.sort_by_key(Disk::index);
        changes
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryDisk;
    use std::{string::ToString, sync::Mutex, vec};

    /// What is plugged in: serial numbers and sizes, which are names of slots as well.
    struct FakeBus(std::sync::Arc<Mutex<Vec<(&'static str, usize)>>>);

    /// Slot, contents, and whether it cannot be started again.
    struct FakeDisk(&'static str, MemoryDisk, bool);

    impl BlockDevice for FakeDisk {
        fn capacity_bytes(&self) -> u64 {
            self.1.capacity_bytes()
        }

        fn serial(&self) -> &str {
            self.1.serial()
        }

        fn transport(&self) -> &str {
            self.0
        }

        fn is_lost(&self) -> bool {
            self.2
        }

        fn reset(&mut self) -> Result<(), crate::storage::ReadError> {
            self.2 = true;
            Err(crate::storage::ReadError::Lost { lent_bytes: 0 })
        }

        fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), crate::storage::ReadError> {
            self.1.read_at(offset_bytes, buffer)
        }
    }

    impl DiskBus for FakeBus {
        fn functions(&self) -> &[pci::Function] {
            &[]
        }

        fn vanished(&mut self, known: &[&str]) -> Vec<Vanished> {
            let plugged = self.0.lock().unwrap();
            let is_there = |name: &str| plugged.iter().any(|(slot, _)| *slot == name);
            let gone = known.iter().filter(|name| !is_there(name));
            gone.map(|name| Vanished { transport: name.to_string(), is_reachable: false }).collect()
        }

        fn find(&mut self, known: &[&str]) -> Found {
            let plugged = self.0.lock().unwrap();
            let new = plugged.iter().filter(|(slot, _)| !known.contains(slot));
            let device = |&(slot, size): &(&'static str, usize)| -> Box<dyn BlockDevice> {
                Box::new(FakeDisk(slot, MemoryDisk::new(slot, vec![0; size]), false))
            };
            let undriven = Undriven::of_pci_class(1, 8, 2, "PCI 00:01.0".into());
            Found { devices: new.map(device).collect(), undriven: undriven.into_iter().collect() }
        }
    }

    #[test]
    fn disks_that_stay_keep_their_numbers() {
        let plugged = std::sync::Arc::new(Mutex::new(vec![("a", 512), ("b", 1024), ("c", 512)]));
        let facts = |length_bytes| FileFacts { length_bytes, sha256: None };
        let files = [("d".to_string(), facts(600)), ("e".to_string(), facts(600))];
        let mut disks = Disks::find(Box::new(FakeBus(plugged.clone())), &files);
        assert_eq!(disks.undriven().len(), 1);
        assert_eq!(disks.rescan(), []);
        *plugged.lock().unwrap() = vec![("d", 1024), ("c", 512), ("b", 1024), ("e", 4096)];
        let changes: Vec<_> = disks.rescan().iter().map(Change::to_string).collect();
        assert_eq!(
            changes,
            [
                "disk 0 (\"a\") is gone",
                "disk 3 (\"d\") is new: 1024 bytes",
                "disk 4 (\"e\") is new: 4096 bytes"
            ]
        );
        let numbers: Vec<_> = disks.iter().map(|disk| (disk.index(), disk.serial().to_string())).collect();
        let expected = [(1, "b"), (2, "c"), (3, "d"), (4, "e")];
        assert_eq!(numbers, expected.map(|(number, serial)| (number, serial.to_string())));
        // The file of which the host has told fits one of them.
        assert_eq!(disks.iter().map(Disk::length_bytes).collect::<Vec<_>>(), [1024, 512, 600, 4096]);
    }

    #[test]
    fn a_lost_disk_comes_back_under_its_number() {
        let plugged = std::sync::Arc::new(Mutex::new(vec![("a", 512), ("b", 1024)]));
        let mut disks = Disks::find(Box::new(FakeBus(plugged)), &[]);
        assert!(disks[0].reset().is_err() && disks[0].is_lost());
        let changes: Vec<_> = disks.rescan().iter().map(Change::to_string).collect();
        assert_eq!(changes, ["disk 0 (\"a\") is gone", "disk 0 (\"a\") is new: 512 bytes"]);
        assert!(disks.iter().all(|disk| !disk.is_lost()));
        assert_eq!(disks.rescan(), []);
    }
}
