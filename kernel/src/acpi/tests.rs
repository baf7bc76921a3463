//! Tests with tables like those of QEMU's `virt` machine, and with broken ones.

use super::*;
use crate::machine::{Interrupt, InterruptController, MsiController, Trigger, UartKind};
use std::{collections::BTreeMap, vec, vec::Vec};

const ROOT: u64 = 0x1000;

/// Bytes at given addresses.
#[derive(Default, Clone)]
struct Memory(BTreeMap<u64, Vec<u8>>);

fn put(bytes: &mut Vec<u8>, at: usize, value: &[u8]) {
    bytes.resize(bytes.len().max(at + value.len()), 0);
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn with_sum(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
    bytes
}

/// A table with these fields, and with its length and checksum.
fn table_of(signature: &[u8; 4], fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    fields.iter().for_each(|(at, value)| put(&mut bytes, *at, value));
    put(&mut bytes, 0, signature);
    let length = bytes.len() as u32;
    put(&mut bytes, 4, &length.to_le_bytes());
    with_sum(bytes, 9)
}

fn memory(tables: &[Vec<u8>]) -> Memory {
    let mut memory = Memory::default();
    let mut list = Vec::new();
    for (number, table) in tables.iter().enumerate() {
        let address = 0x10_0000 + 0x1_0000 * number as u64;
        list.extend(address.to_le_bytes());
        memory.0.insert(address, table.clone());
    }
    memory.0.insert(0x2000, table_of(b"XSDT", &[(HEADER_BYTES, &list)]));
    let mut root = vec![0; 36];
    put(&mut root, 0, b"RSD PTR ");
    put(&mut root, 15, &[2]);
    put(&mut root, 24, &0x2000_u64.to_le_bytes());
    memory.0.insert(ROOT, with_sum(root, 32));
    memory
}

impl Memory {
    fn read(&self, address: u64, length: usize) -> Option<&[u8]> {
        let (start, bytes) = self.0.range(..=address).next_back()?;
        bytes.get((address - start) as usize..)?.get(..length)
    }

    fn open(&self) -> Result<Tables<'_>, AcpiError> {
        Tables::open(ROOT, &mut |address, length| self.read(address, length))
    }
}

fn structure(kind: u8, length: u8, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(length)];
    put(&mut bytes, 0, &[kind, length]);
    fields.iter().for_each(|(at, value)| put(&mut bytes, *at, value));
    bytes
}

fn cpu_interface(mpidr: u64, flags: u32) -> Vec<u8> {
    structure(
        0xb,
        80,
        &[
            (12, &flags.to_le_bytes()),
            (20, &23_u32.to_le_bytes()),
            (32, &0x801_0000_u64.to_le_bytes()),
            (68, &mpidr.to_le_bytes()),
        ],
    )
}

/// A MADT with two cores, the second of which is absent, and the given other structures.
fn madt(rest: &[Vec<u8>]) -> Vec<u8> {
    let distributor = structure(0xc, 24, &[(8, &0x800_0000_u64.to_le_bytes()), (20, &[3])]);
    let structures = [distributor, cpu_interface(0, 1), cpu_interface(0x101, 0)];
    let structures = [structures.concat(), rest.concat()].concat();
    table_of(b"APIC", &[(44, &structures)])
}

fn spcr(kind: u8, width_bits: u8, access: u8, address: u64) -> Vec<u8> {
    let fields: [(usize, &[u8]); 5] = [
        (36, &[kind]),
        (40, &[0, width_bits, 0, access]),
        (44, &address.to_le_bytes()),
        (52, &[8]),
        (54, &33_u32.to_le_bytes()),
    ];
    table_of(b"SPCR", &[fields.as_slice(), &[(79, &[0])]].concat())
}

fn frame(flags: u32) -> Vec<u8> {
    let fields: [(usize, &[u8]); 4] = [
        (8, &0x802_0000_u64.to_le_bytes()),
        (16, &flags.to_le_bytes()),
        (20, &64_u16.to_le_bytes()),
        (22, &80_u16.to_le_bytes()),
    ];
    structure(0xd, 24, &fields)
}

fn service(address: u64) -> Vec<u8> {
    structure(0xf, 20, &[(8, &address.to_le_bytes())])
}

fn virt() -> Vec<Vec<u8>> {
    let redistributors =
        structure(0xe, 16, &[(4, &0x80a_0000_u64.to_le_bytes()), (12, &0xf6_0000_u32.to_le_bytes())]);
    let ecam = [0x40_1000_0000_u64.to_le_bytes().as_slice(), &[0, 0, 0, 255, 0, 0, 0, 0]].concat();
    vec![
        table_of(b"FACP", &[(129, &[0b11, 0]), (275, &[0])]),
        madt(&[redistributors, frame(0), service(0x808_0000)]),
        table_of(b"GTDT", &[(64, &27_u32.to_le_bytes()), (103, &[0])]),
        table_of(b"MCFG", &[(44, &ecam)]),
        spcr(3, 32, 3, 0x900_0000),
    ]
}

