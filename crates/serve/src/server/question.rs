//! Requests that are answered at once: by the server alone, or from what the engine knows.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use llm::tokenizer::{EncodeOptions, TokenizerError};
use serde::{Deserialize, Serialize};
use trust::notary::Notary;
use trust::receipt::MAX_NONCE_BYTES;

use super::admission::{chosen, models};
use super::desk::Desk;
use super::receipts::MAX_RECEIPTS;
use super::settings::Settings;
use crate::api::fields::{Detokenize, Fields, ModelName, Tokenize};
use crate::api::json::{self, Text};
use crate::api::models::ModelList;
use crate::api::props::{AdapterInfo, Props, Slot};
use crate::api::route::{RECEIPTS, Route, Shape};
use crate::api::said::messages_of;
use crate::api::wish::{Asked, Wish};
use crate::engine::{Change, Engine};
use crate::error::{ApiError, Status, shortened};
use crate::http::{ContentType, Head, Response};

/// The web page for people. It loads nothing from other servers.
const PAGE: &str = include_str!("../page.html");

/// Most lines of the audit in one answer.
const MAX_AUDIT_LINES: usize = 128;

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

#[derive(Serialize)]
struct Tokens<'t> {
    tokens: &'t [u32],
}

#[derive(Serialize)]
struct Rendered<'r> {
    prompt: &'r str,
}

#[derive(Serialize)]
struct Success {
    success: bool,
}

#[derive(Serialize)]
struct Content<'c> {
    content: &'c str,
}

/// The query of somebody who asks for the receipt of an encrypted request.
#[derive(Deserialize)]
struct Knower<'b> {
    #[serde(borrow)]
    nonce: Text<'b>,
}

/// Writes the answer to a request that needs no engine; returns `None` if the request needs one. The request brought
/// the given key and, if it was encrypted, the given body. There are `n_open` connections.
pub(super) fn answer_alone<'h, T>(
    route: Route,
    head: &'h Head,
    key: Option<usize>,
    sealed_body: Option<&[u8]>,
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
        Route::Audit => {
            let after = parameter(head.query.as_bytes(), "after");
            return Some(write_audit(after.as_deref(), desk));
        }
        Route::Metrics => {
            let written = desk.metrics.write(desk.scratch, n_open);
            return Some(match written {
                Ok(()) => Ok(Response::ok(ContentType::Prometheus)),
                Err(_) => Err(ApiError::out_of_memory()),
            });
        }
        Route::Receipt => {
            let id = head.path.strip_prefix(RECEIPTS).unwrap_or_default();
            let knower = sealed_body.and_then(|body| json::read::<Knower<'_>>(body).ok());
            let Some(receipt) = desk.receipts.find(id, key, knower.as_ref().map(|knower| &*knower.nonce.0))
            else {
                let message = shortened(format_args!(
                    "there is no receipt of {id}; the last {MAX_RECEIPTS} are kept, of requests with \"receipt\": true; of \
                     encrypted ones for encrypted bodies with their nonce"
                ));
                return Some(Err(ApiError::new(Status::NotFound, message)));
            };
            append(desk.scratch, receipt)
        }
        Route::Attestation => {
            let nonce = parameter(head.query.as_bytes(), "nonce");
            let attestation = nonce_of(nonce.as_deref()).and_then(|nonce| {
                let notary = notary(desk.settings)?;
                let attestation = notary.attestation(nonce, desk.settings.moment(desk.now_us).unix_s);
                attestation.map_err(|_| ApiError::out_of_memory())
            });
            match attestation {
                Ok(attestation) => append(desk.scratch, &attestation),
                Err(error) => return Some(Err(error)),
            }
        }
        Route::HpkeKeys => {
            return Some(desk.settings.recipient().and_then(|recipient| {
                append(desk.scratch, &recipient.key_config()).map_err(|_| ApiError::out_of_memory())?;
                Ok(Response::ok(ContentType::Keys))
            }));
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
        _ => return None,
    };
    Some(written.map(|()| Response::ok(ContentType::Json)).map_err(|_| ApiError::out_of_memory()))
}

