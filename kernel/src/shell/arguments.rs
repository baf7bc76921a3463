//! Turns words into the arguments of a command.
//!
//! Options are recognised as in GNU programs (crate `getargs`): `--name VALUE`, `--name=VALUE`, `-n VALUE`, and `--` before words
//! that begin with a hyphen. A negative number is not an option. Words are bytes; they are checked to be text only when they are
//! read as text.

use alloc::{string::String, vec::Vec};
use core::str::FromStr;

use getargs::{Arg, Options};

use llm::front::{FrontError, options::OptionSpec};

use super::command::{Command, CommandError, Name};
use crate::llm::BackendError;

/// The words after the name of a command, checked against its [`Command`].
#[derive(Debug)]
pub struct Arguments<'a> {
    command: &'static Command,
    positional: Vec<&'a [u8]>,
    options: Vec<(&'static OptionSpec, &'a [u8])>,
}

impl<'a> Arguments<'a> {
    /// Sorts `words` into options and positional arguments; `None` if `--help` or `-h` is among the options.
    ///
    /// # Errors
    /// If `command` does not have an option, an option lacks its value or has one that it does not take, or the number of
    /// positional arguments is wrong.
    pub fn parse(command: &'static Command, all: &'a [Vec<u8>]) -> Result<Option<Self>, CommandError> {
        let mut arguments = Arguments { command, positional: Vec::new(), options: Vec::new() };
        let mut words = Options::new(all.iter().map(Vec::as_slice));
        while let Some(word) = words.next_arg().map_err(|_| CommandError::Usage(command))? {
            let short;
            let name = match word {
                Arg::Positional(word) => {
                    arguments.positional.push(word);
                    continue;
                }
                Arg::Short(letter) if letter.is_ascii_digit() => {
                    let rest = words.value_opt().unwrap_or_default();
                    let number = [&[b'-', letter], rest].concat();
                    let word = all.iter().find(|word| **word == number);
                    arguments.positional.push(word.ok_or(CommandError::Usage(command))?);
                    continue;
                }
                Arg::Short(letter) => {
                    short = [letter];
                    &short[..]
                }
                Arg::Long(name) => name,
            };
            let is_short = matches!(word, Arg::Short(_));
            let spec =
                command.all_options().find(|spec| (name.len() == 1) == is_short && spec.is_called(name));
            let Some(spec) = spec else {
                if name == if is_short { &b"h"[..] } else { b"help" } {
                    return Ok(None);
                }
                let hyphens = if is_short { "-" } else { "--" };
                let option = alloc::format!("{hyphens}{}", lossy(name));
                return Err(CommandError::UnknownOption { command, option });
            };
            if let Some(reason) = spec.host_only {
                return Err(CommandError::HostOnly { option: spec.name, reason });
            }
            let value = match spec.value {
                Some(_) => words.value(),
                None if is_short => Ok(&b""[..]),
                None => match words.value_opt() {
                    None => Ok(&b""[..]),
                    Some(_) => return Err(CommandError::UnexpectedValue { option: spec.name }),
                },
            };
            let value = value.map_err(|_| CommandError::MissingValue {
                option: spec.name,
                value: spec.value.unwrap_or_default(),
            })?;
            arguments.options.push((spec, value));
        }
        if command.n_positional.contains(&arguments.positional.len()) {
            Ok(Some(arguments))
        } else {
            Err(CommandError::Usage(command))
        }
    }

