//! docs/models.md and README.md compared with the code: they list exactly what is supported, and each entry has a test.

use std::collections::BTreeSet;

use crate::golden_models::cases;
use llm::chat::FAMILIES;
use llm::model::ARCHITECTURES;
use llm::quant::{GgmlType, is_supported};

const DOCUMENT: &str = include_str!("../../../../docs/models.md");
const README: &str = include_str!("../../../../README.md");

/// The cells of the table rows below a heading, without backquotes.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = |row: &'static str| row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
    rows.map(cells).collect()
}

/// The names in a list such as "`a`, `b`", whose outer backquotes have been removed.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(", ").map(|name| name.trim_matches('`'))
}

/// The second cell of a row of README.md's table of what is supported.
fn readme_row(name: &str) -> &'static str {
    let row =
        README.lines().find_map(|line| line.strip_prefix("| ")?.strip_prefix(name)?.strip_prefix(" | "));
    row.unwrap_or_else(|| panic!("README.md has no row \"{name}\""))
}

/// The texts in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The texts in quotation marks after each `before`, up to the next `after`.
fn in_source<'s>(source: &'s str, before: &str, after: char) -> Vec<Vec<&'s str>> {
    let lists = source.split(before).skip(1).filter_map(|rest| rest.split(after).next());
    lists.map(|list| list.split('"').skip(1).step_by(2).collect()).collect()
}

/// The rows of a table without its heading.
fn table(heading: &str, n_columns: usize) -> Vec<Vec<&'static str>> {
    let rows = rows(heading).into_iter().filter(|row| row.len() == n_columns);
    rows.skip_while(|row| !row[0].starts_with("---")).skip(1).collect()
}

#[test]
fn every_tensor_type_has_a_line_and_a_case() {
    let cases = cases("tensor_types");
    let mut types = BTreeSet::new();
    for row in table("Tensor types", 5) {
        let ty = GgmlType::from_name(row[0]).unwrap();
        let (weights, bytes) = (ty.block_len(), ty.block_bytes());
        let bits: f64 = row[3].parse().unwrap();
        assert_eq!(row[1..3], [weights.to_string(), bytes.to_string()], "{ty}");
        assert!((bits - 8.0 * bytes as f64 / weights as f64).abs() < 0.005, "{ty}");
        assert_eq!(row[4], format!("tensor_types/{ty}"));
        assert!(cases.iter().any(|case| case.name == ty.name()), "{ty} has no case");
        types.insert(ty.id());
    }
    let supported: BTreeSet<u32> =
        (0..64).filter(|&id| GgmlType::from_id(id).is_some_and(is_supported)).collect();
    assert_eq!(types, supported);
    let listed: BTreeSet<&str> = readme_row("tensor types")
        .trim_end_matches(" |")
        .split(", ")
        .map(|name| name.trim_matches('`'))
        .collect();
    let names: BTreeSet<&str> = types
        .iter()
        .filter_map(|&id| GgmlType::from_id(id))
        .map(GgmlType::name)
        .chain(["in any mixture"])
        .collect();
    assert_eq!(listed, names, "README.md");
}

#[test]
fn every_architecture_has_a_line_and_a_case() {
    let rows = table("Architectures", 3);
    let documented: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let families: Vec<&str> = ARCHITECTURES.iter().map(|architecture| architecture.name).collect();
    assert_eq!(documented, families, "in the order of the table in families.rs");

    let row = readme_row("architectures");
    assert!(row.starts_with(&format!("{} families", families.len())), "{row}");
    for name in quoted(row) {
        assert!(families.contains(&name), "README.md names {name}");
    }

    let cases = cases("architectures");
    for row in rows {
        let of_family = cases.iter().filter(|case| case.architecture == row[0]);
        let of_family: Vec<&str> = of_family.map(|case| case.name.as_str()).collect();
        assert!(!of_family.is_empty(), "{} has no case", row[0]);
        assert_eq!(names(row[2]).collect::<Vec<_>>(), of_family, "{}", row[0]);
    }
}

#[test]
fn every_kind_of_tokenizer_has_a_line() {
    let source = include_str!("../../src/tokenizer/mod.rs");
    let (_, source) = source.split_once("match gguf.require_str(\"tokenizer.ggml.model\")? {").unwrap();
    let arms = source.lines().take_while(|line| !line.contains("UnsupportedModel"));
    let in_code: BTreeSet<&str> = arms
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" =>"))
        .map(|(name, _)| name)
        .collect();
    assert!(in_code.len() > 5);
    let rows = table("Tokenizers", 2);
    let documented: BTreeSet<&str> =
        rows.iter().map(|row| row[0]).take_while(|name| *name != "tokenizer.ggml.pre").collect();
    assert_eq!(documented, in_code);
    let readme: BTreeSet<&str> = quoted(readme_row("tokenizers")).collect();
    assert_eq!(readme, in_code, "README.md");
}

#[test]
fn every_pre_tokenizer_has_a_line() {
    let in_code = in_source(include_str!("../../src/tokenizer/pre_tokenizer/table.rs"), "names: &[", ']');
    let in_code: Vec<Vec<&str>> = in_code.into_iter().filter(|names| !names.is_empty()).collect();
    let rows = table("Tokenizers", 2);
    let rows = rows.iter().map(|row| row[0]).skip_while(|name| *name != "tokenizer.ggml.pre").skip(2);
    let documented: Vec<Vec<&str>> = rows.map(|list| names(list).collect()).collect();
    assert_eq!(documented, in_code, "in the order of the table in table.rs");
}

#[test]
fn every_set_of_instructions_is_named() {
    let sources = [
        include_str!("../../../tensor/src/simd/scalar.rs"),
        include_str!("../../../tensor/src/simd/aarch64/neon.rs"),
        include_str!("../../../tensor/src/simd/aarch64/mla.rs"),
        include_str!("../../../tensor/src/simd/aarch64/dotprod.rs"),
        include_str!("../../../tensor/src/simd/aarch64/i8mm.rs"),
        include_str!("../../../tensor/src/simd/aarch64/attention_f16.rs"),
        include_str!("../../../tensor/src/simd/x86_64/avx2.rs"),
        include_str!("../../../tensor/src/simd/x86_64/avx512_vnni.rs"),
    ];
    let named =
        |source| [in_source(source, "name: ", ','), in_source(source, "Kernels::of::<", ')')].concat();
    let in_code: BTreeSet<&str> = sources.iter().flat_map(|source| named(source)).flatten().collect();
    let readme: BTreeSet<&str> = quoted(readme_row("instruction sets")).collect();
    assert_eq!(readme, in_code);
}

#[test]
fn every_chat_format_has_a_line() {
    let rows = table("Chat templates", 2);
    let documented: Vec<&str> = rows.iter().map(|row| row[0]).take(FAMILIES.len()).collect();
    let named: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(documented, named);
}
