//! `llm list`, `load`, `unload`, `info`, `verify`: which models there are, and which are loaded.

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use llm::{
    front::{
        describe,
        options::{
            self, CTX, EXACT, KERNELS, KV_TYPE, LORA, MODEL, OptionSpec, Options, PARALLEL, THREADS, TYPE_K,
            TYPE_V, VERBOSE,
        },
        units::{Count, Size},
    },
    kv_cache::PAGE_LEN,
    sampling::ChainLines,
};

use super::{
    generation,
    loading::{engine_options, ensure_loaded, load_path},
};
use crate::llm::{BackendError, ModelMemory, ModelMetadata, ModelStatus, PartError, Unloaded, name_of};
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
    progress::ProgressDisplay,
};

/// The options of `llm info` that list parts of the file, and the functions that do so.
const LISTS: [(&str, describe::List); 2] = [("metadata", describe::metadata), ("tensors", describe::tensors)];

/// Options of `llm load` that the host program does not have.
const LOAD: Options =
    &[&[MODEL, CTX, LORA, PARALLEL, KV_TYPE, TYPE_K, TYPE_V, THREADS, KERNELS, EXACT, VERBOSE]];

/// Options of `llm unload` that the host program does not have.
const UNLOAD: Options = &[&[MODEL, OptionSpec::flag(ALL, "every model that is loaded")]];

const ALL: &str = "all";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "llm list",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show the models on the disks",
        details: "Each disk is a file /models/NAME.gguf, named by the model's general.name or by the disk's serial. A model in\n\
                  several files has the path of the disk with the first; the others say whose parts they are.\n\
                  A loaded model has a plus and says how many bytes it takes; the current one has a star. One with a minus\n\
                  has been unloaded or replaced, and goes when its last request is answered.",
        run: list,
    },
    Command {
        name: "llm load",
        usage: "[PATH]",
        n_positional: 0..=1,
        options: LOAD,
        summary: "load a model, the first one unless told",
        details: "/models/ and .gguf may be left out of PATH. Models that are loaded stay, but for one that is loaded anew.\n\
                  The model is then the current one: that of all commands that name none. What is asked for holds for it\n\
                  until it is loaded again; commands that say otherwise do so for themselves.",
        run: load,
    },
    Command {
        name: "llm unload",
        usage: "[PATH]",
        n_positional: 0..=1,
        options: UNLOAD,
        summary: "give the memory of a model back, of the current one unless told",
        details: "The one that was current before is so again.",
        run: unload,
    },
    Command {
        name: "llm info",
        usage: "",
        n_positional: 0..=0,
        options: options::INFO,
        summary: "show facts about a model, the current one unless told",
        details: "The first model is loaded if none is.",
        run: info,
    },
    Command {
        name: "llm verify",
        usage: "[PATH]",
        n_positional: 0..=1,
        options: options::VERIFY,
        summary: "compare the SHA-256 of a model file with the checksum that came with it",
        details: "Reads the file, or each part of the model, from its disk; the current model, or the first one, unless told.",
        run: verify,
    },
];

/// A model in memory, as `llm list` shows it.
struct InMemory {
    metadata: ModelMetadata,
    mark: char,
    memory: ModelMemory,
    n_requests: usize,
}

impl InMemory {
    fn is_retiring(&self) -> bool {
        self.mark == '-'
    }
}

impl fmt::Display for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelMemory { weights_bytes, state_bytes, scratch_bytes } = self.memory;
        write!(f, "in memory: weights {weights_bytes}, state {state_bytes}, scratch {scratch_bytes} bytes")?;
        match self.metadata.n_parallel {
            1 => {}
            n_parallel => write!(f, " for {n_parallel} texts")?,
        }
        match self.n_requests {
            0 => Ok(()),
            n_requests => write!(f, ", {n_requests} requests"),
        }
    }
}