fn platform(tables: &[Vec<u8>]) -> Platform {
    let ram = vec![0x5000_0000..0x6000_0000, 0x4000_0000..0x5000_0000];
    memory(tables).open().unwrap().platform(ram, b"log=warn")
}

#[test]
fn the_tables_of_a_virt_machine() {
    let platform = platform(&virt());
    assert_eq!(platform.memory, [0x4000_0000..0x6000_0000]);
    assert_eq!(platform.boot_args, b"log=warn");
    let cores = [(0, false), (0x101, true)];
    let cores = cores.map(|(mpidr, is_unusable)| Cpu { mpidr, starts_by_psci: true, is_unusable });
    assert_eq!(platform.cores, cores);
    let registers = |address, size_bytes| Registers { address, size_bytes };
    let controller = InterruptController::GicV3 {
        distributor: registers(0x800_0000, 0x1_0000),
        redistributors: vec![registers(0x80a_0000, 0xf6_0000)],
        stride_bytes: None,
    };
    assert_eq!(platform.interrupt_controller, Some(controller));
    let level = |number| Some(Interrupt { number, trigger: Trigger::Level });
    assert_eq!(platform.timer_interrupt, level(27));
    assert_eq!(platform.pmu_interrupt, level(23));
    let uart = platform.uart.unwrap();
    assert_eq!((uart.kind, uart.registers.address, uart.interrupt), (UartKind::Pl011, 0x900_0000, level(33)));
    let pcie = platform.pcie.unwrap();
    assert_eq!((pcie.ecam, pcie.buses), (registers(0x40_1000_0000, 256 << 20), (0, 255)));
    assert_eq!(memory(&virt()).open().unwrap().psci(), Some(PsciMethod::Hvc));
}

