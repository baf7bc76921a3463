//! The [`Guide`] of an answer: what it has to keep to, by the request and by the format that its model answers in.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ::grammar::json_schema::{Options, SchemaError};
use ::grammar::{Builder, Constraint, Expression, Grammar, GrammarError, Limits};
use toolcalls::{Arguments, Calls, CallsError, Reasoning, with_marks};

use super::{AnswerGrammar, FrontError, Prompt, Prompter, Request};
use crate::chat::{Format, Tool};
use crate::sampling::{BLANKS, Guide, MAX_BLANKS, THOUGHT_TOKEN, Thinking, Trigger};
use crate::tokenizer::{EncodeOptions, Tokenizer};

/// Whether a model may call the tools that it is told of. If it may not, it is told of none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ToolChoice<'r> {
    /// It may. Arguments are valid against the tool's schema; a tool whose schema no grammar expresses is called with any object.
    #[default]
    Auto,
    /// It must call some tool.
    Required,
    /// It must call the tool of this name.
    Named(&'r str),
}

/// What has to keep to a grammar.
#[derive(Clone, Copy)]
enum Held<'r> {
    /// Nothing.
    Nothing,
    /// What is said.
    Content(AnswerGrammar<'r>),
    /// The whole answer, calls.
    Calls,
    /// What follows the beginning of a call.
    Triggered,
}

/// The grammar that was needed last, and what it was made of.
pub(super) struct Kept {
    key: Vec<u8>,
    options: Option<Options>,
    grammar: Arc<Grammar>,
}

/// What a grammar is made of.
struct Source<'s> {
    held: Held<'s>,
    format: Option<Format>,
    /// Whether a thought may come, and what marks it.
    reasoning: Option<&'static Reasoning>,
    /// The tools that can be called, and the number of the first.
    tools: &'s [Tool<'s>],
    first_tool: usize,
    parallel: bool,
    marks: &'s [(&'s str, u32)],
}

