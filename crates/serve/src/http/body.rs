//! The body of a request, put together from the pieces that arrive.

use alloc::format;
use alloc::vec::Vec;

use super::head::Framing;
use super::limits::{Limits, too_large};
use super::sealed::Sealed;
use crate::error::{ApiError, Status};

/// Most bytes of the line that gives a chunk's size, including its extensions.
const MAX_SIZE_LINE: usize = 256;

/// A body that is arriving.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    /// For a sealed body, how many of these bytes have been opened.
    n_opened: usize,
    /// Number of bytes that have arrived.
    n_come: usize,
    next: Next,
    /// Bytes of trailers so far.
    n_trailer_bytes: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// This many bytes of a body whose length is known.
    Counted(usize),
    /// The line with the size of a chunk.
    Size,
    /// This many bytes of a chunk.
    Chunk(usize),
    /// The line break after a chunk.
    ChunkEnd,
    /// Trailers, which are ignored, until an empty line.
    Trailer,
    /// Nothing.
    End,
}

impl Body {
    /// A body with this framing, before any of it has arrived.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(framing: Framing) -> Result<Self, ApiError> {
        let (next, len) = match framing {
            Framing::Length(0) => (Next::End, 0),
            Framing::Length(len) => (Next::Counted(len), len),
            Framing::Chunked => (Next::Size, 0),
        };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| ApiError::out_of_memory())?;
        Ok(Self { bytes, n_opened: 0, n_come: 0, next, n_trailer_bytes: 0 })
    }

    /// Whether the whole body has arrived.
    pub fn is_complete(&self) -> bool {
        self.next == Next::End
    }

    /// Number of bytes that have arrived.
    pub fn len(&self) -> usize {
        self.n_come
    }

    /// The bytes of a complete body.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes bytes of the body from `input` and returns how many. The rest is the beginning of an incomplete element, or belongs
    /// to the next request. If the body is `sealed`, it is opened.
    ///
    /// # Errors
    /// If the framing is broken, the body is too large, there is no memory for it, or it was not sealed for this exchange.
    pub fn take(
        &mut self,
        input: &[u8],
        limits: &Limits,
        sealed: Option<&mut Sealed>,
    ) -> Result<usize, ApiError> {
        let n_taken = self.take_bytes(input, limits);
        // Bytes before an error are opened too, as if they had arrived earlier.
        if let Some(sealed) = sealed {
            self.open(sealed, limits)?;
        }
        n_taken
    }

    /// Opens the chunks that are complete, and moves the bytes after them forward.
    fn open(&mut self, sealed: &mut Sealed, limits: &Limits) -> Result<(), ApiError> {
        let mut start = self.n_opened;
        while let Some((len, rest)) = self.bytes[start..].split_first_chunk_mut() {
            let len = u32::from_be_bytes(*len) as usize;
            if len > limits.body_bytes {
                return Err(too_large(limits.body_bytes));
            }
            let Some(chunk) = rest.get_mut(..len) else { break };
            if len > 0 {
                let n_bytes = sealed.open(chunk)?;
                self.bytes.copy_within(start + 4..start + 4 + n_bytes, self.n_opened);
                self.n_opened += n_bytes;
            }
            start += 4 + len;
        }
        if start > self.n_opened {
            let n_left = self.bytes.len() - start;
            self.bytes.copy_within(start.., self.n_opened);
            self.bytes.truncate(self.n_opened + n_left);
        }
        if self.is_complete() && self.bytes.len() > self.n_opened {
            return Err(ApiError::bad("the encrypted body ends within a chunk"));
        }
        Ok(())
    }

    fn take_bytes(&mut self, input: &[u8], limits: &Limits) -> Result<usize, ApiError> {
        let mut rest = input;
        loop {
            let n_taken = match self.next {
                Next::End => break,
                Next::Counted(left) => self.append(rest, left, Next::End, Next::Counted)?,
                Next::Chunk(left) => self.append(rest, left, Next::ChunkEnd, Next::Chunk)?,
                Next::Size => self.take_size(rest, limits)?,
                Next::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        self.next = Next::Size;
                        2
                    }
                    [] | [b'\r'] => 0,
                    _ => return Err(ApiError::bad("a chunk of the body is not followed by a line break")),
                },
                Next::Trailer => self.take_trailer(rest, limits)?,
            };
            if n_taken == 0 {
                break;
            }
            rest = &rest[n_taken..];
        }
        Ok(input.len() - rest.len())
    }

    /// Takes up to `left` bytes; then comes `then`.
    fn append(
        &mut self,
        input: &[u8],
        left: usize,
        then: Next,
        more: fn(usize) -> Next,
    ) -> Result<usize, ApiError> {
        let n_taken = left.min(input.len());
        self.bytes.try_reserve(n_taken).map_err(|_| ApiError::out_of_memory())?;
        self.bytes.extend_from_slice(&input[..n_taken]);
        self.n_come += n_taken;
        self.next = if n_taken == left { then } else { more(left - n_taken) };
        Ok(n_taken)
    }

    fn take_size(&mut self, input: &[u8], limits: &Limits) -> Result<usize, ApiError> {
        let broken = || ApiError::bad("the size of a chunk of the body is no hexadecimal number");
        let line = &input[..input.len().min(MAX_SIZE_LINE)];
        // Otherwise an empty line would be taken for a chunk of no bytes, which ends the body.
        if line.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err(broken());
        }
        let (len, size) = match httparse::parse_chunk_size(line).map_err(|_| broken())? {
            httparse::Status::Complete(parsed) => parsed,
            httparse::Status::Partial if line.len() == MAX_SIZE_LINE => {
                return Err(ApiError::bad("the line with the size of a chunk is too long"));
            }
            httparse::Status::Partial => return Ok(0),
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > limits.body_bytes - self.n_come {
            return Err(too_large(limits.body_bytes));
        }
        self.next = if size == 0 { Next::Trailer } else { Next::Chunk(size) };
        Ok(len)
    }

    fn take_trailer(&mut self, input: &[u8], limits: &Limits) -> Result<usize, ApiError> {
        let end = input.iter().position(|&byte| byte == b'\n');
        let len = end.map_or(0, |end| end + 1);
        let n_bytes = self.n_trailer_bytes + end.unwrap_or(input.len());
        if n_bytes > limits.head_bytes {
            let message = format!("the trailers of the body have more than {} bytes", limits.head_bytes);
            return Err(ApiError::new(Status::HeaderFieldsTooLarge, message));
        }
        self.n_trailer_bytes += len;
        if matches!(&input[..len], b"\r\n" | b"\n") {
            self.next = Next::End;
        }
        Ok(len)
    }
}
