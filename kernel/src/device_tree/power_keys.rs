//! The keys that end the machine: children of `gpio-keys` (Linux' binding gpio-keys.yaml).

use super::{
    interrupts,
    walk::{Place, cell, is_enabled, nth_cell, phandle, places},
};
use crate::machine::{KeyAction, PowerKey};
use alloc::vec::Vec;
use dtoolkit::{
    Node,
    fdt::{Fdt, FdtNode},
};

/// Codes of Linux' input-event-codes.h.
const KEY_POWER: u32 = 116;
const KEY_RESTART: u32 = 408;
/// The kind of event that keys are, unless `linux,input-type` says otherwise.
const EV_KEY: u32 = 1;

/// The keys at this node that ask for power off or a restart, if their lines are those of a PL061.
pub(super) fn keys<'a>(tree: &'a Fdt<'_>, place: &'a Place<'_>) -> Vec<PowerKey> {
    if !place.is_compatible(&["gpio-keys", "gpio-keys-polled"]) {
        return Vec::new();
    }
    let children = place.node.children().filter(is_enabled);
    children.filter_map(|child| key(tree, &child)).collect()
}

fn key(tree: &Fdt<'_>, node: &FdtNode<'_>) -> Option<PowerKey> {
    if cell(node, "linux,input-type").unwrap_or(EV_KEY) != EV_KEY {
        return None;
    }
    let action = match cell(node, "linux,code")? {
        KEY_POWER => KeyAction::PowerOff,
        KEY_RESTART => KeyAction::Restart,
        _ => return None,
    };
    const ACTIVE_LOW: u32 = 1;
    const N_LINES: u32 = 8;
    let of_gpio = |index| nth_cell(node, "gpios", index).or_else(|| nth_cell(node, "gpio", index));
    let controller = of_gpio(0)?;
    let controller = places(tree).find(|place| phandle(&place.node) == Some(controller))?;
    if !controller.is_compatible(&["arm,pl061"]) || cell(&controller.node, "#gpio-cells") != Some(2) {
        return None;
    }
    Some(PowerKey {
        action,
        gpio: controller.registers_of(0, 0x420, 4)?,
        line: of_gpio(1).filter(|&line| line < N_LINES)? as u8,
        is_active_low: of_gpio(2)? & ACTIVE_LOW != 0,
        interrupt: interrupts::interrupt(tree, &controller, 0)?,
    })
}