impl Prompter<'_> {
    /// What the answer to a request keeps to, if to anything, whose prompt made `format`; that becomes how the answer is read.
    ///
    /// # Errors
    /// What is wrong with the grammar, a schema or the choice of a tool, or that the heap has no room.
    pub(super) fn guide(
        &mut self,
        request: &Request<'_>,
        n_vocab: usize,
        format: &mut Option<Format>,
    ) -> Result<Option<Guide>, FrontError> {
        let tools = match &request.prompt {
            Prompt::Chat(_, format) | Prompt::Messages(_, format) => format.tools,
            Prompt::Text(..) | Prompt::Ids(_) => &[],
        };
        let (held, tools, first_tool) = match (request.grammar, request.tool_choice) {
            (Some(grammar), _) => (Held::Content(grammar), &[][..], 0),
            (None, ToolChoice::Auto) if tools.is_empty() => (Held::Nothing, tools, 0),
            (None, ToolChoice::Auto) => (Held::Triggered, tools, 0),
            (None, ToolChoice::Required) if tools.is_empty() => {
                return Err(FrontError::NoTool { name: String::new() });
            }
            (None, ToolChoice::Required) => (Held::Calls, tools, 0),
            (None, ToolChoice::Named(name)) => match tools.iter().position(|tool| tool.name == name) {
                Some(index) => (Held::Calls, &tools[index..=index], index),
                None => return Err(FrontError::NoTool { name: name.into() }),
            },
        };
        let mut reasoning = format.and_then(|format| format.reasoning);
        if let (Held::Content(grammar), Some(format)) = (held, &mut *format) {
            let writes_thoughts = match grammar {
                AnswerGrammar::Gbnf(text) => reasoning.is_some_and(|marks| text.contains(marks.close)),
                AnswerGrammar::JsonSchema(..) | AnswerGrammar::JsonObject => false,
            };
            match writes_thoughts {
                true => reasoning = None,
                false => format.is_held = true,
            }
        }
        let format = *format;
        // Where a thought is over and a grammar holds, there is no other.
        let is_whole = matches!(held, Held::Content(_) | Held::Calls);
        reasoning = reasoning.filter(|_| !(is_whole && format.is_some_and(|format| format.has_thought)));
        let has_budget = reasoning.is_some() && request.thinking_budget.is_some();
        if matches!(held, Held::Nothing) && !has_budget {
            return Ok(None);
        }
        let vocabulary = self.grammar_vocabulary(n_vocab)?;
        let tokenizer = self.tokenizer.as_ref().map_err(|error| *error)?;
        let marks = marks(tokenizer, n_vocab, format)?;
        let parallel = request.parallel_tool_calls;
        let source = Source { held, format, reasoning, tools, first_tool, parallel, marks: &marks };
        let constraint = match held {
            Held::Nothing => None,
            _ => {
                let grammar = source.kept(&mut self.kept, tokenizer)?;
                // Every chat with tools needs one.
                let memory_bytes =
                    Limits::default().memory_bytes >> u32::from(matches!(held, Held::Triggered));
                let limits = Limits { memory_bytes, ..Limits::default() };
                let needed_bytes = Constraint::memory_bytes(&grammar, &vocabulary, limits);
                let constraint = Constraint::new(grammar, vocabulary.clone(), limits);
                Some(constraint.map_err(|error| match error {
                    ::grammar::ConstraintError::OutOfMemory => FrontError::OutOfHeap { needed_bytes },
                    error => FrontError::Sampling(error.into()),
                })?)
            }
        };
        let thinking = match reasoning {
            None => None,
            Some(reasoning) => Some(Thinking {
                open: reasoning.open,
                close: reasoning.close,
                starts_open: format.is_some_and(|format| format.starts_open),
                budget: request.thinking_budget,
                closing: closing(tokenizer, reasoning, !matches!(held, Held::Nothing))?,
            }),
        };
        let mut triggers = Vec::new();
        if let (Held::Triggered, Some(format)) = (held, format) {
            triggers.extend(format.form.triggers().map(|(text, is_first)| Trigger { text, is_first }));
        }
        let mut names = Vec::new();
        let needed_bytes = marks.len() * size_of::<(u32, Vec<u8>)>();
        names.try_reserve_exact(marks.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        names.extend(marks.iter().map(|&(name, id)| (id, Vec::from(name))));
        Ok(Some(Guide::new(vocabulary, constraint, thinking, &triggers, names)?))
    }
}

/// The tokens without a text that are part of marks of answers in this format.
fn marks<'t>(
    tokenizer: &Tokenizer<'t>,
    n_vocab: usize,
    format: Option<Format>,
) -> Result<Vec<(&'t str, u32)>, FrontError> {
    let mut marks = Vec::new();
    let Some(format) = format else { return Ok(marks) };
    for id in 0..n_vocab.min(tokenizer.n_vocab()) as u32 {
        let name = if tokenizer.kind(id)?.has_text() { &[] } else { tokenizer.piece(id)? };
        if let Some(name) = core::str::from_utf8(name).ok().filter(|name| format.has_mark(name)) {
            let needed_bytes = (marks.len() + 1) * size_of::<(&str, u32)>();
            marks.try_reserve(1).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
            marks.push((name, id));
        }
    }
    Ok(marks)
}

/// The tokens that end a thought which has become too long; only those of the mark, if a grammar says what follows.
fn closing(
    tokenizer: &Tokenizer<'_>,
    reasoning: &Reasoning,
    is_mark_only: bool,
) -> Result<Vec<u32>, FrontError> {
    let text = reasoning.forced_close;
    let rest = behind_thought(reasoning);
    let text = if is_mark_only { text.trim_end_matches(rest) } else { text };
    let mut ids = Vec::new();
    tokenizer.encode(text, EncodeOptions { add_special: false, parse_special: true }, &mut ids)?;
    Ok(ids)
}

