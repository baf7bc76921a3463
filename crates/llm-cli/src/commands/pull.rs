//! `llm pull`: models from the Hugging Face hub.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

/// Download a model from the Hugging Face hub and print where it lies.
///
/// NAME is a short name of a small model; `llm pull --list` shows them, with a `*` for those that are here.
/// Of a repository without FILE, it is the only GGUF file, or the one with the tag; of several without a tag that with
/// Q4_K_M. Of a model in several files all are fetched, and the first is printed. Of a repository without any, it is the
/// checkpoint (config.json, the tokenizer, model*.safetensors), and what is printed is its directory, for `llm convert`.
/// A download that was interrupted goes on where it stopped. Checksums are verified, also of what was downloaded
/// before.
#[derive(Args)]
#[command(after_help = ENVIRONMENT)]
pub struct Arguments {
    /// A short name; or the repository, ORG/REPO, also after hf.co/ or as its web address. With :TAG, its file with this
    /// tag, such as Q4_K_M.
    #[arg(value_name = "NAME|ORG/REPO[:TAG]", required_unless_present = "list")]
    repository: Option<String>,

    /// The file in it.
    #[arg(value_name = "FILE")]
    file: Option<String>,

    /// List the short names.
    #[arg(long, conflicts_with = "repository")]
    list: bool,

    /// Branch, tag or commit [default: main].
    #[arg(long, value_name = "REV")]
    revision: Option<String>,

    /// Access token for private and gated repositories [default: HF_TOKEN, or that of the hub's own login].
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,

    /// Folder that keeps downloaded files [default: HF_HUB_CACHE, or `hub` in HF_HOME].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

const ENVIRONMENT: &str = "\
Environment: HF_ENDPOINT is the hub's address, https://huggingface.co unless set; HF_HOME is
~/.cache/huggingface unless set; with HF_HUB_OFFLINE=1 only what is there already is found.";

/// Runs the command.
#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
pub fn run(arguments: &Arguments) -> Result<()> {
    use std::io::Write;

    use anyhow::{Context, bail};

    use crate::hub::{Hub, Selection, select};

    let hub = Hub::from_environment(arguments.token.clone(), arguments.cache.clone())?;
    let Some(name) = &arguments.repository else { return list(&hub) };
    let address = hub.address(name)?;
    let file = match (&arguments.file, address.file) {
        (Some(_), Some(_)) => bail!("{name:?} names a file, and FILE is another"),
        (Some(file), None) if address.tag.is_none() => Some(file.clone()),
        (Some(_), None) => bail!("{name:?} names a tag, and FILE a file"),
        (None, file) => file,
    };
    let revision = arguments.revision.clone().or(address.revision).unwrap_or_else(|| "main".to_owned());
    let repository = hub.repository(&address.repository, &revision)?;
    let selection = match file {
        Some(file) => Selection::Model(file),
        None => select(&address.repository, address.tag.as_deref(), repository.files()?)?,
    };
    let path = match selection {
        Selection::Model(file) => fetch_parts(&repository, &file)?,
        Selection::Checkpoint(files) => {
            let paths = files.iter().map(|file| repository.fetch(file)).collect::<Result<Vec<_>>>()?;
            paths[0].parent().context("a file lies in a directory")?.to_owned()
        }
    };
    Ok(writeln!(std::io::stdout(), "{}", path.display())?)
}

/// Prints a line for each short name.
#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
fn list(hub: &crate::hub::Hub) -> Result<()> {
    use std::io::Write;

    use crate::hub::short_names::{SHORT_NAMES, ShortName};

    let mut output = std::io::stdout().lock();
    for model in SHORT_NAMES {
        let ShortName { name, repository: _, file: _, parameters, megabytes, licence, chat } = model;
        let mark = if hub.has(model) { '*' } else { ' ' };
        writeln!(output, "{mark} {name:<16} {parameters:>5}  {megabytes:>6}  {licence:<11} {chat}")?;
    }
    Ok(())
}

/// Downloads a file; if it belongs to a model in several files, all of them. Returns the path of the first.
#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
fn fetch_parts(repository: &crate::hub::Repository<'_>, file: &str) -> Result<PathBuf> {
    let Some(part) = crate::split::PartName::parse(file) else { return repository.fetch(file) };
    let first = repository.fetch(&part.of(1))?;
    for number in 2..=part.count {
        repository.fetch(&part.of(number))?;
    }
    Ok(first)
}

/// Refuses the command.
#[cfg(all(target_arch = "aarch64", target_env = "musl"))]
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { repository: _, file: _, list: _, revision: _, token: _, cache: _ } = arguments;
    anyhow::bail!("cannot fetch models: programs for aarch64 with musl are built without TLS")
}
