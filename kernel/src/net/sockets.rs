//! [`Sockets`]: listening TCP sockets, which connect clients to a [`Server`].
//!
//! Each of `smoltcp`'s sockets listens for a single connection. So there are as many sockets as there may be connections, and
//! each listens again when its connection has ended.

use super::Network;
use alloc::{vec, vec::Vec};
use serve::{ConnectionId, Server};
use smoltcp::{
    iface::SocketHandle,
    socket::tcp::{Socket, SocketBuffer, State},
    time::Duration,
};

/// The sockets' buffers get one part in this many of the heap.
const HEAP_PART: usize = 8;

/// After this long without a packet, the other side is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After this long without an answer, the connection is considered dead.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long the other side may keep sending after the end of a connection.
const LINGER_US: u64 = 2_000_000;

/// Sockets that listen on one port, and their connections.
pub struct Sockets {
    port: u16,
    places: Vec<Place>,
    is_listening: bool,
}

struct Place {
    handle: SocketHandle,
    use_: Use,
}

enum Use {
    /// It is listening, or a client has connected that the server has no room for yet.
    Free,
    /// A client is connecting.
    Connecting { since_us: u64 },
    /// The server has accepted the connection.
    Taken { id: ConnectionId, is_half_close_told: bool },
    /// The server is done with the connection.
    Lingering { until_us: u64 },
}

impl Sockets {
    /// The number of sockets: enough that some are left when many clients keep idle connections open.
    pub const COUNT: usize = 128;

    /// Size of a connection's receive buffer, and of its send buffer, for a heap of this size.
    pub fn buffer_bytes(heap_bytes: usize) -> usize {
        (heap_bytes / HEAP_PART / Self::COUNT / 2).clamp(4 << 10, 32 << 10)
    }

