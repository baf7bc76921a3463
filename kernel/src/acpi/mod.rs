//! Reads ACPI's fixed tables, which describe the machine: cores, interrupt controller, timer, console, PCI host, PSCI.
//!
//! Devices that only the DSDT's machine language describes are not found, because there is no interpreter for it here. Section
//! numbers refer to the ACPI Specification 6.5. Tables are read byte by byte, within the length that they give, so that no table
//! can make the kernel read outside of it.

mod console;
mod interrupts;

#[cfg(test)]
mod tests;

use crate::{
    machine::{
        ADDRESS_SPACE, ConfigurationSpace, Cpu, PcieHost, Platform, PsciMethod, Registers, Uart, Watchdog,
    },
    memory::layout,
};
use alloc::vec::Vec;
use core::ops::Range;

/// The most tables that are kept.
const MAX_TABLES: usize = 8;

/// Length of the header of every table (5.2.6).
const HEADER_BYTES: usize = 36;

/// The signatures of the tables that are read.
const SIGNATURES: [&[u8; 4]; 5] = [b"FACP", b"APIC", b"GTDT", b"MCFG", b"SPCR"];

/// The most entries of the table of tables that are searched for them.
const MAX_ADDRESSES: usize = 256;

/// Larger tables are rejected.
const MAX_TABLE_BYTES: usize = 1 << 20;

/// Why ACPI's tables cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AcpiError {
    /// The memory at this address cannot be read.
    #[error("ACPI: nothing can be read at {0:#x}")]
    Unreadable(u64),
    /// The root pointer has the wrong signature, or its checksum is not zero.
    #[error("ACPI: no root pointer (RSDP) at {0:#x}")]
    RootPointer(u64),
    /// The table of tables has the wrong signature, or its checksum is not zero.
    #[error("ACPI: no table of tables (XSDT) at {0:#x}")]
    TableOfTables(u64),
}

/// The tables: found, but not interpreted yet.
#[derive(Debug)]
pub struct Tables<'a> {
    tables: heapless::Vec<Table<'a>, MAX_TABLES>,
}

/// The bytes of a table, or of a structure in one.
#[derive(Debug, Clone, Copy)]
struct Table<'a>(&'a [u8]);

impl<'a> Table<'a> {
    fn bytes<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(self, at: usize) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(self, at: usize) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn u64(self, at: usize) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }

    fn has_signature(self, signature: &[u8; 4]) -> bool {
        self.0.starts_with(signature)
    }

    /// The structures from offset `at` on, each of which begins with its type and its length.
    fn structures(self, at: usize) -> impl Iterator<Item = (u8, Table<'a>)> {
        let mut rest = self.0.get(at..).unwrap_or_default();
        core::iter::from_fn(move || {
            let &[kind, length, ..] = rest else { return None };
            // A structure that claims to be shorter than its own header would cause an endless loop.
            let (structure, behind) = rest.split_at_checked(usize::from(length).max(2))?;
            rest = behind;
            Some((kind, Table(structure)))
        })
    }
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

impl<'a> Tables<'a> {
    /// Finds the tables, starting at the root pointer. `read` returns a number of bytes at an address, or `None`. Tables with a
    /// wrong checksum are left out.
    ///
    /// # Errors
    /// [`AcpiError`] if there is no root pointer of revision 2 or later, or no table of tables.
    pub fn open(
        root_pointer: u64,
        read: &mut dyn FnMut(u64, usize) -> Option<&'a [u8]>,
    ) -> Result<Self, AcpiError> {
        const ROOT_POINTER_BYTES: usize = 36;
        let root = Table(read(root_pointer, ROOT_POINTER_BYTES).ok_or(AcpiError::Unreadable(root_pointer))?);
        let is_root = root.0.starts_with(b"RSD PTR ") && sums_to_zero(root.0) && root.u8(15) >= Some(2);
        let at = root.u64(24).filter(|_| is_root).ok_or(AcpiError::RootPointer(root_pointer))?;
        let list = table(at, read).filter(|list| list.has_signature(b"XSDT"));
        let list = list.ok_or(AcpiError::TableOfTables(at))?;
        let addresses = list.0[HEADER_BYTES..].as_chunks::<8>().0.iter();
        let addresses = addresses.take(MAX_ADDRESSES).map(|address| u64::from_le_bytes(*address));
        let tables = addresses.filter_map(|address| {
            let header = Table(read(address, HEADER_BYTES)?);
            let is_read = SIGNATURES.iter().any(|signature| header.has_signature(signature));
            if is_read { table(address, read) } else { None }
        });
        Ok(Self { tables: tables.take(MAX_TABLES).collect() })
    }

