//! [`Notary`]: who signs receipts, and says by which key, and to which one bodies are sealed.

use alloc::vec::Vec;
use core::cell::OnceCell;
use core::fmt;

use crate::canonical::{OutOfMemory, Writer};
use crate::fixed::Fixed;
use crate::receipt::{self, Maker, Model, Receipt, write_record};
use crate::sealed::Recipient;
use crate::sha256::Compress;
use crate::signature::{self, PublicKey, SigningKey};

/// What says of a record that it is an attestation, and of which form.
pub const ATTESTATION_TYPE: &str = "ferrite/attestation/1";

/// The seed of a key in a file: 64 hexadecimal digits in its first line.
pub fn seed_in(text: &str) -> Option<[u8; 32]> {
    let Fixed(seed) = Fixed::parse(text.lines().next()?.trim())?;
    Some(seed)
}

/// A seed, what follows from it, and whose it is.
pub struct Notary {
    seed: [u8; 32],
    /// The key, once it has been needed: to make it takes as long as a signature.
    key: OnceCell<SigningKey>,
    /// The key that bodies are sealed to, likewise.
    recipient: OnceCell<Recipient>,
    maker: Maker<'static>,
    /// Whether the key was made at this start, and is known to nobody else.
    is_made_at_start: bool,
    /// By which digests are computed.
    compress: Compress,
}

impl fmt::Debug for Notary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Notary({})", Fixed(self.public_key()))
    }
}

impl Notary {
    /// That of a program by the keys that follow from a seed.
    pub fn new(seed: [u8; 32], is_made_at_start: bool, maker: Maker<'static>, compress: Compress) -> Self {
        Self { seed, key: OnceCell::new(), recipient: OnceCell::new(), maker, is_made_at_start, compress }
    }

    fn key(&self) -> &SigningKey {
        self.key.get_or_init(|| SigningKey::new(&self.seed))
    }

    /// By which its signatures are checked.
    pub fn public_key(&self) -> PublicKey {
        self.key().public_key()
    }

    /// The key that bodies are sealed to.
    pub fn recipient(&self) -> &Recipient {
        self.recipient.get_or_init(|| Recipient::new(&self.seed))
    }

    /// By which digests are computed.
    pub fn compress(&self) -> Compress {
        self.compress
    }

    /// A signed receipt of work that `work` writes, with the tokens of the prompt if they are to be in it.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn receipt(
        &self,
        model: &Model<'_>,
        nonce: Option<&str>,
        time: Option<u64>,
        prompt_tokens: Option<&[u32]>,
        work: impl FnOnce(&mut Writer),
    ) -> Result<Vec<u8>, OutOfMemory> {
        let mut writer = Writer::new();
        write_record(&mut writer, &self.maker, model, (nonce, time), work);
        let record = writer.finish()?;
        let signature = self.sign(receipt::TYPE, &record)?;
        receipt::write(&self.public_key(), prompt_tokens, &record, &signature)
    }

    /// A signed statement of who signs here: the key, the one that bodies are sealed to, the program, its image, and what the asker wants to
    /// find in it.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn attestation(&self, nonce: Option<&str>, time: Option<u64>) -> Result<Vec<u8>, OutOfMemory> {
        let mut writer = Writer::new();
        writer.object(|w| {
            w.key("hpke_key").hex(&self.recipient().public_key());
            w.key("key").hex(&self.public_key());
            w.key("key_is_made_at_start").bool(self.is_made_at_start);
            w.key("maker").object(|w| self.maker.write_members(w));
            w.key("nonce").option(nonce, Writer::text);
            w.key("time").option(time, Writer::number);
            w.key("type").text(ATTESTATION_TYPE);
        });
        let record = writer.finish()?;
        let signature = self.sign(ATTESTATION_TYPE, &record)?;
        let mut writer = Writer::new();
        writer.object(|w| {
            w.key("record").json(&record);
            w.key("signature").hex(&signature);
        });
        writer.finish()
    }

    fn sign(&self, purpose: &str, record: &[u8]) -> Result<signature::Signature, OutOfMemory> {
        Ok(self.key().sign(&signed(purpose, record)?))
    }
}

/// What is signed: the purpose in a line, and the canonical record.
fn signed(purpose: &str, record: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let needed_bytes = purpose.len() + 1 + record.len();
    let mut signed = Vec::new();
    signed.try_reserve_exact(needed_bytes).map_err(|_| OutOfMemory { needed_bytes })?;
    signed.extend_from_slice(purpose.as_bytes());
    signed.push(b'\n');
    signed.extend_from_slice(record);
    Ok(signed)
}

impl Receipt<'_> {
    /// Whether the holder of the key that it names has signed it.
    ///
    /// # Errors
    /// If there is no memory to find out.
    pub fn is_signed(&self) -> Result<bool, OutOfMemory> {
        let record = self.record.write()?;
        Ok(self.record.r#type == receipt::TYPE
            && signature::verify(&self.key.0, &signed(receipt::TYPE, &record)?, &self.signature.0))
    }
}
