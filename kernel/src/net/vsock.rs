//! [`Vsock`]: connections from the host without a network, which connect clients to a [`Server`] (VIRTIO 1.2, 5.10).
//!
//! The host connects to a port; the only address is the machine's number. Each side may send only as much as the other one has
//! room for. If a side breaks this rule, or sends packets for a connection that does not exist, the connection is reset.

use super::{Frame, NEVER_US, Sockets};
use alloc::{boxed::Box, vec::Vec};
use log::{info, warn};
use serve::{ConnectionId, Server};

/// A device that sends and receives packets, which consist of a header and data.
pub trait VsockDevice {
    /// How it is attached, for people.
    fn name(&self) -> &str;

    /// The machine's number (CID).
    fn cid(&mut self) -> u64;

    /// Why the device is not used any more, if it broke the rules.
    fn failure(&self) -> Option<&str>;

    /// Whether it is known to interrupt when a packet arrives; if not, it must be polled.
    fn has_interrupt(&self) -> bool;

    /// Whether all connections have been lost since the last call, for example because the machine was restored from a snapshot.
    /// Its number may then have changed.
    fn take_reset(&mut self) -> bool;

    /// A received packet, if there is one.
    fn receive(&mut self) -> Option<Frame>;

    /// Returns a packet that [`receive`](Self::receive) has lent.
    fn recycle(&mut self, frame: Frame);

    /// Whether a packet can be sent now.
    fn can_send(&mut self) -> bool;

    /// Sends a packet of up to `MAX_PACKET_BYTES`, which `fill` writes. It is dropped if there is [no room](Self::can_send).
    fn send(&mut self, length_bytes: usize, fill: &mut dyn FnMut(&mut [u8]));
}

/// Length limit of packets that are sent.
pub const MAX_PACKET_BYTES: usize = size_of::<super::Buffer>();

/// The length of a header (5.10.6).
pub const HEADER_BYTES: usize = 44;

/// Size of a connection's receive buffer.
const ROOM_BYTES: u32 = 8 << 10;

/// How long the other side may take to agree to the end of a connection after it has read everything.
const LINGER_US: u64 = 2_000_000;

/// How long the other side may go without reading more before that: the same as in Linux. A reset discards what it has not read.
const READ_US: u64 = 8_000_000;

/// How long it may take to read everything, however steadily it reads: other clients need the connection's place.
const ALL_READ_US: u64 = 60_000_000;

/// How soon to poll a device that does not interrupt, or that has no room for what is to be sent.
const SOON_US: u64 = 1_000;

/// How often to check time-outs while there are connections, and to ask a side that has not reported reading again.
const CHECK_US: u64 = 1_000_000;

/// Packets that are processed in a row before other work gets its turn.
const MAX_PACKETS_IN_A_ROW: usize = 64;

/// The stream type, and the operations (5.10.6.1).
const STREAM: u16 = 1;
mod operation {
    pub const REQUEST: u16 = 1;
    pub const RESPONSE: u16 = 2;
    pub const RESET: u16 = 3;
    pub const SHUTDOWN: u16 = 4;
    pub const DATA: u16 = 5;
    pub const CREDIT_UPDATE: u16 = 6;
    pub const CREDIT_REQUEST: u16 = 7;
}

/// Flags of a shutdown: what its sender will no longer do.
const NO_RECEIVE: u32 = 1 << 0;
const NO_SEND: u32 = 1 << 1;

/// The other end: the number of its machine, and its port.
type Peer = (u64, u32);

/// The used fields of a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Header {
    source: Peer,
    destination: Peer,
    length: u32,
    kind: u16,
    operation: u16,
    flags: u32,
    room: u32,
    forwarded: u32,
}

impl Header {
    fn read(packet: &[u8]) -> Option<Self> {
        let bytes = packet.first_chunk::<HEADER_BYTES>()?;
        let u32_at = |at: usize| {
            bytes[at..].iter().take(4).rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
        };
        let u64_at = |at: usize| u64::from(u32_at(at + 4)) << 32 | u64::from(u32_at(at));
        Some(Self {
            source: (u64_at(0), u32_at(16)),
            destination: (u64_at(8), u32_at(20)),
            length: u32_at(24),
            kind: u32_at(28) as u16,
            operation: (u32_at(28) >> 16) as u16,
            flags: u32_at(32),
            room: u32_at(36),
            forwarded: u32_at(40),
        })
    }

