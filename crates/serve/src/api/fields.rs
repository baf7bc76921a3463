//! The fields of requests for text on all routes. Each route uses its own.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::conversation::{Content, Message, Tool};
use super::json::{List, Text};
use super::values::{Biases, Input, Logprobs, MAX_IDS, MAX_MESSAGES, MAX_PARTS, Prompts, Samplers, Stop};

/// Most tools.
pub const MAX_TOOLS: usize = 512;
/// Most texts that interrupt repetitions.
const MAX_BREAKERS: usize = 32;
/// Most adapters of a model.
pub const MAX_ADAPTERS: usize = 256;

/// The fields of a request for text. `null` means the same as a missing field.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields<'b> {
    /// The name of the model that is to answer.
    #[serde(borrow)]
    pub model: Option<Text<'b>>,
    /// A conversation.
    #[serde(borrow)]
    pub messages: Option<List<Message<'b>, MAX_MESSAGES>>,
    /// The system prompt of messages or of a response.
    #[serde(borrow, alias = "instructions")]
    pub system: Content<'b>,
    /// A conversation, for a response.
    #[serde(borrow)]
    pub input: Option<Input<'b>>,
    /// Texts to be continued.
    #[serde(borrow)]
    pub prompt: Option<Prompts<'b>>,
    /// The text before a gap that is to be filled.
    #[serde(borrow)]
    pub input_prefix: Option<Text<'b>>,
    /// The text after it.
    #[serde(borrow)]
    pub input_suffix: Option<Text<'b>>,
    /// Other texts that may help, such as other files. If there is no room for all, the last ones are kept.
    #[serde(borrow)]
    pub input_extra: Option<List<Extra<'b>, MAX_PARTS>>,
    /// Most tokens of an answer.
    pub max_tokens: Option<i64>,
    /// The newer name for it.
    pub max_completion_tokens: Option<i64>,
    /// The name for it in responses.
    pub max_output_tokens: Option<i64>,
    /// llama.cpp's name for it; -1 means as many as there is room for.
    pub n_predict: Option<i64>,
    /// After how many milliseconds the answer is cut off.
    pub timeout_ms: Option<u64>,
    /// How many answers are wanted.
    pub n: Option<u32>,
    /// See [`SamplingConfig`](llm::sampling::SamplingConfig), also for the fields below.
    pub temperature: Option<f32>,
    /// 0 or less keeps all tokens.
    pub top_k: Option<i64>,
    /// From 0 to 1.
    pub top_p: Option<f32>,
    /// From 0 to 1.
    pub min_p: Option<f32>,
    /// From 0 to 1.
    pub typical_p: Option<f32>,
    /// 0 or less changes nothing.
    pub top_n_sigma: Option<f32>,
    /// From 0 to 1.
    pub xtc_probability: Option<f32>,
    /// From 0 to 1.
    pub xtc_threshold: Option<f32>,
    /// 0 changes nothing.
    pub dynatemp_range: Option<f32>,
    /// 0 or more.
    pub dynatemp_exponent: Option<f32>,
    /// 0 changes nothing.
    pub dry_multiplier: Option<f32>,
    /// 1 or more.
    pub dry_base: Option<f32>,
    /// 0 or more.
    pub dry_allowed_length: Option<i64>,
    /// -1 means the whole context.
    pub dry_penalty_last_n: Option<i64>,
    /// Texts that interrupt repetitions.
    #[serde(borrow)]
    pub dry_sequence_breakers: Option<List<Text<'b>, MAX_BREAKERS>>,
    /// 0, 1 or 2.
    pub mirostat: Option<i64>,
    /// 0 or more.
    pub mirostat_tau: Option<f32>,
    /// 0 or more.
    pub mirostat_eta: Option<f32>,
    /// Some filters leave at least this many candidates.
    pub min_keep: Option<i64>,
    /// The stages, in order.
    pub samplers: Option<Samplers>,
    /// Whether tokens that end a text are never chosen.
    pub ignore_eos: Option<bool>,
    /// 1 changes nothing.
    pub repeat_penalty: Option<f32>,
    /// -1 means the whole context.
    pub repeat_last_n: Option<i64>,
    /// 0 changes nothing.
    pub frequency_penalty: Option<f32>,
    /// 0 changes nothing.
    pub presence_penalty: Option<f32>,
    /// -1 means a random seed.
    pub seed: Option<i128>,
    /// Texts that end an answer.
    #[serde(borrow, alias = "stop_sequences")]
    pub stop: Option<Stop<'b>>,
    /// Numbers that are added to the logits of some tokens.
    pub logit_bias: Option<Biases>,
    /// For conversations: whether log-probabilities are wanted. On other routes: for how many tokens at each position.
    pub logprobs: Option<Logprobs>,
    /// For conversations: for how many tokens at each position.
    pub top_logprobs: Option<u32>,
    /// llama.cpp's name for it in its own completion route.
    pub n_probs: Option<u32>,
    /// Whether the probabilities are those after the filters.
    pub post_sampling_probs: Option<bool>,
    /// Whether the client wants the answer as it is generated.
    pub stream: Option<bool>,
    /// Options of the stream.
    pub stream_options: Option<StreamOptions>,
    /// The format of the answer.
    #[serde(borrow)]
    pub response_format: Option<ResponseFormat<'b>>,
    /// The format of a response.
    #[serde(borrow)]
    pub text: Option<TextForm<'b>>,
    /// The format of a message, and how much the model is to think.
    #[serde(borrow)]
    pub output_config: Option<OutputConfig<'b>>,
    /// A grammar in GBNF that the answer must match.
    #[serde(borrow)]
    pub grammar: Option<Text<'b>>,
    /// A JSON schema that the answer must satisfy.
    #[serde(borrow)]
    pub json_schema: Option<&'b RawValue>,
    /// The tools that the model may call.
    #[serde(borrow)]
    pub tools: Option<List<Tool<'b>, MAX_TOOLS>>,
    /// Whether the model may or must call tools.
    #[serde(borrow)]
    pub tool_choice: Option<&'b RawValue>,
    /// Whether an answer may call several tools.
    pub parallel_tool_calls: Option<bool>,
    /// Most tokens of the answer's thoughts; -1 means no limit.
    #[serde(alias = "reasoning_budget_tokens")]
    pub thinking_budget_tokens: Option<i64>,
    /// How much the model is to think.
    #[serde(borrow)]
    pub reasoning_effort: Option<Text<'b>>,
    /// The same, for a response.
    #[serde(borrow)]
    pub reasoning: Option<Reasoning<'b>>,
    /// For messages: whether the model is to think.
    #[serde(borrow)]
    pub thinking: Option<Thinking<'b>>,
    /// A field of responses that is not supported but would change the answer.
    #[serde(borrow)]
    pub previous_response_id: Option<Text<'b>>,
    /// Another such field.
    #[serde(borrow)]
    pub conversation: Option<&'b RawValue>,
    /// Whether the response is to be computed in the background.
    pub background: Option<bool>,
    /// `none` if thoughts are not to be sent separately.
    #[serde(borrow)]
    pub reasoning_format: Option<Text<'b>>,
    /// Arguments for the chat template.
    pub chat_template_kwargs: Option<TemplateArguments>,
    /// Whether the answer begins with the prompt.
    pub echo: Option<bool>,
    /// The text after the place where the answer goes.
    #[serde(borrow)]
    pub suffix: Option<Text<'b>>,
    /// The best of how many answers is wanted.
    pub best_of: Option<u32>,
    /// Whether a cached beginning may be used; this changes no answer.
    pub cache_prompt: Option<bool>,
    /// The factors of adapters; an adapter that is not listed has factor 0.
    pub lora: Option<List<AdapterScale, MAX_ADAPTERS>>,
    /// Whether a receipt of the answer is to be kept.
    pub receipt: Option<bool>,
    /// The nonce for the receipt.
    #[serde(borrow)]
    pub nonce: Option<Text<'b>>,
    /// The user that the request is for.
    #[serde(borrow)]
    pub user: Option<Text<'b>>,
}

