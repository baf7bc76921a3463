//! Metadata by key, as a plain `Value` or as the type that the caller needs.

use super::{Array, Gguf, GgufError, GgufStr, Name, Part, Value};

/// A metadata key: `"general.name"`, or `(architecture, "block_count")` for a key of two parts
/// with a dot between them.
#[derive(Debug, Clone, Copy)]
pub struct Key<'k> {
    /// Up to and including the dot.
    prefix: [&'k str; 2],
    suffix: &'k str,
}

impl<'k> From<&'k str> for Key<'k> {
    fn from(key: &'k str) -> Self {
        Self { prefix: ["", ""], suffix: key }
    }
}

impl<'k> From<(&'k str, &'k str)> for Key<'k> {
    fn from((prefix, suffix): (&'k str, &'k str)) -> Self {
        Self { prefix: [prefix, "."], suffix }
    }
}

impl Key<'_> {
    fn bytes(&self) -> impl Iterator<Item = u8> + Clone {
        let [prefix, dot] = self.prefix;
        prefix.bytes().chain(dot.bytes()).chain(self.suffix.bytes())
    }

    fn name(&self) -> Name {
        Name::from_bytes(self.bytes())
    }
}

impl<'a> Gguf<'a> {
    /// The value of a key.
    pub fn get<'k>(&self, key: impl Into<Key<'k>>) -> Option<Value<'a>> {
        let index = self.metadata.find(key.into().bytes())?;
        Some(self.metadata.entries()[index].1)
    }

    /// An integer of any width that fits u32.
    ///
    /// # Errors
    /// If the value is not an integer or does not fit.
    pub fn u32_value<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<u32>, GgufError> {
        let key = key.into();
        let Some(integer) = self.typed(key, "an integer", |value| value.as_integer())? else {
            return Ok(None);
        };
        let out_of_range = |_| GgufError::OutOfRange { key: key.name(), expected: "32 bits without sign" };
        u32::try_from(integer).map(Some).map_err(out_of_range)
    }

    /// A float of either width, rounded to f32.
    ///
    /// # Errors
    /// If the value is not a float.
    pub fn f32_value<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<f32>, GgufError> {
        self.typed(key.into(), "a float", |value| value.as_f32())
    }

    /// A bool.
    ///
    /// # Errors
    /// If the value is not a bool.
    pub fn bool_value<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<bool>, GgufError> {
        self.typed(key.into(), "a bool", |value| value.as_bool())
    }

    /// A text.
    ///
    /// # Errors
    /// If the value is not a string or not UTF-8.
    pub fn str_value<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<&'a str>, GgufError> {
        let key = key.into();
        let text = self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(*text),
            _ => None,
        })?;
        text.map(GgufStr::as_str).transpose().map_err(|error| GgufError::InvalidUtf8 {
            part: Part::Value(key.name()),
            offset: error.valid_up_to() as u64,
        })
    }

    /// An array with elements of any type.
    ///
    /// # Errors
    /// If the value is not an array.
    pub fn array_value<'k>(&self, key: impl Into<Key<'k>>) -> Result<Option<Array<'a>>, GgufError> {
        self.typed(key.into(), "an array", |value| value.as_array())
    }

    /// Like [`Gguf::u32_value`], but a missing key is an error.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], and the errors of [`Gguf::u32_value`].
    pub fn require_u32<'k>(&self, key: impl Into<Key<'k>>) -> Result<u32, GgufError> {
        let key = key.into();
        self.u32_value(key)?.ok_or(GgufError::MissingKey { key: key.name() })
    }

    /// Like [`Gguf::f32_value`], but a missing key is an error.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], and the errors of [`Gguf::f32_value`].
    pub fn require_f32<'k>(&self, key: impl Into<Key<'k>>) -> Result<f32, GgufError> {
        let key = key.into();
        self.f32_value(key)?.ok_or(GgufError::MissingKey { key: key.name() })
    }

    /// Like [`Gguf::bool_value`], but a missing key is an error.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], and the errors of [`Gguf::bool_value`].
    pub fn require_bool<'k>(&self, key: impl Into<Key<'k>>) -> Result<bool, GgufError> {
        let key = key.into();
        self.bool_value(key)?.ok_or(GgufError::MissingKey { key: key.name() })
    }

    /// Like [`Gguf::str_value`], but a missing key is an error.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], and the errors of [`Gguf::str_value`].
    pub fn require_str<'k>(&self, key: impl Into<Key<'k>>) -> Result<&'a str, GgufError> {
        let key = key.into();
        self.str_value(key)?.ok_or(GgufError::MissingKey { key: key.name() })
    }

    /// Like [`Gguf::array_value`], but a missing key is an error.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`], and the errors of [`Gguf::array_value`].
    pub fn require_array<'k>(&self, key: impl Into<Key<'k>>) -> Result<Array<'a>, GgufError> {
        let key = key.into();
        self.array_value(key)?.ok_or(GgufError::MissingKey { key: key.name() })
    }

    fn typed<T>(
        &self,
        key: Key<'_>,
        expected: &'static str,
        convert: impl Fn(&Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match convert(&value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(GgufError::WrongType { key: key.name(), expected, found: value.ty() }),
        }
    }
}
