//! [`Wish`]: a request for text in the form that the engine takes, made from the fields that its route has.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;

use llm::chat::Tool;
use llm::front::{self, AnswerGrammar, ChatFormat, FrontError, LogprobWish, MAX_LOGPROBS};
use llm::quoted::Quoted;
use llm::sampling::{DRY_BREAKERS, SamplingConfig};

use grammar::json_schema::{Options, Order};
use serde_json::value::RawValue;

use super::conversation::{self, ToolChoice};
use super::fields::{AdapterScale, Extra, Fields};
use super::route::Shape;
use super::said::{Said, said};
use super::values::{Logprobs, Prompt};
use crate::engine::EngineError;
use crate::error::ApiError;

/// Most answers to one request, for all its prompts together.
pub const MAX_CHOICES: usize = 8;

/// How tokens are chosen if a request does not say: as in llama.cpp's server.
pub const SAMPLING: SamplingConfig =
    SamplingConfig { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, ..SamplingConfig::greedy() };

/// A request for text in the form that the engine takes.
#[derive(Debug)]
pub struct Wish<'b> {
    /// The shape of the answer.
    pub shape: Shape,
    /// The name of the model that is to answer.
    pub model: Option<&'b str>,
    /// The prompts that are to be continued.
    pub prompts: Vec<Asked<'b>>,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// Whether the request sets that number.
    pub names_max_tokens: bool,
    /// After how many milliseconds the answer is cut off.
    pub timeout_ms: Option<u64>,
    /// How many answers to each prompt.
    pub n: usize,
    /// Whether an answer begins with its prompt.
    pub echo: bool,
    /// How tokens are chosen; the seed is separate.
    pub sampling: SamplingConfig,
    /// The seed of the first answer; `None` if any will do.
    pub seed: Option<u64>,
    /// Stop texts.
    pub stop: Vec<&'b str>,
    /// Numbers that are added to logits.
    pub logit_bias: &'b [(u32, f32)],
    /// The factors of adapters.
    pub adapters: Option<&'b [AdapterScale]>,
    /// Texts that interrupt repetitions for DRY.
    pub breakers: Vec<&'b str>,
    /// Whether tokens that end a text are never chosen.
    pub ignore_eos: bool,
    /// Which log-probabilities are wanted.
    pub logprobs: Option<LogprobWish>,
    /// The grammar that the answer's text must match.
    pub grammar: Option<AnswerGrammar<'b>>,
    /// The field that has the grammar.
    pub grammar_field: &'static str,
    /// The tools that the model may call.
    pub tools: Vec<Tool<'b>>,
    /// Whether the model may or must call tools.
    pub tool_choice: ToolChoice<'b>,
    /// Whether an answer may call several tools.
    pub parallel_tool_calls: bool,
    /// Most tokens of the answer's thoughts.
    pub thinking_budget: Option<usize>,
    /// Whether the model is to think first.
    pub enable_thinking: Option<bool>,
    /// How much it is to think.
    pub reasoning_effort: Option<&'b str>,
    /// Whether text, thoughts and calls are sent separately.
    pub is_apart: bool,
    /// Whether a receipt is to be kept.
    pub receipt: bool,
    /// The nonce for the receipt.
    pub nonce: Option<&'b str>,
    /// Whether the client wants the answer as it is generated.
    pub stream: bool,
    /// Whether a stream ends with the token counts.
    pub include_usage: bool,
}

