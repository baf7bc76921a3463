//! The interrupt controller: a GICv2 or a GICv3, whichever the machine has.
//!
//! A handler is a plain function that is registered for an interrupt number and called with a context number. Handlers run on the
//! boot core, on its exception stack, with interrupts masked; vector registers are saved around them. The other cores take no
//! interrupts: they only [sleep](sleep) until they are [woken](wake).

use super::{
    gic_its, gic_security,
    gic_v2::{Acknowledged, GicV2, RegisterBlocks},
    gic_v3::{
        EXTENDED_PRIVATE_END, EXTENDED_PRIVATE_START, EXTENDED_SHARED_END, EXTENDED_SHARED_START,
        LOWEST_PRIORITY, V3, pointer,
    },
    interrupt_handlers::{Handler, Handlers},
};
use crate::{
    arch::{monitor::Monitor, time},
    machine::{Interrupt, InterruptController, Trigger},
};
use arm_gic::{
    IntId, InterruptGroup,
    gicv3::{self, GicCpuInterface, SgiTargetGroup},
};
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};
use log::warn;
use spin::Mutex;

const MAX_HANDLERS: usize = 128;

/// Numbers from here on mean that there is no interrupt.
const FIRST_SPECIAL: u32 = 1020;

/// The software-generated interrupt that wakes a core.
const WAKE_UP: IntId = IntId::sgi(0);

enum Gic {
    V2(GicV2<Mmio>),
    V3(V3),
}

// SAFETY: the register blocks that the drivers point to are the same on every core, and the lock around the value makes each
// access exclusive.
unsafe impl Send for Gic {}

static GIC: Mutex<Option<Gic>> = Mutex::new(None);

/// Whether cores access their part of the controller through system registers, which needs no lock.
static IS_V3: AtomicBool = AtomicBool::new(false);

/// Interrupts that the boot core has taken.
static COUNT: AtomicU64 = AtomicU64::new(0);

static HANDLERS: Mutex<Handlers<MAX_HANDLERS>> = Mutex::new(Handlers::new());

/// Why an interrupt cannot be enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InterruptError {
    /// There is no interrupt controller that this driver supports.
    #[error("no interrupt controller")]
    NoController,
    /// The controller does not have this interrupt, or the table of handlers is full.
    #[error("interrupt {0} cannot be enabled")]
    Unavailable(u32),
}

/// Sets up the controller with every interrupt disabled.
///
/// # Safety
/// `controller` must describe registers that are mapped and used by nothing else. It must be called only once, with interrupts masked.
pub unsafe fn init(controller: &InterruptController) {
    if let Some(monitor) = Monitor::get() {
        // SAFETY: the caller promises that the registers are mapped.
        unsafe { gic_security::open(monitor, controller) };
    }
    let gic = match controller {
        InterruptController::GicV2 { distributor, cpu_interface } => {
            let blocks = pointer(distributor.address).zip(pointer(cpu_interface.address));
            blocks.map(|(distributor, interface)| {
                let mut gic = GicV2::new(Mmio { distributor, interface });
                gic.init();
                Gic::V2(gic)
            })
        }
        InterruptController::GicV3 { distributor, redistributors, stride_bytes } => {
            // SAFETY: the caller promises that the registers are mapped and used by nothing else.
            let mut gic = unsafe { V3::open(distributor, redistributors, *stride_bytes) };
            gic.init().map(|()| {
                IS_V3.store(true, Ordering::Relaxed);
                Gic::V3(gic)
            })
        }
    };
    *GIC.lock() = gic;
}

/// The registers of a GICv2.
struct Mmio {
    distributor: NonNull<u8>,
    interface: NonNull<u8>,
}

impl Mmio {
    fn distributor<T>(&self, offset: usize) -> *mut T {
        // SAFETY: the driver's offsets lie within the distributor's 4 KiB.
        unsafe { self.distributor.add(offset) }.as_ptr().cast()
    }

