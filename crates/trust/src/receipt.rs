//! [`Receipt`]: a signed statement of what was asked of which model, what it was answered, and by which bits.
//!
//! Whoever has the model computes the answer again and finds the same tokens and the same [running hash](crate::logits) of
//! logits, or the statement is wrong. docs/trust.md says what each member means and why.
//!
//! What is signed is the [canonical](crate::canonical) spelling of `record`, so that a receipt may be indented, or its members
//! may be in another order, and still be right. `prompt_tokens` is not part of it, but their digest is: who does not want to
//! show the prompt leaves them out.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use serde::Deserialize;

use crate::canonical::{OutOfMemory, Writer};
use crate::fixed::Fixed;
use crate::sha256::{Compress, DIGEST_BYTES, Sha256};

/// What says of a record that it is one, and of which form.
pub const TYPE: &str = "ferrite/receipt/1";

/// Most bytes of a nonce.
pub const MAX_NONCE_BYTES: usize = 256;

/// A digest.
pub type Digest = Fixed<DIGEST_BYTES>;

/// A record, who signed it, and the prompt.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt<'a> {
    /// The public key by which the signature is checked: Ed25519 (RFC 8032).
    pub key: Fixed<32>,
    /// The tokens of the prompt, if they are to be known.
    pub prompt_tokens: Option<Vec<u32>>,
    /// What is signed.
    #[serde(borrow)]
    pub record: Record<'a>,
    /// The signature over [`TYPE`], a line feed and the canonical record.
    pub signature: Fixed<64>,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record<'a> {
    /// What made it.
    #[serde(borrow)]
    pub maker: Maker<'a>,
    /// The model.
    #[serde(borrow)]
    pub model: Model<'a>,
    /// What the client wanted to find in it.
    #[serde(borrow)]
    pub nonce: Option<Cow<'a, str>>,
    /// When the answer ended, in seconds since the beginning of 1970, if that is known.
    pub time: Option<u64>,
    /// [`TYPE`].
    #[serde(borrow)]
    pub r#type: Cow<'a, str>,
    /// What was computed.
    #[serde(borrow)]
    pub work: Work<'a>,
}

/// What made a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maker<'a> {
    /// SHA-256 of the kernel's Image, if it is known.
    pub image_sha256: Option<Digest>,
    /// Name and version.
    #[serde(borrow)]
    pub program: Cow<'a, str>,
}

/// A model, by its files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model<'a> {
    /// Those of its adapters, in their order; none if all are multiplied by 0.
    pub adapters: Vec<File>,
    /// Its parts.
    pub files: Vec<File>,
    /// What it is called there.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// A file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// What was computed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work<'a> {
    /// What came of it.
    #[serde(borrow)]
    pub answer: Answer<'a>,
    /// The version of the engine: the same gives the same bits.
    pub engine: u32,
    /// What was continued.
    pub prompt: Prompt,
    /// How.
    #[serde(borrow)]
    pub request: Asked<'a>,
    /// What else bits depend on.
    #[serde(borrow)]
    pub state: State<'a>,
    /// Counts.
    pub usage: Usage,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer<'a> {
    /// Why it ended.
    #[serde(borrow)]
    pub finish: Cow<'a, str>,
    /// The first four bytes of the running hash after each token, in hexadecimal digits.
    #[serde(borrow)]
    pub links: Cow<'a, str>,
    /// The running hash at the end.
    pub logits_sha256: Digest,
    /// All tokens that were drawn: the one that ended the text, too.
    pub tokens: Cow<'a, [u32]>,
}

/// What was continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// How many tokens.
    pub n_tokens: u64,
    /// SHA-256 of their ids, each as four bytes, little-endian.
    pub sha256: Digest,
}

/// What else bits depend on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State<'a> {
    /// The format of keys.
    #[serde(borrow)]
    pub k_type: Cow<'a, str>,
    /// The set of instructions, if it is one whose bits are its own.
    #[serde(borrow)]
    pub kernels: Option<Cow<'a, str>>,
    /// Length of the context: in models with two sets of factors for long and for short ones, bits depend on it.
    pub n_ctx: u64,
    /// Positions that the text could have: those of the context, or fewer where memory has fewer.
    pub n_positions: u64,
    /// How activations enter matrix products: `quantized` or `exact`.
    #[serde(borrow)]
    pub precision: Cow<'a, str>,
    /// The format of values.
    #[serde(borrow)]
    pub v_type: Cow<'a, str>,
}

/// Counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens of the prompt that were known from earlier texts. Nothing depends on it.
    pub cached_tokens: u64,
    /// Tokens of the answer, one that ended the text not counted.
    pub completion_tokens: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
}

/// How a prompt was to be continued.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked<'a> {
    /// What each adapter was multiplied by; empty if all were by 0.
    pub adapters: Vec<Float>,
    /// Texts across which DRY finds no repetitions.
    #[serde(borrow)]
    pub breakers: Vec<Cow<'a, str>>,
    /// What is said has to keep to this.
    #[serde(borrow)]
    pub constraint: Option<Constraint<'a>>,
    /// How the answer is read, if a chat's template made the prompt.
    #[serde(borrow)]
    pub format: Option<Format<'a>>,
    /// Whether tokens that end a text were never chosen.
    pub ignore_eos: bool,
    /// Tokens, and what was added to their logits.
    pub logit_bias: Vec<(u32, Float)>,
    /// Most tokens.
    pub max_tokens: u64,
    /// Whether an answer could have several calls.
    pub parallel_tool_calls: bool,
    /// How tokens are chosen.
    #[serde(borrow)]
    pub sampling: Sampling<'a>,
    /// Texts that end the answer.
    #[serde(borrow)]
    pub stop: Vec<Cow<'a, str>>,
    /// Most tokens of a thought.
    pub thinking_budget: Option<u64>,
    /// `auto`, `required`, or the tool's name behind `named `.
    #[serde(borrow)]
    pub tool_choice: Cow<'a, str>,
    /// What could be called.
    #[serde(borrow)]
    pub tools: Vec<Tool<'a>>,
}

/// What is said has to keep to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraint<'a> {
    /// `gbnf`, `json_schema` (members in the schema's order), `json_schema_any_order` or `json_object`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// The grammar or the schema.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
}

/// How an answer is read, by the marks that the families of models have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Format<'a> {
    /// How tools are called.
    #[serde(borrow)]
    pub form: Cow<'a, str>,
    /// Whether the prompt ends behind a thought.
    pub has_thought: bool,
    /// What a thought begins with.
    #[serde(borrow)]
    pub reasoning: Option<Cow<'a, str>>,
    /// Whether the prompt ends within a thought.
    pub starts_open: bool,
    /// Whether the text has the names of tokens that are marks.
    pub tell_apart: bool,
}

/// What could be called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// The text of the schema of its arguments.
    #[serde(borrow)]
    pub parameters: Cow<'a, str>,
}

/// How tokens are chosen. docs/sampling.md says what each member means.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the sampler's settings")]
pub struct Sampling<'a> {
    pub dry_allowed_length: u32,
    pub dry_base: Float,
    pub dry_multiplier: Float,
    pub dry_penalty_last_n: u32,
    pub dynatemp_exponent: Float,
    pub dynatemp_range: Float,
    pub frequency_penalty: Float,
    pub min_keep: u32,
    pub min_p: Float,
    pub mirostat: u32,
    pub mirostat_eta: Float,
    pub mirostat_tau: Float,
    pub presence_penalty: Float,
    pub repeat_last_n: u32,
    pub repeat_penalty: Float,
    /// The stages in their order, with `;` between.
    #[serde(borrow)]
    pub samplers: Cow<'a, str>,
    /// The seed, in decimal digits.
    #[serde(borrow)]
    pub seed: Cow<'a, str>,
    pub temperature: Float,
    pub top_k: u32,
    pub top_n_sigma: Float,
    pub top_p: Float,
    pub typical_p: Float,
    pub xtc_probability: Float,
    pub xtc_threshold: Float,
}

/// A float by its bits: a text of eight hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(from = "Fixed<4>")]
pub struct Float(pub f32);

impl From<Fixed<4>> for Float {
    fn from(Fixed(bits): Fixed<4>) -> Self {
        Self(f32::from_bits(u32::from_be_bytes(bits)))
    }
}