/// A prompt that is to be continued.
#[derive(Debug)]
pub enum Asked<'b> {
    /// A conversation.
    Messages(Vec<Said<'b>>),
    /// A text.
    Text(&'b str),
    /// Tokens.
    Ids(Cow<'b, [u32]>),
    /// A gap.
    Gap(Gap<'b>),
}

/// A gap that is to be filled.
#[derive(Debug, Clone, Copy)]
pub struct Gap<'b> {
    /// The text before it.
    pub prefix: &'b str,
    /// The text that its filling begins with.
    pub prompt: &'b str,
    /// The text after it.
    pub suffix: &'b str,
    /// Other texts that may help.
    pub extra: &'b [Extra<'b>],
}

impl<'b> Wish<'b> {
    /// Reads the fields of a request to a route of this shape.
    ///
    /// # Errors
    /// The first field that is missing, out of range or not supported.
    pub fn new(shape: Shape, fields: &'b Fields<'b>) -> Result<Self, ApiError> {
        refuse_unsupported(shape, fields)?;
        if fields.receipt == Some(true) && matches!(shape, Shape::Native | Shape::Infill) {
            let message = "answers here have no name by which a receipt could be asked for; those of /v1/completions have";
            return Err(ApiError::field("receipt", message));
        }
        let has_choices = !matches!(shape, Shape::Messages | Shape::Responses);
        let n = fields.n.filter(|_| has_choices).map_or(1, |n| n as usize);
        if !(1..=MAX_CHOICES).contains(&n) {
            return Err(ApiError::field("n", format!("expected 1 to {MAX_CHOICES}")));
        }
        let mut stop = Vec::new();
        let stop_texts = fields.stop.as_ref().map_or(&[][..], |stop| &stop.0);
        stop.try_reserve_exact(stop_texts.len()).map_err(|_| ApiError::out_of_memory())?;
        // An empty stop text would end every answer before its first token.
        stop.extend(stop_texts.iter().map(|text| &*text.0).filter(|text| !text.is_empty()));
        let stream_options = fields.stream_options.as_ref();
        let (grammar, grammar_field) = grammar(fields)?;
        let tools = tools(shape, fields)?;
        let (max_tokens, names_max_tokens) = max_tokens(shape, fields)?;
        let after_sampling = fields.post_sampling_probs.unwrap_or(false);
        Ok(Self {
            shape,
            model: fields.model.as_ref().map(|name| &*name.0).filter(|name| !name.is_empty()),
            prompts: prompts(shape, fields, n)?,
            max_tokens,
            names_max_tokens,
            timeout_ms: timeout(fields.timeout_ms)?,
            n,
            echo: fields.echo.unwrap_or(false),
            sampling: sampling(fields)?,
            seed: seed(fields)?,
            stop,
            logit_bias: fields.logit_bias.as_ref().map_or(&[], |biases| &biases.0),
            adapters: fields.lora.as_ref().map(|scales| &scales.0[..]),
            breakers: breakers(fields)?,
            ignore_eos: fields.ignore_eos.unwrap_or(false),
            logprobs: n_logprobs(shape, fields)?.map(|n_top| LogprobWish { n_top, after_sampling }),
            grammar,
            grammar_field,
            tool_choice: tool_choice(fields, &tools)?,
            tools,
            parallel_tool_calls: fields
                .parallel_tool_calls
                .unwrap_or_else(|| !ToolChoice::disables_parallel(fields.tool_choice)),
            thinking_budget: thinking_budget(fields)?,
            enable_thinking: enable_thinking(fields)?,
            reasoning_effort: reasoning_effort(fields),
            is_apart: is_apart(shape, fields)?,
            receipt: fields.receipt.unwrap_or(false),
            nonce: fields.nonce.as_ref().map(|nonce| &*nonce.0),
            stream: fields.stream.unwrap_or(false),
            include_usage: stream_options.and_then(|options| options.include_usage).unwrap_or(false),
        })
    }
}

impl Wish<'_> {
    /// How the conversation becomes a prompt.
    pub fn format(&self) -> ChatFormat<'_> {
        let &Self { enable_thinking, reasoning_effort, ref tools, .. } = self;
        ChatFormat { enable_thinking, reasoning_effort, tools, ..ChatFormat::default() }
    }

    /// Whether tools may be called, in the form that the engine takes. If tools may not be called, there are none.
    pub fn engine_choice(&self) -> front::ToolChoice<'_> {
        match &self.tool_choice {
            ToolChoice::Auto | ToolChoice::None => front::ToolChoice::Auto,
            ToolChoice::Required => front::ToolChoice::Required,
            ToolChoice::Named(name) => front::ToolChoice::Named(name),
        }
    }

    /// The refusal for an error of the engine, in terms of the request's fields.
    pub fn refusal(&self, error: EngineError) -> ApiError {
        if matches!(&error, EngineError::Front(front) if front.is_out_of_memory()) {
            return error.into();
        }
        if let EngineError::Front(front @ FrontError::Tool { .. }) = &error {
            let usual = ApiError::from(EngineError::Front(front.clone()));
            let field = usual.param.as_deref().unwrap_or("tools");
            // On other routes a tool's fields are beside its type.
            return match self.shape {
                Shape::Messages => ApiError::field(
                    field.replace(".function", "").replace(".parameters", ".input_schema"),
                    front,
                ),
                Shape::Responses => ApiError::field(field.replace(".function", ""), front),
                _ => usual,
            };
        }
        let EngineError::Front(front @ (FrontError::Schema(_) | FrontError::Grammar(_))) = &error else {
            return error.into();
        };
        let field = if self.grammar.is_some() { self.grammar_field } else { "tools" };
        let refusal = ApiError::field(field, front);
        let usual = ApiError::from(error);
        if usual.param.is_some() { refusal } else { usual }
    }
}

