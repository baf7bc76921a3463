//! Any bytes as a flattened device tree: an error of one line, or a machine whose memory, registers and boot arguments can be.
//!
//! The header's length is set to the input's, so that mutations get further than to it.
#![no_main]

use std::ops::Range;

use ferrite_kernel::device_tree::{
    EarlyPlatform, is_empty, memory_banks, open, random_seeds, reserved_memory, total_size_bytes,
};
use ferrite_kernel::machine::{ADDRESS_SPACE, Platform};
use fuzz::assert_line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    if let Some(length) = bytes.get_mut(4..8) {
        length.copy_from_slice(&(input.len() as u32).to_be_bytes());
    }
    let tree = match open(&bytes) {
        Ok(tree) => tree,
        Err(error) => return assert_line(&error.to_string()),
    };
    assert_eq!(total_size_bytes(&bytes), Some(bytes.len()));
    let words = EarlyPlatform::from_tree(&tree);
    let inside = bytes.as_ptr_range();
    assert!(words.boot_args.is_empty() || inside.contains(&words.boot_args.as_ptr()));
    assert!(!words.boot_args.contains(&0));
    is_empty(&tree);
    random_seeds(&tree, &mut |seed| assert!(!seed.is_empty() && inside.contains(&seed.as_ptr())));
    let early = memory_banks(&tree);
    assert_are_banks(&early);
    reserved_memory(&tree).for_each(|range| assert!(!range.is_empty()));
    let Ok(platform) = Platform::from_tree(&tree, None) else {
        return assert!(early.is_empty());
    };
    assert_are_banks(&platform.memory);
    // Of very many the smallest are left out of the early ones.
    assert!(early.len() <= platform.memory.len() && !platform.memory.is_empty());
    assert_eq!(platform.boot_args, words.boot_args);
    assert_eq!(platform.uart, words.console);
    let uart = platform.uart.iter().map(|uart| uart.registers);
    let virtio = platform.virtio_mmio.iter().map(|device| device.registers);
    let host = platform.pcie.iter().map(|host| host.ecam);
    for registers in uart.chain(virtio).chain(host).chain(platform.clock).chain(platform.fw_cfg) {
        assert!(registers.size_bytes > 0 && registers.range().end <= ADDRESS_SPACE.end);
    }
    assert!(platform.virtio_mmio.is_sorted_by_key(|device| device.registers.address));
    assert!(platform.pcie.is_none_or(|host| host.buses.0 <= host.buses.1));
    platform.remarks.iter().for_each(|remark| assert_line(remark));
});

/// Asserts that banks are in order, neither overlap nor meet, and can be addressed.
fn assert_are_banks(banks: &[Range<u64>]) {
    assert!(banks.iter().all(|bank| bank.start < bank.end && bank.end <= ADDRESS_SPACE.end));
    assert!(banks.is_sorted_by(|bank, next| bank.end < next.start));
}
