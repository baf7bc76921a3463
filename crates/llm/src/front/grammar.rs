//! [`AnswerGrammar`]: what an answer has to keep to, and the constraint that sees to it; [`GrammarText`]: the options about it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ::grammar::json_schema::{ANY_OBJECT, Options};
use ::grammar::{Constraint, Grammar, Limits, Piece, Vocabulary};

use super::FrontError;
use super::options::TWO_GRAMMARS;
use crate::chat::Format;
use crate::tokenizer::Tokenizer;

/// What an answer has to keep to. It ends where the grammar has no more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerGrammar<'g> {
    /// A grammar in GBNF, as llama.cpp reads it: its rule `root`.
    Gbnf(&'g str),
    /// The text of a value that is valid against this JSON schema, itself a text.
    JsonSchema(&'g str, Options),
    /// The text of a JSON object.
    JsonObject,
}

/// What `--grammar` or `--json-schema` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrammarText<'t> {
    /// A grammar in GBNF.
    Gbnf(Cow<'t, str>),
    /// A JSON schema.
    JsonSchema(Cow<'t, str>),
}

impl<'t> GrammarText<'t> {
    /// What the options ask for: the text itself, or the name of what `read` reads.
    ///
    /// # Errors
    /// What `read` fails with; [`TWO_GRAMMARS`] as an error if both are given.
    pub fn asked<E>(
        grammar: Option<&'t str>,
        json_schema: Option<&'t str>,
        two: impl FnOnce(&'static str) -> E,
        mut read: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<Option<Self>, E> {
        let mut text = |option: &'t str, is_text: bool| match is_text {
            true => Ok(Cow::Borrowed(option)),
            false => read(option).map(Cow::Owned),
        };
        match (grammar, json_schema) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(two(TWO_GRAMMARS)),
            (Some(grammar), None) => {
                text(grammar, grammar.contains("::=")).map(|text| Some(Self::Gbnf(text)))
            }
            (None, Some(schema)) => {
                text(schema, schema.trim_start().starts_with('{')).map(|text| Some(Self::JsonSchema(text)))
            }
        }
    }

    /// The same as a request has it. Members come in the order of a schema.
    pub fn grammar(&self) -> AnswerGrammar<'_> {
        match self {
            Self::Gbnf(text) => AnswerGrammar::Gbnf(text),
            Self::JsonSchema(schema) => AnswerGrammar::JsonSchema(schema, Options::GENERATED),
        }
    }
}

impl AnswerGrammar<'_> {
    /// The grammar; tokens that it names are those of a vocabulary.
    ///
    /// # Errors
    /// [`FrontError::Grammar`] and [`FrontError::Schema`] say where it is wrong.
    pub fn read(self, tokenizer: &Tokenizer<'_>) -> Result<Grammar, FrontError> {
        match self {
            Self::Gbnf(text) => {
                Grammar::parse(text, &|name| tokenizer.special_id(name)).map_err(FrontError::Grammar)
            }
            Self::JsonSchema(schema, options) => {
                Grammar::of_json_schema(schema, options).map_err(FrontError::Schema)
            }
            Self::JsonObject => {
                Grammar::of_json_schema(ANY_OBJECT, Options::GENERATED).map_err(FrontError::Schema)
            }
        }
    }

    /// How an answer that keeps to it is read: JSON has no marks, and a thought that the prompt began ends only where a grammar
    /// says so.
    pub(super) fn read_as(self, format: Format) -> Format {
        match self {
            Self::Gbnf(text) if format.reasoning.is_some_and(|marks| text.contains(marks.close)) => format,
            Self::Gbnf(_) => Format { starts_open: false, ..format },
            Self::JsonSchema(..) | Self::JsonObject => Format::default().without_calls(),
        }
    }

    /// What sees to it that a text over this vocabulary keeps to it.
    ///
    /// # Errors
    /// As [`read`](Self::read), and if the heap has no room for its tables.
    pub(super) fn constraint(
        self,
        tokenizer: &Tokenizer<'_>,
        vocabulary: Arc<Vocabulary>,
    ) -> Result<Constraint, FrontError> {
        let grammar = Arc::new(self.read(tokenizer)?);
        let limits = Limits::default();
        let needed_bytes = Constraint::memory_bytes(&grammar, &vocabulary, limits);
        Constraint::new(grammar, vocabulary, limits).map_err(|error| match error {
            ::grammar::ConstraintError::OutOfMemory => FrontError::OutOfHeap { needed_bytes },
            error => FrontError::Sampling(error.into()),
        })
    }
}

/// The tree of a vocabulary's tokens, of which a model has logits of `n_vocab`.
///
/// # Errors
/// [`FrontError::OutOfHeap`]; [`FrontError::GrammarVocabulary`] for a token that is too long.
pub(super) fn vocabulary(tokenizer: &Tokenizer<'_>, n_vocab: usize) -> Result<Vocabulary, FrontError> {
    // Where each token's bytes begin, and one more.
    let (mut bytes, mut starts) = (Vec::new(), Vec::new());
    let needed_bytes = (n_vocab + 1).saturating_mul(size_of::<u32>());
    starts.try_reserve_exact(n_vocab + 1).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
    for id in 0..n_vocab as u32 {
        starts.push(bytes.len());
        if (id as usize) < tokenizer.n_vocab() {
            tokenizer.token_bytes(id, &mut bytes)?;
        }
    }
    starts.push(bytes.len());
    let piece = |id: u32| {
        let text = &bytes[starts[id as usize]..starts[id as usize + 1]];
        match id as usize >= tokenizer.n_vocab() {
            true => Piece::Mark,
            false if tokenizer.is_end_of_generation(id) => Piece::End,
            false if text.is_empty() => Piece::Mark,
            false => Piece::Text(text),
        }
    };
    Vocabulary::new(n_vocab as u32, &piece).map_err(|error| match error {
        ::grammar::VocabularyError::OutOfMemory => FrontError::OutOfHeap { needed_bytes: bytes.len() },
        error => FrontError::GrammarVocabulary(error),
    })
}
