//! The network device: its features, its configuration, and the header that precedes its frames (VIRTIO 1.2, 5.1).

use super::{
    negotiation::feature,
    packets::{self, InitError, Interrupts, Packets, Queues},
    transport::AnyTransport,
};
use crate::{
    drivers::requests::Surroundings,
    net::{Buffer, Frame, Link, MAX_FRAME_BYTES},
};
use alloc::{boxed::Box, string::String};
use core::mem::ManuallyDrop;
use virtio_drivers::transport::{DeviceStatus, Transport};

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

/// The header that precedes a frame (VIRTIO 1.2, 5.1.6); a legacy device does not have the last two bytes.
const HEADER_BYTES: usize = 12;
const LEGACY_HEADER_BYTES: usize = 10;

/// The shortest meaningful frame: just an Ethernet header.
const MIN_FRAME_BYTES: usize = 14;

/// A network device on a virtio transport.
pub struct VirtioNet {
    packets: Packets,
    name: String,
    mac: [u8; 6],
    features: u64,
}

impl VirtioNet {
    /// Starts the device behind `transport`.
    ///
    /// # Errors
    /// [`InitError`].
    pub fn new(
        mut transport: AnyTransport,
        name: String,
        interrupts: Interrupts,
        surroundings: Surroundings,
    ) -> Result<Self, InitError> {
        let prepared = prepare(&mut transport, interrupts, surroundings);
        let mut transport = ManuallyDrop::new(transport);
        match prepared {
            Ok(Prepared { features, status, mac, queues }) => {
                let packets = Packets::start(transport, queues, status);
                Ok(Self { packets, name, mac, features })
            }
            Err(error) => {
                transport.set_status(DeviceStatus::FAILED);
                Err(error)
            }
        }
    }

    fn header_bytes(&self) -> usize {
        if self.features & feature::VERSION_1 != 0 { HEADER_BYTES } else { LEGACY_HEADER_BYTES }
    }
}

struct Prepared {
    features: u64,
    status: DeviceStatus,
    mac: [u8; 6],
    queues: Queues,
}

/// Device initialisation (VIRTIO 1.2, 3.1.1 and 5.1.5), up to the queues.
fn prepare(
    transport: &mut AnyTransport,
    interrupts: Interrupts,
    surroundings: Surroundings,
) -> Result<Prepared, InitError> {
    let (features, status) = packets::negotiate(transport, SUPPORTED, surroundings)?;
    let mut mac = [0; 6];
    if features & MAC != 0 {
        mac = transport.read_config_space(configuration::MAC)?;
    }
    if features & MAC == 0 || mac == [0; 6] || mac[0] & 1 != 0 {
        // A locally administered address (IEEE 802, 8.4).
        let [a, b, c, ..] = (surroundings.clock_us)().to_le_bytes();
        mac = [0x02, 0xfe, 0x00, a, b, c];
    }
    Ok(Prepared { features, status, mac, queues: Queues::new(transport, interrupts)? })
}

impl Link for VirtioNet {
    fn name(&self) -> &str {
        &self.name
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn is_up(&self) -> bool {
        let status = || self.packets.transport.read_config_space::<u16>(configuration::STATUS);
        self.features & STATUS == 0 || status().is_ok_and(|status| status & configuration::LINK_UP != 0)
    }

    fn has_interrupt(&self) -> bool {
        self.packets.has_interrupt()
    }

    fn failure(&self) -> Option<&str> {
        self.packets.failure()
    }

    fn buffer_bytes(&self) -> usize {
        self.packets.buffer_bytes()
    }

    fn receive(&mut self) -> Option<Frame> {
        let start = self.header_bytes();
        let (buffer, length) = self.packets.receive(start + MIN_FRAME_BYTES)?;
        Some(Frame { buffer, range: start..length })
    }

    fn recycle(&mut self, buffer: Box<Buffer>) {
        self.packets.recycle(buffer);
    }

    fn can_send(&mut self) -> bool {
        self.packets.can_send()
    }

    fn send(&mut self, length_bytes: usize, fill: &mut dyn FnMut(&mut [u8])) {
        // The device does no checksums and nothing else for the driver, so the header is all zeros.
        let start = self.header_bytes();
        self.packets
            .send(start + length_bytes.min(MAX_FRAME_BYTES), &mut |packet| fill(&mut packet[start..]));
    }
}
