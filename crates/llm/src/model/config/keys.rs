//! The hyper-parameter keys of one family, read with their range checked.

use super::super::architecture::Architecture;
use super::super::error::ModelError;
use crate::gguf::{Gguf, Name, Value};

/// The keys `<prefix>.<suffix>` of a file.
pub(super) struct Keys<'g, 'a> {
    pub gguf: &'g Gguf<'a>,
    pub prefix: &'static str,
}

/// Numbers above this are refused: no model comes close, and products of two such numbers cannot overflow.
const MAX_NUMBER: u32 = 1 << 24;

impl Keys<'_, '_> {
    #[inline(never)]
    fn name(&self, suffix: &str) -> Name {
        Name::format(format_args!("{}.{suffix}", self.prefix))
    }

    /// The error for a missing required key.
    #[inline(never)]
    pub fn missing(&self, suffix: &str) -> ModelError {
        ModelError::MissingKey(self.name(suffix))
    }

    /// Fails if the file does not have the key.
    pub fn require(&self, suffix: &str) -> Result<(), ModelError> {
        self.gguf.get((self.prefix, suffix)).map(|_| ()).ok_or_else(|| self.missing(suffix))
    }

    /// The error for an invalid value.
    #[inline(never)]
    pub fn invalid(&self, suffix: &str, value: usize, expected: &'static str) -> ModelError {
        ModelError::InvalidKey { key: self.name(suffix), value: value as f64, expected }
    }

    /// The error for a value that selects something not implemented.
    #[inline(never)]
    pub fn unsupported(&self, suffix: &str, value: &str, supported: &'static str) -> ModelError {
        ModelError::UnsupportedKey { key: self.name(suffix), value: Name::from(value), supported }
    }

    /// A whole number that may be absent, 0 to 2^24. An array that repeats one number counts as that number.
    #[inline(never)]
    pub fn optional_number(&self, suffix: &str) -> Result<Option<usize>, ModelError> {
        match self.optional_length(suffix)? {
            Some(number) if number > MAX_NUMBER as usize => {
                Err(self.invalid(suffix, number, "at most 16777216"))
            }
            number => Ok(number),
        }
    }

    /// A number of positions that may be absent: any of 32 bits, since none are allocated for it. An array counts as
    /// in [`optional_number`](Self::optional_number).
    #[inline(never)]
    pub fn optional_length(&self, suffix: &str) -> Result<Option<usize>, ModelError> {
        let Some(Value::Array(array)) = self.gguf.get((self.prefix, suffix)) else {
            return Ok(self.gguf.u32_value((self.prefix, suffix))?.map(|number| number as usize));
        };
        let mut numbers = array.values().map(|value| value.as_integer());
        let first = numbers.next().flatten().and_then(|number| u32::try_from(number).ok());
        match first.filter(|&first| numbers.all(|number| number == Some(first.into()))) {
            Some(number) => Ok(Some(number as usize)),
            None => Err(self.invalid(suffix, array.len(), "one number, or the same for each layer")),
        }
    }

    /// A number of positions that must be there.
    #[inline(never)]
    pub fn length(&self, suffix: &str) -> Result<usize, ModelError> {
        self.optional_length(suffix)?.ok_or_else(|| self.missing(suffix))
    }

    /// A dimension: 1 to 2^24.
    #[inline(never)]
    pub fn width(&self, suffix: &str) -> Result<usize, ModelError> {
        self.optional_width(suffix)?.ok_or_else(|| self.missing(suffix))
    }

    /// A dimension that may be absent.
    #[inline(never)]
    pub fn optional_width(&self, suffix: &str) -> Result<Option<usize>, ModelError> {
        match self.optional_number(suffix)? {
            Some(0) => Err(self.invalid(suffix, 0, "1 to 16777216")),
            width => Ok(width),
        }
    }

