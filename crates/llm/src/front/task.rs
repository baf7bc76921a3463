//! What a command is asked for: [`Task`], what becomes of a text; [`Wanted`], all of a request but its prompt.

use alloc::vec::Vec;

use super::options::{CHAT_IS_MISSING, SPECIAL_IN_CHAT};
use super::{ChatFormat, FrontError, GrammarText, LogprobWish, PROMPT_ENCODING, Prompt, Request};
use crate::chat::Dialogue;
use crate::sampling::SamplingConfig;
use crate::tokenizer::EncodeOptions;

/// What is done with a text.
#[derive(Debug, Clone, Copy)]
pub enum Task<'t> {
    /// It is continued.
    Continue(EncodeOptions),
    /// It is answered, as the first message of a conversation.
    Answer {
        /// What the model is told beforehand.
        system: Option<&'t str>,
        /// How the conversation becomes a prompt.
        format: ChatFormat<'t>,
    },
}

impl<'t> Task<'t> {
    /// What the options ask for: `is_chat` is `--chat`, `parse_special` is `--special`; the others are those of a chat.
    ///
    /// # Errors
    /// The options that contradict each other.
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

    /// The prompt that this makes of `text`; `dialogue` is made to hold it, if it is a message.
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

/// All of a [`Request`] but its prompt.
#[derive(Debug)]
pub struct Wanted<'w> {
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// How they are chosen.
    pub sampling: SamplingConfig,
    /// Texts across which DRY finds no repetitions.
    pub breakers: Vec<&'w str>,
    /// What answers have to keep to.
    pub grammar: Option<GrammarText<'w>>,
    /// Most tokens of thoughts.
    pub thinking_budget: Option<usize>,
    /// Whether tokens that end a text are never chosen.
    pub ignore_eos: bool,
    /// Texts that end the generation.
    pub stop: Vec<&'w str>,
    /// Tokens that are guessed at a time.
    pub speculate: usize,
    /// What is told of each token's likelihood, if anything.
    pub logprobs: Option<LogprobWish>,
    /// Whether how it goes is to be told, `--verbose`.
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

    /// What is asked of each prompt of a batch, without one: what its tokens are chosen from is not told.
    pub fn of_each(&self) -> Request<'_> {
        Request { trace: false, ..self.request(Prompt::Ids(&[])) }
    }
}
