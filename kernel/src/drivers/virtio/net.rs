//! The network device: its features, its configuration, its two queues (VIRTIO 1.2, 5.1).

use super::{
    hal::IdentityHal,
    interrupt::Vectors,
    negotiation::{self, feature},
};
use crate::{
    drivers::requests::Surroundings,
    net::{Buffer, Frame, Link, MAX_FRAME_BYTES},
};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{array, fmt, mem::ManuallyDrop};
use virtio_drivers::{
    Error,
    queue::VirtQueue,
    transport::{DeviceStatus, Transport},
};

/// Feature bits (VIRTIO 1.2, 5.1.3).
const MAC: u64 = 1 << 5;
const STATUS: u64 = 1 << 16;
const SUPPORTED: u64 = MAC | STATUS | feature::VERSION_1 | feature::ACCESS_PLATFORM;

/// Offsets in the configuration, and a bit there (VIRTIO 1.2, 5.1.4).
mod configuration {
    pub const MAC: usize = 0;
    pub const STATUS: usize = 6;
    pub const LINK_UP: u16 = 1;
}

/// Numbers of the queues (VIRTIO 1.2, 5.1.2).
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Length of each queue; QEMU's are four times as long.
const QUEUE_LENGTH: usize = 64;

/// What stands before a frame (VIRTIO 1.2, 5.1.6): a legacy device does not have the last two bytes.
const HEADER_BYTES: usize = 12;
const LEGACY_HEADER_BYTES: usize = 10;

/// The shortest frame that says anything: the Ethernet header.
const MIN_FRAME_BYTES: usize = 14;

type Queue = Box<VirtQueue<IdentityHal, QUEUE_LENGTH>>;

/// Buffers that the device has, and how much of each, by their tokens.
type Lent = [Option<(Box<Buffer>, usize)>; QUEUE_LENGTH];

/// Why a network device is not driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitError {
    /// It has not confirmed a reset.
    NoReset,
    /// It takes none of the combinations of features that the driver can offer.
    Features {
        /// What it offered.
        offered: u64,
    },
    /// Its queues are too short.
    ShortQueue {
        /// How many descriptors the shorter one has.
        length: u32,
    },
    /// What `virtio_drivers` says.
    Virtio(Error),
}

impl From<Error> for InitError {
    fn from(error: Error) -> Self {
        Self::Virtio(error)
    }
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReset => write!(f, "it does not confirm a reset"),
            Self::Features { offered } => {
                write!(f, "it refuses the features that this driver takes of {offered:#x}")
            }
            Self::ShortQueue { length } => {
                write!(f, "a queue of it holds {length} descriptors; expected {QUEUE_LENGTH} at least")
            }
            Self::Virtio(error) => error.fmt(f),
        }
    }
}

/// A network device on a virtio transport. It is never stopped, so what it was lent is its own for ever.
pub struct VirtioNet<T: Transport> {
    transport: ManuallyDrop<T>,
    name: String,
    mac: [u8; 6],
    features: u64,
    has_interrupt: bool,
    failure: Option<String>,
    receive: ManuallyDrop<Queue>,
    transmit: ManuallyDrop<Queue>,
    receiving: ManuallyDrop<Lent>,
    sending: ManuallyDrop<Lent>,
    /// Buffers that nobody has, to send with.
    #[allow(clippy::vec_box, reason = "buffers stay where they are while they go from hand to hand")]
    free: Vec<Box<Buffer>>,
}

impl<T: Transport> VirtioNet<T> {
    /// Starts the device behind `transport`. It interrupts by messages if it has `vectors`; if not, `has_line` says whether somebody
    /// listens to its line.
    ///
    /// # Errors
    /// [`InitError`].
    pub fn new(
        mut transport: T,
        name: String,
        vectors: Option<Vectors>,
        has_line: bool,
        surroundings: Surroundings,
    ) -> Result<Self, InitError> {
        let started = Self::start(&mut transport, vectors, surroundings);
        let mut transport = ManuallyDrop::new(transport);
        let Started { features, status, mac, interrupts, receive, transmit } = match started {
            Ok(started) => started,
            Err(error) => {
                transport.set_status(DeviceStatus::FAILED);
                return Err(error);
            }
        };
        let free = core::iter::repeat_with(new_buffer).take(QUEUE_LENGTH).collect();
        let mut device = Self {
            transport,
            name,
            mac,
            features,
            has_interrupt: interrupts.unwrap_or(has_line),
            failure: None,
            receive,
            transmit,
            receiving: ManuallyDrop::new(array::from_fn(|_| None)),
            sending: ManuallyDrop::new(array::from_fn(|_| None)),
            free,
        };
        // Who sends looks at the queue itself, and so does who has no interrupt.
        device.transmit.set_dev_notify(false);
        device.receive.set_dev_notify(device.has_interrupt);
        device.transport.set_status(status | DeviceStatus::DRIVER_OK);
        for _ in 0..QUEUE_LENGTH {
            device.recycle(new_buffer());
        }
        Ok(device)
    }

