//! Any texts as a key and a signature of minisign's: what is read is written as it was read, and nothing but the right signature of the file
//! is taken.
//!
//! The input is a number, the text of a key, a byte 0 and the text of a signature.
#![no_main]

use std::sync::LazyLock;

use fuzz::assert_line;
use libfuzzer_sys::fuzz_target;
use trust::minisign::{KeyId, PublicKey, SecretKey, verify};

const FILE: &[u8] = b"what is signed";
const COMMENT: &str = "a comment";

static KEY: LazyLock<(PublicKey, String)> = LazyLock::new(|| {
    let secret = SecretKey::new(KeyId(*b"\x01\x02\x03\x04\x05\x06\x07\x08"), &[7; 32]);
    (secret.public_key(), secret.sign(FILE, COMMENT))
});

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else { return };
    let (key, signature) = text.split_once('\0').unwrap_or((text, ""));
    if let Some(key) = PublicKey::parse(key) {
        assert!(PublicKey::parse(&key.to_string()) == Some(key));
        assert_eq!(KeyId::parse(&key.id.to_string()), Some(key.id));
    }
    // Without a password; deriving the public key takes longer than everything else.
    let _ = SecretKey::parse(key);
    let (public, right) = &*KEY;
    match verify(&[*public], FILE, signature) {
        Ok(signed) => {
            assert_eq!((signed.key, signed.comment), (public.id, COMMENT));
            // Of the four lines all but the first are as they were, up to white space behind them.
            let lines = |text: &str| {
                text.lines().skip(1).take(3).map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(lines(signature), lines(right));
        }
        Err(error) => assert_line(&error.to_string()),
    }
});
