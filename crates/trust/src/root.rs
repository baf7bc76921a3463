//! [`Root`]: 32 bytes that stand for all bytes of a file, or of a model.

use crate::{
    hex::{self, Hex},
    sha256::{Compress, Sha256},
};
use core::fmt;

/// The root of a tree of SHA-256 digests ([`verity`](crate::verity)): no two files that anyone can find have the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Root(pub [u8; 32]);

impl Root {
    /// The root that 64 hexadecimal digits stand for.
    pub fn parse(digits: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::parse(digits, &mut bytes).then_some(Self(bytes))
    }

    /// What stands for a model in several files, by the roots of the files in the order of its parts: that of the only one, or
    /// the SHA-256 of all.
    pub fn of_parts(compress: Compress, parts: &[Self]) -> Self {
        if let [only] = parts {
            return *only;
        }
        let mut hash = Sha256::new(compress);
        parts.iter().for_each(|part| hash.update(&part.0));
        Self(hash.finish())
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256::{PORTABLE, digest};

    #[test]
    fn a_model_in_one_file_has_the_file_s_root_and_one_in_several_all_of_them() {
        let (one, other) = (Root([1; 32]), Root([2; 32]));
        assert_eq!(Root::of_parts(PORTABLE, &[one]), one);
        let both = digest(PORTABLE, &[[1; 32], [2; 32]].concat());
        assert_eq!(Root::of_parts(PORTABLE, &[one, other]), Root(both));
        assert_ne!(Root::of_parts(PORTABLE, &[other, one]), Root(both));
        assert_eq!(Root::parse(&one.to_string()), Some(one));
        assert_eq!(Root::parse("01"), None);
    }
}
