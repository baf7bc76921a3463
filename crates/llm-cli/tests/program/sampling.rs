//! docs/sampling.md compared with the programs: their output is as shown, and its tables are right.

use std::collections::BTreeSet;
use std::process::Command;

use llm::front::options::SAMPLING;
use llm::sampling::{SamplingConfig, SamplingRequest, Stages};
use serde_json::{Value, json};

use super::fail_saying;
use super::serve::{Served, curl, examples, without_times};

const DOCUMENT: &str = include_str!("../../../../docs/sampling.md");

/// The cells of rows with this many columns, without backquotes; headings of tables are left out.
fn rows(n_columns: usize) -> Vec<Vec<&'static str>> {
    let lines = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = lines.map(|line| line.split(" | ").map(|cell| cell.trim_matches(['`', ' '])).collect());
    rows.filter(|row: &Vec<&str>| row.len() == n_columns && !matches!(row[0], "option" | "stage")).collect()
}

#[test]
fn the_document_shows_what_the_programs_print() {
    let examples = examples(DOCUMENT);
    assert!(examples.len() >= 6, "{} examples", examples.len());
    for (command, expected) in examples {
        if command.starts_with("$ curl ") {
            let served = Served::start(&["--model", "test_models/tiny.gguf"]);
            let parse = |text: &str| {
                let mut value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                without_times(&mut value);
                value
            };
            let answer: Value = parse(&curl(&served, command));
            assert_eq!(answer, parse(expected), "{command}\n{answer}");
            continue;
        }
        let words = shlex::split(command.strip_prefix("$ llm ").expect("a command")).expect("closed quotes");
        let mut program = Command::new(env!("CARGO_BIN_EXE_llm"));
        let output = program.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).args(words).output();
        let output = output.expect("the program starts");
        let text = String::from_utf8(output.stdout).expect("the output is UTF-8");
        assert!(output.status.success() && output.stderr.is_empty(), "{command}");
        assert_eq!(text.trim_end(), expected, "{command}");
    }
}

#[test]
fn the_tables_have_every_option_and_field_with_its_default() {
    let served = Served::start(&["--model", "test_models/tiny.gguf"]);
    let props = served.ask(b"GET /props HTTP/1.1\r\nHost: a\r\n\r\n");
    let props: Value = serde_json::from_str(props.split_once("\r\n\r\n").unwrap().1).unwrap();
    let params = &props["default_generation_settings"]["params"];
    let mut options = BTreeSet::new();
    let mut fields = BTreeSet::new();
    let with_temperature = |options: &[(&str, &str)]| -> SamplingConfig {
        let mut request = SamplingRequest::default();
        request.set("temp", "0").unwrap();
        options.iter().for_each(|(option, value)| request.set(option, value).unwrap());
        request.config(|| 0).unwrap()
    };
    for row in rows(5) {
        let [option, field, usual, server, _] = row[..] else { unreachable!() };
        let (option, varies) = match option.split_once("` *") {
            Some((option, _)) => (option, true),
            None => (option, false),
        };
        let name = option.strip_prefix("--").unwrap();
        assert_eq!(with_temperature(&[(name, usual)]), with_temperature(&[]), "{option} {usual}");
        let mut alone = SamplingRequest::default();
        alone.set(name, usual).unwrap();
        assert_eq!(alone.config(|| 0).unwrap().temperature > 0.0, varies, "{option}");
        let told = params[field].as_f64().unwrap_or_else(|| panic!("{field} is not in {params}"));
        assert!((told - server.parse::<f64>().unwrap()).abs() < 1e-6, "{field}: {told}");
        options.insert(name);
        fields.insert(field);
    }
    for row in rows(3) {
        options.extend(row[0].strip_prefix("--"));
        fields.insert(row[1]);
    }
    assert_eq!(options, SAMPLING.iter().map(|option| option.name).collect());
    for field in params.as_object().unwrap().keys().filter(|field| *field != "n_predict") {
        assert!(fields.contains(&field.as_str()) || field == "post_sampling_probs", "{field}");
    }
    let stages: Vec<&str> = rows(2).iter().map(|row| row[0]).collect();
    let usual: Vec<&str> = Stages::USUAL.as_slice().iter().map(|stage| stage.name()).collect();
    assert_eq!(stages, [&["logit_bias"], &usual[..], &["dist"]].concat());
    assert_eq!(params["samplers"], json!(usual));
}

#[test]
fn mistakes_name_the_option_and_what_it_can_be() {
    let infer = |option: &str, value: &str, said: &str| {
        let options = ["infer", "--model", "test_models/none.gguf", "--prompt", "a", option, value];
        fail_saying(&options, &[option, said]);
    };
    infer("--typical", "1.5", "is 1.5, but must be from 0 to 1");
    infer("--dry-base", "0.5", "is 0.5, but must be 1 or more");
    infer("--mirostat", "3", "expected 0, 1 or 2");
    infer("--xtc-threshold", "much", "expected a number");
    infer("--samplers", "top_k;best", "expected up to 16 of penalties;dry;");
    infer("--dry-penalty-last-n", "-2", "expected a number of tokens, or -1");
    infer("--logprobs", "21", "expected a number of tokens, 0 to 20");
    let options = ["infer", "--model", "x", "--prompt", "a", "--post-sampling-probs"];
    fail_saying(&options, &["--post-sampling-probs is about --logprobs"]);
}
