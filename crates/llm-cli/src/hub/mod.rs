//! Files of the Hugging Face hub, or of a mirror with the same routes, on this machine.
//!
//! [`Hub`] is the server that files come from and the folder that they are kept in. A [`Repository`] lists its files and
//! downloads them. [`address`] parses the names that people use, [`short_names`] has those of some small models, and
//! [`selection`] chooses files if none is named. The crate
//! `hf-hub` knows the hub's routes and the layout of its cache. Its downloads are not used: they send the token to every host
//! that the hub redirects to, and name files in the cache without checking them. Instead, [`client`] requests files, and
//! [`transfer`] names those that [`checksum`] has found to be correct.

mod address;
mod cache;
mod checksum;
mod client;
mod selection;
pub mod short_names;
mod transfer;

use std::fmt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use address::Address;
use checksum::Checksum;
use client::Client;
use short_names::ShortName;
use transfer::Transfer;

pub use selection::{Selection, select};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// A server with the hub's routes, and the folder that keeps its files.
pub struct Hub {
    endpoint: String,
    cache: Cache,
    client: Client,
    /// Whether only files in the cache are used, without any requests.
    is_offline: bool,
}

impl Hub {
    /// The hub that the environment describes: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`. The
    /// arguments take precedence.
    pub fn from_environment(token: Option<String>, cache: Option<PathBuf>) -> Result<Self> {
        let endpoint = cache::variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let token = token.or_else(cache::token);
        let cache = Cache::new(cache.map_or_else(cache::folder, Ok)?);
        Ok(Hub { endpoint, cache, client: Client::new(token), is_offline: cache::is_offline() })
    }

    /// Parses an address, or a short name, which may have a tag.
    ///
    /// # Errors
    ///
    /// Also if a word is not a short name.
    pub fn address(&self, text: &str) -> Result<Address> {
        let address = Address::parse(text, &self.endpoint)?;
        if text.contains('/') {
            return Ok(address);
        }
        let Some(model) = short_names::find(&address.repository) else {
            bail!(
                "no model has the short name {:?}; the nearest are {}; `llm pull --list` shows all, and any other model is \
                 ORG/REPO",
                address.repository,
                short_names::nearest(&address.repository).join(", ")
            );
        };
        let file = address.tag.is_none().then(|| model.file.to_owned());
        Ok(Address { repository: model.repository.to_owned(), file, ..address })
    }

    /// Whether the file of a model with a short name is in the folder.
    pub fn has(&self, model: &ShortName) -> bool {
        cached(&self.cache, model).is_some()
    }

    /// The model repository `name`, in the form `ORG/REPO`, at a branch, tag or commit.
    pub fn repository(&self, name: &str, revision: &str) -> Result<Repository<'_>> {
        let is_word = |word: &str| {
            !word.starts_with('.')
                && !word.is_empty()
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        if name.split('/').count() > 2 || !name.split('/').all(is_word) {
            bail!("{name:?} is not the name of a repository, expected ORG/REPO");
        }
        if !revision.split('/').all(is_word) {
            bail!("{revision:?} is not a revision, expected a branch, a tag or a commit");
        }
        let repo = Repo::with_revision(name.to_owned(), RepoType::Model, revision.to_owned());
        Ok(Repository { hub: self, name: name.to_owned(), repo })
    }
}

/// The file that `--model` means: a path, or the short name of a model whose file is there.
pub fn model_path(path: PathBuf) -> Result<PathBuf> {
    let Some(model) = path.to_str().and_then(short_names::find).filter(|_| !path.exists()) else {
        return Ok(path);
    };
    cached(&Cache::new(cache::folder()?), model).with_context(|| {
        format!("it is not here yet; `llm pull {}` fetches it, about {}", model.name, model.megabytes)
    })
}

/// The file of a model with a short name, if it was downloaded or put there by hand.
fn cached(cache: &Cache, model: &ShortName) -> Option<PathBuf> {
    let repo = Repo::model(model.repository.to_owned());
    cache.repo(repo.clone()).get(model.file).or_else(|| cache::placed(cache, &repo, model.file))
}

