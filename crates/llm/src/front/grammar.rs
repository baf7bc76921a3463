//! [`AnswerGrammar`]: the grammar that an answer must follow; [`GrammarText`]: the options that state it; and the vocabulary in the form
//! that grammars need.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use ::grammar::json_schema::{ANY_OBJECT, Options};
use ::grammar::{Builder, Expression, Piece, Vocabulary};

use super::FrontError;
use super::options::TWO_GRAMMARS;
use crate::tokenizer::Tokenizer;

/// The grammar that the answer must follow; thoughts before the answer are exempt. The answer ends where the grammar
/// allows nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerGrammar<'g> {
    /// A grammar in GBNF, read as llama.cpp does: the answer follows its rule `root`.
    Gbnf(&'g str),
    /// The answer is the text of a value that is valid against this JSON schema, which is given as text.
    JsonSchema(&'g str, Options),
    /// The answer is the text of a JSON object.
    JsonObject,
}

/// The value of `--grammar` or `--json-schema`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrammarText<'t> {
    /// A grammar in GBNF.
    Gbnf(Cow<'t, str>),
    /// A JSON schema.
    JsonSchema(Cow<'t, str>),
}

impl<'t> GrammarText<'t> {
    /// The grammar that the options ask for: the text itself, or the name of a file that `read` reads.
    ///
    /// # Errors
    /// Those of `read`; [`TWO_GRAMMARS`] as an error if both options are given.
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

    /// The same in the form that a request takes. Members come in the order of the schema.
    pub fn grammar(&self) -> AnswerGrammar<'_> {
        match self {
            Self::Gbnf(text) => AnswerGrammar::Gbnf(text),
            Self::JsonSchema(schema) => AnswerGrammar::JsonSchema(schema, Options::GENERATED),
        }
    }
}

impl AnswerGrammar<'_> {
    /// Its rules. Tokens that they name are those of a vocabulary.
    ///
    /// # Errors
    /// [`FrontError::Grammar`] and [`FrontError::Schema`] say where the text is wrong.
    #[inline(never)]
    pub(super) fn rules(self, tokenizer: &Tokenizer<'_>) -> Result<(Builder, Expression), FrontError> {
        let (schema, options) = match self {
            Self::Gbnf(text) => {
                let read = Builder::of_gbnf(text, &|name| tokenizer.special_id(name));
                let read = read.and_then(|(mut builder, root)| builder.rule(root).map(|all| (builder, all)));
                return read.map_err(FrontError::Grammar);
            }
            Self::JsonSchema(schema, options) => (schema, options),
            Self::JsonObject => (ANY_OBJECT, Options::GENERATED),
        };
        let mut builder = Builder::new();
        let values = builder.json_schema(schema, options).map_err(FrontError::Schema)?;
        Ok((builder, values))
    }
}

/// The tree of a vocabulary's tokens, for a model with logits for `n_vocab` of them.
///
/// # Errors
/// [`FrontError::OutOfHeap`]; [`FrontError::GrammarVocabulary`] for a token that is too long.
pub(super) fn vocabulary(tokenizer: &Tokenizer<'_>, n_vocab: usize) -> Result<Vocabulary, FrontError> {
    // `starts` holds where each token's bytes begin, and the end of the last.
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
