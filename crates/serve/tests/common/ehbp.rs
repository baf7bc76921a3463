//! [`Exchange`]: the client's side of encrypted bodies (EHBP), made with the same crates as the server's side.

use std::convert::Infallible;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use hpke::aead::{AeadCtxS, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use sha2::Sha256;
use trust::fixed::Fixed;
use trust::hex::Hex;

/// Numbers that are random enough for a test.
struct Numbers(u64);

impl TryRng for Numbers {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.try_next_u64()? as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        // Knuth's MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Ok(self.0.rotate_left(32))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.iter_mut().for_each(|byte| *byte = self.try_next_u64().unwrap() as u8);
        Ok(())
    }
}

impl TryCryptoRng for Numbers {}

/// The client's side of an exchange.
pub struct Exchange {
    pub encapsulated: [u8; 32],
    pub context: AeadCtxS<AesGcm256, HkdfSha256, X25519HkdfSha256>,
}

impl Exchange {
    pub fn new(public_key: &[u8; 32], seed: u64) -> Self {
        let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public_key).unwrap();
        let mode = OpModeS::<X25519HkdfSha256>::Base;
        let set_up = hpke::setup_sender_with_rng(&mode, &key, b"ehbp request", &mut Numbers(seed));
        let (encapsulated, context) = set_up.unwrap();
        Self { encapsulated: encapsulated.to_bytes().into(), context }
    }

    /// A chunk of a body.
    pub fn chunk(&mut self, text: &[u8]) -> Vec<u8> {
        let mut sealed = text.to_vec();
        let tag = self.context.seal_inout_detached(sealed.as_mut_slice().into(), &[]).unwrap();
        let len = sealed.len() as u32 + 16;
        [&len.to_be_bytes()[..], &sealed, &tag.to_bytes()].concat()
    }

    /// The body, in chunks that hold this many bytes of it.
    pub fn seal(&mut self, body: &str, chunk_bytes: usize) -> Vec<u8> {
        body.as_bytes().chunks(chunk_bytes).flat_map(|chunk| self.chunk(chunk)).collect()
    }

    /// A request with this encrypted body, in HTTP chunks, as clients of the protocol send it.
    pub fn post(&self, path: &str, sealed: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
             Ehbp-Encapsulated-Key: {}\r\n\r\n",
            Hex(&self.encapsulated)
        );
        let mut request = head.into_bytes();
        for piece in sealed.chunks(999) {
            request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            request.extend_from_slice(piece);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        request
    }

    /// A complete request.
    pub fn request(&mut self, path: &str, body: &str) -> Vec<u8> {
        let sealed = self.seal(body, body.len());
        self.post(path, &sealed)
    }

    /// The contents of the answer: its head, and the decrypted texts of its chunks.
    pub fn open(&self, answer: &[u8]) -> (String, Vec<String>) {
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("no end of a head") + 4;
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let nonce =
            head.split("Ehbp-Response-Nonce: ").nth(1).unwrap_or_else(|| panic!("not sealed: {head}"));
        let Fixed::<32>(nonce) = Fixed::parse(&nonce[..64]).unwrap();
        assert!(!head.contains("Content-Length"), "{head}");
        assert!(head.contains("Access-Control-Expose-Headers: Ehbp-Response-Nonce\r\n"), "{head}");
        let mut secret = [0; 32];
        self.context.export(b"ehbp response", &mut secret).unwrap();
        let keys = Hkdf::<Sha256>::new(Some(&[self.encapsulated, nonce].concat()), &secret);
        let (mut key, mut base) = ([0; 32], [0; 12]);
        keys.expand(b"key", &mut key).unwrap();
        keys.expand(b"nonce", &mut base).unwrap();
        let aead = Aes256Gcm::new(&key.into());
        let body = match head.contains("Transfer-Encoding: chunked") {
            true => unchunked(&answer[end..]),
            false => answer[end..].to_vec(),
        };
        let (mut rest, mut texts) = (&body[..], Vec::new());
        while let Some((len, after)) = rest.split_first_chunk() {
            let (chunk, after) = after.split_at(u32::from_be_bytes(*len) as usize);
            let (text, tag) = chunk.split_last_chunk::<16>().unwrap();
            let (mut nonce, mut text) = (base, text.to_vec());
            nonce[11] ^= u8::try_from(texts.len()).unwrap();
            let opened =
                aead.decrypt_inout_detached(&nonce.into(), &[], text.as_mut_slice().into(), &(*tag).into());
            opened.expect("the answer is sealed otherwise");
            texts.push(String::from_utf8(text).unwrap());
            rest = after;
        }
        assert!(rest.is_empty(), "the answer ends within a chunk");
        (head, texts)
    }
}

/// The bytes in a chunked body.
pub fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let end = body.windows(2).position(|pair| pair == b"\r\n").expect("no size of a chunk");
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        body = &body[end + 2..];
        bytes.extend_from_slice(&body[..size]);
        assert_eq!(&body[size..size + 2], b"\r\n");
        body = &body[size + 2..];
        if size == 0 {
            assert!(body.is_empty(), "bytes after the last chunk");
            return bytes;
        }
    }
}
