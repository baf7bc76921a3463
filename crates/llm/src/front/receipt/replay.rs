//! [`verify`] runs a recorded request again and compares the result with the record.

use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;

use ::grammar::json_schema::{Options, Order};
use toolcalls::{Form, Reasoning};
use trust::fixed::Fixed;
use trust::logits::LINK_BYTES;
use trust::receipt::{
    Asked, Constraint, Float, Format as FormatRecord, Sampling, State, Work as WorkRecord, digest_of_tokens,
};
use trust::sha256::Compress;

use super::{Facts, finish_name};
use crate::ENGINE_VERSION;
use crate::chat::{Format, Tool};
use crate::front::{AnswerGrammar, Event, FrontError, Prompt, Report, Request, Responder, ToolChoice};
use crate::kv_cache::{CacheType, KvType};
use crate::quant::Precision;
use crate::sampling::{SamplingConfig, Stages};
use crate::session::FinishReason;

/// Whether a record is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same request gives the same answer by the same bits.
    Accept,
    /// The record is wrong.
    Reject {
        /// The first wrong token, counted from 1; `None` if something other than a token is wrong.
        token: Option<usize>,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Verdict {
    fn reject(reason: &'static str) -> Self {
        Self::Reject { token: None, reason }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("ACCEPT"),
            Self::Reject { token: None, reason } => write!(f, "REJECT: {reason}"),
            Self::Reject { token: Some(token), reason } => write!(f, "REJECT at token {token}: {reason}"),
        }
    }
}