    fn interface(&self, offset: usize) -> *mut u32 {
        // SAFETY: the driver's offsets lie within the interface's 4 KiB.
        unsafe { self.interface.add(offset) }.as_ptr().cast()
    }
}

// The caller of `init` promised that both blocks are mapped and used by nothing else.
impl RegisterBlocks for Mmio {
    fn read(&self, offset: usize) -> u32 {
        // SAFETY: the distributor is mapped, and the register lies in it.
        unsafe { self.distributor::<u32>(offset).read_volatile() }
    }

    fn write(&mut self, offset: usize, value: u32) {
        // SAFETY: the distributor is mapped, and the register lies in it.
        unsafe { self.distributor::<u32>(offset).write_volatile(value) }
    }

    fn read_byte(&self, offset: usize) -> u8 {
        // SAFETY: the distributor is mapped, and the register lies in it.
        unsafe { self.distributor::<u8>(offset).read_volatile() }
    }

    fn write_byte(&mut self, offset: usize, value: u8) {
        // SAFETY: the distributor is mapped, and the register lies in it.
        unsafe { self.distributor::<u8>(offset).write_volatile(value) }
    }

    fn read_interface(&self, offset: usize) -> u32 {
        // SAFETY: the CPU interface is mapped, and the register lies in it.
        unsafe { self.interface(offset).read_volatile() }
    }

    fn write_interface(&mut self, offset: usize, value: u32) {
        // SAFETY: the CPU interface is mapped, and the register lies in it.
        unsafe { self.interface(offset).write_volatile(value) }
    }
}

/// Enables `interrupt` on this core; from now on, `handler` is called with `context` when it is pending. Devices may share a
/// number: then all their handlers are called.
///
/// # Errors
/// [`InterruptError`] if there is no controller, or it cannot enable this interrupt.
pub fn enable(interrupt: Interrupt, handler: Handler, context: usize) -> Result<(), InterruptError> {
    let number = interrupt.number;
    let unavailable = InterruptError::Unavailable(number);
    let id = interrupt_id(number).ok_or(unavailable)?;
    crate::arch::interrupts::masked(|| {
        let mut gic = GIC.lock();
        let gic = gic.as_mut().ok_or(InterruptError::NoController)?;
        let mut handlers = HANDLERS.lock();
        handlers.add(number, handler, context).ok_or(unavailable)?;
        gic.enable(id, interrupt.trigger).ok_or(unavailable).inspect_err(|_| handlers.remove_last())
    })
}

/// The same for an interrupt of an Interrupt Translation Service, which enables it itself.
///
/// # Errors
/// [`InterruptError::Unavailable`] if the table of handlers is full.
pub fn handle(number: u32, handler: Handler, context: usize) -> Result<(), InterruptError> {
    let added = crate::arch::interrupts::masked(|| HANDLERS.lock().add(number, handler, context));
    added.ok_or(InterruptError::Unavailable(number))
}

/// The target for interrupts of such a service; `None` without a GICv3.
pub fn message_target() -> Option<gic_its::Target> {
    crate::arch::interrupts::masked(|| match GIC.lock().as_mut()? {
        Gic::V3(gic) => gic.message_target(),
        Gic::V2(_) => None,
    })
}

fn interrupt_id(number: u32) -> Option<IntId> {
    match number {
        16..32 => Some(IntId::ppi(number - 16)),
        32..1020 => Some(IntId::spi(number - 32)),
        EXTENDED_PRIVATE_START..EXTENDED_PRIVATE_END => Some(IntId::eppi(number - EXTENDED_PRIVATE_START)),
        EXTENDED_SHARED_START..EXTENDED_SHARED_END => Some(IntId::espi(number - EXTENDED_SHARED_START)),
        _ => None,
    }
}

/// An interrupt that has been acknowledged but not ended.
enum Taken {
    V2(Acknowledged),
    V3(IntId),
}