    /// The command that these arguments belong to.
    pub fn command(&self) -> &'static Command {
        self.command
    }

    /// The positional arguments.
    pub fn positional(&self) -> &[&'a [u8]] {
        &self.positional
    }

    /// Positional argument `index` as text; `name` is its name in the usage line.
    ///
    /// # Errors
    /// [`CommandError::InvalidUtf8`].
    pub fn text(&self, index: usize, name: &'static str) -> Result<Option<&'a str>, CommandError> {
        self.positional.get(index).map(|word| text(Name::Argument(name), word)).transpose()
    }

    /// The positional arguments from index `first` on, as texts.
    ///
    /// # Errors
    /// [`CommandError::InvalidUtf8`], or an error if the heap has no room for the list.
    pub fn texts(&self, first: usize, name: &'static str) -> Result<Vec<&'a str>, CommandError> {
        let words = self.positional.get(first..).unwrap_or_default();
        let mut texts = list(words.len())?;
        for word in words {
            texts.push(text(Name::Argument(name), word)?);
        }
        Ok(texts)
    }

    /// Positional argument `index`, parsed.
    ///
    /// # Errors
    /// [`CommandError::InvalidValue`], which names `expected`, if it cannot be parsed.
    pub fn value<T: FromStr>(
        &self,
        index: usize,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, CommandError> {
        self.positional.get(index).map(|word| parse(Name::Argument(name), word, expected)).transpose()
    }

    /// True if the option was given.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|(spec, _)| spec.name == option)
    }

    /// Whichever of these options was given last.
    pub fn last_of(&self, options: &[&str]) -> Option<&'static str> {
        self.options.iter().rev().map(|(spec, _)| spec.name).find(|name| options.contains(name))
    }

    /// The value of an option as text; the last value if the option was given several times.
    ///
    /// # Errors
    /// [`CommandError::InvalidUtf8`].
    pub fn option_text(&self, option: &'static str) -> Result<Option<&'a str>, CommandError> {
        let given = self.options.iter().rfind(|(spec, _)| spec.name == option);
        given.map(|(spec, value)| text(Name::Option(spec.name), value)).transpose()
    }

    /// Each value of an option as text, in the order in which they were given.
    ///
    /// # Errors
    /// [`CommandError::InvalidUtf8`].
    pub fn option_texts(&self, option: &'static str) -> impl Iterator<Item = Result<&'a str, CommandError>> {
        let given = self.options.iter().filter(move |(spec, _)| spec.name == option);
        given.map(|(spec, value)| text(Name::Option(spec.name), value))
    }

    /// The value of an option, parsed; the last value if the option was given several times.
    ///
    /// # Errors
    /// [`CommandError::InvalidValue`], which names `expected`, if it cannot be parsed.
    pub fn option<T: FromStr>(
        &self,
        option: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, CommandError> {
        self.options
            .iter()
            .rfind(|(spec, _)| spec.name == option)
            .map(|(spec, value)| parse(Name::Option(spec.name), value, expected))
            .transpose()
    }
}

/// An empty list with room for `n` elements.
///
/// # Errors
/// [`FrontError::OutOfHeap`].
pub fn list<T>(n: usize) -> Result<Vec<T>, CommandError> {
    let (mut list, needed_bytes) = (Vec::new(), n.saturating_mul(size_of::<T>()));
    match list.try_reserve_exact(n) {
        Ok(()) => Ok(list),
        Err(_) => Err(BackendError::from(FrontError::OutOfHeap { needed_bytes }).into()),
    }
}

/// A word, or a line, as text.
///
/// # Errors
/// [`CommandError::InvalidUtf8`].
pub fn text(name: Name, word: &[u8]) -> Result<&str, CommandError> {
    core::str::from_utf8(word).map_err(|error| CommandError::InvalidUtf8 {
        name,
        offset_bytes: error.valid_up_to(),
        byte: word[error.valid_up_to()],
    })
}

fn parse<T: FromStr>(name: Name, word: &[u8], expected: &'static str) -> Result<T, CommandError> {
    core::str::from_utf8(word)
        .ok()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| CommandError::InvalidValue { name, value: lossy(word), expected })
}

/// A word as shown in an error message: at most 40 characters, without control characters.
pub fn lossy(word: &[u8]) -> String {
    const MAX_CHARS: usize = 40;
    // Enough bytes for one character more than the limit, even if all have the greatest length.
    let text = String::from_utf8_lossy(&word[..word.len().min(4 * (MAX_CHARS + 1))]);
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .take(MAX_CHARS)
        .collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::{command::Command, words};
    use std::string::ToString;

    static COMMAND: Command = Command {
        name: "llm infer",
        usage: "PROMPT N",
        n_positional: 1..=2,
        options: &[&[
            OptionSpec::new("temp", "T", "").or(&["temperature", "t"]),
            OptionSpec::flag("verbose", "").or(&["v"]),
        ]],
        summary: "",
        details: "",
        run: |_, _| Ok(()),
    };

    fn with<R>(line: &[u8], look: impl FnOnce(Result<&Arguments<'_>, CommandError>) -> R) -> R {
        let words = words::split(line).unwrap().pop().unwrap_or_default();
        match Arguments::parse(&COMMAND, &words) {
            Ok(arguments) => look(Ok(&arguments.expect("help was asked for"))),
            Err(error) => look(Err(error)),
        }
    }

    fn error(line: &[u8]) -> String {
        with(line, |arguments| arguments.expect_err("no error").to_string())
    }

    #[test]
    fn words_and_options_are_told_apart_wherever_they_stand() {
        for line in [
            &b"'Hello there' 10 --temp 0.5"[..],
            b"--temp 0.5 \"Hello there\" 10",
            b"Hello\\ there --temp=0.5 10",
            b"--temp 9 --temp 0.5 'Hello 'there 10",
            b"'Hello there' -t 0.5 10",
            b"-t0.5 'Hello there' 10",
            b"--temperature=0.5 'Hello there' 10",
        ] {
            with(line, |arguments| {
                let arguments = arguments.unwrap();
                assert_eq!(arguments.text(0, "PROMPT").unwrap(), Some("Hello there"));
                assert_eq!(arguments.value(1, "N", "a number").unwrap(), Some(10));
                assert_eq!(arguments.option("temp", "a number").unwrap(), Some(0.5));
                assert!(!arguments.has("verbose"));
            });
        }
    }

    #[test]
    fn two_hyphens_end_the_options() {
        with(b"--verbose -- --temp", |arguments| {
            let arguments = arguments.unwrap();
            assert!(arguments.has("verbose"));
            assert_eq!(arguments.positional(), [b"--temp"]);
        });
    }

    #[test]
    fn mistakes_say_what_is_expected() {
        for (line, said) in [
            (&b""[..], "usage: llm infer PROMPT N"),
            (b"a b c", "usage: llm infer PROMPT N"),
            (b"a --tmp 1", "--tmp"),
            (b"a -x 1", "unknown option -x"),
            (b"a -t", "--temp T"),
            (b"a --t 1", "unknown option --t"),
            (b"a --temp", "--temp T"),
            (b"a --verbose=yes", "--verbose"),
        ] {
            let error = error(line);
            assert!(error.contains(said), "{error:?} does not say {said:?}");
            assert!(!error.contains('\n'));
        }
        with(b"a ten", |arguments| {
            let error = arguments.unwrap().value::<u32>(1, "N", "a number of tokens");
            assert_eq!(error.unwrap_err().to_string(), "N is \"ten\", expected a number of tokens");
        });
        with(b"a --temp hot", |arguments| {
            let error = arguments.unwrap().option::<f32>("temp", "a number");
            assert_eq!(error.unwrap_err().to_string(), "--temp is \"hot\", expected a number");
        });
    }

    #[test]
    fn negative_numbers_are_no_options() {
        with(b"Hello -12 --temp -1 -v", |arguments| {
            let arguments = arguments.unwrap();
            assert_eq!(arguments.value(1, "N", "a number").unwrap(), Some(-12));
            assert_eq!(arguments.option("temp", "a number").unwrap(), Some(-1.0));
            assert!(arguments.has("verbose"));
        });
    }

    #[test]
    fn help_is_an_option_of_every_command() {
        for (line, asks) in [
            (&b"--help"[..], true),
            (b"a -h", true),
            (b"-h --frob", true),
            (b"a -- -h", false),
            (b"a --temp -h", false),
        ] {
            let words = words::split(line).unwrap().pop().unwrap();
            assert_eq!(Arguments::parse(&COMMAND, &words).unwrap().is_none(), asks, "{line:?}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_place() {
        with(b"'ab\xffc'", |arguments| {
            assert_eq!(
                arguments.unwrap().text(0, "PROMPT").unwrap_err().to_string(),
                "PROMPT is not valid UTF-8: byte 0xff at offset 2; expected UTF-8 text"
            );
        });
    }

    #[test]
    fn words_are_shown_short_and_harmless() {
        assert_eq!(lossy(b"a\x1b[2J\xff"), "a\u{fffd}[2J\u{fffd}");
        assert_eq!(lossy(&[b'x'; 100]).len(), 43);
    }
}
