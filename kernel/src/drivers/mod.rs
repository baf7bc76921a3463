//! Device drivers: each file owns the registers of one kind of device.

pub mod host;
pub mod interrupts;
pub mod pcie;
pub mod power;
pub mod uart;
pub mod virtio;
