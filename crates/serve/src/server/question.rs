//! Requests that are answered at once: by the server alone, or by what the engine knows.

use alloc::string::String;
use alloc::vec::Vec;

use llm::tokenizer::EncodeOptions;
use serde::Serialize;

use super::admission::{chosen, models};
use super::desk::Desk;
use crate::api::fields::{Detokenize, Tokenize};
use crate::api::json::{self, Text};
use crate::api::models::ModelList;
use crate::api::route::Route;
use crate::engine::Engine;
use crate::error::{ApiError, Status};
use crate::http::{ContentType, Head, Response};

/// The page for people. It asks for nothing but what this server has.
const PAGE: &str = include_str!("../page.html");

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

#[derive(Serialize)]
struct Tokens<'t> {
    tokens: &'t [u32],
}

#[derive(Serialize)]
struct Content<'c> {
    content: &'c str,
}

/// Writes the answer to a request that needs no engine; `None` if this one does. There are `n_open` connections.
pub(super) fn answer_alone<'h, T>(
    route: Route,
    head: &'h Head,
    desk: &mut Desk<'_, T>,
    n_open: usize,
) -> Option<Result<Response<'h>, ApiError>> {
    desk.scratch.clear();
    let written = match route {
        Route::Page => {
            return Some(match desk.scratch.try_reserve(PAGE.len()) {
                Ok(()) => {
                    desk.scratch.extend_from_slice(PAGE.as_bytes());
                    Ok(Response::ok(ContentType::Html))
                }
                Err(_) => Err(ApiError::out_of_memory()),
            });
        }
        Route::Health => json::write(desk.scratch, &Health { status: "ok" }, 0),
        Route::Metrics => {
            let written = desk.metrics.write(desk.scratch, n_open);
            return Some(match written {
                Ok(()) => Ok(Response::ok(ContentType::Prometheus)),
                Err(_) => Err(ApiError::out_of_memory()),
            });
        }
        Route::Preflight(methods) => {
            let fields = head.requested_fields.as_deref().unwrap_or("Authorization, Content-Type");
            return Some(Ok(Response {
                status: Status::NoContent,
                content_type: None,
                allow: Some(methods),
                retry_after_s: None,
                allowed_fields: Some(fields),
            }));
        }
        Route::Models | Route::Generate(_) | Route::Embeddings | Route::Tokenize | Route::Detokenize => {
            return None;
        }
    };
    Some(written.map(|()| Response::ok(ContentType::Json)).map_err(|_| ApiError::out_of_memory()))
}

/// Writes the answer to a request about what the engine knows; `None` if this is one for text or vectors.
pub(super) fn answer<E: Engine>(
    engine: &mut E,
    route: Route,
    body: &[u8],
    desk: &mut Desk<'_, E::Ticket>,
) -> Option<Result<Response<'static>, ApiError>> {
    desk.scratch.clear();
    let written = match route {
        Route::Models => list_models(engine, desk),
        Route::Tokenize => tokenize(engine, body, desk.scratch),
        Route::Detokenize => detokenize(engine, body, desk.scratch),
        Route::Generate(_)
        | Route::Embeddings
        | Route::Page
        | Route::Health
        | Route::Metrics
        | Route::Preflight(_) => {
            return None;
        }
    };
    Some(written.map(|()| Response::ok(ContentType::Json)))
}

fn list_models<E: Engine>(engine: &E, desk: &mut Desk<'_, E::Ticket>) -> Result<(), ApiError> {
    let models = models(engine);
    let list = ModelList::new(&models, desk.settings.unix_s(desk.now_us))?;
    json::write(desk.scratch, &list, list.text_bytes()).map_err(|_| ApiError::out_of_memory())
}

fn tokenize<E: Engine>(engine: &E, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
    let asked: Tokenize<'_> = json::read(body)?;
    let models = models(engine);
    let tokenizer = engine.tokenizer(Some(&chosen(&models, name(asked.model.as_ref()))?.name))?;
    let options = EncodeOptions { add_special: asked.add_special, parse_special: asked.parse_special };
    let mut tokens = Vec::new();
    let encoded = tokenizer.encode(&asked.content.0, options, &mut tokens);
    encoded.map_err(|error| ApiError::field("content", error))?;
    // An id has up to ten digits and a comma.
    json::write(out, &Tokens { tokens: &tokens }, 2 * tokens.len()).map_err(|_| ApiError::out_of_memory())
}

fn detokenize<E: Engine>(engine: &E, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
    let asked: Detokenize<'_> = json::read(body)?;
    let models = models(engine);
    let tokenizer = engine.tokenizer(Some(&chosen(&models, name(asked.model.as_ref()))?.name))?;
    let bytes = tokenizer.decode(&asked.tokens.0).map_err(|error| ApiError::field("tokens", error))?;
    let content = String::from_utf8_lossy(&bytes);
    json::write(out, &Content { content: &content }, content.len()).map_err(|_| ApiError::out_of_memory())
}

fn name<'n>(name: Option<&'n Text<'_>>) -> Option<&'n str> {
    name.map(|name| &*name.0).filter(|name| !name.is_empty())
}