/// What stands between the end of a thought and what is said.
fn behind_thought(reasoning: &Reasoning) -> &'static str {
    reasoning.forced_close.split_once(reasoning.close).map_or("", |(_, rest)| rest.trim())
}

impl Source<'_> {
    /// The grammar: the one that is kept, if it was made of the same.
    fn kept(&self, kept: &mut Option<Kept>, tokenizer: &Tokenizer<'_>) -> Result<Arc<Grammar>, FrontError> {
        let (key, options) = self.key()?;
        if let Some(known) = kept.as_ref().filter(|known| known.key == key && known.options == options) {
            return Ok(known.grammar.clone());
        }
        // Makes room before the new one is made.
        *kept = None;
        let grammar = Arc::new(self.grammar(tokenizer)?);
        *kept = Some(Kept { key, options, grammar: grammar.clone() });
        Ok(grammar)
    }

    /// All that the grammar depends on.
    fn key(&self) -> Result<(Vec<u8>, Option<Options>), FrontError> {
        let mut key = Vec::new();
        let mut add = |text: &str| {
            let needed_bytes = key.len() + size_of::<usize>() + text.len();
            let reserved = key.try_reserve(size_of::<usize>() + text.len());
            reserved.map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
            key.extend_from_slice(&text.len().to_le_bytes());
            key.extend_from_slice(text.as_bytes());
            Ok::<_, FrontError>(())
        };
        let (kind, text, options) = match self.held {
            Held::Nothing => ("nothing", "", None),
            Held::Content(AnswerGrammar::Gbnf(text)) => ("gbnf", text, None),
            Held::Content(AnswerGrammar::JsonSchema(schema, options)) => ("schema", schema, Some(options)),
            Held::Content(AnswerGrammar::JsonObject) => ("object", "", None),
            Held::Calls => ("calls", "", None),
            Held::Triggered => ("triggered", "", None),
        };
        let format = self.format.unwrap_or_default();
        let flags = [
            self.parallel,
            self.format.is_some(),
            format.starts_open,
            format.is_held,
            self.reasoning.is_some(),
        ];
        let flags = flags.map(|flag| if flag { "1" } else { "" });
        let marks = format.reasoning.map_or(("", ""), |reasoning| (reasoning.open, reasoning.forced_close));
        let texts = [kind, text, format.form.name, format.form.before, marks.0, marks.1];
        for text in texts.into_iter().chain(flags) {
            add(text)?;
        }
        for tool in self.tools {
            add(tool.name)?;
            add(tool.parameters)?;
        }
        Ok((key, options))
    }

    fn grammar(&self, tokenizer: &Tokenizer<'_>) -> Result<Grammar, FrontError> {
        let (mut builder, body) = match self.held {
            Held::Content(grammar) => grammar.rules(tokenizer)?,
            _ => self.calls()?,
        };
        let is_schema = matches!(self.held, Held::Content(AnswerGrammar::JsonSchema(..)));
        let finished = (|| {
            let answer = self.answer(&mut builder, body)?;
            let root = builder.declare("answer")?;
            builder.define(root, answer)?;
            builder.finish(root)
        })();
        finished.map_err(|error| match error {
            GrammarError::MatchesNothing { .. } if is_schema => {
                FrontError::Schema(SchemaError::Unsatisfiable)
            }
            error if is_schema => FrontError::Schema(SchemaError::Grammar(error)),
            error => FrontError::Grammar(error),
        })
    }

    fn calls(&self) -> Result<(Builder, Expression), FrontError> {
        let mut builder = Builder::new();
        let mut tools = Vec::new();
        let needed_bytes = self.tools.len() * size_of::<(&str, &str)>();
        tools.try_reserve_exact(self.tools.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        tools.extend(self.tools.iter().map(|tool| (tool.name, tool.parameters)));
        let any_arguments = matches!(self.held, Held::Triggered);
        let calls = Calls { tools: &tools, parallel: self.parallel, any_arguments, marks: self.marks };
        let form = self.format.unwrap_or_default().form;
        let body = match any_arguments {
            true => form.triggered_calls(&mut builder, calls),
            false => form.calls(&mut builder, calls),
        };
        let body = body.map_err(|error| match error {
            CallsError::Grammar(error) => FrontError::Grammar(error),
            CallsError::Name { tool } | CallsError::Schema { tool, .. } => {
                let name = self.tools[tool].name.into();
                FrontError::Tool { tool: self.first_tool + tool, name, error }
            }
        })?;
        Ok((builder, body))
    }

    /// The whole answer, in which `body` is what is said, or calls; as [`Guide::new`] takes it.
    fn answer(&self, builder: &mut Builder, body: Expression) -> Result<Expression, GrammarError> {
        let (Some(format), Held::Content(_) | Held::Calls) = (self.format, self.held) else {
            return Ok(body);
        };
        let has_channels = format.form.arguments == Arguments::Channels;
        let is_content = matches!(self.held, Held::Content(_));
        // Marks that may stand before what is said, and must where there are channels.
        let marks = format.reasoning.map_or("", behind_thought);
        let head = match is_content {
            true if !format.is_held => "",
            true => marks,
            false if has_channels => START,
            false => "",
        };
        let with_head = |builder: &mut Builder, head: &str| {
            let head = with_marks(builder, self.marks, head)?;
            let head = if has_channels { head } else { builder.optional(head)? };
            builder.sequence(&[head, body])
        };
        let plain = with_head(builder, head.strip_prefix(START).unwrap_or(head))?;
        let Some(reasoning) = self.reasoning else { return Ok(plain) };
        let behind = with_head(builder, head)?;
        let blank = builder.class(&BLANKS.map(|blank| (blank.into(), blank.into())))?;
        let blanks = builder.repeat(blank, 0, Some(MAX_BLANKS))?;
        let thought = builder.token(THOUGHT_TOKEN, false)?;
        if format.starts_open {
            return builder.sequence(&[thought, blanks, behind]);
        }
        let open = with_marks(builder, self.marks, reasoning.open)?;
        let thinking = builder.sequence(&[open, thought, blanks, behind])?;
        builder.choice(&[plain, thinking])
    }
}