/// A text that may help to fill a gap.
#[derive(Debug, Deserialize)]
pub struct Extra<'b> {
    /// The text.
    #[serde(borrow)]
    pub text: Text<'b>,
    /// The name of its file.
    #[serde(borrow, default)]
    pub filename: Option<Text<'b>>,
}

/// The factor of an adapter.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct AdapterScale {
    /// The adapter's number.
    pub id: u32,
    /// The factor.
    pub scale: f32,
}

/// Arguments for the chat template.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TemplateArguments {
    /// Whether the model is to think first.
    pub enable_thinking: Option<bool>,
}

/// Options of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// Whether the stream ends with the token counts.
    pub include_usage: Option<bool>,
}

/// How much the model is to think.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reasoning<'b> {
    /// For example `low`.
    #[serde(borrow)]
    pub effort: Option<Text<'b>>,
}

/// Whether the model is to think.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Thinking<'b> {
    /// `enabled`, `disabled` or `adaptive`.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'b>>,
    /// Most tokens of its thoughts.
    pub budget_tokens: Option<i64>,
}

/// The format of a message, and how much the model is to think.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct OutputConfig<'b> {
    /// As in a chat, except that the schema is beside the type.
    #[serde(borrow)]
    pub format: Option<ResponseFormat<'b>>,
    /// For example `low`.
    #[serde(borrow)]
    pub effort: Option<Text<'b>>,
}

/// The format of a response.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TextForm<'b> {
    /// As in a chat.
    #[serde(borrow)]
    pub format: Option<ResponseFormat<'b>>,
}

/// The format of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResponseFormat<'b> {
    /// `text`, `json_object` or `json_schema`.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'b>>,
    /// The schema, where OpenAI has it.
    #[serde(borrow)]
    pub json_schema: Option<NamedSchema<'b>>,
    /// The schema, where llama.cpp and responses have it.
    #[serde(borrow)]
    pub schema: Option<&'b RawValue>,
    /// For responses; see [`NamedSchema`].
    pub strict: Option<bool>,
}

/// A JSON schema and its options.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamedSchema<'b> {
    /// The schema.
    #[serde(borrow)]
    pub schema: Option<&'b RawValue>,
    /// Whether members come in the order of the schema. They do unless this is false.
    pub strict: Option<bool>,
}

/// The fields of a request to `/tokenize`.
#[derive(Debug, Deserialize)]
pub struct Tokenize<'b> {
    /// The name of a model.
    #[serde(borrow, default)]
    pub model: Option<Text<'b>>,
    /// The text.
    #[serde(borrow)]
    pub content: Text<'b>,
    /// Whether to begin with the start token, if the model asks for one.
    #[serde(default)]
    pub add_special: bool,
    /// Whether the names of special tokens in the text are encoded as these tokens.
    #[serde(default = "yes")]
    pub parse_special: bool,
}

fn yes() -> bool {
    true
}

/// The fields of a request to `/detokenize`.
#[derive(Debug, Deserialize)]
pub struct Detokenize<'b> {
    /// The name of a model.
    #[serde(borrow, default)]
    pub model: Option<Text<'b>>,
    /// The ids.
    pub tokens: List<u32, MAX_IDS>,
}

/// The fields of a request to `/models/load` or `/models/unload`.
#[derive(Debug, Deserialize)]
pub struct ModelName<'b> {
    /// The path or the name of a model.
    #[serde(borrow)]
    pub model: Text<'b>,
}
