//! Any bytes as what QEMU's `fw_cfg` device has: a file within its bounds, or none.
//!
//! The first byte says how much a file may have, and whether there may be many; the next two how many of the others are the directory, the rest is every file.
#![no_main]

use ferrite_kernel::drivers::fw_cfg::{Registers, read_file};
use fuzz::take;
use libfuzzer_sys::fuzz_target;

struct Device<'d> {
    directory: &'d [u8],
    file: &'d [u8],
    selected: &'d [u8],
    item: &'d [u8],
    n_read: usize,
}

impl Registers for Device<'_> {
    fn select(&mut self, key: u16) {
        self.selected = match key {
            0 => b"QEMU",
            0x19 => self.directory,
            _ => self.file,
        };
        self.item = self.selected;
    }

    fn read(&mut self) -> u8 {
        self.n_read += 1;
        take(&mut self.item, 1).first().copied().unwrap_or(0)
    }
}

fuzz_target!(|input: &[u8]| {
    let [most, low, high, rest @ ..] = input else { return };
    let (mut rest, max_bytes) = (rest, u32::from(*most));
    let mut directory = take(&mut rest, u16::from_le_bytes([*low, *high]).into()).to_vec();
    // To read thousands of entries takes most of the time.
    if *most < 255 {
        directory.iter_mut().take(3).for_each(|byte| *byte = 0);
    }
    let mut device = Device { directory: &directory, file: rest, selected: b"", item: b"", n_read: 0 };
    match read_file(&mut device, "opt/a", max_bytes) {
        Ok(Some(file)) => {
            assert!(file.len() <= max_bytes as usize);
            let n_known = file.len().min(device.selected.len());
            assert_eq!(file[..n_known], device.selected[..n_known]);
        }
        Ok(None) => {}
        Err(size_bytes) => assert!(size_bytes > max_bytes),
    }
    // No count makes it read for long.
    assert!(device.n_read <= 8 + (64 << 14) + max_bytes as usize);
});
