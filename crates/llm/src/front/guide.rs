//! Builds the [`Guide`] of an answer: the rules that the answer must follow, from the request and from the format in
//! which the model answers.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use ::grammar::json_schema::{Options, SchemaError};
use ::grammar::{Builder, Expression, Grammar, GrammarError, Limits, Vocabulary};
use toolcalls::{Arguments, Calls, CallsError, Reasoning, Strictness, with_marks};

use super::{AnswerGrammar, FrontError, Prompter, Request};
use crate::chat::{Format, Tool};
use crate::quoted::beginning;
use crate::sampling::{BLANKS, Guide, MAX_BLANKS, Rules, SamplingError, THOUGHT_TOKEN, Thinking, Trigger};
use crate::tokenizer::{EncodeOptions, Tokenizer};

/// Whether a model may call the tools of the request. If it may not, the prompt does not mention them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ToolChoice<'r> {
    /// It may. Arguments are valid against the tool's schema. A tool whose schema cannot be expressed as a grammar accepts any object as
    /// arguments; if the grammar of all tools would be too large, every tool does. If even that grammar is too large, the answer is not
    /// constrained.
    #[default]
    Auto,
    /// It must call some tool.
    Required,
    /// It must call the tool of this name.
    Named(&'r str),
}

/// Which part of an answer must follow a grammar.
#[derive(Clone, Copy)]
enum Held<'r> {
    /// Nothing.
    Nothing,
    /// The content, outside of thoughts.
    Content(AnswerGrammar<'r>),
    /// The whole answer, which consists of calls.
    Calls,
    /// The whole answer, which is either content or calls.
    Either(AnswerGrammar<'r>),
    /// Everything after the beginning of a call.
    Triggered,
}

/// Rules that were used recently, and what they were made from.
struct Known {
    key: Vec<u8>,
    options: Option<Options>,
    rules: Arc<Rules>,
}

/// Rules that were used recently, most recent last.
#[derive(Default)]
pub(super) struct Kept(Vec<Known>);

/// Most rules that are kept.
const MAX_KEPT: usize = 8;
/// Most bytes of all kept rules together. The most recently used rules are kept whatever their size.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// Everything that rules are made from.
struct Source<'s> {
    held: Held<'s>,
    format: Option<Format>,
    /// The marks of thoughts, if a thought may come.
    reasoning: Option<&'static Reasoning>,
    /// The tools that can be called. The next field is the number of the first one.
    tools: &'s [Tool<'s>],
    first_tool: usize,
    parallel: bool,
}

