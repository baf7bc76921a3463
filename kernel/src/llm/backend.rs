//! The interface of inference: what the shell can ask for.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::{
    chat::{Dialogue, Forgotten},
    kv_cache::KvType,
    parallel::Workers,
    sampling::SamplingConfig,
    session::Speculation,
    simd::Kernels,
    tokenizer::EncodeOptions,
};

use super::{BackendError, Catalog, ModelFile, Statistics};
use crate::{memory::pool::Pool, offload::Offload, sha256::Compress, storage::Disks};

/// Most tokens that are guessed at a time: sessions have room for as many rows of logits, and one.
pub const MAX_SPECULATED: usize = 8;

/// What a backend is built on. Everything is a value or a function, so that a test can make one up.
pub struct Platform {
    /// Where models are.
    pub disks: Disks,
    /// Memory for weights and inference.
    pub pool: &'static Pool,
    /// Microseconds since some moment in the past; never goes back.
    pub clock_us: fn() -> u64,
    /// Instructions that this core has retired, `None` where the CPU does not count them.
    pub instructions_retired: fn() -> Option<u64>,
    /// The inner loops that suit this CPU.
    pub kernels: &'static Kernels,
    /// The compression function of SHA-256 that suits this CPU.
    pub sha256: Compress,
    /// The cores that compute.
    pub workers: &'static dyn Workers,
    /// A device that may compute instead of the CPU.
    pub offload: Option<Box<dyn Offload>>,
}

/// Loads models and runs them. One model is loaded at a time.
///
/// The calls that take long, [`load_model_with`](Self::load_model_with) and
/// [`infer_streaming`](Self::infer_streaming), report to a callback that can end them; the short forms
/// beside them run to the end.
pub trait InferenceBackend: Send {
    /// What this backend is called.
    fn name(&self) -> &'static str;

    /// The models that there are.
    fn catalog(&mut self) -> &mut Catalog;

    /// Loads the model with this path; a model that is loaded is unloaded first, though only after
    /// the new one's header has been found sound and its memory sufficient. Without `n_ctx` the
    /// context is what the model has and the memory allows, up to [`DEFAULT_N_CTX`].
    ///
    /// # Errors
    /// If there is no such model, it is broken, it does not fit the memory or have this context
    /// length, its disk fails, or `progress` breaks off.
    fn load_model_with(
        &mut self,
        path: &str,
        n_ctx: Option<usize>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), BackendError>;

    /// Loads the model with this path.
    ///
    /// # Errors
    /// As [`load_model_with`](Self::load_model_with).
    fn load_model(&mut self, path: &str) -> Result<(), BackendError> {
        self.load_model_with(path, None, &mut |_| ControlFlow::Continue(()))
    }

    /// Gives the memory of the loaded model back.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`].
    fn unload(&mut self) -> Result<(), BackendError>;

    /// True while a model is loaded.
    fn is_loaded(&self) -> bool;

    /// Facts about the loaded model.
    fn model_metadata(&self) -> Option<&ModelMetadata>;

    /// Sets how tokens are chosen from now on; greedy until set.
    ///
    /// # Errors
    /// [`BackendError::Sampling`] if a parameter is out of its range.
    fn set_sampling_config(&mut self, config: SamplingConfig) -> Result<(), BackendError>;

    /// Sets the texts that end generation from now on; none until set.
    fn set_stop_strings(&mut self, stop: Vec<String>);

    /// Gives the loaded model another context length.
    ///
    /// # Errors
    /// If no model is loaded, it cannot have this length or the memory does not suffice for it; the
    /// model keeps the length it had.
    fn set_context_length(&mut self, n_ctx: usize) -> Result<(), BackendError>;

    /// Sets the number format of cached keys and values, of the loaded model and of those loaded from now
    /// on; F16 until set. The context starts empty.
    ///
    /// # Errors
    /// If the memory does not suffice for it; the format stays what it was.
    fn set_kv_type(&mut self, kv_type: KvType) -> Result<(), BackendError>;

    /// Sets how many tokens are guessed, and computed together, from what followed the same words before:
    /// none until set, at most [`MAX_SPECULATED`]. The text stays the same.
    fn set_speculation(&mut self, n_speculated: usize);

    /// Turns on, or off, a report to the log: weight magnitudes at load, the logits' range at each
    /// step.
    fn set_verbose(&mut self, verbose: bool);

