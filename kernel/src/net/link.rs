//! [`Link`]: a network card.

use alloc::boxed::Box;
use core::ops::Range;

/// The longest Ethernet frame, without the checksum: a header of 14 bytes and a payload of 1500 bytes.
pub const MAX_FRAME_BYTES: usize = 1514;

/// A buffer for the longest frame and for the header that a card puts before it.
pub type Buffer = [u8; 2048];

/// A received frame.
pub struct Frame {
    /// Its buffer, which must be returned to the card.
    pub buffer: Box<Buffer>,
    /// The part of the buffer that is the frame.
    pub range: Range<usize>,
}

/// A card that sends and receives Ethernet frames.
pub trait Link {
    /// How it is attached, for people: `virtio-mmio 0xa003e00`.
    fn name(&self) -> &str;

    /// Its MAC address.
    fn mac(&self) -> [u8; 6];

    /// Whether a cable is plugged in.
    fn is_up(&self) -> bool;

    /// Whether it is known to interrupt when a frame arrives; if not, it must be polled.
    fn has_interrupt(&self) -> bool;

    /// Why the card is not used any more, if it broke the rules.
    fn failure(&self) -> Option<&str>;

    /// Memory of the buffers.
    fn buffer_bytes(&self) -> usize;

    /// A received frame, if there is one.
    fn receive(&mut self) -> Option<Frame>;

    /// Returns a buffer that [`receive`](Self::receive) has lent.
    fn recycle(&mut self, buffer: Box<Buffer>);

    /// Whether a frame can be sent now.
    fn can_send(&mut self) -> bool;

    /// Sends a frame of up to [`MAX_FRAME_BYTES`], which `fill` writes. It is dropped if there is [no room](Self::can_send).
    fn send(&mut self, length_bytes: usize, fill: &mut dyn FnMut(&mut [u8]));
}