impl Prompter<'_> {
    /// Frees memory by dropping what later requests can make again. Breaks if there is nothing to drop.
    pub(super) fn give_back(&mut self) -> ControlFlow<()> {
        self.kept.give_back()
    }

    /// The guide for the answer to a request, `None` if nothing constrains it. `format` is the format that the prompt gave; it is updated
    /// to say how to parse the answer.
    ///
    /// # Errors
    /// If the grammar, a schema or the tool choice is wrong, or the heap has no room.
    pub(super) fn guide(
        &mut self,
        request: &Request<'_>,
        n_vocab: usize,
        format: &mut Option<Format>,
    ) -> Result<Option<Guide>, FrontError> {
        let tools = request.prompt.tools();
        let (held, tools, first_tool) = match (request.grammar, request.tool_choice) {
            (Some(grammar @ AnswerGrammar::Gbnf(_)), _) => (Held::Content(grammar), &[][..], 0),
            (Some(grammar), _) if tools.is_empty() => (Held::Content(grammar), tools, 0),
            (Some(grammar), ToolChoice::Auto) => (Held::Either(grammar), tools, 0),
            (None, ToolChoice::Auto) if tools.is_empty() => (Held::Nothing, tools, 0),
            (None, ToolChoice::Auto) => (Held::Triggered, tools, 0),
            (_, ToolChoice::Required) if tools.is_empty() => {
                return Err(FrontError::NoTool { name: String::new() });
            }
            (_, ToolChoice::Required) => (Held::Calls, tools, 0),
            (_, ToolChoice::Named(name)) => match tools.iter().position(|tool| tool.name == name) {
                Some(index) => (Held::Calls, &tools[index..=index], index),
                None => return Err(FrontError::NoTool { name: beginning(name).into() }),
            },
        };
        let mut reasoning = format.and_then(|format| format.reasoning);
        if let (Held::Content(grammar) | Held::Either(grammar), Some(format)) = (held, &mut *format) {
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
        // If a thought is already over and a grammar applies, no second thought may come.
        let is_whole = !matches!(held, Held::Nothing | Held::Triggered);
        reasoning = reasoning.filter(|_| !(is_whole && format.is_some_and(|format| format.has_thought)));
        let has_budget = reasoning.is_some() && request.thinking_budget.is_some();
        if matches!(held, Held::Nothing) && !has_budget {
            return Ok(None);
        }
        let parallel = request.parallel_tool_calls;
        let source = Source { held, format, reasoning, tools, first_tool, parallel };
        let vocabulary = self.grammar_vocabulary(n_vocab)?;
        let tokenizer = self.tokenizer.as_ref().map_err(|error| *error)?;
        let rules = match self.kept.rules(&source, tokenizer, &vocabulary) {
            // Rules kept for other requests may occupy the memory.
            Err(error) if error.is_out_of_memory() && self.kept.give_back().is_continue() => {
                self.kept.rules(&source, tokenizer, &vocabulary)
            }
            rules => rules,
        }?;
        Ok(Some(Guide::new(rules, request.thinking_budget)?))
    }
}

impl Kept {
    /// The rules of this source: the kept ones if they were made from an equal source, else new ones.
    fn rules(
        &mut self,
        source: &Source<'_>,
        tokenizer: &Tokenizer<'_>,
        vocabulary: &Arc<Vocabulary>,
    ) -> Result<Arc<Rules>, FrontError> {
        let (key, options) = source.key()?;
        let known = self.0.iter().position(|known| known.key == key && known.options == options);
        let last = match known {
            Some(index) => self.0.remove(index),
            None => {
                self.drop_beyond(MAX_KEPT - 1, MAX_KEPT_BYTES);
                let rules = source.rules(tokenizer, vocabulary)?;
                Known { key, options, rules: Arc::new(rules) }
            }
        };
        let rules = last.rules.clone();
        self.drop_beyond(MAX_KEPT - 1, MAX_KEPT_BYTES.saturating_sub(last.bytes()));
        // If there is no room to keep the rules, they are made again when needed.
        if self.0.try_reserve(1).is_ok() {
            self.0.push(last);
        }
        Ok(rules)
    }

    /// Drops all of them to free memory. Breaks if there are none.
    fn give_back(&mut self) -> ControlFlow<()> {
        match core::mem::take(&mut self.0).is_empty() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Drops the least recently used until at most `most` rules of at most `most_bytes` bytes together are left.
    fn drop_beyond(&mut self, most: usize, most_bytes: usize) {
        let mut n_bytes = 0;
        let fits = |known: &&Known| {
            n_bytes += known.bytes();
            n_bytes <= most_bytes
        };
        let n_kept = self.0.iter().rev().take(most).take_while(fits).count();
        self.0.drain(..self.0.len() - n_kept);
    }
}

impl Known {
    fn bytes(&self) -> usize {
        self.key.len() + self.rules.bytes()
    }
}

/// Whether the error says that a grammar is too large, or needs too much memory at its start.
fn is_too_large(error: &FrontError) -> bool {
    let is_of_grammar = match error {
        FrontError::Schema(_)
        | FrontError::Grammar(_)
        | FrontError::Sampling(SamplingError::Constraint(_)) => true,
        FrontError::Tool { error, .. } => !matches!(error, CallsError::Name { .. }),
        _ => false,
    };
    is_of_grammar && !error.is_out_of_memory()
}

/// The tokens without text that occur in the marks of this format.
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

/// The tokens that end a thought which has become too long. If a grammar determines what follows, these are only the
/// tokens of the mark.
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

/// The text between the end of a thought and the content.
fn behind_thought(reasoning: &Reasoning) -> &'static str {
    reasoning.forced_close.split_once(reasoning.close).map_or("", |(_, rest)| rest.trim())
}

