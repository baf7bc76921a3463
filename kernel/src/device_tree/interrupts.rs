//! Finds the interrupt controller's number for a device's `interrupts` (Devicetree Specification 0.4, 2.4).

use super::walk::{Place, cell, cells, find_phandle, find_phandle_place, nth_cell};
use crate::machine::{Interrupt, PciInterrupt, Trigger};
use alloc::vec::Vec;
use dtoolkit::{
    Node, Property,
    fdt::{Fdt, FdtNode},
    standard::NodeStandard,
};

/// `compatible` of GICv2 distributors that have the same registers.
pub(super) const GIC_V2: &[&str] = &[
    "arm,gic-400",
    "arm,cortex-a15-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a7-gic",
    "arm,pl390",
    "brcm,brahma-b15-gic",
    "qcom,msm-qgic2",
];

/// `compatible` of GICv3 and 4.
pub(super) const GIC_V3: &[&str] = &["arm,gic-v3"];

/// The first shared and the first private interrupt (GICv2 architecture, 2.2.1).
const FIRST_SHARED: u32 = 32;
const FIRST_PRIVATE: u32 = 16;

/// The first extended shared and the first extended private interrupt, and how many there are (GICv3.1; GICv3 and v4
/// architecture, 2.2.1).
const FIRST_EXTENDED_SHARED: u32 = 4096;
const EXTENDED_SHARED: u32 = 1024;
const FIRST_EXTENDED_PRIVATE: u32 = 1056;
const EXTENDED_PRIVATE: u32 = 64;

/// The most maps that an interrupt may pass through.
const MAX_MAPS: usize = 8;

/// The most nodes between a device and the destination of its interrupts: nodes can refer to each other in a loop.
const MAX_STEPS: usize = 64;

/// The most cells of an address or an interrupt.
const MAX_CELLS: usize = 8;

type Cells = heapless::Vec<u32, MAX_CELLS>;

/// The interrupt with this index of a device; `None` if there is none, or if it is not an interrupt of the GIC.
pub(super) fn interrupt(tree: &Fdt<'_>, device: &Place<'_>, index: usize) -> Option<Interrupt> {
    let (mut parent, mut interrupt) = specifier(tree, device, index)?;
    let mut address = unit_address(device);
    for _ in 0..MAX_MAPS {
        if parent.property("interrupt-map").is_none() {
            return gic_interrupt(&parent, &interrupt);
        }
        (parent, address, interrupt) = through_map(tree, &parent, &address, &interrupt)?;
    }
    None
}

/// The controller or map that receives an interrupt, and the cells that identify the interrupt there.
fn specifier<'a>(tree: &Fdt<'a>, device: &Place<'a>, index: usize) -> Option<(FdtNode<'a>, Cells)> {
    if let Some(extended) = device.node.property("interrupts-extended") {
        let mut rest = cells(extended.value());
        for _ in 0..index {
            let parent = find_phandle(tree, rest.next()?)?;
            rest.nth((interrupt_cells(&parent)?).checked_sub(1)?)?;
        }
        let parent = find_phandle(tree, rest.next()?)?;
        let interrupt = take(&mut rest, interrupt_cells(&parent)?)?;
        return Some((parent, interrupt));
    }
    let parent = interrupt_parent(tree, device)?;
    let count = interrupt_cells(&parent)?;
    let interrupts = device.node.property("interrupts")?;
    let mut rest = cells(interrupts.value()).skip(index.checked_mul(count)?);
    Some((parent, take(&mut rest, count)?))
}

/// The controller or map that receives a node's interrupts: the first node on the way up that says how its interrupts are
/// identified. On the way, each node may refer to a node other than its parent. A bus that is a map itself needs no
/// `interrupt-parent`.
fn interrupt_parent<'a>(tree: &Fdt<'a>, node: &Place<'a>) -> Option<FdtNode<'a>> {
    let mut place = node.clone();
    for _ in 0..MAX_STEPS {
        place = match cell(&place.node, "interrupt-parent") {
            Some(phandle) => find_phandle_place(tree, phandle)?,
            None => place.parent()?,
        };
        if interrupt_cells(&place.node).is_some() {
            return Some(place.node);
        }
    }
    None
}

