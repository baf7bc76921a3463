//! `llm batch`: answers many prompts together, along with clients' requests.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use llm::{
    front::{
        Event, FrontError, Prompt, Report, Request, Responder, Task,
        batch::{self, Answers, Batch, BatchEvent, NumberedLines},
        embedding::EmbeddingWish,
        options::{self, BATCH_N_PARALLEL, IDS, INFER_MAX_TOKENS, MODEL, NO_PROMPTS, PROMPTS},
    },
    scheduler::Counts,
    session::SessionError,
};

use super::chat::ChatOptions;
use super::generation;
use super::loading::{engine_options, ensure_loaded};
use crate::llm::{BackendError, EngineOptions, InferenceBackend, Ticket};
use crate::serving::Serving;
use crate::shell::{
    Shell,
    arguments::{Arguments, list},
    command::{Command, CommandError},
};

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "llm batch",
    usage: "PROMPT...",
    n_positional: 0..=usize::MAX,
    options: options::BATCH,
    summary: "answer many prompts together, each as llm infer does; Ctrl-C stops all",
    details: "Each line of an answer begins with the number of its prompt, as in [3], and the answers come in the order\n\
              of the prompts: what is shown does not depend on which is ready first. Of the text on a disk, lines of\n\
              nothing but blanks are no prompts; a prompt with line breaks can be given as an argument.",
    run: answer_all,
}];

fn answer_all(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let task = ChatOptions::new(shell, arguments)?.task(arguments)?;
    let engine = engine_options(shell, arguments)?;
    let wanted = generation::wanted_of_each(shell, arguments, INFER_MAX_TOKENS)?;
    let text;
    let prompts: Vec<&str> = match arguments.option_text(PROMPTS.name)? {
        Some(_) if !arguments.positional().is_empty() => {
            return Err(CommandError::GivenTwice { argument: "PROMPT", option: PROMPTS.name });
        }
        Some(disk) => {
            text = shell.backend.catalog().read_text(disk)?;
            lines(&text)?
        }
        None if arguments.positional().is_empty() => return Err(CommandError::Usage(arguments.command())),
        None => arguments.texts(0, "PROMPT")?,
    };
    if prompts.is_empty() {
        return Err(CommandError::Contradiction(NO_PROMPTS));
    }
    let n_parallel_if_room = Some(n_parallel_if_room(shell, arguments, prompts.len())?);
    ensure_loaded(shell, arguments, Some(EngineOptions { n_parallel_if_room, ..engine }))?;
    if let Task::Answer { format, .. } = task {
        shell.backend.prepare_chat(None, format.template)?;
    }
    let batch = Batch { prompts: &prompts, task, request: wanted.of_each() };
    answer(shell, &batch, arguments.has(IDS.name), wanted.trace)
}

/// The prompts in a text, one per line.
pub(super) fn lines(text: &str) -> Result<Vec<&str>, CommandError> {
    let mut lines = list(batch::prompts(text).count())?;
    lines.extend(batch::prompts(text));
    Ok(lines)
}

/// How many texts the model gets room for if neither the command nor `llm load` says. If an earlier batch made as much room or
/// more, that number is kept, so that the prefixes that the model has cached remain.
pub(super) fn n_parallel_if_room(
    shell: &Shell<'_>,
    arguments: &Arguments<'_>,
    n_prompts: usize,
) -> Result<usize, CommandError> {
    let n_parallel = BATCH_N_PARALLEL.min(n_prompts);
    Ok(match shell.backend.model(arguments.option_text(MODEL.name)?) {
        Ok(loaded) => n_parallel.max(loaded.n_parallel.min(BATCH_N_PARALLEL)),
        Err(_) => n_parallel,
    })
}