/// Whether the model is to think first.
fn enable_thinking(fields: &Fields<'_>) -> Result<Option<bool>, ApiError> {
    let known = fields.chat_template_kwargs.as_ref().and_then(|known| known.enable_thinking);
    match fields.thinking.as_ref().map(|thinking| thinking.kind.as_ref().map_or("", |kind| &*kind.0)) {
        // Models decide that for themselves, also between tools.
        None | Some("adaptive" | "between_tools") => Ok(known),
        Some("enabled") => Ok(Some(true)),
        Some("disabled") => Ok(Some(false)),
        Some(_) => Err(ApiError::field(
            "thinking.type",
            "expected \"enabled\", \"disabled\", \"adaptive\" or \"between_tools\"",
        )),
    }
}

/// How much the model is to think.
fn reasoning_effort<'b>(fields: &'b Fields<'b>) -> Option<&'b str> {
    let of_response = fields.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_ref());
    let of_message = fields.output_config.as_ref().and_then(|config| config.effort.as_ref());
    fields.reasoning_effort.as_ref().or(of_response).or(of_message).map(|effort| &*effort.0)
}

/// The grammar that the answer's text must match, and the field that has it.
fn grammar<'b>(fields: &'b Fields<'b>) -> Result<(Option<AnswerGrammar<'b>>, &'static str), ApiError> {
    let gbnf = fields.grammar.as_ref().map(|text| &*text.0).filter(|text| !text.is_empty());
    let of_schema = |schema: &'b RawValue, strict: Option<bool>| {
        // Members come in the order of the schema unless the request asks for any order.
        let order = if strict == Some(false) { Order::Any } else { Order::Schema };
        AnswerGrammar::JsonSchema(schema.get(), Options { order, ..Options::GENERATED })
    };
    let of_response = fields.text.as_ref().and_then(|text| text.format.as_ref());
    let of_message = fields.output_config.as_ref().and_then(|config| config.format.as_ref());
    let format = fields.response_format.as_ref().or(of_response).or(of_message);
    // Where the schema is: in OpenAI's place, or in that of llama.cpp and of responses.
    let [base, named_field, plain_field] = match (&fields.response_format, of_response) {
        (None, None) => {
            ["output_config.format", "output_config.format.json_schema.schema", "output_config.format.schema"]
        }
        (None, _) => ["text.format", "text.format.json_schema.schema", "text.format.schema"],
        _ => ["response_format", "response_format.json_schema.schema", "response_format.schema"],
    };
    let mut field = plain_field;
    let of_format = match format {
        None => None,
        Some(format) => match format.kind.as_ref().map(|kind| &*kind.0) {
            None | Some("text") => None,
            Some("json_object") => {
                Some(format.schema.map_or(AnswerGrammar::JsonObject, |schema| of_schema(schema, None)))
            }
            Some("json_schema") => {
                let named = format.json_schema.as_ref();
                let of_name = named.and_then(|named| named.schema);
                let schema = of_name.or(format.schema).ok_or_else(|| {
                    ApiError::field(format!("{base}.json_schema"), "expected an object with a schema")
                })?;
                if of_name.is_some() {
                    field = named_field;
                }
                Some(of_schema(schema, named.and_then(|named| named.strict).or(format.strict)))
            }
            Some(kind) => {
                let kind = Quoted(kind);
                let message =
                    format!("{kind} is not supported, only \"text\", \"json_object\" and \"json_schema\"");
                return Err(ApiError::field(format!("{base}.type"), message));
            }
        },
    };
    let schema = fields.json_schema.map(|schema| of_schema(schema, None));
    let asked = [(gbnf.map(AnswerGrammar::Gbnf), "grammar"), (schema, "json_schema"), (of_format, field)];
    let mut asked = asked.into_iter().filter(|(grammar, _)| grammar.is_some());
    let (grammar, field) = asked.next().unwrap_or_default();
    if asked.next().is_some() {
        return Err(ApiError::field(
            "grammar",
            "only one of grammar, json_schema and response_format can be kept to",
        ));
    }
    let has_tools = fields.tools.as_ref().is_some_and(|tools| !tools.0.is_empty());
    // With a schema, an answer either satisfies it or calls tools.
    let is_gbnf = matches!(grammar, Some(AnswerGrammar::Gbnf(_)));
    if is_gbnf && has_tools && ToolChoice::of(fields.tool_choice)? != ToolChoice::None {
        return Err(ApiError::field("tools", "an answer that keeps to a grammar cannot call tools"));
    }
    Ok((grammar, field))
}

