//! Signed files and public keys in minisign's format (minisign 0.11, "Signature format" and "Public key format" of its
//! documentation): what `minisign -S` and `minisign -G` write.
//!
//! A signature is a file of four lines: a comment that nothing vouches for; the signature of the file or, as is usual today, of
//! its BLAKE2b-512 digest; a trusted comment; the signature of both. It tells of which key it is by the key's id.

use crate::{
    base64,
    signature::{self, SigningKey},
};
use alloc::{format, string::String, vec::Vec};
use blake2::{Blake2b512, Digest};
use core::fmt;

/// Signs the file itself.
const LEGACY: &[u8] = b"Ed";
/// Signs the file's BLAKE2b-512 digest.
const PREHASHED: &[u8] = b"ED";

/// Tells keys apart: eight random bytes, shown as minisign shows them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl KeyId {
    /// The id that up to sixteen hexadecimal digits stand for.
    pub fn parse(digits: &str) -> Option<Self> {
        u64::from_str_radix(digits, 16).ok().map(|id| Self(id.to_le_bytes()))
    }
}

/// What signatures are checked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    /// Its id.
    pub id: KeyId,
    key: signature::PublicKey,
}

/// Why a file is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature's file is none.
    #[error("the signature is none of minisign; expected its four lines")]
    Format,
    /// It was made with a key that is not trusted.
    #[error("it was signed with key {0}, which is not trusted")]
    Key(KeyId),
    /// The file is not the one that was signed.
    #[error("it is not what key {0} has signed")]
    Changed(KeyId),
    /// The trusted comment is not the one that was signed.
    #[error("the signature's comment is not what key {0} has signed")]
    Comment(KeyId),
    /// The heap has no room to check the trusted comment.
    #[error("the heap has no room to check the signature's comment")]
    NoMemory,
}

/// The bytes of a line in Base64, if they are `N`.
fn decode<const N: usize>(line: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    base64::decode(line.trim_end(), &mut bytes).then_some(bytes)
}

impl PublicKey {
    #[inline(never)]
    /// Reads a key: minisign's file, or only the line of it that is the key.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        let bytes = decode::<42>(line)?;
        let (algorithm, rest) = bytes.split_first_chunk::<2>()?;
        let (id, key) = rest.split_first_chunk::<8>()?;
        let is_known = algorithm == LEGACY;
        is_known.then_some(Self { id: KeyId(*id), key: key.try_into().ok()? })
    }
}

/// Length of what is in the file of a secret key: algorithms, how the password is made a key, id, seed, public key, checksum.
const SECRET_KEY_BYTES: usize = 158;
const KEY_DERIVATION_AT: usize = 2;

/// What files are signed with.
pub struct SecretKey {
    id: KeyId,
    key: SigningKey,
}

impl SecretKey {
    /// The key with this id that follows from a [seed](SigningKey::new).
    pub fn new(id: KeyId, seed: &[u8; 32]) -> Self {
        Self { id, key: SigningKey::new(seed) }
    }

    /// Reads minisign's file with a key that has no password.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = decode::<SECRET_KEY_BYTES>(text.lines().nth(1)?)?;
        let is_plain = bytes[KEY_DERIVATION_AT..][..2] == [0, 0];
        is_plain.then(|| Self::from_bytes(&bytes)).flatten()
    }

    /// Reads what is in minisign's file, when it has been decrypted.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        const ID_AT: usize = 54;
        let bytes: &[u8; SECRET_KEY_BYTES] = bytes.try_into().ok()?;
        let (id, seed) = bytes[ID_AT..].split_first_chunk()?;
        let key = Self::new(KeyId(*id), seed.first_chunk()?);
        // The public key follows.
        let is_sound = bytes.starts_with(LEGACY) && seed[32..].starts_with(&key.key.public_key());
        is_sound.then_some(key)
    }

    /// What its signatures are checked by.
    pub fn public_key(&self) -> PublicKey {
        PublicKey { id: self.id, key: self.key.public_key() }
    }

    /// The signature of a file, whose BLAKE2b-512 digest is what is signed. A comment must have no line end in it.
    pub fn sign(&self, file: &[u8], comment: &str) -> String {
        let signature = self.key.sign(&Blake2b512::digest(file));
        let global = self.key.sign(&[&signature[..], comment.as_bytes()].concat());
        let line = [PREHASHED, &self.id.0, &signature].concat();
        format!(
            "untrusted comment: signature by key {}\n{}\ntrusted comment: {comment}\n{}\n",
            self.id,
            base64::encode(&line),
            base64::encode(&global),
        )
    }
}

/// The line of minisign's file that is the key.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64::encode(&[LEGACY, &self.id.0, &self.key].concat()))
    }
}

/// What has been signed, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'s> {
    /// The key.
    pub key: KeyId,
    /// The trusted comment.
    pub comment: &'s str,
}

