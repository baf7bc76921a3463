//! The shell: reads lines, runs commands, prints answers.
//!
//! The kernel calls only [`run`]. Bytes become `keys`, keys a line (`line_editor`), a line `words`, words options (`arguments`),
//! and these go to a `command` of the table (`commands`). Everything works on a [`System`] of values and functions, so host tests
//! can drive the whole shell with byte strings.
//!
//! A mistake is answered with one line that says what is wrong and what is expected; the shell continues. Commands never panic on input.

mod arguments;
mod command;
mod commands;
pub mod completion;
mod escape_sequences;
mod history;
pub mod keys;
mod line;
pub mod line_editor;
mod line_view;
mod progress;
mod suggestions;
mod terminal;
pub mod words;

#[cfg(test)]
mod screen;
#[cfg(test)]
mod tests;

use alloc::{boxed::Box, rc::Rc, vec::Vec};

use self::{
    arguments::Arguments,
    command::CommandError,
    completion::Completions,
    line_editor::{BYTES_FOR_A_BYTE, Entered, LineEditor, MAX_LINE_BYTES, SHORT_LINE_BYTES},
    suggestions::Known,
    terminal::{Attendant, Terminal},
    words::Incomplete,
};

use ::llm::front::FrontError;

use crate::{
    llm::{self, BackendError, InferenceBackend, Resources},
    machine::KeyAction,
    pci,
    serving::Serving,
    system::{Machine, RunMode, ServeSettings, Shutdown, System},
};

const PROMPT: &str = "ferrite> ";
/// The prompt while a quotation is open.
const CONTINUATION_PROMPT: &str = "> ";

/// Runs the shell until it is told to stop, or one command in command mode.
#[inline(never)]
pub fn run(system: System<'_>, mode: RunMode) -> Shutdown {
    let (meanwhile, turn) = (system.machine.meanwhile, system.machine.turn);
    let mut shell = Shell::new(system, mode == RunMode::Interactive);
    let serving = shell.serving.clone();
    // There is no background work.
    if serving.network().is_none() && serving.status().is_none() && turn.is_none() {
        return shell.run(mode);
    }
    let mut shutdown = None;
    meanwhile(&|| serving.look(), &mut || shutdown = Some(shell.run(mode.clone())));
    shutdown.expect("it has run")
}

/// The state that commands work on.
pub struct Shell<'a> {
    terminal: Terminal<'a>,
    serving: Rc<Serving<'a>>,
    backend: Box<dyn InferenceBackend>,
    machine: Machine,
    pci: Vec<pci::Function>,
    /// Set by the command that ends the shell.
    shutdown: Option<Shutdown>,
}

impl<'a> Shell<'a> {
    fn new(system: System<'a>, interactive: bool) -> Self {
        let System { console, columns, no_colour, machine, disks, pci, network, vsock, serve, offload } =
            system;
        // A single command runs without serving anybody.
        let serve = if interactive { serve } else { ServeSettings::default() };
        let serving = Serving::new(machine, network, vsock, &serve);
        let attendant = Some(serving.clone());
        let terminal = Terminal::new(console, machine.clock_us, interactive, columns, attendant);
        Self {
            terminal: if no_colour { terminal.without_colours() } else { terminal },
            serving,
            backend: llm::backend(Resources { machine, disks, offload }),
            machine,
            pci,
            shutdown: None,
        }
    }

    // A function of its own: inlined into the boot, it would exceed the range of the compiler's short branches.
    #[inline(never)]
    fn run(&mut self, mode: RunMode) -> Shutdown {
        match mode {
            RunMode::Interactive => self.converse(),
            RunMode::Command(line) => {
                let success = self.run_line(&line);
                self.end(success).unwrap_or(Shutdown::PowerOff { success })
            }
        }
    }

    fn converse(&mut self) -> Shutdown {
        self.terminal
            .print(format_args!("Ferrite {}. `help` lists the commands.\n", env!("CARGO_PKG_VERSION")));
        commands::begin_serving(self);
        let mut editor = LineEditor::new();
        let mut last_succeeded = true;
        loop {
            match self.read_command(&mut editor) {
                // As in other shells, an empty line does not count as a command.
                Entered::Line(line) if line.trim_ascii().is_empty() => {}
                Entered::Line(line) => last_succeeded = self.run_line(&line),
                Entered::TooLong => {
                    self.terminal.error(&CommandError::LineTooLong);
                    last_succeeded = false;
                }
                Entered::NoMemory { needed_bytes } => {
                    self.terminal.error(&CommandError::NoMemoryForLine { needed_bytes });
                    last_succeeded = false;
                }
                Entered::Interrupted => {}
                Entered::EndOfInput => {
                    return self
                        .end(last_succeeded)
                        .unwrap_or(Shutdown::PowerOff { success: last_succeeded });
                }
            }
            if let Some(shutdown) = self.end(last_succeeded) {
                return shutdown;
            }
        }
    }

