//! [`Work`]: the data of a receipt for an answer, collected while the answer is generated; [`verify`] checks it.
//!
//! [`trust::receipt`] defines the form of the record and explains its members. The caller, who knows the model's files, the time and a key,
//! completes the record.

use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use ::grammar::json_schema::{Options, Order};
use tensor::fold::fold;
use trust::canonical::{OutOfMemory, Writer};
use trust::fixed::Fixed;
use trust::logits::{Chain, LINK_BYTES};
use trust::receipt::{
    Answer, Asked, Constraint, Digest, Float, Format as FormatRecord, Prompt as PromptRecord, Sampling,
    State, Tool as ToolRecord, Usage, digest_of_tokens, write_work,
};
use trust::sha256::Compress;

use super::{AnswerGrammar, FrontError, Report, Request, ToolChoice};
use crate::ENGINE_VERSION;
use crate::chat::{Format, Tool};
use crate::kv_cache::KvType;
use crate::quant::Precision;
use crate::sampling::SamplingConfig;
use crate::session::{FinishReason, Runner};

mod replay;

pub use replay::{ReplayError, Verdict, facts, verify};

/// Most tokens for which room is reserved at the start.
const TOKENS_RESERVED: usize = 4096;

/// A record of what was computed for a request that asks for a receipt.
#[derive(Clone)]
pub struct Work {
    compress: Compress,
    /// The request in the form of the receipt.
    request: Vec<u8>,
    prompt: Vec<u32>,
    facts: Facts,
    has_adapters: bool,
    /// All tokens that were drawn.
    tokens: Vec<u32>,
    links: Vec<[u8; LINK_BYTES]>,
    chain: Chain,
}

impl PartialEq for Work {
    fn eq(&self, other: &Self) -> bool {
        // The compression function is not compared: each one gives the same digests.
        let parts = |work: &Self| (work.facts, work.chain.clone());
        parts(self) == parts(other)
            && self.request == other.request
            && self.prompt == other.prompt
            && self.tokens == other.tokens
            && self.links == other.links
    }
}

impl Eq for Work {}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Work({} tokens, {})", self.tokens.len(), Fixed(*self.chain.value()))
    }
}

/// The settings that the bits of an answer depend on, besides model and request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Length of the context.
    pub n_ctx: usize,
    /// Most positions that the text can have.
    pub n_positions: usize,
    /// The formats of keys and values.
    pub kv_type: KvType,
    /// How activations enter matrix products.
    pub precision: Precision,
    /// The name of the instruction set, if its bits differ from those of the others.
    pub kernels: Option<&'static str>,
}

impl Facts {
    /// The settings of a runner, for texts of up to `n_positions`.
    pub fn of(runner: &Runner<'_>, n_positions: usize) -> Self {
        let options = runner.options();
        let name = runner.kernels().name();
        Self {
            n_ctx: options.state.n_ctx,
            n_positions,
            kv_type: options.state.kv_type,
            precision: options.precision,
            kernels: name.contains("+fp16").then_some(name),
        }
    }

    fn state(&self) -> State<'static> {
        State {
            k_type: self.kv_type.keys.name().into(),
            kernels: self.kernels.map(Cow::Borrowed),
            n_ctx: self.n_ctx as u64,
            n_positions: self.n_positions as u64,
            precision: match self.precision {
                Precision::Quantized => "quantized".into(),
                Precision::Exact => "exact".into(),
            },
            v_type: self.kv_type.values.name().into(),
        }
    }
}

impl Work {
    /// Most bytes that a copy takes.
    pub(super) fn size_bytes(&self) -> usize {
        let Self { request, prompt, tokens, links, .. } = self;
        size_of::<Self>()
            + size_of_val(&**request)
            + size_of_val(&**prompt)
            + size_of_val(&**tokens)
            + size_of_val(&**links)
    }

