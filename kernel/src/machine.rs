//! The parts of a machine, whatever source describes them: memory, cores, and the devices that the kernel drives.
//!
//! [`Platform`] is filled by [`device_tree`](crate::device_tree) and read by the drivers and `boot.rs`.

use crate::undriven::Undriven;
use alloc::{string::String, vec::Vec};
use core::{fmt, ops::Range};

/// The addresses that the kernel's page tables can map.
pub const ADDRESS_SPACE: Range<u64> = 0..1 << 48;

/// The first locality-specific peripheral interrupt of a GICv3: all interrupts from this number on are of that kind (GICv3
/// architecture, 2.2.1).
pub const FIRST_LPI: u32 = 8192;

/// A device's registers: physical address and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// Physical address of the first register.
    pub address: u64,
    /// Size of the register block.
    pub size_bytes: u64,
}

impl Registers {
    /// The addresses that the registers occupy.
    pub fn range(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.size_bytes)
    }
}

/// How an interrupt is signalled to the interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// By an edge: a change of the line, or a pulse.
    Edge,
    /// By a level: the interrupt is pending while the line is active.
    Level,
}

/// An interrupt of the interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt {
    /// The controller's number. Each core has its own 16 to 31; those from 32 on are shared; those of GICv3.1's extended ranges
    /// are 1056 to 1119 and 4096 to 5119.
    pub number: u32,
    /// How it is signalled.
    pub trigger: Trigger,
}

/// The programming model of a UART.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UartKind {
    /// Arm PL011.
    Pl011,
    /// The subset of a PL011 that the Server Base System Architecture requires (appendix B): neither the speed nor the format of
    /// the line can be set.
    Sbsa,
    /// National Semiconductor's 16550 and its descendants.
    Ns16550 {
        /// Registers lie `1 << register_shift` bytes apart.
        register_shift: u8,
        /// Size of an access: 1, 2 or 4.
        access_bytes: u8,
    },
}

impl fmt::Display for UartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pl011 => "a PL011",
            Self::Sbsa => "an SBSA UART",
            Self::Ns16550 { .. } => "a 16550",
        })
    }
}

/// A virtio-mmio transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioMmio {
    /// The register block.
    pub registers: Registers,
    /// The interrupt of the device that is plugged in.
    pub interrupt: Option<Interrupt>,
}

/// The console's UART.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uart {
    /// Its programming model.
    pub kind: UartKind,
    /// The register block.
    pub registers: Registers,
    /// Its interrupt; if there is none, the UART is polled.
    pub interrupt: Option<Interrupt>,
    /// Frequency of the clock from which the speed is divided, if that is known.
    pub clock_hz: Option<u32>,
    /// The requested speed in bits per second, if there is one.
    pub baud_rate: Option<u32>,
}

/// The interrupt controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterruptController {
    /// GICv2: distributor and memory-mapped CPU interface.
    GicV2 {
        /// The distributor, `GICD`.
        distributor: Registers,
        /// The CPU interface, `GICC`.
        cpu_interface: Registers,
    },
    /// GICv3 or 4: distributor and redistributors.
    GicV3 {
        /// The distributor, `GICD`.
        distributor: Registers,
        /// The regions of redistributors, `GICR`.
        redistributors: Vec<Registers>,
        /// The distance between redistributors, if it differs from the architecture's.
        stride_bytes: Option<u64>,
    },
}

/// The device that turns the messages which PCI functions write into interrupts (MSI-X; PCI Local Bus 3.0, 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MsiController {
    /// A frame of GICv2m, which raises shared interrupts (Server Base System Architecture 2.3, appendix E).
    V2m {
        /// The frame.
        frame: Registers,
        /// Its first interrupt, if the frame's own register is to be overridden.
        first: Option<u32>,
        /// Its number of interrupts, if the frame's own register is to be overridden.
        count: Option<u32>,
    },
    /// An Interrupt Translation Service of a GICv3, which raises locality-specific interrupts.
    Its {
        /// Both frames: first the one for control, then the one that takes messages.
        registers: Registers,
    },
}

impl MsiController {
    /// Its registers.
    pub fn registers(&self) -> Registers {
        match self {
            Self::V2m { frame: registers, .. } | Self::Its { registers } => *registers,
        }
    }
}

/// How the functions below a PCI host bridge raise interrupts by messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Msi {
    /// The controller that receives their messages.
    pub controller: MsiController,
    /// The bits of a requester ID that are significant. The ID consists of the bus (from bit 8), device (from bit 3) and function
    /// number (from bit 0).
    pub requester_mask: u16,
    /// Maps requester IDs to the controller's device IDs; if empty, both are equal.
    pub map: Vec<MsiRange>,
}

