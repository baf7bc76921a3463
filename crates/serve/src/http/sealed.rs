//! [`Sealed`]: an exchange whose bodies only its client and the holder of a key can read.
//!
//! Source: SPEC.md, 4 and 5, of <https://github.com/tinfoilsh/encrypted-http-body-protocol>. A body is a row of chunks: four bytes with
//! the length of what follows, the greatest first, and a part of the text that has been sealed. Chunks of no bytes are none.

use alloc::rc::Rc;
use core::fmt;

use trust::notary::Notary;
use trust::sealed::{Nonce, Opener, PublicKey, Sealer, TAG_BYTES};

use super::response::Outbox;
use crate::error::{ApiError, Status};

/// Most bytes of an answer in a chunk, since who opens it must have it whole.
const CHUNK_BYTES: usize = 64 << 10;

/// An exchange whose bodies only its client and the holder of a key can read.
pub struct Sealed {
    nonce: Nonce,
    now: Now,
}

enum Now {
    /// Nothing has come by which it is worth the time to make a key with the client's.
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
    /// One of which nothing has come, by this key of the client's, and whose answer has this nonce.
    pub fn new(notary: Rc<Notary>, encapsulated: PublicKey, nonce: Nonce) -> Self {
        Self { nonce, now: Now::Begun { notary, encapsulated } }
    }

    /// Opens the next chunk of the request where it is: how many bytes it has then, from its beginning.
    ///
    /// # Errors
    /// If it was not sealed as this one. Of the first chunk that means another key: the client is to ask for the key of now.
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

    /// The same when the request has been read; `None` if nothing of it was opened: then nobody knows whose key it came with, and an
    /// answer that is sealed to it could be for anyone.
    pub(super) fn answered(self) -> Option<Self> {
        match self.now {
            Now::Opening { opener, has_opened: true } => {
                Some(Self { now: Now::Sealing(opener.sealer(&self.nonce)), ..self })
            }
            Now::Begun { .. } | Now::Opening { .. } => None,
            Now::Sealing(_) => Some(self),
        }
    }

    /// What the client makes the key of the answer with.
    pub(super) fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Sends a piece of the answer by `frame`, which is told how many bytes come and writes what goes before them, and what goes behind.
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
