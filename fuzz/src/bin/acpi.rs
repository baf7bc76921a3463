//! Any bytes as ACPI's tables: an error of one line, or a machine whose registers can be.
//!
//! If the first byte is odd, the others are memory from address 0 on, where the root pointer is. Otherwise they are tables: a byte that
//! chooses the signature, two with the length, what is behind the table's header; the root pointer, the table of tables, lengths and sums are
//! made up.
#![no_main]

use ferrite_kernel::acpi::Tables;
use ferrite_kernel::machine::ADDRESS_SPACE;
use fuzz::{assert_line, take};
use libfuzzer_sys::fuzz_target;

const HEADER_BYTES: usize = 36;
const SIGNATURES: [&[u8; 4]; 6] = [b"FACP", b"APIC", b"GTDT", b"MCFG", b"SPCR", b"DSDT"];
/// Where the table of tables is.
const LIST: usize = 64;
const MAX_TABLES: usize = 8;
const TABLES: usize = LIST + HEADER_BYTES + 8 * MAX_TABLES;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, rest)) = input.split_first() else { return };
    let memory = if kind & 1 == 1 { rest.to_vec() } else { memory(rest) };
    let mut read = |address: u64, length: usize| {
        let start = usize::try_from(address).ok()?;
        memory.get(start..start.checked_add(length)?)
    };
    let tables = match Tables::open(0, &mut read) {
        Ok(tables) => tables,
        Err(error) => {
            assert!(kind & 1 == 1, "{error}");
            return assert_line(&error.to_string());
        }
    };
    let inside = memory.as_ptr_range();
    for table in tables.bytes() {
        assert!(inside.contains(&table.as_ptr()) && table.as_ptr_range().end <= inside.end);
        assert!(SIGNATURES.iter().any(|signature| table.starts_with(*signature)));
        assert_eq!(table.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)), 0);
    }
    let platform = tables.platform(vec![0..1 << 30], b"");
    assert_eq!(platform.uart, tables.console());
    let uart = platform.uart.iter().map(|uart| uart.registers);
    for registers in uart.chain(platform.pcie.iter().map(|host| host.ecam)) {
        assert!(registers.size_bytes > 0 && registers.range().end <= ADDRESS_SPACE.end);
    }
    assert!(platform.pcie.is_none_or(|host| host.buses.0 <= host.buses.1));
    if let Some(watchdog) = platform.watchdog {
        assert!(watchdog.frames().iter().all(|frame| frame.range().end <= ADDRESS_SPACE.end));
    }
});

/// Memory with tables that lead to each other as they should.
fn memory(mut rest: &[u8]) -> Vec<u8> {
    let mut memory = vec![0; TABLES];
    let mut addresses = Vec::new();
    while let [kind, low, high, ..] = *rest
        && addresses.len() < MAX_TABLES
    {
        rest = &rest[3..];
        let body = take(&mut rest, u16::from_le_bytes([low, high]).into());
        addresses.push(memory.len());
        let at = memory.len();
        memory.resize(at + HEADER_BYTES, 0);
        memory.extend_from_slice(body);
        seal(&mut memory[at..], SIGNATURES[usize::from(kind) % SIGNATURES.len()]);
    }
    for (index, address) in addresses.iter().enumerate() {
        memory[LIST + HEADER_BYTES + 8 * index..][..8].copy_from_slice(&(*address as u64).to_le_bytes());
    }
    seal(&mut memory[LIST..LIST + HEADER_BYTES + 8 * addresses.len()], b"XSDT");
    memory[..8].copy_from_slice(b"RSD PTR ");
    memory[15] = 2;
    memory[24..32].copy_from_slice(&(LIST as u64).to_le_bytes());
    balance(&mut memory[..HEADER_BYTES], 32);
    memory
}

/// Writes the signature, the length and the sum of a table.
fn seal(table: &mut [u8], signature: &[u8; 4]) {
    let length = table.len() as u32;
    table[..4].copy_from_slice(signature);
    table[4..8].copy_from_slice(&length.to_le_bytes());
    balance(table, 9);
}

/// Sets the byte `at` so that all add up to zero.
fn balance(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
}