#[test]
fn the_watchdog_is_the_one_that_is_not_secure() {
    let with = |n_structures: u32, structures: &[&[u8]]| {
        let structures = structures.concat();
        let gtdt = table_of(
            b"GTDT",
            &[(88, &n_structures.to_le_bytes()), (92, &104_u32.to_le_bytes()), (104, &structures)],
        );
        platform(&[gtdt]).watchdog
    };
    let watchdog = |refresh: u64, flags: u32| {
        let mut bytes = vec![1, 28, 0, 0];
        bytes.extend(refresh.to_le_bytes());
        bytes.extend(0x2000_0000_u64.to_le_bytes());
        bytes.extend(59_u32.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes
    };
    let timer = [&[0, 20, 0, 0][..], &[0; 16]].concat();
    let registers = |address| Registers { address, size_bytes: 0x1000 };
    let expected =
        Some(Watchdog::Generic { refresh: registers(0x1000_0000), control: registers(0x2000_0000) });
    let (secure, good) = (watchdog(0x3000_0000, 4), watchdog(0x1000_0000, 0));
    assert_eq!(with(3, &[&timer, &secure, &good]), expected);
    assert_eq!(with(2, &[&timer, &secure, &good]), None);
    assert_eq!(with(9, &[&good]), expected);
    assert_eq!(with(u32::MAX, &[&[0, 0, 0, 0]]), None);
    assert_eq!(with(1, &[&watchdog(0x1000_0010, 0)]), None);
    for length in 0..28 {
        assert_eq!(with(1, &[&good[..length]]), None);
    }
}

#[test]
fn without_redistributors_it_is_a_gic_v2_unless_each_core_names_its_own() {
    let registers = |address, size_bytes| Registers { address, size_bytes };
    let controller = |tables: &[Vec<u8>]| platform(tables).interrupt_controller;
    let v2 = InterruptController::GicV2 {
        distributor: registers(0x800_0000, 0x1000),
        cpu_interface: registers(0x801_0000, 0x2000),
    };
    assert_eq!(controller(&[madt(&[])]), Some(v2));
    let mut own = cpu_interface(1, 1);
    put(&mut own, 60, &0x80c_0000_u64.to_le_bytes());
    // The structure of an absent core may be unreadable.
    let mut absent = cpu_interface(2, 0);
    put(&mut absent, 60, &0x80e_0000_u64.to_le_bytes());
    let v3 = InterruptController::GicV3 {
        distributor: registers(0x800_0000, 0x1_0000),
        redistributors: vec![registers(0x80c_0000, 0x2_0000)],
        stride_bytes: Some(0x2_0000),
    };
    assert_eq!(controller(&[madt(&[own, absent])]), Some(v3));
    assert_eq!(controller(&[]), None);
}

#[test]
fn messages_go_to_a_service_or_else_to_a_frame() {
    let controller = |structures: &[Vec<u8>]| {
        let mut tables = virt();
        tables[1] = madt(structures);
        platform(&tables).pcie.unwrap().msi.map(|msi| msi.controller)
    };
    let registers = |address, size_bytes| Registers { address, size_bytes };
    let its = MsiController::Its { registers: registers(0x808_0000, 0x2_0000) };
    assert_eq!(controller(&[frame(1), service(0x808_0000)]), Some(its));
    let frame_at = registers(0x802_0000, 0x1000);
    let v2m = |first, count| Some(MsiController::V2m { frame: frame_at, first, count });
    // An address that is impossible for a service.
    assert_eq!(controller(&[frame(0), service(0x808_1000)]), v2m(None, None));
    assert_eq!(controller(&[frame(1)]), v2m(Some(80), Some(64)));
    assert_eq!(controller(&[]), None);
}

#[test]
fn consoles_of_each_kind() {
    let kind = |spcr: Vec<u8>| platform(&[spcr]).uart.map(|uart| uart.kind);
    let ns16550 = |register_shift, access_bytes| Some(UartKind::Ns16550 { register_shift, access_bytes });
    assert_eq!(kind(spcr(0xe, 32, 3, 0x900_0000)), Some(UartKind::Sbsa));
    assert_eq!(kind(spcr(0, 8, 1, 0x900_0000)), ns16550(0, 1));
    assert_eq!(kind(spcr(0x12, 32, 3, 0x900_0000)), ns16550(2, 4));
    // Wider than their spacing; unaligned; none; of another kind; beyond all addresses.
    let refused = [
        (0x12, 8, 3, 0x900_0000),
        (3, 32, 3, 2),
        (3, 32, 3, 0),
        (7, 32, 3, 0x900_0000),
        (3, 32, 3, u64::MAX - 3),
    ];
    for (interface, width_bits, access, address) in refused {
        assert_eq!(kind(spcr(interface, width_bits, access, address)), None, "{interface} {address:#x}");
    }
}

#[test]
fn what_is_no_table_is_told() {
    let good = memory(&virt());
    let error = |change: &dyn Fn(&mut Memory)| {
        let mut memory = good.clone();
        change(&mut memory);
        memory.open().unwrap_err()
    };
    assert_eq!(error(&|memory| drop(memory.0.remove(&ROOT))), AcpiError::Unreadable(ROOT));
    assert_eq!(error(&|memory| memory.0.get_mut(&ROOT).unwrap()[0] = b'S'), AcpiError::RootPointer(ROOT));
    assert_eq!(error(&|memory| memory.0.get_mut(&ROOT).unwrap()[20] = 1), AcpiError::RootPointer(ROOT));
    assert_eq!(error(&|memory| drop(memory.0.remove(&0x2000))), AcpiError::TableOfTables(0x2000));
    assert_eq!(
        error(&|memory| memory.0.get_mut(&0x2000).unwrap()[36] += 1),
        AcpiError::TableOfTables(0x2000)
    );
}

/// Checks that everything in the description can be mapped and read.
fn check(platform: &Platform) {
    let mut registers: Vec<_> = platform.uart.iter().map(|uart| (uart.registers, 4)).collect();
    registers.extend(platform.pcie.iter().map(|host| (host.ecam, 1 << 20)));
    let msi = platform.pcie.iter().filter_map(|host| host.msi.as_ref());
    registers.extend(msi.map(|msi| (msi.controller.registers(), 0x1000)));
    match &platform.interrupt_controller {
        Some(InterruptController::GicV2 { distributor, cpu_interface }) => {
            registers.extend([(*distributor, 0x1000), (*cpu_interface, 0x1000)]);
        }
        Some(InterruptController::GicV3 { distributor, redistributors, .. }) => {
            registers.push((*distributor, 0x1_0000));
            registers.extend(redistributors.iter().map(|region| (*region, 0x1_0000)));
        }
        None => {}
    }
    for (Registers { address, size_bytes }, align_bytes) in registers {
        assert!(address > 0 && address.is_multiple_of(align_bytes), "{address:#x}");
        assert!(address + size_bytes <= 1 << 48, "{address:#x} {size_bytes:#x}");
    }
}

/// Changes each byte of each table in turn, and corrects the checksum.
#[test]
fn tables_may_lie() {
    let good = virt();
    for (number, table) in good.iter().enumerate() {
        for at in 4..table.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut tables = good.clone();
                tables[number][at] = value;
                tables[number] = with_sum(tables[number].clone(), 9);
                check(&platform(&tables));
            }
        }
    }
}