/// A range of requester IDs that maps to consecutive device IDs of the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiRange {
    /// The first requester ID, after masking.
    pub requester: u32,
    /// The controller's device ID for it.
    pub device: u32,
    /// Length of the range.
    pub count: u32,
}

impl Msi {
    /// The controller's device ID for a function; `None` if the function's messages do not go to this controller.
    pub fn device(&self, requester: u16) -> Option<u32> {
        let requester = u32::from(requester & self.requester_mask);
        if self.map.is_empty() {
            return Some(requester);
        }
        self.map.iter().find_map(|range| {
            let offset = requester.checked_sub(range.requester)?;
            (offset < range.count).then_some(range.device.checked_add(offset)?)
        })
    }
}

/// A window through which the CPU reaches PCI memory. Bus and CPU addresses are often equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciWindow {
    /// First address as PCI devices see it.
    pub bus_address: u64,
    /// The corresponding address as the CPU sees it.
    pub cpu_address: u64,
    /// Size of the window.
    pub size_bytes: u64,
    /// True when the window may hold addresses above 4 GiB.
    pub is_64_bit: bool,
}

/// The layout of configuration space in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigurationSpace {
    /// PCI Express's enhanced mechanism: 4 KiB per function (PCI Express Base 5.0, 7.2.2).
    Ecam,
    /// The first 256 bytes of each function, one function after the other.
    Cam,
}

impl ConfigurationSpace {
    /// Bytes of configuration space per function.
    pub fn bytes_per_function(self) -> u64 {
        match self {
            Self::Ecam => 4096,
            Self::Cam => 256,
        }
    }

    /// Bytes of configuration space per bus: 32 devices with 8 functions each.
    pub fn bytes_per_bus(self) -> u64 {
        256 * self.bytes_per_function()
    }
}

/// A PCI host bridge whose configuration space lies in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcieHost {
    /// Configuration space.
    pub ecam: Registers,
    /// Its layout.
    pub space: ConfigurationSpace,
    /// The first and the last bus that it covers.
    pub buses: (u8, u8),
    /// Memory windows; I/O windows are not listed.
    pub windows: Vec<PciWindow>,
    /// Whether firmware has assigned memory to the functions and numbers to the buses, which must stay as they are. The windows
    /// then cover only what the firmware has assigned.
    pub is_placed: bool,
    /// The interrupts that the interrupt pins of the functions on the first bus are wired to.
    pub interrupts: Vec<PciInterrupt>,
    /// How the functions' messages become interrupts.
    pub msi: Option<Msi>,
}

impl PcieHost {
    /// Offset of a function's register in configuration space; `None` for buses before the first one.
    pub fn configuration_offset(&self, bus: u8, device: u8, function: u8, register: u8) -> Option<u64> {
        let bus = u64::from(bus.checked_sub(self.buses.0)?);
        let number = bus << 8 | u64::from(device) << 3 | u64::from(function);
        Some(number * self.space.bytes_per_function() + u64::from(register))
    }

    /// The interrupt of a pin of a device on the first bus.
    pub fn interrupt(&self, device: u8, pin: u8) -> Option<Interrupt> {
        let is_it = |entry: &&PciInterrupt| {
            (entry.device ^ device) & entry.device_mask == 0 && (entry.pin ^ pin) & entry.pin_mask == 0
        };
        self.interrupts.iter().find(is_it).map(|entry| entry.interrupt)
    }
}

/// The interrupt that an interrupt pin of some PCI devices is wired to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciInterrupt {
    /// The device's number, masked with `device_mask`.
    pub device: u8,
    /// The significant bits of a device's number.
    pub device_mask: u8,
    /// The pin, 1 to 4, masked with `pin_mask`.
    pub pin: u8,
    /// The significant bits of a pin's number.
    pub pin_mask: u8,
    /// The controller's interrupt.
    pub interrupt: Interrupt,
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
    /// True if its `enable-method` is `psci`; the boot core needs no method.
    pub starts_by_psci: bool,
    /// True if its `status` says that it is broken or reserved for something else. A core whose status is `disabled` can be
    /// started (Devicetree Specification 0.4, 3.8).
    pub is_unusable: bool,
}

/// What a key on the machine requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAction {
    /// Power off.
    PowerOff,
    /// Restart.
    Restart,
}

/// A key on the machine itself, connected to a line of a GPIO controller (an Arm PL061).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerKey {
    /// What it requests.
    pub action: KeyAction,
    /// The GPIO controller.
    pub gpio: Registers,
    /// Its line, 0 to 7.
    pub line: u8,
    /// Whether the line is low while the key is pressed.
    pub is_active_low: bool,
    /// The controller's interrupt.
    pub interrupt: Interrupt,
}

