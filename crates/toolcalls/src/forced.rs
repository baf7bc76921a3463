//! Calls as part of a grammar, so that a model must call a tool.

use alloc::vec::Vec;

use grammar::error::GrammarError;
use grammar::expression::{Builder, Expression};
use grammar::json_schema::{Members, Notation, Options, RawText, SchemaError, Whitespace};

use crate::form::{Arguments, Form, mark};
use crate::state::MAX_NAME_BYTES;

/// The calls that a grammar allows.
#[derive(Debug, Clone, Copy)]
pub struct Calls<'c> {
    /// The tools: the name and the JSON schema of the arguments of each; an empty schema means no arguments.
    pub tools: &'c [(&'c str, &'c str)],
    /// Whether several calls are allowed.
    pub parallel: bool,
    /// How strictly arguments must follow the schemas.
    pub strictness: Strictness,
    /// Whether a call must begin with a mark even if the form allows calls without one, because an answer may be JSON that is not
    /// a call.
    pub is_marked: bool,
    /// Names and ids of tokens without a text that are part of [marks](crate::Format::has_mark). If a mark contains such a name,
    /// the token is used.
    pub marks: &'c [(&'c str, u32)],
}

/// How strictly arguments must follow the schemas of their tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Completely; a schema that no grammar can express is an error.
    All,
    /// As far as a grammar can express them; tools with other schemas can be called with any object.
    Expressible,
    /// Not at all; all tools can be called with any object.
    Objects,
}

/// Why a grammar of calls cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallsError {
    /// The name of a tool is not valid. A name has up to 240 bytes of letters, digits and `_-.:/$`; in Python's notation it
    /// begins with a letter or `_`.
    #[error(
        "the name of a tool must be of letters, digits and _-.:/$, have at most 240 bytes, and in Python's notation begin with a letter or _"
    )]
    Name {
        /// The tool's number.
        tool: usize,
    },
    /// The schema of a tool's arguments is wrong or cannot be expressed.
    #[error("{error}")]
    Schema {
        /// The tool's number.
        tool: usize,
        /// What is wrong.
        error: SchemaError,
    },
    /// The grammar would be too large.
    #[error("{0}")]
    Grammar(GrammarError),
}

impl From<GrammarError> for CallsError {
    fn from(error: GrammarError) -> Self {
        Self::Grammar(error)
    }
}

/// Most bytes of the name of a tool or an argument; together with what surrounds it, a longer name would exceed the parser's
/// limit.
const MAX_CALLED_BYTES: usize = MAX_NAME_BYTES - 16;
/// The schema for tools without arguments.
const NO_ARGUMENTS: &str = r#"{"additionalProperties": false}"#;
/// Any arguments.
const ANY_ARGUMENTS: &str = "{}";

/// Builds the parts of calls.
struct Writer<'b> {
    builder: &'b mut Builder,
    calls: Calls<'b>,
    form: &'static Form,
    /// Each tool's name and arguments.
    tools: Vec<(Expression, Expression)>,
}

impl Form {
    /// One call or, if several are allowed, one or more, including all marks.
    ///
    /// Arguments are valid against the tool's schema, in the form's own notation.
    ///
    /// # Errors
    /// [`CallsError`].
    pub fn calls(&'static self, builder: &mut Builder, calls: Calls<'_>) -> Result<Expression, CallsError> {
        let mut writer = Writer::new(builder, calls, self)?;
        if self.arguments != Arguments::Channels {
            let has_other_mark = calls.is_marked && self.bare && self.before.is_empty();
            let before = if has_other_mark { self.also_before } else { self.before };
            let begin = [writer.literal(before)?, writer.literal(self.open)?];
            return Ok(writer.calls_behind(&begin, true, self.name_ends())?);
        }
        let mut ways = Vec::new();
        for (open, name_ends) in [(self.open, HEADS_BEFORE), (CHANNEL, HEADS_BEHIND)] {
            let begin = [writer.literal(open)?];
            ways.push(writer.calls_behind(&begin, true, name_ends)?);
        }
        Ok(writer.builder.choice(&ways)?)
    }

