//! What the device tree says about the machine: memory, cores, devices, boot arguments.
//!
//! [`LastWords`], [`memory_banks`] and [`reserved_memory`] need no heap, so that the heap can be placed first;
//! [`Platform`] is all of it, owned, so that the tree's own memory can be given away afterwards.
//! Anything absent from the tree is absent from the platform: the boot goes on without it.

use alloc::{string::String, vec::Vec};
use core::{fmt, ops::Range};
use dtoolkit::{
    Node, Property, ToCellInt,
    fdt::{Fdt, FdtNode},
    standard::NodeStandard,
};

/// The magic number that begins a flattened device tree (Devicetree Specification 0.4, 5.2).
const MAGIC: u32 = 0xd00d_feed;

/// The console's `compatible`.
const PL011: &str = "arm,pl011";

/// Interrupt numbers of shared peripheral interrupts begin here (GICv2 architecture, 2.2.1).
const FIRST_SHARED_INTERRUPT: u32 = 32;

/// Why a device tree cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceTreeError {
    /// The bytes are no valid flattened device tree; the text says what is wrong.
    Invalid(String),
    /// No memory node with a `reg` property.
    NoMemory,
}

impl fmt::Display for DeviceTreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(reason) => write!(f, "device tree: {reason}"),
            Self::NoMemory => write!(f, "device tree: no memory node with a reg property"),
        }
    }
}

impl core::error::Error for DeviceTreeError {}

/// A device's registers: physical address and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// Physical address of the first register.
    pub address: u64,
    /// Size of the register block.
    pub size_bytes: u64,
}

/// The console: an Arm PL011.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uart {
    /// The PL011's register block.
    pub registers: Registers,
    /// Interrupt number at the interrupt controller.
    pub interrupt: Option<u32>,
    /// Frequency of the clock that the baud rate is divided from.
    pub clock_hz: u32,
}

/// The interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptController {
    /// GICv2: distributor and memory-mapped CPU interface.
    GicV2 {
        /// The distributor, `GICD`.
        distributor: Registers,
        /// The CPU interface, `GICC`.
        cpu_interface: Registers,
    },
    /// GICv3 or 4: distributor and the first region of redistributors.
    GicV3 {
        /// The distributor, `GICD`.
        distributor: Registers,
        /// The redistributors, `GICR`, one frame pair a core.
        redistributors: Registers,
    },
}

/// A window through which the CPU reaches PCI memory: bus and CPU addresses are often equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciWindow {
    /// First address as PCI devices see it.
    pub bus_address: u64,
    /// The same place as the CPU sees it.
    pub cpu_address: u64,
    /// Size of the window.
    pub size_bytes: u64,
    /// True when the window may hold addresses above 4 GiB.
    pub is_64_bit: bool,
}

/// A PCIe host bridge with an enhanced configuration access mechanism (ECAM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcieHost {
    /// Configuration space, 4 KiB a function.
    pub ecam: Registers,
    /// The buses that the ECAM covers, first and last.
    pub buses: (u8, u8),
    /// Memory windows; I/O windows are left out.
    pub windows: Vec<PciWindow>,
}

/// The instruction that calls the firmware's PSCI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PsciMethod {
    /// `hvc #0`.
    Hvc,
    /// `smc #0`.
    Smc,
}

/// A core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// Affinity fields of its `MPIDR`.
    pub mpidr: u64,
    /// True if its `enable-method` is `psci`; the core that boots needs none.
    pub starts_by_psci: bool,
}

/// The machine as the device tree describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// RAM banks in ascending order.
    pub memory: Vec<Range<u64>>,
    /// Parts of the RAM that the firmware keeps for itself.
    pub reserved_memory: Vec<Range<u64>>,
    /// The cores.
    pub cores: Vec<Cpu>,
    /// The console.
    pub uart: Option<Uart>,
    /// The interrupt controller.
    pub interrupt_controller: Option<InterruptController>,
    /// The virtio-mmio transports in ascending order of address, whether something is plugged in
    /// or not.
    pub virtio_mmio: Vec<Registers>,
    /// The PCIe host bridge.
    pub pcie: Option<PcieHost>,
    /// How to call PSCI.
    pub psci: Option<PsciMethod>,
    /// Interrupt number of the cores' performance counters.
    pub pmu_interrupt: Option<u32>,
    /// `/chosen/bootargs`.
    pub boot_args: String,
}

