//! Many prompts at once.

use super::*;
use crate::llm::fixtures;

const PROMPTS: [&str; 5] =
    ["Once upon a time", "The little robot", "Once upon a time there", "One day", "Once upon a time"];

fn micro() -> Computer {
    Computer::new().disk("s", fixtures::micro())
}

/// The prompts as words of a shell line.
fn words() -> String {
    PROMPTS.map(|prompt| std::format!("'{prompt}'")).join(" ")
}

/// The answers of `llm infer` to each prompt, in numbered lines.
fn each_alone(computer: &Computer, options: &str) -> String {
    let mut lines = String::new();
    for (index, prompt) in PROMPTS.iter().enumerate() {
        let text = computer.command(&std::format!("llm infer '{prompt}' -n 16 {options}")).unwrap();
        let text = text.strip_suffix('\n').unwrap();
        lines.extend(text.split('\n').map(|line| std::format!("[{}] {line}\n", index + 1)));
    }
    lines
}

#[test]
fn answers_are_those_of_infer() {
    let computer = micro();
    let chat = "--chat --template chatml --system Hush";
    for options in ["", "--ids", "--temp 3 --seed 4 --stop e", "--speculate 4", chat] {
        let expected = each_alone(&computer, options);
        for parallel in ["", "--parallel 1", "--parallel 3"] {
            let line = std::format!("llm batch -n 16 {options} {parallel} {}", words());
            assert_eq!(computer.command(&line).unwrap(), expected, "{line}");
        }
    }
}

#[test]
fn prompts_can_be_the_lines_of_a_disk() {
    let text = PROMPTS.join("\n \n");
    // A disk without file facts is padded with zero bytes.
    let mut sectors = text.clone().into_bytes();
    sectors.resize(1024, 0);
    let mut computer = micro().disk("prompts.txt", text.clone().into_bytes()).disk("padded", sectors);
    computer.disks[1].1 = Some(FileFacts { length_bytes: text.len() as u64, sha256: None });
    computer = computer.disk("empty", b" \n".to_vec()).disk("long", std::vec![b'a'; 70_000]);
    let expected = computer.command(&std::format!("llm batch -n 8 {}", words())).unwrap();
    for disk in ["prompts.txt", "padded"] {
        assert_eq!(computer.command(&std::format!("llm batch --prompts {disk} -n 8")).unwrap(), expected);
    }
    let answers = computer.converse(&[
        b"llm batch --prompts nothing",
        b"llm batch --prompts long",
        b"llm batch --prompts s",
        b"llm batch --prompts empty",
        b"llm batch",
        b"llm batch --prompts padded a",
        b"llm batch --parallel 65 a",
        b"llm batch --chat --special a",
    ]);
    for (answer, said) in answers.iter().zip([
        "no disk has the serial number \"nothing\"; expected ",
        "disk long holds 70000 bytes, expected a text of at most 65536",
        "disk s holds ",
        "there are no prompts",
        "wrong number of arguments",
        "PROMPT is given twice",
        "--parallel is \"65\", expected a number of texts, 1 to 64",
        "--special cannot be given with --chat",
    ]) {
        assert!(answer.starts_with("error: ") && answer.contains(said), "{answer}");
    }
}

#[test]
fn how_it_went_is_counted_and_shown() {
    let answers = micro().converse(&[
        b"llm load --parallel 3",
        b"llm info",
        b"llm list",
        std::format!("llm batch -n 8 --verbose {}", words()).as_bytes(),
        b"llm stats",
        b"llm bench -p 8 -n 4 -r 1 --parallel 2 --json",
        b"llm bench -p 8 -n 4 -r 1 --json",
        b"llm info",
    ]);
    assert!(answers[1].contains("\nn_parallel    3 in 12 pages of 64\n"), "{}", answers[1]);
    assert!(answers[2].contains(" bytes for 3 texts\n"), "{}", answers[2]);
    assert!(answers[3].contains("\n[5 prompts of ") && answers[3].contains(" tokens/s]\n"), "{}", answers[3]);
    assert!(answers[3].contains("[1] [") && answers[3].contains(" batches; "), "{}", answers[3]);
    assert!(answers[4].contains("\ninferences    5\n"), "{}", answers[4]);
    assert!(!answers[4].contains("batches       0\n"), "{}", answers[4]);
    assert_eq!(prefix_hits(&answers[4]), 3, "{}", answers[4]);
    // On that machine, time advances whenever the clock is read.
    let times = answers[4].lines().find_map(|line| line.strip_prefix("next tokens   p50 ")).unwrap();
    assert!(times.contains(", p99 ") && times.contains(", max ") && !times.ends_with(" 0 us"), "{times}");
    assert!(
        answers[4].ends_with(".gguf: 0 texts running, 0 waiting; 0 of 12 pages used\n"),
        "{}",
        answers[4]
    );
    assert!(answers[5].contains("\"n_parallel\":2,\"batch_tps\":"), "{}", answers[5]);
    assert!(!answers[6].contains("n_parallel"), "{}", answers[6]);
    assert!(answers[7].contains("\nn_parallel    3 in 12 pages of 64\n"), "{}", answers[7]);
}

/// The number of texts with a cached prefix, as `llm stats` shows it.
fn prefix_hits(stats: &str) -> usize {
    let (_, behind) = stats.split_once("\nprefix hits   ").unwrap();
    behind.split_once(' ').unwrap().0.parse().unwrap()
}

#[test]
fn a_batch_knows_the_beginnings_of_the_one_before() {
    let batch = std::format!("llm batch -n 4 {}", words());
    let fewer = std::format!("llm batch -n 4 '{}' '{}'", PROMPTS[0], PROMPTS[1]);
    let lines = [batch.as_str(), "llm stats", &batch, "llm stats", &fewer, "llm stats"];
    let answers = micro().converse(&lines.map(str::as_bytes));
    let hits = [1, 3, 5].map(|index| prefix_hits(&answers[index]));
    assert_eq!(hits[1] - hits[0], PROMPTS.len(), "{hits:?}");
    assert_eq!(hits[2] - hits[1], 2, "{hits:?}");
}

#[test]
fn ctrl_c_ends_all_and_one_that_fails_no_other() {
    let late = Late { after: b"llm batch hello One -n 60\n", input: b"\x03llm tokenize hello\npoweroff\n" };
    let typed = b"llm load\nllm batch hello One -n 60\n";
    let (shutdown, output) = micro().run_with_late(RunMode::Interactive, typed, Some(late));
    assert_eq!(shutdown, Shutdown::PowerOff { success: true });
    assert!(output.contains("[2 prompts of ") && output.contains(", stopped]\n"), "{output}");

    let long = "time ".repeat(200);
    let line = std::format!("llm batch -n 4 --ctx 64 hello '{long}' One");
    let answers = micro().converse(&[line.as_bytes(), b"llm infer hello 3"]);
    assert!(answers[0].contains("\n[2] the prompt has ") && answers[0].contains("\n[3] "), "{}", answers[0]);
    assert!(answers[0].ends_with("error: 1 of 3 prompts were not answered\n"), "{}", answers[0]);
    assert!(!answers[1].contains("error: "), "{}", answers[1]);
}