impl Taken {
    fn number(&self) -> u32 {
        match self {
            Self::V2(interrupt) => interrupt.number(),
            Self::V3(interrupt) => interrupt.raw_value(),
        }
    }
}

impl Gic {
    fn enable(&mut self, interrupt: IntId, trigger: Trigger) -> Option<()> {
        match self {
            Self::V2(gic) => gic.enable(interrupt.raw_value(), trigger),
            Self::V3(gic) => {
                let (region, own) = gic.own()?;
                let gic = &mut region.gic;
                let trigger = match trigger {
                    Trigger::Edge => arm_gic::Trigger::Edge,
                    Trigger::Level => arm_gic::Trigger::Level,
                };
                gic.set_trigger(interrupt, Some(own), trigger).ok()?;
                if !interrupt.is_private() {
                    let affinity = crate::arch::cpu::mpidr();
                    gic.distributor().set_routing(interrupt, Some(affinity)).ok()?;
                }
                region.enable(interrupt, own)
            }
        }
    }

    /// Disables an interrupt.
    fn disable(&mut self, number: u32) {
        match self {
            Self::V2(gic) => gic.disable(number),
            Self::V3(gic) => {
                if let Some((id, (region, own))) = interrupt_id(number).zip(gic.own()) {
                    let _ = region.gic.enable_interrupt(id, Some(own), false);
                }
            }
        }
    }

    /// Allows the calling core to be woken.
    fn enable_wake_up(&mut self) -> Option<WakeTarget> {
        match self {
            Self::V2(gic) => {
                gic.init_core();
                gic.enable(WAKE_UP.raw_value(), Trigger::Edge)?;
                // With only one core there is no target, and no other core to wake it.
                Some(WakeTarget(u64::from(gic.own_target())))
            }
            Self::V3(gic) => {
                let mpidr = crate::arch::cpu::mpidr();
                let (region, own) = gic.own()?;
                region.gic.init_cpu(own);
                GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
                GicCpuInterface::enable_group1(true);
                region.enable(WAKE_UP, own)?;
                // The target list covers sixteen values of the lowest affinity field.
                (mpidr & 0xff < 16).then_some(WakeTarget(mpidr))
            }
        }
    }

    fn acknowledge(&mut self) -> Option<Taken> {
        match self {
            Self::V2(gic) => gic.acknowledge().map(Taken::V2),
            Self::V3(_) => acknowledge_v3().map(Taken::V3),
        }
    }

    fn end(&mut self, interrupt: &Taken) {
        match (self, interrupt) {
            (Self::V2(gic), Taken::V2(interrupt)) => gic.end(*interrupt),
            (_, Taken::V3(interrupt)) => GicCpuInterface::end_interrupt(*interrupt, GROUP),
            (Self::V3(_), Taken::V2(_)) => unreachable!("the controller's version never changes"),
        }
    }
}

const GROUP: InterruptGroup = InterruptGroup::Group1;

fn acknowledge_v3() -> Option<IntId> {
    let interrupt = GicCpuInterface::get_and_acknowledge_interrupt(GROUP)?;
    let is_special = (FIRST_SPECIAL..1024).contains(&interrupt.raw_value());
    (!is_special).then_some(interrupt)
}

/// Identifies a core that is to be woken.
#[derive(Debug, Clone, Copy)]
pub struct WakeTarget(u64);

impl WakeTarget {
    /// The target as a number, to be stored in an atomic variable.
    pub fn to_raw(self) -> u64 {
        self.0
    }

