//! `llm pull`: models from the Hugging Face hub.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

/// Download a model from the Hugging Face hub and print where it lies.
///
/// Without FILE, that is the repository's only GGUF file. Of a repository without any, it is the checkpoint
/// (config.json, the tokenizer, model*.safetensors), and what is printed is its directory, for `llm convert`.
/// A download that was interrupted goes on where it stopped. Checksums are verified, also of what was downloaded
/// before.
#[derive(Args)]
#[command(after_help = ENVIRONMENT)]
pub struct Arguments {
    /// The repository, ORG/REPO.
    #[arg(value_name = "ORG/REPO")]
    repository: String,

    /// The file in it.
    #[arg(value_name = "FILE")]
    file: Option<String>,

    /// Branch, tag or commit.
    #[arg(long, value_name = "REV", default_value = "main")]
    revision: String,

    /// Access token for private and gated repositories [default: HF_TOKEN, or that of the hub's own login].
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,

    /// Folder that keeps downloaded files [default: HF_HUB_CACHE, or `hub` in HF_HOME].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

const ENVIRONMENT: &str = "\
Environment: HF_ENDPOINT is the hub's address, https://huggingface.co unless set; HF_HOME is
~/.cache/huggingface unless set.";

/// Runs the command.
#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
pub fn run(arguments: &Arguments) -> Result<()> {
    use std::io::Write;

    use anyhow::Context;

    use crate::hub::Hub;

    let hub = Hub::from_environment(arguments.token.clone(), arguments.cache.clone())?;
    let repository = hub.repository(&arguments.repository, &arguments.revision)?;
    let path = match &arguments.file {
        Some(file) => repository.fetch(file)?,
        None => match choice::choose(&arguments.repository, repository.files()?)? {
            choice::Choice::Model(file) => repository.fetch(&file)?,
            choice::Choice::Checkpoint(files) => {
                let paths = files.iter().map(|file| repository.fetch(file)).collect::<Result<Vec<_>>>()?;
                paths[0].parent().context("a file lies in a directory")?.to_owned()
            }
        },
    };
    Ok(writeln!(std::io::stdout(), "{}", path.display())?)
}

/// Refuses the command.
#[cfg(all(target_arch = "aarch64", target_env = "musl"))]
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { repository, file: _, revision: _, token: _, cache: _ } = arguments;
    anyhow::bail!("cannot fetch {repository}: programs for aarch64 with musl are built without TLS")
}

#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
mod choice {
    //! What of a repository is wanted when no file is named.

    use anyhow::{Result, bail};

    use crate::hub::RemoteFile;

    /// What to fetch.
    #[derive(Debug, PartialEq, Eq)]
    pub enum Choice {
        /// One GGUF file.
        Model(String),
        /// All files of a checkpoint, config.json first.
        Checkpoint(Vec<String>),
    }

    /// The only GGUF file, or the checkpoint where there is none.
    pub fn choose(repository: &str, files: Vec<RemoteFile>) -> Result<Choice> {
        let (models, others): (Vec<RemoteFile>, Vec<RemoteFile>) =
            files.into_iter().partition(|file| file.path.ends_with(".gguf"));
        match models.as_slice() {
            [model] => return Ok(Choice::Model(model.path.clone())),
            [] => {}
            models => {
                let list: Vec<String> = models.iter().map(RemoteFile::to_string).collect();
                bail!(
                    "{repository} has {} GGUF files, choose one with `llm pull {repository} FILE`:\n  {}",
                    models.len(),
                    list.join("\n  ")
                );
            }
        }
        let is_weights = |path: &str| {
            path.starts_with("model")
                && (path.ends_with(".safetensors") || path.ends_with(".safetensors.index.json"))
        };
        let mut checkpoint: Vec<String> = others.into_iter().map(|file| file.path).collect();
        checkpoint.retain(|path| {
            matches!(path.as_str(), "config.json" | "tokenizer.json" | "tokenizer_config.json")
                || is_weights(path)
        });
        checkpoint.sort();
        let has_weights = checkpoint.iter().any(|path| path.ends_with(".safetensors"));
        if checkpoint.first().is_none_or(|first| first != "config.json") || !has_weights {
            bail!(
                "{repository} has neither a GGUF file nor a checkpoint (config.json and model.safetensors)"
            );
        }
        Ok(Choice::Checkpoint(checkpoint))
    }
}
