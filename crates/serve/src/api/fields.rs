//! The fields of a request for text: those of all routes, each of which looks at its own.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::conversation::{Content, Message, Tool};
use super::json::{List, Text};
use super::values::{Biases, Input, Logprobs, MAX_IDS, MAX_MESSAGES, MAX_PARTS, Prompts, Samplers, Stop};

/// Most tools.
pub const MAX_TOOLS: usize = 512;
/// Most texts across which nothing counts as repeated.
const MAX_BREAKERS: usize = 32;
/// Most adapters of a model.
pub const MAX_ADAPTERS: usize = 256;

/// What a request for text says. `null` is as if the field were not there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields<'b> {
    /// The name of the model that is to answer.
    #[serde(borrow)]
    pub model: Option<Text<'b>>,
    /// A conversation.
    #[serde(borrow)]
    pub messages: Option<List<Message<'b>, MAX_MESSAGES>>,
    /// What stands before a conversation of messages or a response.
    #[serde(borrow, alias = "instructions")]
    pub system: Content<'b>,
    /// A conversation that is to be responded to.
    #[serde(borrow)]
    pub input: Option<Input<'b>>,
    /// Texts to be continued.
    #[serde(borrow)]
    pub prompt: Option<Prompts<'b>>,
    /// What stands before a gap that is to be filled.
    #[serde(borrow)]
    pub input_prefix: Option<Text<'b>>,
    /// What stands behind it.
    #[serde(borrow)]
    pub input_suffix: Option<Text<'b>>,
    /// What may help, such as other files; the last ones stay where there is no room for all.
    #[serde(borrow)]
    pub input_extra: Option<List<Extra<'b>, MAX_PARTS>>,
    /// Most tokens of an answer.
    pub max_tokens: Option<i64>,
    /// The newer name for it.
    pub max_completion_tokens: Option<i64>,
    /// The name of responses for it.
    pub max_output_tokens: Option<i64>,
    /// llama.cpp's name for it; -1 is as many as there is room for.
    pub n_predict: Option<i64>,
    /// After how many milliseconds the answer ends.
    pub timeout_ms: Option<u64>,
    /// How many answers.
    pub n: Option<u32>,
    /// See [`SamplingConfig`](llm::sampling::SamplingConfig), as the next ones.
    pub temperature: Option<f32>,
    /// 0 or less is all tokens.
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
    /// -1 is the whole context.
    pub dry_penalty_last_n: Option<i64>,
    /// Texts across which nothing counts as repeated.
    #[serde(borrow)]
    pub dry_sequence_breakers: Option<List<Text<'b>, MAX_BREAKERS>>,
    /// 0, 1 or 2.
    pub mirostat: Option<i64>,
    /// 0 or more.
    pub mirostat_tau: Option<f32>,
    /// 0 or more.
    pub mirostat_eta: Option<f32>,
    /// Candidates that some filters leave at least.
    pub min_keep: Option<i64>,
    /// The stages in their order.
    pub samplers: Option<Samplers>,
    /// Whether tokens that end a text are never chosen.
    pub ignore_eos: Option<bool>,
    /// 1 changes nothing.
    pub repeat_penalty: Option<f32>,
    /// -1 is the whole context.
    pub repeat_last_n: Option<i64>,
    /// 0 changes nothing.
    pub frequency_penalty: Option<f32>,
    /// 0 changes nothing.
    pub presence_penalty: Option<f32>,
    /// -1 is one that is not known beforehand.
    pub seed: Option<i128>,
    /// Texts that end an answer.
    #[serde(borrow, alias = "stop_sequences")]
    pub stop: Option<Stop<'b>>,
    /// What is added to the logits of some tokens.
    pub logit_bias: Option<Biases>,
    /// For a conversation whether, else for how many tokens at each place log-probabilities are wanted.
    pub logprobs: Option<Logprobs>,
    /// For how many tokens at each place of a conversation.
    pub top_logprobs: Option<u32>,
    /// llama.cpp's name for it in its own completion.
    pub n_probs: Option<u32>,
    /// Whether likelihoods are those of what the filters left.
    pub post_sampling_probs: Option<bool>,
    /// Whether the answer is wanted as it is generated.
    pub stream: Option<bool>,
    /// What is said beside it.
    pub stream_options: Option<StreamOptions>,
    /// The form of the answer.
    #[serde(borrow)]
    pub response_format: Option<ResponseFormat<'b>>,
    /// The form of a response.
    #[serde(borrow)]
    pub text: Option<TextForm<'b>>,
    /// The form of a message, and how much the model is to think.
    #[serde(borrow)]
    pub output_config: Option<OutputConfig<'b>>,
    /// A grammar in GBNF that the answer keeps to.
    #[serde(borrow)]
    pub grammar: Option<Text<'b>>,
    /// A JSON schema that it is valid against.
    #[serde(borrow)]
    pub json_schema: Option<&'b RawValue>,
    /// What the model may call.
    #[serde(borrow)]
    pub tools: Option<List<Tool<'b>, MAX_TOOLS>>,
    /// Whether it may, or must.
    #[serde(borrow)]
    pub tool_choice: Option<&'b RawValue>,
    /// Whether an answer may call several.
    pub parallel_tool_calls: Option<bool>,
    /// Most tokens of its thoughts; -1 is no limit.
    #[serde(alias = "reasoning_budget_tokens")]
    pub thinking_budget_tokens: Option<i64>,
    /// How much it is to think.
    #[serde(borrow)]
    pub reasoning_effort: Option<Text<'b>>,
    /// The same, of a response.
    #[serde(borrow)]
    pub reasoning: Option<Reasoning<'b>>,
    /// Whether the model is to think, of messages.
    #[serde(borrow)]
    pub thinking: Option<Thinking<'b>>,
    /// What responses have that answers would depend on.
    #[serde(borrow)]
    pub previous_response_id: Option<Text<'b>>,
    /// The same.
    #[serde(borrow)]
    pub conversation: Option<&'b RawValue>,
    /// Whether nobody waits for the response.
    pub background: Option<bool>,
    /// Whether thoughts are told apart: `none` if not.
    #[serde(borrow)]
    pub reasoning_format: Option<Text<'b>>,
    /// What the template is told.
    pub chat_template_kwargs: Option<TemplateArguments>,
    /// Whether the prompt comes before the answer.
    pub echo: Option<bool>,
    /// Where in a text the answer goes.
    #[serde(borrow)]
    pub suffix: Option<Text<'b>>,
    /// Of how many answers the best is wanted.
    pub best_of: Option<u32>,
    /// Whether a known beginning may be used, which changes no answer.
    pub cache_prompt: Option<bool>,
    /// What adapters are multiplied by: those that are not named by 0.
    pub lora: Option<List<AdapterScale, MAX_ADAPTERS>>,
    /// Whether a receipt of the answer is to be kept.
    pub receipt: Option<bool>,
    /// What is to stand in it.
    #[serde(borrow)]
    pub nonce: Option<Text<'b>>,
    /// For whom it is.
    #[serde(borrow)]
    pub user: Option<Text<'b>>,
}

