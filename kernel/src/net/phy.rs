//! [`Phy`]: makes a [`Link`] usable by `smoltcp`.

use super::{
    guard,
    link::{Buffer, Frame, Link, MAX_FRAME_BYTES},
};
use alloc::boxed::Box;
use core::cell::RefCell;
use smoltcp::{
    phy::{Device, DeviceCapabilities, Medium},
    time::Instant,
};

/// Traffic of a link since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames received.
    pub frames_in: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Frames received but not processed.
    pub refused: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// A link and its traffic counters.
pub struct Phy(RefCell<Counted>);

struct Counted {
    link: Box<dyn Link>,
    traffic: Traffic,
}

impl Phy {
    /// A link whose counters are zero.
    pub fn new(link: Box<dyn Link>) -> Self {
        Self(RefCell::new(Counted { link, traffic: Traffic::default() }))
    }

    /// The traffic since the start.
    pub fn traffic(&self) -> Traffic {
        self.0.borrow().traffic
    }

    /// Calls `look` with the link.
    pub fn with_link<R>(&self, look: impl FnOnce(&mut dyn Link) -> R) -> R {
        look(&mut *self.0.borrow_mut().link)
    }

    /// The next received frame. A frame that must not be processed is returned empty, so that it takes its turn like the others:
    /// however many of these arrive, they do not block other work.
    fn next(&self) -> Option<Frame> {
        let mut counted = self.0.borrow_mut();
        let Counted { link, traffic } = &mut *counted;
        let mut frame = link.receive()?;
        traffic.frames_in += 1;
        traffic.bytes_in += frame.range.len() as u64;
        if !guard::is_harmless(&frame.buffer[frame.range.clone()]) {
            traffic.refused += 1;
            frame.range = 0..0;
        }
        Some(frame)
    }
}

impl Device for Phy {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = ToSend<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, ToSend<'_>)> {
        // Only take a frame if an answer could be sent.
        if !self.with_link(|link| link.can_send()) {
            return None;
        }
        let Frame { buffer, range } = self.next()?;
        let link = &self.0;
        Some((Received { link, buffer: Some(buffer), range }, ToSend { link }))
    }

    fn transmit(&mut self, _: Instant) -> Option<ToSend<'_>> {
        self.with_link(|link| link.can_send()).then_some(ToSend { link: &self.0 })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME_BYTES;
        capabilities
    }
}

/// A received frame, which is returned to the link after it has been processed.
pub struct Received<'a> {
    link: &'a RefCell<Counted>,
    buffer: Option<Box<Buffer>>,
    range: core::ops::Range<usize>,
}

impl smoltcp::phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(self.buffer.as_ref().map_or(&[], |buffer| &buffer[self.range.clone()]))
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.link.borrow_mut().link.recycle(buffer);
        }
    }
}

/// Permission to send a frame.
pub struct ToSend<'a> {
    link: &'a RefCell<Counted>,
}

impl smoltcp::phy::TxToken for ToSend<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length_bytes: usize, fill: F) -> R {
        let mut counted = self.link.borrow_mut();
        let Counted { link, traffic } = &mut *counted;
        traffic.frames_out += 1;
        traffic.bytes_out += length_bytes as u64;
        let mut fill = Some(fill);
        let mut result = None;
        link.send(length_bytes, &mut |frame| result = fill.take().map(|fill| fill(frame)));
        result.expect("a link calls `fill` once")
    }
}