/// The tools that the model may call: none if it may not call any.
fn tools<'b>(shape: Shape, fields: &'b Fields<'b>) -> Result<Vec<Tool<'b>>, ApiError> {
    let asked = fields.tools.as_ref().map_or(&[][..], |tools| &tools.0);
    if !shape.is_chat() && !asked.is_empty() {
        return Err(ApiError::field(
            "tools",
            "supported in conversations only, such as /v1/chat/completions",
        ));
    }
    match ToolChoice::of(fields.tool_choice)? {
        ToolChoice::None => Ok(Vec::new()),
        _ => conversation::tools(shape, asked),
    }
}

/// Whether the model may or must call these tools.
fn tool_choice<'b>(fields: &'b Fields<'b>, tools: &[Tool<'_>]) -> Result<ToolChoice<'b>, ApiError> {
    let choice = ToolChoice::of(fields.tool_choice)?;
    match &choice {
        ToolChoice::Required | ToolChoice::Named(_) if tools.is_empty() => {
            Err(ApiError::field("tool_choice", "expected tools beside it, of which one is to be called"))
        }
        ToolChoice::Named(name) if !tools.iter().any(|tool| tool.name == name) => {
            Err(ApiError::field("tool_choice", format!("{} is not among the tools", Quoted(name))))
        }
        _ => Ok(choice),
    }
}

/// Most tokens of a thought.
fn thinking_budget(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let of_message = fields
        .thinking
        .as_ref()
        .filter(|thinking| thinking.kind.as_ref().is_some_and(|kind| &*kind.0 == "enabled"));
    let (field, asked) = match (fields.thinking_budget_tokens, of_message) {
        (None, Some(thinking)) => ("thinking.budget_tokens", thinking.budget_tokens),
        (asked, _) => ("thinking_budget_tokens", asked),
    };
    match asked {
        None | Some(-1) => Ok(None),
        Some(n) => match usize::try_from(n) {
            Ok(n) => Ok(Some(n)),
            Err(_) => Err(ApiError::field(field, "expected 0 or more, or -1 for no limit")),
        },
    }
}

