//! [`Sealed`]: an exchange with bodies that only its client and the holder of a key can read.
//!
//! Source: SPEC.md, 4 and 5, of <https://github.com/tinfoilsh/encrypted-http-body-protocol>. A body is a sequence of
//! chunks: four bytes with the length of the rest, most significant byte first, and then a sealed part of the text.
//! Chunks without bytes are ignored.

use alloc::rc::Rc;
use core::fmt;

use trust::notary::Notary;
use trust::sealed::{Nonce, Opener, PublicKey, Sealer, TAG_BYTES};

use super::response::Outbox;
use crate::error::{ApiError, Status};

/// Most bytes of an answer in one chunk; the client needs a whole chunk before it can open it.
const CHUNK_BYTES: usize = 64 << 10;

/// An exchange with bodies that only its client and the holder of a key can read.
pub struct Sealed {
    nonce: Nonce,
    now: Now,
}

enum Now {
    /// Nothing has arrived yet that would justify the time to derive a key with the client's key.
    Begun { notary: Rc<Notary>, encapsulated: PublicKey },
    /// The request is being opened.
    Opening { opener: Opener, has_opened: bool },
    /// The answer is being sealed.
    Sealing(Sealer),
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

impl Sealed {
    /// An exchange that has just begun, with the client's key and the nonce of the answer.
    pub fn new(notary: Rc<Notary>, encapsulated: PublicKey, nonce: Nonce) -> Self {
        Self { nonce, now: Now::Begun { notary, encapsulated } }
    }

    /// Opens the next chunk of the request in place. Returns the length of the text, which starts at the beginning of
    /// `chunk`.
    ///
    /// # Errors
    /// If the chunk was not sealed for this exchange. If the first chunk fails, the client used an old key and should
    /// ask for the current one.
    pub(super) fn open(&mut self, chunk: &mut [u8]) -> Result<usize, ApiError> {
        if let Now::Begun { notary, encapsulated } = &self.now {
            let opener = notary.recipient().opener(encapsulated);
            let opener = opener.ok_or(ApiError::bad("Ehbp-Encapsulated-Key: the key is of small order"))?;
            self.now = Now::Opening { opener, has_opened: false };
        }
        let Now::Opening { opener, has_opened } = &mut self.now else { return Ok(0) };
        let opened = opener.open(chunk).ok_or_else(|| match has_opened {
            false => {
                let message = "the body is not sealed to the key of now; /.well-known/hpke-keys has it";
                ApiError::new(Status::UnprocessableContent, message)
            }
            true => ApiError::bad("a chunk of the encrypted body has been changed"),
        });
        *has_opened |= opened.is_ok();
        opened
    }

    /// Turns to the answer once the request has been read. Returns `None` if nothing of the request was opened:
    /// nobody knows then whose key came with it, and a sealed answer could go to anyone.
    pub(super) fn answered(self) -> Option<Self> {
        match self.now {
            Now::Opening { opener, has_opened: true } => {
                Some(Self { now: Now::Sealing(opener.sealer(&self.nonce)), ..self })
            }
            Now::Begun { .. } | Now::Opening { .. } => None,
            Now::Sealing(_) => Some(self),
        }
    }

    /// The nonce that the client needs to derive the key of the answer.
    pub(super) fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Sends a piece of the answer. `frame` is told the number of bytes, and writes what precedes them and what
    /// follows them.
    pub(super) fn send(
        &mut self,
        out: &mut Outbox,
        bytes: &[u8],
        frame: fn(&mut Outbox, Option<usize>) -> fmt::Result,
    ) -> fmt::Result {
        let Now::Sealing(sealer) = &mut self.now else { return Err(fmt::Error) };
        for piece in bytes.chunks(CHUNK_BYTES) {
            let sealed_bytes = piece.len() + TAG_BYTES;
            frame(out, Some(4 + sealed_bytes))?;
            out.write(&(sealed_bytes as u32).to_be_bytes())?;
            out.write(piece)?;
            let tag = sealer.seal(out.last(piece.len())).ok_or(fmt::Error)?;
            out.write(&tag)?;
            frame(out, None)?;
        }
        Ok(())
    }
}
