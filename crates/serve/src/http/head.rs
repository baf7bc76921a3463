//! The head of a request: method, path, and how the body that follows is framed.

use alloc::string::String;
use alloc::vec::Vec;

use trust::fixed::Fixed;
use trust::sealed::PublicKey;

use super::limits::{Limits, too_large};
use crate::error::{ApiError, Status};

/// Most header fields in a request.
const MAX_FIELDS: usize = 64;

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Asks to be shown something.
    Get,
    /// Like [`Get`](Self::Get), but the answer has no body.
    Head,
    /// Asks for something to be done.
    Post,
    /// Asks which methods a path has.
    Options,
    /// Any other method.
    Other,
}

impl Method {
    /// The method's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Options => "OPTIONS",
            Self::Other => "(another method)",
        }
    }
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes.
    Length(usize),
    /// In chunks; the last one is empty.
    Chunked,
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The path, without query.
    pub path: String,
    /// The query without its question mark; empty if there is none.
    pub query: String,
    /// What follows `Authorization: Bearer`, or else `x-api-key`, as Anthropic's clients send it.
    pub bearer: Option<Vec<u8>>,
    /// The media type of the body in lower case, without parameters.
    pub content_type: Option<String>,
    /// The client's key for a sealed body: `Ehbp-Encapsulated-Key`.
    pub encapsulated_key: Option<PublicKey>,
    /// Whether the head says which web page the request comes from, as browsers do.
    pub has_origin: bool,
    /// The header fields that a browser asks permission to send.
    pub requested_fields: Option<String>,
    /// Whether the client speaks HTTP/1.0, which does not know chunks.
    pub is_http_10: bool,
    /// Whether the connection can have another request after this one.
    pub(super) keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    pub(super) framing: Framing,
}

impl Head {
    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }

    /// Reads a head from the beginning of `bytes`. Returns the head and its length, or `None` if more bytes are
    /// needed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Option<(Self, usize)>, ApiError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(&bytes[..bytes.len().min(limits.head_bytes)]);
        let len = match parsed.map_err(refused)? {
            httparse::Status::Complete(len) => len,
            httparse::Status::Partial if bytes.len() >= limits.head_bytes => {
                return Err(ApiError::new(
                    Status::HeaderFieldsTooLarge,
                    alloc::format!("the head of the request has more than {} bytes", limits.head_bytes),
                ));
            }
            httparse::Status::Partial => return Ok(None),
        };
        let method = match request.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            Some("OPTIONS") => Method::Options,
            _ => Method::Other,
        };
        let is_http_10 = request.version == Some(0);
        let fields = Fields(request.headers);
        let framing = fields.framing(is_http_10, limits)?;
        fields.check_host(is_http_10)?;
        let (path, query) = path_and_query(request.path.unwrap_or_default())?;
        let expects_continue = match fields.one("expect")? {
            Some(b"") | None => false,
            Some(value) if value.eq_ignore_ascii_case(b"100-continue") => !is_http_10,
            Some(_) => {
                return Err(ApiError::new(Status::ExpectationFailed, "Expect: only 100-continue is known"));
            }
        };
        let content_type = fields.one("content-type")?.map(|value| {
            let media_type = value.split(|&byte| byte == b';').next().unwrap_or_default();
            copy_lossy(media_type.trim_ascii()).map(|mut text| {
                text.make_ascii_lowercase();
                text
            })
        });
        let bearer = match fields.one("authorization")?.and_then(bearer_token) {
            None => fields.one("x-api-key")?,
            bearer => bearer,
        };
        let encapsulated_key = match fields.one("ehbp-encapsulated-key")? {
            Some(digits) => {
                let key = core::str::from_utf8(digits).ok().and_then(Fixed::parse);
                let expected = "Ehbp-Encapsulated-Key: expected 64 hexadecimal digits";
                let Fixed(key) = key.ok_or(ApiError::bad(expected))?;
                Some(key)
            }
            None => None,
        };
        Ok(Some((
            Self {
                method,
                path: copy_lossy(path.as_bytes())?,
                query: copy_lossy(query.as_bytes())?,
                bearer: bearer.map(copy).transpose()?,
                content_type: content_type.transpose()?,
                encapsulated_key,
                has_origin: fields.one("origin")?.is_some(),
                requested_fields: fields
                    .one("access-control-request-headers")?
                    .map(copy_lossy)
                    .transpose()?,
                is_http_10,
                keep_alive: fields.keep_alive(is_http_10),
                expects_continue: expects_continue && framing != Framing::Length(0),
                framing,
            },
            len,
        )))
    }
}