/// Whether text, thoughts and calls are to be sent separately: in a chat, unless the request says otherwise.
fn is_apart(shape: Shape, fields: &Fields<'_>) -> Result<bool, ApiError> {
    let format = fields.reasoning_format.as_ref().map(|format| &*format.0);
    match format {
        None | Some("auto" | "deepseek") => Ok(shape.is_chat()),
        Some("none") if !tools(shape, fields)?.is_empty() => {
            Err(ApiError::field("reasoning_format", "\"none\" is not supported beside tools"))
        }
        Some("none") => Ok(false),
        Some(_) => Err(ApiError::field("reasoning_format", "expected \"auto\", \"deepseek\" or \"none\"")),
    }
}

/// Refuses a field that would change the answer and is not supported, and names it; it is not ignored.
fn refuse_unsupported(shape: Shape, fields: &Fields<'_>) -> Result<(), ApiError> {
    if fields.echo == Some(true) && (shape != Shape::Completion || fields.logprobs.is_some()) {
        return Err(ApiError::field("echo", "supported in /v1/completions only, and without logprobs"));
    }
    if fields.suffix.as_ref().is_some_and(|suffix| !suffix.0.is_empty()) {
        return Err(ApiError::field("suffix", "not supported"));
    }
    if fields.best_of.is_some_and(|best_of| best_of > 1) {
        return Err(ApiError::field("best_of", "not supported; n gives several answers"));
    }
    let of_response = [
        (
            "previous_response_id",
            fields.previous_response_id.is_some(),
            "nothing is stored here; send the whole conversation as input",
        ),
        (
            "conversation",
            fields.conversation.is_some(),
            "nothing is stored here; send the whole conversation as input",
        ),
        ("background", fields.background == Some(true), "not supported; the answer comes when it is there"),
        (
            "top_logprobs",
            fields.top_logprobs.is_some_and(|n| n > 0),
            "supported in /v1/chat/completions only",
        ),
    ];
    if let (Shape::Responses, Some((name, _, why))) =
        (shape, of_response.iter().find(|(_, is_asked, _)| *is_asked))
    {
        return Err(ApiError::field(*name, why));
    }
    if shape != Shape::Infill && fields.samplers.is_some_and(|samplers| samplers.has_infill) {
        return Err(ApiError::field("samplers", "\"infill\" is supported in /infill only"));
    }
    let scales = fields.lora.as_ref().map_or(&[][..], |scales| &scales.0);
    if scales.iter().any(|scale| !scale.scale.is_finite()) {
        return Err(ApiError::field("lora", "expected finite scales"));
    }
    Ok(())
}

fn prompts<'b>(shape: Shape, fields: &'b Fields<'b>, n: usize) -> Result<Vec<Asked<'b>>, ApiError> {
    let mut prompts = Vec::new();
    if shape.is_chat() {
        prompts.push(Asked::Messages(said(shape, fields)?));
        return Ok(prompts);
    }
    let asked = fields.prompt.as_ref().map_or(&[][..], |prompts| &prompts.0);
    if shape == Shape::Infill {
        let prompt = match asked {
            [] => "",
            [Prompt::Text(text)] => text,
            _ => return Err(ApiError::field("prompt", "expected a text")),
        };
        let (Some(prefix), Some(suffix)) = (&fields.input_prefix, &fields.input_suffix) else {
            let missing = if fields.input_prefix.is_none() { "input_prefix" } else { "input_suffix" };
            return Err(ApiError::field(missing, "expected a text"));
        };
        let extra = fields.input_extra.as_ref().map_or(&[][..], |extra| &extra.0);
        prompts.push(Asked::Gap(Gap { prefix: &prefix.0, prompt, suffix: &suffix.0, extra }));
        return Ok(prompts);
    }
    match asked.len() {
        0 => return Err(ApiError::field("prompt", "expected a text, token ids, or an array of these")),
        n_prompts if n_prompts > MAX_CHOICES / n => {
            let message =
                format!("{n_prompts} prompts, and {n} answers to each, are more than {MAX_CHOICES}");
            return Err(ApiError::field("prompt", message));
        }
        _ => {}
    }
    prompts.extend(asked.iter().map(|prompt| match prompt {
        Prompt::Text(text) => Asked::Text(text),
        Prompt::Ids(ids) => Asked::Ids(Cow::Borrowed(ids)),
    }));
    Ok(prompts)
}

