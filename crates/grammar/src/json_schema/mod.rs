//! JSON schemas (draft 2020-12) as grammars of the texts of their values.
//!
//! [`Grammar::of_json_schema`] takes the text of a schema. `document` finds what references lead to, `meaning` brings each schema to a normal
//! form (`union`) in which numbers and strings are automata (`number`, `pattern`, `format`), and `writer` makes rules of it.
//! `raw_text` has the texts that stand as they are in a model's form of calls.
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

/// Most bytes that the values of a schema take for a byte of its text, while the largest list grows.
const VALUE_BYTES: usize = 96;
/// What may be computed for a schema: states, edges, alternatives. In an optimised build some 50 ns each.
const STEPS: u32 = 1_000_000;
/// With fewer nothing of use is computed.
const FEWEST_STEPS: u32 = 20_000;
/// Most bytes that are taken for a step.
const STEP_BYTES: usize = 48;

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
    /// A space behind commas and colons, or nothing.
    Spaces,
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

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// As in JSON.
    Json,
    /// As in JSON, but with Python's words for `null`, `true` and `false`.
    Python,
    /// As in JSON, but strings stand as they are between two marks, and names of members without marks where they are identifiers.
    Quoted {
        /// The mark.
        mark: Expression,
        /// The texts that can stand between two.
        text: RawText,
    },
}

/// How the members of an object are written that is not written as in JSON: a mark, the name, a mark, the value, a mark.
#[derive(Debug, Clone, Copy)]
pub struct Members {
    /// Before a name.
    pub before_key: Expression,
    /// Between a name and its value.
    pub after_key: Expression,
    /// Behind a value.
    pub after_value: Expression,
    /// Between two members.
    pub separator: Expression,
    /// A name that a schema does not give. Where it names some, no others are written.
    pub any_key: Expression,
    /// Whether a name can be written.
    pub is_key: fn(&str) -> bool,
    /// The texts that can stand as they are, if texts do: the values of members whose schemas have the type `string`.
    pub text: Option<RawText>,
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
    /// How values are written.
    pub notation: Notation,
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
        notation: Notation::Json,
        formats: false,
        unnamed_members: true,
    };

    /// The texts that a model should write: compact, members in order, nothing that the schema does not name.
    pub const GENERATED: Self = Self {
        order: Order::Schema,
        whitespace: Whitespace::None,
        spelling: Spelling::Plain,
        notation: Notation::Json,
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
    /// The texts of the values that are valid against a JSON schema.
    ///
    /// # Errors
    /// As [`Grammar::of_json_schema`]; the builder is then as it was.
    pub fn json_schema(&mut self, schema: &str, options: Options) -> Result<Expression, SchemaError> {
        self.values(&read(schema)?, options, None)
    }

    /// The objects that are valid against a JSON schema, in JSON or with members that are written otherwise.
    ///
    /// # Errors
    /// As [`Grammar::of_json_schema`]; the builder is then as it was.
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

    /// Objects with the names that a schema gives, of any values: what is left of a schema that no grammar expresses. Members
    /// whose schemas have the type `string` are strings. If it gives no name that can be written, members have any.
    ///
    /// # Errors
    /// As [`Grammar::of_json_schema`]; the builder is then as it was.
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
        // What schemas of one grammar may cost is limited together.
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

/// How many of `n_wanted` steps there is memory for: what is made of a schema by steps cannot be told that there is none.
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
    // What makes values of it cannot be told that there is no memory. So it is made sure of first.
    let mut probe: Vec<u8> = Vec::new();
    let out_of_memory = |_| SchemaError::At { pointer: String::new(), why: Why::OutOfMemory };
    probe.try_reserve_exact(schema.len().saturating_mul(VALUE_BYTES)).map_err(out_of_memory)?;
    drop(probe);
    serde_json::from_str(schema)
        .map_err(|error| SchemaError::Syntax { line: error.line(), column: error.column() })
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