    /// The bytes of the tables, where they are in memory.
    pub fn bytes(&self) -> impl Iterator<Item = &'a [u8]> {
        self.tables.iter().map(|table| table.0)
    }

    fn find(&self, signature: &[u8; 4]) -> Option<Table<'a>> {
        self.tables.iter().find(|table| table.has_signature(signature)).copied()
    }

    /// The console, if the firmware has one and there is a driver for it.
    pub fn console(&self) -> Option<Uart> {
        console::of(self.find(b"SPCR")?)
    }

    /// How PSCI is called, if it exists (5.2.9, ARM_BOOT_ARCH).
    pub fn psci(&self) -> Option<PsciMethod> {
        let flags = self.find(b"FACP")?.u16(129)?;
        let method = if flags & 0b10 != 0 { PsciMethod::Hvc } else { PsciMethod::Smc };
        (flags & 1 != 0).then_some(method)
    }

    /// Everything that the tables say, for a machine with these RAM banks, in any order. The PCI windows are missing, because the
    /// tables do not describe them.
    pub fn platform(&self, memory: Vec<Range<u64>>, boot_args: &[u8]) -> Platform {
        let madt = self.find(b"APIC");
        Platform {
            memory: layout::join(memory),
            reserved_memory: Vec::new(),
            cores: madt.map(|madt| cores(madt, self.psci().is_some())).unwrap_or_default(),
            uart: self.console(),
            interrupt_controller: madt.and_then(interrupts::controller),
            virtio_mmio: Vec::new(),
            pcie: self
                .find(b"MCFG")
                .and_then(pcie_host)
                .map(|host| PcieHost { msi: madt.and_then(interrupts::messages), ..host }),
            undriven: Vec::new(),
            timer_interrupt: self.find(b"GTDT").and_then(interrupts::virtual_timer),
            pmu_interrupt: madt.and_then(interrupts::performance_counters),
            clock: None,
            fw_cfg: None,
            power_keys: Vec::new(),
            generation: None,
            watchdog: self.find(b"GTDT").and_then(watchdog),
            boot_args: boot_args.into(),
            remarks: Vec::new(),
        }
    }
}

/// The table at an address, if its checksum is right.
fn table<'a>(address: u64, read: &mut dyn FnMut(u64, usize) -> Option<&'a [u8]>) -> Option<Table<'a>> {
    let header = Table(read(address, HEADER_BYTES)?);
    let length = usize::try_from(header.u32(4)?).ok()?;
    let is_possible = (HEADER_BYTES..=MAX_TABLE_BYTES).contains(&length);
    let table = read(address, is_possible.then_some(length)?)?;
    sums_to_zero(table).then_some(Table(table))
}

/// The cores, each described by its GIC CPU interface (5.2.12.14).
fn cores(madt: Table<'_>, starts_by_psci: bool) -> Vec<Cpu> {
    let core = |interface: Table<'_>| {
        let is_unusable = !interrupts::is_usable(interface);
        Some(Cpu { mpidr: interface.u64(68)?, starts_by_psci, is_unusable })
    };
    interrupts::cpu_interfaces(madt).filter_map(core).collect()
}

/// Registers at this address, if it is a multiple of `align_bytes` and registers can be there.
fn registers(address: u64, size_bytes: u64, align_bytes: u64) -> Option<Registers> {
    let end = address.checked_add(size_bytes)?;
    let is_sound = address != 0 && address.is_multiple_of(align_bytes) && end <= ADDRESS_SPACE.end;
    is_sound.then_some(Registers { address, size_bytes })
}

/// The non-secure generic watchdog listed in GTDT (5.2.25.2), whose structures have a length of two bytes.
fn watchdog(gtdt: Table<'_>) -> Option<Watchdog> {
    const WATCHDOG: u8 = 1;
    const SECURE: u32 = 1 << 2;
    const FRAME_BYTES: u64 = 0x1000;
    let frame = |address| registers(address, FRAME_BYTES, FRAME_BYTES);
    let mut rest = gtdt.0.get(gtdt.u32(92)? as usize..)?;
    for _ in 0..gtdt.u32(88)? {
        let structure = Table(rest);
        if structure.u8(0)? == WATCHDOG && structure.u32(24)? & SECURE == 0 {
            return Some(Watchdog::Generic {
                refresh: frame(structure.u64(4)?)?,
                control: frame(structure.u64(12)?)?,
            });
        }
        // A structure that claims to have no length would cause an endless loop.
        rest = rest.get(usize::from(structure.u16(1)?.max(1))..)?;
    }
    None
}

/// The first host bridge of segment 0 that MCFG lists (PCI Firmware Specification 3.3, 4.1.2).
fn pcie_host(mcfg: Table<'_>) -> Option<PcieHost> {
    let space = ConfigurationSpace::Ecam;
    let mut entries = mcfg.0.get(44..)?.as_chunks::<16>().0.iter().map(|entry| Table(entry));
    let entry = entries.find(|entry| entry.u16(8) == Some(0))?;
    let (first, last) = (entry.u8(10)?, entry.u8(11)?);
    let n_buses = u64::from(last.checked_sub(first)?) + 1;
    // The given address is that of bus 0, even if the bridge does not have that bus.
    let address = entry.u64(0)?.checked_add(u64::from(first) * space.bytes_per_bus())?;
    let ecam = registers(address, n_buses * space.bytes_per_bus(), space.bytes_per_bus())?;
    let (windows, interrupts) = (Vec::new(), Vec::new());
    Some(PcieHost { ecam, space, buses: (first, last), windows, is_placed: true, interrupts, msi: None })
}
