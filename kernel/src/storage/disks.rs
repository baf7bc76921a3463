//! All disks of the machine, and other devices that may have disks.

use super::{
    BlockDevice, Disk, FileFacts, Trust, Undriven, fills, number_disks,
    partition::{DividedDisk, Look, look},
};
use crate::pci;
use ::trust::Manifests;
use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{
    fmt,
    ops::{Deref, DerefMut},
};

/// The buses on which disks are found.
pub trait DiskBus: Send {
    /// The functions of the PCI bus.
    fn functions(&self) -> &[pci::Function];

    /// Returns which of the devices with these names, as their [`transport`](BlockDevice::transport) gives them, are gone, have
    /// been replaced by others, or are to be unplugged. [`find`](Self::find) must be called next.
    fn vanished(&mut self, known: &[&str]) -> Vec<Vanished>;

    /// Finds the devices that are there, except those whose [`transport`](BlockDevice::transport) is in `known`.
    fn find(&mut self, known: &[&str]) -> Found;
}

/// A device that must not be used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vanished {
    /// Its name.
    pub transport: String,
    /// True if it is still there, so that it can be stopped.
    pub is_reachable: bool,
}

/// The result of a search for devices.
#[derive(Default)]
pub struct Found {
    /// The disks.
    pub devices: Vec<Box<dyn BlockDevice>>,
    /// Other devices that may have disks.
    pub undriven: Vec<Undriven>,
}

/// The disks of the machine.
#[derive(Default)]
pub struct Disks {
    /// In the order of their numbers.
    pub(super) list: Vec<Disk>,
    /// Which signers and roots are trusted; `None` if files are not checked.
    pub(super) trust: Option<Trust>,
    /// The manifests that were found when files were last checked.
    pub(super) manifests: Manifests,
    /// The disks whose partitions are in the list.
    divided: Vec<DividedDisk>,
    /// The places of disks that could not be read when they were checked for partitions.
    unread: Vec<String>,
    undriven: Vec<Undriven>,
    bus: Option<Box<dyn DiskBus>>,
    /// What the host says about files, by serial number.
    files: Vec<(String, FileFacts)>,
}

