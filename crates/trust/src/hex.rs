//! Bytes as hexadecimal digits.

use core::fmt;

/// Bytes that show themselves as digits in lower case.
#[derive(Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Fills `bytes` with what exactly as many pairs of digits say; false if `digits` are not these.
pub fn parse(digits: &str, bytes: &mut [u8]) -> bool {
    let digits = digits.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    digits.len() == 2 * bytes.len()
        && bytes.iter_mut().zip(digits.chunks_exact(2)).all(|(byte, pair)| {
            let value = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| (high << 4 | low) as u8);
            *byte = value.unwrap_or(0);
            value.is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_bytes_and_bytes_digits() {
        let mut bytes = [0; 3];
        assert!(parse("00aBff", &mut bytes));
        assert_eq!(Hex(&bytes).to_string(), "00abff");
        for wrong in ["", "00abf", "00abfg", "00abff0", "00abff00", "+0abff", "é0abf"] {
            assert!(!parse(wrong, &mut bytes), "{wrong}");
        }
    }
}