/// The digest of the ids of a prompt.
pub fn digest_of_tokens(compress: Compress, tokens: &[u32]) -> Digest {
    let mut hash = Sha256::new(compress);
    tokens.iter().for_each(|token| hash.update(&token.to_le_bytes()));
    Fixed(hash.finish())
}

/// A receipt as text; `record` is canonical.
///
/// # Errors
/// If there is no memory for it.
pub fn write(
    key: &[u8; 32],
    prompt_tokens: Option<&[u32]>,
    record: &[u8],
    signature: &[u8; 64],
) -> Result<Vec<u8>, OutOfMemory> {
    let mut writer = Writer::new();
    writer.object(|w| {
        w.key("key").hex(key);
        if let Some(tokens) = prompt_tokens {
            w.key("prompt_tokens").array(tokens, |w, &token| w.number(token.into()));
        }
        w.key("record").json(record);
        w.key("signature").hex(signature);
    });
    writer.finish()
}

impl Record<'_> {
    /// The canonical text, which is signed behind [`TYPE`] and a line feed, so that no signature for another purpose is one of a
    /// receipt.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn write(&self) -> Result<Vec<u8>, OutOfMemory> {
        let mut writer = Writer::new();
        let Self { maker, model, nonce, time, r#type: _, work } = self;
        write_record(&mut writer, maker, model, (nonce.as_deref(), *time), |w| work.write(w));
        writer.finish()
    }
}

/// Writes a record about work that `work` writes.
pub fn write_record(
    writer: &mut Writer,
    maker: &Maker<'_>,
    model: &Model<'_>,
    (nonce, time): (Option<&str>, Option<u64>),
    work: impl FnOnce(&mut Writer),
) {
    writer.object(|w| {
        w.key("maker").object(|w| maker.write_members(w));
        w.key("model").object(|w| {
            w.key("adapters").array(&model.adapters, File::write);
            w.key("files").array(&model.files, File::write);
            w.key("name").text(&model.name);
        });
        w.key("nonce").option(nonce, Writer::text);
        w.key("time").option(time, Writer::number);
        w.key("type").text(TYPE);
        work(w.key("work"));
    });
}

impl Maker<'_> {
    pub(crate) fn write_members(&self, w: &mut Writer) {
        w.key("image_sha256").option(self.image_sha256, |w, Fixed(digest)| w.hex(&digest));
        w.key("program").text(&self.program);
    }
}

impl File {
    fn write(w: &mut Writer, file: &Self) {
        w.object(|w| {
            w.key("bytes").number(file.bytes);
            w.key("sha256").hex(&file.sha256.0);
        });
    }
}

impl Work<'_> {
    fn write(&self, w: &mut Writer) {
        let Self { answer, engine, prompt, request, state, usage } = self;
        write_work(w, (*engine, state), *prompt, |w| request.write(w), answer, *usage);
    }
}

