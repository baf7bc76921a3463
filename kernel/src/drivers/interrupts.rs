//! The interrupt controller: GICv2 or GICv3, whichever the device tree names.
//!
//! A handler is a plain function for one interrupt number, called with a number of its own. Handlers run on the boot core, on its
//! exception stack with interrupts masked; vector registers are saved around them. The other cores take
//! no interrupts: they only [sleep](sleep) until one of them is [woken](wake).

use super::{
    gic_security,
    gic_v2::{Acknowledged, GicV2, RegisterBlocks},
    interrupt_handlers::{Handler, Handlers},
};
use crate::{
    arch::monitor::Monitor,
    machine::{Interrupt, InterruptController, Registers, Trigger},
};
use arm_gic::{
    IntId, InterruptGroup,
    gicv3::{
        self, GicCpuInterface, GicRedistributor, GicRedistributorIterator, GicV3, SgiTargetGroup,
        registers as v3,
    },
};
use core::{
    fmt,
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};
use log::warn;
use safe_mmio::UniqueMmioPointer;
use spin::Mutex;

/// Only interrupts of a numerically lower priority are signalled: all of them.
const LOWEST_PRIORITY: u8 = 0xff;

const MAX_HANDLERS: usize = 128;

/// Numbers from here on say that there is no interrupt.
const FIRST_SPECIAL: u32 = 1020;

/// The extended interrupts of GICv3.1: those of a core, and shared ones.
const EXTENDED_PRIVATE_START: u32 = 1056;
const EXTENDED_PRIVATE_END: u32 = 1120;
const EXTENDED_SHARED_START: u32 = 4096;
const EXTENDED_SHARED_END: u32 = 5120;

/// The software-generated interrupt that ends a core's sleep.
const WAKE_UP: IntId = IntId::sgi(0);

enum Gic {
    V2(GicV2<Mmio>),
    V3(V3),
}

/// GICv3, whose redistributors lie in one region or several.
struct V3 {
    /// A driver a region; the distributor is the same for all.
    regions: alloc::vec::Vec<Region>,
}

struct Region {
    gic: GicV3<'static>,
    distributor: NonNull<u8>,
    first_redistributor: NonNull<u8>,
    /// The distance between redistributors: two frames, or four of a GICv4.
    stride_bytes: usize,
    redistributors: usize,
}

// SAFETY: the register blocks that the drivers point to are the same on every core; the lock
// around the value keeps two users apart.
unsafe impl Send for Gic {}

static GIC: Mutex<Option<Gic>> = Mutex::new(None);

/// Whether cores reach their part of the controller by system registers, so that none needs the lock.
static IS_V3: AtomicBool = AtomicBool::new(false);

/// Interrupts that the boot core has taken.
static COUNT: AtomicU64 = AtomicU64::new(0);

static HANDLERS: Mutex<Handlers<MAX_HANDLERS>> = Mutex::new(Handlers::new());

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
    if let Some(monitor) = Monitor::get() {
        // SAFETY: as the caller promises.
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
            let parts = |region: &Registers| match stride_bytes {
                // SAFETY: as the caller promises.
                Some(stride_bytes) => unsafe { redistributors_apart(region, *stride_bytes) },
                None => alloc::vec![*region],
            };
            // SAFETY: as above.
            let open = |region| unsafe { open_region(distributor, &region, stride_bytes.is_some()) };
            let mut gic = V3 { regions: redistributors.iter().flat_map(parts).filter_map(open).collect() };
            gic.init().map(|()| {
                IS_V3.store(true, Ordering::Relaxed);
                Gic::V3(gic)
            })
        }
    };
    *GIC.lock() = gic;
}

