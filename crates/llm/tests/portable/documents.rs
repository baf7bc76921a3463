//! The documents refer to what exists: targets of links between files, and the files that docs/adding.md names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The documents, by their paths in the repository.
fn documents() -> Vec<String> {
    let mut documents = Vec::new();
    for folder in ["", "docs/", "docs/notes/", "test_models/", "scripts/golden/", "scripts/train/"] {
        let Ok(files) = fs::read_dir(repository().join(folder)) else { continue };
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        documents.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}{name}")));
    }
    documents
}

/// A document's text without its code blocks.
fn prose(document: &str) -> String {
    let text = fs::read_to_string(repository().join(document)).unwrap();
    text.split("\n```").step_by(2).collect()
}

/// The anchors that GitHub generates for a document's headings.
fn anchors(document: &str) -> BTreeSet<String> {
    let text = prose(document);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|&c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// The targets of a document's links within the repository: a file, and an anchor in it.
fn links(document: &str) -> Vec<(String, Option<String>)> {
    let text = prose(document);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let inner = targets.filter(|target| !target.contains("://") && !target.contains(' '));
    inner
        .map(|target| match target.split_once('#') {
            Some((file, anchor)) => (file.to_owned(), Some(anchor.to_owned())),
            None => (target.to_owned(), None),
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let (mut n_links, mut broken) = (0, Vec::new());
    for document in documents() {
        let folder = Path::new(&document).parent().unwrap().to_path_buf();
        for (file, anchor) in links(&document) {
            n_links += 1;
            let target =
                if file.is_empty() { document.clone() } else { folder.join(&file).display().to_string() };
            let is_there = repository().join(&target).exists();
            let has_anchor = anchor.as_ref().is_none_or(|anchor| {
                !target.ends_with(".md") || is_there && anchors(&target).contains(anchor)
            });
            if !is_there || !has_anchor {
                broken.push(format!("{document}: {file}#{}", anchor.unwrap_or_default()));
            }
        }
    }
    assert!(n_links > 100, "{n_links}");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn adding_md_names_files_that_are_there() {
    let text = prose("docs/adding.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let roots = ["crates/", "kernel/", "scripts/", "tests/", "fuzz/", "examples/"];
    let is_path = |word: &&str| roots.iter().any(|root| word.starts_with(root));
    let paths: Vec<&str> = quoted.flat_map(|words| words.split(' ').take(1)).filter(is_path).collect();
    assert!(paths.len() > 30, "{paths:?}");
    let missing: Vec<&&str> = paths.iter().filter(|path| !repository().join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
