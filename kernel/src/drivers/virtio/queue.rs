//! A virtqueue of whatever size a device has.
//!
//! The queues of `virtio_drivers` have their size in their type, but some devices have smaller queues than others.

use super::hal::IdentityHal;
use alloc::boxed::Box;
use virtio_drivers::{Error, PAGE_SIZE, queue::VirtQueue, transport::Transport};

/// The shortest queue that a read fits into: it needs descriptors for header, data and status.
pub const SHORTEST: u32 = 4;

/// Memory of a queue's rings: a page for the driver's and a page for the device's.
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

/// Runs the same code with a queue of any size.
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
    /// The longest queue with this number, of up to 16 descriptors, that the device supports. `interrupts` says whether the
    /// device is to interrupt when it has done something.
    ///
    /// # Errors
    /// If the device's queue is shorter than [`SHORTEST`], or there is no memory.
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
        // Code that waits checks the queue itself, but may sleep between two checks.
        with!(&mut ring, queue => queue.set_dev_notify(interrupts));
        Ok(Self { number, ring })
    }

    /// Number of descriptors.
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
    /// The memory must stay valid and must not be accessed until [`finish`](Self::finish) has taken back the token or the device
    /// has been reset.
    #[inline(never)]
    pub unsafe fn start<'a>(
        &mut self,
        transport: &mut impl Transport,
        header: &'a [&'a [u8]],
        parts: &'a mut [&'a mut [u8]],
    ) -> Result<u16, Error> {
        // SAFETY: the caller promises what the queue requires.
        let token = unsafe { with!(&mut self.ring, queue => queue.add(header, parts)) }?;
        if with!(&self.ring, queue => queue.should_notify()) {
            transport.notify(self.number);
        }
        Ok(token)
    }

    /// The token of a request that the device has finished, if there is one.
    pub fn peek(&self) -> Option<u16> {
        with!(&self.ring, queue => queue.peek_used())
    }

    /// Takes back the request that [`peek`](Self::peek) has returned, and returns how many bytes the device says it has written.
    ///
    /// # Errors
    /// If the token is not that of the next finished request.
    ///
    /// # Safety
    /// The memory must be the same that [`start`](Self::start) was given with this token.
    #[inline(never)]
    pub unsafe fn finish<'a>(
        &mut self,
        token: u16,
        header: &'a [&'a [u8]],
        parts: &'a mut [&'a mut [u8]],
    ) -> Result<u32, Error> {
        // SAFETY: the caller promises what the queue requires.
        unsafe { with!(&mut self.ring, queue => queue.pop_used(token, header, parts)) }
    }
}
