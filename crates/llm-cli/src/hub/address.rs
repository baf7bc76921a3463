//! [`Address`]: the ways in which people name a model of the hub.

use anyhow::{Result, bail};
use percent_encoding::percent_decode_str;

/// Host names of the hub, which stand for any endpoint.
const HOSTS: [&str; 4] = ["huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"];

/// `ORG/REPO`, optionally with `:TAG`, either after `hf.co/` or as the hub's web address. The rest of a web address may name a
/// revision and a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// `ORG/REPO`.
    pub repository: String,
    /// Which of the repository's models is meant, for example `Q4_K_M`.
    pub tag: Option<String>,
    /// Branch, tag or commit.
    pub revision: Option<String>,
    /// A file's path.
    pub file: Option<String>,
}

impl Address {
    /// Parses an address; `endpoint` is that of the hub in use.
    ///
    /// # Errors
    ///
    /// If it is the address of another host, or of something other than a model.
    pub fn parse(text: &str, endpoint: &str) -> Result<Self> {
        let trimmed = text.trim_matches('/');
        let (scheme, rest) = match trimmed.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, trimmed),
        };
        let first = rest.split('/').next().unwrap_or_default();
        let endpoint_host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
        let is_host = HOSTS.iter().any(|host| host.eq_ignore_ascii_case(first));
        let path = match scheme.as_deref() {
            Some("hf") => rest,
            Some("http" | "https") | None if is_host => rest[first.len()..].trim_start_matches('/'),
            Some("http" | "https") => {
                match rest.strip_prefix(endpoint_host).and_then(|path| path.strip_prefix('/')) {
                    Some(path) => path,
                    None => bail!(
                        "{text:?} is not an address of the hub at {endpoint}; HF_ENDPOINT names another hub"
                    ),
                }
            }
            Some(_) => bail!("{text:?} is not an address of a hub, expected ORG/REPO"),
            None => trimmed,
        };
        if scheme.is_none() && !is_host {
            return Ok(Self::with_tag(path));
        }
        // In a web address, what follows `?` and `#` only says how a page is shown.
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        let path = path.strip_prefix("models/").unwrap_or(path);
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            [organization, repository, "tree", ref revision @ ..] if !revision.is_empty() => Ok(Self {
                revision: Some(decoded(revision)?),
                ..Self::with_tag(&[organization, repository].join("/"))
            }),
            [organization, repository, "blob" | "resolve" | "raw", revision, ref file @ ..]
                if !file.is_empty() =>
            {
                Ok(Self {
                    revision: Some(decoded(&[revision])?),
                    file: Some(decoded(file)?),
                    ..Self::with_tag(&[organization, repository].join("/"))
                })
            }
            _ => Ok(Self::with_tag(path)),
        }
    }

    fn with_tag(path: &str) -> Self {
        match path.split_once(':') {
            Some((repository, tag)) => {
                // Other programs use this word for a missing tag.
                let tag = Some(tag.to_owned()).filter(|tag| !tag.is_empty() && tag != "latest");
                Self { repository: repository.to_owned(), tag, ..Self::default() }
            }
            None => Self { repository: path.to_owned(), ..Self::default() },
        }
    }
}

fn decoded(parts: &[&str]) -> Result<String> {
    Ok(percent_decode_str(&parts.join("/")).decode_utf8()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text, "http://127.0.0.1:80").unwrap()
    }

    #[test]
    fn the_ways_to_name_a_model() {
        let plain = Address { repository: "org/name".to_owned(), ..Address::default() };
        for text in [
            "org/name",
            "hf.co/org/name",
            "HF.co/org/name/",
            "huggingface.co/org/name",
            "hf://org/name",
            "https://huggingface.co/org/name",
            "http://www.huggingface.co/org/name/?library=x",
            "http://127.0.0.1:80/org/name",
            "org/name:latest",
            "org/name:",
        ] {
            assert_eq!(parse(text), plain, "{text}");
        }
        let tagged = Address { tag: Some("Q4_K_M".to_owned()), ..plain.clone() };
        for text in ["org/name:Q4_K_M", "hf.co/org/name:Q4_K_M", "https://huggingface.co/org/name:Q4_K_M"] {
            assert_eq!(parse(text), tagged, "{text}");
        }
        let revision = Some("refs/pr/1".to_owned());
        assert_eq!(
            parse("https://hf.co/org/name/tree/refs%2Fpr%2F1"),
            Address { revision: revision.clone(), ..plain.clone() }
        );
        assert_eq!(parse("https://hf.co/org/name/tree/refs/pr/1"), Address { revision, ..plain.clone() });
        let file =
            Address { revision: Some("main".to_owned()), file: Some("sub/a b.gguf".to_owned()), ..plain };
        for text in [
            "https://huggingface.co/org/name/blob/main/sub/a%20b.gguf",
            "https://huggingface.co/org/name/resolve/main/sub/a%20b.gguf?download=true",
            "hf.co/org/name/resolve/main/sub/a b.gguf",
        ] {
            assert_eq!(parse(text), file, "{text}");
        }
    }

    #[test]
    fn other_hosts_are_not_asked() {
        for text in [
            "https://example.com/org/name",
            "http://127.0.0.1:8080/org/name",
            "ftp://hf.co/org/name",
            "s3://x/y",
        ] {
            assert!(Address::parse(text, "http://127.0.0.1:80").is_err(), "{text}");
        }
    }
}
