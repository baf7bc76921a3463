//! `llm embed`, `llm rerank`: texts as vectors and as scores, beside what clients ask.

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::front::{
    FrontError, PROMPT_ENCODING,
    batch::prompts,
    embedding::{Embedding, EmbeddingWish, Pooling},
    logits::Row,
    options::{self, NO_NORMALISE, NO_TEXTS, POOLING, TEXTS},
    vectors::{self, ranking},
};

use super::batch::{Beside, n_parallel_if_room};
use super::models::{engine_options, ensure_loaded};
use crate::llm::{BackendError, EngineOptions};
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
    terminal::Terminal,
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "llm embed",
        usage: "TEXT...",
        n_positional: 0..=usize::MAX,
        options: options::EMBED,
        summary: "show each text as a vector of length 1, by the hidden states of any model",
        details: "A line per text has the numbers of its vector; reading a number back as f32 gives exactly its bits.\n\
                  With --pooling none there is a line per token, and an empty line after each text; with --pooling rank\n\
                  the scores of the model's classifier.",
        run: embed,
    },
    Command {
        name: "llm rerank",
        usage: "QUERY DOCUMENT...",
        n_positional: 1..=usize::MAX,
        options: options::RERANK,
        summary: "rank documents by how they suit a query, by a model with a classifier",
        details: "A line per document has its score, its place among the documents from 1, and the document; the best\n\
                  comes first.",
        run: rerank,
    },
];

fn embed(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let pooling: Option<Pooling> = arguments.option(POOLING.name, Pooling::EXPECTED)?;
    let normalise = arguments.has(NO_NORMALISE.name).then_some(false);
    let texts = texts(shell, arguments, 0)?;
    load(shell, arguments, texts.len())?;
    let tokenizer = shell.backend.responder(None)?.prompter().tokenizer();
    let tokenizer = tokenizer.map_err(|error| front(error.into()))?;
    let mut ids = Vec::new();
    for text in &texts {
        let mut of_text = Vec::new();
        tokenizer.encode(text, PROMPT_ENCODING, &mut of_text).map_err(|error| front(error.into()))?;
        ids.push(of_text);
    }
    let width = shell.backend.responder(None)?.runner().model().config().n_embd;
    let is_apart = pooling == Some(Pooling::None);
    compute(
        shell,
        &ids,
        EmbeddingWish { pooling, normalise, max_tokens: None },
        &mut |terminal, embedding| {
            let width = if is_apart { width } else { embedding.values.len().max(1) };
            for row in embedding.values.chunks(width) {
                terminal.print(format_args!("{}\n", Row(row)));
            }
            if is_apart {
                terminal.print(format_args!("\n"));
            }
        },
    )
}

fn rerank(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let query = arguments.text(0, "QUERY")?.unwrap_or_default();
    let documents = texts(shell, arguments, 1)?;
    load(shell, arguments, documents.len())?;
    let prompter = shell.backend.responder(None)?.prompter();
    let mut ids = Vec::new();
    for document in &documents {
        let mut of_pair = Vec::new();
        prompter.encode_pair(query, document, &mut of_pair).map_err(front)?;
        ids.push(of_pair);
    }
    let mut scores = Vec::new();
    let wish = EmbeddingWish { pooling: Some(Pooling::Rank), normalise: None, max_tokens: None };
    compute(shell, &ids, wish, &mut |_, embedding| {
        scores.push(embedding.values.first().copied().unwrap_or(f32::NAN));
    })?;
    for place in ranking(&scores).map_err(front)? {
        let place = place as usize;
        shell.terminal.print(format_args!("{:.6} [{}] {}\n", scores[place], place + 1, documents[place]));
    }
    Ok(())
}

fn front(error: FrontError) -> CommandError {
    BackendError::from(error).into()
}

/// The texts that are arguments, from the one with this index on, or the lines of a disk.
fn texts(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'_>,
    first: usize,
) -> Result<Vec<String>, CommandError> {
    let n_arguments = arguments.positional().len();
    let texts: Vec<String> = match arguments.option_text(TEXTS.name)? {
        Some(_) if n_arguments > first => {
            return Err(CommandError::GivenTwice { argument: "TEXT", option: TEXTS.name });
        }
        Some(disk) => {
            let text = shell.backend.catalog().read_text(disk)?;
            prompts(&text).map(ToOwned::to_owned).collect()
        }
        None if n_arguments <= first => return Err(CommandError::Usage(arguments.command())),
        None => (first..n_arguments)
            .map(|index| Ok(arguments.text(index, "TEXT")?.unwrap_or_default().to_owned()))
            .collect::<Result<_, CommandError>>()?,
    };
    if texts.is_empty() { Err(CommandError::Contradiction(NO_TEXTS)) } else { Ok(texts) }
}

fn load(shell: &mut Shell<'_>, arguments: &Arguments<'_>, n_texts: usize) -> Result<(), CommandError> {
    let engine = engine_options(shell, arguments)?;
    let n_parallel_if_room = Some(n_parallel_if_room(shell, arguments, n_texts)?);
    ensure_loaded(shell, arguments, Some(EngineOptions { n_parallel_if_room, ..engine }))
}

/// Makes texts vectors and shows each.
fn compute(
    shell: &mut Shell<'_>,
    ids: &[Vec<u32>],
    wish: EmbeddingWish,
    show: &mut dyn FnMut(&mut Terminal<'_>, &Embedding),
) -> Result<(), CommandError> {
    let Shell { backend, terminal, serving, .. } = shell;
    let n_slots = backend.model(None)?.n_parallel;
    let mut answers = Beside { backend: &mut **backend, serving, n_slots, error: None };
    let terminal = core::cell::RefCell::new(terminal);
    let mut go_on = || terminal.borrow_mut().check_interrupt();
    let computed = vectors::run_with(&mut answers, ids, wish, &mut go_on, &mut |_, embedding| {
        show(&mut terminal.borrow_mut(), embedding);
        ControlFlow::Continue(())
    });
    match (answers.error, computed) {
        (Some(error), _) => Err(error.into()),
        (None, computed) => computed.map_err(front),
    }
}