    /// Continues `prompt` by up to `max_tokens` tokens, starting from an empty context. `on_text` gets
    /// the text of each token, as far as it is whole characters, and may end the inference. While the prompt is
    /// computed it gets empty texts, a few in each layer of each batch.
    ///
    /// # Errors
    /// If no model is loaded, the prompt is empty or does not fit the context, or the logits are
    /// not numbers.
    fn infer_streaming(
        &mut self,
        prompt: &str,
        max_tokens: usize,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<InferenceResult, BackendError>;

    /// Continues `prompt` by up to `max_tokens` tokens.
    ///
    /// # Errors
    /// As [`infer_streaming`](Self::infer_streaming).
    fn infer(&mut self, prompt: &str, max_tokens: usize) -> Result<InferenceResult, BackendError> {
        self.infer_streaming(prompt, max_tokens, &mut |_| ControlFlow::Continue(()))
    }

    /// Makes the chat format of this name, or else the one that the model's file brings, ready for
    /// [`chat_streaming`](Self::chat_streaming), so that one that cannot be used is refused before anything
    /// is said.
    ///
    /// # Errors
    /// If no model is loaded, the file brings no format, there is none of this name, or it is broken.
    fn prepare_chat(&mut self, template: Option<&str>) -> Result<(), BackendError>;

    /// Continues a dialogue in a chat format as [`infer_streaming`](Self::infer_streaming) continues a text.
    /// What is in the context and belongs to this dialogue is not computed again. Once the context has no
    /// room for an answer, the dialogue's oldest turns are forgotten.
    ///
    /// # Errors
    /// As [`infer_streaming`](Self::infer_streaming) and [`prepare_chat`](Self::prepare_chat), and if the
    /// format refuses the dialogue or its last message alone does not fit the context.
    fn chat_streaming(
        &mut self,
        dialogue: &mut Dialogue,
        format: &ChatFormat<'_>,
        max_tokens: usize,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<InferenceResult, BackendError>;

    /// Runs exactly these tokens from an empty context and gives `on_row` the logits of each, in order; an
    /// encoder's are the last layer's values. `on_row` may end it.
    ///
    /// # Errors
    /// If no model is loaded, there are no tokens, an id is not in the vocabulary, the tokens do not fit the
    /// context, or `on_row` breaks off.
    fn logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError>;

    /// Gives `on_ids` the ids of each of `texts`, in order, by the loaded model's vocabulary, or the first
    /// model's if none is loaded, whose weights are not needed for it.
    ///
    /// # Errors
    /// If there is no model, its vocabulary cannot be used or cannot spell a text, or there is no memory.
    fn tokenize_with(
        &mut self,
        texts: &[&str],
        options: EncodeOptions,
        on_ids: &mut dyn FnMut(&[u32]),
    ) -> Result<(), BackendError>;

    /// The ids of `text` as a prompt has them, the start token in front where the model asks for it.
    ///
    /// # Errors
    /// As [`tokenize_with`](Self::tokenize_with).
    fn tokenize(&mut self, text: &str) -> Result<Vec<u32>, BackendError> {
        let mut copy = Vec::new();
        self.tokenize_with(&[text], PROMPT_ENCODING, &mut |ids| copy = ids.to_vec())?;
        Ok(copy)
    }

    /// The text of these ids; broken characters become U+FFFD.
    ///
    /// # Errors
    /// If no model is loaded.
    fn detokenize(&self, ids: &[u32]) -> Result<String, BackendError>;

    /// Measures prompts and generation as planned. `go_on` is asked again and again, and may end it.
    ///
    /// # Errors
    /// If no model is loaded, the tokens do not fit the context, or `go_on` breaks off.
    fn bench(
        &mut self,
        plan: BenchPlan,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<BenchResult, BackendError>;

    /// What was done since the start.
    fn statistics(&self) -> &Statistics;

    /// What models take of the pool.
    fn memory_usage(&self) -> ModelMemory;

    /// The device that was offered for offloading, if any.
    fn offload(&mut self) -> Option<&mut (dyn Offload + 'static)>;
}

/// How a prompt is encoded: plain text, in which nothing stands for a special token but the start.
pub const PROMPT_ENCODING: EncodeOptions = EncodeOptions { add_special: true, parse_special: false };

/// Context length that a model gets unless told, if it has as much.
pub const DEFAULT_N_CTX: usize = 2048;

/// How a dialogue becomes a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChatFormat<'f> {
    /// A format by name, instead of the one that the model's file brings.
    pub template: Option<&'f str>,
    /// Whether the model is to think first, see [`::llm::chat::Conversation::enable_thinking`].
    pub enable_thinking: Option<bool>,
    /// The local time in seconds, see [`::llm::chat::Conversation::now_seconds`].
    pub now_seconds: Option<u64>,
}

/// How far a read has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done_bytes: u64,
    /// Bytes to read in all.
    pub total_bytes: u64,
    /// Time since the first read began.
    pub elapsed_us: u64,
}

/// Facts about a loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelMetadata {
    /// `/models/<name>.gguf`.
    pub path: String,
    /// [Identity](crate::storage::Disk::identity) of the disk that it was read from.
    pub disk_identity: u64,
    /// The family, such as `llama`.
    pub architecture: String,
    /// The type of most weights, as ggml calls it.
    pub quantisation: String,
    /// Weights in all tensors.
    pub n_params: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Layers.
    pub n_layer: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Query heads per layer.
    pub n_head: usize,
    /// Key and value heads per layer.
    pub n_head_kv: usize,
    /// Width of the feed-forward block.
    pub n_ff: usize,
    /// Tokens in the vocabulary.
    pub n_vocab: usize,
    /// Positions that the context in use has.
    pub n_ctx: usize,
    /// Positions that the model was trained for.
    pub n_ctx_train: usize,
}

impl ModelMetadata {
    /// True if the model was loaded from this file, and not from one of the same path on a disk that was there before.
    pub fn is_of(&self, file: &ModelFile) -> bool {
        self.path == file.path && self.disk_identity == file.disk_identity
    }
}

/// What came of an inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceResult {
    /// The text after the prompt.
    pub output: String,
    /// The ids of the tokens generated.
    pub ids: Vec<u32>,
    /// Tokens of the prompt, the start token included.
    pub prompt_tokens: usize,
    /// Tokens generated, one that ended the text not counted.
    pub tokens_emitted: usize,
    /// From the call to the end.
    pub latency_us: u64,
    /// From the call to the first token; 0 if there was none.
    pub first_token_us: u64,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// How tokens that were guessed have done.
    pub speculation: Speculation,
    /// What of a dialogue had no room any more.
    pub forgotten: Option<Forgotten>,
}

