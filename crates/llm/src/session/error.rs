//! Errors of a session and of its steps.

use crate::arena::OutOfMemory;
use crate::model::ModelError;
use crate::sampling::SamplingError;
use crate::state::{OutOfPages, StateOptions};
use crate::tokenizer::TokenizerError;

/// Why a session cannot be made, or a step of it cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SessionError {
    /// A context that is longer than the model's, or empty.
    #[error("context of {n_ctx} positions, expected 1 to {n_ctx_train}, which the model was trained for")]
    ContextLength {
        /// Positions requested.
        n_ctx: usize,
        /// Positions that the model was trained for.
        n_ctx_train: usize,
    },
    /// State for no sequence, or with more pages than can be numbered.
    #[error(
        "{n_slots} slots and {n_pages} pages, expected at least 1 slot and at most {} pages",
        StateOptions::MAX_PAGES
    )]
    StateLength {
        /// Sequences requested.
        n_slots: usize,
        /// Pages requested.
        n_pages: usize,
    },
    /// A batch that is longer than the context, or empty.
    #[error("batch of {n_batch} tokens, expected 1 to {n_ctx}, the length of the context")]
    BatchLength {
        /// Tokens requested.
        n_batch: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// An encoder with batches shorter than the context. All positions of an encoder see each other, so a text must be
    /// one batch.
    #[error("batch of {n_batch} tokens, expected {n_ctx}: an encoder reads its context at once")]
    EncoderBatch {
        /// Tokens requested.
        n_batch: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// Keys or values whose length is not a multiple of the block length of the cache.
    #[error(
        "keys or values of {head_len} elements cannot be cached in blocks of {block_len}: expected a \
                     multiple, or another type of cache"
    )]
    HeadLength {
        /// Elements of a key or value.
        head_len: usize,
        /// Elements of a block.
        block_len: usize,
    },
    /// Keys or values that are too long for the types of the cache.
    #[error(
        "keys or values of {head_len} elements cannot be cached in these types: expected at most {most}, or f16, \
                 f32 or q8_0 for both"
    )]
    LongVectors {
        /// Elements of a key or value.
        head_len: usize,
        /// Most elements that these types allow.
        most: usize,
    },
    /// The model's small tables cannot be made.
    #[error("{0}")]
    Model(ModelError),
    /// The memory that the caller lent is too small.
    #[error("cache and scratch: {0}")]
    OutOfMemory(OutOfMemory),
    /// The heap is too small.
    #[error("the heap has no {needed_bytes} bytes left")]
    OutOfHeap {
        /// Bytes requested.
        needed_bytes: usize,
    },
    /// An empty batch or prompt.
    #[error("the prompt is empty, expected at least one token")]
    NoTokens,
    /// An id outside of the vocabulary.
    #[error("token id {id} is not in the vocabulary, expected 0 to {}", .n_vocab - 1)]
    TokenId {
        /// The id.
        id: u32,
        /// Tokens in the vocabulary.
        n_vocab: usize,
    },
    /// A prompt longer than the context.
    #[error("the prompt has {n_tokens} tokens, the context {n_ctx} positions")]
    PromptTooLong {
        /// Tokens of the prompt.
        n_tokens: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// More tokens than there are positions left.
    #[error("no room for {n_tokens} more tokens: {n_past} of {n_ctx} positions are taken")]
    ContextFull {
        /// Tokens that were to be computed.
        n_tokens: usize,
        /// Positions taken.
        n_past: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// More rows of logits than the session was made for.
    #[error("logits of {n_rows} positions asked for, the session was made for {n_logits}")]
    LogitsRows {
        /// Rows requested.
        n_rows: usize,
        /// Most rows of logits.
        n_logits: usize,
    },
    /// A span that cannot be computed.
    #[error("{0}")]
    Span(SpanError),
    /// More positions than there are pages for.
    #[error("{0}")]
    Pages(OutOfPages),
    /// The caller broke a batch off.
    #[error("stopped in the middle of a batch")]
    Stopped,
    /// No token can be chosen.
    #[error("{0}")]
    Sampling(SamplingError),
    /// A token's text cannot be determined.
    #[error("{0}")]
    Tokenizer(TokenizerError),
}

/// Why a batch of spans cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// A slot that does not exist.
    #[error("there is no slot {slot}, only {n_slots} from 0 on")]
    Slot {
        /// Its number.
        slot: usize,
        /// How many there are.
        n_slots: usize,
    },
    /// Two spans of one slot.
    #[error("two spans of slot {slot} in one batch, where one can be")]
    SlotTwice {
        /// Its number.
        slot: usize,
    },
    /// A span that begins past the end of its slot or, in an encoder, not at the start.
    #[error("a span begins at position {first_position} of slot {slot}, which holds {len}")]
    Position {
        /// Where it begins.
        first_position: usize,
        /// The slot.
        slot: usize,
        /// Positions that the slot holds.
        len: usize,
    },
    /// A span that begins in the middle of a slot, in a model whose recurrent layers have already moved past that
    /// position.
    #[error(
        "a span begins at position {first_position} of slot {slot}, whose recurrent layers are at {len}: it can begin there or at 0"
    )]
    Recurrent {
        /// Where the span begins.
        first_position: usize,
        /// The slot.
        slot: usize,
        /// Positions that the slot holds.
        len: usize,
    },
    /// Embeddings whose length is not a multiple of the row length.
    #[error("embeddings of {len} numbers, which is no multiple of the model's width, {n_embd}")]
    Embeddings {
        /// Elements given.
        len: usize,
        /// Elements of a row.
        n_embd: usize,
    },
    /// Requested rows of logits that do not ascend, or lie outside of the span.
    #[error("the tokens whose logits are wanted must ascend and be among the span's {n_tokens}")]
    Rows {
        /// Tokens of the span.
        n_tokens: usize,
    },
    /// More tokens than a batch can have.
    #[error("a batch of {n_tokens} tokens, where {n_batch} can be")]
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
