//! Formats of strings, JSON Schema validation, section 7.3, as patterns.
//!
//! A format is an annotation unless [`super::Options::formats`] is set. With it, everything that the pattern accepts is valid.
//! Some patterns accept less than the format allows, so that an automaton of reasonable size can express them. `regex` and
//! unknown names remain annotations, as the specification allows.

/// A format.
pub(super) struct Format {
    pub pattern: &'static str,
    /// Whether every valid text is accepted.
    pub is_exact: bool,
}

/// A date that exists in the calendar, of the years 0001 to 9999.
macro_rules! date {
    () => {
        concat!(
            r"(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))",
            r"|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
        )
    };
}

/// A time without leap seconds.
macro_rules! time {
    () => {
        r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
    };
}

/// Up to six labels of up to 40 characters, which stays within 253 characters; the last label begins with a letter.
macro_rules! hostname {
    () => {
        r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,38}[a-zA-Z0-9])?\.){0,5}[a-zA-Z](?:[a-zA-Z0-9-]{0,38}[a-zA-Z0-9])?"
    };
}

macro_rules! email {
    () => {
        concat!(
            r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,16}(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,16}){0,2}@",
            r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,38}[a-zA-Z0-9])?\.){1,3}[a-zA-Z]{2,12}$"
        )
    };
}

macro_rules! path_character {
    () => {
        r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
    };
}

/// Everything after the authority: path, query and fragment.
macro_rules! path {
    () => {
        concat!(
            "(?:/",
            path_character!(),
            r"*)*(?:\?(?:[/?]|",
            path_character!(),
            ")*)?(?:#(?:[/?]|",
            path_character!(),
            ")*)?"
        )
    };
}

macro_rules! authority {
    () => {
        r"//[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d{1,4})?"
    };
}

macro_rules! uri {
    () => {
        concat!("[a-zA-Z][a-zA-Z0-9+.-]*:(?:", authority!(), "|", path_character!(), "+)", path!())
    };
}

macro_rules! duration_of_time {
    () => {
        r"T(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)"
    };
}

/// Names, patterns, and whether the patterns are exact.
const FORMATS: [(&str, &str, bool); 18] = [
    ("date", concat!("^(?!0000)", date!(), "$"), false),
    ("time", concat!("^", time!(), "$"), false),
    ("date-time", concat!("^(?!0000)", date!(), "T", time!(), "$"), false),
    (
        "duration",
        concat!(
            r"^P(?:\d+W|(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)(?:",
            duration_of_time!(),
            ")?|",
            duration_of_time!(),
            ")$"
        ),
        true,
    ),
    ("uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$", true),
    ("ipv4", r"^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$", true),
    (
        "ipv6",
        concat!(
            r"^(?:(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|(?:[0-9a-fA-F]{1,4}:){1,7}:|(?:[0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F]{1,4}|(?:[0-9a-fA-F]{1,4}:){1,5}(?::[0-9a-fA-F]{1,4}){2}",
            r"|(?:[0-9a-fA-F]{1,4}:){1,4}(?::[0-9a-fA-F]{1,4}){3}|(?:[0-9a-fA-F]{1,4}:){1,3}(?::[0-9a-fA-F]{1,4}){4}|(?:[0-9a-fA-F]{1,4}:){1,2}(?::[0-9a-fA-F]{1,4}){5}",
            r"|[0-9a-fA-F]{1,4}:(?::[0-9a-fA-F]{1,4}){6}|:(?:(?::[0-9a-fA-F]{1,4}){1,7}|:))$"
        ),
        false,
    ),
    ("hostname", concat!("^", hostname!(), "$"), false),
    ("idn-hostname", concat!("^", hostname!(), "$"), false),
    ("email", email!(), false),
    ("idn-email", email!(), false),
    ("uri", concat!("^", uri!(), "$"), false),
    ("iri", concat!("^", uri!(), "$"), false),
    ("uri-reference", concat!("^(?:", uri!(), "|", path!(), ")$"), false),
    ("iri-reference", concat!("^(?:", uri!(), "|", path!(), ")$"), false),
    ("uri-template", concat!("^(?:", uri!(), "|", path!(), ")$"), false),
    ("json-pointer", "^(?:/(?:[^~/]|~[01])*)*$", true),
    ("relative-json-pointer", r"^(?:0|[1-9]\d*)(?:#|(?:/(?:[^~/]|~[01])*)*)$", true),
];

/// The format with this name.
pub(super) fn of(name: &str) -> Option<Format> {
    let (_, pattern, is_exact) = FORMATS.iter().find(|format| format.0 == name)?;
    Some(Format { pattern, is_exact: *is_exact })
}
