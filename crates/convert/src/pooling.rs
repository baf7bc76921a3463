//! How sentence-transformers combines the vectors of a text's tokens into one: modules.json names a folder, whose config.json
//! says how.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Files, read, read_optional};

/// The key that sentence-transformers sets for each way, its newer name, and GGUF's number.
const WAYS: [(&str, &str, u32); 3] = [
    ("pooling_mode_mean_tokens", "mean", 1),
    ("pooling_mode_cls_token", "cls", 2),
    ("pooling_mode_lasttoken", "lasttoken", 3),
];

/// `pooling_type` of GGUF, if the checkpoint says how.
pub fn read_type(files: &dyn Files) -> Result<Option<u32>> {
    const FILE: &str = "modules.json";
    let Some(bytes) = read_optional(files, FILE)? else { return Ok(None) };
    let modules: Value = serde_json::from_slice((*bytes).as_ref()).context(FILE)?;
    let is_pooling = |module: &&Value| module["type"].as_str().is_some_and(|ty| ty.ends_with("Pooling"));
    let Some(module) = modules.as_array().and_then(|modules| modules.iter().find(is_pooling)) else {
        return Ok(None);
    };
    let folder = module["path"].as_str().unwrap_or_default();
    if folder.is_empty() || folder.contains(['/', '\\']) || folder == ".." {
        bail!("{FILE}: {folder:?} is not the name of a folder beside it");
    }
    let file = format!("{folder}/config.json");
    let bytes = read(files, &file)?;
    let pooling: Value = serde_json::from_slice((*bytes).as_ref()).with_context(|| file.clone())?;
    let is_meant = |(flag, name, _): &&(&str, &str, u32)| {
        pooling[flag].as_bool() == Some(true) || pooling["pooling_mode"].as_str() == Some(name)
    };
    match WAYS.iter().find(is_meant) {
        Some(&(_, _, number)) => Ok(Some(number)),
        None => bail!("{file}: the way of pooling is none of mean, cls, lasttoken"),
    }
}
