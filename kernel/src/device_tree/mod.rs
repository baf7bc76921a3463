//! Reads the description of the machine in the device tree: memory, cores, devices, boot arguments.
//!
//! [`EarlyPlatform`], [`memory_banks`] and [`reserved_memory`] need no heap, so they can be used to place the heap. [`Platform`] is
//! the complete description. It owns its data, so the tree's own memory can be reused afterwards. What is missing in the tree is
//! missing in the platform, and the boot goes on without it.

mod console;
mod interrupts;
mod memory;
mod messages;
mod power_keys;
mod structure;
mod walk;

#[cfg(test)]
mod tests;

pub use self::{
    memory::{memory_banks, reserved_memory},
    structure::{StructureError, StructureErrorKind, open},
};

use self::walk::Place;
use crate::{
    machine::{
        ConfigurationSpace, Cpu, Generation, Interrupt, InterruptController, PciWindow, PcieHost, Platform,
        PsciMethod, Registers, Uart, VirtioMmio, Watchdog,
    },
    memory::layout,
    undriven::Undriven,
};
use alloc::{format, string::ToString, vec::Vec};
use core::ops::Range;
use dtoolkit::{
    Node, Property, ToCellInt,
    fdt::{Fdt, FdtNode},
    standard::NodeStandard,
};

/// The magic number that begins a flattened device tree (Devicetree Specification 0.4, 5.2).
const MAGIC: u32 = 0xd00d_feed;

/// Why a device tree cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceTreeError {
    /// No memory node with a `reg` property.
    #[error("device tree: no memory node with a reg property")]
    NoMemory,
}

/// Reads the length of a tree from its header.
///
/// Returns `None` if `header` does not begin with the magic number or is shorter than 8 bytes.
pub fn total_size_bytes(header: &[u8]) -> Option<usize> {
    let magic = u32::from_be_bytes(header.get(..4)?.try_into().ok()?);
    let total_size = u32::from_be_bytes(header.get(4..8)?.try_into().ok()?);
    (magic == MAGIC).then_some(total_size as usize)
}

/// What a kernel needs to report why it cannot boot; reading it needs no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlyPlatform<'a> {
    /// The console.
    pub console: Option<Uart>,
    /// How to call PSCI.
    pub psci: Option<PsciMethod>,
    /// `/chosen/bootargs`.
    pub boot_args: &'a [u8],
}

impl<'a> EarlyPlatform<'a> {
    /// Reads them from `tree`; missing or unreadable values are left out.
    pub fn from_tree(tree: &Fdt<'a>) -> Self {
        Self {
            console: console::choose(tree).uart,
            psci: walk::places(tree).find_map(|place| psci_method(&place.node)),
            boot_args: boot_args(tree),
        }
    }
}

impl Platform {
    /// Reads everything that the kernel uses from `tree`. `banks` are the RAM banks if another source gives them; otherwise they
    /// are read from the tree.
    ///
    /// # Errors
    /// [`DeviceTreeError::NoMemory`] if there is no RAM. Everything else that is missing or unreadable is left out.
    pub fn from_tree(tree: &Fdt<'_>, banks: Option<Vec<Range<u64>>>) -> Result<Self, DeviceTreeError> {
        let banks = banks.unwrap_or_else(|| memory::named_banks(tree).collect());
        let memory = layout::join(banks.clone());
        if memory.is_empty() {
            return Err(DeviceTreeError::NoMemory);
        }
        let is_in_ram = |range: &Range<u64>| memory.iter().any(|bank| layout::overlap(bank, range));
        let reserved_memory = reserved_memory(tree).filter(is_in_ram).collect();
        let mut remarks = Vec::new();
        let named_bytes = total_bytes(&banks);
        let repeated_bytes = named_bytes - total_bytes(&memory);
        if repeated_bytes > 0 {
            remarks.push(format!("{} KiB of RAM are named more than once", repeated_bytes >> 10));
        }
        let console = console::choose(tree);
        if let Some(missed) = console.missed {
            remarks.push(missed.to_string());
        }

        let mut platform = Self {
            memory,
            reserved_memory,
            cores: cores(tree),
            uart: console.uart,
            interrupt_controller: None,
            virtio_mmio: Vec::new(),
            pcie: None,
            undriven: Vec::new(),
            timer_interrupt: None,
            pmu_interrupt: None,
            clock: None,
            fw_cfg: None,
            power_keys: Vec::new(),
            generation: None,
            watchdog: None,
            boot_args: boot_args(tree).into(),
            remarks,
        };
        for place in walk::places(tree) {
            platform.add_device(tree, &place);
            for key in power_keys::keys(tree, &place) {
                match key {
                    Ok(key) => platform.power_keys.push(key),
                    Err(unheard) => platform.remarks.push(unheard.to_string()),
                }
            }
        }
        sort::short_by_key(&mut platform.virtio_mmio, |device| device.registers.address);
        Ok(platform)
    }

