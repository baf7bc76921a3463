//! The folder that keeps fetched files, shared with the hub's other programs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// An environment variable that says something.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `HF_HUB_CACHE`, or `hub` in the hub's home.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = variable("HF_HUB_CACHE") {
        return Ok(folder.into());
    }
    let home = home().context("there is no home directory: say by --cache where files are kept")?;
    Ok(home.join("hub"))
}

/// `HF_TOKEN`, or what the hub's own program keeps after a login.
pub fn token() -> Option<String> {
    let kept = || {
        let token = fs::read_to_string(home()?.join("token")).ok()?;
        Some(token.trim().to_owned()).filter(|token| !token.is_empty())
    };
    variable("HF_TOKEN").or_else(kept)
}

/// `HF_HOME`, or its place among the user's caches.
fn home() -> Option<PathBuf> {
    if let Some(home) = variable("HF_HOME") {
        return Some(home.into());
    }
    let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
    Some(caches.or_else(|| Some(std::env::home_dir()?.join(".cache")))?.join("huggingface"))
}

/// Makes `link`, which lies `depth` folders deep in a snapshot, stand for a file among the blobs.
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
        // From the file's folder up through the snapshot's and `snapshots` to where `blobs` is.
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
