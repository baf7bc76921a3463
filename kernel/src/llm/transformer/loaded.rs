//! A model in memory, ready to run.
//!
//! Tokenizer and weights borrow from the region that the disk filled, the session from a second
//! region that it writes. [`LoadedModel`] keeps the four together (crate `self_cell`) and gives both
//! regions back when it is dropped.

use alloc::{string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::{
    chat::{ChatTemplate, Conversation, Dialogue, Forgotten, Room},
    gguf::{Gguf, GgufError},
    kv_cache::KvType,
    model::{Config, Model},
    sampling::{Sampler, SamplingConfig},
    session::{Logits, Session, SessionError, SessionOptions, Speculation, Step},
    simd::Kernels,
    tokenizer::Tokenizer,
};
use self_cell::{MutBorrow, self_cell};

use super::{Engine, measure};
use crate::llm::{
    BackendError, BenchPlan, BenchResult, ChatFormat, FinishReason, InferenceResult, MAX_SPECULATED,
    PROMPT_ENCODING,
};
use crate::memory::pool::{GRANULE_BYTES, OutOfMemory, Pool, Region};

self_cell!(
    struct Cell {
        owner: Regions,

        #[covariant]
        dependent: Running,
    }
);

struct Regions {
    weights: Region,
    memory: MutBorrow<Region>,
    memory_bytes: usize,
    /// Length of the file, of which `weights` may be only the part that matters.
    file_bytes: u64,
}

struct Running<'a> {
    tokenizer: Tokenizer<'a>,
    session: Session<'a>,
    /// The prompt's ids; kept to be used again.
    prompt_ids: Vec<u32>,
    /// The chat format that was used last, and its name if it is not the file's own.
    chat: Option<(Option<String>, ChatTemplate)>,
}

/// What is asked of an inference.
pub(super) struct Request<'r> {
    pub max_tokens: usize,
    pub sampling: SamplingConfig,
    pub stop: &'r [String],
    pub verbose: bool,
    pub n_speculated: usize,
}