/// # Safety
/// As for [`init`]. Of several regions' drivers, only one at a time may be used.
unsafe fn open_region(distributor: &Registers, region: &Registers, is_single: bool) -> Option<Region> {
    let gicd = pointer::<v3::Gicd>(distributor.address)?;
    let gicr = pointer::<v3::GicrSgi>(region.address)?;
    let room = region.size_bytes as usize / size_of::<v3::GicrSgi>();
    if room == 0 || (distributor.size_bytes as usize) < size_of::<v3::Gicd>() {
        warn!(
            "interrupt controller: its registers at {:#x} and {:#x} are named too short",
            distributor.address, region.address
        );
        return None;
    }
    // SAFETY: the caller promises mapped registers that nothing else uses; the iterator goes no further than the
    // region's last redistributor.
    let redistributors = unsafe { GicRedistributorIterator::new(gicr) };
    // SAFETY: as above; there is room for one at least.
    let first = GicRedistributor::new(unsafe { UniqueMmioPointer::new(gicr) });
    let frame_pairs = if first.typer().virtual_lpis_supported() { 2 } else { 1 };
    // Should the last one not say that it is the last: no further than the region.
    let room = if is_single { 1 } else { room / frame_pairs };
    let made = redistributors.map(|redistributors| redistributors.take(room).count()).and_then(|count| {
        // SAFETY: as above.
        let gic = unsafe { GicV3::new(UniqueMmioPointer::new(gicd), gicr, count) }?;
        Ok(Region {
            gic,
            distributor: gicd.cast(),
            first_redistributor: gicr.cast(),
            stride_bytes: frame_pairs * size_of::<v3::GicrSgi>(),
            redistributors: count,
        })
    });
    made.inspect_err(|error| warn!("interrupt controller: {error}")).ok()
}

/// The redistributors of a region in which they lie `stride_bytes` apart, each as a region of its own.
///
/// # Safety
/// The registers must be mapped.
unsafe fn redistributors_apart(region: &Registers, stride_bytes: u64) -> alloc::vec::Vec<Registers> {
    /// GICR_TYPER, and its bit Last (GICv3, 12.11.38).
    const TYPE_OFFSET: u64 = 8;
    const IS_LAST: u32 = 1 << 4;
    let mut parts = alloc::vec::Vec::new();
    let mut rest = *region;
    while rest.size_bytes >= size_of::<v3::GicrSgi>() as u64 {
        parts.push(Registers { size_bytes: rest.size_bytes.min(stride_bytes), ..rest });
        let kind = core::ptr::with_exposed_provenance::<u32>((rest.address + TYPE_OFFSET) as usize);
        // SAFETY: within the region, which the caller promises.
        if unsafe { kind.read_volatile() } & IS_LAST != 0 {
            break;
        }
        let Some(size_bytes) = rest.size_bytes.checked_sub(stride_bytes) else { break };
        rest = Registers { address: rest.address + stride_bytes, size_bytes };
    }
    parts
}

impl V3 {
    /// Sets everything up with every interrupt disabled.
    fn init(&mut self) -> Option<()> {
        let Some((own_region, own)) = self.own_redistributor() else {
            warn!("interrupt controller: no redistributor belongs to this core");
            return None;
        };
        for (index, region) in self.regions.iter_mut().enumerate() {
            region.gic.enable_all_interrupts(false);
            if index == own_region {
                continue;
            }
            for redistributor in 0..region.redistributors {
                let redistributor = region.gic.redistributor(redistributor);
                redistributor.ok()?.configure_default_settings();
            }
        }
        self.regions.get_mut(own_region)?.gic.setup(own);
        GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
        Some(())
    }

    /// The region and, in it, the redistributor of the core that runs this.
    fn own_redistributor(&mut self) -> Option<(usize, usize)> {
        let mpidr = crate::arch::cpu::mpidr();
        self.regions.iter_mut().enumerate().find_map(|(index, region)| {
            let gic = &mut region.gic;
            let is_own =
                |&index: &usize| gic.gicr_typer(index).is_ok_and(|typer| typer.core_mpidr() == mpidr);
            Some((index, (0..region.redistributors).find(is_own)?))
        })
    }

    /// The same, with the region itself.
    fn own(&mut self) -> Option<(&mut Region, usize)> {
        let (region, own) = self.own_redistributor()?;
        Some((self.regions.get_mut(region)?, own))
    }
}

