//! [`Request`]: what is asked; [`Event`] and [`Report`]: what comes back.

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

/// How a text is encoded as a prompt: the start token in front where the model asks for one, and names of special
/// tokens as plain text.
pub const PROMPT_ENCODING: EncodeOptions = EncodeOptions { add_special: true, parse_special: false };

/// What is asked of a model: to continue a prompt.
#[derive(Debug)]
pub struct Request<'r> {
    /// What is to be continued.
    pub prompt: Prompt<'r>,
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// How they are chosen.
    pub sampling: SamplingConfig,
    /// Tokens, and what is added to their logits before anything else; negative infinity bans a token.
    pub logit_bias: &'r [(u32, f32)],
    /// What is said has to keep to, behind what may be thought.
    pub grammar: Option<AnswerGrammar<'r>>,
    /// Whether the tools of [`Prompt::Chat`] or [`Prompt::Messages`] may be called. Beside a grammar in GBNF they may not; beside a
    /// schema, who need not call says what is valid, or calls.
    pub tool_choice: ToolChoice<'r>,
    /// Whether an answer may call several.
    pub parallel_tool_calls: bool,
    /// Most tokens of the model's thoughts in the answer to [`Prompt::Chat`] or [`Prompt::Messages`], counted behind the mark
    /// that begins a thought; 0 closes it at once. Where they have come, the mark follows by which models of the family end a
    /// thought. `None` is no limit.
    pub thinking_budget: Option<usize>,
    /// Whether tokens that end a text are never chosen.
    pub ignore_eos: bool,
    /// Texts across which DRY finds no repetitions.
    pub breakers: &'r [&'r str],
    /// Texts that end the generation, as [`Session::generate`](crate::session::Session::generate) takes them.
    pub stop: &'r [&'r str],
    /// Tokens that are guessed at a time, see [`Submission::speculate`](crate::scheduler::Submission).
    pub speculate: usize,
    /// What [`Logprobs`] come with each token, if any.
    pub logprobs: Option<LogprobWish>,
    /// Whether an [`Event::Trace`] comes with each token.
    pub trace: bool,
    /// Whether what is said, thought and called is to be told apart, by [`Event::Part`]s. For [`Prompt::Chat`] and
    /// [`Prompt::Messages`]; the text then has the names of tokens that are marks.
    pub tell_apart: bool,
    /// What each adapter adds is multiplied by, see [`Submission::adapters`](crate::scheduler::Submission).
    pub adapters: Option<&'r [f32]>,
    /// Whether the [report](Report::work) has what a receipt says of the answer; by which compression function of SHA-256, if so.
    pub receipt: Option<Compress>,
    /// How long prompt and answer may be, for who may not have a whole context.
    pub context: Option<ContextLimit>,
}

/// How long a prompt and its answer may be together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextLimit {
    /// Most tokens of both.
    pub n_tokens: usize,
    /// Whether there must be room for as many tokens of the answer as are wanted: else it gets what is left, one at least.
    pub is_whole: bool,
}

impl ContextLimit {
    /// Most tokens of the answer to a prompt of `n_prompt` tokens, if `max_tokens` are wanted.
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
    /// Up to `max_tokens` of the likeliest tokens after `prompt`, and nothing else.
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

/// What is to be continued. Of its tokens those at the beginning that are there still from earlier texts are not computed
/// again, which changes no bit of the answer.
#[derive(Debug)]
pub enum Prompt<'r> {
    /// A text.
    Text(&'r str, EncodeOptions),
    /// A dialogue, in a chat format; turns that have no room any more are removed from it.
    Chat(&'r mut Dialogue, ChatFormat<'r>),
    /// A whole conversation, in a chat format, up to where the model answers. Nothing is removed from it: one that has no room
    /// is refused.
    Messages(&'r [Message<'r>], ChatFormat<'r>),
    /// These tokens.
    Ids(&'r [u32]),
    /// A query, and a document that is to be ranked by it.
    Pair(&'r str, &'r str),
    /// The tokens that one of the above became, the format that its answer has, and the tools that it may call.
    Encoded(&'r [u32], Option<Format>, &'r [Tool<'r>]),
}

impl<'r> Prompt<'r> {
    /// What the model may call.
    pub fn tools(&self) -> &'r [Tool<'r>] {
        match self {
            Self::Chat(_, format) | Self::Messages(_, format) => format.tools,
            Self::Encoded(_, _, tools) => tools,
            Self::Text(..) | Self::Ids(_) | Self::Pair(..) => &[],
        }
    }
}

/// A copy of a text, which takes no more than it needs.
///
/// # Errors
/// [`FrontError::OutOfHeap`].
pub(super) fn text_of(text: &str) -> Result<String, FrontError> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes: text.len() })?;
    copy.push_str(text);
    Ok(copy)
}

