//! Which paths there are.

use crate::error::{ApiError, Status};
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
    /// The models that are loaded.
    Models,
    /// Text is generated.
    Generate(Shape),
    /// Texts become vectors.
    Embeddings,
    /// A text becomes ids.
    Tokenize,
    /// Ids become a text.
    Detokenize,
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
}

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
    ("/v1/models", Route::Models),
    ("/models", Route::Models),
    ("/v1/chat/completions", Route::Generate(Shape::Chat)),
    ("/chat/completions", Route::Generate(Shape::Chat)),
    ("/v1/completions", Route::Generate(Shape::Completion)),
    ("/completions", Route::Generate(Shape::Native)),
    ("/completion", Route::Generate(Shape::Native)),
    ("/v1/embeddings", Route::Embeddings),
    ("/embeddings", Route::Embeddings),
    ("/tokenize", Route::Tokenize),
    ("/detokenize", Route::Detokenize),
];

impl Route {
    /// That of a path.
    ///
    /// # Errors
    /// If there is no such path, or it does not have the method.
    pub fn find(method: Method, path: &str) -> Result<Self, ApiError> {
        let Some(&(_, route)) = ROUTES.iter().find(|(known, _)| *known == path) else {
            let message = alloc::format!(
                "there is nothing at {path}; POST /v1/chat/completions answers a conversation"
            );
            return Err(ApiError::new(Status::NotFound, message));
        };
        let methods = if route.shows() { SHOWS } else { DOES };
        match method {
            Method::Get | Method::Head if route.shows() => Ok(route),
            Method::Post if !route.shows() => Ok(route),
            Method::Options => Ok(Self::Preflight(methods)),
            _ => {
                let message = alloc::format!("{path} has the methods {methods}");
                let error = ApiError::new(Status::MethodNotAllowed, message);
                Err(ApiError { allow: Some(methods), ..error })
            }
        }
    }

    /// Whether it only shows something, and has no body to read.
    pub fn shows(self) -> bool {
        matches!(self, Self::Page | Self::Health | Self::Metrics | Self::Models)
    }

    /// The shape of the text that is generated.
    ///
    /// # Errors
    /// If none is.
    pub fn shape(self) -> Result<Shape, ApiError> {
        match self {
            Self::Generate(shape) => Ok(shape),
            _ => Err(ApiError::new(Status::NotFound, "no text is generated here")),
        }
    }

    /// Whether it needs no key.
    pub fn is_public(self) -> bool {
        matches!(self, Self::Page | Self::Health | Self::Preflight(_))
    }
}
