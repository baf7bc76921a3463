//! [`Fixed`]: so many bytes, which JSON has as hexadecimal digits.

use core::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::hex::{self, Hex};

/// `N` bytes, written as two hexadecimal digits each.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fixed<const N: usize>(pub [u8; N]);

impl<const N: usize> Fixed<N> {
    /// The bytes that `digits`, in upper or lower case, stand for; `None` if they are not exactly as many digits.
    pub fn parse(digits: &str) -> Option<Self> {
        let mut bytes = [0; N];
        hex::parse(digits, &mut bytes).then_some(Self(bytes))
    }
}

impl<const N: usize> fmt::Display for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl<const N: usize> fmt::Debug for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FixedVisitor)
    }
}

struct FixedVisitor<const N: usize>;

impl<const N: usize> Visitor<'_> for FixedVisitor<N> {
    type Value = Fixed<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hexadecimal digits", 2 * N)
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<Fixed<N>, E> {
        Fixed::parse(digits).ok_or_else(|| E::invalid_value(de::Unexpected::Str(digits), &self))
    }
}
