//! The common part of starting a virtio device: a reset, then the negotiation of features (VIRTIO 1.2, 3.1.1).

use crate::drivers::requests::Surroundings;
use virtio_drivers::{
    PAGE_SIZE,
    transport::{DeviceStatus, Transport},
};

/// Feature bits of every device (VIRTIO 1.2, 6).
pub mod feature {
    /// A descriptor may refer to a table of descriptors.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Not a legacy device.
    pub const VERSION_1: u64 = 1 << 32;
    /// Addresses are the platform's: here, physical addresses.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
    /// Queues with the packed layout, which this kernel does not support.
    pub const RING_PACKED: u64 = 1 << 34;
}

/// How long a reset may take.
const RESET_US: u64 = 1_000_000;

/// Resets the device; true if it confirms that before the user stops the wait.
pub fn reset(transport: &mut impl Transport, surroundings: Surroundings) -> bool {
    transport.set_status(DeviceStatus::empty());
    surroundings.wait_until(RESET_US, &mut || transport.get_status() == DeviceStatus::empty())
}

/// Selects the features to use of a device that was reset: those that are `supported`. Returns them and the status, to which
/// `DRIVER_OK` must be added when the queues are set up.
///
/// # Errors
/// The features that the device offers, if it does not accept the selection.
pub fn negotiate(transport: &mut impl Transport, supported: u64) -> Result<(u64, DeviceStatus), u64> {
    let mut status = DeviceStatus::ACKNOWLEDGE;
    transport.set_status(status);
    status |= DeviceStatus::DRIVER;
    transport.set_status(status);
    let offered = transport.read_device_features();
    let features = offered & supported;
    transport.write_driver_features(features);
    if features & feature::VERSION_1 != 0 {
        status |= DeviceStatus::FEATURES_OK;
        transport.set_status(status);
        if !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(offered);
        }
    }
    transport.set_guest_page_size(PAGE_SIZE as u32);
    Ok((features, status))
}

/// True if a device that was started will do nothing until it is reset.
pub fn is_broken(transport: &impl Transport) -> bool {
    let status = transport.get_status();
    // The status is zero if something else has reset the device.
    status.contains(DeviceStatus::DEVICE_NEEDS_RESET) || !status.contains(DeviceStatus::DRIVER_OK)
}
