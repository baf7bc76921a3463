//! What can be wrong with a session or a step of it.

use core::fmt;

use crate::arena::OutOfMemory;
use crate::model::ModelError;
use crate::sampling::SamplingError;
use crate::state::{OutOfPages, StateOptions};
use crate::tokenizer::TokenizerError;

/// Why a session cannot be made, or a step of it not be taken.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionError {
    /// A context longer than the model's, or of no positions.
    ContextLength {
        /// Positions asked for.
        n_ctx: usize,
        /// Positions that the model was trained for.
        n_ctx_train: usize,
    },
    /// State of no sequence, or of more pages than can be numbered.
    StateLength {
        /// Sequences asked for.
        n_slots: usize,
        /// Pages asked for.
        n_pages: usize,
    },
    /// A batch longer than the context, or of no tokens.
    BatchLength {
        /// Tokens asked for.
        n_batch: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// An encoder, whose positions all see each other, with batches shorter than the context.
    EncoderBatch {
        /// Tokens asked for.
        n_batch: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// Keys or values that are no whole number of the cache's blocks.
    HeadLength {
        /// Elements of a key or value.
        head_len: usize,
        /// Elements of a block.
        block_len: usize,
    },
    /// Keys or values that are too long for the types of the cache.
    LongVectors {
        /// Elements of a key or value.
        head_len: usize,
        /// The most that these types can have.
        most: usize,
    },
    /// The model's small tables cannot be made.
    Model(ModelError),
    /// The memory that was lent is too small.
    OutOfMemory(OutOfMemory),
    /// The heap is too small.
    OutOfHeap {
        /// Bytes that were asked for.
        needed_bytes: usize,
    },
    /// A batch or prompt of no tokens.
    NoTokens,
    /// An id outside of the vocabulary.
    TokenId {
        /// The id.
        id: u32,
        /// Tokens in the vocabulary.
        n_vocab: usize,
    },
    /// A prompt longer than the context.
    PromptTooLong {
        /// Tokens of the prompt.
        n_tokens: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// Tokens for which no positions are left.
    ContextFull {
        /// Tokens that were to be computed.
        n_tokens: usize,
        /// Positions taken.
        n_past: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// More rows of logits than the session was made for.
    LogitsRows {
        /// Rows asked for.
        n_rows: usize,
        /// Rows that can be.
        n_logits: usize,
    },
    /// A span that cannot be computed.
    Span(SpanError),
    /// More positions than there are pages for.
    Pages(OutOfPages),
    /// The caller broke a batch off.
    Stopped,
    /// No token can be chosen.
    Sampling(SamplingError),
    /// A token's text cannot be had.
    Tokenizer(TokenizerError),
}

/// Why a batch of spans cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanError {
    /// A slot that does not exist.
    Slot {
        /// Its number.
        slot: usize,
        /// How many there are.
        n_slots: usize,
    },
    /// Two spans of one slot.
    SlotTwice {
        /// Its number.
        slot: usize,
    },
    /// A span that begins past the end of its slot, or in an encoder not at the start.
    Position {
        /// Where it begins.
        first_position: usize,
        /// The slot.
        slot: usize,
        /// Positions that the slot holds.
        len: usize,
    },
    /// A position in the middle of a slot, in a model whose recurrent layers are behind it.
    Recurrent {
        /// Where the span begins.
        first_position: usize,
        /// The slot.
        slot: usize,
        /// Positions that the slot holds.
        len: usize,
    },
    /// Embeddings that are no whole number of rows.
    Embeddings {
        /// Their elements.
        len: usize,
        /// Elements of a row.
        n_embd: usize,
    },
    /// Rows of logits that do not ascend, or go past the span.
    Rows {
        /// Tokens of the span.
        n_tokens: usize,
    },
    /// More tokens than a batch can have.
    Batch {
        /// Tokens of all spans.
        n_tokens: usize,
        /// Most tokens of a batch.
        n_batch: usize,
    },
}

impl From<SpanError> for SessionError {
    fn from(error: SpanError) -> Self {
        SessionError::Span(error)
    }
}

impl fmt::Display for SpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpanError::Slot { slot, n_slots } => {
                write!(f, "there is no slot {slot}, only {n_slots} from 0 on")
            }
            SpanError::SlotTwice { slot } => {
                write!(f, "two spans of slot {slot} in one batch, where one can be")
            }
            SpanError::Position { first_position, slot, len } => {
                write!(f, "a span begins at position {first_position} of slot {slot}, which holds {len}")
            }
            SpanError::Recurrent { first_position, slot, len } => write!(
                f,
                "a span begins at position {first_position} of slot {slot}, whose recurrent layers are at {len}: it can begin there or at 0"
            ),
            SpanError::Embeddings { len, n_embd } => {
                write!(f, "embeddings of {len} numbers, which is no multiple of the model's width, {n_embd}")
            }
            SpanError::Rows { n_tokens } => {
                write!(f, "the tokens whose logits are wanted must ascend and be among the span's {n_tokens}")
            }
            SpanError::Batch { n_tokens, n_batch } => {
                write!(f, "a batch of {n_tokens} tokens, where {n_batch} can be")
            }
        }
    }
}