/// Checks the signature of a file by whichever of the keys it is of.
///
/// # Errors
/// If the signature is none, of another key, or not of this file, or there is no memory to check its comment.
#[inline(never)]
pub fn verify<'s>(
    keys: &[PublicKey],
    file: &[u8],
    signature_text: &'s str,
) -> Result<Signed<'s>, SignatureError> {
    let mut lines = signature_text.lines();
    let mut line = || lines.next().ok_or(SignatureError::Format);
    let (_, signature_line, comment_line, global_line) = (line()?, line()?, line()?, line()?);
    let bytes = decode::<74>(signature_line).ok_or(SignatureError::Format)?;
    let global = decode::<64>(global_line).ok_or(SignatureError::Format)?;
    let comment = comment_line.strip_prefix("trusted comment: ").ok_or(SignatureError::Format)?;
    let (algorithm, rest) = bytes.split_at(2);
    let (id, signature) = rest.split_at(8);
    let (Ok(id), Ok(signature)) = (id.try_into().map(KeyId), signature.try_into()) else {
        return Err(SignatureError::Format);
    };
    let key = keys.iter().find(|key| key.id == id).ok_or(SignatureError::Key(id))?;
    let digest;
    let signed = match algorithm {
        LEGACY => file,
        PREHASHED => {
            digest = Blake2b512::digest(file);
            &digest[..]
        }
        _ => return Err(SignatureError::Format),
    };
    if !signature::verify(&key.key, signed, signature) {
        return Err(SignatureError::Changed(id));
    }
    let mut both = Vec::new();
    both.try_reserve_exact(signature.len() + comment.len()).map_err(|_| SignatureError::NoMemory)?;
    both.extend_from_slice(signature);
    both.extend_from_slice(comment.as_bytes());
    match signature::verify(&key.key, &both, &global) {
        true => Ok(Signed { key: id, comment }),
        false => Err(SignatureError::Comment(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const FILE: &[u8] = include_bytes!("../tests/golden/minisign/file.txt");
    const PREHASHED_SIGNATURE: &str = include_str!("../tests/golden/minisign/prehashed.minisig");
    const LEGACY_SIGNATURE: &str = include_str!("../tests/golden/minisign/legacy.minisig");

    fn own() -> PublicKey {
        PublicKey::parse(include_str!("../tests/golden/minisign/own.pub")).unwrap()
    }

    fn other() -> PublicKey {
        PublicKey::parse(include_str!("../tests/golden/minisign/other.pub")).unwrap()
    }

    #[test]
    fn both_kinds_of_minisign_s_signatures_are_verified() {
        for signature in [PREHASHED_SIGNATURE, LEGACY_SIGNATURE] {
            let signed = Ok(Signed { key: own().id, comment: "a trusted comment" });
            assert_eq!(verify(&[other(), own()], FILE, signature), signed);
            assert_eq!(verify(&[other()], FILE, signature), Err(SignatureError::Key(own().id)));
            assert_eq!(verify(&[], FILE, signature), Err(SignatureError::Key(own().id)));
            // A key that only claims the id.
            let forged = PublicKey { id: own().id, ..other() };
            assert_eq!(verify(&[forged], FILE, signature), Err(SignatureError::Changed(own().id)));
            assert_eq!(verify(&[own()], &FILE[1..], signature), Err(SignatureError::Changed(own().id)));
        }
        let comment = PREHASHED_SIGNATURE.replace("a trusted", "another trusted");
        assert_eq!(verify(&[own()], FILE, &comment), Err(SignatureError::Comment(own().id)));
    }

    #[test]
    fn what_is_signed_here_is_verified() {
        let key = SecretKey::new(KeyId(*b"an id..."), &[7; 32]);
        let public = PublicKey::parse(&key.public_key().to_string()).unwrap();
        assert!(public == key.public_key());
        let signature = key.sign(FILE, "now");
        assert_eq!(verify(&[public], FILE, &signature), Ok(Signed { key: public.id, comment: "now" }));
        assert!(verify(&[public], &FILE[1..], &signature).is_err());
        let text = include_str!("../tests/golden/minisign/secret.key");
        let secret = SecretKey::parse(text).unwrap();
        let public = PublicKey::parse(include_str!("../tests/golden/minisign/secret.pub")).unwrap();
        assert!(secret.public_key() == public);
        assert!(SecretKey::parse(&text.replace("RW", "RX")).is_none());
        assert_eq!(
            own().to_string(),
            include_str!("../tests/golden/minisign/own.pub").lines().nth(1).unwrap()
        );
    }

    #[test]
    fn ids_are_shown_as_minisign_shows_them() {
        let text = include_str!("../tests/golden/minisign/other.pub");
        let shown = text.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap();
        assert_eq!(other().id.to_string(), shown);
        assert_eq!(KeyId::parse(shown), Some(other().id));
        assert_eq!(KeyId::parse("10112233445566778"), None);
        let line = text.lines().nth(1).unwrap();
        assert!(PublicKey::parse(line).is_some_and(|key| key.id == other().id));
        for wrong in ["", "untrusted comment: x", &line[1..], &line.replace("RW", "RU")] {
            assert!(PublicKey::parse(wrong).is_none(), "{wrong}");
        }
    }

    /// Of the untrusted comment nothing is checked, and line ends are not signed.
    #[test]
    fn every_changed_bit_of_file_and_signature_is_found() {
        for signature in [PREHASHED_SIGNATURE, LEGACY_SIGNATURE] {
            let comment = signature.find('\n').unwrap() + 1;
            for bit in (8 * comment..8 * signature.len()).step_by(5) {
                let mut changed = signature.as_bytes().to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                if let Ok(changed) = str::from_utf8(&changed)
                    && bit / 8 < signature.len() - 1
                {
                    assert!(verify(&[own()], FILE, changed).is_err(), "bit {bit}: {changed}");
                }
            }
            for bit in (0..8 * FILE.len()).step_by(7) {
                let mut changed = FILE.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(verify(&[own()], &changed, signature).is_err(), "bit {bit}");
            }
        }
    }
}