    fn add_device(&mut self, tree: &Fdt<'_>, place: &Place<'_>) {
        if place.is_compatible(&["virtio,mmio"]) {
            if self.can_reach_ram(place, false) {
                self.virtio_mmio.extend(place.registers_of(0, 0x100, 4).map(|registers| VirtioMmio {
                    registers,
                    interrupt: interrupts::interrupt(tree, place, 0),
                }));
            }
        } else if place.is_compatible(interrupts::GIC_V3) {
            self.set_interrupt_controller(gic_v3(place));
        } else if place.is_compatible(interrupts::GIC_V2) {
            // The interface of a Cortex-A9 has only this minimum of registers.
            let registers = place.registers_of(0, 0x1000, 4).zip(place.registers_of(1, 0x14, 4));
            self.set_interrupt_controller(registers.map(|(distributor, cpu_interface)| {
                InterruptController::GicV2 { distributor, cpu_interface }
            }));
        } else if let Some(space) = configuration_space(place) {
            if self.pcie.is_none() && self.can_reach_ram(place, true) {
                self.pcie = pcie_host(tree, place, space);
            }
        } else if place.is_compatible(&["arm,armv8-timer"]) {
            // The timers are in this order: secure, non-secure, virtual, hypervisor.
            const VIRTUAL: usize = 2;
            self.timer_interrupt = self.timer_interrupt.or_else(|| private_interrupt(tree, place, VIRTUAL));
        } else if place.is_compatible(&["arm,pl031"]) {
            self.clock = self.clock.or_else(|| place.registers_of(0, 4, 4));
        } else if place.is_compatible(&["qemu,fw-cfg-mmio"]) {
            // The data register, then the selector.
            self.fw_cfg = self.fw_cfg.or_else(|| place.registers_of(0, 10, 8));
        } else if place.is_compatible(&["microsoft,vmgenid"]) {
            let registers = place.registers_of(0, Generation::BYTES, 8);
            self.generation = self.generation.or_else(|| {
                let interrupt = interrupts::interrupt(tree, place, 0);
                Some(Generation { address: registers?.address, interrupt })
            });
        } else if let Some(watchdog) = watchdog(place) {
            self.watchdog = self.watchdog.or(Some(watchdog));
        } else if place.is_compatible(PMU) {
            self.pmu_interrupt = self.pmu_interrupt.or_else(|| private_interrupt(tree, place, 0));
        } else if place.registers(0).is_some() {
            self.undriven.extend(undriven(place));
        }
    }

    /// Whether a device at this place can use the CPU's addresses for all RAM. If not, its bus is listed as undriven, but only once.
    fn can_reach_ram(&mut self, place: &Place<'_>, is_bus: bool) -> bool {
        let Some(bus) = place.bus_that_misses(&self.memory, is_bus) else {
            return true;
        };
        let undriven = Undriven::bus_beside_ram(bus.into());
        if !self.undriven.contains(&undriven) {
            self.undriven.push(undriven);
        }
        false
    }

    /// Only the first one counts, because other devices refer to it.
    fn set_interrupt_controller(&mut self, controller: Option<InterruptController>) {
        self.interrupt_controller = self.interrupt_controller.take().or(controller);
    }
}

/// `compatible` of performance monitors.
const PMU: &[&str] = &[
    "arm,armv8-pmuv3",
    "arm,cortex-a53-pmu",
    "arm,cortex-a55-pmu",
    "arm,cortex-a57-pmu",
    "arm,cortex-a72-pmu",
    "arm,cortex-a73-pmu",
    "arm,cortex-a75-pmu",
    "arm,cortex-a76-pmu",
    "arm,neoverse-n1-pmu",
];

