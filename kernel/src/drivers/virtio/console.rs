//! The console device: its first port, which carries a stream of bytes in each direction (VIRTIO 1.2, 5.3).

use super::{
    hal::IdentityHal,
    negotiation::{self, feature},
    transport::AnyTransport,
    vectors::Vectors,
};
use crate::drivers::requests::Surroundings;
use alloc::boxed::Box;
use core::mem::ManuallyDrop;
use virtio_drivers::{
    Error,
    queue::VirtQueue,
    transport::{DeviceStatus, Transport},
};

const SUPPORTED: u64 = feature::VERSION_1 | feature::ACCESS_PLATFORM;

/// The first port's queues.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

const QUEUE_LENGTH: usize = 2;

/// Length of each of the two buffers.
const BUFFER_BYTES: usize = 512;

/// How long the device may take to send. After that, nothing more is sent until it is done.
const PATIENCE_US: u64 = 1_000_000;

type Buffer = [u8; BUFFER_BYTES];

/// A console device. It is never stopped, so memory that was lent to it is its own for ever.
pub struct VirtioConsole {
    /// Wrapped because dropping a transport resets the device, and may wait for ever.
    transport: ManuallyDrop<AnyTransport>,
    receive: ManuallyDrop<VirtQueue<IdentityHal, QUEUE_LENGTH>>,
    transmit: ManuallyDrop<VirtQueue<IdentityHal, QUEUE_LENGTH>>,
    received: ManuallyDrop<Box<Buffer>>,
    sent: ManuallyDrop<Box<Buffer>>,
    /// The token of the receive buffer while the device has it.
    receiving: Option<u16>,
    /// The token of the send buffer while the device has it, and the number of bytes being sent.
    sending: Option<(u16, usize)>,
    /// How many bytes of the received buffer have been read, and how many there are.
    n_read: usize,
    n_received: usize,
    n_unsent: usize,
    /// Whether the device has been silent for too long; then there is no further wait until it has answered.
    is_silent: bool,
    /// Set when it has reported something done that it was not asked to do; it is not used any more.
    is_broken: bool,
    clock_us: fn() -> u64,
}

impl VirtioConsole {
    /// Starts the device behind `transport`; with `vectors` it interrupts by messages. `None` if it does not start.
    pub fn new(
        transport: AnyTransport,
        vectors: Option<Vectors>,
        surroundings: Surroundings,
    ) -> Option<Self> {
        let mut transport = ManuallyDrop::new(transport);
        let queues = start(&mut transport, vectors, surroundings);
        let Some((receive, transmit, status)) = queues else {
            transport.set_status(DeviceStatus::FAILED);
            return None;
        };
        transport.set_status(status | DeviceStatus::DRIVER_OK);
        let buffer = || ManuallyDrop::new(Box::new([0; BUFFER_BYTES]));
        let mut console = Self {
            transport,
            receive: ManuallyDrop::new(receive),
            transmit: ManuallyDrop::new(transmit),
            received: buffer(),
            sent: buffer(),
            receiving: None,
            sending: None,
            n_read: 0,
            n_received: 0,
            n_unsent: 0,
            is_silent: false,
            is_broken: false,
            clock_us: surroundings.clock_us,
        };
        console.lend();
        Some(console)
    }

    /// Gives the device the buffer for received bytes.
    fn lend(&mut self) {
        // SAFETY: the buffer is not accessed until the device has returned it, and it is never freed.
        let added = unsafe { self.receive.add(&[], &mut [&mut self.received[..]]) };
        self.receiving = added.ok();
        if self.receive.should_notify() {
            self.transport.notify(RECEIVE);
        }
    }

    /// The next received byte.
    pub fn read(&mut self) -> Option<u8> {
        if self.is_broken {
            return None;
        }
        if self.n_read == self.n_received {
            let token = self.receive.peek_used()?;
            if self.receiving != Some(token) {
                self.fail();
                return None;
            }
            // SAFETY: this is the buffer that was added under this token.
            let length = unsafe { self.receive.pop_used(token, &[], &mut [&mut self.received[..]]) };
            self.receiving = None;
            (self.n_read, self.n_received) =
                (0, length.map_or(0, |length| BUFFER_BYTES.min(length as usize)));
        }
        let byte = (self.n_read < self.n_received).then(|| self.received[self.n_read]);
        self.n_read += usize::from(byte.is_some());
        if self.n_read == self.n_received {
            self.lend();
        }
        byte
    }

    /// Stops a device that broke the rules, without waiting for it: memory that was lent to it is its own for ever.
    fn fail(&mut self) {
        self.is_broken = true;
        self.transport.set_status(DeviceStatus::empty());
    }

    /// Buffers a byte, which is sent at the latest by the next [`flush`](Self::flush).
    pub fn write(&mut self, byte: u8) {
        if self.n_unsent == BUFFER_BYTES {
            self.flush();
        }
        // The device may still have the buffer.
        if self.sending.is_some() {
            self.flush();
        }
        if self.sending.is_none() && !self.is_broken {
            self.sent[self.n_unsent] = byte;
            self.n_unsent += 1;
        }
    }

    /// Sends the buffered bytes, and waits until the device has taken them. If the device has been silent for more than a second,
    /// what is written is lost.
    pub fn flush(&mut self) {
        if self.is_broken {
            self.n_unsent = 0;
            return;
        }
        if self.sending.is_none() && self.n_unsent > 0 {
            let n_bytes = core::mem::take(&mut self.n_unsent);
            // SAFETY: the buffer is not accessed until the device has returned it, and it is never freed.
            let added = unsafe { self.transmit.add(&[&self.sent[..n_bytes]], &mut []) };
            self.sending = added.ok().map(|token| (token, n_bytes));
            if self.transmit.should_notify() {
                self.transport.notify(TRANSMIT);
            }
        }
        let Some((token, n_bytes)) = self.sending else { return };
        let until_us = (self.clock_us)().saturating_add(PATIENCE_US);
        let done = loop {
            match self.transmit.peek_used() {
                Some(done) => break done,
                None if self.is_silent || (self.clock_us)() >= until_us => {
                    self.is_silent = true;
                    return;
                }
                None => core::hint::spin_loop(),
            }
        };
        if done != token {
            return self.fail();
        }
        // SAFETY: this is the buffer that was added under this token.
        let _ = unsafe { self.transmit.pop_used(token, &[&self.sent[..n_bytes]], &mut []) };
        self.sending = None;
        self.is_silent = false;
    }
}

type Queues = (VirtQueue<IdentityHal, QUEUE_LENGTH>, VirtQueue<IdentityHal, QUEUE_LENGTH>, DeviceStatus);

fn start(
    transport: &mut AnyTransport,
    vectors: Option<Vectors>,
    surroundings: Surroundings,
) -> Option<Queues> {
    if !negotiation::reset(transport, surroundings) {
        return None;
    }
    let (_, status) = negotiation::negotiate(transport, SUPPORTED).ok()?;
    if vectors.is_some_and(|vectors| !vectors.assign(RECEIVE)) {
        return None;
    }
    let queue = |transport: &mut AnyTransport, number| -> Result<_, Error> {
        VirtQueue::new(transport, number, false, false)
    };
    let receive = queue(transport, RECEIVE).ok()?;
    let mut transmit = queue(transport, TRANSMIT).ok()?;
    // No interrupt is needed, because sending waits.
    transmit.set_dev_notify(false);
    Some((receive, transmit, status))
}
