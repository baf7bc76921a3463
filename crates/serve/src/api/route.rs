//! The paths of the API.

use crate::error::{ApiError, Status, shortened};
use crate::http::Method;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The web page for people.
    Page,
    /// Whether the server is running.
    Health,
    /// The server's figures.
    Metrics,
    /// The log of who asked for what.
    Audit,
    /// The models that are loaded.
    Models,
    /// The loaded models, and those that could be loaded.
    Files,
    /// The properties of a model.
    Props,
    /// The slots of a model.
    Slots,
    /// Generate text.
    Generate(Shape),
    /// Turn texts into vectors.
    Embeddings,
    /// Rank documents.
    Rerank,
    /// Turn a text into ids.
    Tokenize,
    /// Turn ids into a text.
    Detokenize,
    /// Count the tokens of a conversation.
    CountTokens,
    /// Turn a conversation into the prompt for a model.
    ApplyTemplate,
    /// The adapters of a model.
    Adapters,
    /// The receipt of an answer.
    Receipt,
    /// The identity of the notary that signs receipts.
    Attestation,
    /// The key that bodies are sealed to.
    HpkeKeys,
    /// Load a model.
    Load,
    /// Unload a model.
    Unload,
    /// Which methods a path has, for browsers.
    Preflight(&'static str),
}

/// The shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's completions.
    Completion,
    /// llama.cpp's completion.
    Native,
    /// The same, for a gap that is to be filled.
    Infill,
    /// Anthropic's messages.
    Messages,
    /// OpenAI's responses.
    Responses,
}

impl Shape {
    /// Whether the request is a conversation.
    pub fn is_chat(self) -> bool {
        matches!(self, Self::Chat | Self::Messages | Self::Responses)
    }
}

/// The prefix of the paths of Anthropic's API.
pub const ANTHROPIC: &str = "/v1/messages";

/// The prefix of the paths of receipts.
pub const RECEIPTS: &str = "/v1/receipts/";

/// Methods of paths that only show something.
const SHOWS: &str = "GET, HEAD, OPTIONS";
/// Methods of paths that do something.
const DOES: &str = "POST, OPTIONS";

const ROUTES: &[(&str, Route)] = &[
    ("/", Route::Page),
    ("/index.html", Route::Page),
    ("/health", Route::Health),
    ("/v1/health", Route::Health),
    ("/metrics", Route::Metrics),
    ("/v1/audit", Route::Audit),
    ("/v1/models", Route::Models),
    ("/models", Route::Files),
    ("/models/load", Route::Load),
    ("/models/unload", Route::Unload),
    ("/props", Route::Props),
    ("/slots", Route::Slots),
    ("/lora-adapters", Route::Adapters),
    ("/v1/attestation", Route::Attestation),
    ("/.well-known/hpke-keys", Route::HpkeKeys),
    ("/v1/chat/completions", Route::Generate(Shape::Chat)),
    ("/chat/completions", Route::Generate(Shape::Chat)),
    ("/v1/responses", Route::Generate(Shape::Responses)),
    ("/responses", Route::Generate(Shape::Responses)),
    ("/v1/messages", Route::Generate(Shape::Messages)),
    ("/v1/messages/count_tokens", Route::CountTokens),
    ("/v1/completions", Route::Generate(Shape::Completion)),
    ("/completions", Route::Generate(Shape::Native)),
    ("/completion", Route::Generate(Shape::Native)),
    ("/infill", Route::Generate(Shape::Infill)),
    ("/v1/embeddings", Route::Embeddings),
    ("/embeddings", Route::Embeddings),
    ("/v1/rerank", Route::Rerank),
    ("/v1/reranking", Route::Rerank),
    ("/rerank", Route::Rerank),
    ("/reranking", Route::Rerank),
    ("/tokenize", Route::Tokenize),
    ("/detokenize", Route::Detokenize),
    ("/apply-template", Route::ApplyTemplate),
];

impl Route {
    /// The route of a path.
    ///
    /// # Errors
    /// If there is no such path, or it does not have the method.
    pub fn find(method: Method, path: &str) -> Result<Self, ApiError> {
        let receipt = path.starts_with(RECEIPTS).then_some(&("", Self::Receipt));
        let Some(&(_, route)) = ROUTES.iter().find(|(known, _)| *known == path).or(receipt) else {
            let message = shortened(format_args!(
                "there is nothing at {path}; POST /v1/chat/completions answers a conversation"
            ));
            return Err(ApiError::new(Status::NotFound, message));
        };
        let methods = if route.shows() { SHOWS } else { DOES };
        match method {
            Method::Get | Method::Head if route.shows() => Ok(route),
            Method::Post if !route.shows() => Ok(route),
            Method::Options => Ok(Self::Preflight(methods)),
            _ => {
                let message = shortened(format_args!("{path} has the methods {methods}"));
                let error = ApiError::new(Status::MethodNotAllowed, message);
                Err(ApiError { allow: Some(methods), ..error })
            }
        }
    }

    /// Whether it only shows something: its parameters are in the query, and there is no body to read.
    pub fn shows(self) -> bool {
        use Route::{
            Adapters, Attestation, Audit, Files, Health, HpkeKeys, Metrics, Models, Page, Props, Receipt,
            Slots,
        };
        matches!(
            self,
            Page | Adapters
                | Attestation
                | Audit
                | Health
                | HpkeKeys
                | Metrics
                | Models
                | Files
                | Props
                | Receipt
                | Slots
        )
    }

    /// Whether it needs a model to compute something.
    pub fn computes(self) -> bool {
        matches!(self, Self::Generate(_) | Self::Embeddings | Self::Rerank)
    }

    /// Whether clients' texts are in its request or answer, or in the requests of its page.
    pub fn has_texts(self) -> bool {
        use Route::{ApplyTemplate, CountTokens, Detokenize, Page, Receipt, Tokenize};
        self.computes()
            || matches!(self, Tokenize | Detokenize | CountTokens | ApplyTemplate | Receipt | Page)
    }

    /// Whether it changes the server for others.
    pub fn is_admin(self) -> bool {
        matches!(self, Self::Load | Self::Unload)
    }

    /// Whether it needs no key.
    pub fn is_public(self) -> bool {
        matches!(self, Self::Page | Self::Health | Self::HpkeKeys | Self::Preflight(_))
    }
}
