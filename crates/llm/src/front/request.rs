//! [`Request`]: what a caller asks for; [`Event`] and [`Report`]: what comes back.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use trust::sha256::Compress;

use super::embedding::Embedding;
use super::receipt::Work;
use super::trace::LogitsRange;
use super::units::{Duration, Rate, per_second};
use super::{AnswerGrammar, FrontError, LogprobWish, Logprobs, ToolChoice};
use crate::chat::{Dialogue, Forgotten, Format, Message, Part, Tool};
use crate::sampling::{DRY_BREAKERS, SamplingConfig};
use crate::session::{FinishReason, Speculation};
use crate::tokenizer::{EncodeOptions, Tokenizer};

/// How a text is encoded as a prompt: it starts with the start token if the model asks for one, and names of special
/// tokens count as plain text.
pub const PROMPT_ENCODING: EncodeOptions = EncodeOptions { add_special: true, parse_special: false };

/// Asks a model to continue a prompt.
#[derive(Debug)]
pub struct Request<'r> {
    /// The text to continue.
    pub prompt: Prompt<'r>,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: SamplingConfig,
    /// Pairs of a token and a bias that is added to its logit before anything else; negative infinity bans the token.
    pub logit_bias: &'r [(u32, f32)],
    /// The grammar that the answer must follow; thoughts before the answer are exempt.
    pub grammar: Option<AnswerGrammar<'r>>,
    /// Whether the model may call the tools of [`Prompt::Chat`] or [`Prompt::Messages`]. With a grammar in GBNF it may not. With a schema,
    /// a model that need not call a tool either gives a valid answer or calls one.
    pub tool_choice: ToolChoice<'r>,
    /// Whether one answer may call several tools.
    pub parallel_tool_calls: bool,
    /// Most tokens of the model's thoughts in the answer to [`Prompt::Chat`] or [`Prompt::Messages`], counted after the mark that begins a
    /// thought; 0 closes the thought at once. At the limit, the engine inserts the mark with which models of this family end a thought.
    /// `None` means no limit.
    pub thinking_budget: Option<usize>,
    /// If true, tokens that end a text are never chosen.
    pub ignore_eos: bool,
    /// Texts across which DRY finds no repetitions.
    pub breakers: &'r [&'r str],
    /// Texts that end the generation, as [`Session::generate`](crate::session::Session::generate) takes them.
    pub stop: &'r [&'r str],
    /// Number of tokens guessed at a time, see [`Submission::speculate`](crate::scheduler::Submission).
    pub speculate: usize,
    /// Which [`Logprobs`] come with each token, if any.
    pub logprobs: Option<LogprobWish>,
    /// Whether an [`Event::Trace`] comes with each token.
    pub trace: bool,
    /// Whether [`Event::Part`]s separate the answer into content, thoughts and tool calls. Applies to [`Prompt::Chat`]
    /// and [`Prompt::Messages`]; the text then includes the names of tokens that are marks.
    pub tell_apart: bool,
    /// The scale of each adapter's contribution, see [`Submission::adapters`](crate::scheduler::Submission).
    pub adapters: Option<&'r [f32]>,
    /// If given, the [report](Report::work) contains the data for a receipt, hashed with this compression function of SHA-256.
    pub receipt: Option<Compress>,
    /// How long prompt and answer may be, for a caller that may not use a whole context.
    pub context: Option<ContextLimit>,
}

/// How long a prompt and its answer may be together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextLimit {
    /// Most tokens of both.
    pub n_tokens: usize,
    /// If true, there must be room for all `max_tokens` of the answer. Otherwise the answer may use what is left, at least one token.
    pub is_whole: bool,
}

impl ContextLimit {
    /// Most tokens of the answer to a prompt of `n_prompt` tokens when the caller asks for `max_tokens`.
    ///
    /// # Errors
    /// [`FrontError::ContextLimit`] if there is no room.
    pub fn max_tokens(self, n_prompt: usize, max_tokens: usize) -> Result<usize, FrontError> {
        let Self { n_tokens, is_whole } = self;
        let n_answer = if is_whole { max_tokens } else { 1 };
        match n_tokens.checked_sub(n_prompt) {
            Some(n_left) if n_answer <= n_left => Ok(max_tokens.min(n_left)),
            _ => Err(FrontError::ContextLimit { n_prompt, n_answer, n_tokens }),
        }
    }
}

