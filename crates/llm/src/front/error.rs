//! Why a request could not be answered.

use alloc::string::String;
use core::fmt;

use super::MAX_LOGPROBS;
use grammar::json_schema::SchemaError;
use grammar::{GrammarError, VocabularyError};
use toolcalls::CallsError;

use crate::chat::{ChatError, FamilyNames};
use crate::gguf::GgufError;
use crate::sampling::SamplingError;
use crate::scheduler::{SchedulerError, SubmitError};
use crate::session::SessionError;
use crate::tokenizer::TokenizerError;

/// Why a request could not be answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrontError {
    /// The conversation cannot be turned into a prompt.
    #[error("{0}")]
    Chat(ChatError),
    /// The file has no chat format, or one that cannot be used. A format chosen by name may work.
    #[error("{0}; --template NAME uses another: {FamilyNames}", FamilyNames = FamilyNames)]
    FileTemplate(ChatError),
    /// The vocabulary cannot be used, or cannot spell the prompt.
    #[error("{0}")]
    Tokenizer(TokenizerError),
    /// The sampling settings are invalid.
    #[error("{0}")]
    Sampling(SamplingError),
    /// The grammar for the answer is invalid.
    #[error("{0}")]
    Grammar(GrammarError),
    /// The JSON schema for the answer is invalid, or no answer can satisfy it.
    #[error("{0}")]
    Schema(SchemaError),
    /// A tool must be called, but the request has no such tool.
    #[error(fmt = no_tool)]
    NoTool {
        /// The name of the tool, empty if any tool would do.
        name: String,
    },
    /// The calls of a tool cannot be expressed as a grammar.
    #[error("the tool {name:?}: {error}")]
    Tool {
        /// The tool's number, from 0.
        tool: usize,
        /// Its name.
        name: String,
        /// What is wrong with the tool.
        error: CallsError,
    },
    /// The vocabulary cannot be used with a grammar.
    #[error("{0}")]
    GrammarVocabulary(VocabularyError),
    /// The prompt cannot be computed, or the logits are not numbers.
    #[error("{0}")]
    Session(SessionError),
    /// Texts cannot be scheduled on this runner.
    #[error("{0}")]
    Scheduler(SchedulerError),
    /// The model generates no text.
    #[error("the model is an encoder, which generates no text")]
    Encoder,
    /// The model cannot score texts.
    #[error("the model has no classifier (cls tensors), so that it scores no text: a reranker has one")]
    NoClassifier,
    /// An option that has no meaning for an encoder.
    #[error("the model is an encoder, which computes whole texts: {option} is of no use with it")]
    EncoderOption {
        /// Its name.
        option: &'static str,
    },
    /// More log-probabilities than [`MAX_LOGPROBS`] for each token.
    #[error("log-probabilities of {n_logprobs} tokens were asked for, there can be {MAX_LOGPROBS}", MAX_LOGPROBS = MAX_LOGPROBS)]
    TooManyLogprobs {
        /// Number asked for.
        n_logprobs: usize,
    },
    /// A way of pooling that is not supported.
    #[error(
        "pooling_type {pooling_type} is not computed, expected 0 or 1 (mean), 2 (first token), 3 (last token) or 4 (rank)"
    )]
    Pooling {
        /// Its number in the file.
        pooling_type: u32,
    },
    /// The file's value for pooling is not a number.
    #[error("{0}")]
    Gguf(GgufError),
    /// The queue is full.
    #[error("{n_waiting} requests are waiting, which is as many as can; try again later")]
    QueueFull {
        /// Number of requests that wait.
        n_waiting: usize,
    },
    /// The operation requires that there are no other requests.
    #[error("other requests are being answered; this can be done when they are over")]
    Busy,
    /// More texts at once than there are slots for.
    #[error("{n_texts} texts at once were asked for, there is room for {n_slots}; --parallel makes more")]
    TooManyTexts {
        /// Texts asked for.
        n_texts: usize,
        /// Texts that there is room for.
        n_slots: usize,
    },
    /// An adapter that the model does not have.
    #[error("there is no adapter {id}: the model has {n_adapters}, numbered from 0")]
    NoAdapter {
        /// Its number.
        id: u32,
        /// How many there are.
        n_adapters: usize,
    },
    /// Prompt and answer together are longer than allowed.
    #[error(
        "a prompt of {n_prompt} tokens and an answer of {n_answer} are more than the {n_tokens} that this request may have"
    )]
    ContextLimit {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Tokens of the answer that need room.
        n_answer: usize,
        /// Most tokens of both.
        n_tokens: usize,
    },
    /// The heap has no room for the output, or for the results of that many runs.
    #[error("the heap has no {needed_bytes} bytes for what was asked for; ask for fewer tokens or runs")]
    OutOfHeap {
        /// Bytes that were asked for.
        needed_bytes: usize,
    },
}

fn no_tool(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match name {
        "" => f.write_str("a tool has to be called, but there are no tools"),
        _ => write!(f, "the tool {name:?} has to be called, but is not among the tools"),
    }
}

impl FrontError {
    /// Whether the only problem is a lack of memory, so that the same request may succeed later.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Chat(error) | Self::FileTemplate(error) => error.is_out_of_memory(),
            Self::Schema(error) | Self::Tool { error: CallsError::Schema { error, .. }, .. } => {
                error.is_out_of_memory()
            }
            Self::Grammar(error) | Self::Tool { error: CallsError::Grammar(error), .. } => {
                *error == GrammarError::OutOfMemory
            }
            Self::OutOfHeap { .. }
            | Self::Tokenizer(TokenizerError::OutOfMemory { .. })
            | Self::Sampling(SamplingError::OutOfMemory { .. })
            | Self::Session(
                SessionError::OutOfMemory(_)
                | SessionError::OutOfHeap { .. }
                | SessionError::Sampling(SamplingError::OutOfMemory { .. }),
            ) => true,
            _ => false,
        }
    }
}

impl From<ChatError> for FrontError {
    fn from(error: ChatError) -> Self {
        Self::Chat(error)
    }
}

impl From<GgufError> for FrontError {
    fn from(error: GgufError) -> Self {
        Self::Gguf(error)
    }
}

impl From<TokenizerError> for FrontError {
    fn from(error: TokenizerError) -> Self {
        Self::Tokenizer(error)
    }
}

impl From<SamplingError> for FrontError {
    fn from(error: SamplingError) -> Self {
        Self::Sampling(error)
    }
}

impl From<SessionError> for FrontError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<SchedulerError> for FrontError {
    fn from(error: SchedulerError) -> Self {
        match error {
            SchedulerError::OutOfHeap { needed_bytes } => Self::OutOfHeap { needed_bytes },
            error => Self::Scheduler(error),
        }
    }
}

impl From<SubmitError> for FrontError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::NoTokens => SessionError::NoTokens.into(),
            SubmitError::TokenId { id, n_vocab } => SessionError::TokenId { id, n_vocab }.into(),
            SubmitError::PromptTooLong { n_tokens, n_positions } => {
                SessionError::PromptTooLong { n_tokens, n_ctx: n_positions }.into()
            }
            SubmitError::Encoder => Self::Encoder,
            SubmitError::NoClassifier => Self::NoClassifier,
            SubmitError::QueueFull { n_waiting } => Self::QueueFull { n_waiting },
            SubmitError::OutOfHeap { needed_bytes } => Self::OutOfHeap { needed_bytes },
        }
    }
}
