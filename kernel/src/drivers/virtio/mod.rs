//! virtio block, SCSI, network, socket, console, entropy and balloon devices, over MMIO and PCI.
//!
//! The queues' rings and the transports are `virtio_drivers`'; here are
//!
//! - `hal`: its access to memory, which is identity-mapped and coherent;
//! - `negotiation`: how any device is started;
//! - `packets`: the queues of the two devices by which packets come and go;
//! - `net`: the network device, as a `net::Link`;
//! - `vsock`: the socket device, as a `net::VsockDevice`;
//! - `console`: the console device, as a `SerialPort`;
//! - `balloon`: the memory balloon, as a `balloon::Device`;
//! - `entropy`: the entropy device, which is asked for random bytes once;
//! - `interrupt`: how they interrupt;
//! - `queue`: a virtqueue of the size that a device has;
//! - `block`: the block device, features and configuration, as a channel of `requests`;
//! - `scsi`: the SCSI host adapter, as a controller of `requests`.

#[cfg(target_os = "none")]
mod balloon;
#[cfg(target_os = "none")]
pub mod block;
#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod entropy;
#[cfg(target_os = "none")]
mod hal;
#[cfg(target_os = "none")]
mod interrupt;
#[cfg(target_os = "none")]
mod negotiation;
#[cfg(target_os = "none")]
mod net;
#[cfg(target_os = "none")]
mod packets;
#[cfg(target_os = "none")]
mod queue;
#[cfg(target_os = "none")]
pub mod scsi;
#[cfg(target_os = "none")]
mod vsock;

#[cfg(target_os = "none")]
pub use {
    balloon::VirtioBalloon,
    hal::IdentityHal,
    interrupt::{Line, Vectors},
    net::VirtioNet,
    packets::Interrupts,
    vsock::VirtioVsock,
};