fn list(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let in_memory = shell.backend.models().into_iter().map(|status| InMemory {
        metadata: status.metadata.clone(),
        mark: match status {
            ModelStatus { is_retiring: true, .. } => '-',
            ModelStatus { is_current: true, .. } => '*',
            _ => '+',
        },
        memory: status.memory,
        n_requests: status.n_requests,
    });
    let mut in_memory: Vec<_> = in_memory.collect();
    let catalog = shell.backend.catalog();
    catalog.scan();
    // Ctrl-C here only ends the wait for disks that do not respond; the command goes on.
    let _ = shell.terminal.check_interrupt();
    if catalog.files().is_empty() {
        shell.terminal.print(format_args!("there are no models: the machine has no disk\n"));
        for undriven in catalog.disks().undriven() {
            shell.terminal.print(format_args!("{undriven}\n"));
        }
    }
    for file in catalog.files() {
        let is_it = |model: &InMemory| !model.is_retiring() && model.metadata.is_of(file);
        let found = in_memory.iter().position(is_it);
        let model = found.map(|found| in_memory.remove(found));
        let mark = model.as_ref().map_or(' ', |model| model.mark);
        match &file.header {
            Ok(header) => shell.terminal.print(format_args!(
                "{mark} {:<32} {}{} {}, {} parameters, {}{}",
                file.path,
                if header.is_adapter { "adapter of " } else { "" },
                header.architecture,
                header.quantisation(),
                Count(header.n_params),
                Size(file.length_bytes),
                if file.root.is_some() { ", verified" } else { "" },
            )),
            Err(error @ BackendError::Part(PartError::Later { .. })) => {
                shell.terminal.print(format_args!("{mark} {:<32} {error}", file.path))
            }
            Err(error) => shell.terminal.print(format_args!("{mark} {:<32} unusable: {error}", file.path)),
        }
        match model {
            Some(model) => shell.terminal.print(format_args!("; {model}\n")),
            None => shell.terminal.print(format_args!("\n")),
        }
    }
    for model in in_memory {
        let path = &model.metadata.path;
        let why = if model.is_retiring() { "unloaded, but for its requests" } else { "its disk is gone" };
        shell.terminal.print(format_args!("{} {path:<32} {why}; {model}\n", model.mark));
    }
    Ok(())
}

fn load(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let path = path(shell, arguments, false)?;
    let options = engine_options(shell, arguments)?;
    load_path(shell, &path, options, arguments.has(VERBOSE.name))?;
    print_loaded(shell);
    Ok(())
}

/// Prints the names of the models, those that are loaded with a plus, the current one with a star.
pub(super) fn print_models(shell: &mut Shell<'_>) {
    let Shell { backend, terminal, .. } = shell;
    let mut paths: Vec<(char, String)> = Vec::new();
    for status in backend.models().iter().filter(|status| !status.is_retiring) {
        paths.push((if status.is_current { '*' } else { '+' }, status.metadata.path.clone()));
    }
    for file in backend.catalog().files().iter().filter(|file| file.is_model()) {
        if !paths.iter().any(|(_, path)| *path == file.path) {
            paths.push((' ', file.path.clone()));
        }
    }
    for (mark, path) in paths {
        terminal.print(format_args!("{mark} {}\n", name_of(&path)));
    }
}

