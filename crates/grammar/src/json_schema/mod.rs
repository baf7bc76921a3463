//! JSON schemas (draft 2020-12) as grammars of the JSON texts of valid values.
//!
//! [`Grammar::of_json_schema`] takes the text of a schema. `document` resolves references. `meaning` brings each schema to a
//! normal form (`union`) in which numbers and strings are automata (`number`, `pattern`, `format`). `writer` makes rules of it.
//! `raw_text` is for texts that are written without JSON's quotes and escapes in a model's format of calls.
//!
//! Nothing is left out silently: a condition that no grammar can express is an error that names its place. Keywords that the
//! specification does not define, and those that only annotate, are ignored, as it says.
//!
//! # What is accepted and what is not
//!
//! - Numbers are compared exactly, as decimals. An exponent is accepted only where any number is allowed.
//! - Duplicate names of members are prevented only for names that the schema knows. No grammar can say whether two other names
//!   are the same.
//! - Strings are characters of Unicode; an escape that is half a surrogate pair is not accepted.
//! - `uniqueItems` is supported if elements have only few possible values, as with `enum`.
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
mod raw_text;
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

use serde_json::{Map, Value};

use crate::error::GrammarError;
use crate::expression::{Builder, Expression};
use crate::program::Grammar;

pub use self::error::{GrammarLimit, SchemaError, Why};
pub use self::raw_text::RawText;

use self::automaton::Budget;
use self::document::Document;
use self::meaning::Meanings;
use self::writer::Writer;

/// Most bytes of a schema.
pub const MAX_BYTES: usize = 1 << 20;

/// Most bytes of memory that the values of a schema take for each byte of its text, while the largest list grows.
const VALUE_BYTES: usize = 96;
/// How many steps may be computed for a schema: states, edges, alternatives. A step takes some 50 ns in an optimised build.
const STEPS: u32 = 1_000_000;
/// Fewer steps are not enough for any useful schema.
const FEWEST_STEPS: u32 = 20_000;
/// Most bytes of memory for each step.
const STEP_BYTES: usize = 48;

/// The order in which an object's members may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Any order. An object can have up to [`crate::expression::MAX_MEMBERS`] members that the schema knows.
    Any,
    /// The order of `properties`; members that the schema does not name follow at the end.
    Schema,
}

/// The white space that may come between the parts of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whitespace {
    /// None.
    None,
    /// A space after commas and colons, or none.
    Spaces,
    /// Up to this many characters of white space wherever JSON allows it inside a value.
    UpTo(u32),
}

/// How strings and numbers may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// In every way that JSON allows: each character also as `\uXXXX`, each number also with zeros at its end.
    Any,
    /// The usual shortest way: escapes only where JSON requires them, and no trailing zeros in a fraction. Where any number is
    /// allowed, it has at most 16 digits before and after the point and no exponent.
    Plain,
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// As in JSON.
    Json,
    /// As in JSON, but with Python's words for `null`, `true` and `false`.
    Python,
    /// As in JSON, but strings are written unescaped between two marks, and names of members without marks if they are
    /// identifiers.
    Quoted {
        /// The mark.
        mark: Expression,
        /// The texts that can be written between two marks.
        text: RawText,
    },
}

/// How the members of an object are written if not as in JSON: a mark, the name, a mark, the value, a mark.
#[derive(Debug, Clone, Copy)]
pub struct Members {
    /// Before a name.
    pub before_key: Expression,
    /// Between a name and its value.
    pub after_key: Expression,
    /// After a value.
    pub after_value: Expression,
    /// Between two members.
    pub separator: Expression,
    /// Any name, for schemas that give none. If a schema names some members, only those are written.
    pub any_key: Expression,
    /// Whether a name can be written in this form.
    pub is_key: fn(&str) -> bool,
    /// The texts that can be written unescaped, if any can: the values of members whose schemas have the type `string`.
    pub text: Option<RawText>,
}

/// Which texts of valid values a grammar accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The order in which members may come.
    pub order: Order,
    /// The white space that may come between parts.
    pub whitespace: Whitespace,
    /// How strings and numbers may be written.
    pub spelling: Spelling,
    /// How values are written.
    pub notation: Notation,
    /// Whether `format` is an assertion. In the specification it is an annotation by default.
    pub formats: bool,
    /// Whether an object whose schema names members may also have others when the schema does not say so. The specification
    /// allows it.
    pub unnamed_members: bool,
}

impl Options {
    /// All texts of valid values, as far as a grammar can express them.
    pub const VALID: Self = Self {
        order: Order::Any,
        whitespace: Whitespace::UpTo(64),
        spelling: Spelling::Any,
        notation: Notation::Json,
        formats: false,
        unnamed_members: true,
    };

    /// The texts that a model should write: compact, members in order, and no members that the schema does not name.
    pub const GENERATED: Self = Self {
        order: Order::Schema,
        whitespace: Whitespace::None,
        spelling: Spelling::Plain,
        notation: Notation::Json,
        formats: true,
        unnamed_members: false,
    };
}

/// The schema of all JSON objects.
pub const ANY_OBJECT: &str = r#"{"type": "object"}"#;