    /// A number of layer `index` of `n_layer` that may be absent, 0 to 2^24: one for all layers, or an array with one
    /// for each.
    #[inline(never)]
    pub fn optional_layer_number(
        &self,
        suffix: &str,
        index: usize,
        n_layer: usize,
    ) -> Result<Option<usize>, ModelError> {
        let Some(Value::Array(array)) = self.gguf.get((self.prefix, suffix)) else {
            return self.optional_number(suffix);
        };
        if array.len() != n_layer {
            return Err(self.invalid(suffix, array.len(), "one number per layer"));
        }
        match array.values().nth(index).and_then(|value| value.as_integer()) {
            Some(number @ 0..=0x100_0000) => Ok(Some(number as usize)),
            _ => Err(self.invalid(suffix, index, "at this index a number up to 16777216")),
        }
    }

    /// A dimension of layer `index` of `n_layer`: like [`optional_layer_number`](Self::optional_layer_number), but
    /// required and above 0.
    #[inline(never)]
    pub fn layer_width(&self, suffix: &str, index: usize, n_layer: usize) -> Result<usize, ModelError> {
        self.optional_layer_width(suffix, index, n_layer)?.ok_or_else(|| self.missing(suffix))
    }

    /// The largest dimension of any layer, from one number for all layers or from an array. Some numbers in the array
    /// may be 0.
    #[inline(never)]
    pub fn largest_width(&self, suffix: &str) -> Result<usize, ModelError> {
        let Some(Value::Array(array)) = self.gguf.get((self.prefix, suffix)) else {
            return self.width(suffix);
        };
        // A value that is not a number is refused later, when its layer reads it.
        let largest = array.values().filter_map(|value| value.as_integer()).max();
        match largest {
            Some(largest @ 1..=0x100_0000) => Ok(largest as usize),
            _ => Err(self.invalid(suffix, array.len(), "an array of numbers of which one is 1 to 16777216")),
        }
    }

    /// A dimension of one layer that may be absent, but not 0.
    #[inline(never)]
    pub fn optional_layer_width(
        &self,
        suffix: &str,
        index: usize,
        n_layer: usize,
    ) -> Result<Option<usize>, ModelError> {
        match self.optional_layer_number(suffix, index, n_layer)? {
            Some(0) => Err(self.invalid(suffix, 0, "1 to 16777216")),
            width => Ok(width),
        }
    }

    /// A number of layer `index` of `n_layer` that may be absent: one for all layers, or an array with one for each.
    #[inline(never)]
    pub fn optional_layer_float(
        &self,
        suffix: &str,
        index: usize,
        n_layer: usize,
    ) -> Result<Option<f32>, ModelError> {
        let Some(Value::Array(array)) = self.gguf.get((self.prefix, suffix)) else {
            return self.optional_not_negative(suffix);
        };
        match array.values().nth(index).and_then(|value| value.as_f32()) {
            Some(number) if array.len() == n_layer && number >= 0.0 && number.is_finite() => Ok(Some(number)),
            _ => Err(self.invalid(suffix, array.len(), "a finite number per layer, not negative")),
        }
    }

    /// A number of layer `index` of `n_layer` under a key without the family's prefix, one for all or one for each.
    pub fn unprefixed_layer_float(
        &self,
        name: &str,
        index: usize,
        n_layer: usize,
    ) -> Result<f32, ModelError> {
        let value = self.gguf.get(name).ok_or_else(|| ModelError::missing_key(name))?;
        let (len, number) = match value {
            Value::Array(array) => (array.len(), array.values().nth(index).and_then(|value| value.as_f32())),
            value => (n_layer, value.as_f32()),
        };
        match number {
            Some(number) if len == n_layer && number.is_finite() => Ok(number),
            _ => Err(ModelError::InvalidKey {
                key: Name::from(name),
                value: len as f64,
                expected: "one finite number, or one per layer",
            }),
        }
    }

    /// The truth value of layer `index` in an array of them.
    #[inline(never)]
    pub fn layer_flag(&self, suffix: &str, index: usize) -> Result<bool, ModelError> {
        self.first_flags(suffix, index)?.ok_or_else(|| {
            let len =
                self.gguf.array_value((self.prefix, suffix)).ok().flatten().map_or(0, |array| array.len());
            self.invalid(suffix, len, "one truth value per layer")
        })
    }