    fn write(&self, packet: &mut [u8]) {
        let low = [self.source.0, self.destination.0].map(u64::to_le_bytes);
        let rest = [
            self.source.1,
            self.destination.1,
            self.length,
            u32::from(self.operation) << 16 | u32::from(self.kind),
            self.flags,
            self.room,
            self.forwarded,
        ];
        let bytes = low.into_iter().flatten().chain(rest.into_iter().flat_map(u32::to_le_bytes));
        packet.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    }
}

enum Use {
    /// The server has no room yet, so the request has not been answered.
    Waiting,
    /// The server has accepted the connection.
    Taken { id: ConnectionId, is_half_close_told: bool },
    /// The server is done with the connection. `unread` is the amount of sent data that, as far as known, has not been read.
    Lingering { until_us: u64, last_us: u64, unread: u32 },
}

struct Connection {
    peer: Peer,
    use_: Use,
    received: Vec<u8>,
    /// Whether the other side sends nothing more.
    is_half_closed: bool,
    /// Bytes that have been read, and how many of these have been reported to the other side.
    forwarded: u32,
    told: u32,
    sent: u32,
    peer_room: u32,
    peer_forwarded: u32,
    /// When the other side may next be asked how much room it has.
    ask_at_us: u64,
}

impl Connection {
    /// How many bytes the other side has room for.
    fn credit(&self) -> u32 {
        self.peer_room.saturating_sub(self.unread())
    }

    /// Sent bytes that, as far as the other side has reported, have not been read.
    fn unread(&self) -> u32 {
        self.sent.wrapping_sub(self.peer_forwarded)
    }

    /// Restarts the other side's time limit, up to `last_us` at most.
    fn linger(&mut self, now_us: u64, last_us: u64) {
        let unread = self.unread();
        let patience_us = if unread == 0 { LINGER_US } else { READ_US };
        let until_us = now_us.saturating_add(patience_us).min(last_us);
        self.use_ = Use::Lingering { until_us, last_us, unread };
    }
}

/// The connections to one port of a device.
pub struct Vsock {
    device: Box<dyn VsockDevice>,
    port: u32,
    cid: u64,
    connections: Vec<Connection>,
    is_listening: bool,
    is_failure_told: bool,
    n_interrupts: fn() -> u64,
    seen_interrupts: u64,
    wake_us: u64,
}

impl Vsock {
    /// A device on which nothing listens yet; `n_interrupts` returns the number of interrupts so far.
    pub fn new(mut device: Box<dyn VsockDevice>, port: u32, n_interrupts: fn() -> u64) -> Self {
        let cid = device.cid();
        Self {
            device,
            port,
            cid,
            connections: Vec::new(),
            is_listening: false,
            is_failure_told: false,
            n_interrupts,
            seen_interrupts: u64::MAX,
            wake_us: 0,
        }
    }

    /// The port.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Whether new connections are accepted.
    pub fn is_listening(&self) -> bool {
        self.is_listening
    }

    /// Number of open connections.
    pub fn n_open(&self) -> usize {
        self.connections.len()
    }

    /// Starts or stops accepting connections; existing ones continue.
    pub fn listen(&mut self, is_listening: bool) {
        self.is_listening = is_listening;
        self.wake_us = 0;
        if is_listening {
            info!("serve: vsock port {}, machine {}, {}", self.port, self.cid, self.device.name());
        }
    }

    /// Whether something may have arrived or be due.
    pub fn is_due(&self, now_us: u64) -> bool {
        (self.n_interrupts)() != self.seen_interrupts || now_us >= self.wake_us
    }

