//! Names from a file, kept inside an error without an allocation.

use core::fmt;

/// The first 63 bytes of a key or tensor name.
///
/// Errors hold names in this form so that they neither borrow from the file nor allocate. All of ggml's tensor names fit; longer
/// keys are shown with `…` at the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; Self::MAX_BYTES],
    /// Length of the full name; at most `MAX_BYTES + 1`, which means that it is longer.
    len: u8,
}

impl Name {
    const MAX_BYTES: usize = 63;

    /// Keeps the beginning of a UTF-8 text.
    pub(super) fn from_bytes(text: impl Iterator<Item = u8>) -> Self {
        let mut name = Self { bytes: [0; Self::MAX_BYTES], len: 0 };
        text.for_each(|byte| name.push(byte));
        name
    }

    fn push(&mut self, byte: u8) {
        if usize::from(self.len) <= Self::MAX_BYTES {
            if let Some(slot) = self.bytes.get_mut(usize::from(self.len)) {
                *slot = byte;
            }
            self.len += 1;
        }
    }

    /// Keeps the beginning of a formatted text.
    pub fn format(arguments: fmt::Arguments<'_>) -> Self {
        struct Cut(Name);
        impl fmt::Write for Cut {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.bytes().for_each(|byte| self.0.push(byte));
                Ok(())
            }
        }
        let mut cut = Cut(Name { bytes: [0; Self::MAX_BYTES], len: 0 });
        // Writing into a name cannot fail.
        let _ = fmt::write(&mut cut, arguments);
        cut.0
    }

    /// The part that was kept; it ends at a character boundary.
    pub fn as_str(&self) -> &str {
        let kept = &self.bytes[..usize::from(self.len).min(Self::MAX_BYTES)];
        match core::str::from_utf8(kept) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&kept[..error.valid_up_to()]).unwrap_or(""),
        }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::from_bytes(text.bytes())
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self == Self::from(*other)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The file chooses its names: control characters must not reach a terminal.
        write!(f, "{}", self.as_str().escape_debug())?;
        if usize::from(self.len) > Self::MAX_BYTES {
            f.write_str("…")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::String};

    #[test]
    fn long_names_are_cut_at_a_character_and_say_so() {
        assert_eq!(format!("{}", Name::from("token_embd.weight")), "token_embd.weight");
        let exact: String = core::iter::repeat_n('a', 63).collect();
        assert_eq!(format!("{}", Name::from(exact.as_str())), exact);
        let long: String = core::iter::repeat_n('é', 40).collect();
        let shown: String = core::iter::repeat_n('é', 31).chain(['…']).collect();
        assert_eq!(format!("{}", Name::from(long.as_str())), shown);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(format!("{}", Name::from("a\u{1b}[2Jb\n")), "a\\u{1b}[2Jb\\n");
    }
}
