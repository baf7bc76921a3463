//! Disks with partitions: each partition is a disk of its own, which is read through the whole disk.

use super::{
    BlockDevice, PATIENCE_US, ReadError,
    gpt::{self, Entry, Fault, Table},
};
use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::ops::{ControlFlow, Range};
use log::warn;
use spin::Mutex;

/// The text between the disk's place and the partition's number in the place of a partition.
const PARTITION: &str = " partition ";

type SharedDevice = Arc<Mutex<Box<dyn BlockDevice>>>;

/// A disk with a table of partitions.
pub struct DividedDisk {
    device: SharedDevice,
    serial: String,
    transport: String,
    capacity_bytes: u64,
    block_bytes: usize,
    table: Result<Table, Fault>,
}

/// What a device turned out to be.
pub enum Look {
    /// A disk without partitions.
    Whole(Box<dyn BlockDevice>),
    /// A disk that could not be read: it may have partitions.
    Unread(Box<dyn BlockDevice>),
    /// A disk with partitions.
    Divided(DividedDisk),
}

/// Checks whether a disk has partitions; the disk may be silent for up to `patience_us`.
pub fn look(mut device: Box<dyn BlockDevice>, patience_us: u64) -> Look {
    device.set_patience(patience_us);
    let table =
        gpt::is_divided(&mut *device).map(|is_divided| is_divided.then(|| gpt::read_either(&mut *device)));
    device.set_patience(PATIENCE_US);
    let table = match table {
        Ok(None) => return Look::Whole(device),
        Err(_) => return Look::Unread(device),
        Ok(Some(table)) => table,
    };
    let disk = DividedDisk {
        serial: device.serial().into(),
        transport: device.transport().into(),
        capacity_bytes: device.capacity_bytes(),
        block_bytes: device.block_bytes(),
        device: Arc::new(Mutex::new(device)),
        table,
    };
    disk.warn();
    Look::Divided(disk)
}

impl DividedDisk {
    /// Logs that the second table is used.
    fn warn(&self) {
        if let Ok(Table { instead_of: Some(fault), .. }) = self.table {
            warn!(
                "{}: its second partition table (GPT) is used, as in the first one {fault}",
                self.transport
            );
        }
    }

    /// How the disk is attached.
    pub fn transport(&self) -> &str {
        &self.transport
    }

    /// The serial number, empty if the disk gives none.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Size of the whole disk.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Its partitions.
    pub fn entries(&self) -> &[Entry] {
        self.table.as_ref().map_or(&[], |table| &table.entries)
    }

    /// What is wrong, if both of its tables are broken.
    pub fn fault(&self) -> Option<Fault> {
        self.table.as_ref().err().copied()
    }

    /// True if the disk could not be restarted.
    pub fn is_lost(&self) -> bool {
        self.device.lock().is_lost()
    }

    /// Tells the driver that the disk is no longer there.
    pub fn unplugged(&self) {
        self.device.lock().unplugged();
    }

    /// Whether a disk at this place is one of its partitions.
    pub fn has(&self, place: &str) -> bool {
        place.strip_prefix(&*self.transport).is_some_and(|rest| rest.starts_with(PARTITION))
    }

    /// The partitions that may hold a model: all except the firmware's.
    pub fn partitions(&self) -> Vec<Box<dyn BlockDevice>> {
        let entries = self.entries().iter().filter(|entry| !entry.is_efi_system);
        let partition = |entry: &Entry| -> Box<dyn BlockDevice> {
            Box::new(Partition {
                device: self.device.clone(),
                label: entry.label.clone(),
                transport: format!("{}{PARTITION}{}", self.transport, entry.number),
                bytes: entry.bytes.clone(),
                block_bytes: self.block_bytes,
            })
        };
        entries.map(partition).collect()
    }

    /// Reads the table again; true if it has changed. If it cannot be read, it counts as unchanged.
    pub fn refresh(&mut self) -> bool {
        let mut device = self.device.lock();
        device.refresh();
        self.capacity_bytes = device.capacity_bytes();
        let table = match gpt::read(&mut **device) {
            Err(Fault::Read(_)) | Ok(None) => return false,
            Ok(Some(table)) => Ok(table),
            Err(fault) => Err(fault),
        };
        drop(device);
        if table == self.table {
            return false;
        }
        self.table = table;
        self.warn();
        true
    }
}

/// A partition, which is read through the whole disk.
struct Partition {
    device: SharedDevice,
    label: String,
    transport: String,
    bytes: Range<u64>,
    block_bytes: usize,
}

impl Partition {
    /// The place of a range of the partition on the disk.
    fn place(&self, start: u64, length: u64) -> Result<u64, ReadError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        ReadError::check_range(start, length, self.capacity_bytes())?;
        Ok(self.bytes.start + start)
    }

    /// Converts an error of the disk to one of the partition.
    fn error(&self, error: ReadError) -> ReadError {
        match error {
            ReadError::Device { offset_bytes, length_bytes } => ReadError::Device {
                offset_bytes: offset_bytes.saturating_sub(self.bytes.start),
                length_bytes,
            },
            error => error,
        }
    }
}

impl BlockDevice for Partition {
    fn capacity_bytes(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// The host's statements about files may also name labels.
    fn serial(&self) -> &str {
        &self.label
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn transport(&self) -> &str {
        &self.transport
    }

    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn is_silent(&self) -> bool {
        self.device.lock().is_silent()
    }

    fn is_lost(&self) -> bool {
        self.device.lock().is_lost()
    }

    fn set_patience(&mut self, patience_us: u64) {
        self.device.lock().set_patience(patience_us);
    }

    fn reset(&mut self) -> Result<(), ReadError> {
        self.device.lock().reset()
    }

    fn unplugged(&mut self) {
        self.device.lock().unplugged();
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let place = self.place(offset_bytes, buffer.len() as u64)?;
        let read = self.device.lock().read_at(place, buffer);
        read.map_err(|error| self.error(error))
    }

    fn read_pieces(
        &mut self,
        range: Range<u64>,
        buffer: &mut [u8],
        use_piece: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let length = range.end.saturating_sub(range.start);
        let place = self.place(range.start, length)?;
        let read = self.device.lock().read_pieces(place..place + length, buffer, use_piece);
        read.map_err(|error| self.error(error))
    }
}
