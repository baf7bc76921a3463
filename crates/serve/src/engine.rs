//! [`Engine`]: what the server needs from whatever computes the answers.

use alloc::format;
use alloc::string::String;

use llm::chat::Message;
use llm::front::embedding::EmbeddingWish;
use llm::front::{CallsError, ChatFormat, FrontError, Prompt, Report, Request, Responder};
use llm::sampling::SamplingError;
use llm::session::SessionError;
use llm::tokenizer::Tokenizer;
use trust::receipt;

use crate::error::{ApiError, Status, shortened};

/// The name and the properties of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The name by which requests ask for it.
    pub name: String,
    /// The path it was loaded from.
    pub path: String,
    /// Number of positions that a text may have.
    pub n_ctx: usize,
    /// Number of positions that it was trained on.
    pub n_ctx_train: usize,
    /// Number of tokens in its vocabulary.
    pub n_vocab: usize,
    /// Number of elements of a hidden state.
    pub n_embd: usize,
    /// Number of elements of its weights.
    pub n_params: u64,
    /// Size of its weights in bytes.
    pub size_bytes: u64,
    /// Number of texts that can be computed together.
    pub n_slots: usize,
}

impl ModelInfo {
    /// Describes the model of a responder.
    pub fn of(name: &str, path: &str, responder: &Responder<'_>) -> Self {
        let config = responder.runner().model().config();
        let state = responder.runner().options().state;
        let tensors = responder.prompter().gguf().tensors();
        Self {
            name: name.into(),
            path: path.into(),
            n_ctx: state.n_ctx,
            n_ctx_train: config.n_ctx_train,
            n_vocab: config.n_vocab,
            n_embd: config.n_embd,
            n_params: tensors.iter().map(|tensor| tensor.n_elements()).sum(),
            size_bytes: tensors.iter().map(|tensor| tensor.size_bytes).sum(),
            n_slots: state.n_slots,
        }
    }
}

/// The load and the capacity of all models together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineStatus {
    /// Number of texts that are being computed.
    pub n_running: usize,
    /// Number of texts that wait for their turn.
    pub n_waiting: usize,
    /// Number of pages of positions.
    pub n_pages: usize,
    /// Number of pages that running texts hold.
    pub n_used_pages: usize,
    /// Number of texts whose beginning was in the cache.
    pub n_prefix_hits: usize,
    /// How many times a text gave up its place for others.
    pub n_preempted: usize,
    /// Bytes available for models and texts; 0 if there is no limit.
    pub memory_bytes: u64,
    /// How many of these bytes are taken.
    pub memory_used_bytes: u64,
}

/// Why a model does not answer.
#[derive(Debug, Clone, PartialEq)]
pub enum EngineError {
    /// There is no model with this name.
    NoModel,
    /// The request cannot be answered.
    Front(FrontError),
    /// Any other reason, in one line.
    Other(String),
}

impl From<FrontError> for EngineError {
    fn from(error: FrontError) -> Self {
        Self::Front(error)
    }
}

impl From<EngineError> for ApiError {
    /// The refusal that a client gets for a request that the engine does not answer.
    fn from(error: EngineError) -> Self {
        let front = match error {
            EngineError::NoModel => {
                return Self::new(Status::NotFound, "no such model is loaded").with_code("model_not_found");
            }
            EngineError::Other(message) => return Self::new(Status::InternalServerError, message),
            EngineError::Front(error) => error,
        };
        let message = shortened(&front);
        if front.is_out_of_memory() {
            return Self::new(Status::ServiceUnavailable, message);
        }
        match front {
            FrontError::QueueFull { .. } => {
                Self::new(Status::TooManyRequests, message).with_code("rate_limit_exceeded")
            }
            FrontError::Busy => Self::new(Status::ServiceUnavailable, message),
            FrontError::Session(SessionError::PromptTooLong { .. }) => {
                Self::bad(message).with_code("context_length_exceeded")
            }
            FrontError::ContextLimit { .. } => Self::bad(message).with_code("context_length_exceeded"),
            FrontError::Sampling(SamplingError::BiasedToken { .. }) => Self::field("logit_bias", message),
            FrontError::Grammar(_) => Self::field("grammar", message),
            FrontError::Schema(_) => Self::field("json_schema", message),
            FrontError::NoTool { .. } => Self::field("tool_choice", message),
            FrontError::Tool { tool, error: CallsError::Name { .. }, .. } => {
                Self::field(format!("tools[{tool}].function.name"), message)
            }
            FrontError::Tool { tool, .. } => {
                Self::field(format!("tools[{tool}].function.parameters"), message)
            }
            FrontError::Sampling(SamplingError::Constraint(_))
            | FrontError::Session(SessionError::Sampling(SamplingError::Constraint(_)))
            | FrontError::GrammarVocabulary(_) => Self::bad(message),
            FrontError::NoAdapter { .. } => Self::field("lora", message),
            FrontError::Session(SessionError::NoTokens | SessionError::TokenId { .. })
            | FrontError::Chat(_)
            | FrontError::FileTemplate(_)
            | FrontError::Tokenizer(_)
            | FrontError::Encoder
            | FrontError::NoClassifier
            | FrontError::Pooling { .. }
            | FrontError::EncoderOption { .. } => Self::bad(message),
            _ => Self::new(Status::InternalServerError, message),
        }
    }
}

