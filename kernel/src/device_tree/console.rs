//! Chooses the console's UART: the one that `/chosen/stdout-path` names, or else the first one that has a driver.

use super::{
    interrupts,
    walk::{Place, cell, find_phandle, nth_cell, places, text},
};
use crate::machine::{Registers, Uart, UartKind};
use core::fmt;
use dtoolkit::{
    Node,
    fdt::{Fdt, FdtNode},
    standard::NodeStandard,
};

const PL011: &[&str] = &["arm,pl011"];
const SBSA: &[&str] = &["arm,sbsa-uart"];
const NS16550: &[&str] =
    &["ns16550a", "ns16550", "ns16450", "ns8250", "ns16750", "ns16850", "nvidia,tegra20-uart"];
const DESIGNWARE: &[&str] = &["snps,dw-apb-uart"];

/// The choice. Making it needs no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    /// The console, if there is a UART with a driver.
    pub uart: Option<Uart>,
    /// The console in `stdout-path`, if another one was chosen.
    pub missed: Option<Missed<'a>>,
}

/// A console that the tree names but that was not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missed<'a> {
    /// The path.
    pub path: &'a str,
    /// `compatible` of the node with this path, if there is one.
    pub compatible: Option<&'a str>,
}

impl fmt::Display for Missed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stdout-path is {:?}, ", self.path)?;
        match self.compatible {
            Some(compatible) => write!(f, "a {compatible:?}, which is not driven or cannot be reached"),
            None => write!(f, "which is no enabled device"),
        }
    }
}

/// Chooses the console.
pub(super) fn choose<'a>(tree: &Fdt<'a>) -> Choice<'a> {
    let chosen = tree.root().child("chosen");
    let property = |name| chosen.and_then(|chosen| text(&chosen, name));
    let Some(stdout) = property("stdout-path").or_else(|| property("linux,stdout-path")) else {
        return Choice { uart: first_driven(tree), missed: None };
    };
    // After the colon there are options for the console's driver: speed, parity, bits.
    let (path, options) = stdout.split_once(':').unwrap_or((stdout, ""));
    let wanted = find(tree, path);
    if let Some(mut uart) = wanted.as_ref().and_then(|place| uart(tree, place)) {
        uart.baud_rate = baud_rate(options).or(uart.baud_rate);
        return Choice { uart: Some(uart), missed: None };
    }
    let compatible = wanted.and_then(|place| place.node.compatible()?.next());
    Choice { uart: first_driven(tree), missed: Some(Missed { path, compatible }) }
}

fn first_driven(tree: &Fdt<'_>) -> Option<Uart> {
    places(tree).find_map(|place| uart(tree, &place))
}

/// The speed at the beginning of options such as `115200n8`.
fn baud_rate(options: &str) -> Option<u32> {
    let end = options.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(options.len());
    options[..end].parse().ok().filter(|&rate| rate > 0)
}

/// The enabled node with this path, which begins either with a slash or with an alias.
fn find<'a>(tree: &Fdt<'a>, path: &'a str) -> Option<Place<'a>> {
    let (start, rest) = match path.strip_prefix('/') {
        Some(rest) => ("", rest),
        None => {
            let (alias, rest) = path.split_once('/').unwrap_or((path, ""));
            (text(&tree.root().child("aliases")?, alias)?.strip_prefix('/')?, rest)
        }
    };
    places(tree).find(|place| {
        let names = start.split('/').chain(rest.split('/'));
        place.has_path(names.filter(|name| !name.is_empty()))
    })
}

/// The UART at a place, if there is a driver for it.
fn uart(tree: &Fdt<'_>, place: &Place<'_>) -> Option<Uart> {
    let node = &place.node;
    let mut registers = place.registers(0)?;
    let kind = if place.is_compatible(SBSA) || place.is_compatible(PL011) {
        registers = place.registers_of(0, 0x48, 4)?;
        if place.is_compatible(SBSA) { UartKind::Sbsa } else { UartKind::Pl011 }
    } else if place.is_compatible(NS16550) || place.is_compatible(DESIGNWARE) {
        let is_wide = place.is_compatible(DESIGNWARE) || place.is_compatible(&["nvidia,tegra20-uart"]);
        let (default_shift, default_bytes) = if is_wide { (2, 4) } else { (0, 1) };
        let register_shift = cell(node, "reg-shift").unwrap_or(default_shift);
        let access_bytes = cell(node, "reg-io-width").unwrap_or(default_bytes);
        registers = skip(registers, cell(node, "reg-offset").unwrap_or(0))?;
        ns16550(registers, register_shift, access_bytes)?
    } else {
        return None;
    };
    let interrupt = interrupts::interrupt(tree, place, 0);
    let baud_rate = cell(node, "current-speed").filter(|&rate| rate > 0);
    Some(Uart { kind, registers, interrupt, clock_hz: clock_hz(tree, node), baud_rate })
}

fn skip(registers: Registers, offset_bytes: u32) -> Option<Registers> {
    let offset_bytes = u64::from(offset_bytes);
    Some(Registers {
        address: registers.address.checked_add(offset_bytes)?,
        size_bytes: registers.size_bytes.checked_sub(offset_bytes)?,
    })
}

/// The kind, if all registers with this spacing and width lie within the block, and each is aligned to its width.
fn ns16550(registers: Registers, register_shift: u32, access_bytes: u32) -> Option<UartKind> {
    const N_REGISTERS: u64 = 8;
    let distance_bytes = 1_u64.checked_shl(register_shift).filter(|&bytes| bytes <= 16)?;
    let is_sound = matches!(access_bytes, 1 | 2 | 4)
        && u64::from(access_bytes) <= distance_bytes
        && registers.address.is_multiple_of(u64::from(access_bytes))
        && registers.size_bytes >= N_REGISTERS * distance_bytes;
    is_sound.then_some(UartKind::Ns16550 {
        register_shift: register_shift as u8,
        access_bytes: access_bytes as u8,
    })
}

/// The frequency of a device's first clock, if the tree gives it.
fn clock_hz(tree: &Fdt<'_>, device: &FdtNode<'_>) -> Option<u32> {
    let own = cell(device, "clock-frequency");
    let of_clock = || {
        let clock = find_phandle(tree, nth_cell(device, "clocks", 0)?)?;
        let is_fixed = clock.is_compatible("fixed-clock");
        is_fixed.then(|| cell(&clock, "clock-frequency"))?
    };
    own.or_else(of_clock).filter(|&hz| hz > 0)
}