/// What is to be continued.
pub(super) enum Prompt<'r> {
    /// A text, from an empty context.
    Text(&'r str),
    /// A dialogue.
    Chat { dialogue: &'r mut Dialogue, format: &'r ChatFormat<'r> },
}

/// Bytes of output that are reserved per token, so that a usual text never makes the output grow.
const OUTPUT_BYTES_PER_TOKEN: usize = 16;

/// The output's first reservation goes no further than this many tokens.
const OUTPUT_TOKENS_RESERVED: usize = 4096;

/// Tokens of a prompt that are computed at once: the first of these numbers whose scratch is no more than
/// [`SCRATCH_BYTES`], or the last. Fewer would not share all that the engine can share between tokens.
const PROMPT_BATCHES: [usize; 3] = [512, 256, 128];

/// What scratch may take for the sake of more tokens at once: 32 MB less the 6 MB that image, heap, page
/// tables and the stacks of eight cores take, and a little to spare.
const SCRATCH_BYTES: usize = 25_000_000;

/// What sessions are made for. A prompt is computed in batches as long as scratch stays small. An encoder
/// takes its text at once and has an answer for each token.
pub(super) fn session_options(config: &Config, n_ctx: usize, kv_type: KvType) -> SessionOptions {
    let options = SessionOptions { kv_type, ..SessionOptions::generate(n_ctx) };
    if config.is_encoder() {
        return SessionOptions { n_batch: n_ctx, n_logits: n_ctx, ..options };
    }
    let with_batch = |n_batch: usize| SessionOptions {
        n_batch: n_batch.min(n_ctx),
        n_logits: n_ctx.min(1 + MAX_SPECULATED),
        ..options
    };
    // Options that do not suit the model are refused by whoever makes a session of them.
    let is_small = |options: &SessionOptions| {
        Session::scratch_bytes(config, options).is_ok_and(|bytes| bytes <= SCRATCH_BYTES)
    };
    let [.., least] = PROMPT_BATCHES;
    PROMPT_BATCHES.into_iter().map(with_batch).find(is_small).unwrap_or_else(|| with_batch(least))
}

impl Cell {
    fn make(regions: Regions, options: SessionOptions, engine: &Engine) -> Result<Self, BackendError> {
        Self::try_new(regions, |regions| Running::new(regions, options, engine))
    }
}

impl<'a> Running<'a> {
    fn new(regions: &'a Regions, options: SessionOptions, engine: &Engine) -> Result<Self, BackendError> {
        let gguf = regions.gguf(engine.kernels)?;
        let model = Model::load(&gguf)?;
        let tokenizer = Tokenizer::from_gguf(&gguf)?;
        let memory = regions.memory.borrow_mut();
        let session = Session::new(model, options, engine.kernels, engine.workers, memory)?;
        Ok(Running { tokenizer, session, prompt_ids: Vec::new(), chat: None })
    }
}

/// Weights, tokenizer and session over two regions of the pool.
pub(super) struct LoadedModel(Cell);

impl LoadedModel {
    /// Makes a file that lies in `weights`, packed for the CPU's instructions, ready to run, with cache and
    /// scratch in `memory`.
    pub fn load(
        weights: Region,
        memory: Region,
        file_bytes: u64,
        options: SessionOptions,
        engine: &Engine,
    ) -> Result<Self, BackendError> {
        let memory_bytes = memory.len();
        let regions = Regions { weights, memory: MutBorrow::new(memory), memory_bytes, file_bytes };
        Cell::make(regions, options, engine).map(Self)
    }

    /// The same model with another session, or as it was, and why.
    ///
    /// # Errors
    /// If not even the old session could be made again; the model is gone then.
    pub fn with_session(
        self,
        options: SessionOptions,
        pool: &'static Pool,
        engine: &Engine,
    ) -> Result<(Self, Result<(), BackendError>), BackendError> {
        let config = self.0.borrow_dependent().session.model().config();
        let n_ctx = options.n_ctx;
        let required_bytes = match Session::required_bytes(config, &options) {
            Ok(bytes) => bytes,
            Err(error) => return Ok((self, Err(error.into()))),
        };
        let old_options = *self.0.borrow_dependent().session.options();
        let mut regions = self.0.into_owner();
        // The old memory is given back first: there may not be room for both.
        regions.give_back_memory(pool)?;
        let (options, resized) = match regions.take_memory(required_bytes, pool) {
            Ok(()) => (options, Ok(())),
            Err(error) => {
                let old_bytes = regions.memory_bytes;
                regions
                    .take_memory(old_bytes, pool)
                    .map_err(|error| regions.refused(old_options.n_ctx, error))?;
                (old_options, Err(regions.refused(n_ctx, error)))
            }
        };
        Ok((Self(Cell::make(regions, options, engine)?), resized))
    }

    /// Continues a prompt.
    pub fn infer(
        &mut self,
        prompt: Prompt<'_>,
        request: &Request<'_>,
        engine: &Engine,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<InferenceResult, BackendError> {
        self.0.with_dependent_mut(|regions, running| {
            let forgotten = running.read_prompt(prompt, request.max_tokens, regions)?;
            Ok(InferenceResult { forgotten, ..running.infer(request, engine, on_text)? })
        })
    }

    /// Makes a chat format ready, the one of this name or else the file's.
    pub fn prepare_chat(&mut self, template: Option<&str>) -> Result<(), BackendError> {
        self.0.with_dependent_mut(|regions, running| running.prepare_chat(template, regions))
    }

    /// Runs tokens and gives the logits of each.
    pub fn logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        self.0.with_dependent_mut(|_, running| running.logits(tokens, on_row))
    }

    /// The vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer<'_> {
        &self.0.borrow_dependent().tokenizer
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &Config {
        self.0.borrow_dependent().session.model().config()
    }

    /// What the session was made for.
    pub fn session_options(&self) -> &SessionOptions {
        self.0.borrow_dependent().session.options()
    }

    /// The text of these ids.
    pub fn detokenize(&self, ids: &[u32]) -> Result<String, BackendError> {
        let bytes = self.0.borrow_dependent().tokenizer.decode(ids)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Measures a prompt and generation.
    pub fn bench(
        &mut self,
        plan: BenchPlan,
        engine: &Engine,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<BenchResult, BackendError> {
        self.0.with_dependent_mut(|_, running| measure::bench(&mut running.session, plan, engine, go_on))
    }

    /// What the file takes of the pool.
    pub fn weights_bytes(&self) -> usize {
        self.0.borrow_owner().weights.len()
    }

    /// What cache and scratch take of the pool.
    pub fn session_bytes(&self) -> usize {
        self.0.borrow_owner().memory_bytes
    }

    /// Logs how large the weights of each tensor are.
    pub fn log_weight_magnitudes(&self, kernels: &Kernels) {
        if let Ok(gguf) = self.0.borrow_owner().gguf(kernels) {
            measure::log_weight_magnitudes(&gguf);
        }
    }
}

impl Regions {
    /// The file, the weights of which were rearranged for `kernels`.
    fn gguf(&self, kernels: &Kernels) -> Result<Gguf<'_>, GgufError> {
        Ok(Gguf::parse(&self.weights, self.file_bytes)?.packed(kernels.packing()))
    }

    fn give_back_memory(&mut self, pool: &'static Pool) -> Result<(), BackendError> {
        let nothing = pool.reserve(0, GRANULE_BYTES).map_err(BackendError::NoBuffer)?;
        self.memory = MutBorrow::new(nothing);
        Ok(())
    }

    fn take_memory(&mut self, size_bytes: usize, pool: &'static Pool) -> Result<(), OutOfMemory> {
        self.memory = MutBorrow::new(pool.reserve(size_bytes, GRANULE_BYTES)?);
        self.memory_bytes = size_bytes;
        Ok(())
    }

    fn refused(&self, n_ctx: usize, error: OutOfMemory) -> BackendError {
        BackendError::OutOfMemory {
            needed_bytes: self.weights.len() + error.needed_bytes,
            available_bytes: self.weights.len() + error.available_bytes,
            n_ctx,
        }
    }
}

impl Running<'_> {
    /// Encodes a prompt, and forgets what of the context is not its beginning; says what of a dialogue has no
    /// room.
    fn read_prompt(
        &mut self,
        prompt: Prompt<'_>,
        max_tokens: usize,
        regions: &Regions,
    ) -> Result<Option<Forgotten>, BackendError> {
        self.prompt_ids.clear();
        match prompt {
            Prompt::Text(text) => {
                self.tokenizer.encode(text, PROMPT_ENCODING, &mut self.prompt_ids)?;
                self.session.reset();
                Ok(None)
            }
            Prompt::Chat { dialogue, format } => {
                let &ChatFormat { template, enable_thinking, now_seconds } = format;
                let settings =
                    Conversation { messages: &[], add_generation_prompt: true, enable_thinking, now_seconds };
                let room = Room { n_ctx: self.session.options().n_ctx, max_tokens };
                self.prepare_chat(template, regions)?;
                let Self { tokenizer, session, prompt_ids, chat: Some((_, template)) } = self else {
                    unreachable!("a format that is ready is kept");
                };
                let forgotten = template.encode_dialogue(tokenizer, dialogue, &settings, room, prompt_ids)?;
                session.keep_beginning_of(prompt_ids);
                Ok(forgotten)
            }
        }
    }

    /// Parses a template unless it was used last.
    fn prepare_chat(&mut self, name: Option<&str>, regions: &Regions) -> Result<(), BackendError> {
        if self.chat.as_ref().is_some_and(|(known, _)| known.as_deref() == name) {
            return Ok(());
        }
        // The old one makes room.
        self.chat = None;
        let template = match name {
            Some(name) => ChatTemplate::by_name(name, &self.tokenizer)?,
            None => ChatTemplate::from_gguf(&regions.gguf(self.session.kernels())?, &self.tokenizer)?,
        };
        self.chat = Some((name.map(String::from), template));
        Ok(())
    }

    /// Continues the prompt that was read.
    fn infer(
        &mut self,
        request: &Request<'_>,
        engine: &Engine,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<InferenceResult, BackendError> {
        let start_us = (engine.clock_us)();
        let elapsed_us = || (engine.clock_us)().saturating_sub(start_us);
        let n_vocab = self.session.model().config().n_vocab;
        let sampling = request.sampling.within_context(self.session.options().n_ctx);
        let mut sampler = Sampler::new(sampling, n_vocab)?;
        let stop: Vec<&str> = request.stop.iter().map(String::as_str).collect();
        let n_reserved = request.max_tokens.min(OUTPUT_TOKENS_RESERVED);
        let mut result = InferenceResult {
            output: string_with_capacity(n_reserved * OUTPUT_BYTES_PER_TOKEN)?,
            ids: Vec::new(),
            prompt_tokens: self.prompt_ids.len(),
            tokens_emitted: 0,
            latency_us: 0,
            first_token_us: 0,
            finish_reason: FinishReason::Cancelled,
            speculation: Speculation::default(),
            forgotten: None,
        };
        reserve_ids(&mut result.ids, n_reserved)?;
        let generation = self.session.resume(
            &self.tokenizer,
            &mut sampler,
            &self.prompt_ids,
            request.max_tokens,
            &stop,
            &mut || on_text(""),
        );
        let mut generation = match generation {
            Err(SessionError::Stopped) => {
                result.latency_us = elapsed_us();
                return Ok(result);
            }
            generation => generation?.speculate(request.n_speculated)?,
        };
        loop {
            let (text, finished) = match generation.step()? {
                Step::Token { id, text } => {
                    reserve_ids(&mut result.ids, 1)?;
                    result.ids.push(id);
                    (text, None)
                }
                Step::Finished { reason, text } => (text, Some(reason)),
            };
            if finished.is_none() {
                result.tokens_emitted += 1;
                if result.tokens_emitted == 1 {
                    result.first_token_us = elapsed_us();
                }
            }
            append(&mut result.output, text)?;
            let cancelled = on_text(text).is_break();
            if request.verbose && finished.is_none() {
                measure::log_logits_range(result.tokens_emitted, generation.logits());
            }
            if let Some(reason) = finished {
                result.finish_reason = reason.into();
                break;
            }
            if cancelled {
                break;
            }
        }
        result.latency_us = elapsed_us();
        result.speculation = generation.speculation();
        Ok(result)
    }
}

impl Running<'_> {
    fn logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let SessionOptions { n_ctx, .. } = *self.session.options();
        match tokens.len() {
            0 => return Err(SessionError::NoTokens.into()),
            n_tokens if n_tokens > n_ctx => {
                return Err(SessionError::PromptTooLong { n_tokens, n_ctx }.into());
            }
            _ => {}
        }
        let config = self.session.model().config();
        let (n_output, is_encoder) = (config.n_output(), config.is_encoder());
        self.session.reset();
        let n_at_once = if is_encoder { tokens.len() } else { 1 };
        for tokens in tokens.chunks(n_at_once) {
            for row in self.session.forward(tokens, Logits::All)?.chunks(n_output) {
                if on_row(row).is_break() {
                    return Err(BackendError::Cancelled);
                }
            }
        }
        Ok(())
    }
}

