//! Code infilling, as llama.cpp's clients use it.

use crate::common::{Harness, TestModel};
use llm::gguf::Value as Metadata;
use serde_json::{Value, json};

/// The tokens of the smallest vocabulary that stand for the marks around a gap.
const PREFIX: u32 = 300;
const SUFFIX: u32 = 301;
const MIDDLE: u32 = 302;
const REPOSITORY: u32 = 303;
const FILE: u32 = 304;

fn harness(keys: &[(&str, u32)]) -> Harness {
    let mut harness = Harness::default();
    harness.engine.remove(None).unwrap();
    let keys: Vec<_> = keys
        .iter()
        .map(|(key, id)| (format!("tokenizer.ggml.fim_{key}_token_id"), Metadata::U32(*id)))
        .collect();
    let keys: Vec<_> = keys.iter().map(|(key, id)| (key.as_str(), *id)).collect();
    harness.with(TestModel::with_metadata("coder", &keys))
}

const PLAIN: [(&str, u32); 3] = [("pre", PREFIX), ("suf", SUFFIX), ("mid", MIDDLE)];

fn ids(harness: &mut Harness, text: &str) -> Vec<u32> {
    let (_, answer) = harness.post("/tokenize", &json!({ "content": text }).to_string());
    answer["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// What the model generates after these ids, and what it generates for the gap; the counts too.
fn both(harness: &mut Harness, prompt: &[u32], gap: &Value) -> [Value; 2] {
    let settings = json!({ "n_predict": 8, "temperature": 0 });
    let ask = |harness: &mut Harness, path: &str, own: &Value| {
        let mut body = settings.clone();
        body.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let (status, answer) = harness.post(path, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        json!([answer["content"], answer["tokens_evaluated"], answer["tokens_predicted"]])
    };
    [ask(harness, "/completion", &json!({ "prompt": prompt })), ask(harness, "/infill", gap)]
}

#[test]
fn a_gap_is_a_prompt_of_what_is_around_it() {
    let mut harness = harness(&PLAIN);
    let bos = [1];
    let [before, begun, behind] = ["fn main() {", "    let", "}\n"].map(|text| ids(&mut harness, text));
    let expected = [&bos[..], &[PREFIX], &before, &begun, &[SUFFIX], &behind, &[MIDDLE]].concat();
    let gap = json!({ "input_prefix": "fn main() {", "prompt": "    let", "input_suffix": "}\n" });
    let [by_ids, by_gap] = both(&mut harness, &expected, &gap);
    assert_eq!(by_gap, by_ids);
    // Without tokens for files, a line says where one ends.
    let [line, text] = ["\n\n--- snippet ---\n\n", "struct A;"].map(|text| ids(&mut harness, text));
    let expected = [&line[..], &text, &bos, &[PREFIX], &before, &[SUFFIX], &behind, &[MIDDLE]].concat();
    let gap = json!({ "input_prefix": "fn main() {", "input_suffix": "}\n", "input_extra": [{ "filename": "a.rs", "text": "struct A;" }] });
    let [by_ids, by_gap] = both(&mut harness, &expected, &gap);
    assert_eq!(by_gap, by_ids);
}

#[test]
fn other_files_come_before_it_as_far_as_there_is_room() {
    let mut harness = harness(&[&PLAIN[..], &[("rep", REPOSITORY), ("sep", FILE)]].concat());
    let texts = ["myproject\n", "a.rs\n", "struct A;", "tmp\n", "struct B;", "filename\n", "x", "y"];
    let [project, a, of_a, other, of_other, own, before, behind] = texts.map(|text| ids(&mut harness, text));
    let gap = json!({ "input_prefix": "x", "input_suffix": "y", "input_extra": [
        { "filename": "a.rs", "text": "struct A;" }, { "text": "struct B;" },
    ] });
    let file = [FILE];
    let expected = [
        &[REPOSITORY][..],
        &project,
        &file,
        &a,
        &of_a,
        &file,
        &other,
        &of_other,
        &file,
        &own,
        &[1, PREFIX],
        &before,
        &[SUFFIX],
        &behind,
        &[MIDDLE],
    ];
    let [by_ids, by_gap] = both(&mut harness, &expected.concat(), &gap);
    assert_eq!(by_gap, by_ids);

    // Of what stands before a gap the end stays, of what stands behind it the beginning: three quarters and one of 2048.
    let long = "x ".repeat(4000);
    let gap = json!({ "input_prefix": long, "input_suffix": long, "input_extra": [{ "text": long }], "n_predict": 1 });
    let (status, answer) = harness.post("/infill", &gap.to_string());
    assert_eq!(status, 200, "{answer}");
    // The rest is other files', but for the room of an answer of one token.
    assert_eq!(answer["tokens_evaluated"], 4095, "{answer}");
}

#[test]
fn what_a_gap_lacks_is_named() {
    let gap = json!({ "input_prefix": "a", "input_suffix": "b" });
    let (status, answer) = Harness::default().post("/infill", &gap.to_string());
    assert_eq!(status, 400);
    assert!(answer["error"]["message"].as_str().unwrap().contains("no tokens for a gap"), "{answer}");
    let mut harness = harness(&PLAIN);
    for (gap, param) in [
        (json!({ "input_suffix": "b" }), "input_prefix"),
        (json!({ "input_prefix": "a" }), "input_suffix"),
        (json!({ "input_prefix": "a", "input_suffix": "b", "prompt": [1] }), "prompt"),
        (json!({ "input_prefix": "a", "input_suffix": "b", "prompt": ["a", "b"] }), "prompt"),
        (json!({ "input_prefix": "a", "input_suffix": "b", "input_extra": [{}] }), "input_extra[0]"),
        (json!({ "input_prefix": "a", "input_suffix": "b", "input_extra": "c" }), "input_extra"),
    ] {
        let (status, answer) = harness.post("/infill", &gap.to_string());
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)), "{gap}: {answer}");
    }
    // Several answers to one gap.
    let (_, answer) = harness.post(
        "/infill",
        &json!({ "input_prefix": "a", "input_suffix": "b", "n": 2, "n_predict": 2, "temperature": 0 })
            .to_string(),
    );
    assert_eq!(answer[0]["content"], answer[1]["content"]);
    assert_eq!(answer[0]["tokens_evaluated"], answer[1]["tokens_evaluated"]);
}