/// Runs the recorded request again with this prompt, and compares the results. `responder` must have the recorded model with its adapters,
/// the [facts] of the record, room for the text, and no other request. `on_token` receives the number of tokens so far.
///
/// # Errors
/// If the request cannot be run again; the error says why.
pub fn verify(
    responder: &mut Responder<'_>,
    record: &WorkRecord<'_>,
    prompt: &[u32],
    compress: Compress,
    clock_us: fn() -> u64,
    on_token: &mut dyn FnMut(usize),
) -> Result<Verdict, ReplayError> {
    let replay = Replay::new(record)?;
    let answer = &record.answer;
    let n_tokens = answer.tokens.len();
    if prompt.len() as u64 != record.prompt.n_tokens
        || digest_of_tokens(compress, prompt) != record.prompt.sha256
    {
        return Ok(Verdict::reject("the prompt is not the one that the record has the digest of"));
    }
    let Some(links) = links(&answer.links).filter(|links| links.len() == n_tokens) else {
        return Ok(Verdict::reject("answer.links has not eight hexadecimal digits for each token"));
    };
    let runner = responder.runner();
    // A record without scales means that all adapters of the model have the scale 0.
    if !replay.scales.is_empty() && replay.scales.len() != runner.usual_scales().len() {
        return Err(ReplayError::Adapters { recorded: replay.scales.len() });
    }
    let found = Facts::of(runner, 0);
    let recorded = facts(&record.state)?;
    if (recorded.n_ctx, recorded.kv_type, recorded.precision) != (found.n_ctx, found.kv_type, found.precision)
        || record.state.kernels.as_deref() != found.kernels
    {
        return Err(ReplayError::Field("state", "what the answer was computed with"));
    }
    if (prompt.len() + n_tokens) as u64 > record.state.n_positions.saturating_add(1) {
        return Ok(Verdict::reject("it has more tokens than the text could have positions"));
    }
    let request = replay.request(prompt, n_tokens, compress)?;
    let mut n_come = 0;
    let report = responder.generate(request, clock_us, &mut |event| {
        if let Event::Token { id, .. } = event {
            let is_right = answer.tokens.get(n_come) == Some(&id);
            n_come += 1;
            on_token(n_come);
            if !is_right {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(compare(record, &links, &report))
}

/// Compares the result of the repeated request with the record.
fn compare(record: &WorkRecord<'_>, links: &[[u8; LINK_BYTES]], report: &Report) -> Verdict {
    let answer = &record.answer;
    let Some(work) = &report.work else { return Verdict::reject("there is nothing to compare with") };
    let reject_at = |token: usize, reason| Verdict::Reject { token: Some(token + 1), reason };
    for (index, (token, link)) in answer.tokens.iter().zip(links).enumerate() {
        let come = work.tokens().get(index).zip(work.links().get(index));
        let Some((own_token, own_link)) = come else { return reject_at(index, "the answer ends before") };
        if own_link != link {
            return reject_at(index, "its logits have other bits");
        }
        if own_token != token {
            return reject_at(index, "another token is drawn");
        }
    }
    if work.logits_sha256() != answer.logits_sha256 {
        return Verdict::reject("answer.logits_sha256 is another one");
    }
    let n_tokens = answer.tokens.len();
    let is_at_end = match &*answer.finish {
        // A cancelled answer may end after any token, so there is nothing to check.
        "cancelled" => true,
        "token_limit" => record.request.max_tokens == n_tokens as u64 && is_limit(report),
        "context_full" => {
            record.prompt.n_tokens + n_tokens as u64 == record.state.n_positions.saturating_add(1)
                && is_limit(report)
        }
        finish => finish == finish_name(report.finish_reason) && !is_limit(report),
    };
    if !is_at_end || n_tokens as u64 > record.request.max_tokens {
        return Verdict::reject("answer.finish is not why the answer ends there");
    }
    let usage = &record.usage;
    if usage.prompt_tokens != record.prompt.n_tokens
        || usage.completion_tokens != report.tokens_emitted as u64
        || usage.cached_tokens > usage.prompt_tokens
    {
        return Verdict::reject("usage counts other tokens");
    }
    Verdict::Accept
}

/// Whether an answer ended because of a limit on its length.
fn is_limit(report: &Report) -> bool {
    report.finish_reason == FinishReason::MaxTokens
}

/// Parses the first bytes of the running hash after each token from their hexadecimal digits.
fn links(digits: &str) -> Option<Vec<[u8; LINK_BYTES]>> {
    let (links, rest) = digits.as_bytes().as_chunks::<{ 2 * LINK_BYTES }>();
    let read = |link: &[u8; 2 * LINK_BYTES]| {
        core::str::from_utf8(link).ok().and_then(Fixed::parse).map(|Fixed(link)| link)
    };
    rest.is_empty().then(|| links.iter().map(read).collect())?
}

/// The formats and the precision that the answer was computed with.
///
/// # Errors
/// If this engine does not know one of them.
pub fn facts(state: &State<'_>) -> Result<Facts, ReplayError> {
    let cache_type =
        |field, name: &str| CacheType::from_name(name).ok_or(ReplayError::Field(field, CacheType::EXPECTED));
    Ok(Facts {
        n_ctx: usize::try_from(state.n_ctx).unwrap_or(usize::MAX),
        n_positions: usize::try_from(state.n_positions).unwrap_or(usize::MAX),
        kv_type: KvType {
            keys: cache_type("state.k_type", &state.k_type)?,
            values: cache_type("state.v_type", &state.v_type)?,
        },
        precision: match &*state.precision {
            "quantized" => Precision::Quantized,
            "exact" => Precision::Exact,
            _ => return Err(ReplayError::Field("state.precision", "quantized or exact")),
        },
        kernels: None,
    })
}

/// The sampling settings of a record.
fn sampling_config(record: &Sampling<'_>) -> Result<SamplingConfig, ReplayError> {
    let stages: Stages =
        record.samplers.parse().map_err(|()| ReplayError::Field("sampling.samplers", Stages::EXPECTED))?;
    let seed: u64 = record
        .seed
        .parse()
        .map_err(|_| ReplayError::Field("sampling.seed", "the digits of a number below 2^64"))?;
    Ok(SamplingConfig {
        temperature: record.temperature.0,
        dynatemp_range: record.dynatemp_range.0,
        dynatemp_exponent: record.dynatemp_exponent.0,
        top_k: record.top_k,
        top_p: record.top_p.0,
        typical_p: record.typical_p.0,
        top_n_sigma: record.top_n_sigma.0,
        xtc_probability: record.xtc_probability.0,
        xtc_threshold: record.xtc_threshold.0,
        min_p: record.min_p.0,
        repeat_penalty: record.repeat_penalty.0,
        frequency_penalty: record.frequency_penalty.0,
        presence_penalty: record.presence_penalty.0,
        repeat_last_n: record.repeat_last_n,
        dry_multiplier: record.dry_multiplier.0,
        dry_base: record.dry_base.0,
        dry_allowed_length: record.dry_allowed_length,
        dry_penalty_last_n: record.dry_penalty_last_n,
        mirostat: record.mirostat,
        mirostat_tau: record.mirostat_tau.0,
        mirostat_eta: record.mirostat_eta.0,
        min_keep: record.min_keep,
        stages,
        seed,
    })
}

/// Why a recorded request cannot be run again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// The engine has another version.
    #[error("engine version {recorded} made the answer, this is version {ENGINE_VERSION}, whose bits can differ", ENGINE_VERSION = ENGINE_VERSION)]
    Engine {
        /// The version in the record.
        recorded: u32,
    },
    /// This engine does not know the value of a member. The second field says what it expects.
    #[error("{0}: expected {1}")]
    Field(&'static str, &'static str),
    /// The model has a different number of adapters here.
    #[error("the answer was computed with {recorded} adapters; expected as many, in their order")]
    Adapters {
        /// How many the record names.
        recorded: usize,
    },
    /// The request was refused.
    #[error("{0}")]
    Front(FrontError),
}

impl From<FrontError> for ReplayError {
    fn from(error: FrontError) -> Self {
        Self::Front(error)
    }
}

/// A recorded request that is to be run again.
struct Replay<'a> {
    asked: &'a Asked<'a>,
    sampling: SamplingConfig,
    format: Option<Format>,
    biases: Vec<(u32, f32)>,
    scales: Vec<f32>,
    breakers: Vec<&'a str>,
    stop: Vec<&'a str>,
    tools: Vec<Tool<'a>>,
}

impl<'a> Replay<'a> {
    /// Reads the request from the record's member `work`.
    ///
    /// # Errors
    /// If this engine cannot run the request, because its version differs or it does not know a name.
    fn new(work: &'a WorkRecord<'a>) -> Result<Self, ReplayError> {
        if work.engine != ENGINE_VERSION {
            return Err(ReplayError::Engine { recorded: work.engine });
        }
        let asked = &work.request;
        let format = match &asked.format {
            None => None,
            Some(record) => Some(format(record)?),
        };
        Ok(Self {
            asked,
            sampling: sampling_config(&asked.sampling)?,
            format,
            biases: asked.logit_bias.iter().map(|&(token, Float(bias))| (token, bias)).collect(),
            scales: asked.adapters.iter().map(|&Float(scale)| scale).collect(),
            breakers: asked.breakers.iter().map(|text| &**text).collect(),
            stop: asked.stop.iter().map(|text| &**text).collect(),
            tools: asked
                .tools
                .iter()
                .map(|tool| Tool { name: &tool.name, description: "", parameters: &tool.parameters })
                .collect(),
        })
    }

    /// The request for this prompt and up to `max_tokens`, with a receipt.
    ///
    /// # Errors
    /// If this engine does not know a name in it.
    fn request<'r>(
        &'r self,
        prompt: &'r [u32],
        max_tokens: usize,
        compress: Compress,
    ) -> Result<Request<'r>, ReplayError> {
        let asked = self.asked;
        let grammar = match &asked.constraint {
            None => None,
            Some(Constraint { kind, text }) => Some(match &**kind {
                "gbnf" => AnswerGrammar::Gbnf(text),
                "json_schema" => AnswerGrammar::JsonSchema(text, Options::GENERATED),
                "json_schema_any_order" => {
                    AnswerGrammar::JsonSchema(text, Options { order: Order::Any, ..Options::GENERATED })
                }
                "json_object" if text.is_empty() => AnswerGrammar::JsonObject,
                _ => {
                    let expected = "gbnf, json_schema, json_schema_any_order, or json_object without a text";
                    return Err(ReplayError::Field("constraint.kind", expected));
                }
            }),
        };
        let tool_choice = match &*asked.tool_choice {
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            other => match other.strip_prefix("named ") {
                Some(name) => ToolChoice::Named(name),
                None => return Err(ReplayError::Field("tool_choice", "auto, required or named NAME")),
            },
        };
        Ok(Request {
            sampling: self.sampling,
            logit_bias: &self.biases,
            grammar,
            tool_choice,
            parallel_tool_calls: asked.parallel_tool_calls,
            thinking_budget: asked.thinking_budget.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            ignore_eos: asked.ignore_eos,
            breakers: &self.breakers,
            stop: &self.stop,
            tell_apart: asked.format.as_ref().is_some_and(|format| format.tell_apart),
            adapters: Some(&self.scales),
            receipt: Some(compress),
            ..Request::new(Prompt::Encoded(prompt, self.format, &self.tools), max_tokens)
        })
    }
}

fn format(record: &FormatRecord<'_>) -> Result<Format, ReplayError> {
    let form = Form::named(&record.form)
        .ok_or(ReplayError::Field("format.form", "the name of a way to call tools"))?;
    let reasoning = match &record.reasoning {
        None => None,
        Some(name) => Some(
            Reasoning::named(name)
                .ok_or(ReplayError::Field("format.reasoning", "the name of a way to mark thoughts"))?,
        ),
    };
    let &FormatRecord { has_thought, starts_open, .. } = record;
    Ok(Format { form, reasoning, starts_open, has_thought, is_held: false })
}
