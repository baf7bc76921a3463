//! `llm embed`, `llm rerank`: turn texts into vectors or scores, along with clients' requests.

use alloc::{string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::front::{
    FrontError, PROMPT_ENCODING, Prompt,
    embedding::{Embedding, EmbeddingWish, Pooling},
    logits::Row,
    options::{self, NO_NORMALISE, NO_TEXTS, POOLING, TEXTS},
    vectors::{self, ranking},
};

use super::batch::{Beside, lines, n_parallel_if_room};
use super::loading::{engine_options, ensure_loaded};
use crate::llm::{BackendError, EngineOptions};
use crate::shell::{
    Shell,
    arguments::{Arguments, list},
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
    let of_disk = text_of_disk(shell, arguments, 0)?;
    let texts = texts(of_disk.as_deref(), arguments, 0)?;
    load(shell, arguments, texts.len())?;
    let width = shell.backend.responder(None)?.runner().model().config().n_embd;
    let is_apart = pooling == Some(Pooling::None);
    compute(
        shell,
        (texts.len(), &|place| Prompt::Text(texts[place], PROMPT_ENCODING)),
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
    let of_disk = text_of_disk(shell, arguments, 1)?;
    let documents = texts(of_disk.as_deref(), arguments, 1)?;
    load(shell, arguments, documents.len())?;
    let mut scores = list(documents.len())?;
    let wish = EmbeddingWish { pooling: Some(Pooling::Rank), normalise: None, max_tokens: None };
    let pair = |place: usize| Prompt::Pair(query, documents[place]);
    compute(shell, (documents.len(), &pair), wish, &mut |_, embedding| {
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

/// The text on the disk that an option names, if the option is given. Arguments from index `first` on are then an error.
fn text_of_disk(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'_>,
    first: usize,
) -> Result<Option<String>, CommandError> {
    match arguments.option_text(TEXTS.name)? {
        Some(_) if arguments.positional().len() > first => {
            Err(CommandError::GivenTwice { argument: "TEXT", option: TEXTS.name })
        }
        Some(disk) => Ok(Some(shell.backend.catalog().read_text(disk)?)),
        None if arguments.positional().len() <= first => Err(CommandError::Usage(arguments.command())),
        None => Ok(None),
    }
}

/// The lines of this text or, if there is none, the arguments from index `first` on.
fn texts<'t>(
    of_disk: Option<&'t str>,
    arguments: &Arguments<'t>,
    first: usize,
) -> Result<Vec<&'t str>, CommandError> {
    let Some(text) = of_disk else {
        return arguments.texts(first, "TEXT");
    };
    let texts = lines(text)?;
    if texts.is_empty() { Err(CommandError::Contradiction(NO_TEXTS)) } else { Ok(texts) }
}

fn load(shell: &mut Shell<'_>, arguments: &Arguments<'_>, n_texts: usize) -> Result<(), CommandError> {
    let engine = engine_options(shell, arguments)?;
    let n_parallel_if_room = Some(n_parallel_if_room(shell, arguments, n_texts)?);
    ensure_loaded(shell, arguments, Some(EngineOptions { n_parallel_if_room, ..engine }))
}

/// Turns texts into vectors and prints each.
fn compute(
    shell: &mut Shell<'_>,
    texts: vectors::Texts<'_, '_>,
    wish: EmbeddingWish,
    show: &mut dyn FnMut(&mut Terminal<'_>, &Embedding),
) -> Result<(), CommandError> {
    let Shell { backend, terminal, serving, .. } = shell;
    let n_slots = backend.model(None)?.n_parallel;
    let mut answers = Beside { backend: &mut **backend, serving, n_slots, error: None };
    let terminal = core::cell::RefCell::new(terminal);
    let mut go_on = || terminal.borrow_mut().check_interrupt();
    let computed = vectors::run_with(&mut answers, texts, wish, &mut go_on, &mut |_, embedding| {
        show(&mut terminal.borrow_mut(), embedding);
        ControlFlow::Continue(())
    });
    match (answers.error, computed) {
        (Some(error), _) => Err(error.into()),
        (None, computed) => computed.map_err(front),
    }
}