    /// Sockets that belong to this network and do not listen yet.
    pub fn new(network: &mut Network, buffer_bytes: usize, port: u16) -> Self {
        let buffer = || SocketBuffer::new(vec![0; buffer_bytes]);
        let mut place = || {
            let mut socket = Socket::new(buffer(), buffer());
            // Small pieces of text should arrive without delay.
            socket.set_nagle_enabled(false);
            socket.set_keep_alive(Some(KEEP_ALIVE));
            socket.set_timeout(Some(TIMEOUT));
            Place { handle: network.sockets.add(socket), use_: Use::Free }
        };
        let places = (0..Self::COUNT).map(|_| place()).collect();
        Self { port, places, is_listening: false }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether new connections are accepted.
    pub fn is_listening(&self) -> bool {
        self.is_listening
    }

    /// Number of open connections.
    pub fn n_open(&self) -> usize {
        self.places
            .iter()
            .filter(|place| matches!(place.use_, Use::Taken { .. } | Use::Lingering { .. }))
            .count()
    }

    /// Starts or stops listening; existing connections continue.
    pub fn listen(&mut self, network: &mut Network, is_listening: bool) {
        self.is_listening = is_listening;
        for place in &self.places {
            let socket = network.sockets.get_mut::<Socket<'_>>(place.handle);
            if !is_listening && matches!(place.use_, Use::Free | Use::Connecting { .. }) {
                socket.abort();
            }
        }
    }

    /// Passes received data to the server, and the server's data to clients. Without `has_room`, nothing is taken from clients;
    /// they wait as long as the server lets them.
    pub fn exchange<T: Copy + PartialEq>(
        &mut self,
        network: &mut Network,
        server: &mut Server<T>,
        has_room: bool,
        now_us: u64,
    ) {
        for place in &mut self.places {
            let socket = network.sockets.get_mut::<Socket<'_>>(place.handle);
            if place.is_free(socket, server, now_us) && self.is_listening && !socket.is_open() {
                // This cannot fail: the socket is not open, and the port is not 0.
                let _ = socket.listen(self.port);
            }
            place.exchange(socket, server, has_room, now_us);
        }
        if self.is_listening {
            self.keep_listening(network, now_us);
        }
    }

    /// Makes sure that at least one socket is listening, as long as there are sockets that the server does not need; otherwise
    /// new clients would be refused.
    fn keep_listening(&mut self, network: &mut Network, now_us: u64) {
        let is_listening = |place: &Place| network.sockets.get::<Socket<'_>>(place.handle).is_listening();
        if self.places.iter().any(is_listening) {
            return;
        }
        // The one that has lingered longest, or else the one that has been connecting longest.
        let age = |place: &&mut Place| match place.use_ {
            Use::Lingering { until_us } => Some((0, until_us)),
            Use::Connecting { since_us } => Some((1, since_us)),
            Use::Free | Use::Taken { .. } => None,
        };
        let places = self.places.iter_mut().filter(|place| age(place).is_some());
        let Some(place) = places.min_by_key(age) else { return };
        place.use_ = Use::Free;
        network.sockets.get_mut::<Socket<'_>>(place.handle).abort();
        // Tells the other side before the socket is reused.
        network.transmit(now_us);
        let _ = network.sockets.get_mut::<Socket<'_>>(place.handle).listen(self.port);
    }
}

impl Place {
    /// Whether the socket has no connection. Passes new connections to the server, and forgets connections that have ended.
    fn is_free<T: Copy + PartialEq>(
        &mut self,
        socket: &mut Socket<'_>,
        server: &mut Server<T>,
        now_us: u64,
    ) -> bool {
        let is_gone = !socket.is_active() || socket.state() == State::TimeWait;
        match self.use_ {
            Use::Free if socket.state() == State::SynReceived => {
                self.use_ = Use::Connecting { since_us: now_us };
                false
            }
            Use::Free | Use::Connecting { .. } if socket.may_send() => {
                self.use_ = Use::Free;
                // If the server has no room, the connection waits.
                if let Some(id) = server.accept(now_us) {
                    self.use_ = Use::Taken { id, is_half_close_told: false };
                }
                false
            }
            Use::Free => is_gone,
            Use::Taken { id, .. } if is_gone => {
                server.remove(id);
                self.use_ = Use::Free;
                true
            }
            Use::Lingering { .. } | Use::Connecting { .. } if is_gone => {
                self.use_ = Use::Free;
                true
            }
            Use::Taken { .. } | Use::Lingering { .. } | Use::Connecting { .. } => false,
        }
    }

    fn exchange<T: Copy + PartialEq>(
        &mut self,
        socket: &mut Socket<'_>,
        server: &mut Server<T>,
        has_room: bool,
        now_us: u64,
    ) {
        match &mut self.use_ {
            Use::Free | Use::Connecting { .. } => {}
            Use::Taken { id, is_half_close_told } => {
                let id = *id;
                while has_room && server.takes_bytes(id) && socket.can_recv() {
                    let taken = socket.recv(|bytes| {
                        let n_taken = server.receive(id, bytes, now_us);
                        (n_taken, n_taken)
                    });
                    if !matches!(taken, Ok(1..)) {
                        break;
                    }
                }
                if !*is_half_close_told && !socket.may_recv() && server.takes_bytes(id) {
                    *is_half_close_told = true;
                    server.half_close(id);
                }
                while socket.can_send() && !server.unsent(id).is_empty() {
                    match socket.send_slice(server.unsent(id)) {
                        Ok(n_sent @ 1..) => server.sent(id, n_sent, now_us),
                        _ => break,
                    }
                }
                if server.is_over(id) {
                    server.remove(id);
                    socket.close();
                    self.use_ = Use::Lingering { until_us: now_us.saturating_add(LINGER_US) };
                }
            }
            Use::Lingering { until_us } => {
                // If bytes stayed unread, the connection would be reset and the other side would lose what was sent to it.
                while socket.can_recv() && socket.recv(|bytes| (bytes.len(), ())).is_ok() {}
                if now_us >= *until_us {
                    socket.abort();
                }
            }
        }
    }
}
