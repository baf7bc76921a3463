//! Values from JSON, such as tools and the arguments of calls that clients pass to templates.

use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::{Map, Value};

/// Most keys in an object, because each key is compared with those before it.
const MAX_KEYS: usize = 1024;

/// Why a text cannot become a value: it is not JSON, it nests too deep, or an object has more than 1024 keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected JSON of at most 64 levels and {MAX_KEYS} keys an object, wrong at line {line}, column {column}", MAX_KEYS = MAX_KEYS)]
pub struct JsonError {
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1.
    pub column: usize,
}

impl Value {
    /// The value of a JSON text. Keys keep their order; if a key occurs twice, the last value counts. Whole numbers beyond 64
    /// bits become floats.
    ///
    /// # Errors
    /// Where the text is not valid.
    pub fn from_json(json: &str) -> Result<Self, JsonError> {
        serde_json::from_str(json).map_err(|error| JsonError { line: error.line(), column: error.column() })
    }

    /// The entries of a dict.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or_else(|_| (number as f64).into(), Value::from))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element()? {
            elements.try_reserve(1).map_err(A::Error::custom)?;
            elements.push(element);
        }
        Value::list(elements).map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, value)) = entries.next_entry::<Value, Value>()? {
            if map.entries().len() >= MAX_KEYS {
                return Err(A::Error::custom("too many keys"));
            }
            map.insert(key, value).map_err(A::Error::custom)?;
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use super::*;
    use crate::{Limits, Template};

    fn shown(json: &str) -> String {
        let mut context = Map::new();
        context.insert("v", Value::from_json(json).unwrap()).unwrap();
        Template::parse("{{ v | tojson }}").unwrap().render(&context, Limits::default()).unwrap()
    }

    #[test]
    fn json_comes_out_as_it_went_in() {
        for json in [
            r#"{"b": 1, "a": [null, true, false, -7, 1.5, "\"ü\\\n"], "": {}}"#,
            "[]",
            "0.1",
            "9223372036854775807",
            "\"\"",
        ] {
            assert_eq!(shown(json), json);
        }
        assert_eq!(shown(r#"{"a":1,"b":2,"a":3}"#), r#"{"a": 3, "b": 2}"#);
        assert_eq!(shown("9223372036854775808"), "9.223372036854776e+18");
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let place = |json: &str| Value::from_json(json).map(|_| ()).unwrap_err();
        assert_eq!(place("{\"a\":\n 1,}"), JsonError { line: 2, column: 4 });
        for json in ["", "{", "'a'", "1 2", "{1: 2}", "nul", "\"\u{1}\""] {
            place(json);
        }
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(Value::from_json(&nested(60)).is_ok());
        place(&nested(100));
        place(&nested(100_000));
        let keys = |n: usize| {
            format!("{{{}}}", (0..n).map(|key| format!("\"{key}\":0")).collect::<Vec<_>>().join(","))
        };
        assert!(Value::from_json(&keys(MAX_KEYS)).is_ok());
        place(&keys(MAX_KEYS + 1));
    }
}