    /// Passes what has arrived to the server, and the server's data to the host. Returns when to call it again unless there is an
    /// interrupt earlier. Without `has_room`, nothing is taken from clients.
    pub fn exchange<T: Copy + PartialEq>(
        &mut self,
        server: &mut Server<T>,
        has_room: bool,
        now_us: u64,
    ) -> u64 {
        self.seen_interrupts = (self.n_interrupts)();
        if let Some(failure) = self.device.failure() {
            if !core::mem::replace(&mut self.is_failure_told, true) {
                warn!("{} is not used any more: {failure}", self.device.name());
            }
            self.forget_all(server);
            return self.sleep_until(NEVER_US);
        }
        if self.device.take_reset() {
            self.cid = self.device.cid();
            self.forget_all(server);
        }
        let mut n_packets = 0;
        // Each packet may need an answer.
        while n_packets < MAX_PACKETS_IN_A_ROW && self.device.can_send() {
            let Some(frame) = self.device.receive() else { break };
            n_packets += 1;
            let packet = frame.buffer.get(frame.range.clone()).unwrap_or_default();
            if let Some(header) = Header::read(packet) {
                self.take(&header, &packet[HEADER_BYTES..], server);
            }
            self.device.recycle(frame);
        }
        let mut index = 0;
        while index < self.connections.len() {
            match self.serve(index, server, has_room, now_us) {
                true => index += 1,
                false => drop(self.connections.swap_remove(index)),
            }
        }
        let wait_us = match self.device.can_send() {
            _ if n_packets == MAX_PACKETS_IN_A_ROW => 0,
            false => SOON_US,
            true if !self.device.has_interrupt() => SOON_US,
            true if self.connections.is_empty() => return self.sleep_until(NEVER_US),
            true => CHECK_US,
        };
        self.sleep_until(now_us.saturating_add(wait_us))
    }

    fn sleep_until(&mut self, wake_us: u64) -> u64 {
        self.wake_us = wake_us;
        wake_us
    }

    fn forget_all<T: Copy + PartialEq>(&mut self, server: &mut Server<T>) {
        for connection in self.connections.drain(..) {
            forget(&connection, server);
        }
    }

    /// Handles a received packet.
    fn take<T: Copy + PartialEq>(&mut self, header: &Header, data: &[u8], server: &mut Server<T>) {
        let &Header { source: peer, destination, operation, .. } = header;
        if destination.0 != self.cid {
            return;
        }
        let is_ours = destination.1 == self.port && header.kind == STREAM;
        let place = self.connections.iter().position(|connection| is_ours && connection.peer == peer);
        let Some(index) = place else {
            let is_request = is_ours && operation == operation::REQUEST && self.is_listening;
            let has_place =
                self.connections.len() < Sockets::COUNT && self.connections.try_reserve(1).is_ok();
            if is_request && has_place {
                self.connections.push(Connection {
                    peer,
                    use_: Use::Waiting,
                    received: Vec::new(),
                    is_half_closed: false,
                    forwarded: 0,
                    told: 0,
                    sent: 0,
                    peer_room: header.room,
                    peer_forwarded: header.forwarded,
                    ask_at_us: 0,
                });
            } else if operation != operation::RESET {
                let reply = Header { kind: header.kind, operation: operation::RESET, ..Header::default() };
                self.send(Header { source: destination, destination: peer, ..reply }, &[]);
            }
            return;
        };
        let connection = &mut self.connections[index];
        (connection.peer_room, connection.peer_forwarded) = (header.room, header.forwarded);
        let is_fine = match operation {
            operation::DATA => {
                let data = usize::try_from(header.length).ok().and_then(|length| data.get(..length));
                let room = ROOM_BYTES as usize - connection.received.len();
                let is_open = !connection.is_half_closed && !matches!(connection.use_, Use::Waiting);
                let data = data.filter(|data| is_open && data.len() <= room);
                let data = data.filter(|data| connection.received.try_reserve(data.len()).is_ok());
                data.map(|data| connection.received.extend_from_slice(data)).is_some()
            }
            operation::CREDIT_UPDATE => true,
            operation::CREDIT_REQUEST => {
                self.reply(index, operation::CREDIT_UPDATE, 0, &[]);
                true
            }
            operation::SHUTDOWN => {
                connection.is_half_closed |= header.flags & NO_SEND != 0;
                // A side that receives nothing any more is sent nothing, and may forget the connection.
                header.flags & NO_RECEIVE == 0
            }
            // The connection has ended, or exists already.
            _ => false,
        };
        if !is_fine {
            if operation != operation::RESET {
                self.reply(index, operation::RESET, 0, &[]);
            }
            forget(&self.connections.swap_remove(index), server);
        }
    }

