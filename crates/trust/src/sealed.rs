//! Bodies that only the holder of a key can read: the server's half of the Encrypted HTTP Body Protocol (EHBP).
//!
//! A client seals the body of a request to a public key, a [`Recipient`]'s, in chunks. The [`Opener`] of that request opens them in
//! their order, and makes the [`Sealer`] of the answer, by a key that only these two can know. How chunks stand in a
//! body is no matter of this module.
//!
//! Source: SPEC.md, 3.2 and 4.4, of <https://github.com/tinfoilsh/encrypted-http-body-protocol>; HPKE is RFC 9180 in mode base, by crate
//! `hpke`.

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use hkdf::Hkdf;
use hpke::aead::{AeadCtxR, AeadTag, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, Serializable};
use sha2::Sha256;

/// Bytes by which a sealed chunk is longer than an open one.
pub const TAG_BYTES: usize = 16;

/// What a request's key schedule is bound to: HPKE's `info`.
const REQUEST: &[u8] = b"ehbp request";

/// What the secret of an answer is exported for: HPKE's `exporter_context`.
const RESPONSE: &[u8] = b"ehbp response";

/// A public key, as RFC 7748 writes it; also what a client's request is opened by, its own public key for this once.
pub type PublicKey = [u8; 32];

/// A number that no two answers have.
pub type Nonce = [u8; 32];

/// A key that bodies are sealed to.
pub struct Recipient {
    secret: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: PublicKey,
}

impl Recipient {
    /// The key that follows from a seed by RFC 9180, 7.1.3 (`DeriveKeyPair`), whose labels make it independent of all else that
    /// follows from the seed.
    pub fn new(seed: &[u8; 32]) -> Self {
        let (secret, public) = X25519HkdfSha256::derive_keypair(seed);
        Self { secret, public: public.to_bytes().into() }
    }

    /// What is sealed to it.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The key and how it is used, as RFC 9458, 3.1 has it: `application/ohttp-keys`, of one key without its length in front.
    pub fn key_config(&self) -> [u8; 41] {
        let mut config = [0; 41];
        // Key 0, KEM X25519 with HKDF-SHA256.
        config[..3].copy_from_slice(&[0, 0, 0x20]);
        config[3..35].copy_from_slice(&self.public);
        // Four bytes of suites: KDF HKDF-SHA256, AEAD AES-256-GCM.
        config[35..].copy_from_slice(&[0, 4, 0, 1, 0, 2]);
        config
    }

    /// Opens a request that was sealed to this key, as the client's key says; `None` for points of small order, by which anybody
    /// could have sealed it.
    pub fn opener(&self, encapsulated: &PublicKey) -> Option<Opener> {
        let key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
        let context = hpke::setup_receiver(&OpModeR::Base, &self.secret, &key, REQUEST).ok()?;
        Some(Opener { context, encapsulated: *encapsulated })
    }
}

/// Opens a request.
pub struct Opener {
    context: AeadCtxR<AesGcm256, HkdfSha256, X25519HkdfSha256>,
    encapsulated: PublicKey,
}

impl Opener {
    /// Opens the next chunk where it is: how many bytes it has then, from its beginning. `None` if the client has not sealed this as its
    /// next chunk; what it holds is of no use then, and nothing more can be opened.
    pub fn open(&mut self, chunk: &mut [u8]) -> Option<usize> {
        let len = chunk.len().checked_sub(TAG_BYTES)?;
        let (body, tag) = chunk.split_at_mut(len);
        let tag = AeadTag::from_bytes(tag).ok()?;
        self.context.open_inout_detached(body.into(), &[], &tag).ok()?;
        Some(len)
    }

    /// Seals the answer. The nonce must be another one each time, even if the same request comes again.
    pub fn sealer(&self, nonce: &Nonce) -> Sealer {
        let mut secret = [0; 32];
        let Ok(()) = self.context.export(RESPONSE, &mut secret) else {
            unreachable!("32 bytes are too many")
        };
        Sealer::new(&secret, &self.encapsulated, nonce)
    }
}

/// Seals an answer.
pub struct Sealer {
    aead: Aes256Gcm,
    base_nonce: [u8; 12],
    /// Chunks so far.
    n_chunks: u64,
}

impl Sealer {
    /// By a secret that both sides have. Source: SPEC.md, 4.4.1, which is RFC 9458, 4.4.
    fn new(secret: &[u8; 32], encapsulated: &PublicKey, nonce: &Nonce) -> Self {
        let mut salt = [0; 64];
        salt[..32].copy_from_slice(encapsulated);
        salt[32..].copy_from_slice(nonce);
        let prk = Hkdf::<Sha256>::new(Some(&salt), secret);
        let (mut key, mut base_nonce) = ([0; 32], [0; 12]);
        let expanded = prk.expand(b"key", &mut key).and_then(|()| prk.expand(b"nonce", &mut base_nonce));
        let Ok(()) = expanded else { unreachable!("a digest is too much") };
        Self { aead: Aes256Gcm::new(&key.into()), base_nonce, n_chunks: 0 }
    }

    /// Seals the next chunk where it is; what is to stand behind it. `None` if it is longer than 64 GiB.
    pub fn seal(&mut self, chunk: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
        let mut nonce = self.base_nonce;
        let number = self.n_chunks.to_be_bytes();
        nonce[4..].iter_mut().zip(number).for_each(|(byte, number)| *byte ^= number);
        self.n_chunks = self.n_chunks.checked_add(1)?;
        Some(self.aead.encrypt_inout_detached(&nonce.into(), &[], chunk.into()).ok()?.into())
    }
}

#[cfg(test)]
mod tests;
