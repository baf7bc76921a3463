//! Which paths there are.

use crate::error::{ApiError, Status, shortened};
use crate::http::Method;

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A page for people.
    Page,
    /// Whether the server is there.
    Health,
    /// Its figures.
    Metrics,
    /// Who has asked for what.
    Audit,
    /// The models that are loaded.
    Models,
    /// Those, and the ones that could be.
    Files,
    /// What a model is asked by, and how.
    Props,
    /// The places for its texts.
    Slots,
    /// Text is generated.
    Generate(Shape),
    /// Texts become vectors.
    Embeddings,
    /// Documents are ranked.
    Rerank,
    /// A text becomes ids.
    Tokenize,
    /// Ids become a text.
    Detokenize,
    /// The tokens of a conversation are counted.
    CountTokens,
    /// A conversation becomes the text that a model is prompted with.
    ApplyTemplate,
    /// The adapters of a model.
    Adapters,
    /// The receipt of an answer.
    Receipt,
    /// Who signs receipts.
    Attestation,
    /// The key that bodies are sealed to.
    HpkeKeys,
    /// A model is loaded.
    Load,
    /// A model is unloaded.
    Unload,
    /// What can be asked of a path, for browsers.
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
    /// The same, of a gap that is filled.
    Infill,
    /// Anthropic's messages.
    Messages,
    /// OpenAI's responses.
    Responses,
}

impl Shape {
    /// Whether a conversation is answered.
    pub fn is_chat(self) -> bool {
        matches!(self, Self::Chat | Self::Messages | Self::Responses)
    }
}

/// What the paths of Anthropic's API begin with.
pub const ANTHROPIC: &str = "/v1/messages";

/// What the paths of receipts begin with.
pub const RECEIPTS: &str = "/v1/receipts/";

/// Methods of paths that show something.
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
    /// That of a path.
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

    /// Whether it only shows something: what is asked is in the query, and there is no body to read.
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

    /// Whether a model computes for it.
    pub fn computes(self) -> bool {
        matches!(self, Self::Generate(_) | Self::Embeddings | Self::Rerank)
    }

    /// Whether clients' texts are in what is asked or answered, or in what the page asks.
    pub fn has_texts(self) -> bool {
        use Route::{ApplyTemplate, CountTokens, Detokenize, Page, Receipt, Tokenize};
        self.computes()
            || matches!(self, Tokenize | Detokenize | CountTokens | ApplyTemplate | Receipt | Page)
    }

    /// Whether it changes what is there for others.
    pub fn is_admin(self) -> bool {
        matches!(self, Self::Load | Self::Unload)
    }

    /// Whether it needs no key.
    pub fn is_public(self) -> bool {
        matches!(self, Self::Page | Self::Health | Self::HpkeKeys | Self::Preflight(_))
    }
}