    /// Device initialisation (VIRTIO 1.2, 3.1.1 and 5.1.5), up to the queues.
    fn start(
        transport: &mut T,
        vectors: Option<Vectors>,
        surroundings: Surroundings,
    ) -> Result<Started, InitError> {
        if !negotiation::reset(transport, surroundings) {
            return Err(InitError::NoReset);
        }
        let (features, status) = negotiation::negotiate(transport, SUPPORTED)
            .map_err(|offered| InitError::Features { offered })?;
        let mut mac = [0; 6];
        if features & MAC != 0 {
            mac = transport.read_config_space(configuration::MAC)?;
        }
        if features & MAC == 0 || mac == [0; 6] || mac[0] & 1 != 0 {
            // One that was given by nobody (IEEE 802, 8.4).
            let [a, b, c, ..] = (surroundings.clock_us)().to_le_bytes();
            mac = [0x02, 0xfe, 0x00, a, b, c];
        }
        let length = transport.max_queue_size(RECEIVE).min(transport.max_queue_size(TRANSMIT));
        if (length as usize) < QUEUE_LENGTH {
            return Err(InitError::ShortQueue { length });
        }
        let interrupts = vectors.map(|vectors| vectors.assign(RECEIVE));
        // The device knows where they are even if the other one cannot be made.
        let mut queue = |number| -> Result<_, Error> {
            Ok(ManuallyDrop::new(Box::new(VirtQueue::new(transport, number, false, false)?)))
        };
        let (receive, transmit) = (queue(RECEIVE)?, queue(TRANSMIT)?);
        Ok(Started { features, status, mac, interrupts, receive, transmit })
    }

    fn header_bytes(&self) -> usize {
        if self.features & feature::VERSION_1 != 0 { HEADER_BYTES } else { LEGACY_HEADER_BYTES }
    }

    /// Stops using a device that broke the rules.
    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    /// Takes back what has been sent.
    fn reclaim(&mut self) {
        while self.failure.is_none()
            && let Some(token) = self.transmit.peek_used()
        {
            let Some((buffer, length)) = self.sending.get_mut(usize::from(token)).and_then(Option::take)
            else {
                self.fail(format!("it says that it has sent what it was not given ({token})"));
                return;
            };
            // SAFETY: this is what `send` gave to the device under this token.
            match unsafe { self.transmit.pop_used(token, &[&buffer[..length]], &mut []) } {
                Ok(_) => self.free.push(buffer),
                Err(error) => {
                    self.sending[usize::from(token)] = Some((buffer, length));
                    self.fail(format!("its queue for sending is out of order ({error})"));
                }
            }
        }
    }
}

struct Started {
    features: u64,
    status: DeviceStatus,
    mac: [u8; 6],
    /// Whether it interrupts by messages, if it was to.
    interrupts: Option<bool>,
    receive: ManuallyDrop<Queue>,
    transmit: ManuallyDrop<Queue>,
}

fn new_buffer() -> Box<Buffer> {
    Box::new([0; size_of::<Buffer>()])
}

impl<T: Transport> Link for VirtioNet<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn is_up(&self) -> bool {
        let status = || self.transport.read_config_space::<u16>(configuration::STATUS);
        self.features & STATUS == 0 || status().is_ok_and(|status| status & configuration::LINK_UP != 0)
    }

    fn has_interrupt(&self) -> bool {
        self.has_interrupt
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn buffer_bytes(&self) -> usize {
        2 * QUEUE_LENGTH * size_of::<Buffer>()
    }

    fn receive(&mut self) -> Option<Frame> {
        if self.failure.is_some() {
            return None;
        }
        loop {
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
            let start = self.header_bytes();
            if length > buffer.len() {
                self.fail(format!("it says that it has put {length} bytes into {}", buffer.len()));
                return None;
            }
            if length >= start + MIN_FRAME_BYTES {
                return Some(Frame { buffer, range: start..length });
            }
            self.recycle(buffer);
        }
    }

    fn recycle(&mut self, mut buffer: Box<Buffer>) {
        if self.failure.is_some() {
            return;
        }
        // SAFETY: nobody touches the buffer before the device gives the token back: it is kept in `receiving`, which only
        // `receive` takes it out of, and is never dropped while the device is in use.
        match unsafe { self.receive.add(&[], &mut [&mut buffer[..]]) } {
            Ok(token) => self.receiving[usize::from(token)] = Some((buffer, size_of::<Buffer>())),
            // There are no more buffers than places.
            Err(error) => self.fail(format!("its queue for receiving is out of order ({error})")),
        }
        if self.receive.should_notify() {
            self.transport.notify(RECEIVE);
        }
    }

    fn can_send(&mut self) -> bool {
        self.reclaim();
        self.failure.is_none() && !self.free.is_empty()
    }

    fn send(&mut self, length_bytes: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let start = self.header_bytes();
        let length_bytes = length_bytes.min(MAX_FRAME_BYTES);
        if !self.can_send() {
            fill(&mut [0; MAX_FRAME_BYTES][..length_bytes]);
            return;
        }
        let Some(mut buffer) = self.free.pop() else { return };
        // No checksum is left to the device, nor anything else.
        buffer[..start].fill(0);
        fill(&mut buffer[start..start + length_bytes]);
        // SAFETY: nobody touches the buffer before the device gives the token back: it is kept in `sending`, which only
        // `reclaim` takes it out of, and is never dropped while the device is in use.
        match unsafe { self.transmit.add(&[&buffer[..start + length_bytes]], &mut []) } {
            Ok(token) => self.sending[usize::from(token)] = Some((buffer, start + length_bytes)),
            Err(error) => self.fail(format!("its queue for sending is out of order ({error})")),
        }
        if self.transmit.should_notify() {
            self.transport.notify(TRANSMIT);
        }
    }
}
