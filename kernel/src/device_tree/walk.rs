//! Walks through the tree without a heap, and finds every device, at any depth, with its registers at the CPU's addresses.
//!
//! A device's `reg` gives addresses on the device's bus. The `ranges` of each bus on the way to the root translate them to
//! addresses on the next bus (Devicetree Specification 0.4, 2.3.8).

use crate::{
    machine::{ADDRESS_SPACE, Registers},
    memory::layout,
};
use alloc::vec::Vec;
use core::ops::Range;
use dtoolkit::{
    Cells, Node, Property,
    fdt::{Fdt, FdtNode},
    standard::NodeStandard,
};

/// The most nodes between a device and the root; deeper devices are not found.
const MAX_DEPTH: usize = 16;

type Children<'a> = <FdtNode<'a> as Node>::Children<'a>;

/// A node and the nodes above it.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The node.
    pub node: FdtNode<'a>,
    /// The ancestors, from the root downwards.
    above: heapless::Vec<FdtNode<'a>, MAX_DEPTH>,
}

/// All enabled nodes on enabled buses except the root, parents before their children. Devices behind a PCI host bridge are left
/// out, because their addresses are not in the CPU's address space.
pub fn places<'a>(tree: &Fdt<'a>) -> impl Iterator<Item = Place<'a>> + use<'a> {
    let mut level = heapless::Vec::new();
    let _ = level.push((tree.root(), tree.root().children()));
    Walk { level }
}

struct Walk<'a> {
    level: heapless::Vec<(FdtNode<'a>, Children<'a>), MAX_DEPTH>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Place<'a>;

    fn next(&mut self) -> Option<Place<'a>> {
        loop {
            let (_, children) = self.level.last_mut()?;
            let Some(node) = children.next() else {
                self.level.pop();
                continue;
            };
            if !is_enabled(&node) {
                continue;
            }
            let above = self.level.iter().map(|(node, _)| *node).collect();
            if text(&node, "device_type") != Some("pci") {
                // If there is no room, the node's children are too deep and are skipped.
                let _ = self.level.push((node, node.children()));
            }
            return Some(Place { node, above });
        }
    }
}

impl<'a> Place<'a> {
    /// True if the node is compatible with one of `names`.
    pub fn is_compatible(&self, names: &[&str]) -> bool {
        self.node.compatible().into_iter().flatten().any(|name| names.contains(&name))
    }

    /// True if these are the names of the nodes from the root to this one. The addresses in the names may be left out.
    pub fn has_path<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> bool {
        let is_named =
            |node: &FdtNode<'_>, name: &str| node.name() == name || node.name_without_address() == name;
        let mut nodes = self.above.iter().skip(1).chain([&self.node]);
        nodes.all(|node| names.next().is_some_and(|name| is_named(node, name))) && names.next().is_none()
    }

    /// The parent's place.
    pub fn parent(&self) -> Option<Self> {
        let mut above = self.above.clone();
        Some(Self { node: above.pop()?, above })
    }

    /// True if the node is a child of the root.
    pub fn is_below_root(&self) -> bool {
        self.above.len() == 1
    }

    /// The entry of `reg` with this index, at the CPU's address.
    pub fn registers(&self, index: usize) -> Option<Registers> {
        self.all_registers().nth(index).flatten()
    }

    /// The entry of `reg` with this index, if it has at least `min_bytes` at a multiple of `align_bytes`, as a driver requires.
    pub fn registers_of(&self, index: usize, min_bytes: u64, align_bytes: u64) -> Option<Registers> {
        self.registers(index).filter(|registers| {
            registers.size_bytes >= min_bytes && registers.address.is_multiple_of(align_bytes)
        })
    }

    /// All entries of `reg` at the CPU's addresses; `None` for those that the CPU cannot reach.
    pub fn all_registers(&self) -> impl Iterator<Item = Option<Registers>> {
        let entries = self.node.reg().ok().flatten().into_iter().flatten();
        entries.map(|entry| {
            let address = number(&entry.address)?;
            let size_bytes = number(&entry.size)?;
            self.translate(Registers { address, size_bytes })
        })
    }

    /// The CPU's addresses of the entries of this bus's `ranges`; `None` for those that the CPU cannot reach.
    pub fn all_windows(&self) -> impl Iterator<Item = Option<Registers>> {
        let entries = self.node.ranges().ok().flatten().into_iter().flatten();
        entries.map(|entry| {
            let address = number(&entry.parent_bus_address)?;
            let size_bytes = number(&entry.length)?;
            self.translate(Registers { address, size_bytes })
        })
    }

    /// The first bus on the way to the root behind which a device cannot reach all of `banks` at the CPU's addresses
    /// (`dma-ranges`; Devicetree Specification 0.4, 2.3.9). With `is_bus`, the node itself is a bus.
    pub fn bus_that_misses(&self, banks: &[Range<u64>], is_bus: bool) -> Option<&'a str> {
        let buses = self.above.iter().chain(is_bus.then_some(&self.node));
        let pairs = buses.clone().zip(buses.skip(1));
        let mut misses = pairs.filter(|(above, bus)| !is_dma_direct(above, bus, banks));
        misses.next().map(|(_, bus)| bus.name())
    }

    /// Translates registers on this node's bus to the CPU's addresses; `None` if the CPU cannot reach any of them.
    pub fn translate(&self, registers: Registers) -> Option<Registers> {
        let Registers { mut address, mut size_bytes } = registers;
        // The root's address space is the CPU's.
        for bus in self.above.iter().skip(1).rev() {
            (address, size_bytes) = translate(bus, address, size_bytes)?;
        }
        let is_in_reach = address.checked_add(size_bytes)? <= ADDRESS_SPACE.end;
        (size_bytes > 0 && is_in_reach).then_some(Registers { address, size_bytes })
    }
}

