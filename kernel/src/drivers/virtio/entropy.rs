//! [`VirtioEntropy`]: the entropy device, which supplies random bytes when the machine starts and when it has been restored from
//! a snapshot (VIRTIO 1.2, 5.4). It is stopped in between.

use super::{
    hal::IdentityHal,
    negotiation::{self, feature},
    transport::AnyTransport,
};
use crate::drivers::requests::Surroundings;
use alloc::boxed::Box;
use core::mem::{ManuallyDrop, forget};
use virtio_drivers::{
    queue::VirtQueue,
    transport::{DeviceStatus, Transport},
};

const SUPPORTED: u64 = feature::VERSION_1 | feature::ACCESS_PLATFORM;

/// Number of the only queue.
const QUEUE: u16 = 0;

/// Enough for a single request.
const QUEUE_LENGTH: usize = 2;

/// How long the device may take.
const PATIENCE_US: u64 = 100_000;

/// Number of bytes that are requested.
pub const SEED_BYTES: usize = 32;

/// An entropy device, which is stopped except during a request.
pub struct VirtioEntropy {
    /// Wrapped because dropping a transport resets the device, and may wait for ever.
    transport: ManuallyDrop<AnyTransport>,
    surroundings: Surroundings,
    /// Whether it may still write to memory that was left to it.
    is_lost: bool,
}

impl VirtioEntropy {
    /// Takes a device, without accessing it yet.
    pub fn new(transport: AnyTransport, surroundings: Surroundings) -> Self {
        Self { transport: ManuallyDrop::new(transport), surroundings, is_lost: false }
    }

    /// Unpredictable bytes, different ones each time; `None` if the device returns fewer or takes too long.
    pub fn seed(&mut self) -> Option<[u8; SEED_BYTES]> {
        let Self { transport, surroundings, is_lost } = self;
        // Memory is left to it once, not each time.
        if *is_lost || !negotiation::reset(&mut **transport, *surroundings) {
            return None;
        }
        let (_, status) = negotiation::negotiate(&mut **transport, SUPPORTED).ok()?;
        let queue = VirtQueue::<IdentityHal, QUEUE_LENGTH>::new(&mut **transport, QUEUE, false, false);
        let mut queue = queue.ok()?;
        let mut seed = Box::new([0; SEED_BYTES]);
        queue.set_dev_notify(false);
        transport.set_status(status | DeviceStatus::DRIVER_OK);
        // SAFETY: the bytes are not accessed until the device has returned them or has been reset; if neither happens, they are
        // left to the device for ever.
        let token = unsafe { queue.add(&[], &mut [&mut seed[..]]) }.ok()?;
        transport.notify(QUEUE);
        surroundings.wait_until(PATIENCE_US, &mut || queue.can_pop());
        // SAFETY: this is the buffer that was added under this token.
        let popped = unsafe { queue.pop_used(token, &[], &mut [&mut seed[..]]) };
        if !negotiation::reset(&mut **transport, *surroundings) {
            forget((queue, seed));
            *is_lost = true;
            return None;
        }
        let is_whole = popped.is_ok_and(|length| length as usize >= SEED_BYTES);
        is_whole.then_some(*seed)
    }
}
