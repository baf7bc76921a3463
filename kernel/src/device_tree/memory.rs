//! Reads the RAM, and the parts of it that must not be used, without a heap.

use super::walk::{self, is_enabled, text};
use crate::{machine::ADDRESS_SPACE, memory::layout};
use core::ops::Range;
use dtoolkit::{
    Node, Property, ToCellInt,
    fdt::{Fdt, FdtNode},
    standard::NodeStandard,
};

/// The most banks that can be handled before there is a heap.
const MAX_EARLY_BANKS: usize = 256;

/// The RAM banks of the tree in ascending order; no two overlap or touch. Needs no allocation. The tree may list the same RAM
/// several times, or one bank in several pieces. If there are very many banks, the smallest are left out.
pub fn memory_banks(tree: &Fdt<'_>) -> heapless::Vec<Range<u64>, MAX_EARLY_BANKS> {
    layout::join_few(named_banks(tree))
}

/// The RAM banks as the tree lists them, limited to what may be used.
///
/// `linux,usable-memory` of a bank and `linux,usable-memory-range` of `/chosen` are the memory that a kernel may use if it boots
/// after another one has crashed.
pub(super) fn named_banks<'a>(tree: &Fdt<'a>) -> impl Iterator<Item = Range<u64>> + use<'a> {
    let root = tree.root();
    let is_memory = is_memory(tree);
    let nodes = root.children().filter(move |node| is_memory(node) && is_enabled(node));
    let banks = nodes.flat_map(move |node| {
        let usable = node.property("linux,usable-memory").is_some();
        ranges(&root, &node, if usable { "linux,usable-memory" } else { "reg" })
    });

    let chosen = root.child("chosen").into_iter();
    let named_limits = chosen.flat_map(|node| ranges(&root, &node, "linux,usable-memory-range"));
    let mut limits: heapless::Vec<Range<u64>, MAX_LIMITS> = named_limits.take(MAX_LIMITS).collect();
    if limits.is_empty() {
        let _ = limits.push(ADDRESS_SPACE);
    }
    banks
        .flat_map(move |bank| {
            let limits = limits.clone().into_iter();
            limits.map(move |limit| bank.start.max(limit.start)..bank.end.min(limit.end))
        })
        .map(|bank| bank.start..bank.end.min(ADDRESS_SPACE.end))
        .filter(|bank| bank.start < bank.end)
}

/// Returns a test for whether a child of the root is a bank: its `device_type` is `memory` (Devicetree Specification 0.4, 3.4)
/// or, if no node has that type, its name is `memory`.
fn is_memory(tree: &Fdt<'_>) -> impl Fn(&FdtNode<'_>) -> bool + use<> {
    let has_type = |node: &FdtNode<'_>| text(node, "device_type") == Some("memory");
    let by_type = tree.root().children().any(|node| has_type(&node));
    move |node| if by_type { has_type(node) } else { node.name_without_address() == "memory" }
}

/// The most ranges of `linux,usable-memory-range`: Linux supports two.
const MAX_LIMITS: usize = 4;

/// The address ranges that a property of a child of `root`, or of its children, lists.
fn ranges<'a>(
    root: &FdtNode<'_>,
    node: &FdtNode<'a>,
    property: &str,
) -> impl Iterator<Item = Range<u64>> + use<'a> {
    let space = root.address_space();
    let cells = [space.address_cells as usize, space.size_cells as usize];
    let entries = node.property(property).and_then(|property| property.as_prop_encoded_array(cells).ok());
    entries.into_iter().flatten().filter_map(|[address, size]| {
        let start: u64 = address.to_int().ok()?;
        let size: u64 = size.to_int().ok()?;
        Some(start..start.saturating_add(size))
    })
}

/// The most entries of a device's `reg` or `ranges` that are examined. Finding an entry means searching from the first one, so
/// the time grows with the square of their number. No device has that many.
const MAX_ENTRIES: usize = 1024;

/// The parts of the RAM that must not be used: memory reserved by the firmware, and the registers of devices, which may lie in
/// the middle of a bank. Needs no allocation.
pub fn reserved_memory<'a>(tree: &Fdt<'a>) -> impl Iterator<Item = Range<u64>> + use<'a> {
    let reservations = tree.memory_reservations();
    let reservations = reservations.map(|reservation| (reservation.address(), reservation.size()));
    let blocks = reserved_nodes(tree).filter_map(|node| node.reg().ok().flatten()).flatten();
    let blocks = blocks.filter_map(|reg| Some((reg.address().ok()?, reg.size().ok()?)));
    let firmware = reservations.chain(blocks).map(|(start, size)| start..start.saturating_add(size));
    firmware.chain(device_registers(tree)).filter(|range| !range.is_empty())
}

fn reserved_nodes<'a>(tree: &Fdt<'a>) -> impl Iterator<Item = FdtNode<'a>> + use<'a> {
    let nodes = tree.root().child("reserved-memory").into_iter().flat_map(|node| node.children());
    nodes.filter(is_enabled)
}

/// The CPU's addresses of all devices, including those without a driver here: their registers, and the windows of PCI host bridges.
fn device_registers<'a>(tree: &Fdt<'a>) -> impl Iterator<Item = Range<u64>> + use<'a> {
    let is_memory = is_memory(tree);
    let devices = walk::places(tree).filter(move |place| {
        let is_bank = place.is_below_root() && is_memory(&place.node);
        place.node.property("compatible").is_some() && !is_bank
    });
    devices.flat_map(|place| {
        let windows = (text(&place.node, "device_type") == Some("pci")).then(|| place.clone());
        let windows = windows.into_iter().flat_map(|host| {
            let count = host.all_windows().take(MAX_ENTRIES).count();
            (0..count).filter_map(move |index| host.all_windows().nth(index).flatten())
        });
        let count = place.all_registers().take(MAX_ENTRIES).count();
        let registers = (0..count).filter_map(move |index| place.registers(index));
        registers.chain(windows).map(|registers| registers.range())
    })
}