/// A device that restarts the machine unless the kernel feeds it regularly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watchdog {
    /// Arm's generic watchdog.
    Generic {
        /// The frame through which it is fed.
        refresh: Registers,
        /// The frame through which it is set up.
        control: Registers,
    },
    /// A detector for stalled virtual CPUs.
    Stall {
        /// Its registers: one block per CPU.
        registers: Registers,
        /// The frequency at which it counts down.
        clock_hz: u32,
        /// How long a CPU may stall.
        timeout_s: u32,
    },
}

impl Watchdog {
    /// Its registers; both are the same if it has only one block.
    pub fn frames(&self) -> [Registers; 2] {
        match *self {
            Self::Generic { refresh, control } => [control, refresh],
            Self::Stall { registers, .. } => [registers; 2],
        }
    }
}

/// The machine's generation identifier: 16 bytes in memory that change when the machine is restored from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Its address, a multiple of 8.
    pub address: u64,
    /// The interrupt that announces a new identifier.
    pub interrupt: Option<Interrupt>,
}

impl Generation {
    /// Its length.
    pub const BYTES: u64 = 16;

    /// Its addresses; they span two pages if it begins in the last 8 bytes of one.
    pub fn range(&self) -> Range<u64> {
        Registers { address: self.address, size_bytes: Self::BYTES }.range()
    }
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// RAM banks in ascending order; no two overlap or touch.
    pub memory: Vec<Range<u64>>,
    /// Parts of the RAM that are reserved for firmware or devices, in any order.
    pub reserved_memory: Vec<Range<u64>>,
    /// The cores.
    pub cores: Vec<Cpu>,
    /// The console.
    pub uart: Option<Uart>,
    /// The interrupt controller.
    pub interrupt_controller: Option<InterruptController>,
    /// The virtio-mmio transports in ascending order of address, including those with nothing plugged in.
    pub virtio_mmio: Vec<VirtioMmio>,
    /// The PCIe host bridge.
    pub pcie: Option<PcieHost>,
    /// Devices that may have disks but have no driver here, except those on transports and in PCI slots.
    pub undriven: Vec<Undriven>,
    /// Interrupt of the cores' virtual timers.
    pub timer_interrupt: Option<Interrupt>,
    /// Interrupt of the cores' performance counters.
    pub pmu_interrupt: Option<Interrupt>,
    /// The clock that knows the date, an Arm PL031.
    pub clock: Option<Registers>,
    /// QEMU's `fw_cfg`.
    pub fw_cfg: Option<Registers>,
    /// The keys that power the machine off or restart it.
    pub power_keys: Vec<PowerKey>,
    /// The machine's generation identifier.
    pub generation: Option<Generation>,
    /// The watchdog.
    pub watchdog: Option<Watchdog>,
    /// The boot arguments.
    pub boot_args: Vec<u8>,
    /// Problems found in the description, and things left out: one sentence each.
    pub remarks: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn requesters_are_named_as_the_map_says() {
        let registers = Registers { address: 0x808_0000, size_bytes: 0x2_0000 };
        let range = |requester, device, count| MsiRange { requester, device, count };
        let mut msi =
            Msi { controller: MsiController::Its { registers }, requester_mask: u16::MAX, map: vec![] };
        assert_eq!(msi.device(0x1234), Some(0x1234));
        msi.map = vec![range(0x100, 0x1_0000, 0x100), range(0x300, u32::MAX, 2)];
        let found = [0xff, 0x100, 0x1ff, 0x200, 0x300, 0x301].map(|requester| msi.device(requester));
        assert_eq!(found, [None, Some(0x1_0000), Some(0x1_00ff), None, Some(u32::MAX), None]);
        msi.requester_mask = 0xff00;
        assert_eq!(msi.device(0x1ff), Some(0x1_0000));
    }

    #[test]
    fn functions_lie_closer_in_a_cam() {
        let host = |space| PcieHost {
            ecam: Registers { address: 0, size_bytes: 1 << 24 },
            space,
            buses: (1, 4),
            windows: vec![],
            is_placed: false,
            interrupts: vec![],
            msi: None,
        };
        let ecam = host(ConfigurationSpace::Ecam);
        assert_eq!(ecam.configuration_offset(2, 3, 4, 0x10), Some(1 << 20 | 3 << 15 | 4 << 12 | 0x10));
        let cam = host(ConfigurationSpace::Cam);
        assert_eq!(cam.configuration_offset(2, 3, 4, 0x10), Some(1 << 16 | 3 << 11 | 4 << 8 | 0x10));
        assert_eq!(cam.configuration_offset(0, 0, 0, 0), None);
        assert_eq!(cam.space.bytes_per_bus(), 1 << 16);
    }
}