/// Reads the header of a tree to learn how long it is.
///
/// Returns `None` if `header` does not begin with the magic number or is shorter than 8 bytes.
pub fn total_size_bytes(header: &[u8]) -> Option<usize> {
    let magic = u32::from_be_bytes(header.get(..4)?.try_into().ok()?);
    let total_size = u32::from_be_bytes(header.get(4..8)?.try_into().ok()?);
    (magic == MAGIC).then_some(total_size as usize)
}

/// The RAM banks of the tree, unsorted, without allocating.
pub fn memory_banks<'a>(tree: &Fdt<'a>) -> impl Iterator<Item = Range<u64>> + 'a {
    tree.root()
        .children()
        .filter(|node| node.name_without_address() == "memory" && is_enabled(node))
        .filter_map(|node| node.reg().ok().flatten())
        .flatten()
        .filter_map(|reg| {
            let start: u64 = reg.address().ok()?;
            let size: u64 = reg.size().ok()?;
            Some(start..start.checked_add(size)?)
        })
        .filter(|bank| !bank.is_empty())
}

/// The parts of the RAM that the firmware keeps for itself, without allocating.
pub fn reserved_memory<'a>(tree: &Fdt<'a>) -> impl Iterator<Item = Range<u64>> + 'a {
    let reservations = tree.memory_reservations();
    let nodes = tree.reserved_memory().into_iter().flatten();
    let blocks = nodes.filter_map(|node| node.reg().ok().flatten()).flatten();
    reservations
        .map(|reservation| (reservation.address(), reservation.size()))
        .chain(blocks.filter_map(|reg| Some((reg.address().ok()?, reg.size().ok()?))))
        .map(|(start, size)| start..start.saturating_add(size))
}

/// What a kernel needs to say why it cannot boot, without allocating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastWords<'a> {
    /// The console's registers.
    pub console: Option<Registers>,
    /// How to call PSCI.
    pub psci: Option<PsciMethod>,
    /// `/chosen/bootargs`.
    pub boot_args: &'a str,
}

impl<'a> LastWords<'a> {
    /// Reads them from `tree`; what is missing or unreadable is left out.
    pub fn from_tree(tree: &Fdt<'a>) -> Self {
        let devices = || tree.root().children().filter(is_enabled);
        Self {
            console: devices()
                .find(|node| node.is_compatible(PL011))
                .and_then(|node| register_block(&node, 0)),
            psci: devices().find_map(|node| psci_method(&node)),
            boot_args: boot_args(tree),
        }
    }
}

impl Platform {
    /// Reads everything that the kernel uses from `tree`.
    ///
    /// # Errors
    /// [`DeviceTreeError::NoMemory`] if there is no RAM; whatever else is missing or unreadable is
    /// left out.
    pub fn from_tree(tree: &Fdt<'_>) -> Result<Self, DeviceTreeError> {
        let mut memory: Vec<_> = memory_banks(tree).collect();
        if memory.is_empty() {
            return Err(DeviceTreeError::NoMemory);
        }
        memory.sort_by_key(|bank| bank.start);

        let mut platform = Self {
            memory,
            reserved_memory: reserved_memory(tree).collect(),
            cores: cores(tree),
            uart: None,
            interrupt_controller: None,
            virtio_mmio: Vec::new(),
            pcie: None,
            psci: None,
            pmu_interrupt: None,
            boot_args: boot_args(tree).into(),
        };
        for node in tree.root().children().filter(is_enabled) {
            platform.add_device(tree, &node);
        }
        platform.virtio_mmio.sort_by_key(|device| device.address);
        Ok(platform)
    }

    fn add_device(&mut self, tree: &Fdt<'_>, node: &FdtNode<'_>) {
        let compatible = |names: &[&str]| {
            let mut all = node.compatible().into_iter().flatten();
            all.any(|name| names.contains(&name))
        };
        if compatible(&["virtio,mmio"]) {
            self.virtio_mmio.extend(register_block(node, 0));
        } else if compatible(&[PL011]) {
            if self.uart.is_none() {
                self.uart = register_block(node, 0).map(|registers| Uart {
                    registers,
                    interrupt: shared_interrupt(node),
                    clock_hz: clock_hz(tree).unwrap_or(24_000_000),
                });
            }
        } else if compatible(&["arm,gic-v3"]) {
            self.interrupt_controller =
                register_block(node, 0).zip(register_block(node, 1)).map(|(distributor, redistributors)| {
                    InterruptController::GicV3 { distributor, redistributors }
                });
        } else if compatible(&["arm,cortex-a15-gic", "arm,gic-400"]) {
            self.interrupt_controller =
                register_block(node, 0).zip(register_block(node, 1)).map(|(distributor, cpu_interface)| {
                    InterruptController::GicV2 { distributor, cpu_interface }
                });
        } else if compatible(&["pci-host-ecam-generic"]) {
            self.pcie = pcie_host(node);
        } else if let Some(method) = psci_method(node) {
            self.psci = Some(method);
        } else if compatible(&["arm,armv8-pmuv3"]) {
            self.pmu_interrupt = private_interrupt(node);
        }
    }
}