/// Has the prompts answered, and prints the answers, then statistics.
fn answer(
    shell: &mut Shell<'_>,
    batch: &Batch<'_>,
    as_ids: bool,
    is_verbose: bool,
) -> Result<(), CommandError> {
    let Shell { backend, terminal, serving, machine, .. } = shell;
    let n_slots = backend.model(None)?.n_parallel;
    let mut answers = Beside { backend: &mut **backend, serving, n_slots, error: None };
    let mut lines = NumberedLines::default();
    let result = batch::run_with(&mut answers, batch, machine.clock_us, &mut |event| {
        let mut show = |text: core::fmt::Arguments<'_>| terminal.print(text);
        match event {
            BatchEvent::Computing => {}
            BatchEvent::Text { .. } if as_ids => {}
            BatchEvent::Text { index, text } => lines.text(index, text, &mut show),
            BatchEvent::End { index, result: Ok(report) } => {
                if as_ids {
                    lines.ids(index, &report.ids, &mut show);
                }
                lines.end(index, &mut show);
                if is_verbose {
                    terminal.note(format_args!("[{}] [{report}]", index + 1));
                }
            }
            BatchEvent::End { index, result: Err(error) } => {
                lines.break_off(&mut show);
                terminal.warn(format_args!("[{}] {error}", index + 1));
            }
        }
        terminal.check_interrupt()
    });
    lines.break_off(&mut |text| terminal.print(text));
    if let Some(error) = answers.error {
        return Err(error.into());
    }
    let report = result.map_err(BackendError::from)?;
    terminal.note(format_args!("[{report}]"));
    if is_verbose {
        terminal.note(format_args!("[{}]", report.computation()));
    }
    match report.n_failed {
        0 => Ok(()),
        n_failed => Err(BackendError::Unanswered { n_failed, n_prompts: report.n_prompts }.into()),
    }
}

/// The current model, shared with clients.
pub(super) struct Beside<'s, 'a> {
    pub backend: &'s mut dyn InferenceBackend,
    pub serving: &'s Serving<'a>,
    pub n_slots: usize,
    /// The error that kept the batch from being computed, if it is not one of the responder's.
    pub error: Option<BackendError>,
}

impl Beside<'_, '_> {
    fn refused(&mut self, error: BackendError) -> FrontError {
        match error {
            BackendError::Front(error) => error,
            BackendError::Cancelled => SessionError::Stopped.into(),
            error => {
                self.error = Some(error);
                SessionError::Stopped.into()
            }
        }
    }
}

impl Answers for Beside<'_, '_> {
    type Id = Ticket;

    fn n_slots(&self) -> usize {
        self.n_slots
    }

    fn has_room(&self) -> bool {
        self.backend.responder(None).is_ok_and(Responder::has_room)
    }

    fn submit(&mut self, request: Request<'_>) -> Result<Ticket, FrontError> {
        self.backend.submit(None, request).map_err(|error| self.refused(error))
    }

    fn submit_embedding(&mut self, prompt: &Prompt<'_>, wish: EmbeddingWish) -> Result<Ticket, FrontError> {
        self.backend.submit_embedding(None, prompt, wish).map_err(|error| self.refused(error))
    }

    fn output(&self, ticket: Ticket) -> &str {
        self.backend.output(ticket).unwrap_or_default()
    }

    fn step(
        &mut self,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_event: &mut dyn FnMut(Ticket, &Event<'_>) -> bool,
    ) -> Result<(), FrontError> {
        let serving = self.serving;
        serving.bring_requests(self.backend);
        let stepped = self.backend.step(go_on, &mut |ticket, event| match on_event(ticket, &event) {
            true => ControlFlow::Continue(()),
            false => serving.event(ticket, &event),
        });
        stepped.map(drop).map_err(|error| self.refused(error))
    }

    fn cancel(&mut self, ticket: Ticket) -> Option<Report> {
        self.backend.cancel(ticket)
    }

    fn counts(&self) -> Counts {
        self.backend.responder(None).map(Responder::counts).unwrap_or_default()
    }
}