    /// The same for an answer that was free up to one of the form's [triggers](Self::triggers): the trigger's text, without
    /// tokens for its marks, and what follows it.
    ///
    /// # Errors
    /// [`CallsError`].
    pub fn triggered_calls(
        &'static self,
        builder: &mut Builder,
        calls: Calls<'_>,
    ) -> Result<Expression, CallsError> {
        let mut writer = Writer::new(builder, calls, self)?;
        let mut ways = Vec::new();
        for (trigger, _) in self.triggers() {
            let mut begin = Vec::from([writer.builder.literal(trigger)?]);
            let is_bare = self.open.starts_with(trigger);
            // The rest of the marks after the trigger.
            let mut rests = [self.before, self.open];
            if is_bare {
                rests = ["", &self.open[trigger.len()..]];
            } else if self.arguments == Arguments::Channels {
                rests = ["", ""];
            } else if let Some(at) = self.before.find(trigger) {
                rests[0] = &self.before[at + trigger.len()..];
            } else if self.before.is_empty()
                && let Some(at) = self.open.find(trigger)
            {
                rests[1] = &self.open[at + trigger.len()..];
            }
            let first = if rests[0].is_empty() { &mut rests[1] } else { &mut rests[0] };
            if first.starts_with(['\n', ' ', '[', '{']) {
                *first = first.trim_start();
                let blank = writer.builder.class(&[(9, 10), (32, 32)])?;
                begin.push(writer.builder.repeat(blank, 0, Some(2))?);
            }
            for rest in rests {
                begin.push(writer.literal(rest)?);
            }
            let name_ends = match trigger {
                CHANNEL => HEADS_BEHIND,
                _ if self.arguments == Arguments::Channels => HEADS_BEFORE,
                _ => self.name_ends(),
            };
            ways.push(writer.calls_behind(&begin, !is_bare || !self.each, name_ends)?);
        }
        Ok(writer.builder.choice(&ways)?)
    }

    /// The texts that calls begin with; a grammar that does not apply before can apply after them. The flag says whether a text
    /// counts only at the beginning of an answer.
    pub fn triggers(&self) -> impl Iterator<Item = (&'static str, bool)> + use<> {
        let all = match self.arguments {
            Arguments::Channels => [
                (self.open.trim_start(), true),
                ("<|start|>assistant to=functions.", false),
                (CHANNEL, false),
            ],
            _ => {
                let bare = if self.bare { self.open.split(':').next().unwrap_or("") } else { "" };
                // The first of several marks.
                let trigger = self.trigger();
                let end = trigger.find(['>', ']']).map_or(trigger.len(), |at| at + 1);
                [(&trigger[..end], false), (self.also_before, false), (bare, true)]
            }
        };
        all.into_iter().filter(|(text, _)| !text.is_empty())
    }

    fn name_ends(&self) -> &[&'static str] {
        core::slice::from_ref(&self.name_end)
    }
}

/// The beginning of a gpt-oss call with the channel first, as the model itself writes it.
const CHANNEL: &str = "<|channel|>commentary to=functions.";
/// The text after the name in a head that began with the channel.
const HEADS_BEHIND: &[&str] = &[" <|constrain|>json<|message|>", " json<|message|>", "<|message|>"];
/// The same in a head that did not begin with the channel.
const HEADS_BEFORE: &[&str] =
    &["<|channel|>commentary json<|message|>", "<|channel|>commentary <|constrain|>json<|message|>"];

impl<'b> Writer<'b> {
    fn new(builder: &'b mut Builder, calls: Calls<'b>, form: &'static Form) -> Result<Self, CallsError> {
        let mut writer = Self { builder, calls, form, tools: Vec::new() };
        let (options, members) = writer.notation()?;
        writer.tools.try_reserve_exact(calls.tools.len()).map_err(GrammarError::from)?;
        // This comes first, because the schemas use up steps.
        let any_object = match (calls.strictness, members) {
            (Strictness::All, _) | (_, Some(_)) => None,
            _ => {
                let any = writer.builder.json_objects(ANY_ARGUMENTS, options, None);
                Some(any.map_err(|error| CallsError::Schema { tool: 0, error })?)
            }
        };
        for (tool, &(name, schema)) in calls.tools.iter().enumerate() {
            let is_in_name = |c: char| c.is_alphanumeric() || "_-.:/$".contains(c);
            let begins = |c: char| form.arguments != Arguments::Python || c.is_alphabetic() || c == '_';
            let is_name =
                name.len() <= MAX_CALLED_BYTES && name.starts_with(begins) && name.chars().all(is_in_name);
            if !is_name {
                return Err(CallsError::Name { tool });
            }
            let schema = if schema.trim_ascii().is_empty() { NO_ARGUMENTS } else { schema };
            let builder = &mut *writer.builder;
            let valid = match calls.strictness {
                Strictness::Objects => Err(None),
                _ => builder.json_objects(schema, options, members).map_err(Some),
            };
            let arguments = valid.or_else(|error| match (error, any_object, members) {
                (Some(error), ..) if calls.strictness == Strictness::All || error.is_out_of_memory() => {
                    Err(error)
                }
                (_, Some(any), _) => Ok(any),
                // A parser recognises texts by the names of the arguments.
                (_, None, Some(members)) => builder.objects_with_names(schema, options, members),
                (error, None, None) => Err(error.unwrap_or(SchemaError::Unsatisfiable)),
            });
            let arguments = arguments.map_err(|error| CallsError::Schema { tool, error })?;
            let name = writer.builder.literal(name)?;
            writer.tools.push((name, arguments));
        }
        Ok(writer)
    }