/// A change of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is gone.
    Gone {
        /// The disk.
        disk: usize,
        /// Its serial number.
        serial: String,
    },
    /// It is new; it may have the number of a disk that is gone.
    New {
        /// The disk.
        disk: usize,
        /// Its serial number.
        serial: String,
        /// Its size.
        capacity_bytes: u64,
    },
    /// Its size has changed.
    Resized {
        /// The disk.
        disk: usize,
        /// Its size before.
        from_bytes: u64,
        /// Its size now.
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
    /// Finds the disks on a bus; `files` is what the host says about the files on them, by serial number.
    pub fn find(mut bus: Box<dyn DiskBus>, files: &[(String, FileFacts)]) -> Self {
        let found = bus.find(&[]);
        let mut disks = Self { bus: Some(bus), files: files.to_vec(), ..Self::default() };
        let devices = disks.divide(found);
        disks.list = number_disks(devices, files);
        disks
    }

    /// Records the devices that were found, and returns the disks. A divided disk is replaced by its partitions.
    fn divide(&mut self, Found { devices, undriven }: Found) -> Vec<Box<dyn BlockDevice>> {
        /// How long a disk may be silent: the first limit holds until a disk has been silent, the second one for the disks after it.
        const PATIENCE_US: u64 = 1_000_000;
        const LEAST_US: u64 = 50_000;
        let mut patience_us = PATIENCE_US;
        let mut parts = Vec::new();
        for device in devices {
            match look(device, patience_us) {
                Look::Whole(device) => parts.push(device),
                Look::Unread(device) => {
                    if device.is_silent() {
                        patience_us = LEAST_US;
                    }
                    self.unread.push(device.transport().into());
                    parts.push(device);
                }
                Look::Divided(disk) => {
                    parts.extend(disk.partitions());
                    self.divided.push(disk);
                }
            }
        }
        self.undriven = undriven;
        for disk in &self.divided {
            if let Some(fault) = disk.fault() {
                let (what, place) = ("a disk with a partition table (GPT)", disk.transport().into());
                self.undriven.push(Undriven::device(what, place, format!("{fault}")));
            }
        }
        parts
    }

    /// Removes the disks at a place, or on the disk there, from the list, and returns their places and numbers.
    fn take_out(
        &mut self,
        is_there: &dyn Fn(&str) -> bool,
        is_reachable: bool,
        changes: &mut Vec<Change>,
    ) -> Vec<(String, usize)> {
        let (gone, list) =
            core::mem::take(&mut self.list).into_iter().partition(|disk| is_there(disk.transport()));
        self.list = list;
        let gone: Vec<Disk> = gone;
        let note = |mut disk: Disk| {
            if !is_reachable {
                disk.unplugged();
            }
            changes.push(Change::Gone { disk: disk.index(), serial: disk.serial().into() });
            (disk.transport().into(), disk.index())
        };
        gone.into_iter().map(note).collect()
    }

    /// Checks again whether disks that could not be read before have partitions. Returns the partitions of those that do.
    fn look_again(
        &mut self,
        gone: &mut Vec<(String, usize)>,
        changes: &mut Vec<Change>,
    ) -> Vec<Box<dyn BlockDevice>> {
        /// A disk that is still silent will also be asked by other code, so there is no long wait here.
        const PATIENCE_US: u64 = 50_000;
        let mut parts = Vec::new();
        for place in core::mem::take(&mut self.unread) {
            let Some(position) = self.list.iter().position(|disk| disk.transport() == place) else {
                continue;
            };
            let Disk { index, identity, device, file, standing } = self.list.remove(position);
            let device = match look(device, PATIENCE_US) {
                Look::Divided(disk) => {
                    changes.push(Change::Gone { disk: index, serial: disk.serial().into() });
                    gone.push((place, index));
                    parts.extend(disk.partitions());
                    self.divided.push(disk);
                    continue;
                }
                Look::Whole(device) => device,
                Look::Unread(device) => {
                    self.unread.push(place);
                    device
                }
            };
            self.list.insert(position, Disk { index, identity, device, file, standing });
        }
        parts
    }

    /// The places of all devices.
    fn places(&self) -> Vec<String> {
        let is_whole = |disk: &&Disk| self.divided.iter().all(|divided| !divided.has(disk.transport()));
        let whole = self.list.iter().filter(is_whole).map(Disk::transport);
        whole.chain(self.divided.iter().map(DividedDisk::transport)).map(String::from).collect()
    }

    /// Looks at everything again. Disks that stay keep their numbers; those that are lost are restarted.
    pub fn rescan(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        fn as_strs(names: &[String]) -> Vec<&str> {
            names.iter().map(String::as_str).collect()
        }
        let Some(mut bus) = self.bus.take() else { return changes };
        let mut vanished = bus.vanished(&as_strs(&self.places()));
        let lost_disks = self.list.iter().filter(|disk| disk.is_lost()).map(Disk::transport);
        let lost_divided = self.divided.iter().filter(|disk| disk.is_lost()).map(DividedDisk::transport);
        for lost in lost_disks.chain(lost_divided) {
            if vanished.iter().all(|known| known.transport != lost) {
                // The memory that the device may still write to has been left to it, so nothing needs to be remembered about it.
                vanished.push(Vanished { transport: lost.into(), is_reachable: true });
            }
        }
        let mut gone = Vec::new();
        for Vanished { transport, is_reachable } in vanished {
            let divided = self.divided.iter().position(|disk| disk.transport() == transport);
            let divided = divided.map(|position| self.divided.remove(position));
            let is_there =
                |place: &str| place == transport || divided.as_ref().is_some_and(|disk| disk.has(place));
            gone.extend(self.take_out(&is_there, is_reachable, &mut changes));
            if let Some(disk) = &divided
                && !is_reachable
            {
                disk.unplugged();
            }
        }
        for disk in &mut self.list {
            let from_bytes = disk.capacity_bytes();
            disk.refresh();
            let to_bytes = disk.capacity_bytes();
            if from_bytes != to_bytes {
                changes.push(Change::Resized { disk: disk.index(), from_bytes, to_bytes });
            }
        }
        let mut devices = self.look_again(&mut gone, &mut changes);
        let mut divided = core::mem::take(&mut self.divided);
        for disk in divided.iter_mut().filter_map(|disk| disk.refresh().then_some(disk)) {
            gone.extend(self.take_out(&|place| disk.has(place), true, &mut changes));
            devices.extend(disk.partitions());
        }
        self.divided = divided;
        let found = bus.find(&as_strs(&self.places()));
        self.bus = Some(bus);
        devices.extend(self.divide(found));
        for device in devices {
            let before = gone.iter().find(|(transport, _)| transport == device.transport());
            let after_all = || self.list.iter().map(|disk| disk.index() + 1).max().unwrap_or(0);
            let number = before.map_or_else(after_all, |&(_, number)| number);
            let capacity_bytes = device.capacity_bytes();
            // What the host said at the start still applies to a file of that size.
            let mut files = self.files.iter();
            let file = files.find(|(serial, facts)| serial == device.serial() && fills(facts, &*device));
            let disk = Disk::new(number, device, file.map(|&(_, facts)| facts));
            changes.push(Change::New { disk: number, serial: disk.serial().into(), capacity_bytes });
            self.list.push(disk);
        }
        sort::short_by_key(&mut self.list, Disk::index);
        changes
    }

    /// Devices that may have disks but have no driver here.
    pub fn undriven(&self) -> &[Undriven] {
        &self.undriven
    }

    /// The disks that are divided, and their partitions.
    pub fn divided(&self) -> &[DividedDisk] {
        &self.divided
    }

    /// The functions of the PCI bus.
    pub fn pci_functions(&self) -> &[pci::Function] {
        self.bus.as_ref().map_or(&[], |bus| bus.functions())
    }
}

