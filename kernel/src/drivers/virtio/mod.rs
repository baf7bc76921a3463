//! virtio block, SCSI, network, socket, console, entropy and balloon devices, over MMIO and PCI.
//!
//! The queues' rings and the registers in memory are `virtio_drivers`'; here are
//!
//! - `transport`: a device's registers, however they are reached;
//! - `pci`: those behind a PCI function;
//! - `hal`: its access to memory, which is identity-mapped and coherent;
//! - `negotiation`: how any device is started;
//! - `packets`: the queues of the two devices by which packets come and go;
//! - `net`: the network device, as a `net::Link`;
//! - `vsock`: the socket device, as a `net::VsockDevice`;
//! - `console`: the console device, as a `SerialPort`;
//! - `balloon`: the memory balloon, as a `balloon::Device`;
//! - `entropy`: the entropy device, which is asked for random bytes at the start and when the machine has been restored;
//! - `interrupt`, `vectors`: how they interrupt, by a line or by messages;
//! - `queue`: a virtqueue of the size that a device has;
//! - `block`: the block device, features and configuration, as a channel of `requests`;
//! - `scsi`: the SCSI host adapter, as a controller of `requests`.
//!
//! All but what needs an interrupt controller is compiled for the host too, where `fake` is a device that obeys or lies, and `lies` says of each
//! driver what it makes of that.

#[cfg(any(test, target_os = "none"))]
mod balloon;
#[cfg(any(test, target_os = "none"))]
pub mod block;
#[cfg(any(test, target_os = "none"))]
pub mod console;
#[cfg(any(test, target_os = "none"))]
pub mod entropy;
#[cfg(test)]
mod fake;
#[cfg(any(test, target_os = "none"))]
mod hal;
#[cfg(target_os = "none")]
mod interrupt;
#[cfg(test)]
mod lies;
#[cfg(any(test, target_os = "none"))]
mod negotiation;
#[cfg(any(test, target_os = "none"))]
mod net;
#[cfg(any(test, target_os = "none"))]
mod packets;
#[cfg(any(test, target_os = "none"))]
mod pci;
#[cfg(any(test, target_os = "none"))]
mod queue;
#[cfg(any(test, target_os = "none"))]
pub mod scsi;
#[cfg(any(test, target_os = "none"))]
mod transport;
#[cfg(any(test, target_os = "none"))]
mod vectors;
#[cfg(any(test, target_os = "none"))]
mod vsock;

#[cfg(target_os = "none")]
pub use {
    balloon::VirtioBalloon,
    interrupt::Line,
    net::VirtioNet,
    packets::Interrupts,
    pci::{COMMON, PciError, PciTransport},
    transport::AnyTransport,
    vectors::Vectors,
    vsock::VirtioVsock,
};

#[cfg(target_os = "none")]
use super::interrupts::has_come;

#[cfg(test)]
fn has_come(_interrupt: Option<u32>) -> bool {
    false
}