/// How gpt-oss begins a message after the first, which the prompt begins.
const START: &str = "<|start|>assistant";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;

    #[test]
    fn a_grammar_that_was_needed_last_is_not_made_again() {
        let file = broken_gguf::good();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let mut kept = None;
        let mut grammar = |held, starts_open, tools: &[Tool<'_>]| {
            let format = Some(Format { starts_open, ..Format::default() });
            let source =
                Source { held, format, reasoning: None, tools, first_tool: 0, parallel: true, marks: &[] };
            source.kept(&mut kept, &tokenizer).unwrap()
        };
        let gbnf = |text| Held::Content(AnswerGrammar::Gbnf(text));
        let first = grammar(gbnf("root ::= \"a\""), false, &[]);
        assert!(Arc::ptr_eq(&first, &grammar(gbnf("root ::= \"a\""), false, &[])));
        let tools = [Tool { name: "f", ..Tool::default() }, Tool { name: "g", ..Tool::default() }];
        let mut last = first;
        for (held, starts_open, tools) in [
            (gbnf("root ::= \"b\""), false, &[][..]),
            (gbnf("root ::= \"b\""), true, &[]),
            (Held::Content(AnswerGrammar::JsonSchema("{}", Options::GENERATED)), true, &[]),
            (Held::Content(AnswerGrammar::JsonSchema("{}", Options::VALID)), true, &[]),
            (Held::Calls, true, &tools[..1]),
            (Held::Calls, true, &tools),
            (Held::Triggered, true, &tools),
        ] {
            let other = grammar(held, starts_open, tools);
            assert!(!Arc::ptr_eq(&last, &other));
            assert!(Arc::ptr_eq(&other, &grammar(held, starts_open, tools)));
            last = other;
        }
    }
}
