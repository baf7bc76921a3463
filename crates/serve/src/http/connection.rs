//! [`Connection`]: bytes in, requests out; answers in, bytes out.

use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::body::Body;
use super::head::{Head, Method};
use super::limits::{BODY_STEP_BYTES, Limits};
use super::response::{Framed, Outbox, Rate, Response};
use super::sealed::Sealed;
use crate::error::{ApiError, Status};

/// A connection of a client.
///
/// It handles one request at a time: while one is answered, the bytes of the next wait.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    /// Bytes that have arrived and are not part of anything complete.
    inbound: Vec<u8>,
    /// How many of them were already searched for the end of a head without finding it.
    n_parsed: usize,
    out: Outbox,
    /// When the connection was opened, or finished its last answer.
    since_us: u64,
    /// The latest time at which the current phase may end.
    deadline_us: u64,
    /// When the client last took bytes, or there were none for it to take.
    moved_us: u64,
    /// Whether the client will send nothing more.
    is_half_closed: bool,
    /// Whether the connection stays open after the current request.
    keep_alive: bool,
    is_head: bool,
    framed: Framed,
    /// What opens and seals the bodies, if they are to be sealed.
    sealed: Option<Sealed>,
    /// Whether part of a sealed answer is still unsent.
    has_sealed_unsent: bool,
    /// What the answer's head says about the tokens that the client has left.
    pub rate: Option<Rate>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most connections have a request most of the time")]
enum Phase {
    /// The connection waits for a head, or for the rest of one.
    Head,
    /// The body of a request is arriving.
    Body { head: Head, body: Body, begun_us: u64 },
    /// A request is being answered.
    Answering,
    /// The remaining bytes are sent, and then the connection ends.
    Closing,
}

/// The result of bytes that arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Nothing complete yet.
    Nothing,
    /// A request that is to be answered.
    Request(Head, Vec<u8>),
    /// Bytes that are not a request, or a request that is not wanted. It gets an answer, and then the connection
    /// ends.
    Refused(ApiError),
}

impl Connection {
    /// A connection that has just been opened.
    pub fn new(now_us: u64, limits: &Limits) -> Self {
        Self {
            phase: Phase::Head,
            inbound: Vec::new(),
            n_parsed: 0,
            out: Outbox::default(),
            // A client that opens a connection is about to send a request.
            since_us: now_us,
            deadline_us: now_us.saturating_add(limits.head_us),
            moved_us: now_us,
            is_half_closed: false,
            keep_alive: false,
            is_head: false,
            framed: Framed::Length(0),
            sealed: None,
            has_sealed_unsent: false,
            rate: None,
        }
    }

