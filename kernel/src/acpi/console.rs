//! The console: Serial Port Console Redirection (SPCR), Microsoft, revision 4.

use super::{Table, registers};
use crate::machine::{Interrupt, Trigger, Uart, UartKind};

/// The UART of the table, if there is a driver for it and its registers are in memory.
pub(super) fn of(spcr: Table<'_>) -> Option<Uart> {
    /// Interface types (Debug Port Table 2, Microsoft, table 3).
    const FULL_16550: u8 = 0;
    const COMPATIBLE_16550: u8 = 1;
    const PL011: u8 = 3;
    const SBSA_32_BIT: u8 = 0xd;
    const SBSA: u8 = 0xe;
    const ANY_16550: u8 = 0x12;
    /// Address spaces of a generic address (ACPI 6.5, 5.2.3.2).
    const MEMORY: u8 = 0;
    /// Interrupt types: through the GIC.
    const GIC: u8 = 1 << 3;

    if spcr.u8(40)? != MEMORY {
        return None;
    }
    let (width_bits, access, address) = (spcr.u8(41)?, spcr.u8(43)?, spcr.u64(44)?);
    let (kind, size_bytes) = match spcr.u8(36)? {
        PL011 => (UartKind::Pl011, 0x1000),
        SBSA | SBSA_32_BIT => (UartKind::Sbsa, 0x1000),
        FULL_16550 | COMPATIBLE_16550 | ANY_16550 => {
            // The registers are as wide as their spacing: 8, 16 or 32 bits; 0 means that it is not given.
            let register_shift = match width_bits {
                0 | 8 => 0,
                16 => 1,
                32 => 2,
                _ => return None,
            };
            let access_bytes = match access {
                0..=1 => 1,
                2 => 2,
                3 => 4,
                _ => return None,
            };
            if access_bytes > 1 << register_shift || !address.is_multiple_of(u64::from(access_bytes)) {
                return None;
            }
            (UartKind::Ns16550 { register_shift, access_bytes }, 8 << register_shift)
        }
        _ => return None,
    };
    let registers = registers(address, size_bytes, 4)?;
    let number = spcr.u32(54)?;
    let has_interrupt = spcr.u8(52)? & GIC != 0 && number >= 32;
    let interrupt = has_interrupt.then_some(Interrupt { number, trigger: Trigger::Level });
    // The firmware has set up the line, so its speed is not changed.
    Some(Uart { kind, registers, interrupt, clock_hz: None, baud_rate: None })
}