/// How a conversation becomes a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChatFormat<'f> {
    /// A format by name, instead of the one that the model's file brings.
    pub template: Option<&'f str>,
    /// Whether the model is to think first, see [`Conversation::enable_thinking`](crate::chat::Conversation).
    pub enable_thinking: Option<bool>,
    /// How much, see [`Conversation::reasoning_effort`](crate::chat::Conversation).
    pub reasoning_effort: Option<&'f str>,
    /// What the model may call.
    pub tools: &'f [Tool<'f>],
    /// The local time in seconds, see [`Conversation::now_seconds`](crate::chat::Conversation).
    pub now_seconds: Option<u64>,
}

/// What happens while a request is answered.
#[derive(Debug)]
pub enum Event<'e> {
    /// A dialogue had no room: these of its turns are no part of the prompt. Comes first, if at all.
    Forgotten(Forgotten),
    /// The text has a slot. Comes once, before the tokens.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// How many of them are known from earlier texts.
        cached_tokens: usize,
    },
    /// The prompt is being computed; comes twice in each layer of each batch, so that it can be broken off. Only
    /// [`Responder::generate`](super::Responder::generate) tells of it.
    Prompt,
    /// A token.
    Token {
        /// Its id.
        id: u32,
        /// Text that is certain now: see [`Step::Token`](crate::session::Step::Token).
        text: &'e str,
        /// How likely it was, if the request has [`logprobs`](Request::logprobs).
        logprobs: Option<Logprobs<'e>>,
        /// The time since the text's token before it, in microseconds; `None` for the first one.
        gap_us: Option<u64>,
        /// What has the texts of its tokens.
        tokenizer: &'e Tokenizer<'e>,
    },
    /// A part of the text that came, if the request is to be told [apart](Request::tell_apart). Comes after the token that
    /// made it certain, or before the end.
    Part(Part<'e>),
    /// What the last token was chosen from, if the request has [`trace`](Request::trace).
    Trace {
        /// Number of the token, from 1.
        step: usize,
        /// The range of its logits.
        logits: LogitsRange,
    },
    /// What the text became that was to be a vector; nothing comes after it.
    Embedding(&'e Embedding),
    /// The end; nothing comes after it, and it cannot be broken off.
    Finished {
        /// Text that was held back.
        text: &'e str,
        /// How it went.
        report: &'e Report,
    },
    /// There is no answer, or no more of it; nothing comes after it. [`Responder::generate`](super::Responder::generate)
    /// returns the error instead.
    Failed {
        /// Why.
        error: &'e FrontError,
        /// The text that had come by then.
        output: &'e str,
    },
}

impl Event<'_> {
    /// The text that is to be shown, often empty.
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

/// What came of a request. It shows itself as a line about the counts, times and the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The text after the prompt.
    pub output: String,
    /// The ids of the tokens generated.
    pub ids: Vec<u32>,
    /// Tokens of the prompt, the start token included.
    pub prompt_tokens: usize,
    /// How many of them were known from earlier texts and not computed again. What is computed anew because the text gave up
    /// its slot in between changes nothing of it.
    pub cached_tokens: usize,
    /// Tokens generated, one that ended the text not counted.
    pub tokens_emitted: usize,
    /// From when the prompt's ids were known to the end, by the caller's clock: what the request waited for others counts,
    /// its encoding does not.
    pub latency_us: u64,
    /// From the same moment to when the text got a slot; 0 if it never did.
    pub queued_us: u64,
    /// From the same moment to the first token; 0 if there was none.
    pub first_token_us: u64,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Which of the stop strings ended it; empty if none did.
    pub stop: String,
    /// How tokens that were guessed have done.
    pub speculation: Speculation,
    /// What of a dialogue had no room any more.
    pub forgotten: Option<Forgotten>,
    /// How the answer is to be read, if a chat format made the prompt.
    pub format: Option<Format>,
    /// What a receipt says of it, if the request [wants](Request::receipt) one.
    pub work: Option<Box<Work>>,
}

impl Report {
    /// A copy, which takes no more than it needs.
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

    /// Tokens per second after the first one; `None` with fewer than two tokens or without time.
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
