//! Loading models for commands, with the options that these take.

use alloc::{string::String, vec::Vec};
use core::{num::NonZeroUsize, str::FromStr};

use llm::{
    front::{
        Event, FrontError, kernels_called,
        options::{
            self, CTX, EXACT, KERNELS, KV_TYPE, LORA, MODEL, NParallel, OptionSpec, PARALLEL, THREADS,
            TYPE_K, TYPE_V, VERBOSE,
        },
        trace,
    },
    kv_cache::CacheType,
};

use crate::llm::{BackendError, EngineOptions, Found, InferenceBackend, Lora};
use crate::shell::{Shell, arguments::Arguments, command::CommandError, progress::ProgressDisplay};

/// How to run a model, according to the arguments.
pub(super) fn engine_options(
    shell: &Shell<'_>,
    arguments: &Arguments<'_>,
) -> Result<EngineOptions, CommandError> {
    struct Name(CacheType);

    impl FromStr for Name {
        type Err = ();

        fn from_str(name: &str) -> Result<Self, ()> {
            CacheType::from_name(name).map(Self).ok_or(())
        }
    }

    let kernels = match arguments.option_text(KERNELS.name)? {
        None => None,
        Some(name) => {
            let available = shell.machine.all_kernels.iter().copied();
            Some(kernels_called(name, available).map_err(CommandError::UnknownKernels)?)
        }
    };
    let cache_type = |option: OptionSpec| {
        let given = arguments.option(option.name, CacheType::EXPECTED)?;
        Ok::<_, CommandError>(given.map(|Name(ty)| ty))
    };
    let both = cache_type(KV_TYPE)?;
    let mut lora = Vec::new();
    for asked in arguments.option_texts(LORA.name) {
        let (name, scale) = options::scaled(asked?);
        lora.push(Lora { name: name.into(), scale });
    }
    Ok(EngineOptions {
        lora,
        n_parallel_if_room: None,
        n_ctx: arguments.option(CTX.name, "a number of tokens")?,
        type_k: cache_type(TYPE_K)?.or(both),
        type_v: cache_type(TYPE_V)?.or(both),
        kernels,
        n_cores: arguments.option(THREADS.name, "a number of cores, 1 or more")?.map(NonZeroUsize::get),
        exact: arguments.has(EXACT.name),
        n_parallel: arguments.option(PARALLEL.name, NParallel::EXPECTED)?.map(|NParallel(n)| n),
    })
}

/// Makes the requested model the current one, and loads it if it is not loaded. If no model is requested and none is loaded,
/// loads the first one that can be. With `options`, the model runs as they say, and where they say nothing, as it was loaded.
/// Without, it keeps running as it does.
pub(super) fn ensure_loaded(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'_>,
    options: Option<EngineOptions>,
) -> Result<(), CommandError> {
    let verbose = arguments.has(VERBOSE.name);
    if let Some(name) = arguments.option_text(MODEL.name)? {
        match shell.backend.find(name)? {
            Found::Loaded(path) => shell.backend.select(&path)?,
            Found::OnDisk(path) => {
                return load_for_a_command(shell, &path, options.unwrap_or_default(), verbose);
            }
        }
    }
    let Ok(loaded) = shell.backend.model(None).cloned() else {
        return load_first(shell, options.unwrap_or_default(), verbose);
    };
    let Some(options) = options else { return Ok(()) };
    let standing = shell.backend.standing_options();
    let options = options.or(standing.clone());
    let adapted = match shell.backend.adapt(None, options.clone()) {
        Err(BackendError::Front(FrontError::Busy)) => {
            wait_until_idle(shell)?;
            shell.backend.adapt(None, options.clone())
        }
        adapted => adapted,
    };
    if adapted? {
        return Ok(());
    }
    // Another set of inner loops needs the weights in another order.
    let catalog = shell.backend.catalog();
    let found = catalog.find(&loaded.path)?;
    if !loaded.is_of(&catalog.files()[found]) {
        return Err(catalog.unknown(&loaded.path).into());
    }
    load_path(shell, &loaded.path, options, verbose)?;
    shell.backend.set_standing_options(standing);
    Ok(())
}

