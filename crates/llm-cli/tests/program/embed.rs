use crate::{LLAMA, fail_saying, scratch_file, succeed};

const RERANKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../llm/tests/golden/classifiers/bert.gguf");

fn numbers(line: &str) -> Vec<f64> {
    line.split(' ').map(|number| number.parse().unwrap()).collect()
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|value| value * value).sum::<f64>().sqrt()
}

#[test]
fn each_text_is_a_line_of_numbers() {
    let shown = succeed(&["embed", "-m", &LLAMA, "the cat sat", "mat", "the cat sat"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 3 && lines[0] == lines[2] && lines[0] != lines[1]);
    assert!((length(&numbers(lines[0])) - 1.0).abs() < 1e-5);
    for parallel in ["1", "2"] {
        let texts = ["the cat sat", "mat", "the cat sat"];
        let arguments = [&["embed", "-m", &LLAMA, "--parallel", parallel][..], &texts].concat();
        assert_eq!(succeed(&arguments), shown);
    }
    let file = scratch_file("texts.txt");
    std::fs::write(&file, "the cat sat\n\nmat\nthe cat sat\n").unwrap();
    assert_eq!(succeed(&["embed", "-m", &LLAMA, "--texts", &file]), shown);

    let as_they_are = succeed(&["embed", "-m", &LLAMA, "--no-normalise", "mat"]);
    assert!((length(&numbers(as_they_are.trim())) - 1.0).abs() > 1e-3);
    let last = succeed(&["embed", "-m", &LLAMA, "--pooling", "last", "the cat sat"]);
    assert_ne!(last.trim(), lines[0]);
    // Each token, then the end of the text; the last one's vector is what `last` makes length 1.
    let tokens = succeed(&["embed", "-m", &LLAMA, "--pooling", "none", "the cat sat", "mat"]);
    let of_texts: Vec<Vec<&str>> = tokens.split("\n\n").map(|text| text.lines().collect()).collect();
    assert!(of_texts.len() == 3 && of_texts[0].len() > 2 && of_texts[2].is_empty());
    let of_last = numbers(of_texts[0].last().unwrap());
    let factor = length(&of_last);
    assert!(
        of_last.iter().zip(numbers(last.trim())).all(|(value, want)| (value / factor - want).abs() < 1e-6)
    );
}

#[test]
fn what_cannot_be_embedded_is_refused() {
    fail_saying(
        &["embed", "-m", &LLAMA, "--pooling", "median", "a"],
        &["--pooling", "none, mean, cls, last or rank"],
    );
    fail_saying(&["embed", "-m", &LLAMA, "--pooling", "rank", "a"], &["no classifier"]);
    fail_saying(&["embed", "-m", &LLAMA], &["required", "<TEXT>"]);
    let file = scratch_file("no_texts.txt");
    std::fs::write(&file, " \n").unwrap();
    fail_saying(&["embed", "-m", &LLAMA, "-f", &file], &["no texts in the file"]);
}

#[test]
fn documents_come_best_first() {
    let ranked = |documents: &[&str]| succeed(&[&["rerank", "-m", RERANKER, "a b"], documents].concat());
    let shown = ranked(&["b c", "z", "a b c d"]);
    let lines: Vec<(f64, &str)> = shown
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(score, document)| (score.parse().unwrap(), document))
        .collect();
    assert!(lines.is_sorted_by(|a, b| a.0 > b.0), "{shown}");
    let mut documents: Vec<&str> = lines.iter().map(|(_, document)| *document).collect();
    documents.sort_unstable();
    assert_eq!(documents, ["[1] b c", "[2] z", "[3] a b c d"]);
    // A document's score does not depend on the others.
    let alone = ranked(&["z"]);
    assert!(shown.contains(alone.trim().strip_suffix("[1] z").unwrap()), "{shown}{alone}");
    fail_saying(&["rerank", "-m", &LLAMA, "a", "b"], &["no classifier"]);
    fail_saying(&["rerank", "-m", RERANKER, "a"], &["required", "<DOCUMENT>"]);
}
