//! Texts that are HTML already: what is joined to them is escaped, they themselves are not again.
//!
//! `safe` and `escape` make them, and a block `autoescape` all that it captures. Source: MarkupSafe 3.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use crate::format::{Escaping, brace_format};
use crate::interpreter::{Budget, CallArguments};
use crate::methods::{join, text_method};
use crate::text_filters::{strip_tags, unescape};
use crate::{ErrorKind, Value};

/// The methods that only texts which are HTML have.
pub(crate) const METHODS: [&str; 2] = ["striptags", "unescape"];

impl Value {
    /// A text that is HTML already.
    pub(crate) fn markup(text: impl Into<Rc<str>>) -> Self {
        Self::Markup(text.into())
    }

    pub(crate) fn is_markup(&self) -> bool {
        matches!(self, Self::Markup(_))
    }

    /// Its text, with what has a meaning in HTML escaped unless it is HTML already.
    pub(crate) fn to_escaped(&self, budget: &mut Budget) -> Result<Rc<str>, ErrorKind> {
        match self {
            Self::Markup(text) => Ok(text.clone()),
            _ => Ok(escape(&self.to_text(budget)?, budget)?.into()),
        }
    }

    /// A text as HTML; a list's texts, one by one.
    fn into_markup(self) -> Result<Self, ErrorKind> {
        match self {
            Self::String(text) => Ok(Self::Markup(text)),
            Self::List(list) => list.with(
                list.elements()
                    .iter()
                    .map(|element| element.clone().into_markup())
                    .collect::<Result<_, _>>()?,
            ),
            other => Ok(other),
        }
    }
}

/// Replaces the characters that HTML gives a meaning.
pub(crate) fn escape(text: &str, budget: &mut Budget) -> Result<String, ErrorKind> {
    budget.bytes(text.len().saturating_mul(5))?;
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Ok(escaped.replace('\'', "&#39;").replace('"', "&#34;"))
}

/// A method of a text that is HTML.
pub(crate) fn markup_method(
    text: &Rc<str>,
    name: &str,
    arguments: &CallArguments,
    budget: &mut Budget,
) -> Result<Value, ErrorKind> {
    match name {
        "striptags" => Ok(strip_tags(text, budget)?.into()),
        "unescape" => {
            budget.bytes(text.len())?;
            Ok(unescape(text)?.into())
        }
        "join" => {
            let parts = arguments.get(0, "iterable").ok_or(ErrorKind::BadArguments("join"))?;
            let parts = escaped_all(&parts.iterate(budget)?, budget)?;
            Ok(Value::markup(join(&parts, text, budget)?))
        }
        "format" => Ok(Value::markup(brace_format(text, arguments, Escaping::Html, budget)?)),
        "format_map" => text_method(text, name, arguments, Escaping::Html, budget)?.into_markup(),
        "replace" | "ljust" | "rjust" | "center" => {
            let mut arguments =
                CallArguments { positional: arguments.positional.clone(), named: arguments.named.clone() };
            // What is put in.
            let named = arguments.named.iter_mut().filter(|(name, _)| matches!(&**name, "new" | "fillchar"));
            for put_in in arguments.positional.get_mut(1).into_iter().chain(named.map(|(_, value)| value)) {
                if put_in.as_str().is_some() {
                    *put_in = Value::String(put_in.to_escaped(budget)?);
                }
            }
            text_method(text, name, &arguments, Escaping::None, budget)?.into_markup()
        }
        _ => text_method(text, name, arguments, Escaping::None, budget)?.into_markup(),
    }
}

/// The texts of values, as HTML.
pub(crate) fn escaped_all(values: &[Value], budget: &mut Budget) -> Result<Vec<Value>, ErrorKind> {
    budget.bytes(size_of_val(values))?;
    values.iter().map(|value| Ok(Value::Markup(value.to_escaped(budget)?))).collect()
}