impl InferenceResult {
    /// Tokens per second after the first one; `None` with fewer than two tokens or without time.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let after_first_us = self.latency_us.saturating_sub(self.first_token_us);
        per_second(self.tokens_emitted.saturating_sub(1) as u64, after_first_us)
    }
}

/// `count` things in `elapsed_us`, as a rate; `None` if there were none or no time has passed.
pub fn per_second(count: u64, elapsed_us: u64) -> Option<f64> {
    (count > 0 && elapsed_us > 0).then(|| count as f64 * 1e6 / elapsed_us as f64)
}

/// Why an inference ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// As many tokens as asked for.
    MaxTokens,
    /// The model ended its text.
    EndOfText,
    /// A stop string was generated.
    StopString,
    /// The context has no room for another token.
    ContextFull,
    /// The callback ended it.
    Cancelled,
}

#[cfg(feature = "llm-transformer")]
impl From<llm::session::FinishReason> for FinishReason {
    fn from(reason: llm::session::FinishReason) -> Self {
        match reason {
            llm::session::FinishReason::MaxTokens => Self::MaxTokens,
            llm::session::FinishReason::EndOfText => Self::EndOfText,
            llm::session::FinishReason::StopString => Self::StopString,
            llm::session::FinishReason::ContextFull => Self::ContextFull,
        }
    }
}

/// What is measured: each thing some times, of which the median counts, after one run for the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchPlan {
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Tokens evaluated one at a time.
    pub n_generate: usize,
    /// Tokens that these come after.
    pub depth: usize,
    /// How often.
    pub n_runs: usize,
}

/// What a benchmark measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BenchResult {
    /// The prompt in an empty cache.
    pub prefill: Measurement,
    /// Tokens one at a time, after as many as the plan says.
    pub decode: Measurement,
    /// The inner loops that the CPU's instructions allow, by name.
    pub kernel_set: &'static str,
    /// Bytes of the last model loaded per second, from the first read until it was ready.
    pub load_bytes_per_s: Option<f64>,
    /// From the beginning of that load to the first token after a prompt of five.
    pub first_token_us: u64,
}

/// Tokens, and what they took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Tokens evaluated.
    pub tokens: usize,
    /// Time they took.
    pub elapsed_us: u64,
    /// Instructions they took on this core, where the CPU counts them.
    pub instructions: Option<u64>,
}

/// What models take of the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelMemory {
    /// The loaded model's file as the disk delivered it; 0 when none is loaded.
    pub weights_bytes: usize,
    /// The loaded model's scratch and key-value cache; 0 when none is loaded.
    pub session_bytes: usize,
    /// The most that scratch and key-value cache have taken since the start.
    pub session_high_water_bytes: usize,
}
