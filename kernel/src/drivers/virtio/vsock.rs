//! The socket device: the machine's number, and the queue of events (VIRTIO 1.2, 5.10).

use super::{
    negotiation::feature,
    packets::{self, InitError, Interrupts, Packets, Queues},
    queue::Queue,
    transport::AnyTransport,
};
use crate::{
    drivers::requests::Surroundings,
    net::{Frame, VSOCK_HEADER_BYTES, VsockDevice},
};
use alloc::{boxed::Box, string::String};
use core::mem::ManuallyDrop;
use virtio_drivers::transport::{DeviceStatus, Transport};

const SUPPORTED: u64 = feature::VERSION_1 | feature::ACCESS_PLATFORM;

/// The queue of events, which have four bytes each.
const EVENTS: u16 = 2;

/// Offset of the machine's number in the configuration (5.10.4).
const CID: usize = 0;

/// A socket device on a virtio transport.
pub struct VirtioVsock {
    packets: Packets,
    name: String,
    events: ManuallyDrop<Queue>,
    event: ManuallyDrop<Box<[u8; 4]>>,
    token: Option<u16>,
}

impl VirtioVsock {
    /// Starts the device behind `transport`.
    ///
    /// # Errors
    /// [`InitError`].
    pub fn new(
        transport: AnyTransport,
        name: String,
        interrupts: Interrupts,
        surroundings: Surroundings,
    ) -> Result<Self, InitError> {
        let mut transport = ManuallyDrop::new(transport);
        let (status, queues, events) = match prepare(&mut transport, interrupts, surroundings) {
            Ok(prepared) => prepared,
            Err(error) => {
                transport.set_status(DeviceStatus::FAILED);
                return Err(error);
            }
        };
        let packets = Packets::start(transport, queues, status);
        let event = ManuallyDrop::new(Box::new([0; 4]));
        let mut device = Self { packets, name, events, event, token: None };
        device.await_event();
        Ok(device)
    }

    fn await_event(&mut self) {
        let Self { packets, events, event, .. } = self;
        // SAFETY: the event's memory is not accessed until the device has returned it.
        self.token = unsafe { events.start(&mut *packets.transport, &[], &mut [&mut event[..]]) }.ok();
    }
}

type Prepared = (DeviceStatus, Queues, ManuallyDrop<Queue>);

/// Device initialisation up to the queues.
fn prepare(
    transport: &mut AnyTransport,
    interrupts: Interrupts,
    surroundings: Surroundings,
) -> Result<Prepared, InitError> {
    let (_, status) = packets::negotiate(transport, SUPPORTED, surroundings)?;
    let queues = Queues::new(transport, interrupts)?;
    let events = ManuallyDrop::new(Queue::new(transport, EVENTS, false, false)?);
    Ok((status, queues, events))
}

impl VsockDevice for VirtioVsock {
    fn name(&self) -> &str {
        &self.name
    }

    fn cid(&mut self) -> u64 {
        // The upper half is zero or reserved (5.10.4).
        self.packets.transport.read_config_space::<u32>(CID).map_or(0, u64::from)
    }

    fn failure(&self) -> Option<&str> {
        self.packets.failure()
    }

    fn has_interrupt(&self) -> bool {
        self.packets.has_interrupt()
    }

    fn take_reset(&mut self) -> bool {
        let Some(token) = self.token.filter(|&token| self.events.peek() == Some(token)) else { return false };
        // SAFETY: this is the buffer that `await_event` gave to the device under this token.
        let _ = unsafe { self.events.finish(token, &[], &mut [&mut self.event[..]]) };
        self.await_event();
        // A reset is the only event that exists (5.10.6.7).
        true
    }

    fn receive(&mut self) -> Option<Frame> {
        let (buffer, length) = self.packets.receive(VSOCK_HEADER_BYTES)?;
        Some(Frame { buffer, range: 0..length })
    }

    fn recycle(&mut self, frame: Frame) {
        self.packets.recycle(frame.buffer);
    }

    fn can_send(&mut self) -> bool {
        self.packets.can_send()
    }

    fn send(&mut self, length_bytes: usize, fill: &mut dyn FnMut(&mut [u8])) {
        self.packets.send(length_bytes, fill);
    }
}
