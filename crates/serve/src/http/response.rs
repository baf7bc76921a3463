//! The head of an answer.

use alloc::vec::Vec;
use core::fmt::{self, Write};

use trust::hex::Hex;
use trust::sealed::Nonce;

use crate::error::{ApiError, Status};

/// The media type of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// JSON.
    Json,
    /// Server-sent events. Source: WHATWG HTML, "Server-sent events".
    EventStream,
    /// JSON, one value in each line.
    JsonLines,
    /// Metrics in the format of Prometheus.
    Prometheus,
    /// A web page.
    Html,
    /// The public keys for sealed bodies. Source: RFC 9458, section 3.2.
    Keys,
    /// Why a request was refused. Source: RFC 9457.
    Problem,
}

impl ContentType {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/jsonl",
            Self::EventStream => "text/event-stream",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Keys => "application/ohttp-keys",
            Self::Problem => "application/problem+json",
        }
    }
}

/// The head of an answer, including what it repeats from the request.
#[derive(Debug, Clone, Copy)]
pub struct Response<'r> {
    /// The status.
    pub status: Status,
    /// The media type of the body; `None` if there is no body.
    pub content_type: Option<ContentType>,
    /// The methods that the path has, if the request used another one or asked for them.
    pub allow: Option<&'static str>,
    /// After how many seconds the client may repeat the request.
    pub retry_after_s: Option<u32>,
    /// The header fields that a browser asked permission to send; it may.
    pub allowed_fields: Option<&'r str>,
}

/// How many tokens a client may still use in this minute.
///
/// The names and formats of the header fields are OpenAI's: <https://platform.openai.com/docs/guides/rate-limits>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Most tokens in a minute.
    pub limit: u32,
    /// Tokens that are available now.
    pub remaining: u32,
    /// Time until all of them are available again.
    pub reset_us: u64,
}

impl Rate {
    fn write(&self, out: &mut Outbox) -> fmt::Result {
        let Self { limit, remaining, reset_us } = self;
        let (ms, s) = (reset_us.div_ceil(1000), reset_us.div_ceil(1_000_000));
        write!(
            out,
            "x-ratelimit-limit-tokens: {limit}\r\nx-ratelimit-remaining-tokens: {remaining}\r\nx-ratelimit-reset-tokens: "
        )?;
        match s {
            0..=1 => write!(out, "{ms}ms\r\n"),
            2..60 => write!(out, "{s}s\r\n"),
            _ => write!(out, "{}m{}s\r\n", s / 60, s % 60),
        }
    }
}

impl Response<'static> {
    /// A successful answer with a body of this type.
    pub fn ok(content_type: ContentType) -> Self {
        let content_type = Some(content_type);
        Self { status: Status::Ok, content_type, allow: None, retry_after_s: None, allowed_fields: None }
    }

    /// The answer to a request that is refused.
    pub fn refusal(error: &ApiError) -> Self {
        Self {
            status: error.status,
            allow: error.allow,
            retry_after_s: error.retry_after_s(),
            ..Self::ok(match error.status {
                Status::UnprocessableContent => ContentType::Problem,
                _ => ContentType::Json,
            })
        }
    }
}

/// How an answer's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framed {
    /// A body of this many bytes.
    Length(usize),
    /// In chunks.
    Chunked,
    /// The body ends when the connection closes.
    UntilClosed,
}

impl Response<'_> {
    /// Writes the head. The head of a sealed answer includes a nonce.
    pub(super) fn write(
        &self,
        out: &mut Outbox,
        framed: Framed,
        keep_alive: bool,
        rate: Option<Rate>,
        nonce: Option<&Nonce>,
    ) -> fmt::Result {
        let (code, phrase) = self.status.line();
        write!(out, "HTTP/1.1 {code} {phrase}\r\nServer: ferrite\r\n")?;
        // Everyone who can reach the server may read its answers: it never looks at a browser's cookies or passwords.
        out.write_str("Access-Control-Allow-Origin: *\r\n")?;
        if let Some(content_type) = self.content_type {
            write!(out, "Content-Type: {}\r\n", content_type.name())?;
            if content_type == ContentType::EventStream {
                // A proxy that buffers bytes would hold back tokens.
                out.write_str("Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n")?;
            }
        }
        if self.content_type == Some(ContentType::Html) {
            // The page may only show itself and ask this server.
            out.write_str(
                "Content-Security-Policy: default-src 'none'; connect-src 'self'; img-src data:; \
                 script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'\r\n\
                 X-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\n",
            )?;
        }
        if let Some(allow) = self.allow {
            write!(out, "Allow: {allow}\r\n")?;
        }
        if let Some(seconds) = self.retry_after_s {
            write!(out, "Retry-After: {seconds}\r\n")?;
        }
        if let Some(rate) = rate {
            rate.write(out)?;
        }
        if let Some(nonce) = nonce {
            // A web page sees this field only if the server exposes it.
            let field = "Ehbp-Response-Nonce";
            write!(out, "{field}: {}\r\nAccess-Control-Expose-Headers: {field}\r\n", Hex(nonce))?;
        }
        if self.status == Status::Unauthorized {
            out.write_str("WWW-Authenticate: Bearer\r\n")?;
        }
        if let Some(fields) = self.allowed_fields {
            let methods = self.allow.unwrap_or_default();
            write!(
                out,
                "Access-Control-Allow-Methods: {methods}\r\nAccess-Control-Allow-Headers: {fields}\r\n"
            )?;
            out.write_str("Access-Control-Max-Age: 86400\r\n")?;
        }
        match framed {
            // A status that has no body has no length either. Source: RFC 9110, section 8.6.
            Framed::Length(_) if self.status == Status::NoContent => {}
            Framed::Length(len) => write!(out, "Content-Length: {len}\r\n")?,
            Framed::Chunked => out.write_str("Transfer-Encoding: chunked\r\n")?,
            Framed::UntilClosed => {}
        }
        out.write_str(if keep_alive { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" })
    }
}

/// Bytes that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    n_sent: usize,
}

impl Outbox {
    /// The bytes that have not been sent.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.n_sent..]
    }

    /// Removes the first `n` unsent bytes, which have been sent.
    pub fn sent(&mut self, n: usize) {
        self.n_sent += n.min(self.unsent().len());
        if self.n_sent == self.bytes.len() {
            self.bytes.clear();
            self.n_sent = 0;
        }
    }

    /// The last `n` bytes.
    pub fn last(&mut self, n: usize) -> &mut [u8] {
        let start = self.bytes.len().saturating_sub(n);
        &mut self.bytes[start..]
    }

    /// Keeps only the first `n` unsent bytes.
    pub fn truncate(&mut self, n: usize) {
        self.bytes.truncate(self.n_sent + n);
    }

    /// Adds bytes; adds nothing if there is no memory for them.
    pub fn write(&mut self, bytes: &[u8]) -> fmt::Result {
        if self.n_sent > 0 && self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.bytes.drain(..self.n_sent);
            self.n_sent = 0;
        }
        self.bytes.try_reserve(bytes.len()).map_err(|_| fmt::Error)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl Write for Outbox {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes())
    }
}
