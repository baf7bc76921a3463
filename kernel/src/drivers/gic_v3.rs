//! GICv3: a distributor, and redistributors in one or more regions.

use super::gic_its;
use crate::machine::Registers;
use alloc::boxed::Box;
use arm_gic::{
    IntId,
    gicv3::{GicCpuInterface, GicRedistributor, GicRedistributorIterator, GicV3, registers as v3},
};
use core::ptr::NonNull;
use log::warn;
use safe_mmio::UniqueMmioPointer;

/// The core is signalled interrupts with a numerically lower priority than this: all of them.
pub const LOWEST_PRIORITY: u8 = 0xff;

/// The extended interrupts of GICv3.1: the first private one, and the first shared one.
pub const EXTENDED_PRIVATE_START: u32 = 1056;
pub const EXTENDED_PRIVATE_END: u32 = 1120;
pub const EXTENDED_SHARED_START: u32 = 4096;
pub const EXTENDED_SHARED_END: u32 = 5120;

/// A GICv3, whose redistributors are in one or more regions.
pub struct V3 {
    /// One driver per region; all of them use the same distributor.
    regions: alloc::vec::Vec<Region>,
}

/// A region of redistributors.
pub struct Region {
    /// Its driver.
    pub gic: GicV3<'static>,
    distributor: NonNull<u8>,
    first_redistributor: NonNull<u8>,
    /// The distance between redistributors: two frames, or four in a GICv4.
    stride_bytes: usize,
    redistributors: usize,
}

/// # Safety
/// The requirements of [`V3::open`] hold here too. Of several regions' drivers, only one may be used at a time.
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
    // SAFETY: the caller promises mapped registers that nothing else uses; the iterator stops at the region's last redistributor.
    let redistributors = unsafe { GicRedistributorIterator::new(gicr) };
    // SAFETY: the caller promises mapped registers that nothing else uses; there is room for at least one redistributor.
    let first = GicRedistributor::new(unsafe { UniqueMmioPointer::new(gicr) });
    let frame_pairs = if first.typer().virtual_lpis_supported() { 2 } else { 1 };
    // Stops at the end of the region even if no redistributor is marked as the last one.
    let room = if is_single { 1 } else { room / frame_pairs };
    let made = redistributors.map(|redistributors| redistributors.take(room).count()).and_then(|count| {
        // SAFETY: the caller promises mapped registers that nothing else uses; `count` redistributors lie within the region.
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

/// The redistributors of a region in which they are `stride_bytes` apart, each as a region of its own.
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
        // SAFETY: the address lies within the region, which the caller promises is mapped.
        if unsafe { kind.read_volatile() } & IS_LAST != 0 {
            break;
        }
        let Some(size_bytes) = rest.size_bytes.checked_sub(stride_bytes) else { break };
        rest = Registers { address: rest.address + stride_bytes, size_bytes };
    }
    parts
}

impl V3 {
    /// The controller with these registers, unchanged.
    ///
    /// # Safety
    /// The registers must be mapped and used by nothing else.
    pub unsafe fn open(
        distributor: &Registers,
        redistributors: &[Registers],
        stride_bytes: Option<u64>,
    ) -> Self {
        let parts = |region: &Registers| match stride_bytes {
            // SAFETY: the caller promises that the registers are mapped.
            Some(stride_bytes) => unsafe { redistributors_apart(region, stride_bytes) },
            None => alloc::vec![*region],
        };
        // SAFETY: the caller promises that the registers are mapped and used by nothing else.
        let open = |region| unsafe { open_region(distributor, &region, stride_bytes.is_some()) };
        Self { regions: redistributors.iter().flat_map(parts).filter_map(open).collect() }
    }

