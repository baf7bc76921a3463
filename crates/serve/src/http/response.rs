//! The head of an answer.

use alloc::vec::Vec;
use core::fmt::{self, Write};

use trust::hex::Hex;
use trust::sealed::Nonce;

use crate::error::{ApiError, Status};

/// What the body of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// JSON.
    Json,
    /// Server-sent events. Source: WHATWG HTML, "Server-sent events".
    EventStream,
    /// JSON, a value in each line.
    JsonLines,
    /// Figures, as Prometheus reads them.
    Prometheus,
    /// A page.
    Html,
    /// Keys that bodies are sealed to. Source: RFC 9458, section 3.2.
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

/// The head of an answer, and what is in it of the request.
#[derive(Debug, Clone, Copy)]
pub struct Response<'r> {
    /// The status.
    pub status: Status,
    /// What the body is; without one there is none.
    pub content_type: Option<ContentType>,
    /// Methods that the path has, if the request asked for another, or asked which.
    pub allow: Option<&'static str>,
    /// After how many seconds the request may be repeated.
    pub retry_after_s: Option<u32>,
    /// The header fields that a browser may send, as it asked for them.
    pub allowed_fields: Option<&'r str>,
}

/// What a client has left of the tokens that it may have in a minute.
///
/// Header fields and their forms are OpenAI's: <https://platform.openai.com/docs/guides/rate-limits>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Most tokens.
    pub limit: u32,
    /// Those that it can have now.
    pub remaining: u32,
    /// After how long it has all of them again.
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
    /// An answer with this content.
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
    /// So many bytes.
    Length(usize),
    /// In chunks.
    Chunked,
    /// It ends with the connection.
    UntilClosed,
}

impl Response<'_> {
    /// Writes the head; that of a sealed answer has a nonce.
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
        // Whoever may reach the server may read its answers: no cookie and no password of the browser is ever looked at.
        out.write_str("Access-Control-Allow-Origin: *\r\n")?;
        if let Some(content_type) = self.content_type {
            write!(out, "Content-Type: {}\r\n", content_type.name())?;
            if content_type == ContentType::EventStream {
                // A proxy that gathers bytes would gather tokens.
                out.write_str("Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n")?;
            }
        }
        if self.content_type == Some(ContentType::Html) {
            // All that the page may do: be as it is, and ask this server.
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
            // Which a web page may not see unless it is told so.
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
    /// Those that have not been sent.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.n_sent..]
    }

    /// The first `n` of them have been sent.
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

    /// Leaves the first `n` of those that have not been sent.
    pub fn truncate(&mut self, n: usize) {
        self.bytes.truncate(self.n_sent + n);
    }

    /// Adds bytes, or nothing if there is no memory for them.
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
