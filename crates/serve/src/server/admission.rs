//! Decides whether a request is accepted, from its head and the model that it names.

use alloc::vec::Vec;

use llm::quoted::Quoted;

use super::settings::Settings;
use crate::api::route::Route;
use crate::engine::{Engine, ModelInfo};
use crate::error::{ApiError, Status, shortened};
use crate::http::{Head, Sealed};

/// Checks a request's head. The number of its key, if the server requires keys, goes to `key`.
pub(super) fn check(head: &Head, settings: &Settings, key: &mut Option<usize>) -> Result<Route, ApiError> {
    *key = None;
    let route = Route::find(head.method, &head.path)?;
    if !settings.keys.is_empty() && !route.is_public() {
        *key = settings.keys.find(head.bearer.as_deref().unwrap_or_default());
        if key.is_none() {
            let message = "expected the header field `Authorization: Bearer KEY` with a key of this server";
            return Err(ApiError::new(Status::Unauthorized, message).with_code("invalid_api_key"));
        }
    }
    if route == Route::Audit {
        let may_read = match *key {
            Some(key) => settings.keys.all().get(key).is_some_and(|key| key.limits.audit),
            None => settings.admin && !head.has_origin,
        };
        if !may_read {
            let message = "the audit is for keys with the word audit or, without keys, for servers with ferrite.admin=on or --admin";
            return Err(ApiError::new(Status::Forbidden, message).with_code("audit_off"));
        }
    }
    if route.is_admin() && !settings.admin {
        let message = "requests may load and unload models only where the server is told so, by ferrite.admin=on or --admin";
        return Err(ApiError::new(Status::Forbidden, message).with_code("admin_off"));
    }
    // Somebody at a browser may visit any web page, and that page can reach any server on the same machine.
    if route.is_admin() && head.has_origin && settings.keys.is_empty() {
        let message = "web pages may load and unload models only where the server has a key";
        return Err(ApiError::new(Status::Forbidden, message).with_code("admin_off"));
    }
    if route == Route::Receipt && head.has_origin && settings.keys.is_empty() {
        let message = "web pages may read receipts only where the server has a key";
        return Err(ApiError::new(Status::Forbidden, message).with_code("receipts_off"));
    }
    // Also accepts the type that curl sends by default.
    let is_known = |media_type: &str| {
        matches!(media_type, "application/json" | "application/x-www-form-urlencoded" | "text/plain" | "")
            || (media_type.starts_with("application/") && media_type.ends_with("+json"))
    };
    match &head.content_type {
        Some(media_type) if !route.shows() && !is_known(media_type) => {
            let message =
                shortened(format_args!("Content-Type: {media_type} is not known; send application/json"));
            Err(ApiError::new(Status::UnsupportedMediaType, message))
        }
        _ => Ok(route),
    }
}

/// Returns what opens the body of a request and seals that of its answer, if the exchange is to be sealed.
///
/// If a request has no body, nothing shows whether its head is as the client sent it. Its answer is therefore not
/// sealed either. Source: EHBP's SPEC.md, 7.4.
pub(super) fn sealed(head: &Head, settings: &Settings) -> Result<Option<Sealed>, ApiError> {
    let Some(encapsulated) = head.encapsulated_key.as_ref().filter(|_| head.has_body()) else {
        return Ok(None);
    };
    Ok(Some(Sealed::new(settings.opens()?.clone(), *encapsulated, settings.secret()?)))
}

/// Checks that a request whose body must be sealed is sealed.
pub(super) fn check_sealed(route: Route, is_sealed: bool, settings: &Settings) -> Result<(), ApiError> {
    if is_sealed || !settings.sealed_only || !route.has_texts() {
        return Ok(());
    }
    let message = "this server takes encrypted bodies only, with Ehbp-Encapsulated-Key; /.well-known/hpke-keys has its key";
    Err(ApiError::new(Status::Forbidden, message).with_code("encryption_required"))
}

/// The models that are loaded.
///
/// # Errors
/// If there is no memory for the list.
pub(super) fn models<E: Engine>(engine: &E) -> Result<Vec<ModelInfo>, ApiError> {
    let (mut models, mut reserved) = (Vec::new(), Ok(()));
    engine.each_model(&mut |model| match models.try_reserve(1) {
        Ok(()) => models.push(model),
        refused => reserved = refused,
    });
    reserved.map(|()| models).map_err(|_| ApiError::out_of_memory())
}

/// Checks that the model of this name is still the one with number `id`, as when the request began. Otherwise another
/// model in its place would answer the rest of the request.
pub(super) fn check_model(engine: &impl Engine, name: &str, id: u64) -> Result<(), ApiError> {
    if engine.id(Some(name)).is_ok_and(|now| now == id) {
        return Ok(());
    }
    let message = "the model was unloaded or replaced before all of this was answered; ask again";
    Err(ApiError::new(Status::ServiceUnavailable, message))
}

/// The model of this name. If only one model is loaded, it answers to any name, because clients made for another
/// server send other names.
pub(super) fn chosen<'m>(models: &'m [ModelInfo], name: Option<&str>) -> Result<&'m ModelInfo, ApiError> {
    match (models, name) {
        ([], _) => {
            let message = "no model is loaded";
            Err(ApiError::new(Status::ServiceUnavailable, message).with_code("no_model"))
        }
        ([only], _) => Ok(only),
        ([first, ..], None) => Ok(first),
        (models, Some(name)) => models.iter().find(|model| model.name == name).ok_or_else(|| {
            let message = shortened(format_args!(
                "there is no model {}; GET /v1/models lists those that are loaded",
                Quoted(name)
            ));
            let error = ApiError::new(Status::NotFound, message).with_code("model_not_found");
            ApiError { param: Some("model".into()), ..error }
        }),
    }
}
