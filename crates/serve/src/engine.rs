//! [`Engine`]: what a server needs of what computes.

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

/// What a model is called, and what can be asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The name by which requests ask for it.
    pub name: String,
    /// Where it comes from.
    pub path: String,
    /// Positions of a text.
    pub n_ctx: usize,
    /// Positions that it was trained on.
    pub n_ctx_train: usize,
    /// Tokens of its vocabulary.
    pub n_vocab: usize,
    /// Elements of a hidden state.
    pub n_embd: usize,
    /// Elements of its weights.
    pub n_params: u64,
    /// Bytes of its weights.
    pub size_bytes: u64,
    /// Texts that can be computed together.
    pub n_slots: usize,
}

impl ModelInfo {
    /// That of the model of a responder.
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

/// How much there is to do, and what room there is, of all models together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineStatus {
    /// Texts that are being computed.
    pub n_running: usize,
    /// Texts that wait for their turn.
    pub n_waiting: usize,
    /// Pages of positions.
    pub n_pages: usize,
    /// Those that running texts hold.
    pub n_used_pages: usize,
    /// Texts whose beginning was known.
    pub n_prefix_hits: usize,
    /// Times that a text made room for others.
    pub n_preempted: usize,
    /// Bytes for models and texts; 0 where there is no limit.
    pub memory_bytes: u64,
    /// Bytes of them that are taken.
    pub memory_used_bytes: u64,
}

/// Why a model does not answer.
#[derive(Debug, Clone, PartialEq)]
pub enum EngineError {
    /// There is none of this name.
    NoModel,
    /// The request cannot be answered.
    Front(FrontError),
    /// Something else, in a line.
    Other(String),
}

impl From<FrontError> for EngineError {
    fn from(error: FrontError) -> Self {
        Self::Front(error)
    }
}

impl From<EngineError> for ApiError {
    /// What a request is refused with that the engine does not answer.
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

/// What a client wants done with the models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The one at this path is to be loaded, in the place of one of the same name.
    Load(String),
    /// The one of this name is to be unloaded, when it has answered what it was asked.
    Unload(String),
}

/// Models that answer requests.
pub trait Engine {
    /// Names a request from its submission to its end.
    type Ticket: Copy + PartialEq;

    /// Tells of each model that is loaded, first of the one that answers who names none.
    fn each_model(&self, tell: &mut dyn FnMut(ModelInfo));

    /// Tells the name and the path of each model that could be loaded, as far as that is known.
    fn each_file(&mut self, _tell: &mut dyn FnMut(&str, &str)) {}

    /// How much there is to do.
    fn status(&self) -> EngineStatus;

    /// The number of the model of this name, or of the first: no other one has it, or gets it, whatever it is called.
    ///
    /// # Errors
    /// [`EngineError::NoModel`].
    fn id(&self, model: Option<&str>) -> Result<u64, EngineError>;

    /// Takes a request for the model of this name, or for the first.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn submit(&mut self, model: Option<&str>, request: Request<'_>) -> Result<Self::Ticket, EngineError>;

    /// Takes a text that the model of this name, or the first, is to make a vector of.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn submit_embedding(
        &mut self,
        model: Option<&str>,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
    ) -> Result<Self::Ticket, EngineError>;

    /// What a receipt says of the model of this name, or of the first.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn record(&mut self, model: Option<&str>) -> Result<receipt::Model<'static>, EngineError>;

    /// Ends a request, of which nothing more is told.
    fn cancel(&mut self, ticket: Self::Ticket) -> Option<Report>;

    /// What answers for the model of this name, or for the first.
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

    /// A conversation as the text that the model of this name, or the first, is prompted with.
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