/// After how many milliseconds an answer is cut off, if at all.
///
/// # Errors
/// If it would end before it begins.
pub fn timeout(ms: Option<u64>) -> Result<Option<u64>, ApiError> {
    match ms {
        Some(0) => Err(ApiError::field("timeout_ms", "expected 1 or more milliseconds")),
        ms => Ok(ms),
    }
}

/// Most tokens of an answer, and whether the request sets that number. If it does not, the answer may fill the context, except
/// that OpenAI's completions have 16 tokens.
fn max_tokens(shape: Shape, fields: &Fields<'_>) -> Result<(usize, bool), ApiError> {
    let named = [
        ("max_completion_tokens", fields.max_completion_tokens),
        ("max_output_tokens", fields.max_output_tokens),
        ("max_tokens", fields.max_tokens),
        ("n_predict", fields.n_predict),
    ];
    let Some((name, n)) = named.into_iter().find_map(|(name, n)| Some((name, n?))) else {
        return Ok((if shape == Shape::Completion { 16 } else { usize::MAX }, false));
    };
    match n {
        -1 => Ok((usize::MAX, false)),
        // A client asks for no tokens in order to have the prompt computed, but a text without tokens is not computed.
        0 if shape == Shape::Infill => Ok((1, true)),
        _ => {
            let expected = "expected 0 or more, or -1 for no limit";
            usize::try_from(n).map(|n| (n, true)).map_err(|_| ApiError::field(name, expected))
        }
    }
}

fn sampling(fields: &Fields<'_>) -> Result<SamplingConfig, ApiError> {
    let or = |value: Option<f32>, usual: f32| value.unwrap_or(usual);
    let config = SamplingConfig {
        temperature: or(fields.temperature, SAMPLING.temperature),
        dynatemp_range: or(fields.dynatemp_range, SAMPLING.dynatemp_range),
        dynatemp_exponent: or(fields.dynatemp_exponent, SAMPLING.dynatemp_exponent),
        top_k: fields.top_k.map_or(SAMPLING.top_k, |k| k.clamp(0, u32::MAX.into()) as u32),
        top_p: or(fields.top_p, SAMPLING.top_p),
        min_p: or(fields.min_p, SAMPLING.min_p),
        typical_p: or(fields.typical_p, SAMPLING.typical_p),
        top_n_sigma: or(fields.top_n_sigma, SAMPLING.top_n_sigma),
        xtc_probability: or(fields.xtc_probability, SAMPLING.xtc_probability),
        xtc_threshold: or(fields.xtc_threshold, SAMPLING.xtc_threshold),
        repeat_penalty: or(fields.repeat_penalty, SAMPLING.repeat_penalty),
        frequency_penalty: or(fields.frequency_penalty, SAMPLING.frequency_penalty),
        presence_penalty: or(fields.presence_penalty, SAMPLING.presence_penalty),
        repeat_last_n: window("repeat_last_n", fields.repeat_last_n, SAMPLING.repeat_last_n)?,
        dry_multiplier: or(fields.dry_multiplier, SAMPLING.dry_multiplier),
        dry_base: or(fields.dry_base, SAMPLING.dry_base),
        dry_allowed_length: count(
            "dry_allowed_length",
            fields.dry_allowed_length,
            SAMPLING.dry_allowed_length,
        )?,
        dry_penalty_last_n: window(
            "dry_penalty_last_n",
            fields.dry_penalty_last_n,
            SAMPLING.dry_penalty_last_n,
        )?,
        mirostat: count("mirostat", fields.mirostat, SAMPLING.mirostat)?,
        mirostat_tau: or(fields.mirostat_tau, SAMPLING.mirostat_tau),
        mirostat_eta: or(fields.mirostat_eta, SAMPLING.mirostat_eta),
        min_keep: count("min_keep", fields.min_keep, SAMPLING.min_keep)?,
        stages: fields.samplers.map_or(SAMPLING.stages, |samplers| samplers.stages),
        seed: 0,
    };
    match config.validate() {
        Err(llm::sampling::SamplingError::Parameter { name, value, expected }) => {
            Err(ApiError::field(name, format!("{value} is out of its range: it must be {expected}")))
        }
        Err(error) => Err(ApiError::bad(format!("{error}"))),
        Ok(()) => Ok(config),
    }
}

