//! The interrupt controller: GICv2 or GICv3, whichever the device tree names.
//!
//! A handler is a plain function for one interrupt number, called with a number of its own. Handlers run on the boot core, on its
//! exception stack with interrupts masked; vector registers are saved around them. The other cores take
//! no interrupts: they only [sleep](sleep) until one of them is [woken](wake).

use crate::machine::{Interrupt, InterruptController, Trigger};
use arm_gic::{
    IntId, InterruptGroup, gicv2,
    gicv2::GicV2,
    gicv3::{self, GicCpuInterface, GicRedistributorIterator, GicV3, SgiTargetGroup, registers as v3},
};
use core::{
    fmt,
    ptr::NonNull,
    sync::atomic::{AtomicBool, Ordering},
};
use heapless::Vec;
use log::warn;
use safe_mmio::UniqueMmioPointer;
use spin::Mutex;

/// Only interrupts of a numerically lower priority are signalled: all of them.
const LOWEST_PRIORITY: u8 = 0xff;

const MAX_HANDLERS: usize = 128;

/// The software-generated interrupt that ends a core's sleep.
const WAKE_UP: IntId = IntId::sgi(0);

enum Gic {
    V2 { gic: GicV2<'static>, group: InterruptGroup, targets: NonNull<u8> },
    V3 { gic: GicV3<'static>, redistributors: usize },
}

// SAFETY: the register blocks that the drivers point to are the same on every core; the lock
// around the value keeps two users apart.
unsafe impl Send for Gic {}

static GIC: Mutex<Option<Gic>> = Mutex::new(None);

/// Whether cores reach their part of the controller by system registers, so that none needs the lock.
static IS_V3: AtomicBool = AtomicBool::new(false);

/// Is called with the context that was given with it.
pub type Handler = fn(usize);

/// Handlers, each with its context, by interrupt number.
type Handlers = Vec<(u32, Handler, usize), MAX_HANDLERS>;

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
    let gic = match controller {
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
            let gicr = redistributors.first().and_then(|region| pointer::<v3::GicrSgi>(region.address));
            let (Some(gicd), Some(gicr)) = (gicd, gicr) else {
                return;
            };
            // SAFETY: the caller promises mapped registers that nothing else uses.
            let gicd = unsafe { UniqueMmioPointer::new(gicd) };
            // SAFETY: as above; the iterator goes no further than the last redistributor.
            let redistributors = unsafe { GicRedistributorIterator::new(gicr) }.map(Iterator::count);
            // SAFETY: as above.
            let made =
                redistributors.and_then(|count| Ok((unsafe { GicV3::new(gicd, gicr, count) }?, count)));
            let (mut gic, redistributors) = match made {
                Ok(made) => made,
                Err(error) => {
                    warn!("interrupt controller: {error}");
                    return;
                }
            };
            let Some(own) = own_redistributor(&mut gic, redistributors) else {
                warn!("interrupt controller: no redistributor belongs to this core");
                return;
            };
            gic.enable_all_interrupts(false);
            gic.setup(own);
            GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
            IS_V3.store(true, Ordering::Relaxed);
            Gic::V3 { gic, redistributors }
        }
    };
    *GIC.lock() = Some(gic);
}

fn own_redistributor(gic: &mut GicV3<'_>, redistributors: usize) -> Option<usize> {
    let mpidr = crate::arch::cpu::mpidr();
    (0..redistributors).find(|&index| gic.gicr_typer(index).is_ok_and(|typer| typer.core_mpidr() == mpidr))
}

fn pointer<T>(address: u64) -> Option<NonNull<T>> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
}

