//! `llm batch`: answers many prompts together.

use std::fmt;
use std::io::{self, Write, stdout};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use llm::chat::{Dialogue, Room};
use llm::front::batch::{self, Batch, BatchEvent, NumberedLines};
use llm::front::options::{BATCH_N_PARALLEL, INFER_MAX_TOKENS, NO_PROMPTS};
use llm::front::{MAX_WAITING, Prompter, Task};

use crate::chat_format::ChatArguments;
use crate::commands::infer::ROOM_WITHOUT_LIMIT;
use crate::commands::tokenize::read_text;
use crate::engine::{EngineArguments, EngineMemory, clock_us, n_texts};
use crate::generation::GenerationArguments;
use crate::{complain, interrupt};

/// Answer many prompts together, each as `infer` answers it alone.
///
/// Each line of an answer begins with the number of its prompt, as in `[3] `, and the answers come in the order of the prompts: what
/// is printed does not depend on which is ready first. A prompt with line breaks can be given as an argument. How many tokens
/// came and how fast is told on standard error. The context has room for the longest prompt and its answer, unless --ctx says
/// otherwise.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    #[arg(
        value_name = "PROMPT",
        hide = true,
        allow_negative_numbers = true,
        conflicts_with = "prompts",
        required_unless_present = "prompts"
    )]
    prompt_arguments: Vec<String>,

    #[arg(long)]
    prompts: Option<PathBuf>,

    #[arg(long, value_parser = n_texts)]
    parallel: Option<usize>,

    #[arg(long)]
    ids: bool,

    #[arg(long)]
    special: bool,

    #[arg(long)]
    chat: bool,

    #[command(flatten)]
    format: ChatArguments,

    #[command(flatten)]
    generation: GenerationArguments,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let thinking_budget = arguments.generation.thinking_budget();
    let task = arguments.format.task(arguments.chat, arguments.special, thinking_budget)?;
    let text = arguments.prompts.as_deref().map(read_text).transpose()?;
    let prompts: Vec<&str> = match &text {
        Some(text) => batch::prompts(text).collect(),
        None => arguments.prompt_arguments.iter().map(String::as_str).collect(),
    };
    if prompts.is_empty() {
        bail!("{NO_PROMPTS}");
    }
    let wanted =
        arguments.generation.wanted(arguments.generation.max_tokens().unwrap_or(INFER_MAX_TOKENS))?;
    let opened = arguments.engine.open(&arguments.model)?;
    let mut prompter = opened.prompter()?;
    if let Task::Answer { format, .. } = task {
        prompter.prepare_chat(format.template)?;
    }
    let model = opened.model(prompter.gguf())?;
    arguments.generation.show_weights(prompter.gguf(), opened.file.bytes());

    let room = if wanted.max_tokens == usize::MAX { ROOM_WITHOUT_LIMIT } else { wanted.max_tokens };
    let needed = longest(&mut prompter, &prompts, task, wanted.max_tokens).saturating_add(room);
    let n_slots = arguments.parallel.unwrap_or(BATCH_N_PARALLEL.min(prompts.len()));
    let n_logits = n_slots * (wanted.speculate + 1);
    let options = arguments.engine.runner_options(model.config(), needed, n_logits, n_slots);
    let mut memory = EngineMemory::allocate(model.config(), &options)?;
    let mut responder = opened.responder(prompter, model, options, MAX_WAITING, &mut memory)?;

    interrupt::listen()?;
    let listening = interrupt::while_answering();
    let batch = Batch { prompts: &prompts, task, request: wanted.of_each() };
    let mut output = Lines { as_ids: arguments.ids, verbose: wanted.trace, ..Lines::default() };
    let report = batch::run(&mut responder, &batch, clock_us, &mut |event| {
        output.error = output.show(&event).err();
        match output.error.is_some() || listening.is_interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    if let Some(error) = output.error {
        return Err(error.into());
    }
    output.break_off()?;
    complain(&report.to_string());
    if wanted.trace {
        complain(&report.computation().to_string());
    }
    match (report.is_cancelled, report.n_failed) {
        // The report has already said that it was stopped.
        (true, _) => interrupt::exit(),
        (_, 0) => Ok(()),
        (_, n_failed) => bail!("{n_failed} of {} prompts were not answered", report.n_prompts),
    }
}

/// Number of tokens of the longest prompt. Prompts that cannot be encoded are reported later.
fn longest(prompter: &mut Prompter<'_>, prompts: &[&str], task: Task<'_>, max_tokens: usize) -> usize {
    let mut ids = Vec::new();
    let n_tokens = |text: &&str| {
        ids.clear();
        let mut dialogue = Dialogue::default();
        let prompt = task.prompt(text, &mut dialogue).ok()?;
        prompter.encode(&prompt, Room { n_ctx: usize::MAX, max_tokens }, &mut ids).ok()?;
        Some(ids.len())
    };
    prompts.iter().filter_map(n_tokens).max().unwrap_or(0)
}

/// Prints answers to standard output, in lines with numbers, and prints other messages.
#[derive(Default)]
struct Lines {
    as_ids: bool,
    verbose: bool,
    lines: NumberedLines,
    error: Option<io::Error>,
}

impl Lines {
    fn show(&mut self, event: &BatchEvent<'_>) -> io::Result<()> {
        let as_ids = self.as_ids;
        match event {
            BatchEvent::Computing => Ok(()),
            BatchEvent::Text { .. } if as_ids => Ok(()),
            BatchEvent::Text { index, text } => self.write(|lines, show| lines.text(*index, text, show)),
            BatchEvent::End { index, result: Ok(report) } => {
                self.write(|lines, show| {
                    if as_ids {
                        lines.ids(*index, &report.ids, show);
                    }
                    lines.end(*index, show);
                })?;
                if self.verbose {
                    complain(&format!("[{}] {report}", index + 1));
                }
                Ok(())
            }
            BatchEvent::End { index, result: Err(error) } => {
                self.break_off()?;
                complain(&format!("[{}] {error}", index + 1));
                Ok(())
            }
        }
    }

    /// Ends a line that has been begun.
    fn break_off(&mut self) -> io::Result<()> {
        self.write(NumberedLines::break_off)
    }

    fn write(
        &mut self,
        work: impl FnOnce(&mut NumberedLines, &mut dyn FnMut(fmt::Arguments<'_>)),
    ) -> io::Result<()> {
        let mut output = stdout().lock();
        let mut written = Ok(());
        work(&mut self.lines, &mut |text| {
            if written.is_ok() {
                written = output.write_fmt(text);
            }
        });
        written.and_then(|()| output.flush())
    }
}
