//! Texts as vectors and as scores.

use super::*;
use crate::llm::fixtures;

pub(super) fn reranker() -> Vec<u8> {
    let path = "../crates/llm/tests/golden/classifiers/bert.gguf";
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn each_text_is_a_line_of_numbers() {
    let computer = Computer::new().disk("s", fixtures::micro());
    let shown = computer.command("llm embed 'Once upon a time' Hello 'Once upon a time'").unwrap();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 3 && lines[0] == lines[2] && lines[0] != lines[1], "{shown}");
    let squares = lines[0].split(' ').map(|number| number.parse::<f64>().unwrap().powi(2));
    assert!((squares.sum::<f64>() - 1.0).abs() < 1e-5);
    let parted = computer.command("llm embed --parallel 1 'Once upon a time' Hello 'Once upon a time'");
    assert_eq!(parted.unwrap(), shown);
    let tokens = computer.command("llm embed --pooling none Hello").unwrap();
    assert!(tokens.lines().count() > 2 && tokens.ends_with("\n\n"), "{tokens}");
    for (line, reason) in [
        ("llm embed --pooling median Hello", "none, mean, cls, last or rank"),
        ("llm embed --pooling rank Hello", "no classifier"),
        ("llm embed", "usage"),
        ("llm embed --texts x Hello", "TEXT"),
        ("llm rerank a", "usage"),
        ("llm rerank a b", "no classifier"),
    ] {
        let answers = computer.converse(&[line.as_bytes()]);
        assert!(answers[0].contains(reason), "{line}: {answers:?}");
    }
}

#[test]
fn documents_come_best_first() {
    let computer = Computer::new().disk("s", reranker());
    let shown = computer.command("llm rerank 'a b' 'b c' z 'a b c d'").unwrap();
    let scores: Vec<f64> =
        shown.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a > b), "{shown}");
    assert!(
        ["[1] b c\n", "[2] z\n", "[3] a b c d\n"].iter().all(|document| shown.contains(document)),
        "{shown}"
    );
}
