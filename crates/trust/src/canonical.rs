//! [`Writer`]: JSON of which there is one spelling, so that a signature can be over its bytes.
//!
//! The spelling is that of RFC 8785 (JSON Canonicalization Scheme) for what receipts are made of: objects with ASCII names in
//! their order, arrays, texts, whole numbers below 2^53, `true`, `false` and `null`. Nothing stands between them.

use alloc::vec::Vec;

/// There is no memory for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes that were asked for.
    pub needed_bytes: usize,
}

/// JSON in the making. After memory has run out nothing more is written, and [`finish`](Self::finish) says so.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    failure: Option<OutOfMemory>,
}

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of a member of an object, before its value. Names come in the order of their bytes.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.text(name);
        self.push(b":");
        self
    }

    /// An object with these members.
    pub fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.begin(b"{");
        members(self);
        self.push(b"}");
    }

    /// An array of these values.
    pub fn array<T>(&mut self, values: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.begin(b"[");
        values.into_iter().for_each(|value| write(self, value));
        self.push(b"]");
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.begin(b"\"");
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            self.push(&rest[..at]);
            self.escape(rest[at]);
            rest = &rest[at + 1..];
        }
        self.push(rest);
        self.push(b"\"");
    }

    /// RFC 8785, section 3.2.2.2.
    fn escape(&mut self, byte: u8) {
        match byte {
            b'"' => self.push(b"\\\""),
            b'\\' => self.push(b"\\\\"),
            8 => self.push(b"\\b"),
            9 => self.push(b"\\t"),
            10 => self.push(b"\\n"),
            12 => self.push(b"\\f"),
            13 => self.push(b"\\r"),
            _ => {
                self.push(b"\\u00");
                self.push(&digits(byte));
            }
        }
    }

    /// Bytes, as a text of two lower-case hexadecimal digits each.
    pub fn hex(&mut self, bytes: &[u8]) {
        self.begin(b"\"");
        bytes.iter().for_each(|&byte| self.push(&digits(byte)));
        self.push(b"\"");
    }

    /// A float, as a text: the eight hexadecimal digits of its bits (IEEE 754 binary32).
    pub fn float(&mut self, value: f32) {
        self.hex(&value.to_bits().to_be_bytes());
    }

    /// A whole number below 2^53.
    pub fn number(&mut self, number: u64) {
        self.begin(b"");
        self.decimal(number);
    }

    /// A whole number, as a text: for those that may be 2^53 or more.
    pub fn long(&mut self, number: u64) {
        self.begin(b"\"");
        self.decimal(number);
        self.push(b"\"");
    }

    fn decimal(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) {
        self.begin(if value { b"true" } else { b"false" });
    }

    /// What is there, or `null`.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.begin(b"null"),
        }
    }

    /// A value that is JSON in this spelling already.
    pub fn json(&mut self, json: &[u8]) {
        self.begin(json);
    }

    /// Appends `bytes` as a value begins, behind a comma unless it is the first.
    fn begin(&mut self, bytes: &[u8]) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.push(b",");
        }
        self.push(bytes);
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        if self.out.try_reserve(bytes.len()).is_err() {
            self.failure = Some(OutOfMemory { needed_bytes: self.out.len() + bytes.len() });
            return;
        }
        self.out.extend_from_slice(bytes);
    }

    /// Nothing more is written, since there was no memory for a part.
    pub fn fail(&mut self, failure: OutOfMemory) {
        self.failure.get_or_insert(failure);
    }

    /// The bytes.
    ///
    /// # Errors
    /// If there was no memory for them.
    pub fn finish(self) -> Result<Vec<u8>, OutOfMemory> {
        self.failure.map_or(Ok(self.out), Err)
    }
}

/// The two lower-case hexadecimal digits of a byte.
fn digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn written(write: impl FnOnce(&mut Writer)) -> String {
        let mut writer = Writer::new();
        write(&mut writer);
        String::from_utf8(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn values_stand_without_anything_between() {
        let text = written(|w| {
            w.object(|w| {
                w.key("a").array([1, 2, u64::MAX >> 11], Writer::number);
                w.key("b").object(|_| {});
                w.key("c").option(None::<()>, |_, ()| {});
                w.key("d").bool(true);
                w.key("e").long(u64::MAX);
                w.key("f").float(-1.5);
                w.key("g").hex(&[0, 255]);
                w.key("h").array([0; 0], Writer::number);
            });
        });
        let expected = r#"{"a":[1,2,9007199254740991],"b":{},"c":null,"d":true,"e":"18446744073709551615","f":"bfc00000","g":"00ff","h":[]}"#;
        assert_eq!(text, expected);
    }

    /// RFC 8785, section 3.2.2.2; serde_json escapes the same.
    #[test]
    fn texts_are_escaped_as_the_rfc_says() {
        let text: String =
            (0..=0x120).filter_map(char::from_u32).chain(['\u{20ac}', '\u{fb33}', '\u{1f602}']).collect();
        assert_eq!(written(|w| w.text(&text)), serde_json::to_string(&text).unwrap());
        assert_eq!(written(|w| w.text("\u{f}\n'A\"\\/")), r#""\u000f\n'A\"\\/""#);
    }
}