/// A nexus passes interrupts on. The first entry of its `interrupt-map` counts whose address and interrupt equal the device's
/// under the mask (Devicetree Specification 0.4, 2.4.3).
fn through_map<'a>(
    tree: &Fdt<'a>,
    nexus: &FdtNode<'a>,
    address: &[u32],
    interrupt: &[u32],
) -> Option<(FdtNode<'a>, Cells, Cells)> {
    let n_address = nexus.address_cells().ok()? as usize;
    let n_interrupt = interrupt_cells(nexus)?;
    // A device on a bus other than the nexus's own has an address of another width, which no entry matches.
    let address = address.iter().copied().chain(core::iter::repeat(0)).take(n_address);
    let key = || address.clone().chain(interrupt.iter().copied());
    let mask = |index: usize| match nexus.property("interrupt-map-mask") {
        Some(_) => nth_cell(nexus, "interrupt-map-mask", index).unwrap_or(0),
        None => u32::MAX,
    };
    let map = nexus.property("interrupt-map")?;
    let mut rest = cells(map.value());
    loop {
        let entry = take(&mut rest, n_address.checked_add(n_interrupt)?)?;
        let parent = find_phandle(tree, rest.next()?)?;
        let parent_address_cells = cell(&parent, "#address-cells").unwrap_or(0) as usize;
        let parent_address = take(&mut rest, parent_address_cells)?;
        let parent_interrupt = take(&mut rest, interrupt_cells(&parent)?)?;
        let differs = |(index, (a, b)): (usize, (&u32, u32))| (a ^ b) & mask(index) != 0;
        if !entry.iter().zip(key()).enumerate().any(differs) {
            return Some((parent, parent_address, parent_interrupt));
        }
    }
}

/// The interrupts that the interrupt pins of devices below a PCI host bridge are wired to, if they are the GIC's. In IEEE 1275's
/// PCI bus binding, an address has three cells, with the device's number in bits 15:11 of the first one, and an interrupt is a
/// pin.
pub(super) fn of_pci(tree: &Fdt<'_>, host: &FdtNode<'_>) -> Vec<PciInterrupt> {
    /// More than any host bridge has.
    const MAX_ENTRIES: usize = 256;
    const ADDRESS_CELLS: usize = 3;
    let device = |cell: u32| (cell >> 11) as u8 & 0x1f;
    let mask = |index| match host.property("interrupt-map-mask") {
        Some(_) => nth_cell(host, "interrupt-map-mask", index).unwrap_or(0),
        None => u32::MAX,
    };
    let Some(map) = host.property("interrupt-map") else { return Vec::new() };
    let mut rest = cells(map.value());
    // Most entries have the same parent, and finding it requires a walk through the tree.
    let mut last: Option<(u32, FdtNode<'_>)> = None;
    let mut next = || {
        let address = take(&mut rest, ADDRESS_CELLS)?;
        let pin = rest.next()?;
        let phandle = rest.next()?;
        let parent = match last.take() {
            Some((known, parent)) if known == phandle => parent,
            _ => find_phandle(tree, phandle)?,
        };
        take(&mut rest, cell(&parent, "#address-cells").unwrap_or(0) as usize)?;
        let specifier = take(&mut rest, interrupt_cells(&parent)?)?;
        let interrupt = gic_interrupt(&parent, &specifier);
        last = Some((phandle, parent));
        Some(interrupt.map(|interrupt| PciInterrupt {
            device: device(address[0]),
            device_mask: device(mask(0)),
            pin: pin as u8,
            pin_mask: mask(ADDRESS_CELLS) as u8,
            interrupt,
        }))
    };
    core::iter::from_fn(&mut next).take(MAX_ENTRIES).flatten().collect()
}

fn unit_address(device: &Place<'_>) -> Cells {
    let first = device.node.reg().ok().flatten().and_then(|mut reg| reg.next());
    let address = first.iter().flat_map(|reg| reg.address.as_ref()).map(|cell| cell.get());
    address.take(MAX_CELLS).collect()
}

fn take(cells: &mut impl Iterator<Item = u32>, count: usize) -> Option<Cells> {
    let mut taken = Cells::new();
    for _ in 0..count {
        taken.push(cells.next()?).ok()?;
    }
    Some(taken)
}

fn interrupt_cells(controller: &FdtNode<'_>) -> Option<usize> {
    cell(controller, "#interrupt-cells").map(|count| count as usize)
}

/// Decodes type, number and flags (Linux' bindings arm,gic.yaml and arm,gic-v3.yaml).
fn gic_interrupt(controller: &FdtNode<'_>, interrupt: &[u32]) -> Option<Interrupt> {
    let is_one_of =
        |names: &[&str]| controller.compatible().into_iter().flatten().any(|name| names.contains(&name));
    let is_v3 = is_one_of(GIC_V3);
    if !is_v3 && !is_one_of(GIC_V2) {
        return None;
    }
    let &[kind, number, flags, ..] = interrupt else {
        return None;
    };
    let number = match kind {
        0 if number < 1020 - FIRST_SHARED => number + FIRST_SHARED,
        1 if number < FIRST_SHARED - FIRST_PRIVATE => number + FIRST_PRIVATE,
        2 if is_v3 && number < EXTENDED_SHARED => number + FIRST_EXTENDED_SHARED,
        3 if is_v3 && number < EXTENDED_PRIVATE => number + FIRST_EXTENDED_PRIVATE,
        _ => return None,
    };
    // 1 and 2: rising and falling edge; 4 and 8: high and low level.
    let trigger = if flags & 0x3 != 0 { Trigger::Edge } else { Trigger::Level };
    Some(Interrupt { number, trigger })
}