/// The registers of a GICv3: the distributor, then `#redistributor-regions` regions (Linux' arm,gic-v3.yaml).
fn gic_v3(place: &Place<'_>) -> Option<InterruptController> {
    const MAX_REGIONS: usize = 64;
    let regions = walk::cell(&place.node, "#redistributor-regions").unwrap_or(1) as usize;
    // Some registers have 64 bits.
    const ALIGN_BYTES: u64 = 8;
    let redistributors = place.all_registers().skip(1).take(regions.min(MAX_REGIONS)).flatten();
    let redistributors: Vec<_> =
        redistributors.filter(|region| region.address.is_multiple_of(ALIGN_BYTES)).collect();
    let distributor = place.registers_of(0, 1, ALIGN_BYTES)?;
    // At least two frames of 64 KiB.
    let is_possible = |&bytes: &u64| bytes.is_multiple_of(0x1_0000) && bytes >= 0x2_0000;
    let stride_bytes = walk::number_of(&place.node, "redistributor-stride").filter(is_possible);
    (!redistributors.is_empty()).then_some(InterruptController::GicV3 {
        distributor,
        redistributors,
        stride_bytes,
    })
}

/// The watchdog that a node describes (Linux' arm,sbsa-gwdt.yaml and qemu,vcpu-stall-detector.yaml, which define these defaults
/// and bounds).
fn watchdog(place: &Place<'_>) -> Option<Watchdog> {
    const FRAME_BYTES: u64 = 0x1000;
    const STALL_BYTES: u64 = 0x10;
    if place.is_compatible(&["arm,sbsa-gwdt"]) {
        let frame = |index| place.registers_of(index, FRAME_BYTES, FRAME_BYTES);
        return Some(Watchdog::Generic { control: frame(0)?, refresh: frame(1)? });
    }
    if !place.is_compatible(&["qemu,vcpu-stall-detector"]) {
        return None;
    }
    let number = |name, default, max| {
        walk::cell(&place.node, name).filter(|number| (1..=max).contains(number)).unwrap_or(default)
    };
    Some(Watchdog::Stall {
        registers: place.registers_of(0, STALL_BYTES, 4)?,
        clock_hz: number("clock-frequency", 10, 100),
        timeout_s: number("timeout-sec", 8, 600),
    })
}

/// The unsupported device with possible disks that a node describes, if its registers can be reached by the CPU. Parts of such a
/// device are not listed separately.
fn undriven(place: &Place<'_>) -> Option<Undriven> {
    let of_node = |place: &Place<'_>| {
        let node = &place.node;
        if walk::text(node, "device_type") == Some("pci") {
            return Some(Undriven::pci_host(node.name().into()));
        }
        let compatible = node.compatible().into_iter().flatten();
        Undriven::of_device_tree(node.name_without_address(), compatible, node.name().into())
    };
    let is_part =
        place.parent().is_some_and(|parent| parent.registers(0).is_some() && of_node(&parent).is_some());
    of_node(place).filter(|_| !is_part)
}

fn private_interrupt(tree: &Fdt<'_>, place: &Place<'_>, index: usize) -> Option<Interrupt> {
    let is_private = |interrupt: &Interrupt| matches!(interrupt.number, 16..32 | 1056..1120);
    interrupts::interrupt(tree, place, index).filter(is_private)
}

/// How PSCI is called, if this node describes it.
fn psci_method(node: &FdtNode<'_>) -> Option<PsciMethod> {
    if !["arm,psci", "arm,psci-0.2", "arm,psci-1.0"].iter().any(|name| node.is_compatible(name)) {
        return None;
    }
    let method = node.property("method");
    match method.as_ref().and_then(|method| method.value_as().ok()) {
        Some("hvc") => Some(PsciMethod::Hvc),
        Some("smc") => Some(PsciMethod::Smc),
        _ => None,
    }
}

/// Whether a tree does not describe the machine: if firmware has ACPI tables, boot loaders (GRUB) create a tree that has only `/chosen`.
pub fn is_empty(tree: &Fdt<'_>) -> bool {
    tree.root().children().all(|node| node.name() == "chosen")
}

