//! Which files of a repository are wanted if none is named.

use anyhow::{Result, bail};

use super::RemoteFile;
use crate::split::PartName;

/// The tag that is used if none is given, as in llama.cpp.
const DEFAULT_TAG: &str = "Q4_K_M";
/// Words in the names of files that accompany a model.
const COMPANIONS: [&str; 6] = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];

/// What to fetch.
#[derive(Debug, PartialEq, Eq)]
pub enum Selection {
    /// A GGUF file; for a model in several files, the first of them.
    Model(String),
    /// All files of a checkpoint, config.json first.
    Checkpoint(Vec<String>),
}

/// The model with this tag. Without a tag: the only model, or the one with the default tag, or the checkpoint if there is no
/// model.
pub fn select(repository: &str, tag: Option<&str>, files: Vec<RemoteFile>) -> Result<Selection> {
    let models: Vec<&RemoteFile> = files.iter().filter(|file| is_model(&file.path)).collect();
    let wanted = |tag: &str| models.iter().find(|file| has_tag(&file.path, tag));
    let list = || {
        let lines: Vec<String> = models.iter().map(|file| file.to_string()).collect();
        lines.join("\n  ")
    };
    match (tag, &models[..]) {
        (Some(tag), models) => match wanted(tag) {
            Some(model) => return Ok(Selection::Model(model.path.clone())),
            None if models.is_empty() => bail!("{repository} has no GGUF file, so none with the tag {tag}"),
            None => bail!("{repository} has no GGUF file with the tag {tag}; it has\n  {}", list()),
        },
        (None, [model]) => return Ok(Selection::Model(model.path.clone())),
        (None, []) => {}
        (None, models) => match wanted(DEFAULT_TAG) {
            Some(model) => return Ok(Selection::Model(model.path.clone())),
            None => bail!(
                "{repository} has {} GGUF files, choose one with `llm pull {repository} FILE`:\n  {}",
                models.len(),
                list()
            ),
        },
    }
    let mut checkpoint: Vec<String> = files.into_iter().map(|file| file.path).collect();
    checkpoint.retain(|path| belongs_to_checkpoint(path));
    checkpoint.sort_by_key(|path| (path != "config.json", path.clone()));
    let has_weights = checkpoint.iter().any(|path| path.ends_with(".safetensors"));
    if checkpoint.first().is_none_or(|first| first != "config.json") || !has_weights {
        bail!("{repository} has neither a GGUF file nor a checkpoint (config.json and model.safetensors)");
    }
    Ok(Selection::Checkpoint(checkpoint))
}

/// Whether a name is that of a model, but not of a further part of one.
fn is_model(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    name.ends_with(".gguf")
        && !COMPANIONS.iter().any(|word| name.contains(word))
        && PartName::parse(path).is_none_or(|part| part.number == 1)
}

/// Whether a path contains a tag, before a `.` or `-`.
fn has_tag(path: &str, tag: &str) -> bool {
    let (path, tag) = (path.to_ascii_lowercase(), tag.to_ascii_lowercase());
    path.match_indices(&tag).any(|(at, _)| {
        let behind = path[at + tag.len()..].starts_with(['.', '-']);
        let before = !path[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        behind && before
    })
}

fn belongs_to_checkpoint(path: &str) -> bool {
    let is_weights = path.starts_with("model")
        && (path.ends_with(".safetensors") || path.ends_with(".safetensors.index.json"));
    let is_template = path.strip_prefix("additional_chat_templates/");
    is_weights
        || is_template.is_some_and(|name| name.ends_with(".jinja"))
        || matches!(
            path,
            "config.json"
                | "tokenizer.json"
                | "tokenizer_config.json"
                | "tokenizer.model"
                | "added_tokens.json"
                | "quant_config.json"
                | "chat_template.jinja"
                | "chat_template.json"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_whole_words() {
        for (path, tag, has) in [
            ("m-Q4_K_M.gguf", "q4_k_m", true),
            ("m.Q4_K_M.GGUF", "Q4_K_M", true),
            ("Q4_K_M/m-Q4_K_M-00001-of-00002.gguf", "Q4_K_M", true),
            ("m-IQ4_K_M.gguf", "Q4_K_M", false),
            ("m-Q4_K_M.gguf", "Q4_K", false),
            ("m-Q4_K_M.gguf", "Q8_0", false),
        ] {
            assert_eq!(has_tag(path, tag), has, "{path} {tag}");
        }
    }
}
