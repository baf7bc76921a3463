//! [`Sockets`]: TCP sockets that listen, and a [`Server`] on those that were taken.
//!
//! `smoltcp`'s sockets listen for one connection each: as many listen as there may be connections, and go back to listening when
//! their connection is over.

use super::Network;
use alloc::{vec, vec::Vec};
use serve::{ConnectionId, Server};
use smoltcp::{
    iface::SocketHandle,
    socket::tcp::{Socket, SocketBuffer, State},
    time::Duration,
};

/// The part of the heap that is theirs.
const HEAP_PART: usize = 8;

/// After so long a silence the other side is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After so long without an answer it is not.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long the other side may go on sending after the end of a connection.
const LINGER_US: u64 = 2_000_000;

/// Sockets that listen at one port, and the connections that they have become.
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
    /// It listens, or somebody has connected for whom the server has no room yet.
    Free,
    /// Somebody is connecting.
    Connecting { since_us: u64 },
    /// The server knows of the connection.
    Taken { id: ConnectionId, is_half_close_told: bool },
    /// The connection is over for the server.
    Lingering { until_us: u64 },
}

impl Sockets {
    /// How many there are: some are left when many clients keep their connections for nothing.
    pub const COUNT: usize = 128;

    /// Bytes that a connection may have received, and as many that are not sent yet, in a heap of this size.
    pub fn buffer_bytes(heap_bytes: usize) -> usize {
        (heap_bytes / HEAP_PART / Self::COUNT / 2).clamp(4 << 10, 32 << 10)
    }

    /// Sockets that are part of this network and do not listen yet.
    pub fn new(network: &mut Network, buffer_bytes: usize, port: u16) -> Self {
        let buffer = || SocketBuffer::new(vec![0; buffer_bytes]);
        let mut place = || {
            let mut socket = Socket::new(buffer(), buffer());
            // Small pieces of text are to arrive when they are there.
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

    /// Whether they listen.
    pub fn is_listening(&self) -> bool {
        self.is_listening
    }

    /// Connections that there are.
    pub fn n_open(&self) -> usize {
        self.places
            .iter()
            .filter(|place| matches!(place.use_, Use::Taken { .. } | Use::Lingering { .. }))
            .count()
    }

    /// Listens, or stops listening: connections that there are go on.
    pub fn listen(&mut self, network: &mut Network, is_listening: bool) {
        self.is_listening = is_listening;
        for place in &self.places {
            let socket = network.sockets.get_mut::<Socket<'_>>(place.handle);
            if !is_listening && matches!(place.use_, Use::Free | Use::Connecting { .. }) {
                socket.abort();
            }
        }
    }

    /// Brings the server what has arrived, and clients what it has for them. Nothing is taken from clients unless
    /// `has_room`: they wait, as far as the server lets them.
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
                // It is not open, and the port is not 0.
                let _ = socket.listen(self.port);
            }
            place.exchange(socket, server, has_room, now_us);
        }
        if self.is_listening {
            self.keep_listening(network, now_us);
        }
    }

    /// Lets at least one socket listen, as long as there are some that the server does without: who connects is refused otherwise.
    fn keep_listening(&mut self, network: &mut Network, now_us: u64) {
        let is_listening = |place: &Place| network.sockets.get::<Socket<'_>>(place.handle).is_listening();
        if self.places.iter().any(is_listening) {
            return;
        }
        // The one that has lingered longest; else the one that has been connecting longest.
        let age = |place: &&mut Place| match place.use_ {
            Use::Lingering { until_us } => Some((0, until_us)),
            Use::Connecting { since_us } => Some((1, since_us)),
            Use::Free | Use::Taken { .. } => None,
        };
        let places = self.places.iter_mut().filter(|place| age(place).is_some());
        let Some(place) = places.min_by_key(age) else { return };
        place.use_ = Use::Free;
        network.sockets.get_mut::<Socket<'_>>(place.handle).abort();
        // The other side is told before the socket forgets it.
        network.transmit(now_us);
        let _ = network.sockets.get_mut::<Socket<'_>>(place.handle).listen(self.port);
    }
}

impl Place {
    /// Whether nobody is connected; takes a connection that is new, and forgets one that is no more.
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
                // Without room it waits until the server has made some.
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
                // Unread bytes would make the other side lose what it was sent.
                while socket.can_recv() && socket.recv(|bytes| (bytes.len(), ())).is_ok() {}
                if now_us >= *until_us {
                    socket.abort();
                }
            }
        }
    }
}