/// Translates `size_bytes` at `address` on this bus to the bus above it: the address there, and how many of the bytes are mapped.
fn translate(bus: &FdtNode<'_>, address: u64, size_bytes: u64) -> Option<(u64, u64)> {
    // Without `ranges`, nothing on the bus is mapped; with an empty `ranges`, the addresses are the same.
    if bus.property("ranges")?.value().is_empty() {
        return Some((address, size_bytes));
    }
    bus.ranges().ok()??.find_map(|range| {
        let offset = address.checked_sub(number(&range.child_bus_address)?)?;
        let rest_bytes = number(&range.length)?.checked_sub(offset).filter(|&rest| rest > 0)?;
        let above = number(&range.parent_bus_address)?.checked_add(offset)?;
        Some((above, size_bytes.min(rest_bytes)))
    })
}

/// Whether devices on `bus` reach all of `banks`, which are addresses on the bus above, at the same addresses.
fn is_dma_direct(above: &FdtNode<'_>, bus: &FdtNode<'_>, banks: &[Range<u64>]) -> bool {
    let Some(ranges) = bus.property("dma-ranges").filter(|ranges| !ranges.value().is_empty()) else {
        return true;
    };
    let counts = (bus.address_cells(), above.address_cells(), bus.size_cells());
    let (Ok(n_child), Ok(n_above), Ok(n_size)) = counts else {
        return false;
    };
    let (n_child, n_above, n_size) = (n_child as usize, n_above as usize, n_size as usize);
    // The first of PCI's three cells is not part of the address; it gives the address space.
    let wide = |cells: &[u32]| {
        let cells = if cells.len() == 3 { &cells[1..] } else { cells };
        cells
            .iter()
            .try_fold(0_u64, |number, &cell| (number >> 32 == 0).then(|| number << 32 | u64::from(cell)))
    };
    let cells: Vec<u32> = cells(ranges.value()).collect();
    let direct = cells.chunks_exact((n_child + n_above + n_size).max(1)).filter_map(|entry| {
        let (child, rest) = entry.split_at(n_child);
        let (parent, size) = rest.split_at(n_above);
        let start = wide(parent)?;
        (wide(child)? == start).then(|| start..start.saturating_add(wide(size).unwrap_or(u64::MAX)))
    });
    let direct = layout::join(direct.collect());
    banks.iter().all(|bank| direct.iter().any(|direct| direct.start <= bank.start && bank.end <= direct.end))
}

/// The number in any number of cells; `None` if it needs more than 64 bits.
fn number(cells: &Cells<'_>) -> Option<u64> {
    cells
        .as_ref()
        .iter()
        .try_fold(0_u64, |number, cell| (number >> 32 == 0).then(|| number << 32 | u64::from(cell.get())))
}

/// Whether `status` says that the node can be used.
pub fn is_enabled(node: &FdtNode<'_>) -> bool {
    node.property("status").is_none() || matches!(text(node, "status"), Some("okay" | "ok"))
}

/// A property that is a text.
pub fn text<'a>(node: &FdtNode<'a>, name: &str) -> Option<&'a str> {
    node.property(name)?.value_as().ok()
}

/// A property that is a 32-bit number.
pub fn cell(node: &FdtNode<'_>, name: &str) -> Option<u32> {
    node.property(name)?.value_as().ok()
}

/// A property that is a number of one or two cells.
pub fn number_of(node: &FdtNode<'_>, name: &str) -> Option<u64> {
    let property = node.property(name)?;
    match *property.value() {
        [_, _, _, _] | [_, _, _, _, _, _, _, _] => {
            Some(property.value().iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
        }
        _ => None,
    }
}

/// The cell with this index of a property that is a list of cells.
pub fn nth_cell(node: &FdtNode<'_>, name: &str, index: usize) -> Option<u32> {
    cells(node.property(name)?.value()).nth(index)
}

/// The cells of a property's value.
pub fn cells(value: &[u8]) -> impl Iterator<Item = u32> + Clone + '_ {
    value.chunks_exact(4).map(|cell| cell.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
}

/// The number by which other nodes refer to this one.
pub fn phandle(node: &FdtNode<'_>) -> Option<u32> {
    cell(node, "phandle").or_else(|| cell(node, "linux,phandle"))
}

/// The node with this number, whether enabled or not.
pub fn find_phandle<'a>(tree: &Fdt<'a>, phandle: u32) -> Option<FdtNode<'a>> {
    find_phandle_place(tree, phandle).map(|place| place.node)
}

/// The same, with its ancestors.
pub fn find_phandle_place<'a>(tree: &Fdt<'a>, phandle: u32) -> Option<Place<'a>> {
    let mut level: heapless::Vec<(FdtNode<'a>, Children<'a>), MAX_DEPTH> = heapless::Vec::new();
    let _ = level.push((tree.root(), tree.root().children()));
    loop {
        let Some(node) = level.last_mut()?.1.next() else {
            level.pop();
            continue;
        };
        if self::phandle(&node) == Some(phandle) {
            let above = level.iter().map(|(node, _)| *node).collect();
            return Some(Place { node, above });
        }
        let _ = level.push((node, node.children()));
    }
}
