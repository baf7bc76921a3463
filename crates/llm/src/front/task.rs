//! What a command asks for: [`Task`] says what to do with a text; [`Wanted`] is everything in a request except its
//! prompt.

use alloc::vec::Vec;

use super::options::{CHAT_IS_MISSING, SPECIAL_IN_CHAT};
use super::{ChatFormat, FrontError, GrammarText, LogprobWish, PROMPT_ENCODING, Prompt, Request};
use crate::chat::Dialogue;
use crate::sampling::SamplingConfig;
use crate::tokenizer::EncodeOptions;

/// What to do with a text.
#[derive(Debug, Clone, Copy)]
pub enum Task<'t> {
    /// Continue it.
    Continue(EncodeOptions),
    /// Answer it as the first message of a conversation.
    Answer {
        /// The system message, if any.
        system: Option<&'t str>,
        /// How to turn the conversation into a prompt.
        format: ChatFormat<'t>,
    },
}

impl<'t> Task<'t> {
    /// The task that the options ask for: `is_chat` is `--chat`, `parse_special` is `--special`; the others are the
    /// options of a chat.
    ///
    /// # Errors
    /// If options contradict each other; the error names them.
    pub fn new(
        is_chat: bool,
        parse_special: bool,
        system: Option<&'t str>,
        format: ChatFormat<'t>,
        thinking_budget: Option<usize>,
    ) -> Result<Self, &'static str> {
        let is_of_chat = system.is_some()
            || format.template.is_some()
            || format.enable_thinking.is_some()
            || format.reasoning_effort.is_some()
            || thinking_budget.is_some();
        match is_chat {
            true if parse_special => Err(SPECIAL_IN_CHAT),
            false if is_of_chat => Err(CHAT_IS_MISSING),
            true => Ok(Task::Answer { system, format }),
            false => Ok(Task::Continue(EncodeOptions { parse_special, ..PROMPT_ENCODING })),
        }
    }

    /// The prompt that this task makes from `text`. If the text is a message, it is stored in `dialogue`.
    ///
    /// # Errors
    /// If the heap has no room for the messages.
    pub fn prompt<'p>(self, text: &'p str, dialogue: &'p mut Dialogue) -> Result<Prompt<'p>, FrontError>
    where
        't: 'p,
    {
        Ok(match self {
            Task::Continue(options) => Prompt::Text(text, options),
            Task::Answer { system, format } => {
                dialogue.begin(system)?;
                dialogue.ask(text)?;
                Prompt::Chat(dialogue, format)
            }
        })
    }
}

/// Everything in a [`Request`] except its prompt.
#[derive(Debug)]
pub struct Wanted<'w> {
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: SamplingConfig,
    /// Texts across which DRY finds no repetitions.
    pub breakers: Vec<&'w str>,
    /// The grammar that answers must follow.
    pub grammar: Option<GrammarText<'w>>,
    /// Most tokens of thoughts.
    pub thinking_budget: Option<usize>,
    /// If true, tokens that end a text are never chosen.
    pub ignore_eos: bool,
    /// Texts that end the generation.
    pub stop: Vec<&'w str>,
    /// Number of tokens guessed at a time.
    pub speculate: usize,
    /// Which log-probabilities are reported for each token, if any.
    pub logprobs: Option<LogprobWish>,
    /// Whether to report details of each step, `--verbose`.
    pub trace: bool,
}

impl Wanted<'_> {
    /// The request with this prompt.
    pub fn request<'r>(&'r self, prompt: Prompt<'r>) -> Request<'r> {
        let &Self {
            max_tokens,
            sampling,
            ref breakers,
            thinking_budget,
            ignore_eos,
            ref stop,
            speculate,
            logprobs,
            trace,
            ..
        } = self;
        let grammar = self.grammar.as_ref().map(GrammarText::grammar);
        let plain = Request::new(prompt, max_tokens);
        Request {
            sampling,
            breakers,
            grammar,
            thinking_budget,
            ignore_eos,
            stop,
            speculate,
            logprobs,
            trace,
            ..plain
        }
    }

    /// The request for each prompt of a batch, without a prompt. It has no trace.
    pub fn of_each(&self) -> Request<'_> {
        Request { trace: false, ..self.request(Prompt::Ids(&[])) }
    }
}
