//! The server's connections as sockets of the operating system: [`Sockets`].

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serve::{ConnectionId, Server};

use crate::engine::clock_us;

/// The token of the listening socket; those of connections follow it.
const LISTENER: Token = Token(0);

/// How many bytes are read at a time.
const READ_BYTES: usize = 64 << 10;

/// How long to read from a connection that is over: if it were closed with unread bytes, the client could lose what it was sent.
const LINGER_US: u64 = 2_000_000;

/// How many events are processed at a time.
const N_EVENTS: usize = 256;

/// A listening socket and the connections that it accepted.
pub struct Sockets {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    /// Whether there may be more connections to accept.
    is_acceptable: bool,
    /// A connection that the server has no room for yet.
    accepted: Option<TcpStream>,
    streams: HashMap<Token, Stream>,
    last_token: usize,
    buffer: Vec<u8>,
}

/// A connection.
struct Stream {
    socket: TcpStream,
    /// The server's id of the connection, until the server is done with it.
    id: Option<ConnectionId>,
    /// Bytes that have been read but that the server has not taken.
    kept: Vec<u8>,
    is_readable: bool,
    is_writable: bool,
    /// Whether the client will send nothing more.
    is_half_closed: bool,
    /// Whether the server has been told so.
    is_half_close_told: bool,
    /// The latest time at which it is closed, once it is over.
    linger_until_us: u64,
}

impl Sockets {
    /// Listens at an address.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(N_EVENTS),
            listener,
            is_acceptable: false,
            accepted: None,
            streams: HashMap::new(),
            last_token: LISTENER.0,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// The address it listens at.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Passes arrived bytes to the server, and the server's bytes to clients. Waits up to `timeout` for something to happen.
    pub fn exchange<T: Copy + PartialEq>(
        &mut self,
        server: &mut Server<T>,
        timeout: Duration,
    ) -> io::Result<()> {
        // A connection that waits for room is handled at once.
        let timeout = if self.accepted.is_some() { Duration::ZERO } else { timeout };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            if event.token() == LISTENER {
                self.is_acceptable = true;
            } else if let Some(stream) = self.streams.get_mut(&event.token()) {
                stream.is_readable |= event.is_readable();
                stream.is_writable |= event.is_writable();
            }
        }
        self.accept(server);
        let Self { poll, streams, buffer, .. } = self;
        streams.retain(|_, stream| {
            let is_alive = stream.exchange(server, buffer);
            if !is_alive {
                if let Some(id) = stream.id.take() {
                    server.remove(id);
                }
                // The system reports no events for a closed socket anyway.
                let _ = poll.registry().deregister(&mut stream.socket);
            }
            is_alive
        });
        Ok(())
    }

    fn accept<T: Copy + PartialEq>(&mut self, server: &mut Server<T>) {
        loop {
            if self.accepted.is_none() && self.is_acceptable {
                match self.listener.accept() {
                    Ok((socket, _)) => self.accepted = Some(socket),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_acceptable = false,
                    // The client has changed its mind. Other errors may have gone away by the next time.
                    Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                    Err(_) => return,
                }
            }
            let Some(mut socket) = self.accepted.take() else { return };
            let Some(id) = server.accept(clock_us()) else {
                // It waits until another connection makes room.
                self.accepted = Some(socket);
                return;
            };
            self.last_token += 1;
            let token = Token(self.last_token);
            let interest = Interest::READABLE | Interest::WRITABLE;
            // Small pieces of text should arrive without delay.
            let ready = socket.set_nodelay(true);
            match ready.and_then(|()| self.poll.registry().register(&mut socket, token, interest)) {
                Ok(()) => _ = self.streams.insert(token, Stream::new(socket, id)),
                Err(_) => server.remove(id),
            }
        }
    }
}

impl Stream {
    fn new(socket: TcpStream, id: ConnectionId) -> Self {
        Self {
            socket,
            id: Some(id),
            kept: Vec::new(),
            is_readable: true,
            is_writable: true,
            is_half_closed: false,
            is_half_close_told: false,
            linger_until_us: 0,
        }
    }

    /// Reads and writes as much as possible; returns whether the connection still exists.
    fn exchange<T: Copy + PartialEq>(&mut self, server: &mut Server<T>, buffer: &mut [u8]) -> bool {
        let Some(id) = self.id else { return self.linger(buffer) };
        if self.read(id, server, buffer).is_err() || self.write(id, server).is_err() {
            return false;
        }
        if server.is_over(id) {
            server.remove(id);
            self.id = None;
            self.linger_until_us = clock_us() + LINGER_US;
            return self.socket.shutdown(Shutdown::Write).is_ok() && self.linger(buffer);
        }
        true
    }

    fn read<T: Copy + PartialEq>(
        &mut self,
        id: ConnectionId,
        server: &mut Server<T>,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        loop {
            if !self.kept.is_empty() {
                let n_taken = server.receive(id, &self.kept, clock_us());
                self.kept.drain(..n_taken);
                if !self.kept.is_empty() {
                    return Ok(());
                }
            }
            if self.is_half_closed && !self.is_half_close_told && server.takes_bytes(id) {
                self.is_half_close_told = true;
                server.half_close(id);
            }
            if !self.is_readable || self.is_half_closed || !server.takes_bytes(id) {
                return Ok(());
            }
            match self.socket.read(buffer) {
                Ok(0) => self.is_half_closed = true,
                Ok(n) => {
                    let n_taken = server.receive(id, &buffer[..n], clock_us());
                    self.kept.extend_from_slice(&buffer[n_taken..n]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write<T: Copy + PartialEq>(&mut self, id: ConnectionId, server: &mut Server<T>) -> io::Result<()> {
        while self.is_writable && !server.unsent(id).is_empty() {
            match self.socket.write(server.unsent(id)) {
                Ok(n) => server.sent(id, n, clock_us()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads and drops what the client still sends; returns whether it may send more.
    fn linger(&mut self, buffer: &mut [u8]) -> bool {
        while self.is_readable {
            match self.socket.read(buffer) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        clock_us() < self.linger_until_us
    }
}
