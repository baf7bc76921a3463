//! virtio block, SCSI, network, socket, console, entropy and balloon devices, over MMIO and PCI.
//!
//! The crate `virtio_drivers` provides the queues' rings and the register layouts; these modules provide the rest:
//!
//! - `transport`: a device's registers, however they are reached;
//! - `pci`: the registers behind a PCI function;
//! - `hal`: access of devices to memory, which is identity-mapped and coherent;
//! - `negotiation`: the common part of starting any device;
//! - `packets`: the queues of the two devices that carry packets;
//! - `net`: the network device, as a `net::Link`;
//! - `vsock`: the socket device, as a `net::VsockDevice`;
//! - `console`: the console device, as a `SerialPort`;
//! - `balloon`: the memory balloon, as a `balloon::Device`;
//! - `entropy`: the entropy device, which supplies random bytes at the start and after the machine has been restored;
//! - `interrupt`, `vectors`: interrupts by a line or by messages;
//! - `queue`: a virtqueue of whatever size a device has;
//! - `block`: the block device, features and configuration, as a channel of `requests`;
//! - `scsi`: the SCSI host adapter, as a controller of `requests`.
//!
//! Everything that needs no interrupt controller is also compiled for the host, where `fake` is a simulated device that obeys or
//! lies, and `lies` tests how each driver handles that.

#[cfg(any(test, target_os = "none"))]
mod balloon;
#[cfg(any(test, target_os = "none"))]
pub mod block;
#[cfg(test)]
mod block_reads;
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