impl Grammar {
    /// The grammar of the texts of values that are valid against a JSON schema.
    ///
    /// # Errors
    /// [`SchemaError`], with a JSON pointer to the part that is wrong or cannot be expressed. A schema of hostile size or content
    /// is refused after a bounded number of steps.
    pub fn of_json_schema(schema: &str, options: Options) -> Result<Self, SchemaError> {
        let mut builder = Builder::new();
        let values = builder.json_schema(schema, options)?;
        let root = builder.declare("root").map_err(SchemaError::Grammar)?;
        builder.define(root, values).map_err(SchemaError::Grammar)?;
        builder.finish(root).map_err(|error| match error {
            GrammarError::MatchesNothing { .. } => SchemaError::Unsatisfiable,
            error => SchemaError::Grammar(error),
        })
    }
}

impl Builder {
    /// The texts of values that are valid against a JSON schema.
    ///
    /// # Errors
    /// The same as for [`Grammar::of_json_schema`]; the builder is then unchanged.
    pub fn json_schema(&mut self, schema: &str, options: Options) -> Result<Expression, SchemaError> {
        self.values(&read(schema)?, options, None)
    }

    /// The objects that are valid against a JSON schema, in JSON or with members written in another form.
    ///
    /// # Errors
    /// The same as for [`Grammar::of_json_schema`]; the builder is then unchanged.
    pub fn json_objects(
        &mut self,
        schema: &str,
        options: Options,
        members: Option<Members>,
    ) -> Result<Expression, SchemaError> {
        self.json_objects_of(read(schema)?, options, members)
    }

    fn json_objects_of(
        &mut self,
        mut schema: Value,
        options: Options,
        members: Option<Members>,
    ) -> Result<Expression, SchemaError> {
        if schema == Value::Bool(true) {
            schema = Value::Object(Map::new());
        }
        if let Value::Object(map) = &mut schema {
            let object = Value::String(String::from("object"));
            let may_be_object = match map.get("type") {
                None => true,
                Some(Value::Array(types)) => types.contains(&object),
                Some(kind) => *kind == object,
            };
            if !may_be_object {
                let why = Why::Expected("\"object\"");
                return Err(SchemaError::At { pointer: String::from("/type"), why });
            }
            map.insert(String::from("type"), object);
        }
        self.values(&schema, options, members)
    }

    /// Objects with the member names of a schema and any values. This is what remains of a schema that no grammar can express.
    /// Members whose schemas have the type `string` are strings. If the schema gives no name that can be written, any names are
    /// allowed.
    ///
    /// # Errors
    /// The same as for [`Grammar::of_json_schema`]; the builder is then unchanged.
    pub fn objects_with_names(
        &mut self,
        schema: &str,
        options: Options,
        members: Members,
    ) -> Result<Expression, SchemaError> {
        let schema = read(schema).unwrap_or_default();
        let object = |key: &str, value| Value::Object(Map::from_iter([(String::from(key), value)]));
        let mut names = Map::new();
        for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if (members.is_key)(name) {
                let kind = member.get("type").filter(|kind| *kind == "string");
                names.insert(
                    name.clone(),
                    kind.map_or(Value::Bool(true), |kind| object("type", kind.clone())),
                );
            }
        }
        self.json_objects_of(object("properties", Value::Object(names)), options, Some(members))
    }

    fn values(
        &mut self,
        schema: &Value,
        options: Options,
        members: Option<Members>,
    ) -> Result<Expression, SchemaError> {
        check_dialect(schema)?;
        // All schemas of one grammar share the limit of steps.
        let n_wanted = STEPS.saturating_sub(self.schema_steps);
        let n_steps = affordable(n_wanted)?;
        let budget = Budget::new(n_steps);
        let meanings = Meanings::new(Document::new(schema)?, options, budget);
        let place = self.place();
        let (written, n_left) = match Writer::new(meanings, self) {
            Ok(writer) => writer.whole(members),
            Err(error) => (Err(error), n_steps),
        };
        self.schema_steps += n_steps - n_left;
        written.map_err(|error| {
            self.go_back(place);
            match error {
                SchemaError::At { pointer, why: Why::TooLarge } if n_steps < n_wanted => {
                    SchemaError::At { pointer, why: Why::OutOfMemory }
                }
                error => error,
            }
        })
    }
}

/// How many of `n_wanted` steps there is memory for: the code that makes automata of a schema cannot report a lack of memory.
fn affordable(n_wanted: u32) -> Result<u32, SchemaError> {
    let mut n_steps = n_wanted;
    let mut probe: Vec<u8> = Vec::new();
    while let Err(error) = probe.try_reserve_exact(n_steps as usize * STEP_BYTES) {
        n_steps /= 2;
        if n_steps < FEWEST_STEPS {
            return Err(SchemaError::At { pointer: String::new(), why: error.into() });
        }
    }
    Ok(n_steps)
}

/// Reads the text of a schema.
fn read(schema: &str) -> Result<Value, SchemaError> {
    if schema.len() > MAX_BYTES {
        return Err(SchemaError::TooLong { limit: MAX_BYTES });
    }
    // The library that makes values of the text cannot report a lack of memory, so enough memory is made sure of first.
    let mut probe: Vec<u8> = Vec::new();
    let out_of_memory = |_| SchemaError::At { pointer: String::new(), why: Why::OutOfMemory };
    probe.try_reserve_exact(schema.len().saturating_mul(VALUE_BYTES)).map_err(out_of_memory)?;
    drop(probe);
    serde_json::from_str(schema)
        .map_err(|error| SchemaError::Syntax { line: error.line(), column: error.column() })
}

/// Checks that `$schema` names a dialect in which the keywords mean the same as here.
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
