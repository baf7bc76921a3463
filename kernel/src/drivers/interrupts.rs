//! The interrupt controller: GICv2 or GICv3, whichever the device tree names.
//!
//! A handler is a plain function for one interrupt number. Handlers run on the exception stack with
//! interrupts masked; vector registers are saved around them.

use crate::device_tree::InterruptController;
use arm_gic::{
    IntId, InterruptGroup, Trigger, gicv2,
    gicv2::GicV2,
    gicv3::{GicCpuInterface, GicV3, registers as v3},
};
use core::{fmt, ptr::NonNull};
use heapless::Vec;
use log::warn;
use safe_mmio::UniqueMmioPointer;
use spin::Mutex;

/// Only interrupts of a numerically lower priority are signalled: all of them.
const LOWEST_PRIORITY: u8 = 0xff;

const MAX_HANDLERS: usize = 8;

enum Gic {
    V2 { gic: GicV2<'static>, group: InterruptGroup, targets: NonNull<u8> },
    V3(GicV3<'static>),
}

// SAFETY: the register blocks that the drivers point to are the same on every core; the lock
// around the value keeps two users apart.
unsafe impl Send for Gic {}

static GIC: Mutex<Option<Gic>> = Mutex::new(None);
/// Handlers by interrupt number.
type Handlers = Vec<(u32, fn()), MAX_HANDLERS>;

static HANDLERS: Mutex<Handlers> = Mutex::new(Vec::new());

/// Why an interrupt cannot be enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptError {
    /// There is no interrupt controller that this driver knows.
    NoController,
    /// The controller does not have this interrupt, or the table of handlers is full.
    Unavailable(u32),
}

impl fmt::Display for InterruptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoController => write!(f, "no interrupt controller"),
            Self::Unavailable(number) => write!(f, "interrupt {number} cannot be enabled"),
        }
    }
}

/// Sets the controller up with every interrupt disabled.
///
/// # Safety
/// `controller` must describe registers that are mapped and used by nothing else. To be called
/// once, with interrupts masked.
pub unsafe fn init(controller: &InterruptController) {
    let gic = match *controller {
        InterruptController::GicV2 { distributor, cpu_interface } => {
            const TARGETS_OFFSET: usize = 0x800;
            let gicd = pointer::<gicv2::registers::Gicd>(distributor.address);
            let gicc = pointer::<gicv2::registers::Gicc>(cpu_interface.address);
            let (Some(gicd), Some(gicc)) = (gicd, gicc) else {
                return;
            };
            // SAFETY: the caller promises mapped registers that nothing else uses.
            let mut gic = unsafe { GicV2::new(gicd.as_ptr(), gicc.as_ptr()) };
            gic.enable_all_interrupts(false);
            gic.setup();
            let group = match gic.typer().has_security_extension() {
                true => InterruptGroup::Group1,
                false => InterruptGroup::Group0,
            };
            gic.set_priority_mask(LOWEST_PRIORITY);
            // SAFETY: GICD_ITARGETSR lies within the distributor's 4 KiB.
            let targets = unsafe { gicd.cast::<u8>().add(TARGETS_OFFSET) };
            Gic::V2 { gic, group, targets }
        }
        InterruptController::GicV3 { distributor, redistributors } => {
            let gicd = pointer::<v3::Gicd>(distributor.address);
            let gicr = pointer::<v3::GicrSgi>(redistributors.address);
            let (Some(gicd), Some(gicr)) = (gicd, gicr) else {
                return;
            };
            // SAFETY: the caller promises mapped registers that nothing else uses.
            let gicd = unsafe { UniqueMmioPointer::new(gicd) };
            // SAFETY: as above; one core, the boot core, has the first redistributor.
            let mut gic = match unsafe { GicV3::new(gicd, gicr, 1) } {
                Ok(gic) => gic,
                Err(error) => {
                    warn!("interrupt controller: {error}");
                    return;
                }
            };
            gic.enable_all_interrupts(false);
            gic.setup(0);
            GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
            Gic::V3(gic)
        }
    };
    *GIC.lock() = Some(gic);
}

fn pointer<T>(address: u64) -> Option<NonNull<T>> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
}

/// Calls `handler` from now on whenever the level-triggered interrupt `number` is pending on this
/// core.
///
/// # Errors
/// [`InterruptError`] if there is no controller or it cannot enable this interrupt.
pub fn enable(number: u32, handler: fn()) -> Result<(), InterruptError> {
    let unavailable = InterruptError::Unavailable(number);
    let interrupt = interrupt_id(number).ok_or(unavailable)?;
    crate::arch::interrupts::masked(|| {
        let mut gic = GIC.lock();
        let gic = gic.as_mut().ok_or(InterruptError::NoController)?;
        let mut handlers = HANDLERS.lock();
        handlers.push((number, handler)).map_err(|_full| unavailable)?;
        gic.enable(interrupt).ok_or(unavailable)
    })
}

fn interrupt_id(number: u32) -> Option<IntId> {
    match number {
        16..32 => Some(IntId::ppi(number - 16)),
        32..1020 => Some(IntId::spi(number - 32)),
        _ => None,
    }
}

impl Gic {
    fn enable(&mut self, interrupt: IntId) -> Option<()> {
        match self {
            Self::V2 { gic, group, targets } => {
                gic.set_group(interrupt, *group);
                gic.set_trigger(interrupt, Trigger::Level);
                if interrupt.is_spi() {
                    // Each core reads its own mask from the targets of the private interrupts.
                    // SAFETY: one byte an interrupt, within GICD_ITARGETSR; the lock around `self`
                    // keeps others away.
                    unsafe {
                        let own_mask = targets.read_volatile();
                        let target = targets.add(interrupt.raw_value() as usize);
                        target.write_volatile(own_mask);
                    }
                }
                gic.enable_interrupt(interrupt, true).ok()
            }
            Self::V3(gic) => {
                let boot_core = Some(0);
                gic.set_trigger(interrupt, boot_core, Trigger::Level).ok()?;
                if interrupt.is_spi() {
                    let affinity = crate::arch::cpu::mpidr();
                    let distributor = gic.distributor();
                    distributor.set_routing(interrupt, Some(affinity)).ok()?;
                }
                gic.enable_interrupt(interrupt, boot_core, true).ok()
            }
        }
    }

    fn acknowledge(&mut self) -> Option<IntId> {
        match self {
            Self::V2 { gic, group, .. } => gic.get_and_acknowledge_interrupt(*group),
            Self::V3(_) => GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1),
        }
    }

    fn end(&mut self, interrupt: IntId) {
        match self {
            Self::V2 { gic, group, .. } => gic.end_interrupt(interrupt, *group),
            Self::V3(_) => GicCpuInterface::end_interrupt(interrupt, InterruptGroup::Group1),
        }
    }
}

/// Runs the handlers of everything that is pending. Called by the exception vector.
pub fn dispatch() {
    while let Some(interrupt) = with_gic(Gic::acknowledge).flatten() {
        let number = interrupt.raw_value();
        let handlers = HANDLERS.lock();
        let handler = handlers.iter().find(|(of, _)| *of == number);
        let handler = handler.map(|&(_, handler)| handler);
        drop(handlers);
        match handler {
            Some(handler) => handler(),
            None => warn!("interrupt {number} has no handler"),
        }
        with_gic(|gic| gic.end(interrupt));
    }
}

fn with_gic<R>(use_gic: impl FnOnce(&mut Gic) -> R) -> Option<R> {
    GIC.lock().as_mut().map(use_gic)
}
