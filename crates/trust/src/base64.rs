//! Base64 (RFC 4648, section 4), with padding: in a few lines, as a crate for it would be 2 KB of the kernel.

use alloc::string::String;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Fills `bytes` with what exactly as many bytes are in Base64; false if `text` is not these.
pub fn decode(text: &str, bytes: &mut [u8]) -> bool {
    let text = text.as_bytes();
    if text.len() != bytes.len().div_ceil(3) * 4 {
        return false;
    }
    text.chunks_exact(4).zip(bytes.chunks_mut(3)).all(|(digits, bytes)| {
        let mut word = 0;
        for (index, digit) in digits.iter().enumerate() {
            // Behind the digits that the bytes have, there is padding.
            let value = match index <= bytes.len() {
                true => DIGITS.iter().position(|known| known == digit),
                false => (*digit == b'=').then_some(0),
            };
            let Some(value) = value else { return false };
            word = word << 6 | value as u32;
        }
        let [_, all @ ..] = word.to_be_bytes();
        bytes.copy_from_slice(&all[..bytes.len()]);
        // The last digit has no bits beyond the bytes: there is one text for them.
        all[bytes.len()..].iter().all(|&byte| byte == 0)
    })
}

/// Bytes in Base64.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for bytes in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=bytes.len()].copy_from_slice(bytes);
        let word = u32::from_be_bytes(word);
        for index in 0..4 {
            text.push(match index <= bytes.len() {
                true => char::from(DIGITS[(word >> (18 - 6 * index) & 63) as usize]),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn the_specification_s_examples_go_both_ways() {
        let texts = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, text) in texts.into_iter().enumerate() {
            let expected = &b"foobar"[..length];
            assert_eq!(encode(expected), text);
            let mut bytes = vec![0; length];
            assert!(decode(text, &mut bytes) && bytes == expected, "{text}");
            assert!(!decode(text, &mut vec![0; length + 3]));
        }
        for (wrong, length) in
            [("Zh==", 1), ("Zm9=", 2), ("Z===", 1), ("Zg=A", 1), ("Zm9-", 3), ("====", 1), ("Zm9v", 2)]
        {
            assert!(!decode(wrong, &mut vec![0; length]), "{wrong}");
        }
    }
}