/// Calls `handler` with `context` from now on, and no other, whenever `interrupt` is pending on this core.
///
/// # Errors
/// [`InterruptError`] if there is no controller or it cannot enable this interrupt.
pub fn enable(interrupt: Interrupt, handler: Handler, context: usize) -> Result<(), InterruptError> {
    let number = interrupt.number;
    let unavailable = InterruptError::Unavailable(number);
    let id = interrupt_id(number).ok_or(unavailable)?;
    crate::arch::interrupts::masked(|| {
        let mut gic = GIC.lock();
        let gic = gic.as_mut().ok_or(InterruptError::NoController)?;
        let mut handlers = HANDLERS.lock();
        handlers.retain(|(of, ..)| *of != number);
        handlers.push((number, handler, context)).map_err(|_full| unavailable)?;
        gic.enable(id, interrupt.trigger).ok_or(unavailable)
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
    fn enable(&mut self, interrupt: IntId, trigger: Trigger) -> Option<()> {
        let trigger = match trigger {
            Trigger::Edge => arm_gic::Trigger::Edge,
            Trigger::Level => arm_gic::Trigger::Level,
        };
        match self {
            Self::V2 { gic, group, targets } => {
                gic.set_group(interrupt, *group);
                gic.set_trigger(interrupt, trigger);
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
            Self::V3 { gic, redistributors } => {
                let boot_core = Some(own_redistributor(gic, *redistributors)?);
                gic.set_trigger(interrupt, boot_core, trigger).ok()?;
                if interrupt.is_spi() {
                    let affinity = crate::arch::cpu::mpidr();
                    let distributor = gic.distributor();
                    distributor.set_routing(interrupt, Some(affinity)).ok()?;
                }
                gic.enable_interrupt(interrupt, boot_core, true).ok()
            }
        }
    }

    /// Lets the calling core be woken.
    fn enable_wake_up(&mut self) -> Option<WakeTarget> {
        match self {
            Self::V2 { gic, group, targets } => {
                // What is set here is set for each core apart, or the same as it was.
                gic.setup();
                gic.set_priority_mask(LOWEST_PRIORITY);
                gic.set_group(WAKE_UP, *group);
                gic.enable_interrupt(WAKE_UP, true).ok()?;
                // SAFETY: the first byte of GICD_ITARGETSR, see `enable`.
                let own_mask = unsafe { targets.read_volatile() };
                // One core alone has no mask, and nobody to wake it.
                Some(WakeTarget(u64::from(own_mask)))
            }
            Self::V3 { gic, redistributors } => {
                let mpidr = crate::arch::cpu::mpidr();
                let own = own_redistributor(gic, *redistributors)?;
                gic.init_cpu(own);
                GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
                GicCpuInterface::enable_group1(true);
                gic.enable_interrupt(WAKE_UP, Some(own), true).ok()?;
                // Targets are a list of sixteen in the lowest affinity.
                (mpidr & 0xff < 16).then_some(WakeTarget(mpidr))
            }
        }
    }

    fn acknowledge(&mut self) -> Option<IntId> {
        match self {
            Self::V2 { gic, group, .. } => gic.get_and_acknowledge_interrupt(*group),
            Self::V3 { .. } => GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1),
        }
    }

    fn end(&mut self, interrupt: IntId) {
        match self {
            Self::V2 { gic, group, .. } => gic.end_interrupt(interrupt, *group),
            Self::V3 { .. } => GicCpuInterface::end_interrupt(interrupt, InterruptGroup::Group1),
        }
    }
}

/// How a core is named when it is to be woken.
#[derive(Debug, Clone, Copy)]
pub struct WakeTarget(u64);

impl WakeTarget {
    /// The target as a number, for an atomic variable.
    pub fn to_raw(self) -> u64 {
        self.0
    }

    /// What [`to_raw`](Self::to_raw) gave.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// Lets the calling core be woken from its [`sleep`].
///
/// # Errors
/// [`InterruptError`] if there is no controller, or it cannot do this for this core.
pub fn enable_wake_up() -> Result<WakeTarget, InterruptError> {
    crate::arch::interrupts::masked(|| {
        let mut gic = GIC.lock();
        let gic = gic.as_mut().ok_or(InterruptError::NoController)?;
        gic.enable_wake_up().ok_or(InterruptError::Unavailable(WAKE_UP.raw_value()))
    })
}

/// Interrupts a core, which ends its [`sleep`], or the next one.
pub fn wake(target: WakeTarget) {
    let WakeTarget(raw) = target;
    // What was written before must be there when the other core wakes.
    crate::arch::cpu::finish_stores();
    if IS_V3.load(Ordering::Relaxed) {
        let byte = |shift: u32| (raw >> shift) as u8;
        let target = gicv3::SgiTarget::List {
            affinity3: byte(32),
            affinity2: byte(16),
            affinity1: byte(8),
            target_list: 1 << (raw & 0xf),
        };
        // The error is for interrupts that are not software-generated.
        let _ = GicCpuInterface::send_sgi(WAKE_UP, target, SgiTargetGroup::CurrentGroup1);
    } else {
        crate::arch::interrupts::masked(|| {
            if let Some(Gic::V2 { gic, .. }) = GIC.lock().as_mut() {
                let target_list_filter = gicv2::SgiTargetListFilter::CPUTargetList;
                let target_list = raw as u16;
                gic.send_sgi(WAKE_UP, gicv2::SgiTarget::List { target_list_filter, target_list });
            }
        });
    }
}

/// On a core that takes no interrupts: sleeps until one is pending, and takes it back.
pub fn sleep() {
    crate::arch::interrupts::wait();
    if IS_V3.load(Ordering::Relaxed) {
        const GROUP: InterruptGroup = InterruptGroup::Group1;
        while let Some(interrupt) = GicCpuInterface::get_and_acknowledge_interrupt(GROUP) {
            GicCpuInterface::end_interrupt(interrupt, GROUP);
        }
    } else {
        while let Some(interrupt) = with_gic(Gic::acknowledge).flatten() {
            with_gic(|gic| gic.end(interrupt));
        }
    }
}

/// The interrupt's number alone: GICv2 says in higher bits who has sent it.
fn interrupt_number(interrupt: IntId) -> u32 {
    interrupt.raw_value() & 0x3ff
}

/// Runs the handlers of everything that is pending. Called by the exception vector.
pub fn dispatch() {
    while let Some(interrupt) = with_gic(Gic::acknowledge).flatten() {
        let number = interrupt_number(interrupt);
        let handlers = HANDLERS.lock();
        let handler = handlers.iter().find(|(of, ..)| *of == number).copied();
        drop(handlers);
        match handler {
            Some((_, handler, context)) => handler(context),
            // To be interrupted was all.
            None if number == WAKE_UP.raw_value() => {}
            None => warn!("interrupt {number} has no handler"),
        }
        with_gic(|gic| gic.end(interrupt));
    }
}

fn with_gic<R>(use_gic: impl FnOnce(&mut Gic) -> R) -> Option<R> {
    GIC.lock().as_mut().map(use_gic)
}