    /// How the machine is to be shut down, if a command or a key on the machine has requested it. For a key, `success` says how
    /// the last command went.
    fn end(&mut self, success: bool) -> Option<Shutdown> {
        if let Some(key) = self.terminal.shutdown_request() {
            let (shutdown, what) = match key {
                KeyAction::PowerOff => (Shutdown::PowerOff { success }, "power key: turning the machine off"),
                KeyAction::Restart => (Shutdown::Reboot, "restart key: starting again"),
            };
            self.terminal.note(format_args!("{what}"));
            return Some(shutdown);
        }
        self.shutdown
    }

    /// Lets the user edit a line, and serves clients in the meantime.
    fn read_line(&mut self, editor: &mut LineEditor, prompt: &'static str, suggest: Suggest) -> Entered {
        let Self { terminal, serving, backend, machine, .. } = self;
        terminal.read_line(editor, prompt, &mut Desk { serving, backend: &mut **backend, machine, suggest })
    }

    /// Lets the user enter a line, and more lines while a quotation is open. If the quotation gets too long, it is still read to
    /// its end, so that its contents are not taken for commands.
    fn read_command(&mut self, editor: &mut LineEditor) -> Entered {
        let mut text = Vec::new();
        // What is returned instead of the text, of which something is missing.
        let mut refused = None;
        let (mut prompt, mut suggest): (_, Suggest) = (PROMPT, suggestions::for_shell);
        loop {
            match self.read_line(editor, prompt, suggest) {
                Entered::Line(line) => text.extend(line),
                missing @ (Entered::TooLong | Entered::NoMemory { .. }) if !text.is_empty() => {
                    refused = Some(missing);
                }
                // The quotation stays open, which is an error.
                Entered::EndOfInput if !text.is_empty() && self.terminal.shutdown_request().is_none() => {
                    return refused.unwrap_or(Entered::Line(text));
                }
                end => return end,
            }
            if text.len() > MAX_LINE_BYTES {
                refused = Some(Entered::TooLong);
            }
            match (words::split(&text), refused.is_some()) {
                (Ok(_), true) => return refused.unwrap_or(Entered::TooLong),
                (Ok(_), false) => {
                    editor.remember(&text);
                    return Entered::Line(text);
                }
                (Err(Incomplete { opening }), true) => {
                    text.clear();
                    text.extend(opening);
                }
                (Err(_), false) => {}
            }
            text.push(b'\n');
            // Words of a text in quotes are not completed.
            (prompt, suggest) = (CONTINUATION_PROMPT, suggestions::for_text);
        }
    }

    /// Runs the commands of a line and reports errors; true if there were none and no command was stopped.
    fn run_line(&mut self, line: &[u8]) -> bool {
        if let Err(error) = ensure_room(line) {
            self.terminal.error(&CommandError::Backend(error));
            return false;
        }
        let Ok(commands) = words::split(line) else {
            self.terminal.error(&CommandError::Unclosed);
            return false;
        };
        let mut success = true;
        for words in &commands {
            let mut is_cancelled = false;
            if let Err(error) = self.run_command(words) {
                is_cancelled = matches!(error, CommandError::Backend(BackendError::Cancelled));
                if is_cancelled {
                    // A disk driver may have noticed a Ctrl-C that nobody has read yet.
                    let _ = self.terminal.check_interrupt();
                }
                self.terminal.error(&error);
                success = false;
            }
            if self.terminal.was_stopped() {
                success = false;
            }
            if is_cancelled
                || self.terminal.was_stopped()
                || self.shutdown.is_some()
                || self.terminal.shutdown_request().is_some()
            {
                break;
            }
        }
        success
    }

    fn run_command(&mut self, words: &[Vec<u8>]) -> Result<(), CommandError> {
        if let Some(topic) = commands::help_topic(words) {
            return commands::explain(self, &topic);
        }
        let (command, rest) = commands::find(words)?;
        match Arguments::parse(command, rest)? {
            Some(arguments) => {
                let ran = (command.run)(self, &arguments);
                // The adapters that the command selected hold only for itself.
                self.backend.set_scales(None, None);
                ran
            }
            None => commands::explain(self, &words[..words.len() - rest.len()]),
        }
    }
}

/// Finds out what the word can become that a line ends in.
type Suggest = fn(&[u8], &mut Known<'_>) -> Completions;

/// What goes on while a line of the shell is edited: clients are served, and words completed.
struct Desk<'d, 'a> {
    serving: &'d Serving<'a>,
    backend: &'d mut dyn InferenceBackend,
    machine: &'d Machine,
    suggest: Suggest,
}

impl Attendant for Desk<'_, '_> {
    fn work(&mut self) -> u64 {
        self.serving.work(self.backend)
    }

    fn complete(&mut self, before_cursor: &[u8]) -> Completions {
        (self.suggest)(before_cursor, &mut Known { backend: self.backend, machine: self.machine })
    }
}

/// Makes sure that there is memory for the words of a line, by allocating it and freeing it again. A short line needs only small blocks.
///
/// # Errors
/// [`FrontError::OutOfHeap`].
fn ensure_room(line: &[u8]) -> Result<(), BackendError> {
    if line.len() <= SHORT_LINE_BYTES {
        return Ok(());
    }
    let needed_bytes = line.len().saturating_mul(BYTES_FOR_A_BYTE);
    let reserved = Vec::<u8>::new().try_reserve_exact(needed_bytes);
    reserved.map_err(|_| FrontError::OutOfHeap { needed_bytes }.into())
}