    /// One call after `begin` and, if several are allowed, more of them.
    fn calls_behind(
        &mut self,
        begin: &[Expression],
        has_marks: bool,
        name_ends: &[&'static str],
    ) -> Result<Expression, GrammarError> {
        let form = self.form;
        let call = self.call(name_ends)?;
        let mut parts = Vec::from(begin);
        parts.push(call);
        // gpt-oss ends its turn after a call.
        if self.calls.parallel && has_marks && form.arguments != Arguments::Channels {
            let mut more = Vec::new();
            for text in [if form.each { form.after } else { "" }, form.separator] {
                more.push(self.literal(text)?);
            }
            if form.each {
                more.push(self.literal(form.before)?);
            }
            more.push(self.literal(form.open)?);
            more.push(call);
            let more = self.builder.sequence(&more)?;
            parts.push(self.builder.repeat(more, 0, None)?);
        }
        if has_marks {
            parts.push(self.literal(form.after)?);
        }
        self.builder.sequence(&parts)
    }

    /// A call without what precedes its name, as a rule.
    fn call(&mut self, name_ends: &[&'static str]) -> Result<Expression, GrammarError> {
        let mut ends = Vec::new();
        for text in name_ends {
            ends.push(self.literal(text)?);
        }
        let end = self.builder.choice(&ends)?;
        let close = self.literal(self.form.close)?;
        let mut ways = Vec::new();
        for &(name, arguments) in &self.tools {
            ways.push(self.builder.sequence(&[name, end, arguments, close])?);
        }
        let call = self.builder.choice(&ways)?;
        let rule = self.builder.declare("call")?;
        self.builder.define(rule, call)?;
        self.builder.rule(rule)
    }

    /// A text; its marks become tokens if they have some.
    fn literal(&mut self, text: &str) -> Result<Expression, GrammarError> {
        with_marks(self.builder, self.calls.marks, text)
    }

    /// How arguments are written.
    fn notation(&mut self) -> Result<(Options, Option<Members>), GrammarError> {
        let json = Options { whitespace: Whitespace::Spaces, ..Options::GENERATED };
        let in_class = |c: char| (u32::from(c), u32::from(c));
        Ok(match self.form.arguments {
            Arguments::Object(..) | Arguments::Json | Arguments::Channels => (json, None),
            Arguments::Quoted(quote) => {
                let (mark, text) = (self.literal(quote)?, RawText::new(self.builder, quote)?);
                let notation = Notation::Quoted { mark, text };
                (Options { notation, whitespace: Whitespace::None, ..json }, None)
            }
            Arguments::Keyed { key_open, key_close, value_open, value_close } => {
                let after_key = [self.literal(key_close)?, self.literal(value_open)?];
                let written = Members {
                    before_key: self.literal(key_open)?,
                    after_key: self.builder.sequence(&after_key)?,
                    after_value: self.literal(value_close)?,
                    separator: Expression::EMPTY,
                    any_key: self.identifier(in_class('_'))?,
                    is_key: |name| {
                        let fits = |c: char| !c.is_control() && !"<>\"".contains(c);
                        !name.is_empty()
                            && name.len() <= MAX_CALLED_BYTES
                            && name.trim() == name
                            && name.chars().all(fits)
                    },
                    text: Some(RawText::new(self.builder, mark(value_close))?),
                };
                (json, Some(written))
            }
            Arguments::Python => {
                let written = Members {
                    before_key: Expression::EMPTY,
                    after_key: self.literal("=")?,
                    after_value: Expression::EMPTY,
                    separator: self.literal(", ")?,
                    any_key: self.identifier(in_class('_'))?,
                    is_key: |name| {
                        !name.is_empty()
                            && name.len() <= MAX_CALLED_BYTES
                            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
                    },
                    text: None,
                };
                (Options { notation: Notation::Python, ..json }, Some(written))
            }
        })
    }

    fn identifier(&mut self, underscore: (u32, u32)) -> Result<Expression, GrammarError> {
        let ranges = [('A', 'Z'), ('a', 'z')].map(|(first, last)| (u32::from(first), u32::from(last)));
        let first = self.builder.class(&[ranges[0], ranges[1], underscore])?;
        let digits = (u32::from('0'), u32::from('9'));
        let next = self.builder.class(&[ranges[0], ranges[1], underscore, digits])?;
        let rest = self.builder.repeat(next, 0, Some(63))?;
        self.builder.sequence(&[first, rest])
    }
}

/// A text; its marks become tokens if they have some.
///
/// # Errors
/// If the grammar becomes too large.
pub fn with_marks(
    builder: &mut Builder,
    marks: &[(&str, u32)],
    text: &str,
) -> Result<Expression, GrammarError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let places = marks.iter().filter(|(name, _)| !name.is_empty());
        let first = places
            .filter_map(|&(name, id)| rest.find(name).map(|at| (at, name.len(), id)))
            .min_by_key(|&(at, len, _)| (at, usize::MAX - len));
        let Some((at, len, id)) = first else {
            parts.push(builder.literal(rest)?);
            break;
        };
        if at > 0 {
            parts.push(builder.literal(&rest[..at])?);
        }
        parts.push(builder.token(id, false)?);
        rest = &rest[at + len..];
    }
    builder.sequence(&parts)
}
