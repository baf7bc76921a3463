//! [`Keys`]: the keys that clients may use, their limits, and the file that lists them.
//!
//! Only the SHA-256 of a key is kept. A request's key is hashed and compared with all of them. Each comparison takes the same
//! time whatever the bytes are, so that the time of a refusal reveals nothing about any key.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use subtle::ConstantTimeEq;
use trust::hex::Hex;
use trust::sha256;

/// Most keys.
pub const MAX_KEYS: usize = 256;

/// Most bytes of a key's name.
pub const MAX_NAME_BYTES: usize = 32;

/// Number of bytes of its hash that name a key without a name.
const SHORT_HASH_BYTES: usize = 4;

/// What a key may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Tokens per minute: prompt tokens that are computed, and tokens generated. `None` means no limit, here and below.
    pub tokens_per_minute: Option<u32>,
    /// Requests for text or vectors that run at the same time.
    pub running: Option<u32>,
    /// Tokens of a prompt and its answer together.
    pub context: Option<u32>,
    /// Whether the key may read the audit.
    pub audit: bool,
}

/// A key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The key's name; the beginning of its hash if the file gives no name.
    pub name: String,
    /// Its limits.
    pub limits: KeyLimits,
    digest: [u8; 32],
}

/// The keys that clients may use; anyone may ask if there are none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

/// An error in a file of keys. It quotes no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFileError {
    /// The line number, from 1; 0 if the error is not about a line.
    pub line: usize,
    /// What the file should have there.
    pub expected: &'static str,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        write!(f, "expected {}", self.expected)
    }
}

impl core::error::Error for KeyFileError {}

/// Shows nothing: keys are secret.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl Key {
    fn new(key: &str) -> Self {
        let digest = sha256::digest(sha256::PORTABLE, key.as_bytes());
        Self { name: String::new(), limits: KeyLimits::default(), digest }
    }

    /// Applies a word that follows the key.
    fn take(&mut self, word: &str) -> Result<(), &'static str> {
        const WORDS: &str =
            "name=NAME, tokens_per_minute=N, running=N, context=N or audit behind the key, each once";
        let Self { name, limits, .. } = self;
        let (word, value) = word.split_once('=').map_or((word, None), |(word, value)| (word, Some(value)));
        let number = match (word, value) {
            ("audit", None) if !limits.audit => {
                limits.audit = true;
                return Ok(());
            }
            ("name", Some(value)) if name.is_empty() => {
                let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                if !(1..=MAX_NAME_BYTES).contains(&value.len()) || !value.bytes().all(is_known) {
                    return Err("a name of 1 to 32 letters, digits, points, hyphens or underscores");
                }
                name.push_str(value);
                return Ok(());
            }
            ("tokens_per_minute", Some(_)) => &mut limits.tokens_per_minute,
            ("running", Some(_)) => &mut limits.running,
            ("context", Some(_)) => &mut limits.context,
            _ => return Err(WORDS),
        };
        if number.is_some() {
            return Err(WORDS);
        }
        *number = value.and_then(|value| value.parse().ok()).filter(|&n: &u32| n > 0);
        number.map(drop).ok_or("a whole number from 1 to 4294967295 behind the =")
    }

    fn take_short_hash(&mut self) {
        if self.name.is_empty() {
            let _ = write!(self.name, "sha256:{}", Hex(&self.digest[..SHORT_HASH_BYTES]));
        }
    }
}

/// Whether a word after a key is meant to be one of the words that a file may have there.
fn is_meant(word: &str) -> bool {
    word == "audit" || word.contains('=')
}

impl Keys {
    /// A single key without limits.
    pub fn one(key: &str) -> Self {
        let mut key = Key::new(key);
        key.take_short_hash();
        Self(alloc::vec![key])
    }

