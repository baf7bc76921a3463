//! Calls as part of a grammar, so that a model cannot but call a tool.

use alloc::vec::Vec;

use grammar::error::GrammarError;
use grammar::expression::{Builder, Expression};

use crate::form::{Arguments, Form};

/// Builds the parts of calls.
struct Calls<'b> {
    builder: &'b mut Builder,
    /// Names and ids of the tokens without text that are marks.
    marks: &'b [(&'b str, u32)],
}

impl Form {
    /// One call of any of `tools` or, if they may be `parallel`, one or more, with all marks around.
    ///
    /// Each tool has its name and what its arguments are as JSON. `marks` are names and ids of the vocabulary's tokens
    /// without a text that are part of [marks](crate::Format::has_mark): where a mark has such a name, that token comes.
    /// Forms that write arguments otherwise than as [JSON](Self::has_json_arguments) get any keys and values in their own
    /// notation: there, only the names of tools are forced.
    ///
    /// # Errors
    /// If the grammar becomes too large.
    pub fn calls(
        &self,
        builder: &mut Builder,
        tools: &[(&str, Expression)],
        parallel: bool,
        marks: &[(&str, u32)],
    ) -> Result<Expression, GrammarError> {
        let mut calls = Calls { builder, marks };
        let mut alternatives = Vec::new();
        for &(name, arguments) in tools {
            let arguments = if self.has_json_arguments() { arguments } else { calls.any(self.arguments)? };
            let open = calls.literal(self.open)?;
            let name = calls.builder.literal(name)?;
            let name_end = calls.literal(self.name_end)?;
            let close = calls.literal(self.close)?;
            alternatives.push(calls.builder.sequence(&[open, name, name_end, arguments, close])?);
        }
        let call = calls.builder.choice(&alternatives)?;
        let (before, after) = (calls.literal(self.before)?, calls.literal(self.after)?);
        let separator = calls.literal(self.separator)?;
        let builder = calls.builder;
        let more = match self.each {
            true => builder.sequence(&[after, separator, before, call])?,
            false => builder.sequence(&[separator, call])?,
        };
        // gpt-oss ends its turn with a call.
        let most = if parallel && self.arguments != Arguments::Channels { None } else { Some(0) };
        let more = builder.repeat(more, 0, most)?;
        builder.sequence(&[before, call, more, after])
    }
}

