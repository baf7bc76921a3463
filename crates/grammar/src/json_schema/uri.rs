//! References to schemas, resolved against a base as in RFC 3986, section 5.

use alloc::string::String;
use alloc::vec::Vec;

/// Splits off the fragment: the part before the `#`, and the part after it.
pub(super) fn split(reference: &str) -> (&str, Option<&str>) {
    reference.split_once('#').map_or((reference, None), |(uri, fragment)| (uri, Some(fragment)))
}

/// The length of the scheme with its colon; 0 if there is none.
fn scheme_len(uri: &str) -> usize {
    match uri.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.')) {
        Some(end) if uri[end..].starts_with(':') && uri.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            end + 1
        }
        _ => 0,
    }
}

/// Resolves `reference`, which has no fragment, against `base`.
pub(super) fn resolve(base: &str, reference: &str) -> String {
    if reference.is_empty() {
        return base.into();
    }
    if scheme_len(reference) > 0 {
        return reference.into();
    }
    let scheme = scheme_len(base);
    let authority = match base[scheme..].strip_prefix("//") {
        Some(rest) => scheme + 2 + rest.find(['/', '?']).unwrap_or(rest.len()),
        None => scheme,
    };
    if reference.starts_with("//") {
        return [&base[..scheme], reference].concat();
    }
    let path = base[authority..].split('?').next().unwrap_or_default();
    if reference.starts_with('?') {
        return [&base[..authority], path, reference].concat();
    }
    let folder =
        if reference.starts_with('/') { "" } else { path.rfind('/').map_or("", |end| &path[..=end]) };
    let (relative, query) = reference.find('?').map_or((reference, ""), |at| reference.split_at(at));
    let merged = [folder, relative].concat();
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = merged.split('/').peekable();
    while let Some(part) = parts.next() {
        match part {
            "." if parts.peek().is_none() => segments.push(""),
            "." => {}
            ".." => {
                if segments.len() > 1 || segments.first().is_some_and(|s| !s.is_empty()) {
                    segments.pop();
                }
                if parts.peek().is_none() {
                    segments.push("");
                }
            }
            _ => segments.push(part),
        }
    }
    let slash = if authority > scheme && !merged.starts_with('/') { "/" } else { "" };
    [&base[..authority], slash, &segments.join("/"), query].concat()
}

/// The text with each `%xx` replaced by the byte that it stands for; `None` if the result is not UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut result = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |i| bytes.get(at + i).and_then(|&b| char::from(b).to_digit(16));
        match (byte, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                result.push((high << 4 | low) as u8);
                at += 3;
            }
            _ => {
                result.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(result).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_as_in_rfc_3986() {
        // The examples of section 5.4, except those that depend on fragments.
        let base = "http://a/b/c/d;p?q";
        for (reference, expected) in [
            ("g:h", "g:h"),
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("./../g", "http://a/b/g"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
        ] {
            assert_eq!(resolve(base, reference), expected, "{reference}");
        }
        assert_eq!(resolve("", "a.json"), "a.json");
        assert_eq!(resolve("http://a", "b"), "http://a/b");
        assert_eq!(resolve("urn:uuid:1", "urn:uuid:2"), "urn:uuid:2");
        assert_eq!(resolve("file:///folder/file.json", "x"), "file:///folder/x");
    }

    #[test]
    fn percents() {
        assert_eq!(percent_decoded("a%25b%22").as_deref(), Some("a%b\""));
        assert_eq!(percent_decoded("%C3%A4%").as_deref(), Some("ä%"));
        assert_eq!(percent_decoded("%FF"), None);
    }
}