/// How PSCI is called, if this is its node.
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

fn is_enabled(node: &FdtNode<'_>) -> bool {
    let status = node.property("status");
    match status.as_ref().map(|status| status.value_as::<&str>()) {
        None => true,
        Some(value) => matches!(value, Ok("okay" | "ok")),
    }
}

fn register_block(node: &FdtNode<'_>, index: usize) -> Option<Registers> {
    let reg = node.reg().ok()??.nth(index)?;
    let address: u64 = reg.address().ok()?;
    let size_bytes: u64 = reg.size().ok()?;
    address.checked_add(size_bytes)?;
    Some(Registers { address, size_bytes })
}

/// The first `interrupts` entry: type, number, flags (Linux' arm,gic.yaml binding).
fn interrupt_cells(node: &FdtNode<'_>) -> Option<(u32, u32)> {
    let property = node.property("interrupts")?;
    let mut entries = property.as_prop_encoded_array([1, 1, 1]).ok()?;
    let [kind, number, _flags] = entries.next()?;
    Some((kind.to_int().ok()?, number.to_int().ok()?))
}

fn shared_interrupt(node: &FdtNode<'_>) -> Option<u32> {
    match interrupt_cells(node)? {
        (0, number) => number.checked_add(FIRST_SHARED_INTERRUPT),
        _ => None,
    }
}

fn private_interrupt(node: &FdtNode<'_>) -> Option<u32> {
    const FIRST_PRIVATE_INTERRUPT: u32 = 16;
    match interrupt_cells(node)? {
        (1, number) if number < 16 => Some(number + FIRST_PRIVATE_INTERRUPT),
        _ => None,
    }
}

/// The frequency of the first fixed clock: QEMU's `virt` has one, which feeds the UART.
fn clock_hz(tree: &Fdt<'_>) -> Option<u32> {
    let clock = tree.root().children().find(|node| node.is_compatible("fixed-clock"))?;
    clock.property("clock-frequency")?.value_as().ok()
}

fn boot_args<'a>(tree: &Fdt<'a>) -> &'a str {
    let arguments = tree.chosen().and_then(|chosen| chosen.property("bootargs"));
    arguments.and_then(|arguments| arguments.value_as().ok()).unwrap_or("")
}

fn cores(tree: &Fdt<'_>) -> Vec<Cpu> {
    let Ok(cpus) = tree.cpus() else {
        return Vec::new();
    };
    let cores = cpus.cpus().filter_map(|cpu| {
        let starts_by_psci =
            cpu.enable_method().is_some_and(|mut methods| methods.any(|name| name == "psci"));
        let id = cpu.ids().ok()?.next()?;
        Some(Cpu { mpidr: id.to_int().ok()?, starts_by_psci })
    });
    cores.collect()
}