/// A change of the loaded models that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Load the model at this path. It replaces a model of the same name.
    Load(String),
    /// Unload the model of this name, once it has answered its requests.
    Unload(String),
}

/// Models that answer requests.
pub trait Engine {
    /// Identifies a request from its submission to its end.
    type Ticket: Copy + PartialEq;

    /// Calls `tell` for each loaded model. The first is the one that answers requests which name no model.
    fn each_model(&self, tell: &mut dyn FnMut(ModelInfo));

    /// Calls `tell` with the name and the path of each model that could be loaded, if these are known.
    fn each_file(&mut self, _tell: &mut dyn FnMut(&str, &str)) {}

    /// The current load and capacity.
    fn status(&self) -> EngineStatus;

    /// The number of the model of this name, or of the first model. No other model ever has that number, whatever its name.
    ///
    /// # Errors
    /// [`EngineError::NoModel`].
    fn id(&self, model: Option<&str>) -> Result<u64, EngineError>;

    /// Submits a request to the model of this name, or to the first model.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn submit(&mut self, model: Option<&str>, request: Request<'_>) -> Result<Self::Ticket, EngineError>;

    /// Submits a text to be turned into a vector by the model of this name, or by the first model.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn submit_embedding(
        &mut self,
        model: Option<&str>,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
    ) -> Result<Self::Ticket, EngineError>;

    /// The description of the model of this name, or of the first model, for receipts.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn record(&mut self, model: Option<&str>) -> Result<receipt::Model<'static>, EngineError>;

    /// Ends a request; no more events of it are reported.
    fn cancel(&mut self, ticket: Self::Ticket) -> Option<Report>;

    /// The responder of the model of this name, or of the first model.
    ///
    /// # Errors
    /// [`EngineError::NoModel`].
    fn responder(&self, model: Option<&str>) -> Result<&Responder<'_>, EngineError>;

    /// The vocabulary of the model of this name, or of the first.
    ///
    /// # Errors
    /// [`EngineError::NoModel`], or why the vocabulary cannot be used.
    fn tokenizer(&self, model: Option<&str>) -> Result<&Tokenizer<'_>, EngineError> {
        Ok(self.responder(model)?.prompter().tokenizer().map_err(FrontError::from)?)
    }

    /// The prompt that the model of this name, or the first model, gets for a conversation.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn render(
        &mut self,
        model: Option<&str>,
        messages: &[Message<'_>],
        format: &ChatFormat<'_>,
    ) -> Result<String, EngineError>;
}

#[cfg(test)]
mod tests {
    use grammar::GrammarError;
    use grammar::json_schema::SchemaError;

    use super::*;

    #[test]
    fn what_has_no_room_now_may_be_asked_again() {
        let sampling = SamplingError::OutOfMemory { needed_bytes: 1 };
        let schema = SchemaError::Grammar(GrammarError::OutOfMemory);
        let of_tool = CallsError::Schema { tool: 1, error: schema.clone() };
        let fronts = [
            FrontError::Sampling(sampling),
            FrontError::Session(SessionError::Sampling(sampling)),
            FrontError::Schema(schema),
            FrontError::Tool { tool: 1, name: "a".into(), error: of_tool },
        ];
        for front in fronts {
            let refusal = ApiError::from(EngineError::Front(front));
            assert_eq!(refusal.status, Status::ServiceUnavailable, "{}", refusal.message);
        }
    }
}
