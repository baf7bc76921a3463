//! How conversations become prompts: a checkpoint's templates in Jinja.
//!
//! The places of templates, and their precedence, are those of `SpecialVocab` in gguf-py: `chat_template` in
//! tokenizer_config.json, which is a text or a list of texts with names; else chat_template.jinja, with further templates in
//! additional_chat_templates; else chat_template.json.

use anyhow::{Context, Result, bail};
use llm::gguf::GgufWriter;
use serde_json::Value;

use super::super::{Files, read_optional};
use super::optional_json;

const TEXT_FILE: &str = "chat_template.jinja";
const JSON_FILE: &str = "chat_template.json";
const MORE: &str = "additional_chat_templates";
const EXTENSION: &str = ".jinja";

/// The templates of a checkpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChatTemplates {
    /// The template that is used if no name is given.
    default: Option<String>,
    /// The other templates, by name.
    named: Vec<(String, String)>,
}

impl ChatTemplates {
    /// Reads the files; `settings` is the content of tokenizer_config.json.
    pub fn read(files: &dyn Files, settings: &Value) -> Result<Self> {
        let template = settings.get("chat_template").unwrap_or(&Value::Null);
        let templates = Self::from_json(template).context("tokenizer_config.json")?.without_empty();
        if templates != Self::default() {
            return Ok(templates);
        }
        Ok(Self::from_files(files)?.without_empty())
    }

    /// Removes templates that would turn any conversation into an empty text.
    fn without_empty(mut self) -> Self {
        self.default = self.default.filter(|template| !template.trim().is_empty());
        self.named.retain(|(_, template)| !template.trim().is_empty());
        self
    }

    fn from_files(files: &dyn Files) -> Result<Self> {
        if let Some(bytes) = read_optional(files, TEXT_FILE)? {
            let default = Some(text((*bytes).as_ref()).context(TEXT_FILE)?);
            let mut named = Vec::new();
            for name in files.list(MORE).context(MORE)? {
                let Some(stem) = name.strip_suffix(EXTENSION) else { continue };
                let path = format!("{MORE}/{name}");
                let bytes = read_optional(files, &path)?.with_context(|| format!("{path}: it is gone"))?;
                named.push((stem.to_owned(), text((*bytes).as_ref()).context(path)?));
            }
            named.sort();
            return Ok(Self { default, named });
        }
        match optional_json(files, JSON_FILE)?.get("chat_template") {
            Some(template) => Self::from_json(template).context(JSON_FILE),
            None => Ok(Self::default()),
        }
    }

    /// A text, or a list of texts with names.
    fn from_json(template: &Value) -> Result<Self> {
        let mut templates = Self::default();
        match template {
            Value::Null => {}
            Value::String(template) => templates.default = Some(template.clone()),
            Value::Array(list) => {
                for entry in list {
                    let (Some(name), Some(template)) = (entry["name"].as_str(), entry["template"].as_str())
                    else {
                        continue;
                    };
                    match name {
                        "default" => templates.default = Some(template.to_owned()),
                        _ => templates.named.push((name.to_owned(), template.to_owned())),
                    }
                }
            }
            other => bail!("chat_template is {other}, expected a text or a list of texts with names"),
        }
        Ok(templates)
    }

    /// Adds the templates to a GGUF header.
    pub fn describe(&self, writer: &mut GgufWriter) -> Result<()> {
        let mut names = Vec::new();
        for (name, template) in &self.named {
            let name = key_name(name);
            // If two have the same name, the first one counts.
            if name.is_empty() || names.contains(&name) {
                continue;
            }
            writer.put_str(&format!("tokenizer.chat_template.{name}"), template)?;
            names.push(name);
        }
        if !names.is_empty() {
            writer.put_strings("tokenizer.chat_templates", names.iter())?;
        }
        match &self.default {
            Some(template) => Ok(writer.put_str("tokenizer.chat_template", template)?),
            None => Ok(()),
        }
    }
}

/// A name in the form that is allowed in a key.
fn key_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn text(bytes: &[u8]) -> Result<String> {
    Ok(std::str::from_utf8(bytes)?.to_owned())
}
