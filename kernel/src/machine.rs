//! What a machine consists of, whoever says so: memory, cores, the devices that the kernel drives.
//!
//! [`Platform`] is filled by [`device_tree`](crate::device_tree) and read by the drivers and `boot.rs`.

use crate::undriven::Undriven;
use alloc::{string::String, vec::Vec};
use core::{fmt, ops::Range};

/// Addresses that the kernel's page tables can name.
pub const ADDRESS_SPACE: Range<u64> = 0..1 << 48;

/// The first locality-specific interrupt of a GICv3; there are no others from here on (GICv3 architecture, 2.2.1).
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
    /// By a change of the line, or a pulse.
    Edge,
    /// For as long as the line is active.
    Level,
}

/// An interrupt of the interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt {
    /// The controller's number: 16 to 31 belong to one core each, from 32 on they are shared; those of GICv3.1's
    /// extended ranges are 1056 to 1119 and 4096 to 5119.
    pub number: u32,
    /// How it is signalled.
    pub trigger: Trigger,
}

/// The programming model of a UART.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UartKind {
    /// Arm PL011.
    Pl011,
    /// The part of a PL011 that the Server Base System Architecture asks for (appendix B): neither the speed nor
    /// the format of the line can be set.
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
    /// The interrupt of what is plugged in.
    pub interrupt: Option<Interrupt>,
}

/// The console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uart {
    /// How it is programmed.
    pub kind: UartKind,
    /// The register block.
    pub registers: Registers,
    /// Its interrupt; without one it is polled.
    pub interrupt: Option<Interrupt>,
    /// Frequency of the clock that the speed is divided from, where that is known.
    pub clock_hz: Option<u32>,
    /// Speed that somebody asks for, in bits per second.
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
        /// The distance between redistributors, where it is not that which the architecture gives.
        stride_bytes: Option<u64>,
    },
}

/// What makes interrupts of the messages that PCI functions write (MSI-X; PCI Local Bus 3.0, 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MsiController {
    /// A frame of GICv2m, which raises shared interrupts (Server Base System Architecture 2.3, appendix E).
    V2m {
        /// The frame.
        frame: Registers,
        /// Its first interrupt, where that is not the one that the frame names.
        first: Option<u32>,
        /// How many interrupts it has, where that is not what the frame says.
        count: Option<u32>,
    },
    /// An Interrupt Translation Service of GICv3, which raises locality-specific interrupts.
    Its {
        /// Both frames, that of the messages behind that of control.
        registers: Registers,
    },
}

impl MsiController {
    /// The registers.
    pub fn registers(&self) -> Registers {
        match self {
            Self::V2m { frame: registers, .. } | Self::Its { registers } => *registers,
        }
    }
}

/// How the functions below a PCI host bridge interrupt by messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Msi {
    /// Where their messages go.
    pub controller: MsiController,
    /// The bits of a requester ID that count: bus, device and function number, from bit 8, 3 and 0 on.
    pub requester_mask: u16,
    /// What the controller calls them; empty if it calls them by their requester IDs.
    pub map: Vec<MsiRange>,
}

/// Requester IDs that a controller knows by consecutive numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiRange {
    /// The first requester ID, as far as its bits count.
    pub requester: u32,
    /// What the controller calls that one.
    pub device: u32,
    /// How many there are.
    pub count: u32,
}

impl Msi {
    /// What the controller calls a function; `None` if the function's messages do not go there.
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

/// How configuration space lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigurationSpace {
    /// PCI Express's enhanced mechanism: 4 KiB a function (PCI Express Base 5.0, 7.2.2).
    Ecam,
    /// The first 256 bytes of each function, one after the other.
    Cam,
}

impl ConfigurationSpace {
    /// How much of it a function has.
    pub fn bytes_per_function(self) -> u64 {
        match self {
            Self::Ecam => 4096,
            Self::Cam => 256,
        }
    }

    /// How much of it a bus has: 32 devices of 8 functions.
    pub fn bytes_per_bus(self) -> u64 {
        256 * self.bytes_per_function()
    }
}

