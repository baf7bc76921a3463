//! Device drivers: each file owns the registers of one kind of device. Those that are not for bare metal alone
//! reach their registers through a trait, for which tests have devices of their own.

#[cfg(target_os = "none")]
pub mod calendar_clock;
pub mod fw_cfg;
#[cfg(target_os = "none")]
mod gic_security;
pub mod gic_v2;
#[cfg(target_os = "none")]
pub mod host;
pub mod interrupt_handlers;
#[cfg(target_os = "none")]
pub mod interrupts;
#[cfg(target_os = "none")]
pub(crate) mod last_words;
pub mod ns16550;
#[cfg(target_os = "none")]
pub mod pcie;
pub mod pl061;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
pub mod power_keys;
pub mod received;
#[cfg(target_os = "none")]
pub mod serial_port;
#[cfg(target_os = "none")]
pub mod uart;
pub mod virtio;
