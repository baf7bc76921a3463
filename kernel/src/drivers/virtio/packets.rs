//! [`Packets`]: the two queues of a device that carries packets; the first one receives (VIRTIO 1.2, 5.1.2 and 5.10.2).

use super::{hal::IdentityHal, has_come, negotiation, transport::AnyTransport, vectors::Vectors};
use crate::{drivers::requests::Surroundings, net::Buffer};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{array, mem::ManuallyDrop};
use virtio_drivers::{
    Error,
    queue::VirtQueue,
    transport::{DeviceStatus, Transport},
};

/// Numbers of the queues.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Length of each queue; QEMU allows longer ones.
pub const QUEUE_LENGTH: usize = 64;

type Queue = Box<VirtQueue<IdentityHal, QUEUE_LENGTH>>;

/// The buffers that the device has, and the used length of each, by their tokens.
type Lent = [Option<(Box<Buffer>, usize)>; QUEUE_LENGTH];

/// Why such a device is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// It has not confirmed a reset.
    #[error("it does not confirm a reset")]
    NoReset,
    /// It accepts none of the combinations of features that the driver can offer.
    #[error("it refuses the features that this driver takes of {offered:#x}")]
    Features {
        /// What it offered.
        offered: u64,
    },
    /// Its queues are too short.
    #[error("a queue of it holds {length} descriptors; expected {QUEUE_LENGTH} at least")]
    ShortQueue {
        /// How many descriptors the shorter one has.
        length: u32,
    },
    /// An error of `virtio_drivers`.
    #[error("{0}")]
    Virtio(Error),
}

impl From<Error> for InitError {
    fn from(error: Error) -> Self {
        Self::Virtio(error)
    }
}

/// The queues of a device that is never stopped, so memory that was lent to it is its own for ever.
pub struct Packets {
    /// The device's transport. Wrapped because dropping a transport resets the device, and may wait for ever.
    pub transport: ManuallyDrop<AnyTransport>,
    failure: Option<String>,
    interrupt: Option<u32>,
    receive: ManuallyDrop<Queue>,
    transmit: ManuallyDrop<Queue>,
    receiving: ManuallyDrop<Lent>,
    sending: ManuallyDrop<Lent>,
    /// Unused buffers, for sending.
    #[allow(clippy::vec_box, reason = "buffers stay where they are while they go from hand to hand")]
    free: Vec<Box<Buffer>>,
}

/// How a device interrupts. With vectors it uses messages; otherwise the second value is the interrupt of its line, if that is enabled.
pub type Interrupts = (Option<Vectors>, Option<u32>);

/// Both queues of a device that has not been started yet.
pub struct Queues {
    receive: ManuallyDrop<Queue>,
    transmit: ManuallyDrop<Queue>,
    interrupt: Option<u32>,
}

/// Resets a device and negotiates features out of these (VIRTIO 1.2, 3.1.1, steps 1 to 6). Returns the features and the device's status.
///
/// # Errors
/// [`InitError`].
pub fn negotiate(
    transport: &mut AnyTransport,
    supported: u64,
    surroundings: Surroundings,
) -> Result<(u64, DeviceStatus), InitError> {
    if !negotiation::reset(transport, surroundings) {
        return Err(InitError::NoReset);
    }
    negotiation::negotiate(transport, supported).map_err(|offered| InitError::Features { offered })
}

impl Queues {
    /// Creates the queues of a device whose features have been negotiated.
    ///
    /// # Errors
    /// [`InitError`].
    pub fn new(transport: &mut AnyTransport, interrupts: Interrupts) -> Result<Self, InitError> {
        let length = transport.max_queue_size(RECEIVE).min(transport.max_queue_size(TRANSMIT));
        if (length as usize) < QUEUE_LENGTH {
            return Err(InitError::ShortQueue { length });
        }
        let interrupt = match interrupts {
            (Some(vectors), _) => vectors.assign(RECEIVE).then_some(vectors.interrupt),
            (None, line) => line,
        };
        // The device keeps the address of the first queue even if the second one cannot be created.
        let mut queue = |number| -> Result<_, Error> {
            Ok(ManuallyDrop::new(Box::new(VirtQueue::new(transport, number, false, false)?)))
        };
        Ok(Self { receive: queue(RECEIVE)?, transmit: queue(TRANSMIT)?, interrupt })
    }
}

fn new_buffer() -> Box<Buffer> {
    Box::new([0; size_of::<Buffer>()])
}

impl Packets {
    /// Starts the device; `status` is its status so far.
    pub fn start(
        transport: ManuallyDrop<AnyTransport>,
        Queues { receive, transmit, interrupt }: Queues,
        status: DeviceStatus,
    ) -> Self {
        let free = core::iter::repeat_with(new_buffer).take(QUEUE_LENGTH).collect();
        let mut packets = Self {
            transport,
            failure: None,
            interrupt,
            receive,
            transmit,
            receiving: ManuallyDrop::new(array::from_fn(|_| None)),
            sending: ManuallyDrop::new(array::from_fn(|_| None)),
            free,
        };
        // The sender checks the queue itself, as does a receiver without an interrupt.
        packets.transmit.set_dev_notify(false);
        packets.receive.set_dev_notify(interrupt.is_some());
        packets.transport.set_status(status | DeviceStatus::DRIVER_OK);
        for _ in 0..QUEUE_LENGTH {
            packets.recycle(new_buffer());
        }
        packets
    }

