//! Finds the controller for the messages of PCI functions: `msi-map` and `msi-parent` (Linux' bindings pci-msi.txt and msi.txt).

use super::walk::{Place, cell, cells, find_phandle_place, is_enabled};
use crate::machine::{Msi, MsiController, MsiRange};
use alloc::vec::Vec;
use dtoolkit::{
    Node, Property,
    fdt::{Fdt, FdtNode},
};

/// More than any host bridge has.
const MAX_RANGES: usize = 64;

/// How the functions below a host bridge interrupt by messages; `None` if the tree does not say, or names a controller without a
/// driver. If there are several controllers, the first one counts.
pub(super) fn of_pci(tree: &Fdt<'_>, host: &FdtNode<'_>) -> Option<Msi> {
    let Some(map) = host.property("msi-map") else {
        let phandle = cell(host, "msi-parent")?;
        return Some(Msi {
            controller: controller(tree, phandle)?,
            requester_mask: u16::MAX,
            map: Vec::new(),
        });
    };
    let entries: Vec<u32> = cells(map.value()).take(4 * MAX_RANGES).collect();
    let (entries, _) = entries.as_chunks::<4>();
    let phandle = entries.first()?[1];
    let of_it = entries.iter().filter(|entry| entry[1] == phandle);
    Some(Msi {
        controller: controller(tree, phandle)?,
        requester_mask: cell(host, "msi-map-mask").unwrap_or(u32::MAX) as u16,
        map: of_it.map(|&[requester, _, device, count]| MsiRange { requester, device, count }).collect(),
    })
}

fn controller(tree: &Fdt<'_>, phandle: u32) -> Option<MsiController> {
    let place: Place<'_> = find_phandle_place(tree, phandle)?;
    if !is_enabled(&place.node) {
        return None;
    }
    if place.is_compatible(&["arm,gic-v2m-frame"]) {
        let of_node = |name| cell(&place.node, name);
        let frame = place.registers_of(0, 0x1000, 0x1000)?;
        let (first, count) = (of_node("arm,msi-base-spi"), of_node("arm,msi-num-spis"));
        return Some(MsiController::V2m { frame, first, count });
    }
    if place.is_compatible(&["arm,gic-v3-its"]) {
        return Some(MsiController::Its { registers: place.registers_of(0, 0x2_0000, 0x1_0000)? });
    }
    None
}
