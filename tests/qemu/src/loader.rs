//! Boot loaders of a few instructions, for ways of booting that QEMU does not offer.

use crate::{Directory, kernel_files};
use std::path::{Path, PathBuf};

/// The start of the kernel's ELF file in memory, which is its entry point.
pub const KERNEL_ADDRESS: u64 = 0x4020_0000;

/// A boot loader as an ELF file at `address`. It runs the instructions `before` and then jumps to `entry` with the address of a device
/// tree in x0.
pub fn loader(directory: &Directory, address: u64, before: &[u32], tree: u64, entry: u64) -> PathBuf {
    const HEADER_BYTES: u16 = 64;
    const SEGMENT_HEADER_BYTES: u16 = 56;
    const BRANCH_TO_X4: u32 = 0xd61f_0080;
    let mut code = before.to_vec();
    code.extend(load_register(0, tree));
    code.extend(load_register(4, entry));
    code.push(BRANCH_TO_X4);

    // System V ABI, ELF-64.
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let executable = 2_u16;
    let aarch64 = 183_u16;
    file.extend([executable, aarch64].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    file.extend([address, HEADER_BYTES.into(), 0].iter().flat_map(|double| double.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    file.extend([HEADER_BYTES, SEGMENT_HEADER_BYTES, 1, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    let loaded = 1_u32;
    let readable_executable = 5_u32;
    file.extend([loaded, readable_executable].iter().flat_map(|word| word.to_le_bytes()));
    let offset = u64::from(HEADER_BYTES + SEGMENT_HEADER_BYTES);
    let size = size_of_val(code.as_slice()) as u64;
    file.extend([offset, address, address, size, size, 4].iter().flat_map(|double| double.to_le_bytes()));
    file.extend(code.iter().flat_map(|instruction| instruction.to_le_bytes()));
    directory.file(format!("loader-{address:x}-{tree:x}-{entry:x}-{}.elf", before.len()), &file)
}

/// Instructions that load `value` into a register: MOVZ and MOVK.
pub fn load_register(register: u32, value: u64) -> impl Iterator<Item = u32> {
    (0..4).map(move |part: u32| {
        let operation = if part == 0 { 0xd280_0000 } else { 0xf280_0000 };
        let bits = (value >> (16 * part)) as u32 & 0xffff;
        operation | part << 21 | bits << 5 | register
    })
}

/// Instructions that do for a PCI function what firmware does, if its registers are ports: they set its first BAR to `port`, and let it
/// take accesses to ports (PCI Local Bus 3.0, 6.1). `configuration` is the address of its configuration space.
pub fn enable_ports(configuration: u64, port: u32) -> Vec<u32> {
    const STORE_W2_TO_BAR: u32 = 0xb900_1022;
    const STORE_W2_TO_COMMAND: u32 = 0xb900_0422;
    let mut code = Vec::from_iter(load_register(1, configuration));
    code.extend(load_register(2, (port | 1).into()));
    code.push(STORE_W2_TO_BAR);
    code.extend(load_register(2, 1));
    code.push(STORE_W2_TO_COMMAND);
    code
}

/// QEMU's arguments for a loader and the kernel's ELF file.
pub fn with_kernel(loader: &Path) -> String {
    with_elf(loader, &kernel_files().0)
}

/// QEMU's arguments for a loader and an ELF file.
pub fn with_elf(loader: &Path, elf: &Path) -> String {
    format!("-kernel {} -device loader,file={}", loader.display(), elf.display())
}

/// QEMU's arguments for a file that is loaded unchanged.
pub fn raw(file: &Path, address: u64) -> String {
    format!("-device loader,file={},addr={address:#x},force-raw=on", file.display())
}