/// The requests that llama.vim sends for each key, and the earlier ones that have the prompt computed.
#[test]
fn an_editors_requests_are_answered() {
    let mut harness = harness(&PLAIN);
    let body = |n_predict: u32, samplers: Value| {
        json!({
            "id_slot": 0, "input_prefix": "fn main() {\n", "input_suffix": "}\n", "prompt": "    let", "stop": [], "n_indent": 4,
            "input_extra": [{ "text": "struct A;", "time": 1, "filename": "a.rs" }], "n_predict": n_predict, "top_k": 40,
            "top_p": 0.9, "samplers": samplers, "stream": false, "cache_prompt": true, "t_max_prompt_ms": 500,
            "t_max_predict_ms": 1, "response_fields": ["content", "timings/prompt_n"],
        })
        .to_string()
    };
    let (status, answer) = harness.post("/infill", &body(0, json!([])));
    assert_eq!(status, 200, "{answer}");
    let n_prompt = answer["tokens_evaluated"].as_u64().unwrap();
    let (status, answer) = harness.post("/infill", &body(8, json!(["top_k", "top_p", "infill"])));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["tokens_evaluated"], n_prompt);
    assert!(answer["timings"]["cache_n"].as_u64().unwrap() > 0, "{answer}");
    let elsewhere = json!({ "prompt": "a", "samplers": ["infill"] });
    let (status, answer) = harness.post("/completion", &elsewhere.to_string());
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("samplers")));
}