impl Region {
    /// Enables an interrupt, of this redistributor if it is a private one. `None` if the controller does not have it, or
    /// keeps it for the secure side: it then reads as disabled.
    fn enable(&mut self, interrupt: IntId, redistributor: usize) -> Option<()> {
        /// GICD_ISENABLER, GICD_ISENABLERnE and, in a redistributor's second frame, GICR_ISENABLER0 with
        /// GICR_ISENABLERnE behind it (GICv3, 12.9 and 12.11).
        const ENABLED: usize = 0x100;
        const EXTENDED_ENABLED: usize = 0x1200;
        const SECOND_FRAME: usize = 0x1_0000;
        self.gic.enable_interrupt(interrupt, Some(redistributor), true).ok()?;
        let number = interrupt.raw_value();
        let of_core = || (self.first_redistributor, redistributor * self.stride_bytes + SECOND_FRAME);
        let ((block, start), index) = match number {
            0..32 => (of_core(), 0),
            EXTENDED_PRIVATE_START..EXTENDED_PRIVATE_END => {
                (of_core(), 1 + (number - EXTENDED_PRIVATE_START) / 32)
            }
            EXTENDED_SHARED_START.. => {
                ((self.distributor, EXTENDED_ENABLED - ENABLED), (number - EXTENDED_SHARED_START) / 32)
            }
            _ => ((self.distributor, 0), number / 32),
        };
        let offset = start + ENABLED + index as usize * size_of::<u32>();
        // SAFETY: registers that `init` was promised to be mapped; reading them changes nothing.
        let enabled = unsafe { block.add(offset).cast::<u32>().read_volatile() };
        (enabled >> (number % 32) & 1 != 0).then_some(())
    }
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

// `init` was promised that both blocks are mapped and used by nothing else.
impl RegisterBlocks for Mmio {
    fn read(&self, offset: usize) -> u32 {
        // SAFETY: see above.
        unsafe { self.distributor::<u32>(offset).read_volatile() }
    }

    fn write(&mut self, offset: usize, value: u32) {
        // SAFETY: see above.
        unsafe { self.distributor::<u32>(offset).write_volatile(value) }
    }

    fn read_byte(&self, offset: usize) -> u8 {
        // SAFETY: see above.
        unsafe { self.distributor::<u8>(offset).read_volatile() }
    }

    fn write_byte(&mut self, offset: usize, value: u8) {
        // SAFETY: see above.
        unsafe { self.distributor::<u8>(offset).write_volatile(value) }
    }

    fn read_interface(&self, offset: usize) -> u32 {
        // SAFETY: see above.
        unsafe { self.interface(offset).read_volatile() }
    }

    fn write_interface(&mut self, offset: usize, value: u32) {
        // SAFETY: see above.
        unsafe { self.interface(offset).write_volatile(value) }
    }
}

fn pointer<T>(address: u64) -> Option<NonNull<T>> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
}

/// Calls `handler` with `context` from now on whenever `interrupt` is pending on this core. Devices may share a number: the
/// handlers of all of them are called.
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
        handlers.add(number, handler, context).ok_or(unavailable)?;
        gic.enable(id, interrupt.trigger).ok_or(unavailable).inspect_err(|_| handlers.remove_last())
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

/// An interrupt that has been taken and not yet ended.
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

    /// Lets the calling core be woken.
    fn enable_wake_up(&mut self) -> Option<WakeTarget> {
        match self {
            Self::V2(gic) => {
                gic.init_core();
                gic.enable(WAKE_UP.raw_value(), Trigger::Edge)?;
                // One core alone has no target, and nobody to wake it.
                Some(WakeTarget(u64::from(gic.own_target())))
            }
            Self::V3(gic) => {
                let mpidr = crate::arch::cpu::mpidr();
                let (region, own) = gic.own()?;
                region.gic.init_cpu(own);
                GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
                GicCpuInterface::enable_group1(true);
                region.enable(WAKE_UP, own)?;
                // Targets are a list of sixteen in the lowest affinity.
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
            if let Some(Gic::V2(gic)) = GIC.lock().as_mut() {
                gic.send(WAKE_UP.raw_value(), raw as u8);
            }
        });
    }
}

/// On a core that takes no interrupts: sleeps until one is pending, and takes it back.
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

/// How many interrupts the boot core has taken: if the number is the same, nothing has happened meanwhile.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// How many of them were `interrupt`.
pub fn count_of(interrupt: u32) -> u64 {
    crate::arch::interrupts::masked(|| HANDLERS.lock().count_of(interrupt))
}

/// Runs the handlers of everything that is pending. Called by the exception vector.
pub fn dispatch() {
    while let Some(interrupt) = with_gic(Gic::acknowledge).flatten() {
        let number = interrupt.number();
        COUNT.fetch_add(1, Ordering::Relaxed);
        // Nothing is locked while one of them runs.
        let nth = |index| HANDLERS.lock().call_nth_of(number, index);
        let count = (0..).map_while(nth).map(|(handler, context)| handler(context)).count();
        // To be interrupted is all that the other cores want.
        if count == 0 && number != WAKE_UP.raw_value() {
            warn!("interrupt {number} has no handler");
        }
        with_gic(|gic| gic.end(&interrupt));
    }
}

fn with_gic<R>(use_gic: impl FnOnce(&mut Gic) -> R) -> Option<R> {
    GIC.lock().as_mut().map(use_gic)
}