    /// The record of a request before its first token: the prompt's tokens, the format of the answer, the scales of the adapters and the
    /// way tokens are chosen.
    pub(super) fn new(
        compress: Compress,
        request: &Request<'_>,
        sampling: &SamplingConfig,
        adapters: &[f32],
        (prompt, format): (&[u32], Option<Format>),
        facts: Facts,
    ) -> Result<Self, FrontError> {
        // Adapters whose scale is 0 have no effect, so they are left out.
        let adapters = if adapters.iter().all(|&scale| scale == 0.0) { &[] } else { adapters };
        let out_of_heap = |OutOfMemory { needed_bytes }| FrontError::OutOfHeap { needed_bytes };
        let mut writer = Writer::new();
        asked(request, sampling, adapters, format)?.write(&mut writer);
        let most = request.max_tokens.min(facts.n_positions).min(TOKENS_RESERVED);
        let mut work = Self {
            compress,
            request: writer.finish().map_err(out_of_heap)?,
            prompt: copy(prompt.iter().copied())?,
            facts,
            has_adapters: !adapters.is_empty(),
            tokens: Vec::new(),
            links: Vec::new(),
            chain: Chain::new(),
        };
        work.reserve(most)?;
        Ok(work)
    }

    fn reserve(&mut self, n: usize) -> Result<(), FrontError> {
        let needed_bytes = n.saturating_mul(size_of::<u32>() + LINK_BYTES);
        let reserved = self.tokens.try_reserve(n).and_then(|()| self.links.try_reserve(n));
        reserved.map_err(|_| FrontError::OutOfHeap { needed_bytes })
    }

    /// Takes the next token and the logits that it was drawn from.
    pub(super) fn push(&mut self, token: u32, logits: &[f32]) -> Result<(), FrontError> {
        self.reserve(1)?;
        self.tokens.push(token);
        self.links.push(self.chain.push(self.compress, &fold(logits)));
        Ok(())
    }

    /// Whether adapters have changed the model.
    pub fn has_adapters(&self) -> bool {
        self.has_adapters
    }

    /// The compression function of SHA-256 that the record was made with.
    pub fn compress(&self) -> Compress {
        self.compress
    }

    /// The tokens of the prompt.
    pub fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    /// All tokens that were drawn.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The first bytes of the running hash after each token.
    pub fn links(&self) -> &[[u8; LINK_BYTES]] {
        &self.links
    }

    /// The running hash at the end.
    pub fn logits_sha256(&self) -> Digest {
        Fixed(*self.chain.value())
    }

    /// Writes the member `work` of a record; `report` is the report of the answer.
    pub fn write(&self, w: &mut Writer, report: &Report) {
        let mut links = Writer::new();
        links.hex(self.links.as_flattened());
        let links = links.finish().unwrap_or_else(|failure| {
            w.fail(failure);
            Vec::new()
        });
        // The text without its quotes.
        let links = links.get(1..links.len().saturating_sub(1)).unwrap_or_default();
        let answer = Answer {
            finish: finish_name(report.finish_reason).into(),
            links: core::str::from_utf8(links).unwrap_or_default().into(),
            logits_sha256: self.logits_sha256(),
            tokens: Cow::Borrowed(&self.tokens),
        };
        let prompt = PromptRecord {
            n_tokens: self.prompt.len() as u64,
            sha256: digest_of_tokens(self.compress, &self.prompt),
        };
        let usage = Usage {
            cached_tokens: report.cached_tokens as u64,
            completion_tokens: report.tokens_emitted as u64,
            prompt_tokens: report.prompt_tokens as u64,
        };
        let engine = (ENGINE_VERSION, &self.facts.state());
        write_work(w, engine, prompt, |w| w.json(&self.request), &answer, usage);
    }
}

/// The name that a receipt gives to the reason why an answer ended.
pub fn finish_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::MaxTokens => "token_limit",
        FinishReason::EndOfText => "end_of_text",
        FinishReason::StopString => "stop_string",
        FinishReason::ContextFull => "context_full",
        FinishReason::Cancelled => "cancelled",
    }
}