    /// Takes bytes and returns how many. Offer the remaining ones again once the request before them is answered.
    /// [`next_request`](Self::next_request) says what came of them.
    ///
    /// # Errors
    /// If there is no memory for the bytes.
    pub fn receive(&mut self, bytes: &[u8], limits: &Limits) -> Result<usize, ApiError> {
        let takes_bytes = self.takes_bytes(limits);
        match &mut self.phase {
            _ if !takes_bytes => Ok(0),
            // Nobody will use these bytes, but if they stayed unread the other side could lose what it was sent.
            Phase::Closing => Ok(bytes.len()),
            Phase::Body { body, .. } if self.inbound.is_empty() => {
                let n_taken = body.take(bytes, limits, self.sealed.as_mut())?;
                self.keep(&bytes[n_taken..])?;
                Ok(bytes.len())
            }
            Phase::Head | Phase::Body { .. } | Phase::Answering => {
                self.keep(bytes)?;
                Ok(bytes.len())
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        self.inbound.try_reserve(bytes.len()).map_err(|_| ApiError::out_of_memory())?;
        self.inbound.extend_from_slice(bytes);
        Ok(())
    }

    /// The next request, if it has arrived completely. `check` sees its head before the body is awaited, and returns
    /// what opens the body if it is sealed.
    pub fn next_request(
        &mut self,
        now_us: u64,
        limits: &Limits,
        check: &mut dyn FnMut(&Head) -> Result<Option<Sealed>, ApiError>,
    ) -> Received {
        match self.try_next(now_us, limits, check) {
            Ok(Some((head, body))) => Received::Request(head, body),
            Ok(None) => Received::Nothing,
            Err(error) => {
                self.give_up_request();
                Received::Refused(error)
            }
        }
    }

    /// Treats bytes that arrive from now on as no request: one more answer is sent, and then the connection ends.
    pub fn give_up_request(&mut self) {
        self.phase = Phase::Answering;
        self.inbound = Vec::new();
        self.keep_alive = false;
        self.sealed = self.sealed.take().and_then(Sealed::answered);
    }

    fn try_next(
        &mut self,
        now_us: u64,
        limits: &Limits,
        check: &mut dyn FnMut(&Head) -> Result<Option<Sealed>, ApiError>,
    ) -> Result<Option<(Head, Vec<u8>)>, ApiError> {
        if self.out.unsent().len() >= limits.outbox_bytes {
            // A client that does not read its answers may not ask for more.
            return Ok(None);
        }
        if let Phase::Head = self.phase {
            self.is_head = false;
            // Only whole lines are parsed. An incomplete line is then not parsed again each time it grows, and the
            // result does not depend on how the bytes are split.
            let unseen = &self.inbound[self.n_parsed.min(self.inbound.len())..];
            let line_end = unseen.iter().rposition(|&byte| byte == b'\n');
            let parsed = match line_end {
                _ if self.inbound.len() >= limits.head_bytes => Head::parse(&self.inbound, limits)?,
                Some(at) => Head::parse(&self.inbound[..=self.n_parsed + at], limits)?,
                None => None,
            };
            self.n_parsed = self.inbound.len();
            let Some((head, len)) = parsed else {
                if self.inbound.is_empty() {
                    return Ok(None);
                }
                self.deadline_us = self.deadline_us.min(now_us.saturating_add(limits.head_us));
                return Ok(None);
            };
            self.inbound.drain(..len);
            self.n_parsed = 0;
            self.is_head = head.method == Method::Head;
            // Irrelevant for an answer that is sent whole.
            self.framed = match head.is_http_10 {
                true => Framed::UntilClosed,
                false => Framed::Chunked,
            };
            self.sealed = check(&head)?;
            let body = Body::new(head.framing)?;
            if head.expects_continue && self.inbound.is_empty() {
                let written = self.out.write(b"HTTP/1.1 100 Continue\r\n\r\n");
                written.map_err(|_| ApiError::out_of_memory())?;
            }
            self.phase = Phase::Body { head, body, begun_us: now_us };
        }
        let Phase::Body { body, begun_us, .. } = &mut self.phase else { return Ok(None) };
        let n_taken = body.take(&self.inbound, limits, self.sealed.as_mut())?;
        self.inbound.drain(..n_taken);
        if !body.is_complete() {
            let n_steps = (body.len() / BODY_STEP_BYTES + 1) as u64;
            self.deadline_us = begun_us.saturating_add(limits.body_us.saturating_mul(n_steps));
            return Ok(None);
        }
        let Phase::Body { head, body, .. } = core::mem::replace(&mut self.phase, Phase::Answering) else {
            return Ok(None);
        };
        self.keep_alive = head.keep_alive;
        self.sealed = self.sealed.take().and_then(Sealed::answered);
        Ok(Some((head, body.into_bytes())))
    }

    /// Whether the request is sealed, and its answer will be.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Whether any sealed bytes are still to be opened or sent.
    pub fn holds_sealed(&self) -> bool {
        self.is_sealed() || self.has_sealed_unsent
    }

    /// Sends a whole answer to the request. If the connection was [cut off](Self::abort), the answer is dropped.
    ///
    /// # Errors
    /// If there is no memory for the answer; nothing of it is sent then. For a sealed answer, this ends the
    /// connection.
    pub fn respond(
        &mut self,
        response: &Response<'_>,
        body: &[u8],
        now_us: u64,
        limits: &Limits,
    ) -> fmt::Result {
        // It may have been cut off while the answer was made. Whether the answer was to be sealed is then no longer
        // known.
        if !self.is_answering() {
            return Ok(());
        }
        if self.is_sealed() && response.content_type.is_some() {
            // The client need not know the sealed length in advance.
            self.begin_stream(response);
            if self.is_head && self.is_answering() {
                self.answered(self.keep_alive && !self.is_half_closed, now_us, limits);
            } else {
                self.send(body);
                self.end_stream(now_us, limits);
            }
            return Ok(());
        }
        let keep_alive = self.keep_alive && !self.is_half_closed;
        let sent_body = if self.is_head { &[] } else { body };
        let n_before = self.out.unsent().len();
        let written = response
            .write(&mut self.out, Framed::Length(body.len()), keep_alive, self.rate, None)
            .and_then(|()| self.out.write(sent_body));
        match written {
            Ok(()) => self.answered(keep_alive, now_us, limits),
            Err(_) => self.out.truncate(n_before),
        }
        written
    }

    /// Begins an answer whose length is not known in advance.
    pub fn begin_stream(&mut self, response: &Response<'_>) {
        if !self.is_answering() {
            return;
        }
        if self.framed == Framed::UntilClosed || self.is_half_closed {
            self.keep_alive = false;
        }
        let nonce = self.sealed.as_ref().map(Sealed::nonce);
        if response.write(&mut self.out, self.framed, self.keep_alive, self.rate, nonce).is_err() {
            self.abort();
        }
    }

    /// Sends a piece of the streamed answer.
    pub fn send(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || !self.is_answering() {
            return;
        }
        let frame = match self.framed {
            Framed::Chunked => frame,
            _ => |_: &mut Outbox, _| Ok(()),
        };
        let written = match &mut self.sealed {
            Some(sealed) => sealed.send(&mut self.out, bytes, frame),
            None => frame(&mut self.out, Some(bytes.len()))
                .and_then(|()| self.out.write(bytes))
                .and_then(|()| frame(&mut self.out, None)),
        };
        if written.is_err() {
            self.abort();
        }
    }

    /// Ends the streamed answer.
    pub fn end_stream(&mut self, now_us: u64, limits: &Limits) {
        if !self.is_answering() {
            return;
        }
        if self.framed == Framed::Chunked && self.out.write(b"0\r\n\r\n").is_err() {
            self.abort();
            return;
        }
        let keep_alive = self.keep_alive && !self.is_half_closed;
        self.answered(keep_alive, now_us, limits);
    }

    fn answered(&mut self, keep_alive: bool, now_us: u64, limits: &Limits) {
        self.rate = None;
        self.has_sealed_unsent |= self.sealed.take().is_some();
        self.phase = if keep_alive { Phase::Head } else { Phase::Closing };
        self.since_us = now_us;
        // Bytes of the next request that arrived while it could not be read.
        let has_begun = !self.inbound.is_empty();
        self.deadline_us = now_us.saturating_add(if has_begun { limits.head_us } else { limits.idle_us });
    }

    /// Ends the connection at once; unsent bytes are lost.
    pub fn abort(&mut self) {
        self.phase = Phase::Closing;
        self.inbound = Vec::new();
        self.out = Outbox::default();
        self.sealed = None;
        self.has_sealed_unsent = false;
    }

    /// The client will send nothing more, but still gets its answer.
    pub fn half_close(&mut self) {
        self.is_half_closed = true;
        // The rest of an incomplete request will never arrive.
        if matches!(self.phase, Phase::Head | Phase::Body { .. }) {
            self.phase = Phase::Closing;
        }
    }

    /// Bytes that wait to be sent.
    pub fn unsent(&self) -> &[u8] {
        self.out.unsent()
    }

    /// The client took the first `n` unsent bytes.
    pub fn sent(&mut self, n: usize, now_us: u64) {
        self.out.sent(n);
        self.has_sealed_unsent &= !self.out.unsent().is_empty();
        if n > 0 {
            self.moved_us = now_us;
        }
    }

    /// Checks the time limits. Returns `Some` if a request took too long to arrive; this error is to be sent. A
    /// connection that waits for nothing, or takes no bytes, is cut off.
    pub fn check_time(&mut self, now_us: u64, limits: &Limits) -> Option<ApiError> {
        if self.out.unsent().is_empty() {
            self.moved_us = now_us;
        } else if now_us > self.moved_us.saturating_add(limits.stalled_us) {
            self.abort();
            return None;
        }
        if now_us <= self.deadline_us {
            return None;
        }
        match self.phase {
            Phase::Head if self.inbound.is_empty() => {
                self.phase = Phase::Closing;
                None
            }
            Phase::Head | Phase::Body { .. } => {
                self.give_up_request();
                Some(ApiError::new(Status::RequestTimeout, "the request took too long to arrive"))
            }
            Phase::Answering | Phase::Closing => None,
        }
    }

    /// Whether a request is being answered.
    pub fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answering)
    }

    /// Whether the connection waits for a request, or for more of one.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Head | Phase::Body { .. })
    }

    /// Whether bytes that arrive now would be taken.
    pub fn takes_bytes(&self, limits: &Limits) -> bool {
        !self.is_answering() && self.out.unsent().len() < limits.outbox_bytes
    }

    /// Whether nothing more will be sent: the connection can be closed.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closing) && self.out.unsent().is_empty()
    }

    /// Since when the connection waits.
    pub fn since_us(&self) -> u64 {
        self.since_us
    }
}

/// Writes what precedes a chunk of `n_bytes` bytes, or what follows a chunk if that is `None`. Source: RFC 9112,
/// section 7.1.
fn frame(out: &mut Outbox, n_bytes: Option<usize>) -> core::fmt::Result {
    match n_bytes {
        Some(n_bytes) => write!(out, "{n_bytes:x}\r\n"),
        None => out.write(b"\r\n"),
    }
}
