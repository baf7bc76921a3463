//! [`ApiError`]: why a request is refused.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt::{Display, Write};

/// A status code of HTTP. Source: RFC 9110, section 15; RFC 6585 for 429 and 431.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 200
    Ok,
    /// 204
    NoContent,
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408
    RequestTimeout,
    /// 413
    ContentTooLarge,
    /// 415
    UnsupportedMediaType,
    /// 417
    ExpectationFailed,
    /// 422
    UnprocessableContent,
    /// 429
    TooManyRequests,
    /// 431
    HeaderFieldsTooLarge,
    /// 500
    InternalServerError,
    /// 501
    NotImplemented,
    /// 503
    ServiceUnavailable,
    /// 504
    GatewayTimeout,
    /// 505
    VersionNotSupported,
}

impl Status {
    /// The number and the reason phrase, as in a status line.
    pub fn line(self) -> (u16, &'static str) {
        match self {
            Self::Ok => (200, "OK"),
            Self::NoContent => (204, "No Content"),
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::RequestTimeout => (408, "Request Timeout"),
            Self::ContentTooLarge => (413, "Content Too Large"),
            Self::UnsupportedMediaType => (415, "Unsupported Media Type"),
            Self::ExpectationFailed => (417, "Expectation Failed"),
            Self::UnprocessableContent => (422, "Unprocessable Content"),
            Self::TooManyRequests => (429, "Too Many Requests"),
            Self::HeaderFieldsTooLarge => (431, "Request Header Fields Too Large"),
            Self::InternalServerError => (500, "Internal Server Error"),
            Self::NotImplemented => (501, "Not Implemented"),
            Self::ServiceUnavailable => (503, "Service Unavailable"),
            Self::GatewayTimeout => (504, "Gateway Timeout"),
            Self::VersionNotSupported => (505, "HTTP Version Not Supported"),
        }
    }

    /// The number.
    pub fn code(self) -> u16 {
        self.line().0
    }
}

/// The message if there is no memory.
pub const NO_MEMORY: &str = "no memory for this request now; try again later";

/// Most bytes of a message, which may quote the request.
const MAX_BYTES: usize = 1024;

/// A text cut to a length for which there is always memory.
pub fn shortened(text: impl Display) -> String {
    struct Short(String);

    impl Write for Short {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            let end = text.floor_char_boundary(text.len().min(MAX_BYTES - self.0.len()));
            self.0.push_str(&text[..end]);
            if end == text.len() { Ok(()) } else { Err(core::fmt::Error) }
        }
    }

    let mut short = Short(String::new());
    // The rest is left out.
    let _ = write!(short, "{text}");
    short.0
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The status of the answer.
    pub status: Status,
    /// What is wrong, where it is, and what would be right.
    pub message: Cow<'static, str>,
    /// The field that the error is about.
    pub param: Option<String>,
    /// A short name of the error for programs.
    pub code: Option<&'static str>,
    /// The methods that the path has, for status 405.
    pub allow: Option<&'static str>,
    /// After how many seconds the same request may succeed, if known.
    pub retry_after_s: Option<u32>,
}

impl ApiError {
    /// An error with this status.
    pub fn new(status: Status, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), param: None, code: None, allow: None, retry_after_s: None }
    }

    /// A request that cannot be understood.
    pub fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::BadRequest, message)
    }

    /// A field has a wrong value.
    pub fn field(path: impl Display, message: impl Display) -> Self {
        let path = shortened(path);
        let message = shortened(format_args!("{path}: {message}"));
        Self { param: Some(path), ..Self::bad(message) }
    }

    /// There is no memory for the request now.
    pub fn out_of_memory() -> Self {
        Self::new(Status::ServiceUnavailable, NO_MEMORY)
    }

    /// Adds a name for programs.
    pub fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// After how many seconds the same request may succeed.
    pub fn retry_after_s(&self) -> Option<u32> {
        let is_passing = matches!(self.status, Status::TooManyRequests | Status::ServiceUnavailable);
        self.retry_after_s.or(is_passing.then_some(1))
    }
}
