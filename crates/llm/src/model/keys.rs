//! The hyper-parameter keys of one family, read with their range checked.

use super::architecture::Architecture;
use super::error::ModelError;
use crate::gguf::{Gguf, Name, Value};

/// The keys `<prefix>.<suffix>` of a file.
pub(super) struct Keys<'g, 'a> {
    pub gguf: &'g Gguf<'a>,
    pub prefix: &'static str,
}

/// Numbers above this are refused: no model comes near, and products of two stay far from overflow.
const MAX_NUMBER: u32 = 1 << 24;

impl Keys<'_, '_> {
    fn name(&self, suffix: &str) -> Name {
        Name::format(format_args!("{}.{suffix}", self.prefix))
    }

    fn missing(&self, suffix: &str) -> ModelError {
        ModelError::MissingKey(self.name(suffix))
    }

    /// Fails if the file does not have the key.
    pub fn require(&self, suffix: &str) -> Result<(), ModelError> {
        self.gguf.get((self.prefix, suffix)).map(|_| ()).ok_or_else(|| self.missing(suffix))
    }

    /// The error for a value that cannot be.
    pub fn invalid(&self, suffix: &str, value: usize, expected: &'static str) -> ModelError {
        ModelError::InvalidKey { key: self.name(suffix), value: value as f64, expected }
    }

    /// The error for a value that selects something not implemented.
    pub fn unsupported(&self, suffix: &str, value: &str, supported: &'static str) -> ModelError {
        ModelError::UnsupportedKey { key: self.name(suffix), value: Name::from(value), supported }
    }

    /// A whole number that may be absent: 0 to 2^24.
    pub fn optional_number(&self, suffix: &str) -> Result<Option<usize>, ModelError> {
        match self.gguf.u32_value((self.prefix, suffix))? {
            Some(number @ 0..=MAX_NUMBER) => Ok(Some(number as usize)),
            Some(number) => Err(self.invalid(suffix, number as usize, "at most 16777216")),
            None => Ok(None),
        }
    }

    /// A dimension: 1 to 2^24.
    pub fn width(&self, suffix: &str) -> Result<usize, ModelError> {
        self.optional_width(suffix)?.ok_or_else(|| self.missing(suffix))
    }

    /// A dimension that may be absent.
    pub fn optional_width(&self, suffix: &str) -> Result<Option<usize>, ModelError> {
        match self.optional_number(suffix)? {
            Some(0) => Err(self.invalid(suffix, 0, "1 to 16777216")),
            width => Ok(width),
        }
    }

    /// A dimension of layer `index` of `n_layer`: one number for all, or an array with one for each.
    pub fn layer_width(&self, suffix: &str, index: usize, n_layer: usize) -> Result<usize, ModelError> {
        self.optional_layer_width(suffix, index, n_layer)?.ok_or_else(|| self.missing(suffix))
    }

    /// A dimension of one layer that may be absent.
    pub fn optional_layer_width(
        &self,
        suffix: &str,
        index: usize,
        n_layer: usize,
    ) -> Result<Option<usize>, ModelError> {
        let Some(Value::Array(array)) = self.gguf.get((self.prefix, suffix)) else {
            return self.optional_width(suffix);
        };
        if array.len() != n_layer {
            return Err(self.invalid(suffix, array.len(), "one number per layer"));
        }
        match array.values().nth(index).and_then(|value| value.as_integer()) {
            Some(width @ 1..=0x100_0000) => Ok(Some(width as usize)),
            _ => Err(ModelError::InvalidKey {
                key: self.name(suffix),
                value: index as f64,
                expected: "at this index a number from 1 to 16777216",
            }),
        }
    }

    /// The truth value of layer `index` in an array of them.
    pub fn layer_flag(&self, suffix: &str, index: usize) -> Result<bool, ModelError> {
        let array = self.gguf.array_value((self.prefix, suffix))?.ok_or_else(|| self.missing(suffix))?;
        let flag = array.bools().and_then(|mut flags| flags.nth(index));
        flag.ok_or_else(|| self.invalid(suffix, array.len(), "one truth value per layer"))
    }

    /// A number above zero.
    pub fn positive(&self, suffix: &str) -> Result<f32, ModelError> {
        self.optional_positive(suffix)?.ok_or_else(|| self.missing(suffix))
    }

    /// A number above zero that may be absent.
    pub fn optional_positive(&self, suffix: &str) -> Result<Option<f32>, ModelError> {
        match self.optional_not_negative(suffix)? {
            Some(0.0) => Err(self.invalid(suffix, 0, "a finite number above 0")),
            x => Ok(x),
        }
    }

    /// A number that is zero or above and may be absent.
    pub fn optional_not_negative(&self, suffix: &str) -> Result<Option<f32>, ModelError> {
        match self.gguf.f32_value((self.prefix, suffix))? {
            Some(x) if !(x >= 0.0 && x.is_finite()) => Err(ModelError::InvalidKey {
                key: self.name(suffix),
                value: x.into(),
                expected: "a finite number, not negative",
            }),
            x => Ok(x),
        }
    }

    /// A scale, cap or limit, if this family reads it; none of them is 0.
    pub fn scale(&self, architecture: &Architecture, suffix: &str) -> Result<Option<f32>, ModelError> {
        match architecture.reads.iter().find(|(key, _)| *key == suffix) {
            Some((_, default)) => {
                Ok(self.optional_not_negative(suffix)?.or(*default).filter(|&scale| scale > 0.0))
            }
            None => Ok(None),
        }
    }

    /// A truth value.
    pub fn bool(&self, suffix: &str) -> Result<bool, ModelError> {
        self.optional_bool(suffix)?.ok_or_else(|| self.missing(suffix))
    }

    /// A truth value that may be absent.
    pub fn optional_bool(&self, suffix: &str) -> Result<Option<bool>, ModelError> {
        Ok(self.gguf.bool_value((self.prefix, suffix))?)
    }

    /// A name that may be absent.
    pub fn optional_str(&self, suffix: &str) -> Result<Option<&str>, ModelError> {
        Ok(self.gguf.str_value((self.prefix, suffix))?)
    }
}