impl<'r> Request<'r> {
    /// Asks for up to `max_tokens` of the likeliest tokens after `prompt`; everything else is off.
    pub fn new(prompt: Prompt<'r>, max_tokens: usize) -> Self {
        let sampling = SamplingConfig::greedy();
        Self {
            prompt,
            max_tokens,
            sampling,
            logit_bias: &[],
            grammar: None,
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            thinking_budget: None,
            ignore_eos: false,
            breakers: DRY_BREAKERS,
            stop: &[],
            speculate: 0,
            logprobs: None,
            trace: false,
            tell_apart: false,
            adapters: None,
            receipt: None,
            context: None,
        }
    }
}

/// The text to continue. Tokens at its beginning that are still cached from earlier texts are not computed again; this changes no bit of
/// the answer.
#[derive(Debug)]
pub enum Prompt<'r> {
    /// A text.
    Text(&'r str, EncodeOptions),
    /// A dialogue in a chat format. Turns that no longer fit are removed from it.
    Chat(&'r mut Dialogue, ChatFormat<'r>),
    /// A whole conversation in a chat format, up to the point where the model answers. Nothing is removed from it: a conversation that does
    /// not fit is refused.
    Messages(&'r [Message<'r>], ChatFormat<'r>),
    /// These tokens.
    Ids(&'r [u32]),
    /// A query, and a document whose relevance to it is to be scored.
    Pair(&'r str, &'r str),
    /// One of the prompts above, already encoded: its tokens, the format of its answer, and the tools that the answer
    /// may call.
    Encoded(&'r [u32], Option<Format>, &'r [Tool<'r>]),
}

impl<'r> Prompt<'r> {
    /// The tools that the model may call.
    pub fn tools(&self) -> &'r [Tool<'r>] {
        match self {
            Self::Chat(_, format) | Self::Messages(_, format) => format.tools,
            Self::Encoded(_, _, tools) => tools,
            Self::Text(..) | Self::Ids(_) | Self::Pair(..) => &[],
        }
    }
}

/// A copy of a text without spare capacity.
///
/// # Errors
/// [`FrontError::OutOfHeap`].
pub(super) fn text_of(text: &str) -> Result<String, FrontError> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes: text.len() })?;
    copy.push_str(text);
    Ok(copy)
}

/// How to turn a conversation into a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChatFormat<'f> {
    /// The name of a format to use instead of the one in the model's file.
    pub template: Option<&'f str>,
    /// Whether the model should think first, see [`Conversation::enable_thinking`](crate::chat::Conversation).
    pub enable_thinking: Option<bool>,
    /// How much it should think, see [`Conversation::reasoning_effort`](crate::chat::Conversation).
    pub reasoning_effort: Option<&'f str>,
    /// The tools that the model may call.
    pub tools: &'f [Tool<'f>],
    /// The local time in seconds, see [`Conversation::now_seconds`](crate::chat::Conversation).
    pub now_seconds: Option<u64>,
}