fn breakers<'b>(fields: &'b Fields<'b>) -> Result<Vec<&'b str>, ApiError> {
    let mut breakers = Vec::new();
    let asked = fields.dry_sequence_breakers.as_ref().map(|texts| texts.0.iter().map(|text| &*text.0));
    let n_asked = asked.as_ref().map_or(DRY_BREAKERS.len(), ExactSizeIterator::len);
    breakers.try_reserve_exact(n_asked).map_err(|_| ApiError::out_of_memory())?;
    match asked {
        Some(texts) => breakers.extend(texts),
        None => breakers.extend_from_slice(DRY_BREAKERS),
    }
    Ok(breakers)
}

/// How many tokens to look back.
fn window(name: &'static str, n: Option<i64>, usual: u32) -> Result<u32, ApiError> {
    match n {
        Some(-1) => Ok(SamplingConfig::WHOLE_CONTEXT),
        Some(..-1) => Err(ApiError::field(name, "expected 0 or more, or -1")),
        n => count(name, n, usual),
    }
}

fn count(name: &'static str, n: Option<i64>, usual: u32) -> Result<u32, ApiError> {
    match n {
        None => Ok(usual),
        Some(..0) => Err(ApiError::field(name, "expected 0 or more")),
        Some(n) => Ok(u32::try_from(n).unwrap_or(u32::MAX)),
    }
}

/// The seed, or `None` if any will do.
fn seed(fields: &Fields<'_>) -> Result<Option<u64>, ApiError> {
    match fields.seed {
        None | Some(-1) => Ok(None),
        Some(seed) => {
            // A negative seed stands for its bits.
            let bits = u64::try_from(seed).or_else(|_| i64::try_from(seed).map(|seed| seed as u64));
            bits.map(Some).map_err(|_| ApiError::field("seed", "expected a whole number of 64 bits"))
        }
    }
}

fn n_logprobs(shape: Shape, fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    if matches!(shape, Shape::Messages | Shape::Responses) {
        return Ok(None);
    }
    let logprobs = match (shape, fields.n_probs) {
        (Shape::Native | Shape::Infill, Some(n @ 1..)) => Some(Logprobs::Of(n)),
        _ => fields.logprobs,
    };
    let (name, n) = match (shape, logprobs, fields.top_logprobs) {
        (_, None | Some(Logprobs::Are(false)), None | Some(0)) => return Ok(None),
        (Shape::Chat, Some(Logprobs::Are(true)), top) => ("top_logprobs", top.unwrap_or(0)),
        (Shape::Chat, Some(Logprobs::Of(_)), _) => {
            return Err(ApiError::field(
                "logprobs",
                "expected a boolean; top_logprobs says of how many tokens",
            ));
        }
        (Shape::Chat, _, Some(_)) => {
            return Err(ApiError::field("top_logprobs", "logprobs must be true beside it"));
        }
        (_, Some(Logprobs::Of(n)), _) => ("logprobs", n),
        (_, Some(Logprobs::Are(true)), _) => ("logprobs", 1),
        (_, _, Some(_)) => return Ok(None),
    };
    if n as usize > MAX_LOGPROBS {
        return Err(ApiError::field(name, format!("expected up to {MAX_LOGPROBS}")));
    }
    Ok(Some(n as usize))
}