impl Source<'_> {
    /// The rules. A request that need not call a tool must not fail because of a tool's schema: if the grammar becomes too large, tools
    /// accept any object; if it is still too large, calls are not constrained.
    fn rules(&self, tokenizer: &Tokenizer<'_>, vocabulary: &Arc<Vocabulary>) -> Result<Rules, FrontError> {
        let marks = marks(tokenizer, vocabulary.n_vocab() as usize, self.format)?;
        let mut made = self.rules_of(tokenizer, vocabulary, &marks, self.strictness());
        // If all tools together stayed within the limits, each tool alone does too.
        let is_in_question = match &made {
            Ok(_) => self.tools.len() > 1,
            Err(error) => matches!(error, FrontError::Grammar(GrammarError::TooNested { .. })),
        };
        if matches!(self.held, Held::Calls) && is_in_question {
            self.check_each(tokenizer, &marks)?;
        }
        if let (Held::Triggered | Held::Either(_), Err(error)) = (self.held, &made)
            && is_too_large(error)
        {
            made = self.rules_of(tokenizer, vocabulary, &marks, Some(Strictness::Objects));
        }
        match (self.held, &made) {
            (Held::Triggered, Err(error)) if is_too_large(error) => {
                self.rules_of(tokenizer, vocabulary, &marks, None)
            }
            _ => made,
        }
    }

    /// Checks each tool alone. Next to other tools, one whose arguments cannot end within the bound could never be called, and no error
    /// would say so.
    ///
    /// # Errors
    /// Names the tool that cannot be called.
    fn check_each(&self, tokenizer: &Tokenizer<'_>, marks: &[(&str, u32)]) -> Result<(), FrontError> {
        for (index, tool) in self.tools.iter().enumerate() {
            let first_tool = self.first_tool + index;
            let alone = Source { tools: &self.tools[index..=index], first_tool, ..*self };
            if let Err(FrontError::Grammar(error @ GrammarError::TooNested { .. })) =
                alone.grammar(tokenizer, marks, Strictness::All)
            {
                let (name, error) = (beginning(tool.name).into(), CallsError::Grammar(error));
                return Err(FrontError::Tool { tool: first_tool, name, error });
            }
        }
        Ok(())
    }

    /// How strictly arguments must follow their schemas; `None` if nothing is constrained.
    fn strictness(&self) -> Option<Strictness> {
        match self.held {
            Held::Nothing => None,
            Held::Triggered | Held::Either(_) => Some(Strictness::Expressible),
            Held::Content(_) | Held::Calls => Some(Strictness::All),
        }
    }

    fn rules_of(
        &self,
        tokenizer: &Tokenizer<'_>,
        vocabulary: &Arc<Vocabulary>,
        marks: &[(&str, u32)],
        strictness: Option<Strictness>,
    ) -> Result<Rules, FrontError> {
        let defaults = Limits::default();
        // Every chat with tools needs such a grammar, so it gets half of the usual memory.
        let memory_bytes = defaults.memory_bytes >> u32::from(matches!(self.held, Held::Triggered));
        let limits = Limits { memory_bytes, ..defaults };
        let grammar = match strictness {
            None => None,
            Some(strictness) => Some((Arc::new(self.grammar(tokenizer, marks, strictness)?), limits)),
        };
        let thinking = match self.reasoning {
            None => None,
            Some(reasoning) => Some(Thinking {
                open: reasoning.open,
                close: reasoning.close,
                also_close: reasoning.also_close,
                starts_open: self.format.is_some_and(|format| format.starts_open),
                closing: closing(tokenizer, reasoning, !matches!(self.held, Held::Nothing))?,
            }),
        };
        let mut triggers = Vec::new();
        if let (Held::Triggered, Some(format), Some(_)) = (self.held, self.format, &grammar) {
            triggers.extend(format.form.triggers().map(|(text, is_first)| Trigger { text, is_first }));
        }
        let mut names = Vec::new();
        let needed_bytes = size_of_val(marks);
        names.try_reserve_exact(marks.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        names.extend(marks.iter().map(|&(name, id)| (id, Vec::from(name))));
        Ok(Rules::new(vocabulary.clone(), grammar, thinking, &triggers, names)?)
    }

    /// A key made of everything that the rules depend on.
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
            Held::Content(grammar) | Held::Either(grammar) => match grammar {
                AnswerGrammar::Gbnf(text) => ("gbnf", text, None),
                AnswerGrammar::JsonSchema(schema, options) => ("schema", schema, Some(options)),
                AnswerGrammar::JsonObject => ("object", "", None),
            },
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

    #[inline(never)]
    fn grammar(
        &self,
        tokenizer: &Tokenizer<'_>,
        marks: &[(&str, u32)],
        strictness: Strictness,
    ) -> Result<Grammar, FrontError> {
        let (mut builder, said) = match self.held {
            Held::Content(grammar) | Held::Either(grammar) => {
                let (builder, said) = grammar.rules(tokenizer)?;
                (builder, Some(said))
            }
            _ => (Builder::new(), None),
        };
        let calls = match self.held {
            Held::Content(_) => None,
            _ => Some(self.calls(&mut builder, marks, strictness)?),
        };
        let is_schema = matches!(
            self.held,
            Held::Content(AnswerGrammar::JsonSchema(..)) | Held::Either(AnswerGrammar::JsonSchema(..))
        );
        let finished = (|| {
            let mut ways = Vec::new();
            for (body, is_said) in [(said, true), (calls, false)] {
                if let Some(body) = body {
                    ways.push(self.answer(&mut builder, marks, body, is_said)?);
                }
            }
            let answer = builder.choice(&ways)?;
            let root = builder.declare("answer")?;
            builder.define(root, answer)?;
            let grammar = builder.finish(root)?;
            match self.held {
                Held::Content(_) => Ok(grammar),
                // The object of all arguments encloses the others, so one level is used up.
                _ => grammar.nested(toolcalls::MAX_DEPTH - 1),
            }
        })();
        finished.map_err(|error| match error {
            GrammarError::MatchesNothing { .. } if is_schema => {
                FrontError::Schema(SchemaError::Unsatisfiable)
            }
            error if is_schema => FrontError::Schema(SchemaError::Grammar(error)),
            error => FrontError::Grammar(error),
        })
    }

    #[inline(never)]
    fn calls(
        &self,
        builder: &mut Builder,
        marks: &[(&str, u32)],
        strictness: Strictness,
    ) -> Result<Expression, FrontError> {
        let mut tools = Vec::new();
        let needed_bytes = self.tools.len() * size_of::<(&str, &str)>();
        tools.try_reserve_exact(self.tools.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        tools.extend(self.tools.iter().map(|tool| (tool.name, tool.parameters)));
        let is_marked = matches!(self.held, Held::Either(_));
        let calls = Calls { tools: &tools, parallel: self.parallel, strictness, is_marked, marks };
        let form = self.format.unwrap_or_default().form;
        let body = match self.held {
            Held::Triggered => form.triggered_calls(builder, calls),
            _ => form.calls(builder, calls),
        };
        body.map_err(|error| match error {
            CallsError::Grammar(error) => FrontError::Grammar(error),
            CallsError::Name { tool } | CallsError::Schema { tool, .. } => {
                let name = beginning(self.tools[tool].name).into();
                FrontError::Tool { tool: self.first_tool + tool, name, error }
            }
        })
    }

    /// The whole answer in the form that [`Rules::new`] takes. `body` is the content or the calls.
    #[inline(never)]
    fn answer(
        &self,
        builder: &mut Builder,
        token_marks: &[(&str, u32)],
        body: Expression,
        is_said: bool,
    ) -> Result<Expression, GrammarError> {
        let (Some(format), false) = (self.format, matches!(self.held, Held::Triggered)) else {
            return Ok(body);
        };
        let has_channels = format.form.arguments == Arguments::Channels;
        // Marks that may precede the content, and must precede it in a format with channels.
        let marks = format.reasoning.map_or("", behind_thought);
        let head = match is_said {
            true if !format.is_held => "",
            true => marks,
            false if has_channels => START,
            false => "",
        };
        let with_head = |builder: &mut Builder, head: &str| {
            let head = with_marks(builder, token_marks, head)?;
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
        let open = with_marks(builder, token_marks, reasoning.open)?;
        let thinking = builder.sequence(&[open, thought, blanks, behind])?;
        builder.choice(&[plain, thinking])
    }
}

/// How gpt-oss begins a message. The prompt already contains this for the first message.
const START: &str = "<|start|>assistant";

#[cfg(test)]
mod tests {
    use super::super::grammar;
    use super::*;
    use crate::gguf::Gguf;

    #[test]
    fn what_was_needed_lately_is_not_made_again() {
        let file = broken_gguf::good();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let vocabulary = Arc::new(grammar::vocabulary(&tokenizer, tokenizer.n_vocab()).unwrap());
        let mut kept = Kept::default();
        let mut rules = |held, starts_open, tools: &[Tool<'_>]| {
            let format = Some(Format { starts_open, ..Format::default() });
            let source = Source { held, format, reasoning: None, tools, first_tool: 0, parallel: true };
            let rules = kept.rules(&source, &tokenizer, &vocabulary).unwrap();
            assert!(kept.0.len() <= MAX_KEPT);
            rules
        };
        let gbnf = |text| Held::Content(AnswerGrammar::Gbnf(text));
        let tools = [Tool { name: "f", ..Tool::default() }, Tool { name: "g", ..Tool::default() }];
        let schema = AnswerGrammar::JsonSchema("{}", Options::GENERATED);
        let sources = [
            (gbnf("root ::= \"a\""), false, &[][..]),
            (gbnf("root ::= \"b\""), false, &[]),
            (gbnf("root ::= \"b\""), true, &[]),
            (Held::Content(schema), true, &[]),
            (Held::Content(AnswerGrammar::JsonSchema("{}", Options::VALID)), true, &[]),
            (Held::Either(schema), true, &tools),
            (Held::Calls, true, &tools[..1]),
            (Held::Calls, true, &tools),
            (Held::Triggered, true, &tools),
            (Held::Nothing, true, &[]),
        ];
        let made = sources.map(|(held, starts_open, tools)| rules(held, starts_open, tools));
        for (index, one) in made.iter().enumerate() {
            assert!(made[..index].iter().all(|other| !Arc::ptr_eq(one, other)), "{index}");
        }
        // The last eight are kept, and the most recently used one stays longest.
        for index in [2, 3, 4, 5, 6, 7, 8, 9, 2] {
            let (held, starts_open, tools) = sources[index];
            assert!(Arc::ptr_eq(&made[index], &rules(held, starts_open, tools)), "{index}");
        }
        for index in [0, 1, 2] {
            let (held, starts_open, tools) = sources[index];
            assert_eq!(Arc::ptr_eq(&made[index], &rules(held, starts_open, tools)), index == 2, "{index}");
        }
    }

    /// A source whose answer must call one of these tools.
    fn forced<'a>(tools: &'a [Tool<'a>]) -> Source<'a> {
        let format = Some(Format::default());
        Source { held: Held::Calls, format, reasoning: None, tools, first_tool: 0, parallel: true }
    }

    #[test]
    fn where_no_grammar_has_room_for_all_tools_nothing_is_held() {
        let file = broken_gguf::good();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let vocabulary = Arc::new(grammar::vocabulary(&tokenizer, tokenizer.n_vocab()).unwrap());
        let names: Vec<String> = (0..60_000).map(|index| alloc::format!("f{index}")).collect();
        let tools: Vec<_> = names.iter().map(|name| Tool { name, ..Tool::default() }).collect();
        let mut source = forced(&tools);
        assert!(source.rules(&tokenizer, &vocabulary).is_err_and(|error| is_too_large(&error)));
        source.held = Held::Either(AnswerGrammar::JsonObject);
        assert!(source.rules(&tokenizer, &vocabulary).is_err_and(|error| is_too_large(&error)));
        source.held = Held::Triggered;
        let rules = source.rules(&tokenizer, &vocabulary).unwrap();
        assert!(!rules.has_grammar());
        source.tools = &tools[..100];
        assert!(source.rules(&tokenizer, &vocabulary).unwrap().has_grammar());
    }

    #[test]
    fn a_tool_whose_arguments_never_end_within_the_bound_is_not_forced() {
        let file = broken_gguf::good();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let vocabulary = Arc::new(grammar::vocabulary(&tokenizer, tokenizer.n_vocab()).unwrap());
        // Nested objects, all of them required.
        let schema = |n: usize| {
            let inner = |i| {
                alloc::format!(
                    r##""d{i}":{{"type":"object","required":["x"],"properties":{{"x":{{"$ref":"#/$defs/d{}"}}}}}},"##,
                    i + 1
                )
            };
            let inner: String = (0..n).map(inner).collect();
            alloc::format!(
                r##"{{"required":["x"],"properties":{{"x":{{"$ref":"#/$defs/d0"}}}},"$defs":{{{inner}"d{n}":{{"type":"null"}}}}}}"##
            )
        };
        for (n, ends) in [(10, true), (60, false)] {
            let parameters = schema(n);
            let tools = [Tool { name: "f", parameters: &parameters, ..Tool::default() }];
            let others = [Tool { name: "g", ..Tool::default() }, tools[0]];
            for (number, tools) in [(0, &tools[..]), (1, &others)] {
                let rules = forced(tools).rules(&tokenizer, &vocabulary);
                let is_named = |error| matches!(error, FrontError::Tool { tool, name, .. } if name == "f" && tool == number);
                assert!(if ends { rules.is_ok() } else { rules.is_err_and(is_named) }, "{n}, {number}");
            }
            // If the call is optional, the tool accepts any object.
            let source = Source { held: Held::Triggered, ..forced(&tools) };
            assert!(source.rules(&tokenizer, &vocabulary).unwrap().has_grammar());
        }
    }

    #[test]
    fn what_is_kept_has_a_bound_in_bytes() {
        let file = broken_gguf::good();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let vocabulary = Arc::new(grammar::vocabulary(&tokenizer, tokenizer.n_vocab()).unwrap());
        let mut kept = Kept::default();
        // The text of each takes a third of the bytes that are kept.
        for (index, n_kept) in [1, 2, 3, 3, 3].into_iter().enumerate() {
            let text = alloc::format!("root ::= \"a\" # {index} {}", " ".repeat(MAX_KEPT_BYTES / 3 - 10_000));
            let held = Held::Content(AnswerGrammar::Gbnf(&text));
            let source =
                Source { held, format: None, reasoning: None, tools: &[], first_tool: 0, parallel: true };
            kept.rules(&source, &tokenizer, &vocabulary).unwrap();
            assert_eq!(kept.0.len(), n_kept);
        }
    }
}
