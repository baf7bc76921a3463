//! GUIDs that are computed from contents, so that the same contents get the same GUIDs.

use gpt_disk_types::Guid;
use sha2::{Digest, Sha256};

/// The GUID of `parts`: a UUID of version 8 (RFC 9562, section 5.8) made of their SHA-256. Each part is hashed with its
/// length, so that parts cannot run into each other.
pub fn of(parts: &[&[u8]]) -> Guid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    // The first three fields of a GUID are little-endian: the version is in the last byte of the third one.
    bytes[7] = bytes[7] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Guid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let one = of(&[b"ab", b"c"]);
        assert_ne!(one, of(&[b"a", b"bc"]));
        assert_eq!(one, of(&[b"ab", b"c"]));
        assert_eq!(&one.to_string()[14..15], "8", "the version of {one}");
    }
}