    /// Gives a connection its turn; returns whether it still exists.
    fn serve<T: Copy + PartialEq>(
        &mut self,
        index: usize,
        server: &mut Server<T>,
        has_room: bool,
        now_us: u64,
    ) -> bool {
        let connection = &mut self.connections[index];
        match &mut connection.use_ {
            Use::Waiting => {
                if !self.device.can_send() {
                    return true;
                }
                if let Some(id) = server.accept(now_us) {
                    connection.use_ = Use::Taken { id, is_half_close_told: false };
                    self.reply(index, operation::RESPONSE, 0, &[]);
                }
                true
            }
            &mut Use::Taken { id, ref mut is_half_close_told } => {
                while has_room && server.takes_bytes(id) && !connection.received.is_empty() {
                    let n_taken =
                        server.receive(id, &connection.received, now_us).min(connection.received.len());
                    if n_taken == 0 {
                        break;
                    }
                    connection.received.drain(..n_taken);
                    connection.forwarded = connection.forwarded.wrapping_add(n_taken as u32);
                }
                let is_at_end = connection.is_half_closed && connection.received.is_empty();
                if is_at_end && !*is_half_close_told && server.takes_bytes(id) {
                    *is_half_close_told = true;
                    server.half_close(id);
                }
                while self.device.can_send() && !server.unsent(id).is_empty() {
                    let connection = &mut self.connections[index];
                    let credit = connection.credit() as usize;
                    if credit == 0 {
                        self.ask_for_room(index, now_us);
                        break;
                    }
                    let unsent = server.unsent(id);
                    let n_bytes = unsent.len().min(credit).min(MAX_PACKET_BYTES - HEADER_BYTES);
                    connection.sent = connection.sent.wrapping_add(n_bytes as u32);
                    connection.ask_at_us = 0;
                    self.reply(index, operation::DATA, 0, &unsent[..n_bytes]);
                    server.sent(id, n_bytes, now_us);
                }
                if server.is_over(id) {
                    if !self.device.can_send() {
                        return true;
                    }
                    server.remove(id);
                    let connection = &mut self.connections[index];
                    connection.linger(now_us, now_us.saturating_add(ALL_READ_US));
                    connection.ask_at_us = now_us.saturating_add(CHECK_US);
                    self.reply(index, operation::SHUTDOWN, NO_RECEIVE | NO_SEND, &[]);
                    return true;
                }
                let connection = &self.connections[index];
                if connection.forwarded.wrapping_sub(connection.told) >= ROOM_BYTES / 2
                    && self.device.can_send()
                {
                    self.reply(index, operation::CREDIT_UPDATE, 0, &[]);
                }
                true
            }
            &mut Use::Lingering { until_us, last_us, unread } => {
                connection.received.clear();
                if !self.device.can_send() {
                    return true;
                }
                if connection.unread() < unread && now_us < last_us {
                    connection.linger(now_us, last_us);
                    return true;
                }
                if now_us < until_us {
                    if unread > 0 {
                        // A side with enough room does not report on its own that it reads.
                        self.ask_for_room(index, now_us);
                    }
                    return true;
                }
                self.reply(index, operation::RESET, 0, &[]);
                false
            }
        }
    }

    /// Asks the other side how much room it has, which also says how much it has read. If it was asked a short time ago it is not
    /// asked again, because it may have nothing new to report.
    fn ask_for_room(&mut self, index: usize, now_us: u64) {
        let connection = &mut self.connections[index];
        if now_us >= connection.ask_at_us {
            connection.ask_at_us = now_us.saturating_add(CHECK_US);
            self.reply(index, operation::CREDIT_REQUEST, 0, &[]);
        }
    }

    /// Sends a packet on this connection.
    fn reply(&mut self, index: usize, operation: u16, flags: u32, data: &[u8]) {
        let connection = &mut self.connections[index];
        connection.told = connection.forwarded;
        let header = Header {
            source: (self.cid, self.port),
            destination: connection.peer,
            kind: STREAM,
            operation,
            flags,
            room: ROOM_BYTES,
            forwarded: connection.forwarded,
            length: 0,
        };
        self.send(header, data);
    }

    fn send(&mut self, header: Header, data: &[u8]) {
        let header = Header { length: data.len() as u32, ..header };
        self.device.send(HEADER_BYTES + data.len(), &mut |packet| {
            header.write(packet);
            packet.iter_mut().skip(HEADER_BYTES).zip(data).for_each(|(place, &byte)| *place = byte);
        });
    }
}

/// Tells the server that the connection has ended.
fn forget<T: Copy + PartialEq>(connection: &Connection, server: &mut Server<T>) {
    if let Use::Taken { id, .. } = connection.use_ {
        server.remove(id);
    }
}

#[cfg(test)]
mod tests;