fn string_with_capacity(bytes: usize) -> Result<String, BackendError> {
    let mut string = String::new();
    string.try_reserve(bytes).map_err(|_| BackendError::OutOfHeap { needed_bytes: bytes })?;
    Ok(string)
}

fn reserve_ids(ids: &mut Vec<u32>, n: usize) -> Result<(), BackendError> {
    let needed_bytes = ids.len().saturating_add(n).saturating_mul(size_of::<u32>());
    ids.try_reserve(n).map_err(|_| BackendError::OutOfHeap { needed_bytes })
}

fn append(output: &mut String, text: &str) -> Result<(), BackendError> {
    let needed_bytes = output.len() + text.len();
    output.try_reserve(text.len()).map_err(|_| BackendError::OutOfHeap { needed_bytes })?;
    output.push_str(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm::{gguf::GgufWriter, quant::GgmlType};
    use std::format;

    /// What this module does not reserve, on one core: the kernel image with its stacks, page tables, the used
    /// part of the heap. Measured with TinyLlama: 2.9 MB that `mem` shows neither as heap nor as pool, and 0.6.
    const REST_BYTES: usize = 3_600_000;

    /// The stacks of one more core, with their guard pages.
    const CORE_BYTES: usize = (256 + 64 + 2 * 4) << 10;

    /// The hyper-parameters of TinyLlama 1.1B.
    fn tiny_llama() -> Config {
        let mut writer = GgufWriter::new();
        writer.put_str("general.architecture", "llama").unwrap();
        for (key, value) in [
            ("llama.embedding_length", 2048),
            ("llama.block_count", 22),
            ("llama.context_length", 2048),
            ("llama.feed_forward_length", 5632),
            ("llama.attention.head_count", 32),
            ("llama.attention.head_count_kv", 4),
            ("llama.rope.dimension_count", 64),
        ] {
            writer.put_u32(key, value).unwrap();
        }
        writer.put_f32("llama.attention.layer_norm_rms_epsilon", 1e-5).unwrap();
        writer.declare_tensor("token_embd.weight", GgmlType::Q4_0, &[2048, 32000]).unwrap();
        for layer in 0..22 {
            // A layer must have a tensor at least.
            writer.declare_tensor(&format!("blk.{layer}.attn_norm.weight"), GgmlType::F32, &[2048]).unwrap();
        }
        let mut header = Vec::new();
        let write = |bytes: &[u8]| {
            header.extend_from_slice(bytes);
            Ok::<(), core::fmt::Error>(())
        };
        writer.write_header(write).unwrap();
        Config::from_gguf(&Gguf::parse(&header, 1 << 30).unwrap()).unwrap()
    }

    #[test]
    fn a_model_takes_little_beyond_its_file_and_its_cache() {
        const N_CTX: usize = 2048;
        // Keys and values of 22 layers, 4 heads of 64 elements, in F16.
        let cache_bytes = N_CTX * 22 * 2 * 4 * 64 * size_of::<u16>();
        let config = tiny_llama();
        let options = session_options(&config, N_CTX, KvType::F16);
        assert_eq!(options.n_batch, 512);
        let session_bytes = Session::required_bytes(&config, &options).unwrap();
        let scratch_bytes = Session::scratch_bytes(&config, &options).unwrap();
        assert_eq!(session_bytes, cache_bytes + scratch_bytes);
        for (n_cores, most_bytes) in [(2, 28_500_000), (8, 30_500_000)] {
            let beyond_bytes = scratch_bytes + REST_BYTES + (n_cores - 1) * CORE_BYTES;
            assert!(
                beyond_bytes <= most_bytes,
                "{beyond_bytes} bytes beyond file and cache, {n_cores} cores"
            );
        }
    }
}
