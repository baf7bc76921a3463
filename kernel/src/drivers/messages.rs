//! Assigns to each PCI function the interrupt that its messages raise.

use super::{
    gic_its::{Its, ItsError},
    gic_v2m,
    gic_v3::Frame,
    interrupts,
};
use crate::{
    arch::cpu,
    machine::{Interrupt, Msi, MsiController, Registers, Trigger},
    pci::msix::Message,
};
use alloc::{boxed::Box, vec::Vec};
use core::ops::Range;
use log::warn;
use spin::Mutex;

/// The most functions that can interrupt by messages; further ones are polled.
const MAX_FUNCTIONS: usize = 64;

static MESSAGES: Mutex<Option<Messages>> = Mutex::new(None);

struct Messages {
    msi: Msi,
    /// Created when the first function needs it, so that a machine without one spends neither time nor memory on it.
    controller: Option<Controller>,
    /// By requester ID. A function that is plugged in where another one was inherits its message.
    given: Vec<(u16, Message)>,
}

enum Controller {
    /// The interrupts of a frame that are not assigned yet, and the register that raises them.
    V2m {
        left: Range<u32>,
        address: u64,
    },
    Its(Box<Its>),
    /// It cannot be used; this has been logged.
    Unusable,
}

/// Makes messages available to functions.
///
/// # Safety
/// `msi` must describe registers that are mapped and used by nothing else. It must be called only once, after the interrupt
/// controller has been set up.
pub unsafe fn init(msi: &Msi) {
    *MESSAGES.lock() = Some(Messages { msi: msi.clone(), controller: None, given: Vec::new() });
}

fn open(controller: &MsiController) -> Controller {
    match controller {
        MsiController::V2m { frame, first, count } => {
            let typer = core::ptr::with_exposed_provenance::<u32>((frame.address + gic_v2m::TYPER) as usize);
            // SAFETY: the caller of `init` promised that this register is mapped; reading it has no side effect.
            let left = gic_v2m::interrupts(unsafe { typer.read_volatile() }, *first, *count);
            Controller::V2m { left, address: frame.address + gic_v2m::SET_SPI }
        }
        MsiController::Its { registers } => match open_its(registers) {
            Ok(its) => Controller::Its(Box::new(its)),
            Err(error) => {
                let address = registers.address;
                warn!("pci: no messages through the ITS at {address:#x}: {error}");
                Controller::Unusable
            }
        },
    }
}

fn open_its(registers: &Registers) -> Result<Its, ItsError> {
    let target = interrupts::message_target().ok_or(ItsError::NoInterrupts)?;
    // SAFETY: the caller of `init` promised that the registers are mapped and used by nothing else.
    let frame = unsafe { Frame::new(registers.address) }.ok_or(ItsError::NoInterrupts)?;
    Its::new(Box::new(frame), registers.address, target, cpu::clean)
}

/// The message by which the function with this requester ID can interrupt; its interrupt is enabled from now on. `None` if it cannot.
pub fn message(requester: u16) -> Option<Message> {
    let mut messages = MESSAGES.lock();
    let Messages { msi, controller, given } = messages.as_mut()?;
    if let Some((_, message)) = given.iter().find(|(of, _)| *of == requester) {
        return Some(*message);
    }
    let device = msi.device(requester)?;
    let controller = controller.get_or_insert_with(|| open(&msi.controller));
    let message = match given.len() {
        ..MAX_FUNCTIONS => controller.take(device)?,
        _ => Err(ItsError::NoneLeft),
    };
    match message {
        Ok(message) => given.push((requester, message)),
        Err(error) => {
            warn!("pci: no messages from requester {requester:#06x}: {error}");
            if error == ItsError::NoAnswer {
                // The service may keep running and use its tables.
                core::mem::forget(core::mem::replace(controller, Controller::Unusable));
            }
        }
    }
    message.ok()
}

impl Controller {
    /// An interrupt for a device; `None` if the controller cannot be used.
    fn take(&mut self, device: u32) -> Option<Result<Message, ItsError>> {
        Some(match self {
            Self::V2m { left, address } => {
                let enabled = left.find_map(|number| {
                    let interrupt = Interrupt { number, trigger: Trigger::Edge };
                    interrupts::enable(interrupt, |_| {}, 0).ok()?;
                    Some(Message { address: *address, data: number, interrupt: number })
                });
                enabled.ok_or(ItsError::NoneLeft)
            }
            Self::Its(its) => its.message(device).and_then(|message| {
                let handled = interrupts::handle(message.interrupt, |_| {}, 0);
                handled.map(|()| message).map_err(|_| ItsError::NoneLeft)
            }),
            Self::Unusable => return None,
        })
    }
}
