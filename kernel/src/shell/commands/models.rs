//! `llm list`, `load`, `unload`, `info`, `verify`: which models there are and which one is loaded.

use alloc::{string::String, vec::Vec};
use core::{ops::ControlFlow, str::FromStr};

use llm::kv_cache::KvType;

use crate::llm::{BackendError, Progress, per_second};
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError, OptionSpec},
    terminal::Terminal,
    units::{Count, Rate, Size},
};

pub(super) const MODEL_OPTION: OptionSpec =
    OptionSpec::new("model", "PATH", "the model, instead of the loaded or the first one").or(&["m"]);
pub(super) const CONTEXT_OPTION: OptionSpec =
    OptionSpec::new("ctx", "N", "context length in tokens; what the model has, up to 2048, unless told")
        .or(&["c", "ctx-size"]);
pub(super) const KV_TYPE_OPTION: OptionSpec = OptionSpec::new(
    "kv-type",
    "TYPE",
    "number format of cached keys and values from now on: f16, as at the start, f32 or q8_0",
);
pub(super) const EXPECTED_CONTEXT: &str = "a number of tokens";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "llm list",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show the models on the disks",
        details: "Each disk is a file /models/NAME.gguf, named by the model's general.name or by the disk's serial.\n\
                  The loaded model has a star.",
        run: list,
    },
    Command {
        name: "llm load",
        usage: "[PATH]",
        n_positional: 0..=1,
        options: &[
            MODEL_OPTION,
            CONTEXT_OPTION,
            KV_TYPE_OPTION,
            OptionSpec::flag("verbose", "log the magnitude of each weight tensor"),
        ],
        summary: "load a model, the first one unless told",
        details: "/models/ and .gguf may be left out of PATH. A loaded model is unloaded first.",
        run: load,
    },
    Command {
        name: "llm unload",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "give the memory of the loaded model back",
        details: "",
        run: unload,
    },
    Command {
        name: "llm info",
        usage: "",
        n_positional: 0..=0,
        options: &[MODEL_OPTION],
        summary: "show facts about the loaded model",
        details: "The first model is loaded if none is.",
        run: info,
    },
    Command {
        name: "llm verify",
        usage: "[PATH]",
        n_positional: 0..=1,
        options: &[MODEL_OPTION],
        summary: "compare the SHA-256 of a model file with the checksum that came with it",
        details: "Reads the file from its disk; the loaded model, or the first one, unless told.",
        run: verify,
    },
];

fn list(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let loaded = shell.backend.model_metadata().cloned();
    let catalog = shell.backend.catalog();
    catalog.scan();
    // To stop means here not to wait for disks that do not answer.
    let _ = shell.terminal.check_interrupt();
    if catalog.files().is_empty() {
        shell.terminal.print(format_args!("there are no models: the machine has no disk\n"));
        for undriven in catalog.disks().undriven() {
            shell.terminal.print(format_args!("{undriven}\n"));
        }
    }
    for file in catalog.files() {
        let mark = if loaded.as_ref().is_some_and(|loaded| loaded.is_of(file)) { '*' } else { ' ' };
        match &file.header {
            Ok(header) => shell.terminal.print(format_args!(
                "{mark} {:<32} {} {}, {} parameters, {}\n",
                file.path,
                header.architecture,
                header.quantisation,
                Count(header.n_params),
                Size(file.length_bytes),
            )),
            Err(error) => shell.terminal.print(format_args!("{mark} {:<32} unusable: {error}\n", file.path)),
        }
    }
    Ok(())
}

fn load(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let path = path(shell, arguments, false)?;
    let n_ctx = arguments.option("ctx", EXPECTED_CONTEXT)?;
    set_kv_type(shell, arguments)?;
    shell.backend.set_verbose(arguments.has("verbose"));
    load_path(shell, &path, n_ctx)?;
    print_loaded(shell);
    Ok(())
}

/// Does what [`KV_TYPE_OPTION`] asks for, if it was given.
pub(super) fn set_kv_type(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    struct Name(KvType);

    impl FromStr for Name {
        type Err = ();

        fn from_str(name: &str) -> Result<Self, ()> {
            KvType::from_name(name).map(Self).ok_or(())
        }
    }

    if let Some(Name(kv_type)) = arguments.option(KV_TYPE_OPTION.name, "f16, f32 or q8_0")? {
        shell.backend.set_kv_type(kv_type)?;
    }
    Ok(())
}

/// Loads the model that is asked for if another one is loaded, or the first that can be loaded if none is, and gives
/// the loaded one this context length.
pub(super) fn ensure_loaded(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'_>,
    n_ctx: Option<usize>,
) -> Result<(), CommandError> {
    if let Some(path) = arguments.option_text(MODEL_OPTION.name)? {
        let loaded = shell.backend.model_metadata().cloned();
        let catalog = shell.backend.catalog();
        let found = catalog.find(path)?;
        let file = &catalog.files()[found];
        if loaded.is_none_or(|loaded| !loaded.is_of(file)) {
            let path = file.path.clone();
            return load_path(shell, &path, n_ctx);
        }
    }
    if shell.backend.is_loaded() {
        return match n_ctx {
            Some(n_ctx) => Ok(shell.backend.set_context_length(n_ctx)?),
            None => Ok(()),
        };
    }
    let first = shell.backend.catalog().first()?;
    // As in `path`.
    if shell.terminal.check_interrupt().is_break() {
        return Err(BackendError::Cancelled.into());
    }
    let catalog = shell.backend.catalog();
    let sound = catalog.files()[first..].iter().filter(|file| file.header.is_ok());
    let paths: Vec<String> = sound.map(|file| file.path.clone()).collect();
    let mut first_error = None;
    for path in paths {
        log::info!("no model is loaded: loading {path}");
        match load_path(shell, &path, n_ctx) {
            Err(CommandError::Backend(error)) if !matches!(error, BackendError::Cancelled) => {
                log::warn!("{error}");
                first_error.get_or_insert(error);
            }
            end => return end,
        }
    }
    Err(first_error.unwrap_or(BackendError::NotLoaded).into())
}

