//! The folder for downloaded files, shared with the hub's other programs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hf_hub::{Cache, Repo};

use super::RemoteFile;

/// The value of an environment variable, if it is not empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether `HF_HUB_OFFLINE`, or the older `TRANSFORMERS_OFFLINE`, forbids network access.
pub fn is_offline() -> bool {
    let value = variable("HF_HUB_OFFLINE").or_else(|| variable("TRANSFORMERS_OFFLINE"));
    value.is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()))
}

/// `HF_HUB_CACHE`, or `hub` in the hub's home.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = variable("HF_HUB_CACHE") {
        return Ok(folder.into());
    }
    let home = home().context("there is no home directory: say by --cache where files are kept")?;
    Ok(home.join("hub"))
}

/// `HF_TOKEN`, or the token that the hub's own program stores at login.
pub fn token() -> Option<String> {
    let kept = || {
        let token = fs::read_to_string(home()?.join("token")).ok()?;
        Some(token.trim().to_owned()).filter(|token| !token.is_empty())
    };
    variable("HF_TOKEN").map(|token| token.trim().to_owned()).or_else(kept)
}

/// `HF_HOME`, or its default place among the user's caches.
fn home() -> Option<PathBuf> {
    if let Some(home) = variable("HF_HOME") {
        return Some(home.into());
    }
    let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
    Some(caches.or_else(|| Some(std::env::home_dir()?.join(".cache")))?.join("huggingface"))
}

/// Where somebody who fetched a file of a repository by other means puts it: under its path there in the repository's folder.
pub fn place(cache: &Cache, repo: &Repo, file: &str) -> PathBuf {
    cache.path().join(repo.folder_name()).join(file)
}

/// The file that somebody put at its [`place`]; it counts as one of the branch `main`.
pub fn placed(cache: &Cache, repo: &Repo, file: &str) -> Option<PathBuf> {
    let path = place(cache, repo, file);
    (repo.revision() == "main" && path.is_file()).then_some(path)
}

/// Moves a file that was put at its [`place`], and is correct, to the blobs. Of a link, the file that it refers to is copied.
pub fn adopt(placed: &Path, blob: &Path) -> Result<()> {
    let context = || blob.display().to_string();
    fs::create_dir_all(blob.parent().context("a blob lies in a folder")?).with_context(context)?;
    if placed.is_symlink() {
        fs::copy(placed, blob).with_context(context)?;
        return fs::remove_file(placed).with_context(context);
    }
    fs::rename(placed, blob).with_context(context)
}

/// The cached files of a repository, of the revision that was downloaded last.
pub fn files(cache: &Cache, repo: &Repo) -> Vec<RemoteFile> {
    // A folder that cannot be read counts as missing.
    let folder = cache.path().join(repo.folder_name());
    let Ok(commit) = fs::read_to_string(folder.join("refs").join(repo.revision())) else { return Vec::new() };
    let snapshot = folder.join("snapshots").join(commit.trim());
    let mut files = Vec::new();
    let mut folders = vec![snapshot.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match (fs::metadata(&path), path.strip_prefix(&snapshot).ok().and_then(Path::to_str)) {
                (Ok(metadata), _) if metadata.is_dir() => folders.push(path),
                (Ok(metadata), Some(name)) => {
                    files.push(RemoteFile { path: name.to_owned(), size_bytes: Some(metadata.len()) });
                }
                _ => {}
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Makes `link`, which is `depth` folders deep in a snapshot, refer to a file among the blobs.
pub fn link(link: &Path, blob: &Path, depth: usize) -> Result<()> {
    let context = || link.display().to_string();
    let folder = link.parent().context("a snapshot is a folder")?;
    fs::create_dir_all(folder).with_context(context)?;
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(context),
        _ => {}
    }
    #[cfg(unix)]
    {
        // From the file's folder up through the snapshot's folder and `snapshots` to the folder that contains `blobs`.
        let mut target: PathBuf = std::iter::repeat_n("..", depth + 1).collect();
        target.push("blobs");
        target.push(blob.file_name().context("a blob is a file")?);
        std::os::unix::fs::symlink(target, link).with_context(context)
    }
    #[cfg(not(unix))]
    {
        let _ = depth;
        fs::hard_link(blob, link).with_context(context)
    }
}