/// What happens while a request is answered.
#[derive(Debug)]
pub enum Event<'e> {
    /// The dialogue did not fit: these turns are not part of the prompt. If this event comes, it comes first.
    Forgotten(Forgotten),
    /// The text got a slot. Comes once, before the tokens.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// How many of them are cached from earlier texts.
        cached_tokens: usize,
    },
    /// The prompt is being computed. Comes twice in each layer of each batch, so that the caller can break off. Only
    /// [`Responder::generate`](super::Responder::generate) sends it.
    Prompt,
    /// A token.
    Token {
        /// Its id.
        id: u32,
        /// Text that has become certain, see [`Step::Token`](crate::session::Step::Token).
        text: &'e str,
        /// How likely it was, if the request has [`logprobs`](Request::logprobs).
        logprobs: Option<Logprobs<'e>>,
        /// The time since the previous token of this text, in microseconds; `None` for the first one.
        gap_us: Option<u64>,
        /// The tokenizer that knows the tokens' texts.
        tokenizer: &'e Tokenizer<'e>,
    },
    /// A part of the text so far, if the request asks to have the answer told [apart](Request::tell_apart). Comes after the token that made
    /// it certain, or before the end.
    Part(Part<'e>),
    /// The logits that the last token was chosen from, if the request sets [`trace`](Request::trace).
    Trace {
        /// Number of the token, from 1.
        step: usize,
        /// The range of its logits.
        logits: LogitsRange,
    },
    /// The vector of a text that was submitted to become one; nothing comes after it.
    Embedding(&'e Embedding),
    /// The end of the answer. Nothing comes after it, and breaking off here has no effect.
    Finished {
        /// The rest of the text, which was held back until now.
        text: &'e str,
        /// How it went.
        report: &'e Report,
    },
    /// There is no answer, or no more of it; nothing comes after this event.
    /// [`Responder::generate`](super::Responder::generate) returns the error instead.
    Failed {
        /// Why.
        error: &'e FrontError,
        /// The text generated before the error.
        output: &'e str,
    },
}

impl Event<'_> {
    /// The text of this event to show, often empty.
    pub fn text(&self) -> &str {
        match self {
            Self::Token { text, .. } | Self::Finished { text, .. } => text,
            Self::Forgotten(_)
            | Self::Started { .. }
            | Self::Prompt
            | Self::Part(_)
            | Self::Trace { .. }
            | Self::Embedding(_)
            | Self::Failed { .. } => "",
        }
    }
}

/// The outcome of a request. Its `Display` is one line with the counts, the times and the reason why it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The text after the prompt.
    pub output: String,
    /// The ids of the tokens generated.
    pub ids: Vec<u32>,
    /// Tokens of the prompt, the start token included.
    pub prompt_tokens: usize,
    /// How many of them were known from earlier texts and not computed again. Tokens that are recomputed because the text gave up its slot
    /// in between do not change this number.
    pub cached_tokens: usize,
    /// Tokens generated, not counting one that ended the text.
    pub tokens_emitted: usize,
    /// Time from when the prompt was encoded to the end, by the caller's clock. Includes the time spent waiting for other requests, but not
    /// the encoding.
    pub latency_us: u64,
    /// Time from the same moment until the text got a slot; 0 if it never did.
    pub queued_us: u64,
    /// Time from the same moment to the first token; 0 if there was none.
    pub first_token_us: u64,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The stop string that ended it; empty if none did.
    pub stop: String,
    /// How many tokens were guessed, and how many guesses were right.
    pub speculation: Speculation,
    /// The turns of a dialogue that did not fit.
    pub forgotten: Option<Forgotten>,
    /// How to parse the answer, if a chat format made the prompt.
    pub format: Option<Format>,
    /// The data for a receipt, if the request [wants](Request::receipt) one.
    pub work: Option<Box<Work>>,
}

impl Report {
    /// A copy without spare capacity.
    ///
    /// # Errors
    /// [`FrontError::OutOfHeap`].
    pub fn copy(&self) -> Result<Self, FrontError> {
        let mut ids = Vec::new();
        let needed_bytes = size_of_val(&*self.ids);
        ids.try_reserve_exact(self.ids.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        ids.extend_from_slice(&self.ids);
        let (output, stop) = (text_of(&self.output)?, text_of(&self.stop)?);
        if let Some(work) = &self.work {
            let (mut probe, needed_bytes) = (Vec::<u8>::new(), work.size_bytes());
            probe.try_reserve_exact(needed_bytes).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        }
        Ok(Self { output, ids, stop, work: self.work.clone(), ..*self })
    }

    /// Tokens per second after the first one; `None` with fewer than two tokens or if no time passed.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let after_first_us = self.latency_us.saturating_sub(self.first_token_us);
        per_second(self.tokens_emitted.saturating_sub(1) as u64, after_first_us)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} prompt tokens, {} generated, first after {}, {} tokens/s",
            self.prompt_tokens,
            self.tokens_emitted,
            Duration(self.first_token_us),
            Rate(self.tokens_per_second()),
        )?;
        match self.finish_reason {
            FinishReason::MaxTokens => Ok(()),
            reason => write!(f, ", {reason}"),
        }
    }
}
