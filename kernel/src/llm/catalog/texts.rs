//! Disks as texts: prompts that are too many for a line of the shell.

use alloc::{borrow::ToOwned, string::String};

use llm::{front::FrontError, quoted::beginning};

use super::{Catalog, reserve};
use crate::llm::BackendError;

/// The longest text that is read: the lines of a few hundred prompts.
const MOST_BYTES: u64 = 64 * 1024;

impl Catalog {
    /// The text on the disk with this serial number, whose file is nothing else. Zero bytes at its end are none: where the
    /// host does not tell the length of the file, it is filled up with them to whole sectors. Nobody vouches for texts: they are what somebody asks, not what is
    /// computed with.
    ///
    /// # Errors
    /// If there is no such disk, or it fails; its text is longer than 64 KiB, or no UTF-8; or there is no memory.
    pub fn read_text(&mut self, serial: &str) -> Result<String, BackendError> {
        let Some(disk) = self.disks.iter_mut().find(|disk| disk.serial() == serial) else {
            let serials = self.disks.iter().map(|disk| disk.serial().to_owned()).collect();
            return Err(BackendError::NoTextDisk { serial: beginning(serial).to_owned(), serials });
        };
        disk.refresh();
        let (number, length_bytes) = (disk.index(), disk.length_bytes());
        if length_bytes > MOST_BYTES {
            return Err(BackendError::TextTooLong {
                serial: serial.to_owned(),
                length_bytes,
                most_bytes: MOST_BYTES,
            });
        }
        let mut bytes = reserve(self.pool, length_bytes)?;
        disk.read_raw_at(0, &mut bytes).map_err(|error| BackendError::read(number, error))?;
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        match core::str::from_utf8(&bytes[..end]) {
            Ok(text) => {
                let (mut own, needed_bytes) = (String::new(), text.len());
                own.try_reserve_exact(needed_bytes).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
                own.push_str(text);
                Ok(own)
            }
            Err(error) => {
                Err(BackendError::NotText { serial: serial.to_owned(), offset_bytes: error.valid_up_to() })
            }
        }
    }
}