/// Makes this model the current one. If it is not loaded, loads it, to run with these options during a command.
pub(super) fn select_or_load(
    shell: &mut Shell<'_>,
    name: &str,
    options: EngineOptions,
) -> Result<(), CommandError> {
    match shell.backend.find(name)? {
        Found::Loaded(path) => Ok(shell.backend.select(&path)?),
        Found::OnDisk(path) => load_for_a_command(shell, &path, options, false),
    }
}

/// Computes the clients' requests to the current model until none is left, and accepts no new ones, so that the caller has the
/// model for itself.
pub(super) fn wait_until_idle(shell: &mut Shell<'_>) -> Result<(), BackendError> {
    let Shell { backend, terminal, serving, .. } = shell;
    let n_requests = |backend: &dyn InferenceBackend| {
        let models = backend.models();
        models.iter().find(|model| model.is_current).map_or(0, |model| model.n_requests)
    };
    let n_waited_for = n_requests(&**backend);
    if n_waited_for > 0 {
        terminal.note(format_args!("[waiting for the end of {n_waited_for} requests; Ctrl-C stops]"));
    }
    while n_requests(&**backend) > 0 {
        let tell = &mut |ticket, event: Event<'_>| serving.event(ticket, &event);
        backend.step(&mut || terminal.check_interrupt(), tell)?;
    }
    Ok(())
}

/// Loads the first model that can be loaded.
fn load_first(shell: &mut Shell<'_>, options: EngineOptions, verbose: bool) -> Result<(), CommandError> {
    let first = shell.backend.catalog().first()?;
    // Same reason as in `path` of `models.rs`.
    if shell.terminal.check_interrupt().is_break() {
        return Err(BackendError::Cancelled.into());
    }
    let catalog = shell.backend.catalog();
    let sound = catalog.files()[first..].iter().filter(|file| file.is_model());
    let paths: Vec<String> = sound.map(|file| file.path.clone()).collect();
    let mut first_error = None;
    for path in paths {
        log::info!("no model is loaded: loading {path}");
        match load_for_a_command(shell, &path, options.clone(), verbose) {
            Err(CommandError::Backend(error)) if !matches!(error, BackendError::Cancelled) => {
                log::warn!("{error}");
                first_error.get_or_insert(error);
            }
            end => return end,
        }
    }
    Err(first_error.unwrap_or(BackendError::NotLoaded).into())
}

/// Loads a model that a command other than `llm load` needs. The options hold for that command only.
fn load_for_a_command(
    shell: &mut Shell<'_>,
    path: &str,
    options: EngineOptions,
    verbose: bool,
) -> Result<(), CommandError> {
    load_path(shell, path, options, verbose)?;
    shell.backend.set_standing_options(EngineOptions::default());
    Ok(())
}

pub(super) fn load_path(
    shell: &mut Shell<'_>,
    path: &str,
    options: EngineOptions,
    verbose: bool,
) -> Result<(), CommandError> {
    let Shell { backend, terminal, serving, .. } = shell;
    let mut display = ProgressDisplay::new("loading");
    let loaded = backend.load(path, options, &mut |progress, models| {
        serving.compute(models);
        display.update(terminal, progress)
    });
    display.finish(terminal);
    loaded?;
    if verbose {
        let responder = backend.responder(None)?;
        let (gguf, file) = (responder.prompter().gguf(), responder.runner().model().file());
        let traced = trace::weight_magnitudes(gguf, file, &mut |line| {
            log::info!("{line}");
            terminal.check_interrupt()
        });
        if traced.is_break() {
            return Err(BackendError::Cancelled.into());
        }
    }
    Ok(())
}