/// A PCI host bridge whose configuration space lies in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcieHost {
    /// Configuration space.
    pub ecam: Registers,
    /// What lies where in it.
    pub space: ConfigurationSpace,
    /// The buses that it covers, first and last.
    pub buses: (u8, u8),
    /// Memory windows; I/O windows are left out.
    pub windows: Vec<PciWindow>,
    /// Whether firmware has given the functions their memory, and the buses their numbers, which they keep: the windows are no more than
    /// what it has used.
    pub is_placed: bool,
    /// Where the interrupt pins of the functions on the first bus lead.
    pub interrupts: Vec<PciInterrupt>,
    /// Where the messages of the functions go.
    pub msi: Option<Msi>,
}

impl PcieHost {
    /// Where in configuration space a register of a function is; `None` for buses before the first one.
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

/// Where an interrupt pin of some PCI devices leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciInterrupt {
    /// The number of the device, under `device_mask`.
    pub device: u8,
    /// The bits of a device's number that count.
    pub device_mask: u8,
    /// The pin, 1 to 4, under `pin_mask`.
    pub pin: u8,
    /// The bits of a pin's number that count.
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
    /// True if its `enable-method` is `psci`; the core that boots needs none.
    pub starts_by_psci: bool,
    /// True if its `status` says that it is broken or belongs to somebody else. A core that is `disabled` only
    /// waits to be started (Devicetree Specification 0.4, 3.8).
    pub is_unusable: bool,
}

/// What a key of the machine asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAction {
    /// To be turned off.
    PowerOff,
    /// To start again.
    Restart,
}

/// A key of the machine itself, on a line of a GPIO controller, an Arm PL061.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerKey {
    /// What it asks for.
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

/// A device that starts the machine again unless it is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watchdog {
    /// Arm's generic watchdog.
    Generic {
        /// The frame by which it is fed.
        refresh: Registers,
        /// The frame by which it is set up.
        control: Registers,
    },
    /// A detector of stalled virtual CPUs.
    Stall {
        /// Its registers, of which each CPU has a block.
        registers: Registers,
        /// How fast it counts down.
        clock_hz: u32,
        /// How long a CPU may stall.
        timeout_s: u32,
    },
}

impl Watchdog {
    /// Its registers, which may be the same twice.
    pub fn frames(&self) -> [Registers; 2] {
        match *self {
            Self::Generic { refresh, control } => [control, refresh],
            Self::Stall { registers, .. } => [registers; 2],
        }
    }
}

/// The identifier of the machine's generation, 16 bytes in memory, which is another one after the machine was restored from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Where it is, at a multiple of 8.
    pub address: u64,
    /// The interrupt that says that it is another one.
    pub interrupt: Option<Interrupt>,
}

impl Generation {
    /// How long it is.
    pub const BYTES: u64 = 16;

    /// Where it is: in two pages, if it begins in the last 8 bytes of one.
    pub fn range(&self) -> Range<u64> {
        Registers { address: self.address, size_bytes: Self::BYTES }.range()
    }
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// RAM banks in ascending order, none of which overlaps or meets another.
    pub memory: Vec<Range<u64>>,
    /// Parts of the RAM that firmware or devices keep for themselves, in any order.
    pub reserved_memory: Vec<Range<u64>>,
    /// The cores.
    pub cores: Vec<Cpu>,
    /// The console.
    pub uart: Option<Uart>,
    /// The interrupt controller.
    pub interrupt_controller: Option<InterruptController>,
    /// The virtio-mmio transports in ascending order of address, whether something is plugged in
    /// or not.
    pub virtio_mmio: Vec<VirtioMmio>,
    /// The PCIe host bridge.
    pub pcie: Option<PcieHost>,
    /// What may have disks and is not driven, apart from what is plugged into transports and PCI slots.
    pub undriven: Vec<Undriven>,
    /// Interrupt of the cores' virtual timers.
    pub timer_interrupt: Option<Interrupt>,
    /// Interrupt of the cores' performance counters.
    pub pmu_interrupt: Option<Interrupt>,
    /// The clock that knows the date: an Arm PL031.
    pub clock: Option<Registers>,
    /// QEMU's `fw_cfg`.
    pub fw_cfg: Option<Registers>,
    /// The keys that end the machine.
    pub power_keys: Vec<PowerKey>,
    /// The identifier of its generation.
    pub generation: Option<Generation>,
    /// The watchdog.
    pub watchdog: Option<Watchdog>,
    /// The boot arguments.
    pub boot_args: Vec<u8>,
    /// What was found to be wrong or left out, a sentence each.
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
