//! Texts that are already HTML: texts joined to them are escaped, while they themselves are not escaped again.
//!
//! `safe` and `escape` return such texts; inside an `autoescape` block, all captured output is such a text. Source: MarkupSafe 3.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use crate::format::{Escaping, brace_format};
use crate::interpreter::{Budget, CallArguments};
use crate::methods::{join, text_method};
use crate::text_filters::{strip_tags, unescape};
use crate::{ErrorKind, Value};

/// The methods that only HTML texts have.
pub(crate) const METHODS: [&str; 2] = ["striptags", "unescape"];

impl Value {
    /// A text that is already HTML.
    pub(crate) fn markup(text: impl Into<Rc<str>>) -> Self {
        Self::Markup(text.into())
    }

    pub(crate) fn is_markup(&self) -> bool {
        matches!(self, Self::Markup(_))
    }

    /// Its text, with the special characters of HTML escaped unless it is already HTML.
    pub(crate) fn to_escaped(&self, budget: &mut Budget) -> Result<Rc<str>, ErrorKind> {
        match self {
            Self::Markup(text) => Ok(text.clone()),
            _ => Ok(escape(&self.to_text(budget)?, budget)?.into()),
        }
    }

    /// A text as HTML; for a list, each of its texts.
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

/// Escapes the characters that have a meaning in HTML.
pub(crate) fn escape(text: &str, budget: &mut Budget) -> Result<String, ErrorKind> {
    budget.bytes(text.len().saturating_mul(5))?;
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Ok(escaped.replace('\'', "&#39;").replace('"', "&#34;"))
}

/// Calls a method of an HTML text.
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
            // The arguments that are inserted into the text.
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
