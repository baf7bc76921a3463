//! A virtqueue of the size that a device has.
//!
//! `virtio_drivers`' queues have their size in their type; a device may have a smaller one than others.

use super::hal::IdentityHal;
use alloc::boxed::Box;
use virtio_drivers::{Error, PAGE_SIZE, queue::VirtQueue, transport::Transport};

/// The shortest queue that a read fits into: its descriptors are header, data and status.
pub const SHORTEST: u32 = 4;

/// What a queue's rings take: a page for the driver's, and one for the device's.
pub const RINGS_BYTES: usize = 2 * PAGE_SIZE;

/// A queue of a device.
pub struct Queue {
    number: u16,
    ring: Ring,
}

enum Ring {
    Of16(Box<VirtQueue<IdentityHal, 16>>),
    Of8(Box<VirtQueue<IdentityHal, 8>>),
    Of4(Box<VirtQueue<IdentityHal, 4>>),
}

/// Does the same with a queue of any size.
macro_rules! with {
    ($queue:expr, $name:ident => $use:expr) => {
        match $queue {
            Ring::Of16($name) => $use,
            Ring::Of8($name) => $use,
            Ring::Of4($name) => $use,
        }
    };
}

impl Queue {
    /// The longest queue with this number, up to 16 descriptors, that the device can have. `interrupts` says whether the device is to
    /// interrupt when it has done something.
    ///
    /// # Errors
    /// If the device's is shorter than [`SHORTEST`], or there is no memory.
    #[inline(never)]
    pub fn new(
        transport: &mut impl Transport,
        number: u16,
        indirect: bool,
        interrupts: bool,
    ) -> Result<Self, Error> {
        let mut ring = match transport.max_queue_size(number) {
            16.. => Ring::Of16(Box::new(VirtQueue::new(transport, number, indirect, false)?)),
            8.. => Ring::Of8(Box::new(VirtQueue::new(transport, number, indirect, false)?)),
            SHORTEST.. => Ring::Of4(Box::new(VirtQueue::new(transport, number, indirect, false)?)),
            _ => return Err(Error::InvalidParam),
        };
        // Whoever waits looks at the queue itself, but may sleep between two looks.
        with!(&mut ring, queue => queue.set_dev_notify(interrupts));
        Ok(Self { number, ring })
    }

    /// How many descriptors it has.
    pub fn len(&self) -> usize {
        match self.ring {
            Ring::Of16(_) => 16,
            Ring::Of8(_) => 8,
            Ring::Of4(_) => 4,
        }
    }

    /// Gives the device a request and returns its token.
    ///
    /// # Errors
    /// If there is no room.
    ///
    /// # Safety
    /// The memory must stay, and nobody touch it, until [`finish`](Self::finish) has taken the token back or the
    /// device has been reset.
    #[inline(never)]
    pub unsafe fn start<'a>(
        &mut self,
        transport: &mut impl Transport,
        header: &'a [&'a [u8]],
        parts: &'a mut [&'a mut [u8]],
    ) -> Result<u16, Error> {
        // SAFETY: the caller promises what the queue asks for.
        let token = unsafe { with!(&mut self.ring, queue => queue.add(header, parts)) }?;
        if with!(&self.ring, queue => queue.should_notify()) {
            transport.notify(self.number);
        }
        Ok(token)
    }

    /// The token of a request that the device has done with, if there is one.
    pub fn peek(&self) -> Option<u16> {
        with!(&self.ring, queue => queue.peek_used())
    }

    /// Takes the request back that [`peek`](Self::peek) has told, and returns how many bytes the device says that it has written.
    ///
    /// # Errors
    /// If it is not that one.
    ///
    /// # Safety
    /// The memory must be what [`start`](Self::start) was given with this token.
    #[inline(never)]
    pub unsafe fn finish<'a>(
        &mut self,
        token: u16,
        header: &'a [&'a [u8]],
        parts: &'a mut [&'a mut [u8]],
    ) -> Result<u32, Error> {
        // SAFETY: the caller promises what the queue asks for.
        unsafe { with!(&mut self.ring, queue => queue.pop_used(token, header, parts)) }
    }
}