    /// Sets up everything, with every interrupt disabled.
    pub fn init(&mut self) -> Option<()> {
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

    /// The index of the region, and the index in it of the redistributor of the calling core.
    fn own_redistributor(&mut self) -> Option<(usize, usize)> {
        let mpidr = crate::arch::cpu::mpidr();
        self.regions.iter_mut().enumerate().find_map(|(index, region)| {
            let gic = &mut region.gic;
            let is_own =
                |&index: &usize| gic.gicr_typer(index).is_ok_and(|typer| typer.core_mpidr() == mpidr);
            Some((index, (0..region.redistributors).find(is_own)?))
        })
    }

    /// The same, with the region itself instead of its index.
    pub fn own(&mut self) -> Option<(&mut Region, usize)> {
        let (region, own) = self.own_redistributor()?;
        Some((self.regions.get_mut(region)?, own))
    }

    /// The target for an Interrupt Translation Service: this core's redistributor.
    pub fn message_target(&mut self) -> Option<gic_its::Target> {
        let own = self.own_redistributor()?;
        let kind = self.regions.get_mut(own.0)?.gic.typer();
        let mut target = None;
        let mut others: alloc::vec::Vec<Box<dyn gic_its::Block>> = alloc::vec::Vec::new();
        for (region_index, region) in self.regions.iter().enumerate() {
            for index in 0..region.redistributors {
                // SAFETY: the redistributor lies within the region.
                let start = unsafe { region.first_redistributor.add(index * region.stride_bytes) };
                match (region_index, index) == own {
                    true => target = Some(start),
                    false => others.push(Box::new(Frame(start))),
                }
            }
        }
        let start = target?;
        Some(gic_its::Target {
            registers: Box::new(Frame(start)),
            address: start.as_ptr().expose_provenance() as u64,
            n_interrupts: if kind.lpis_supported() { kind.num_lpis() } else { 0 },
            others,
        })
    }
}

impl Region {
    /// Enables an interrupt; if it is a private one, in this redistributor. `None` if the controller does not have it, or
    /// reserves it for the secure side, in which case it reads as disabled.
    pub fn enable(&mut self, interrupt: IntId, redistributor: usize) -> Option<()> {
        /// GICD_ISENABLER, GICD_ISENABLERnE and, in a redistributor's second frame, GICR_ISENABLER0 followed by GICR_ISENABLERnE
        /// (GICv3, 12.9 and 12.11).
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
        // SAFETY: the caller of `init` promised that the registers are mapped; reading them has no side effect.
        let enabled = unsafe { block.add(offset).cast::<u32>().read_volatile() };
        (enabled >> (number % 32) & 1 != 0).then_some(())
    }
}

/// A frame of registers.
pub struct Frame(NonNull<u8>);

// SAFETY: the registers can be accessed from every core in the same way.
unsafe impl Send for Frame {}

impl Frame {
    /// The frame at this address; `None` if it is null.
    ///
    /// # Safety
    /// Its 64 KiB must be mapped for ever, and nothing else may use them as long as the frame exists.
    pub unsafe fn new(address: u64) -> Option<Self> {
        pointer(address).map(Self)
    }

    fn register<T>(&self, offset: usize) -> *mut T {
        // SAFETY: the driver uses only offsets within the frame.
        unsafe { self.0.add(offset) }.as_ptr().cast()
    }
}

// Whoever created the frame promised that it is mapped. The offsets of registers are multiples of their sizes.
impl gic_its::Block for Frame {
    fn read(&self, offset: usize) -> u32 {
        // SAFETY: the frame is mapped, and the register lies in it, aligned.
        unsafe { self.register::<u32>(offset).read_volatile() }
    }

    fn write(&mut self, offset: usize, value: u32) {
        // SAFETY: the frame is mapped, and the register lies in it, aligned.
        unsafe { self.register::<u32>(offset).write_volatile(value) }
    }

    fn read_u64(&self, offset: usize) -> u64 {
        // SAFETY: the frame is mapped, and the register lies in it, aligned.
        unsafe { self.register::<u64>(offset).read_volatile() }
    }

    fn write_u64(&mut self, offset: usize, value: u64) {
        // SAFETY: the frame is mapped, and the register lies in it, aligned.
        unsafe { self.register::<u64>(offset).write_volatile(value) }
    }
}

/// A pointer to this address, where something is mapped; `None` if the address is null.
pub fn pointer<T>(address: u64) -> Option<NonNull<T>> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
}
