//! The power and restart keys: children of `gpio-keys` (Linux' binding gpio-keys.yaml).

use super::{
    interrupts,
    walk::{Place, cell, is_enabled, nth_cell, phandle, places},
};
use crate::machine::{KeyAction, PowerKey};
use alloc::{string::String, vec::Vec};
use core::fmt;
use dtoolkit::{
    Node,
    fdt::{Fdt, FdtNode},
};

/// Key codes from Linux' input-event-codes.h.
const KEY_POWER: u32 = 116;
const KEY_RESTART: u32 = 408;
/// The event type of keys, which is the default if there is no `linux,input-type`.
const EV_KEY: u32 = 1;

/// A key on a line of a GPIO controller without a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unheard {
    action: KeyAction,
    /// `compatible` of the GPIO controller.
    controller: String,
}

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self.action {
            KeyAction::PowerOff => "power",
            KeyAction::Restart => "restart",
        };
        write!(f, "the {key} key is not heard: it is on a {:?}, which is not driven", self.controller)
    }
}

/// The keys of this node that request power off or a restart, if their lines belong to a PL061.
pub(super) fn keys<'a>(tree: &'a Fdt<'_>, place: &'a Place<'_>) -> Vec<Result<PowerKey, Unheard>> {
    if !place.is_compatible(&["gpio-keys", "gpio-keys-polled"]) {
        return Vec::new();
    }
    let children = place.node.children().filter(is_enabled);
    children.filter_map(|child| key(tree, &child)).collect()
}

fn key(tree: &Fdt<'_>, node: &FdtNode<'_>) -> Option<Result<PowerKey, Unheard>> {
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
    if !controller.is_compatible(&["arm,pl061"]) {
        let name = controller.node.compatible().into_iter().flatten().next().unwrap_or_default();
        return Some(Err(Unheard { action, controller: name.into() }));
    }
    if cell(&controller.node, "#gpio-cells") != Some(2) {
        return None;
    }
    Some(Ok(PowerKey {
        action,
        gpio: controller.registers_of(0, 0x420, 4)?,
        line: of_gpio(1).filter(|&line| line < N_LINES)? as u8,
        is_active_low: of_gpio(2)? & ACTIVE_LOW != 0,
        interrupt: interrupts::interrupt(tree, &controller, 0)?,
    }))
}