fn load_path(shell: &mut Shell<'_>, path: &str, n_ctx: Option<usize>) -> Result<(), CommandError> {
    let Shell { backend, terminal, .. } = shell;
    let mut display = ProgressDisplay::new("loading");
    let loaded = backend.load_model_with(path, n_ctx, &mut |progress| display.update(terminal, progress));
    display.finish(terminal);
    Ok(loaded?)
}

/// How far something has come, shown now and then.
struct ProgressDisplay {
    doing: &'static str,
    last: Option<Progress>,
    /// When it was last shown, on the progress's own clock.
    shown_us: Option<u64>,
}

impl ProgressDisplay {
    /// Time between two sights of it.
    const INTERVAL_US: u64 = 200_000;

    fn new(doing: &'static str) -> Self {
        Self { doing, last: None, shown_us: None }
    }

    fn update(&mut self, terminal: &mut Terminal<'_>, progress: Progress) -> ControlFlow<()> {
        self.last = Some(progress);
        let is_due = progress.elapsed_us >= self.shown_us.unwrap_or(0) + Self::INTERVAL_US;
        if is_due || progress.done_bytes == progress.total_bytes {
            self.shown_us = Some(progress.elapsed_us);
            terminal.progress(format_args!("{}: {}", self.doing, ProgressLine(progress)));
        }
        terminal.check_interrupt()
    }

    fn finish(self, terminal: &mut Terminal<'_>) {
        if self.shown_us.is_some() {
            terminal.end_progress();
        }
        if let Some(last) = self.last {
            log::debug!("{}: {}", self.doing, ProgressLine(last));
        }
    }
}

struct ProgressLine(Progress);

impl core::fmt::Display for ProgressLine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Progress { done_bytes, total_bytes, elapsed_us } = self.0;
        let megabytes_per_second = per_second(done_bytes, elapsed_us).map(|rate| rate / 1e6);
        write!(f, "{} of {}, {} MB/s", Size(done_bytes), Size(total_bytes), Rate(megabytes_per_second))
    }
}

fn print_loaded(shell: &mut Shell<'_>) {
    if let Some(model) = shell.backend.model_metadata() {
        shell.terminal.print(format_args!(
            "{}: {} {}, {} parameters, context {} of {}\n",
            model.path,
            model.architecture,
            model.quantisation,
            Count(model.n_params),
            model.n_ctx,
            model.n_ctx_train,
        ));
    }
}

fn unload(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let memory = shell.backend.memory_usage();
    shell.backend.unload()?;
    let bytes = (memory.weights_bytes + memory.session_bytes) as u64;
    shell.terminal.print(format_args!("{} given back\n", Size(bytes)));
    Ok(())
}

fn info(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    ensure_loaded(shell, arguments, None)?;
    let model = shell.backend.model_metadata().ok_or(BackendError::NotLoaded)?;
    shell.terminal.print(format_args!(
        "path          {}\n\
         architecture  {}\n\
         quantisation  {}\n\
         parameters    {}\n\
         file          {} bytes\n\
         n_layer       {}\n\
         n_embd        {}\n\
         n_head        {}\n\
         n_head_kv     {}\n\
         n_ff          {}\n\
         n_vocab       {}\n\
         n_ctx         {} of {}\n",
        model.path,
        model.architecture,
        model.quantisation,
        model.n_params,
        model.file_bytes,
        model.n_layer,
        model.n_embd,
        model.n_head,
        model.n_head_kv,
        model.n_ff,
        model.n_vocab,
        model.n_ctx,
        model.n_ctx_train,
    ));
    Ok(())
}

fn verify(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let path = path(shell, arguments, true)?;
    let clock_us = shell.machine.clock_us;
    let Shell { backend, terminal, .. } = shell;
    let catalog = backend.catalog();
    let file = catalog.find(&path)?;
    let path = catalog.path(file);
    let mut display = ProgressDisplay::new("verifying");
    let verified = catalog.verify(file, clock_us, &mut |progress| display.update(terminal, progress));
    display.finish(terminal);
    let digest = verified.map_err(|error| error.in_file(&path))?;
    terminal.print(format_args!("{path}: SHA-256 {digest} as expected\n"));
    Ok(())
}

/// The path that was given, else the loaded model's if that is meant, else the first model's.
fn path(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'_>,
    prefer_loaded: bool,
) -> Result<String, CommandError> {
    match (arguments.text(0, "PATH")?, arguments.option_text(MODEL_OPTION.name)?) {
        (Some(_), Some(_)) => {
            return Err(CommandError::GivenTwice { argument: "PATH", option: MODEL_OPTION.name });
        }
        (Some(path), None) | (None, Some(path)) => return Ok(path.into()),
        (None, None) => {}
    }
    if let Some(loaded) = shell.backend.model_metadata().filter(|_| prefer_loaded).cloned()
        && shell.backend.catalog().files().iter().any(|file| loaded.is_of(file))
    {
        return Ok(loaded.path);
    }
    let first = shell.backend.catalog().first()?;
    // Who has stopped waiting for disks that do not answer does not want to wait for them again.
    if shell.terminal.check_interrupt().is_break() {
        return Err(BackendError::Cancelled.into());
    }
    Ok(shell.backend.catalog().path(first))
}