/// The header fields of a request.
struct Fields<'f>(&'f [httparse::Header<'f>]);

impl<'f> Fields<'f> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'f [u8]> {
        let of_name = move |field: &&httparse::Header<'f>| field.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(of_name).map(|field| field.value.trim_ascii())
    }

    /// The value of a field that may occur only once.
    fn one(&self, name: &'static str) -> Result<Option<&'f [u8]>, ApiError> {
        let mut values = self.all(name);
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(ApiError::bad(alloc::format!("{name}: the header field is there twice"))),
        }
    }

    /// The words of a list field, which may occur several times.
    fn words(&self, name: &'static str) -> impl Iterator<Item = &'f [u8]> {
        self.all(name).flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// How long the body is. Source: RFC 9112, section 6.
    fn framing(&self, is_http_10: bool, limits: &Limits) -> Result<Framing, ApiError> {
        let mut codings = self.all("transfer-encoding");
        let (coding, another) = (codings.next(), codings.next());
        let length = self.one("content-length")?;
        match (coding, length) {
            (None, None) => Ok(Framing::Length(0)),
            (Some(_), Some(_)) => Err(ApiError::bad(
                "both Transfer-Encoding and Content-Length are given, which can be read in two ways; send one",
            )),
            (Some(coding), None) => {
                if is_http_10 {
                    return Err(ApiError::bad("HTTP/1.0 knows no Transfer-Encoding; send Content-Length"));
                }
                if another.is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
                    let message = "Transfer-Encoding: only chunked is known";
                    return Err(ApiError::new(Status::NotImplemented, message));
                }
                Ok(Framing::Chunked)
            }
            (None, Some(digits)) => {
                if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                    return Err(ApiError::bad("Content-Length: expected one decimal number"));
                }
                let refused = || too_large(limits.body_bytes);
                let digits = core::str::from_utf8(digits).map_err(|_| refused())?;
                match digits.parse() {
                    Ok(length) if length <= limits.body_bytes => Ok(Framing::Length(length)),
                    _ => Err(refused()),
                }
            }
        }
    }

    /// Source: RFC 9112, section 3.2.
    fn check_host(&self, is_http_10: bool) -> Result<(), ApiError> {
        match self.all("host").count() {
            1 => Ok(()),
            0 if is_http_10 => Ok(()),
            _ => Err(ApiError::bad("Host: expected exactly one such header field")),
        }
    }

    /// Source: RFC 9112, section 9.3.
    fn keep_alive(&self, is_http_10: bool) -> bool {
        let says = |word: &[u8]| self.words("connection").any(|said| said.eq_ignore_ascii_case(word));
        !says(b"close") && (!is_http_10 || says(b"keep-alive"))
    }
}

/// The refusal for a head that cannot be parsed.
fn refused(error: httparse::Error) -> ApiError {
    use httparse::Error;
    let message = match error {
        Error::TooManyHeaders => {
            let message = alloc::format!("the request has more than {MAX_FIELDS} header fields");
            return ApiError::new(Status::HeaderFieldsTooLarge, message);
        }
        Error::Version => {
            return ApiError::new(Status::VersionNotSupported, "expected HTTP/1.1 or HTTP/1.0");
        }
        Error::HeaderName => "the name of a header field has a character that none can have",
        Error::HeaderValue => "the value of a header field has a character that none can have",
        Error::NewLine => "a line of the head does not end with a line break",
        Error::Token | Error::Status => "the request does not begin with a method, a path and HTTP/1.1",
    };
    ApiError::bad(message)
}

/// The path and the query of a target in origin form, or in the absolute form that proxies send.
fn path_and_query(target: &str) -> Result<(&str, &str), ApiError> {
    let origin = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    if !origin.starts_with('/') && origin != "*" {
        return Err(ApiError::bad("the target of the request is no path that begins with /"));
    }
    Ok(origin.split_once('?').unwrap_or((origin, "")))
}

/// The token in a field `Authorization` of the scheme Bearer. Source: RFC 6750, section 2.1.
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"bearer".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && token.first() == Some(&b' ');
    is_bearer.then(|| token.trim_ascii())
}

fn copy(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| ApiError::out_of_memory())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// A copy in which bytes that are not ASCII are replaced by question marks.
fn copy_lossy(bytes: &[u8]) -> Result<String, ApiError> {
    let mut copy = String::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| ApiError::out_of_memory())?;
    copy.extend(bytes.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '?' }));
    Ok(copy)
}
