//! JSON schemas (draft 2020-12) as grammars of the texts of their values.
//!
//! [`Grammar::of_json_schema`] takes the text of a schema. `document` finds what references lead to, `meaning` brings each schema to a normal
//! form (`union`) in which numbers and strings are automata (`number`, `pattern`, `format`), and `writer` makes rules of it.
//!
//! Nothing is left out: what no grammar expresses is an error that names its place. Keywords that the specification does not
//! know, and those that only annotate, are ignored, as it says.
//!
//! # What is accepted and what is not
//!
//! - Numbers are compared exactly as decimals. An exponent is accepted only where any number is.
//! - Names of members are told apart if the schema knows them. Whether two others are the same name no grammar can say.
//! - Strings are characters of Unicode; an escape that is half a surrogate pair is not accepted.
//! - `uniqueItems` is expressed where elements are of few values, as with `enum`.
//! - `$schema` may name this draft or an older one of json-schema.org; `items` may be an array, as in older ones.

mod arrays;
mod automaton;
mod categories;
mod document;
mod error;
mod format;
mod json_text;
#[cfg(test)]
pub(crate) mod matcher;
mod meaning;
mod number;
mod objects;
mod pattern;
mod scalars;
mod search;
#[cfg(test)]
mod suite;
mod union;
mod uri;
mod write_arrays;
mod write_objects;
mod writer;

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;

use crate::expression::Builder;
use crate::program::Grammar;

pub use self::error::{GrammarLimit, SchemaError, Why};

use self::automaton::Budget;
use self::document::Document;
use self::meaning::Meanings;
use self::writer::Writer;

/// Most bytes of a schema.
pub const MAX_BYTES: usize = 1 << 20;

/// Most bytes that the values of a schema take for a byte of its text, while the largest list grows.
const VALUE_BYTES: usize = 96;
/// What may be computed for a schema: states, edges, alternatives. In an optimised build some 50 ns each.
const STEPS: u32 = 1_000_000;

/// In which order an object's members may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// In any. An object can have up to [`crate::expression::MAX_MEMBERS`] members that the schema knows.
    Any,
    /// In that of `properties`; members that the schema does not name follow at the end.
    Schema,
}

/// What may stand between the parts of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whitespace {
    /// Nothing.
    None,
    /// Up to so many characters of white space, where JSON allows it inside a value.
    UpTo(u32),
}

/// How strings and numbers may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// In every way that JSON allows: each character also as `\uXXXX`, each number also with zeros at its end.
    Any,
    /// In the shortest way that is usual: escapes only where JSON demands them, no zeros at the end of a fraction, and where any
    /// number may be, at most 16 digits before the point and behind it and no exponent.
    Plain,
}

/// What a grammar is to accept of the texts of valid values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// In which order members may come.
    pub order: Order,
    /// What may stand between parts.
    pub whitespace: Whitespace,
    /// How strings and numbers may be written.
    pub spelling: Spelling,
    /// Whether `format` is an assertion. In the specification it is an annotation.
    pub formats: bool,
    /// Whether an object whose schema names members may have others also where the schema does not say so, as the specification
    /// has it.
    pub unnamed_members: bool,
}

impl Options {
    /// All texts of valid values, as far as a grammar can say it.
    pub const VALID: Self = Self {
        order: Order::Any,
        whitespace: Whitespace::UpTo(64),
        spelling: Spelling::Any,
        formats: false,
        unnamed_members: true,
    };

    /// The texts that a model should write: compact, members in order, nothing that the schema does not name.
    pub const GENERATED: Self = Self {
        order: Order::Schema,
        whitespace: Whitespace::None,
        spelling: Spelling::Plain,
        formats: true,
        unnamed_members: false,
    };
}

/// The schema of JSON's objects.
pub const ANY_OBJECT: &str = r#"{"type": "object"}"#;

impl Grammar {
    /// The grammar of the texts of the values that are valid against a JSON schema.
    ///
    /// # Errors
    /// [`SchemaError`], with a JSON pointer to what is wrong or cannot be expressed. A schema of hostile size or content is
    /// refused after a bounded number of steps.
    pub fn of_json_schema(schema: &str, options: Options) -> Result<Self, SchemaError> {
        if schema.len() > MAX_BYTES {
            return Err(SchemaError::TooLong { limit: MAX_BYTES });
        }
        // What makes values of it cannot be told that there is no memory. So it is made sure of first.
        let mut probe: Vec<u8> = Vec::new();
        let out_of_memory = |_| SchemaError::At { pointer: String::new(), why: Why::OutOfMemory };
        probe.try_reserve_exact(schema.len().saturating_mul(VALUE_BYTES)).map_err(out_of_memory)?;
        drop(probe);
        let schema: Value = serde_json::from_str(schema)
            .map_err(|error| SchemaError::Syntax { line: error.line(), column: error.column() })?;
        check_dialect(&schema)?;
        let meanings = Meanings::new(Document::new(&schema)?, options, Budget::new(STEPS));
        Writer::new(meanings, Builder::new())?.grammar()
    }
}

/// `$schema` must name a dialect whose keywords mean what they do here.
fn check_dialect(schema: &Value) -> Result<(), SchemaError> {
    let known = match schema.get("$schema") {
        None => true,
        Some(Value::String(uri)) => {
            let name = uri.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('#');
            ["2020-12/", "2019-09/"]
                .iter()
                .any(|draft| name == ["json-schema.org/draft/", draft, "schema"].concat())
                || ["draft-07", "draft-06"]
                    .iter()
                    .any(|draft| name == ["json-schema.org/", draft, "/schema"].concat())
                || name == "json-schema.org/schema"
        }
        Some(_) => false,
    };
    if known {
        return Ok(());
    }
    let why = Why::Expected("the URI of draft 2020-12, https://json-schema.org/draft/2020-12/schema");
    Err(SchemaError::At { pointer: String::from("/$schema"), why })
}
