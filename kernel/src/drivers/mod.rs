//! Device drivers: each file owns the registers of one kind of device. Drivers that are also compiled for the host access their
//! registers through a trait, for which tests have simulated devices.

#[cfg(any(test, target_os = "none"))]
pub mod balloon;
#[cfg(target_os = "none")]
pub mod calendar_clock;
#[cfg(any(test, target_os = "none"))]
mod dma;
#[cfg(target_os = "none")]
pub(crate) mod emergency_console;
pub mod fw_cfg;
#[cfg(any(test, target_os = "none"))]
pub mod gic_its;
#[cfg(target_os = "none")]
mod gic_security;
pub mod gic_v2;
pub mod gic_v2m;
#[cfg(target_os = "none")]
mod gic_v3;
#[cfg(target_os = "none")]
pub mod guest;
#[cfg(target_os = "none")]
pub mod host;
pub mod interrupt_handlers;
#[cfg(target_os = "none")]
pub mod interrupts;
#[cfg(target_os = "none")]
pub mod messages;
pub mod ns16550;
#[cfg(any(test, target_os = "none"))]
pub mod nvme;
#[cfg(target_os = "none")]
pub mod pcie;
pub mod pl061;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
pub mod power_keys;
#[cfg(target_os = "none")]
pub mod probe;
pub mod received;
#[cfg(any(test, target_os = "none"))]
pub mod requests;
#[cfg(any(test, target_os = "none"))]
pub mod scsi;
#[cfg(target_os = "none")]
pub mod serial_port;
#[cfg(any(test, target_os = "none"))]
mod turns;
#[cfg(target_os = "none")]
pub mod uart;
pub mod virtio;
pub mod watchdog;