impl core::error::Error for SpanError {}

impl From<SamplingError> for SessionError {
    fn from(error: SamplingError) -> Self {
        SessionError::Sampling(error)
    }
}

impl From<TokenizerError> for SessionError {
    fn from(error: TokenizerError) -> Self {
        SessionError::Tokenizer(error)
    }
}

impl From<ModelError> for SessionError {
    fn from(error: ModelError) -> Self {
        SessionError::Model(error)
    }
}

impl From<OutOfMemory> for SessionError {
    fn from(error: OutOfMemory) -> Self {
        SessionError::OutOfMemory(error)
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::ContextLength { n_ctx, n_ctx_train } => {
                write!(
                    f,
                    "context of {n_ctx} positions, expected 1 to {n_ctx_train}, which the model was trained for"
                )
            }
            SessionError::StateLength { n_slots, n_pages } => {
                write!(
                    f,
                    "{n_slots} slots and {n_pages} pages, expected at least 1 slot and at most {} pages",
                    StateOptions::MAX_PAGES
                )
            }
            SessionError::BatchLength { n_batch, n_ctx } => {
                write!(f, "batch of {n_batch} tokens, expected 1 to {n_ctx}, the length of the context")
            }
            SessionError::EncoderBatch { n_batch, n_ctx } => {
                write!(f, "batch of {n_batch} tokens, expected {n_ctx}: an encoder reads its context at once")
            }
            SessionError::HeadLength { head_len, block_len } => {
                write!(
                    f,
                    "keys or values of {head_len} elements cannot be cached in blocks of {block_len}: expected a \
                     multiple, or another type of cache"
                )
            }
            SessionError::LongVectors { head_len, most } => write!(
                f,
                "keys or values of {head_len} elements cannot be cached in these types: expected at most {most}, or f16, \
                 f32 or q8_0 for both"
            ),
            SessionError::Span(error) => error.fmt(f),
            SessionError::Pages(error) => error.fmt(f),
            SessionError::Stopped => f.write_str("stopped in the middle of a batch"),
            SessionError::Sampling(error) => error.fmt(f),
            SessionError::Tokenizer(error) => error.fmt(f),
            SessionError::Model(error) => error.fmt(f),
            SessionError::OutOfMemory(error) => write!(f, "cache and scratch: {error}"),
            SessionError::OutOfHeap { needed_bytes } => {
                write!(f, "the heap has no {needed_bytes} bytes left")
            }
            SessionError::NoTokens => f.write_str("the prompt is empty, expected at least one token"),
            SessionError::TokenId { id, n_vocab } => {
                write!(f, "token id {id} is not in the vocabulary, expected 0 to {}", n_vocab - 1)
            }
            SessionError::PromptTooLong { n_tokens, n_ctx } => {
                write!(f, "the prompt has {n_tokens} tokens, the context {n_ctx} positions")
            }
            SessionError::ContextFull { n_tokens, n_past, n_ctx } => {
                write!(f, "no room for {n_tokens} more tokens: {n_past} of {n_ctx} positions are taken")
            }
            SessionError::LogitsRows { n_rows, n_logits } => {
                write!(f, "logits of {n_rows} positions asked for, the session was made for {n_logits}")
            }
        }
    }
}

impl core::error::Error for SessionError {}
