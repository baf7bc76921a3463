//! Which interrupt each PCI function raises by its messages.

use super::{gic_v2m, interrupts};
use crate::{
    machine::{Interrupt, Msi, MsiController, Trigger},
    pci::msix::Message,
};
use alloc::vec::Vec;
use core::ops::Range;
use log::warn;
use spin::Mutex;

/// The most functions that interrupt by messages; those that come later are polled.
const MAX_FUNCTIONS: usize = 64;

static MESSAGES: Mutex<Option<Messages>> = Mutex::new(None);

struct Messages {
    msi: Msi,
    controller: Controller,
    /// By requester ID. One that is plugged in where another was has the other's.
    given: Vec<(u16, Message)>,
}

enum Controller {
    /// What is left of a frame's interrupts, and where they are raised.
    V2m { left: Range<u32>, address: u64 },
}

/// Lets functions interrupt by messages.
///
/// # Safety
/// `msi` must describe registers that are mapped and used by nothing else. To be called once, when the interrupt controller has
/// been set up.
pub unsafe fn init(msi: &Msi) {
    let controller = match msi.controller {
        MsiController::V2m { frame, first, count } => {
            let typer = core::ptr::with_exposed_provenance::<u32>((frame.address + gic_v2m::TYPER) as usize);
            // SAFETY: a register, as the caller promises; reading it changes nothing.
            let left = gic_v2m::interrupts(unsafe { typer.read_volatile() }, first, count);
            Some(Controller::V2m { left, address: frame.address + gic_v2m::SET_SPI })
        }
        MsiController::Its { .. } => None,
    };
    *MESSAGES.lock() =
        controller.map(|controller| Messages { msi: msi.clone(), controller, given: Vec::new() });
}

/// What the function with this requester ID is to write so as to interrupt, which is heeded from now on; `None` if it cannot.
pub fn message(requester: u16) -> Option<Message> {
    let mut messages = MESSAGES.lock();
    let Messages { msi, controller, given } = messages.as_mut()?;
    if let Some((_, message)) = given.iter().find(|(of, _)| *of == requester) {
        return Some(*message);
    }
    let device = msi.device(requester)?;
    let message = match given.len() {
        ..MAX_FUNCTIONS => controller.take(device),
        _ => None,
    };
    match message {
        Some(message) => given.push((requester, message)),
        None => warn!("pci: requester {requester:#06x} gets no interrupt for its messages"),
    }
    message
}

impl Controller {
    /// An interrupt for a device.
    fn take(&mut self, _device: u32) -> Option<Message> {
        match self {
            Self::V2m { left, address } => left.find_map(|number| {
                let interrupt = Interrupt { number, trigger: Trigger::Edge };
                interrupts::enable(interrupt, |_| {}, 0).ok()?;
                Some(Message { address: *address, data: number, interrupt: number })
            }),
        }
    }
}