/// Prints a line about the current model.
pub(super) fn print_loaded(shell: &mut Shell<'_>) {
    if let Ok(model) = shell.backend.model(None) {
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

fn unload(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let name = given_path(arguments)?;
    if name.is_some() && arguments.has(ALL) {
        return Err(CommandError::Contradiction("--all is every model; expected it, or the name of one"));
    }
    let mut unloaded = alloc::vec![shell.backend.unload(name)?];
    while arguments.has(ALL)
        && let Ok(another) = shell.backend.unload(None)
    {
        unloaded.push(another);
    }
    let (busy, idle): (Vec<_>, Vec<_>) = unloaded.into_iter().partition(|model| model.n_requests > 0);
    let sum = |models: &[Unloaded]| Size(models.iter().map(|model| model.size_bytes as u64).sum());
    if !idle.is_empty() {
        shell.terminal.print(format_args!("{} given back\n", sum(&idle)));
    }
    if !busy.is_empty() {
        let n_requests: usize = busy.iter().map(|model| model.n_requests).sum();
        shell
            .terminal
            .print(format_args!("{} come back when {n_requests} requests are answered\n", sum(&busy)));
    }
    Ok(())
}

fn info(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    if arguments.has("kernels") {
        for kernels in shell.machine.all_kernels {
            shell.terminal.print(format_args!("{}\n", kernels.name()));
        }
    }
    if arguments.has("sampling") {
        let request = generation::sampling_request(arguments)?;
        let config = generation::sampling(shell, &request)?;
        shell.terminal.print(format_args!("{}", ChainLines { config: &config, request: &request }));
    }
    let is_asked = |options: &[&str]| options.iter().any(|option| arguments.has(option));
    if is_asked(&["kernels", "sampling"]) && !is_asked(&["model", "metadata", "tensors"]) {
        return Ok(());
    }
    ensure_loaded(shell, arguments, None)?;
    print_info(shell, None)?;
    let Shell { backend, terminal, .. } = shell;
    let gguf = backend.responder(None)?.prompter().gguf();
    for (option, list) in LISTS {
        if arguments.has(option) {
            terminal.print(format_args!("\n{option}\n"));
            let listed = list(gguf, &mut |line| {
                terminal.print(format_args!("  {line}\n"));
                terminal.check_interrupt()
            });
            if listed.is_break() {
                return Err(BackendError::Cancelled.into());
            }
        }
    }
    Ok(())
}

/// The root hash of a model's bytes, if they were checked.
struct Root<'m>(Option<&'m trust::Root>);

impl fmt::Display for Root<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(root) => root.fmt(f),
            None => f.write_str("not checked"),
        }
    }
}

/// Prints the facts about a loaded model; by default, about the current one.
pub(super) fn print_info(shell: &mut Shell<'_>, model: Option<&str>) -> Result<(), CommandError> {
    let model = shell.backend.model(model)?;
    shell.terminal.print(format_args!(
        "path          {}\n\
         root          {}\n\
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
         n_ctx         {} of {}\n\
         n_parallel    {} in {} pages of {PAGE_LEN}\n",
        model.path,
        Root(model.root.as_ref()),
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
        model.n_parallel,
        model.n_pages,
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
    let parts = catalog.files()[file].parts.clone();
    for (index, &part) in parts.iter().enumerate() {
        let name = match parts.len() {
            1 => path.clone(),
            count => format!("{path}, part {} of {count}", index + 1),
        };
        let mut display = ProgressDisplay::new("verifying");
        let verified = catalog.verify(part, clock_us, &mut |progress| display.update(terminal, progress));
        display.finish(terminal);
        let seal = catalog.disks()[part].seal();
        match verified {
            // Everything was checked against the root hash as it was read.
            Err(BackendError::NoChecksum { .. }) if seal.is_some() => {}
            verified => {
                let digest = verified.map_err(|error| error.in_file(&name))?;
                terminal.print(format_args!("{name}: SHA-256 {digest} as expected\n"));
            }
        }
        if let Some(seal) = seal {
            terminal.print(format_args!("{name}: verified: {seal}\n"));
        }
    }
    Ok(())
}

/// The path, given as an argument or an option.
fn given_path<'a>(arguments: &Arguments<'a>) -> Result<Option<&'a str>, CommandError> {
    match (arguments.text(0, "PATH")?, arguments.option_text(MODEL.name)?) {
        (Some(_), Some(_)) => Err(CommandError::GivenTwice { argument: "PATH", option: MODEL.name }),
        (path, option) => Ok(path.or(option)),
    }
}

/// The given path, else the current model's if the command may default to that, else the first model's.
fn path(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'_>,
    prefer_loaded: bool,
) -> Result<String, CommandError> {
    if let Some(path) = given_path(arguments)? {
        return Ok(path.into());
    }
    if prefer_loaded
        && let Ok(loaded) = shell.backend.model(None).cloned()
        && shell.backend.catalog().files().iter().any(|file| loaded.is_of(file))
    {
        return Ok(loaded.path);
    }
    let first = shell.backend.catalog().first()?;
    // A user who has stopped waiting for disks that do not respond does not want to wait for them again.
    if shell.terminal.check_interrupt().is_break() {
        return Err(BackendError::Cancelled.into());
    }
    Ok(shell.backend.catalog().path(first))
}