    /// The target that [`to_raw`](Self::to_raw) converted to this number.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// Allows the calling core to be woken from [`sleep`].
///
/// # Errors
/// [`InterruptError`] if there is no controller, or it cannot do this for the calling core.
pub fn enable_wake_up() -> Result<WakeTarget, InterruptError> {
    crate::arch::interrupts::masked(|| {
        let mut gic = GIC.lock();
        let gic = gic.as_mut().ok_or(InterruptError::NoController)?;
        gic.enable_wake_up().ok_or(InterruptError::Unavailable(WAKE_UP.raw_value()))
    })
}

/// Interrupts a core, which ends its current [`sleep`], or the next one.
pub fn wake(target: WakeTarget) {
    let WakeTarget(raw) = target;
    // Earlier writes must be visible when the other core wakes.
    crate::arch::cpu::finish_stores();
    if IS_V3.load(Ordering::Relaxed) {
        let byte = |shift: u32| (raw >> shift) as u8;
        let target = gicv3::SgiTarget::List {
            affinity3: byte(32),
            affinity2: byte(16),
            affinity1: byte(8),
            target_list: 1 << (raw & 0xf),
        };
        // The error is only for interrupts that are not software-generated.
        let _ = GicCpuInterface::send_sgi(WAKE_UP, target, SgiTargetGroup::CurrentGroup1);
    } else {
        crate::arch::interrupts::masked(|| {
            if let Some(Gic::V2(gic)) = GIC.lock().as_mut() {
                gic.send(WAKE_UP.raw_value(), raw as u8);
            }
        });
    }
}

/// For cores that take no interrupts: sleeps until an interrupt is pending, and clears it.
pub fn sleep() {
    crate::arch::interrupts::wait();
    if IS_V3.load(Ordering::Relaxed) {
        while let Some(interrupt) = acknowledge_v3() {
            GicCpuInterface::end_interrupt(interrupt, GROUP);
        }
    } else {
        while let Some(interrupt) = with_gic(Gic::acknowledge).flatten() {
            with_gic(|gic| gic.end(&interrupt));
        }
    }
}

/// How many interrupts the boot core has taken. If the number has not changed, no interrupt has come in the meantime.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// How often `interrupt` has been taken.
pub fn count_of(interrupt: u32) -> u64 {
    crate::arch::interrupts::masked(|| HANDLERS.lock().count_of(interrupt))
}

/// Whether the device with this interrupt (if it has one) need not be polled: it has interrupted at least once.
pub fn has_come(interrupt: Option<u32>) -> bool {
    crate::arch::interrupts::masked(|| HANDLERS.lock().has_come(interrupt))
}

/// Whether `interrupt` still has a handler. An interrupt that did not stop has lost its handler, and its device must be polled.
pub fn is_handled(interrupt: u32) -> bool {
    crate::arch::interrupts::masked(|| HANDLERS.lock().is_handled(interrupt))
}

/// Runs the handlers of everything that is pending. Called by the exception vector. An interrupt that has no handler, or that
/// does not stop however often it is handled, is disabled; its device is polled from then on, if that is possible.
pub fn dispatch() {
    while let Some(interrupt) = with_gic(Gic::acknowledge).flatten() {
        let number = interrupt.number();
        COUNT.fetch_add(1, Ordering::Relaxed);
        // No lock is held while a handler runs.
        let nth = |index| HANDLERS.lock().call_nth_of(number, index);
        let count = (0..).map_while(nth).map(|(handler, context)| handler(context)).count();
        // The interrupt by which the other cores are woken needs no handler.
        let is_wanted = count > 0 || number == WAKE_UP.raw_value();
        // Each message is sent anew and cannot be disabled here, so it is not checked.
        let is_storm = interrupt_id(number).is_some() && HANDLERS.lock().is_storm(number, time::now_us());
        if !is_wanted || is_storm {
            with_gic(|gic| gic.disable(number));
            HANDLERS.lock().remove(number);
            time::lost_interrupt(number);
            let why = if is_storm { "does not end" } else { "has no handler" };
            warn!("interrupt {number} {why}: it is not taken any more");
        }
        with_gic(|gic| gic.end(&interrupt));
    }
    HANDLERS.lock().calm();
}

fn with_gic<R>(use_gic: impl FnOnce(&mut Gic) -> R) -> Option<R> {
    GIC.lock().as_mut().map(use_gic)
}