/// Disks that cannot be plugged in or out.
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
    use crate::storage::{
        MemoryDisk,
        gpt::tests::{Part, image},
    };
    use std::{string::ToString, sync::Mutex, vec};

    /// The devices that are plugged in: serial numbers, which are also the names of slots, and sizes.
    struct FakeBus(std::sync::Arc<Mutex<Vec<(&'static str, usize)>>>);

    /// Slot, contents, and whether it cannot be restarted.
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
            let undriven = Undriven::of_pci_class(1, 6, 1, "PCI 00:01.0".into());
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
        // The host's file facts fit one of them.
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

    /// The disks that are plugged in: slots and contents.
    type Images = std::sync::Arc<Mutex<Vec<(&'static str, Vec<u8>)>>>;

    struct ImageBus(Images);

    impl DiskBus for ImageBus {
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
            let device =
                |slot: &'static str| -> Box<dyn BlockDevice> { Box::new(ImageDisk(slot, self.0.clone())) };
            let plugged = self.0.lock().unwrap();
            let new = plugged.iter().filter(|(slot, _)| !known.contains(slot));
            Found { devices: new.map(|&(slot, _)| device(slot)).collect(), undriven: Vec::new() }
        }
    }

    /// A disk whose serial number is its slot.
    struct ImageDisk(&'static str, Images);

    impl BlockDevice for ImageDisk {
        fn capacity_bytes(&self) -> u64 {
            let plugged = self.1.lock().unwrap();
            plugged.iter().find(|(slot, _)| *slot == self.0).map_or(0, |(_, bytes)| bytes.len() as u64)
        }

        fn serial(&self) -> &str {
            self.0
        }

        fn transport(&self) -> &str {
            self.0
        }

        fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), crate::storage::ReadError> {
            let plugged = self.1.lock().unwrap();
            let bytes = plugged.iter().find(|(slot, _)| *slot == self.0).map_or(&[][..], |(_, bytes)| bytes);
            MemoryDisk::new("", bytes.to_vec()).read_at(offset_bytes, buffer)
        }
    }

    #[test]
    fn partitions_are_disks_and_stay_while_the_table_does() {
        const PARTS: [Part<'_>; 3] =
            [("boot", 34, 40, true), ("tiny", 41, 80, false), ("micro", 90, 91, false)];
        let mut bytes = image(512, &PARTS);
        bytes[41 * 512..42 * 512].fill(0x41);
        bytes[91 * 512..92 * 512].fill(0x91);
        let plugged =
            std::sync::Arc::new(Mutex::new(vec![("a", vec![0; 512]), ("b", bytes), ("c", vec![0; 1024])]));
        let files = [("micro".to_string(), FileFacts { length_bytes: 600, sha256: None })];
        let mut disks = Disks::find(Box::new(ImageBus(plugged.clone())), &files);
        let shown = |disks: &Disks| -> Vec<String> {
            let show = |disk: &Disk| {
                std::format!(
                    "{} {} {} {}",
                    disk.index(),
                    disk.serial(),
                    disk.transport(),
                    disk.length_bytes()
                )
            };
            disks.iter().map(show).collect()
        };
        let expected = ["0 micro b partition 3 600", "1 a a 512", "2 tiny b partition 2 20480", "3 c c 1024"];
        assert_eq!(shown(&disks), expected);
        assert_eq!(disks.divided()[0].entries().len(), 3);
        let mut sector = [0; 512];
        disks[2].read_raw_at(0, &mut sector).unwrap();
        assert_eq!(sector, [0x41; 512]);
        let mut last = Vec::new();
        let mut take = |piece: &[u8]| {
            last.extend_from_slice(piece);
            core::ops::ControlFlow::Continue(())
        };
        disks[0].read_raw_pieces(512..1024, &mut [0; 8192], &mut take).unwrap();
        assert_eq!(last, [0x91; 512]);
        let past = disks[0].read_raw_at(1000, &mut [0; 25]);
        assert!(matches!(past, Err(crate::storage::ReadError::OutOfRange { capacity_bytes: 1024, .. })));
        let identities = |disks: &Disks| disks.iter().map(Disk::identity).collect::<Vec<_>>();
        let before = identities(&disks);
        assert_eq!(disks.rescan(), []);
        assert_eq!(identities(&disks), before);

        // Another table: its partitions are new, and get the numbers of their places.
        plugged.lock().unwrap()[1].1 = image(512, &[PARTS[0], ("large", 41, 85, false)]);
        let changes: Vec<_> = disks.rescan().iter().map(Change::to_string).collect();
        let expected = [
            "disk 0 (\"micro\") is gone",
            "disk 2 (\"tiny\") is gone",
            "disk 2 (\"large\") is new: 23040 bytes",
        ];
        assert_eq!(changes, expected);
        // A broken table is reported, but the disk is still known.
        let broken = image(512, &[("bad", 41, 300, false)]);
        plugged.lock().unwrap()[1].1 = broken;
        assert_eq!(disks.rescan().len(), 1);
        assert_eq!(disks.undriven().len(), 1);
        assert_eq!(
            disks.undriven()[0].to_string(),
            "a disk with a partition table (GPT) at b is not driven: partition 1 cannot have the blocks 41 to 300"
        );
        assert_eq!(shown(&disks), ["1 a a 512", "3 c c 1024"]);
        assert_eq!(disks.rescan(), []);
        plugged.lock().unwrap()[1].1 = image(512, &PARTS);
        assert_eq!(disks.rescan().len(), 2);
        assert!(disks.undriven().is_empty());
        // Partitions vanish with their disk.
        plugged.lock().unwrap().remove(1);
        let changes: Vec<_> = disks.rescan().iter().map(Change::to_string).collect();
        assert_eq!(changes, ["disk 4 (\"tiny\") is gone", "disk 5 (\"micro\") is gone"]);
        assert!(disks.divided().is_empty());
    }

    #[test]
    fn a_disk_that_is_lost_comes_back_with_its_partitions() {
        /// Becomes lost when it is reset.
        struct LostDisk(MemoryDisk, bool);

        impl BlockDevice for LostDisk {
            fn capacity_bytes(&self) -> u64 {
                self.0.capacity_bytes()
            }

            fn serial(&self) -> &str {
                self.0.serial()
            }

            fn transport(&self) -> &str {
                self.0.transport()
            }

            fn is_lost(&self) -> bool {
                self.1
            }

            fn reset(&mut self) -> Result<(), crate::storage::ReadError> {
                self.1 = true;
                Err(crate::storage::ReadError::Lost { lent_bytes: 0 })
            }

            fn read_at(
                &mut self,
                offset_bytes: u64,
                buffer: &mut [u8],
            ) -> Result<(), crate::storage::ReadError> {
                self.0.read_at(offset_bytes, buffer)
            }
        }

        struct LostBus;

        impl DiskBus for LostBus {
            fn functions(&self) -> &[pci::Function] {
                &[]
            }

            fn vanished(&mut self, _: &[&str]) -> Vec<Vanished> {
                Vec::new()
            }

            fn find(&mut self, known: &[&str]) -> Found {
                let bytes = image(512, &[("one", 41, 41, false), ("two", 42, 42, false)]);
                let mut devices: Vec<Box<dyn BlockDevice>> = Vec::new();
                if !known.contains(&"memory") {
                    devices.push(Box::new(LostDisk(MemoryDisk::new("d", bytes), false)));
                }
                Found { devices, undriven: Vec::new() }
            }
        }

        let mut disks = Disks::find(Box::new(LostBus), &[]);
        assert!(disks[1].reset().is_err() && disks[0].is_lost());
        assert_eq!(disks.rescan().len(), 4);
        let numbers: Vec<_> = disks.iter().map(|disk| (disk.index(), disk.is_lost())).collect();
        assert_eq!(numbers, [(0, false), (1, false)]);
        assert_eq!(disks.rescan(), []);
    }
}