impl Calls<'_> {
    /// A text, whose marks are tokens where they have some.
    fn literal(&mut self, text: &str) -> Result<Expression, GrammarError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let places = self.marks.iter().filter(|(name, _)| !name.is_empty());
            let first = places
                .filter_map(|&(name, id)| rest.find(name).map(|at| (at, name.len(), id)))
                .min_by_key(|&(at, len, _)| (at, usize::MAX - len));
            let Some((at, len, id)) = first else {
                parts.push(self.builder.literal(rest)?);
                break;
            };
            if at > 0 {
                parts.push(self.builder.literal(&rest[..at])?);
            }
            parts.push(self.builder.token(id, false)?);
            rest = &rest[at + len..];
        }
        self.builder.sequence(&parts)
    }

    /// Any arguments in this notation.
    fn any(&mut self, arguments: Arguments) -> Result<Expression, GrammarError> {
        let key_characters = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
        let key_characters = key_characters.map(|(first, last)| (u32::from(first), u32::from(last)));
        let character = self.builder.class(&key_characters)?;
        let key = self.builder.repeat(character, 1, Some(64))?;
        // What ends a text begins with `<` in all notations that have marks around texts.
        let other = self.builder.not_in_class(&[(u32::from('<'), u32::from('<'))])?;
        let lone = {
            let begin = self.builder.literal("<")?;
            let next = self.builder.not_in_class(&['/', '|', 'e'].map(|c| (u32::from(c), u32::from(c))))?;
            self.builder.sequence(&[begin, next])?
        };
        let in_text = self.builder.choice(&[other, lone])?;
        let text = self.builder.repeat(in_text, 0, None)?;
        match arguments {
            Arguments::Keyed { key_open, key_close, value_open, value_close } => {
                let [open, close] = [self.literal(key_open)?, self.literal(key_close)?];
                let [before, after] = [self.literal(value_open)?, self.literal(value_close)?];
                let argument = self.builder.sequence(&[open, key, close, before, text, after])?;
                self.builder.repeat(argument, 0, None)
            }
            Arguments::Quoted(quote) => {
                let quote = self.literal(quote)?;
                let text = self.builder.sequence(&[quote, text, quote])?;
                let [open, colon, comma, close] = self.texts(["{", ":", ",", "}"])?;
                let pair = |builder: &mut Builder, value| builder.sequence(&[key, colon, value]);
                let value =
                    self.values(text, "value", &["true", "false", "null"], (open, comma, close), &pair)?;
                let first = self.builder.sequence(&[key, colon, value])?;
                self.in_list(open, first, comma, close)
            }
            Arguments::Python => {
                let plain = ['"', '\\', '\n'].map(|c| (u32::from(c), u32::from(c)));
                let plain = self.builder.not_in_class(&plain)?;
                let [backslash, quote] = self.texts(["\\", "\""])?;
                let escaped =
                    self.builder.class(&['"', '\\', 'n', 't'].map(|c| (u32::from(c), u32::from(c))))?;
                let escape = self.builder.sequence(&[backslash, escaped])?;
                let character = self.builder.choice(&[plain, escape])?;
                let text = self.builder.repeat(character, 0, None)?;
                let text = self.builder.sequence(&[quote, text, quote])?;
                let [open, colon, comma, close] = self.texts(["{", ": ", ", ", "}"])?;
                let pair = |builder: &mut Builder, value| builder.sequence(&[text, colon, value]);
                let value =
                    self.values(text, "value", &["True", "False", "None"], (open, comma, close), &pair)?;
                let equals = self.builder.literal("=")?;
                let first = self.builder.sequence(&[key, equals, value])?;
                let nothing = self.builder.literal("")?;
                self.in_list(nothing, first, comma, nothing)
            }
            // Whoever calls knows what they are.
            Arguments::Object(..) | Arguments::Json | Arguments::Channels => self.builder.literal("{}"),
        }
    }

    fn texts<const N: usize>(&mut self, texts: [&str; N]) -> Result<[Expression; N], GrammarError> {
        let mut found = [self.builder.literal("")?; N];
        for (found, text) in found.iter_mut().zip(texts) {
            *found = self.builder.literal(text)?;
        }
        Ok(found)
    }

    /// Any value: a text, a word, a number, a list or a dict of values.
    fn values(
        &mut self,
        text: Expression,
        name: &str,
        words: &[&str],
        (open, comma, close): (Expression, Expression, Expression),
        pair: &dyn Fn(&mut Builder, Expression) -> Result<Expression, GrammarError>,
    ) -> Result<Expression, GrammarError> {
        let rule = self.builder.declare(name)?;
        let value = self.builder.rule(rule)?;
        let mut alternatives = Vec::from([text, self.number()?]);
        for word in words {
            alternatives.push(self.builder.literal(word)?);
        }
        let [open_list, close_list] = self.texts(["[", "]"])?;
        alternatives.push(self.in_list(open_list, value, comma, close_list)?);
        let entry = pair(self.builder, value)?;
        alternatives.push(self.in_list(open, entry, comma, close)?);
        let any = self.builder.choice(&alternatives)?;
        self.builder.define(rule, any)?;
        Ok(value)
    }

    fn number(&mut self) -> Result<Expression, GrammarError> {
        let digits = |first, last| [(u32::from(first), u32::from(last))];
        let digit = self.builder.class(&digits('0', '9'))?;
        let [sign, zero, point] = self.texts(["-", "0", "."])?;
        let first = self.builder.class(&digits('1', '9'))?;
        let more = self.builder.repeat(digit, 0, Some(15))?;
        let whole = self.builder.sequence(&[first, more])?;
        let whole = self.builder.choice(&[zero, whole])?;
        let fraction = self.builder.repeat(digit, 1, Some(15))?;
        let fraction = self.builder.sequence(&[point, fraction])?;
        let [sign, fraction] = [self.builder.optional(sign)?, self.builder.optional(fraction)?];
        self.builder.sequence(&[sign, whole, fraction])
    }

    /// Any number of `of` between these.
    fn in_list(
        &mut self,
        open: Expression,
        of: Expression,
        comma: Expression,
        close: Expression,
    ) -> Result<Expression, GrammarError> {
        let more = self.builder.sequence(&[comma, of])?;
        let more = self.builder.repeat(more, 0, None)?;
        let some = self.builder.sequence(&[of, more])?;
        let some = self.builder.optional(some)?;
        self.builder.sequence(&[open, some, close])
    }
}
