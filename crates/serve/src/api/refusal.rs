//! Errors in the formats in which clients are told of them.

use alloc::vec::Vec;
use core::fmt;

use super::json::{Value, append, fill};
use super::route::ANTHROPIC;
use crate::error::{ApiError, Status};

/// The API whose error format a client expects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's.
    #[default]
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Dialect {
    /// The format for a path.
    pub fn of(path: &str) -> Self {
        if path.starts_with(ANTHROPIC) { Self::Anthropic } else { Self::OpenAi }
    }

    /// The name of a kind of error.
    fn kind(self, status: Status) -> &'static str {
        match (status, self) {
            (Status::Unauthorized, _) => "authentication_error",
            (Status::Forbidden, _) => "permission_error",
            (Status::NotFound, _) => "not_found_error",
            (Status::TooManyRequests, _) => "rate_limit_error",
            (Status::GatewayTimeout, _) => "timeout_error",
            (Status::InternalServerError, Self::OpenAi) => "server_error",
            (Status::InternalServerError, Self::Anthropic) => "api_error",
            (Status::ServiceUnavailable, Self::OpenAi) => "unavailable_error",
            (Status::ServiceUnavailable, Self::Anthropic) => "overloaded_error",
            (Status::ContentTooLarge, Self::Anthropic) => "request_too_large",
            _ => "invalid_request_error",
        }
    }

    /// Writes an error.
    pub fn write(self, out: &mut Vec<u8>, error: &ApiError) -> fmt::Result {
        let ApiError { status, message, param, code, .. } = error;
        let (kind, message) = (self.kind(*status).into(), (&**message).into());
        if *status == Status::UnprocessableContent {
            // The specification for sealed bodies asks for this. Source: EHBP's SPEC.md, 5.4.2.
            return fill(out, r#"{"type":"urn:ietf:params:ehbp:error:key-config","title":$}"#, &[message]);
        }
        match self {
            Self::OpenAi => {
                let values = [message, kind, Value::Text(param.as_deref()), Value::Text(*code)];
                fill(out, r#"{"error":{"message":$,"type":$,"param":$,"code":$}}"#, &values)
            }
            Self::Anthropic => {
                fill(out, r#"{"type":"error","error":{"type":$,"message":$}}"#, &[kind, message])
            }
        }
    }

    /// Writes the event that ends an answer with an error.
    pub fn write_event(self, out: &mut Vec<u8>, error: &ApiError) -> fmt::Result {
        append(out, if self == Self::Anthropic { "event: error\ndata: " } else { "data: " })?;
        self.write(out, error)?;
        append(out, "\n\n")
    }
}