/// A request in the form of the receipt.
fn asked<'r>(
    request: &Request<'r>,
    sampling: &SamplingConfig,
    adapters: &[f32],
    format: Option<Format>,
) -> Result<Asked<'r>, FrontError> {
    let constraint = request.grammar.map(|grammar| match grammar {
        AnswerGrammar::Gbnf(text) => ("gbnf", text),
        AnswerGrammar::JsonSchema(text, Options { order: Order::Schema, .. }) => ("json_schema", text),
        AnswerGrammar::JsonSchema(text, Options { order: Order::Any, .. }) => ("json_schema_any_order", text),
        AnswerGrammar::JsonObject => ("json_object", ""),
    });
    let tool = |tool: &Tool<'r>| ToolRecord { name: tool.name.into(), parameters: tool.parameters.into() };
    Ok(Asked {
        adapters: copy(adapters.iter().map(|&scale| Float(scale)))?,
        breakers: copy(request.breakers.iter().map(|&text| text.into()))?,
        constraint: constraint.map(|(kind, text)| Constraint { kind: kind.into(), text: text.into() }),
        format: format.map(|format| FormatRecord {
            form: format.form.name.into(),
            has_thought: format.has_thought,
            reasoning: format.reasoning.map(|reasoning| reasoning.name.into()),
            starts_open: format.starts_open,
            tell_apart: request.tell_apart,
        }),
        ignore_eos: request.ignore_eos,
        logit_bias: copy(request.logit_bias.iter().map(|&(token, bias)| (token, Float(bias))))?,
        max_tokens: request.max_tokens.min(u32::MAX as usize) as u64,
        parallel_tool_calls: request.parallel_tool_calls,
        sampling: sampling_record(sampling),
        stop: copy(request.stop.iter().map(|&text| text.into()))?,
        thinking_budget: request.thinking_budget.map(|n| n.min(u32::MAX as usize) as u64),
        tool_choice: match request.tool_choice {
            ToolChoice::Auto => "auto".into(),
            ToolChoice::Required => "required".into(),
            ToolChoice::Named(name) => alloc::format!("named {name}").into(),
        },
        tools: copy(request.prompt.tools().iter().map(tool))?,
    })
}

/// Collects the values in a vector; fails if there is no memory.
fn copy<T>(values: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>, FrontError> {
    let needed_bytes = values.len().saturating_mul(size_of::<T>());
    let mut copy = Vec::new();
    copy.try_reserve_exact(values.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
    copy.extend(values);
    Ok(copy)
}

fn sampling_record(config: &SamplingConfig) -> Sampling<'static> {
    Sampling {
        dry_allowed_length: config.dry_allowed_length,
        dry_base: Float(config.dry_base),
        dry_multiplier: Float(config.dry_multiplier),
        dry_penalty_last_n: config.dry_penalty_last_n,
        dynatemp_exponent: Float(config.dynatemp_exponent),
        dynatemp_range: Float(config.dynatemp_range),
        frequency_penalty: Float(config.frequency_penalty),
        min_keep: config.min_keep,
        min_p: Float(config.min_p),
        mirostat: config.mirostat,
        mirostat_eta: Float(config.mirostat_eta),
        mirostat_tau: Float(config.mirostat_tau),
        presence_penalty: Float(config.presence_penalty),
        repeat_last_n: config.repeat_last_n,
        repeat_penalty: Float(config.repeat_penalty),
        samplers: config.stages.to_string().into(),
        seed: config.seed.to_string().into(),
        temperature: Float(config.temperature),
        top_k: config.top_k,
        top_n_sigma: Float(config.top_n_sigma),
        top_p: Float(config.top_p),
        typical_p: Float(config.typical_p),
        xtc_probability: Float(config.xtc_probability),
        xtc_threshold: Float(config.xtc_threshold),
    }
}