    /// Reads the text of a key file. Each line has one key, optionally followed by the words `name=NAME`, `tokens_per_minute=N`,
    /// `running=N`, `context=N` and `audit`. Empty lines and lines that begin with `#` are ignored. If the file has only one
    /// line, that line is the key as it is, spaces included, unless a word in it is `audit` or contains a `=`.
    ///
    /// # Errors
    /// The first line that is wrong, or that there is no key.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let lines = || {
            let lines = text.lines().map(str::trim).zip(1..);
            lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
        };
        let is_alone = lines().nth(1).is_none();
        let mut keys = Self::default();
        for (text, line) in lines() {
            let refused = |expected| KeyFileError { line, expected };
            let (first, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
            let is_whole = is_alone && !rest.split_ascii_whitespace().any(is_meant);
            let mut key = Key::new(if is_whole { text } else { first });
            if !is_whole {
                rest.split_ascii_whitespace().try_for_each(|word| key.take(word)).map_err(refused)?;
            }
            key.take_short_hash();
            if keys.0.iter().any(|other| other.digest == key.digest || other.name == key.name) {
                return Err(refused("a key and a name that no line before has"));
            }
            if keys.0.len() == MAX_KEYS || keys.0.try_reserve(1).is_err() {
                return Err(refused("no more than 256 keys"));
            }
            keys.0.push(key);
        }
        match keys.0.is_empty() {
            true => Err(KeyFileError { line: 0, expected: "a key in a line" }),
            false => Ok(keys),
        }
    }

    /// Whether there are no keys, so that anyone may ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All keys.
    pub fn all(&self) -> &[Key] {
        &self.0
    }

    /// The number of the key that equals `given`. The time this takes does not depend on how much of `given` is right.
    pub fn find(&self, given: &[u8]) -> Option<usize> {
        let digest = sha256::digest(sha256::PORTABLE, given);
        let mut found = None;
        for (index, key) in self.0.iter().enumerate() {
            if key.digest.ct_eq(&digest).into() {
                found = Some(index);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn the_only_line_is_the_key_as_it_is() {
        for file in ["open sesame", "open sesame\n", " open sesame \r\n", "# mine\n\nopen sesame"] {
            let keys = Keys::parse(file).unwrap();
            assert_eq!(keys.find(b"open sesame"), Some(0), "{file:?}");
            assert_eq!(keys.find(b"open"), None);
            assert_eq!(keys.all()[0].limits, KeyLimits::default());
            assert!(keys == Keys::one("open sesame"));
        }
        assert_eq!(Keys::one("abc").all()[0].name, "sha256:ba7816bf");
    }

    #[test]
    fn words_behind_keys_say_what_they_may_use() {
        let file = "# who  what\n\nk1 name=ci running=2\nk2\tcontext=512  tokens_per_minute=6000 audit name=a.b-c_1\r\nk3";
        let keys = Keys::parse(file).unwrap();
        let limits: Vec<_> = keys.all().iter().map(|key| (&*key.name, key.limits)).collect();
        let of_k3 = Key::new("k3");
        let short = alloc::format!("sha256:{}", Hex(&of_k3.digest[..4]));
        let all = KeyLimits { tokens_per_minute: Some(6000), running: None, context: Some(512), audit: true };
        let expected = [
            ("ci", KeyLimits { running: Some(2), ..KeyLimits::default() }),
            ("a.b-c_1", all),
            (&*short, KeyLimits::default()),
        ];
        assert_eq!(limits, expected);
        assert_eq!(
            ["k1", "k2", "k3", "k", "k33", ""].map(|key| keys.find(key.as_bytes())),
            [Some(0), Some(1), Some(2), None, None, None]
        );
        // A key that is alone may have limits too.
        assert!(Keys::parse("k1 audit").unwrap().all()[0].limits.audit);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_without_the_key() {
        let long = alloc::format!("hush name={}", "n".repeat(33));
        for (file, line, expected) in [
            ("", 0, "a key in a line"),
            ("# nobody\n \n", 0, "a key in a line"),
            ("hush\n\nhush2 sesame", 3, "name=NAME"),
            ("hush contxt=5", 1, "name=NAME"),
            ("hush name", 1, ""),
            ("hush\nhush2 name", 2, "name=NAME"),
            ("hush audit=on", 1, "name=NAME"),
            ("hush audit audit", 1, "each once"),
            ("hush running=1 running=2", 1, "each once"),
            ("hush running=0", 1, "whole number"),
            ("hush context=-1", 1, "whole number"),
            ("hush context=4294967296", 1, "whole number"),
            ("hush tokens_per_minute=", 1, "whole number"),
            ("hush name=", 1, "1 to 32"),
            ("hush name=a\"b", 1, "1 to 32"),
            (&long, 1, "1 to 32"),
            ("hush name=a\nhush name=b", 2, "no line before"),
            ("hush name=a\nhush2 name=a", 2, "no line before"),
        ] {
            match Keys::parse(file) {
                // The only line of a file may contain spaces.
                Ok(_) => assert_eq!(expected, "", "{file}"),
                Err(error) => {
                    assert_eq!(error.line, line, "{file}");
                    let text = error.to_string();
                    assert!(text.contains(expected) && !text.contains("hush"), "{file}: {text}");
                }
            }
        }
        let most: String = (0..MAX_KEYS).map(|n| alloc::format!("hush{n}\n")).collect();
        assert_eq!(Keys::parse(&most).unwrap().all().len(), MAX_KEYS);
        assert_eq!(Keys::parse(&(most + "hush")).unwrap_err().line, MAX_KEYS + 1);
    }
}