/// A text that may help to fill a gap.
#[derive(Debug, Deserialize)]
pub struct Extra<'b> {
    /// The text.
    #[serde(borrow)]
    pub text: Text<'b>,
    /// The file that it is of.
    #[serde(borrow, default)]
    pub filename: Option<Text<'b>>,
}

/// What an adapter is multiplied by.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct AdapterScale {
    /// Its number.
    pub id: u32,
    /// What it is multiplied by.
    pub scale: f32,
}

/// What a template is told.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TemplateArguments {
    /// Whether the model is to think first.
    pub enable_thinking: Option<bool>,
}

/// What is said beside the text of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// Whether the counts are wanted at the end.
    pub include_usage: Option<bool>,
}

/// How much the model is to think.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reasoning<'b> {
    /// Such as `low`.
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
    /// Most tokens of that.
    pub budget_tokens: Option<i64>,
}

/// The form of a message, and how much the model is to think.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct OutputConfig<'b> {
    /// As in a chat, but that the schema stands beside the type.
    #[serde(borrow)]
    pub format: Option<ResponseFormat<'b>>,
    /// Such as `low`.
    #[serde(borrow)]
    pub effort: Option<Text<'b>>,
}

/// The form of a response.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TextForm<'b> {
    /// As in a chat.
    #[serde(borrow)]
    pub format: Option<ResponseFormat<'b>>,
}

/// The form of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResponseFormat<'b> {
    /// `text`, `json_object` or `json_schema`.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'b>>,
    /// OpenAI's place for a schema.
    #[serde(borrow)]
    pub json_schema: Option<NamedSchema<'b>>,
    /// llama.cpp's, and that of responses.
    #[serde(borrow)]
    pub schema: Option<&'b RawValue>,
    /// See [`NamedSchema`]: of responses.
    pub strict: Option<bool>,
}

/// A JSON schema, and what is said beside it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamedSchema<'b> {
    /// The schema.
    #[serde(borrow)]
    pub schema: Option<&'b RawValue>,
    /// Whether members come in the order of the schema: they do unless this is false.
    pub strict: Option<bool>,
}

/// What `/tokenize` is asked.
#[derive(Debug, Deserialize)]
pub struct Tokenize<'b> {
    /// The name of a model.
    #[serde(borrow, default)]
    pub model: Option<Text<'b>>,
    /// The text.
    #[serde(borrow)]
    pub content: Text<'b>,
    /// Whether the start token is put in front where the model asks for one.
    #[serde(default)]
    pub add_special: bool,
    /// Whether names of special tokens stand for these.
    #[serde(default = "yes")]
    pub parse_special: bool,
}

fn yes() -> bool {
    true
}

/// What `/detokenize` is asked.
#[derive(Debug, Deserialize)]
pub struct Detokenize<'b> {
    /// The name of a model.
    #[serde(borrow, default)]
    pub model: Option<Text<'b>>,
    /// The ids.
    pub tokens: List<u32, MAX_IDS>,
}

/// What `/models/load` and `/models/unload` are asked.
#[derive(Debug, Deserialize)]
pub struct ModelName<'b> {
    /// The path or the name of a model.
    #[serde(borrow)]
    pub model: Text<'b>,
}
