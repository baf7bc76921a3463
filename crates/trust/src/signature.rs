//! Ed25519 (RFC 8032): who has signed a text. The arithmetic is crate `ed25519-dalek`'s.

use ed25519_dalek::{Signer as _, VerifyingKey};

/// A public key, as RFC 8032, 5.1.5 writes it.
pub type PublicKey = [u8; 32];

/// A signature, as RFC 8032, 5.1.6 writes it.
pub type Signature = [u8; 64];

/// Whether the holder of this key's secret has signed these bytes. Keys and signatures by which several texts could have been
/// signed (points of small order, numbers that are not reduced) never have.
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

/// A secret key.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key that follows from a seed, RFC 8032's secret key. A seed must come from numbers that nobody can guess.
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// What its signatures are checked by.
    pub fn public_key(&self) -> PublicKey {
        self.0.verifying_key().to_bytes()
    }

    /// Signs these bytes: the same bytes always alike.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    fn bytes<const N: usize>(digits: &str) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(hex::parse(digits, &mut bytes));
        bytes
    }

    /// RFC 8032, 7.1, TEST 2.
    #[test]
    fn signs_and_verifies_as_the_specification_shows() {
        let key = SigningKey::new(&bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
        let public = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = bytes(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        assert_eq!(key.public_key(), public);
        assert_eq!(key.sign(&[0x72]), signature);
        assert!(verify(&public, &[0x72], &signature));
        assert!(!verify(&public, &[0x73], &signature));
        for bit in 0..512 {
            let mut wrong = signature;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&public, &[0x72], &wrong), "bit {bit}");
        }
    }

    #[test]
    fn the_neutral_point_has_signed_nothing() {
        let neutral = bytes("0100000000000000000000000000000000000000000000000000000000000000");
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!verify(&neutral, b"anything", &signature));
    }
}