/// See IEEE 1275's PCI bus binding: a child address has three cells, the first of which tells the
/// space in bits 25:24 (2: 32-bit memory, 3: 64-bit memory).
fn pcie_host(node: &FdtNode<'_>) -> Option<PcieHost> {
    const BYTES_PER_BUS: u64 = 1 << 20;
    let ecam = register_block(node, 0)?;
    let bus_range = node.property("bus-range");
    let first_bus = bus_range
        .as_ref()
        .and_then(|range| range.as_prop_encoded_array([1, 1]).ok()?.next())
        .and_then(|[first, _last]| first.to_int::<u32>().ok())
        .unwrap_or(0);
    let bus_count = (ecam.size_bytes / BYTES_PER_BUS).min(256);
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
        if space >= 2 {
            windows.push(PciWindow {
                bus_address: u64::from(high.get()) << 32 | u64::from(low.get()),
                cpu_address,
                size_bytes,
                is_64_bit: space == 3,
            });
        }
    }
    Some(PcieHost { ecam, buses: (first_bus.try_into().ok()?, last_bus.try_into().ok()?), windows })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Written by `qemu-system-aarch64 -M virt,gic-version=3,dumpdtb=FILE -smp 2 -m 1G`, then cut
    // to the length that its header's blocks need.
    const VIRT_GIC_V3: &[u8] = include_bytes!("../testdata/virt-gic3-smp2-1g.dtb");
    const VIRT_GIC_V2_EL2: &[u8] = include_bytes!("../testdata/virt-gic2-el2-128m.dtb");

    fn platform(bytes: &[u8]) -> Platform {
        Platform::from_tree(&Fdt::new(bytes).unwrap()).unwrap()
    }

    #[test]
    fn reads_virt_with_gic_v3() {
        let platform = platform(VIRT_GIC_V3);
        assert_eq!(platform.memory, [0x4000_0000..0x8000_0000]);
        let core = |mpidr| Cpu { mpidr, starts_by_psci: true };
        assert_eq!(platform.cores, [core(0), core(1)]);
        let uart = platform.uart.unwrap();
        assert_eq!(uart.registers.address, 0x0900_0000);
        assert_eq!(uart.interrupt, Some(33));
        assert_eq!(uart.clock_hz, 24_000_000);
        assert_eq!(
            platform.interrupt_controller,
            Some(InterruptController::GicV3 {
                distributor: Registers { address: 0x0800_0000, size_bytes: 0x1_0000 },
                redistributors: Registers { address: 0x080a_0000, size_bytes: 0xf6_0000 },
            })
        );
        assert_eq!(platform.virtio_mmio.len(), 32);
        assert_eq!(platform.virtio_mmio[0].address, 0x0a00_0000);
        assert_eq!(platform.virtio_mmio[31].address, 0x0a00_3e00);
        assert_eq!(platform.psci, Some(PsciMethod::Hvc));
        assert_eq!(platform.pmu_interrupt, Some(23));
        assert_eq!(platform.boot_args, "log=info hello");
    }

    #[test]
    fn last_words_are_what_the_platform_has() {
        for bytes in [VIRT_GIC_V3, VIRT_GIC_V2_EL2] {
            let tree = Fdt::new(bytes).unwrap();
            let platform = Platform::from_tree(&tree).unwrap();
            let words = LastWords::from_tree(&tree);
            assert_eq!(words.console, platform.uart.map(|uart| uart.registers));
            assert!(words.console.is_some());
            assert_eq!(words.psci, platform.psci);
            assert_eq!(words.boot_args, platform.boot_args);
        }
    }

    #[test]
    fn reads_the_pcie_host() {
        let pcie = platform(VIRT_GIC_V3).pcie.unwrap();
        assert_eq!(pcie.ecam.address, 0x40_1000_0000);
        assert_eq!(pcie.buses, (0, 255));
        let low = pcie.windows.iter().find(|window| !window.is_64_bit);
        let high = pcie.windows.iter().find(|window| window.is_64_bit);
        assert_eq!(low.unwrap().bus_address, 0x1000_0000);
        assert_eq!(low.unwrap().size_bytes, 0x2eff_0000);
        assert_eq!(high.unwrap().cpu_address, 0x80_0000_0000);
        assert_eq!(high.unwrap().size_bytes, 0x80_0000_0000);
    }

    #[test]
    fn reads_virt_with_gic_v2_at_el2() {
        let platform = platform(VIRT_GIC_V2_EL2);
        assert_eq!(platform.memory, [0x4000_0000..0x4800_0000]);
        assert_eq!(platform.psci, Some(PsciMethod::Smc));
        assert!(matches!(
            platform.interrupt_controller,
            Some(InterruptController::GicV2 { cpu_interface: Registers { address: 0x0801_0000, .. }, .. })
        ));
    }

    #[test]
    fn broken_trees_are_refused_without_a_panic() {
        assert_eq!(total_size_bytes(&[]), None);
        assert_eq!(total_size_bytes(&[0; 40]), None);
        assert_eq!(total_size_bytes(VIRT_GIC_V3), Some(VIRT_GIC_V3.len()));
        for length in (0..VIRT_GIC_V3.len()).step_by(97) {
            assert!(Fdt::new(&VIRT_GIC_V3[..length]).is_err(), "{length}");
        }
        for flipped in (0..VIRT_GIC_V3.len()).step_by(61) {
            let mut bytes = VIRT_GIC_V3.to_vec();
            bytes[flipped] ^= 0xff;
            if let Ok(tree) = Fdt::new(&bytes) {
                let _ = Platform::from_tree(&tree);
            }
        }
    }
}