/// Writes the lines of the audit that follow line number `after`, as many as an answer may have.
fn write_audit<T>(after: Option<&str>, desk: &mut Desk<'_, T>) -> Result<Response<'static>, ApiError> {
    let first = match after.map(str::parse::<u64>) {
        None => 0,
        Some(Ok(seq)) => seq.saturating_add(1),
        Some(Err(_)) => return Err(ApiError::field("after", "expected the seq of a line")),
    };
    for line in desk.audit.lines(first).take(MAX_AUDIT_LINES) {
        let written = json::append(desk.scratch, line).and_then(|()| json::append(desk.scratch, "\n"));
        written.map_err(|_| ApiError::out_of_memory())?;
    }
    Ok(Response::ok(ContentType::JsonLines))
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) -> fmt::Result {
    out.try_reserve(bytes.len()).map_err(|_| fmt::Error)?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// The notary that signs receipts.
///
/// # Errors
/// If there is none.
pub(super) fn notary(settings: &Settings) -> Result<&Notary, ApiError> {
    settings.notary.as_deref().ok_or_else(|| {
        let message =
            "this server signs nothing: it has no source of random numbers for a key, and was given none";
        ApiError::field("receipt", message)
    })
}

/// The nonce, if it is not too long.
pub(super) fn nonce_of(nonce: Option<&str>) -> Result<Option<&str>, ApiError> {
    match nonce {
        Some(nonce) if nonce.len() > MAX_NONCE_BYTES => {
            Err(ApiError::field("nonce", format!("expected at most {MAX_NONCE_BYTES} bytes")))
        }
        nonce => Ok(nonce),
    }
}

/// Writes the answer to a question to the engine. `asked` is the body, or the query if there is no body.
pub(super) fn answer<E: Engine>(
    engine: &mut E,
    route: Route,
    asked: &[u8],
    desk: &mut Desk<'_, E::Ticket>,
) -> Result<Response<'static>, ApiError> {
    desk.scratch.clear();
    match route {
        Route::Models => list_models(engine, false, desk),
        Route::Files => list_models(engine, desk.settings.admin, desk),
        Route::Props => props(engine, asked, desk.scratch),
        Route::Slots => slots(engine, asked, desk),
        Route::Adapters => adapters(engine, asked, desk.scratch),
        Route::Tokenize => tokenize(engine, asked, desk.scratch),
        Route::Detokenize => detokenize(engine, asked, desk.scratch),
        Route::CountTokens => count_tokens(engine, asked, desk.scratch),
        Route::ApplyTemplate => apply_template(engine, asked, desk.scratch),
        _ => Err(ApiError::new(Status::NotFound, "there is nothing here")),
    }?;
    Ok(Response::ok(ContentType::Json))
}

/// The change of the models that a request asks for.
pub(super) fn change(route: Route, body: &[u8]) -> Result<Change, ApiError> {
    let ModelName { model } = json::read(body)?;
    let model = json::own(&model.0)?;
    Ok(if route == Route::Load { Change::Load(model) } else { Change::Unload(model) })
}

/// Writes the answer that says that something has been done.
pub(super) fn success<T>(desk: &mut Desk<'_, T>) -> Result<Response<'static>, ApiError> {
    desk.scratch.clear();
    write(desk.scratch, &Success { success: true }, 0)?;
    Ok(Response::ok(ContentType::Json))
}

fn write(out: &mut Vec<u8>, value: &impl Serialize, text_bytes: usize) -> Result<(), ApiError> {
    json::write(out, value, text_bytes).map_err(|_| ApiError::out_of_memory())
}

fn list_models<E: Engine>(
    engine: &mut E,
    with_files: bool,
    desk: &mut Desk<'_, E::Ticket>,
) -> Result<(), ApiError> {
    let models = models(engine)?;
    let (mut files, mut reserved) = (Vec::new(), Ok(()));
    if with_files {
        engine.each_file(&mut |name, path| match files.try_reserve(1) {
            Ok(()) => files.push((name.to_string(), path.to_string())),
            refused => reserved = refused,
        });
    }
    reserved.map_err(|_| ApiError::out_of_memory())?;
    let list = ModelList::new(&models, &files, desk.settings.unix_s(desk.now_us))?;
    write(desk.scratch, &list, list.text_bytes())
}

fn props<E: Engine>(engine: &E, query: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
    let models = models(engine)?;
    let model = chosen(&models, parameter(query, "model").as_deref())?;
    let props = Props::new(model, engine.responder(Some(&model.name))?);
    write(out, &props, props.text_bytes())
}

fn slots<E: Engine>(engine: &E, query: &[u8], desk: &mut Desk<'_, E::Ticket>) -> Result<(), ApiError> {
    let models = models(engine)?;
    let model = chosen(&models, parameter(query, "model").as_deref())?;
    let slots = Slot::all(engine.responder(Some(&model.name))?, desk.settings.speculate)?;
    if parameter(query, "fail_on_no_slot").is_some() && !slots.iter().any(Slot::is_free) {
        return Err(ApiError::new(Status::ServiceUnavailable, "no slot is free"));
    }
    write(desk.scratch, &slots, Slot::text_bytes(slots.len()))
}

fn adapters<E: Engine>(engine: &E, query: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
    let models = models(engine)?;
    let model = chosen(&models, parameter(query, "model").as_deref())?;
    let adapters = AdapterInfo::all(engine.responder(Some(&model.name))?)?;
    let text_bytes = adapters.iter().map(AdapterInfo::text_bytes).sum();
    write(out, &adapters, text_bytes)
}

/// The name of the model, and the text of its prompt.
fn rendered<E: Engine>(engine: &mut E, shape: Shape, body: &[u8]) -> Result<(String, String), ApiError> {
    let fields: Fields<'_> = json::read(body)?;
    let wish = Wish::new(shape, &fields)?;
    let Some(Asked::Messages(said)) = wish.prompts.first() else { return Ok(Default::default()) };
    let messages = messages_of(said)?;
    let models = models(engine)?;
    let model = chosen(&models, wish.model)?;
    let prompt = engine.render(Some(&model.name), &messages, &wish.format())?;
    Ok((model.name.clone(), prompt))
}

fn apply_template<E: Engine>(engine: &mut E, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
    let (_, prompt) = rendered(engine, Shape::Chat, body)?;
    write(out, &Rendered { prompt: &prompt }, prompt.len())
}

fn count_tokens<E: Engine>(engine: &mut E, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
    let (model, prompt) = rendered(engine, Shape::Messages, body)?;
    let tokenizer = engine.tokenizer(Some(&model))?;
    let mut tokens = Vec::new();
    // As for prompts, the token that begins a text occurs only once.
    for add_special in [false, true] {
        tokens.clear();
        let encoded =
            tokenizer.encode(&prompt, EncodeOptions { add_special, parse_special: true }, &mut tokens);
        encoded.map_err(|error| of_tokenizer("messages", error))?;
        if tokens.first().copied() == tokenizer.bos_id() {
            break;
        }
    }
    let filled = json::fill(out, r#"{"input_tokens":$}"#, &[tokens.len().into()]);
    filled.map_err(|_| ApiError::out_of_memory())
}

fn tokenize<E: Engine>(engine: &E, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
    let asked: Tokenize<'_> = json::read(body)?;
    let models = models(engine)?;
    let model = chosen(&models, name(asked.model.as_ref()))?;
    let tokenizer = engine.tokenizer(Some(&model.name))?;
    let options = EncodeOptions { add_special: asked.add_special, parse_special: asked.parse_special };
    let mut tokens = Vec::new();
    let encoded = tokenizer.encode(&asked.content.0, options, &mut tokens);
    encoded.map_err(|error| of_tokenizer("content", error))?;
    // An id has up to ten digits and a comma.
    write(out, &Tokens { tokens: &tokens }, 2 * tokens.len())
}

fn detokenize<E: Engine>(engine: &E, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
    let asked: Detokenize<'_> = json::read(body)?;
    let models = models(engine)?;
    let model = chosen(&models, name(asked.model.as_ref()))?;
    let tokenizer = engine.tokenizer(Some(&model.name))?;
    let content = tokenizer.decode_text(&asked.tokens.0).map_err(|error| of_tokenizer("tokens", error))?;
    write(out, &Content { content: &content }, content.len())
}

/// The error for a field whose value could not be encoded or decoded.
pub(super) fn of_tokenizer(field: &str, error: TokenizerError) -> ApiError {
    match error {
        TokenizerError::OutOfMemory { .. } => ApiError::out_of_memory(),
        error => ApiError::field(field, error),
    }
}

fn name<'n>(name: Option<&'n Text<'_>>) -> Option<&'n str> {
    name.map(|name| &*name.0).filter(|name| !name.is_empty())
}

/// The value of a parameter of a query. Also `None` if there is no memory to read it, which is requested first.
fn parameter<'q>(query: &'q [u8], name: &str) -> Option<Cow<'q, str>> {
    // A byte that is not UTF-8 becomes three bytes.
    Vec::<u8>::new().try_reserve(3 * query.len()).ok()?;
    let found = form_urlencoded::parse(query).find(|(key, _)| key == name);
    found.map(|(_, value)| value).filter(|value| !value.is_empty())
}