/// Writes what was computed, by an engine of this version, for a request that `request` writes.
pub fn write_work(
    w: &mut Writer,
    (engine, state): (u32, &State<'_>),
    prompt: Prompt,
    request: impl FnOnce(&mut Writer),
    answer: &Answer<'_>,
    usage: Usage,
) {
    w.object(|w| {
        w.key("answer").object(|w| {
            w.key("finish").text(&answer.finish);
            w.key("links").text(&answer.links);
            w.key("logits_sha256").hex(&answer.logits_sha256.0);
            w.key("tokens").array(&*answer.tokens, |w, &token| w.number(token.into()));
        });
        w.key("engine").number(engine.into());
        w.key("prompt").object(|w| {
            w.key("n_tokens").number(prompt.n_tokens);
            w.key("sha256").hex(&prompt.sha256.0);
        });
        request(w.key("request"));
        w.key("state").object(|w| {
            w.key("k_type").text(&state.k_type);
            w.key("kernels").option(state.kernels.as_deref(), Writer::text);
            w.key("n_ctx").number(state.n_ctx);
            w.key("n_positions").number(state.n_positions);
            w.key("precision").text(&state.precision);
            w.key("v_type").text(&state.v_type);
        });
        w.key("usage").object(|w| {
            w.key("cached_tokens").number(usage.cached_tokens);
            w.key("completion_tokens").number(usage.completion_tokens);
            w.key("prompt_tokens").number(usage.prompt_tokens);
        });
    });
}

impl Asked<'_> {
    /// Writes it.
    pub fn write(&self, w: &mut Writer) {
        w.object(|w| {
            w.key("adapters").array(&self.adapters, |w, scale| w.float(scale.0));
            w.key("breakers").array(&self.breakers, |w, text| w.text(text));
            w.key("constraint").option(self.constraint.as_ref(), |w, constraint| {
                w.object(|w| {
                    w.key("kind").text(&constraint.kind);
                    w.key("text").text(&constraint.text);
                });
            });
            w.key("format").option(self.format.as_ref(), |w, format| {
                w.object(|w| {
                    w.key("form").text(&format.form);
                    w.key("has_thought").bool(format.has_thought);
                    w.key("reasoning").option(format.reasoning.as_deref(), Writer::text);
                    w.key("starts_open").bool(format.starts_open);
                    w.key("tell_apart").bool(format.tell_apart);
                });
            });
            w.key("ignore_eos").bool(self.ignore_eos);
            w.key("logit_bias").array(&self.logit_bias, |w, (token, bias)| {
                w.array([0, 1], |w, index| match index {
                    0 => w.number((*token).into()),
                    _ => w.float(bias.0),
                });
            });
            w.key("max_tokens").number(self.max_tokens);
            w.key("parallel_tool_calls").bool(self.parallel_tool_calls);
            self.sampling.write(w.key("sampling"));
            w.key("stop").array(&self.stop, |w, text| w.text(text));
            w.key("thinking_budget").option(self.thinking_budget, Writer::number);
            w.key("tool_choice").text(&self.tool_choice);
            w.key("tools").array(&self.tools, |w, tool| {
                w.object(|w| {
                    w.key("name").text(&tool.name);
                    w.key("parameters").text(&tool.parameters);
                });
            });
        });
    }
}

impl Sampling<'_> {
    fn write(&self, w: &mut Writer) {
        let floats_and_numbers: [(&str, Value<'_>); 24] = [
            ("dry_allowed_length", Value::Number(self.dry_allowed_length)),
            ("dry_base", Value::Float(self.dry_base)),
            ("dry_multiplier", Value::Float(self.dry_multiplier)),
            ("dry_penalty_last_n", Value::Number(self.dry_penalty_last_n)),
            ("dynatemp_exponent", Value::Float(self.dynatemp_exponent)),
            ("dynatemp_range", Value::Float(self.dynatemp_range)),
            ("frequency_penalty", Value::Float(self.frequency_penalty)),
            ("min_keep", Value::Number(self.min_keep)),
            ("min_p", Value::Float(self.min_p)),
            ("mirostat", Value::Number(self.mirostat)),
            ("mirostat_eta", Value::Float(self.mirostat_eta)),
            ("mirostat_tau", Value::Float(self.mirostat_tau)),
            ("presence_penalty", Value::Float(self.presence_penalty)),
            ("repeat_last_n", Value::Number(self.repeat_last_n)),
            ("repeat_penalty", Value::Float(self.repeat_penalty)),
            ("samplers", Value::Text(&self.samplers)),
            ("seed", Value::Text(&self.seed)),
            ("temperature", Value::Float(self.temperature)),
            ("top_k", Value::Number(self.top_k)),
            ("top_n_sigma", Value::Float(self.top_n_sigma)),
            ("top_p", Value::Float(self.top_p)),
            ("typical_p", Value::Float(self.typical_p)),
            ("xtc_probability", Value::Float(self.xtc_probability)),
            ("xtc_threshold", Value::Float(self.xtc_threshold)),
        ];
        w.object(|w| {
            for (name, value) in floats_and_numbers {
                w.key(name);
                match value {
                    Value::Number(number) => w.number(number.into()),
                    Value::Float(Float(value)) => w.float(value),
                    Value::Text(text) => w.text(text),
                }
            }
        });
    }
}

enum Value<'a> {
    Number(u32),
    Float(Float),
    Text(&'a str),
}
