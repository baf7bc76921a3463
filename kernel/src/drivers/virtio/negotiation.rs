//! How any virtio device is started: reset, then the features that both sides know (VIRTIO 1.2, 3.1.1).

use crate::drivers::requests::Surroundings;
use virtio_drivers::{
    PAGE_SIZE,
    transport::{DeviceStatus, Transport},
};

/// Feature bits of every device (VIRTIO 1.2, 6).
pub mod feature {
    /// A descriptor may stand for a table of descriptors.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Not a legacy device.
    pub const VERSION_1: u64 = 1 << 32;
    /// Addresses are those of the platform: here, physical ones.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
    /// Queues of another layout than this kernel's.
    pub const RING_PACKED: u64 = 1 << 34;
}

/// How long a device may take for a reset.
const RESET_US: u64 = 1_000_000;

/// Resets the device; true if it confirms that before the user wants no more waiting.
pub fn reset(transport: &mut impl Transport, surroundings: Surroundings) -> bool {
    transport.set_status(DeviceStatus::empty());
    surroundings.wait_until(RESET_US, &mut || transport.get_status() == DeviceStatus::empty())
}

/// Tells a device that was reset which of its features are used: those that are `supported`. Returns them, and the status, to
/// which `DRIVER_OK` is to be added when the queues are there.
///
/// # Errors
/// What the device offers, if it does not take what is left of that.
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

/// True if a device that was started will do nothing before it is reset.
pub fn is_broken(transport: &impl Transport) -> bool {
    let status = transport.get_status();
    // Nothing is what a device says that was reset by somebody else.
    status.contains(DeviceStatus::DEVICE_NEEDS_RESET) || !status.contains(DeviceStatus::DRIVER_OK)
}