/// One repository at one revision.
pub struct Repository<'h> {
    hub: &'h Hub,
    name: String,
    repo: Repo,
}

/// A file in a repository.
#[derive(Debug, Deserialize)]
pub struct RemoteFile {
    /// Its path in the repository.
    #[serde(rename = "rfilename")]
    pub path: String,
    /// Its size, if the hub says it.
    #[serde(rename = "size")]
    pub size_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Listing {
    siblings: Vec<RemoteFile>,
}

impl fmt::Display for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size_bytes {
            Some(size_bytes) => write!(f, "{}  {}", self.path, HumanBytes(size_bytes)),
            None => write!(f, "{}", self.path),
        }
    }
}

impl Repository<'_> {
    /// All files of the repository or, without a network, those in the cache.
    pub fn files(&self) -> Result<Vec<RemoteFile>> {
        let cached = || cache::files(&self.hub.cache, &self.repo);
        if self.hub.is_offline {
            let files = cached();
            if files.is_empty() {
                bail!("{}", self.explain_offline(&self.name));
            }
            return Ok(files);
        }
        match self.listed() {
            Err(error) if is_unreachable(&error) => match cached() {
                files if files.is_empty() => Err(error),
                files => Ok(files),
            },
            result => result,
        }
    }

    fn listed(&self) -> Result<Vec<RemoteFile>> {
        let url = format!("{}/api/{}", self.hub.endpoint, self.repo.api_url());
        let mut response = self.hub.client.get(&url).query("blobs", "true").call().map_err(|error| {
            if let ureq::Error::StatusCode(404) = error {
                let Repository { name, hub, .. } = self;
                return anyhow!(
                    "{} has no repository {name}, or that no revision {}",
                    hub.endpoint,
                    self.revision()
                );
            }
            match error {
                ureq::Error::StatusCode(_) => self.explain(&error),
                _ => anyhow::Error::new(Unreachable(format!("{}: {error}", self.hub.endpoint))),
            }
        })?;
        let listing: Listing = response
            .body_mut()
            .read_json()
            .with_context(|| format!("{} gives no list of the files of {}", self.hub.endpoint, self.name))?;
        Ok(listing.siblings)
    }

    /// The path of a file on this machine; downloads it if necessary.
    ///
    /// Its bytes are checked, even if it was downloaded earlier or put there by hand.
    pub fn fetch(&self, file: &str) -> Result<PathBuf> {
        let path = Path::new(file);
        if file.is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
            bail!("{file:?} is not a path in a repository");
        }
        let url = format!(
            "{}/{}/resolve/{}/{}",
            self.hub.endpoint,
            self.repo.url(),
            self.repo.url_revision(),
            utf8_percent_encode(file, PATH)
        );
        if self.hub.is_offline {
            let missing = || {
                let what = self.explain_offline(&format!("{}/{file}", self.name));
                anyhow!("{what}{}", self.advice(&url, file))
            };
            return self.fetched_earlier(file).ok_or_else(missing);
        }
        let remote = match self.hub.client.describe(&url) {
            Ok(remote) => remote,
            Err(error) => match error.downcast_ref() {
                Some(ureq::Error::StatusCode(404)) => return Err(self.explain_missing(file)),
                Some(error @ ureq::Error::StatusCode(_)) => return Err(self.explain(error)),
                // Without a network, the cached file must suffice.
                Some(error) => {
                    return self
                        .fetched_earlier(file)
                        .ok_or_else(|| self.explain_unreachable(error, &url, file));
                }
                None => return Err(error.context(format!("{url}: not an answer of a hub"))),
            },
        };
        let checksum = Checksum::of_etag(&remote.etag);
        let size_bytes = remote.size_bytes;
        let cache = self.hub.cache.repo(self.repo.clone());
        let blob = cache.blob_path(&remote.etag);
        let is_here = checksum.is_of(&blob, size_bytes)?;
        let is_right = |placed: &PathBuf| !is_here && checksum.is_of(placed, size_bytes).unwrap_or(false);
        if let Some(placed) = cache::placed(&self.hub.cache, &self.repo, file).filter(is_right) {
            cache::adopt(&placed, &blob)?;
        } else if !is_here {
            let progress = progress_bar(file, size_bytes);
            let transfer = Transfer {
                client: &self.hub.client,
                url: &url,
                size_bytes,
                checksum: &checksum,
                progress: &progress,
            };
            transfer.run(&blob).with_context(|| format!("{}/{file}", self.name))?;
        }
        let link = cache.pointer_path(&remote.commit).join(path);
        cache::link(&link, &blob, path.components().count())?;
        cache.create_ref(&remote.commit)?;
        Ok(link)
    }

    /// A file of the revision that was downloaded last, if its bytes are correct, or one that was put there by hand, whose
    /// checksum nobody knows without the hub.
    fn fetched_earlier(&self, file: &str) -> Option<PathBuf> {
        let downloaded = || {
            let path = self.hub.cache.repo(self.repo.clone()).get(file)?;
            let blob = path.canonicalize().ok()?;
            let checksum = Checksum::of_etag(blob.file_name()?.to_str()?);
            let size_bytes = blob.metadata().ok()?.len();
            checksum.is_of(&blob, size_bytes).ok()?.then_some(path)
        };
        downloaded().or_else(|| cache::placed(&self.hub.cache, &self.repo, file))
    }

    /// An error for a file that cannot be fetched without a network.
    fn explain_unreachable(&self, error: &ureq::Error, url: &str, file: &str) -> anyhow::Error {
        anyhow!("{}: {error}{}", self.hub.endpoint, self.advice(url, file))
    }

    /// What to fetch by other means, and where to put it. Only files of the branch `main` can be put there by hand.
    fn advice(&self, url: &str, file: &str) -> String {
        if self.revision() != "main" {
            return String::new();
        }
        let place = cache::place(&self.hub.cache, &self.repo, file);
        format!("; without a network, fetch {url} by other means and put it at {}", place.display())
    }

    fn explain_offline(&self, what: &str) -> String {
        format!(
            "HF_HUB_OFFLINE is set, and {what} at {} is not in {}, or is broken",
            self.revision(),
            self.hub.cache.path().display()
        )
    }

    fn revision(&self) -> &str {
        self.repo.revision()
    }

    /// An error for a file that the hub does not have, with a suggestion of what may have been meant.
    fn explain_missing(&self, file: &str) -> anyhow::Error {
        let files = match self.files() {
            Ok(files) => files,
            Err(error) => return error,
        };
        let models: Vec<&str> = files
            .iter()
            .map(|file| file.path.as_str())
            .filter(|path| path.to_ascii_lowercase().ends_with(".gguf"))
            .collect();
        let models = if models.is_empty() { "none".to_owned() } else { models.join(", ") };
        anyhow!("{} has no file {file} at {}; GGUF files there: {models}", self.name, self.revision())
    }

    fn explain(&self, error: &ureq::Error) -> anyhow::Error {
        let Repository { name, hub, .. } = self;
        match (error, hub.client.has_token()) {
            (ureq::Error::StatusCode(401), false) => anyhow!(
                "{name} is private or gated, or there is no such repository (HTTP 401): give the token of an account \
                 that may read it, by --token or HF_TOKEN"
            ),
            (ureq::Error::StatusCode(401), true) => {
                anyhow!("{name}: the token, of --token or HF_TOKEN, is not valid (HTTP 401)")
            }
            (ureq::Error::StatusCode(403), _) => anyhow!(
                "{name} is gated (HTTP 403): ask for access at {}/{name}, then give that account's token, by --token \
                 or HF_TOKEN",
                hub.endpoint
            ),
            (error, _) => anyhow!("{}: {error}", hub.endpoint),
        }
    }
}

/// The hub could not be reached.
#[derive(Debug)]
struct Unreachable(String);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

fn is_unreachable(error: &anyhow::Error) -> bool {
    error.is::<Unreachable>()
}

/// Characters that need no escape in the path of an address.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A progress bar on standard error, if that is a terminal.
fn progress_bar(file: &str, size_bytes: u64) -> ProgressBar {
    let style = "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).expect("the template is well formed");
    ProgressBar::new(size_bytes).with_style(style).with_message(file.to_owned())
}