/// Passes the boot loader's random numbers, `/chosen/rng-seed` and `kaslr-seed`, to `take`.
pub fn random_seeds(tree: &Fdt<'_>, take: &mut dyn FnMut(&[u8])) {
    let Some(chosen) = tree.chosen() else { return };
    for seed in ["rng-seed", "kaslr-seed"].into_iter().filter_map(|name| chosen.property(name)) {
        if !seed.value().is_empty() {
            take(seed.value());
        }
    }
}

/// The boot arguments, up to the terminating NUL, if there is one.
fn boot_args<'a>(tree: &Fdt<'a>) -> &'a [u8] {
    let arguments = tree.chosen().and_then(|chosen| chosen.property("bootargs"));
    let bytes: &[u8] = arguments.and_then(|arguments| arguments.value_as().ok()).unwrap_or_default();
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn cores(tree: &Fdt<'_>) -> Vec<Cpu> {
    let Ok(cpus) = tree.cpus() else {
        return Vec::new();
    };
    let cores = cpus.cpus().filter_map(|cpu| {
        let starts_by_psci =
            cpu.enable_method().is_some_and(|mut methods| methods.any(|name| name == "psci"));
        let status = cpu.property("status");
        let status: Option<&str> = status.as_ref().and_then(|status| status.value_as().ok());
        let is_unusable = status.is_some_and(|status| !matches!(status, "okay" | "ok" | "disabled"));
        let id = cpu.ids().ok()?.next()?;
        Some(Cpu { mpidr: id.to_int().ok()?, starts_by_psci, is_unusable })
    });
    cores.collect()
}

/// The layout of a PCI host bridge's registers, if it is a generic one.
fn configuration_space(place: &Place<'_>) -> Option<ConfigurationSpace> {
    if place.is_compatible(&["pci-host-ecam-generic"]) {
        Some(ConfigurationSpace::Ecam)
    } else {
        place.is_compatible(&["pci-host-cam-generic"]).then_some(ConfigurationSpace::Cam)
    }
}

/// IEEE 1275's PCI bus binding defines the format: a child address has three cells, the first of which gives the address space in
/// bits 25:24 (2: 32-bit memory, 3: 64-bit memory).
fn pcie_host(tree: &Fdt<'_>, place: &Place<'_>, space: ConfigurationSpace) -> Option<PcieHost> {
    let bytes_per_bus = space.bytes_per_bus();
    let node = &place.node;
    let ecam = place.registers_of(0, bytes_per_bus, space.bytes_per_function())?;
    let bus_range = node.property("bus-range");
    let first_bus = bus_range
        .as_ref()
        .and_then(|range| range.as_prop_encoded_array([1, 1]).ok()?.next())
        .and_then(|[first, _last]| first.to_int::<u32>().ok())
        .unwrap_or(0);
    let bus_count = (ecam.size_bytes / bytes_per_bus).min(256);
    let last_bus = u64::from(first_bus) + bus_count.checked_sub(1)?;

    let mut windows = Vec::new();
    for range in node.ranges().ok().flatten().into_iter().flatten() {
        let &[space, high, low] = range.child_bus_address.as_ref() else {
            continue;
        };
        let space = (space.get() >> 24) & 0x3;
        let (Ok(cpu_address), Ok(size_bytes)) = (range.parent_bus_address(), range.length()) else {
            continue;
        };
        let window = place.translate(Registers { address: cpu_address, size_bytes });
        let bus_address = u64::from(high.get()) << 32 | u64::from(low.get());
        // Whatever is aligned on the bus must also be aligned for the CPU.
        const PAGE_BYTES: u64 = 4096;
        if space >= 2
            && let Some(window) = window
            && (window.address | bus_address).is_multiple_of(PAGE_BYTES)
        {
            windows.push(PciWindow {
                bus_address,
                cpu_address: window.address,
                size_bytes: window.size_bytes,
                is_64_bit: space == 3,
            });
        }
    }
    Some(PcieHost {
        ecam,
        space,
        buses: (first_bus.try_into().ok()?, last_bus.try_into().ok()?),
        windows,
        is_placed: false,
        interrupts: interrupts::of_pci(tree, node),
        msi: messages::of_pci(tree, node),
    })
}

fn total_bytes(ranges: &[Range<u64>]) -> u128 {
    ranges.iter().map(|range| u128::from(range.end - range.start)).sum()
}