    /// Whether the device is known to interrupt when a packet arrives: it has done so at least once.
    pub fn has_interrupt(&self) -> bool {
        has_come(self.interrupt)
    }

    /// Why the device is not used any more, if it broke the rules.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Heap memory of the buffers.
    pub fn buffer_bytes(&self) -> usize {
        2 * QUEUE_LENGTH * size_of::<Buffer>()
    }

    /// Stops a device that broke the rules, without waiting for it: memory that was lent to it is its own for ever.
    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
        self.transport.set_status(DeviceStatus::empty());
    }

    /// Takes back the buffers of packets that have been sent.
    fn reclaim(&mut self) {
        while self.failure.is_none()
            && let Some(token) = self.transmit.peek_used()
        {
            let Some((buffer, length)) = self.sending.get_mut(usize::from(token)).and_then(Option::take)
            else {
                self.fail(format!("it says that it has sent what it was not given ({token})"));
                return;
            };
            // SAFETY: this is the buffer that `send` gave to the device under this token.
            match unsafe { self.transmit.pop_used(token, &[&buffer[..length]], &mut []) } {
                Ok(_) => self.free.push(buffer),
                Err(error) => {
                    self.sending[usize::from(token)] = Some((buffer, length));
                    self.fail(format!("its queue for sending is out of order ({error})"));
                }
            }
        }
    }

    /// A received packet of at least `min_bytes`, if there is one: its buffer and its length.
    pub fn receive(&mut self, min_bytes: usize) -> Option<(Box<Buffer>, usize)> {
        // Shorter packets may arrive as fast as their buffers are returned, so their number is limited.
        for _ in 0..QUEUE_LENGTH {
            if self.failure.is_some() {
                return None;
            }
            let token = self.receive.peek_used()?;
            let Some((mut buffer, lent)) = self.receiving.get_mut(usize::from(token)).and_then(Option::take)
            else {
                self.fail(format!("it says that it has filled what it was not given ({token})"));
                return None;
            };
            // SAFETY: this is the buffer that `recycle` gave to the device under this token.
            let popped = unsafe { self.receive.pop_used(token, &[], &mut [&mut buffer[..]]) };
            let length = match popped {
                Ok(length) => length as usize,
                Err(error) => {
                    self.receiving[usize::from(token)] = Some((buffer, lent));
                    self.fail(format!("its queue for receiving is out of order ({error})"));
                    return None;
                }
            };
            if length > buffer.len() {
                self.fail(format!("it says that it has put {length} bytes into {}", buffer.len()));
                return None;
            }
            if length >= min_bytes {
                return Some((buffer, length));
            }
            self.recycle(buffer);
        }
        None
    }

    /// Gives the device a buffer to receive into.
    pub fn recycle(&mut self, mut buffer: Box<Buffer>) {
        if self.failure.is_some() {
            return;
        }
        // SAFETY: the buffer is not accessed until the device returns the token: it is kept in `receiving`, from which only
        // `receive` removes it, and is never dropped while the device is in use.
        match unsafe { self.receive.add(&[], &mut [&mut buffer[..]]) } {
            Ok(token) => self.receiving[usize::from(token)] = Some((buffer, size_of::<Buffer>())),
            // There are no more buffers than places in the queue.
            Err(error) => self.fail(format!("its queue for receiving is out of order ({error})")),
        }
        if self.receive.should_notify() {
            self.transport.notify(RECEIVE);
        }
    }

    /// Whether a packet can be sent now.
    pub fn can_send(&mut self) -> bool {
        self.reclaim();
        self.failure.is_none() && !self.free.is_empty()
    }

    /// Sends a packet, which `fill` writes over zeros. It is dropped if there is [no room](Self::can_send).
    pub fn send(&mut self, length_bytes: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let length_bytes = length_bytes.min(size_of::<Buffer>());
        if !self.can_send() {
            fill(&mut [0; size_of::<Buffer>()][..length_bytes]);
            return;
        }
        let Some(mut buffer) = self.free.pop() else { return };
        buffer[..length_bytes].fill(0);
        fill(&mut buffer[..length_bytes]);
        // SAFETY: the buffer is not accessed until the device returns the token: it is kept in `sending`, from which only
        // `reclaim` removes it, and is never dropped while the device is in use.
        match unsafe { self.transmit.add(&[&buffer[..length_bytes]], &mut []) } {
            Ok(token) => self.sending[usize::from(token)] = Some((buffer, length_bytes)),
            Err(error) => self.fail(format!("its queue for sending is out of order ({error})")),
        }
        if self.transmit.should_notify() {
            self.transport.notify(TRANSMIT);
        }
    }
}