    /// The truth value of layer `index` in an array for the first layers; `None` beyond its end.
    pub fn first_flags(&self, suffix: &str, index: usize) -> Result<Option<bool>, ModelError> {
        let array = self.gguf.array_value((self.prefix, suffix))?.ok_or_else(|| self.missing(suffix))?;
        let Some(flag) = array.values().nth(index) else { return Ok(None) };
        // Some files write truth values as numbers.
        match flag.as_bool().or(flag.as_integer().map(|number| number != 0)) {
            Some(flag) => Ok(Some(flag)),
            None => Err(self.invalid(suffix, array.len(), "one truth value per layer")),
        }
    }

    /// The first `N` numbers of an array that may be absent.
    pub fn optional_numbers<const N: usize>(&self, suffix: &str) -> Result<Option<[usize; N]>, ModelError> {
        let Some(array) = self.gguf.array_value((self.prefix, suffix))? else { return Ok(None) };
        let mut numbers = [0; N];
        let mut values = array.values();
        for number in &mut numbers {
            let value = values.next().and_then(|value| value.as_integer());
            *number = match value {
                Some(value @ 0..=0x100_0000) => value as usize,
                _ => return Err(self.invalid(suffix, array.len(), "an array of numbers up to 16777216")),
            };
        }
        Ok(Some(numbers))
    }

    /// A number that is zero or above.
    #[inline(never)]
    pub fn not_negative(&self, suffix: &str) -> Result<f32, ModelError> {
        self.optional_not_negative(suffix)?.ok_or_else(|| self.missing(suffix))
    }

    /// Any finite number that may be absent.
    #[inline(never)]
    pub fn float(&self, suffix: &str) -> Result<Option<f32>, ModelError> {
        Ok(self.gguf.f32_value((self.prefix, suffix))?.filter(|x| x.is_finite()))
    }

    /// A number above zero that may be absent.
    #[inline(never)]
    pub fn optional_positive(&self, suffix: &str) -> Result<Option<f32>, ModelError> {
        match self.optional_not_negative(suffix)? {
            Some(0.0) => Err(self.invalid(suffix, 0, "a finite number above 0")),
            x => Ok(x),
        }
    }

    /// A number that is zero or above and may be absent.
    #[inline(never)]
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

    /// A number below zero that may be absent; negative infinity counts as absent.
    #[inline(never)]
    pub fn optional_below_zero(&self, suffix: &str) -> Result<Option<f32>, ModelError> {
        match self.gguf.f32_value((self.prefix, suffix))? {
            None | Some(f32::NEG_INFINITY) => Ok(None),
            Some(_) => self.below_zero(suffix).map(Some),
        }
    }

    /// A finite number below zero.
    #[inline(never)]
    pub fn below_zero(&self, suffix: &str) -> Result<f32, ModelError> {
        match self.gguf.f32_value((self.prefix, suffix))? {
            None => Err(self.missing(suffix)),
            Some(x) if x < 0.0 && x.is_finite() => Ok(x),
            Some(x) => Err(ModelError::InvalidKey {
                key: self.name(suffix),
                value: x.into(),
                expected: "a finite number below 0",
            }),
        }
    }

    /// A scale, cap or limit, if this family reads it; none of them is 0.
    #[inline(never)]
    pub fn scale(&self, architecture: &Architecture, suffix: &str) -> Result<Option<f32>, ModelError> {
        match architecture.reads.iter().find(|(key, _)| *key == suffix) {
            Some((_, default)) => {
                Ok(self.optional_not_negative(suffix)?.or(*default).filter(|&scale| scale > 0.0))
            }
            None => Ok(None),
        }
    }

    /// A truth value.
    #[inline(never)]
    pub fn bool(&self, suffix: &str) -> Result<bool, ModelError> {
        self.optional_bool(suffix)?.ok_or_else(|| self.missing(suffix))
    }

    /// A truth value that may be absent.
    #[inline(never)]
    pub fn optional_bool(&self, suffix: &str) -> Result<Option<bool>, ModelError> {
        Ok(self.gguf.bool_value((self.prefix, suffix))?)
    }

    /// A name that may be absent.
    #[inline(never)]
    pub fn optional_str(&self, suffix: &str) -> Result<Option<&str>, ModelError> {
        Ok(self.gguf.str_value((self.prefix, suffix))?)
    }
}
