//! The bytes that a UART has received and nobody has read yet.

use alloc::collections::VecDeque;

/// Ctrl-C.
const INTERRUPT_BYTE: u8 = 0x03;

/// Bytes in the order of arrival, up to a limit. Beyond that, bytes stay in the UART, where the sender's flow control notices them.
#[derive(Debug)]
pub struct Received {
    bytes: VecDeque<u8>,
    limit_bytes: usize,
    n_interrupts: usize,
    has_lost: bool,
}

impl Received {
    /// An empty queue for `limit_bytes` bytes. Receiving allocates no further memory.
    pub fn new(limit_bytes: usize) -> Self {
        Self { bytes: VecDeque::with_capacity(limit_bytes), limit_bytes, n_interrupts: 0, has_lost: false }
    }

    /// Whether it is full.
    pub fn is_full(&self) -> bool {
        self.bytes.len() == self.limit_bytes
    }

    /// Takes bytes from `read` as long as there is room.
    pub fn fill(&mut self, mut read: impl FnMut() -> Option<u8>) {
        while !self.is_full()
            && let Some(byte) = read()
        {
            self.bytes.push_back(byte);
            self.n_interrupts += usize::from(byte == INTERRUPT_BYTE);
        }
    }

    /// Looks for a Ctrl-C among bytes for which there is no room, by dropping the earlier ones. Must be called only if nobody
    /// reads and a person types.
    pub fn look_beyond(&mut self, mut read: impl FnMut() -> Option<u8>) {
        while self.is_full()
            && !self.holds_interrupt()
            && let Some(byte) = read()
        {
            self.bytes.clear();
            if byte == INTERRUPT_BYTE {
                // Everything typed before a Ctrl-C is dropped anyway.
                self.bytes.push_back(byte);
                self.n_interrupts = 1;
            } else {
                self.has_lost = true;
                self.fill(&mut read);
            }
        }
    }

    /// Whether bytes have been dropped since the last call.
    pub fn take_loss(&mut self) -> bool {
        core::mem::take(&mut self.has_lost)
    }

    /// The next byte.
    pub fn pop(&mut self) -> Option<u8> {
        let byte = self.bytes.pop_front()?;
        self.n_interrupts -= usize::from(byte == INTERRUPT_BYTE);
        Some(byte)
    }

    /// Whether there is a Ctrl-C among the bytes.
    pub fn holds_interrupt(&self) -> bool {
        self.n_interrupts > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn fill(received: &mut Received, bytes: &mut &[u8]) {
        received.fill(|| bytes.split_off_first().copied());
    }

    #[test]
    fn nothing_is_lost_and_ctrl_c_is_known_until_it_is_read() {
        let mut received = Received::new(4);
        let mut sent = &b"ab\x03cd\x03efgh"[..];
        let mut read = Vec::new();
        let mut holds = Vec::new();
        loop {
            fill(&mut received, &mut sent);
            holds.push(u8::from(received.holds_interrupt()));
            match received.pop() {
                Some(byte) => read.push(byte),
                None => break,
            }
        }
        assert_eq!(read, b"ab\x03cd\x03efgh");
        assert_eq!(holds, [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn ctrl_c_beyond_the_room_is_found_and_forgets_what_came_before() {
        for (input, kept, has_lost) in [
            (&b"abcd\x03later"[..], &b"\x03"[..], false),
            (b"abcdefgh\x03later", b"fgh\x03", true),
            (b"abcdefghijklmn\x03later", b"\x03", true),
            (b"abcdefghijklmn", b"klmn", true),
            (b"abcd", b"abcd", false),
        ] {
            let mut sent = input;
            let mut received = Received::new(4);
            fill(&mut received, &mut sent);
            assert!(received.is_full() && !received.holds_interrupt());
            received.look_beyond(|| sent.split_off_first().copied());
            assert_eq!(received.holds_interrupt(), input.contains(&INTERRUPT_BYTE), "{kept:?}");
            assert_eq!((received.take_loss(), received.take_loss()), (has_lost, false), "{kept:?}");
            let read: Vec<u8> = core::iter::from_fn(|| received.pop()).collect();
            assert_eq!(read, kept);
            assert_eq!(sent, if input.contains(&INTERRUPT_BYTE) { &b"later"[..] } else { b"" });
        }
    }
}
