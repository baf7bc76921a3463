//! Routes that describe models, change them, or take several requests at once.

use crate::common::{Harness, TestModel, post, settings, status};
use llm::chat::Message;
use llm::front::{ChatFormat, Prompt, Request};
use serde_json::{Value, json};
use serve::{ApiError, Change, ConnectionId, Settings};

const COMPLETIONS: &str = "/v1/completions";

fn texts(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().unwrap_or_else(|| panic!("no choices: {answer}"));
    let in_order = choices.iter().enumerate().all(|(index, choice)| choice["index"] == index);
    assert!(in_order, "{answer}");
    choices.iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn several_prompts_are_each_answered_as_alone() {
    let prompts = ["Once upon a time", "Hello", "The dog"];
    let ask = |prompt: Value, n: usize| {
        let body = json!({ "prompt": prompt, "n": n, "max_tokens": 6, "seed": 10 });
        let (status, answer) = Harness::default().post(COMPLETIONS, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let alone: Vec<Value> = prompts.iter().map(|prompt| ask(json!(prompt), 2)).collect();
    let expected: Vec<String> = alone.iter().flat_map(texts).collect();
    let together = ask(json!(prompts), 2);
    assert_eq!(texts(&together), expected);
    let sum = |field: &str| alone.iter().map(|answer| answer["usage"][field].as_u64().unwrap()).sum::<u64>();
    for field in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(together["usage"][field], sum(field), "{field}");
    }

    // The same as ids, of all of them or of one.
    let ids: Vec<Value> = prompts
        .iter()
        .map(|prompt| {
            let body = json!({ "content": prompt, "add_special": true, "parse_special": false });
            Harness::default().post("/tokenize", &body.to_string()).1["tokens"].clone()
        })
        .collect();
    assert_eq!(texts(&ask(json!(ids), 2)), expected);
    assert_eq!(texts(&ask(ids[1].clone(), 2)), expected[2..4]);
    assert_eq!(texts(&ask(json!([prompts[1]]), 2)), expected[2..4]);

    // In pieces.
    let body = json!({ "prompt": prompts, "n": 2, "max_tokens": 6, "seed": 10, "stream": true });
    let mut streamed = vec![String::new(); 6];
    for event in Harness::default().stream(COMPLETIONS, &body.to_string()) {
        if let Ok(chunk) = serde_json::from_str::<Value>(&event) {
            let choice = &chunk["choices"][0];
            streamed[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
        }
    }
    assert_eq!(streamed, expected);

    // As llama.cpp's server answers them.
    let body = json!({ "prompt": prompts, "n_predict": 6, "seed": 10 });
    let (_, native) = Harness::default().post("/completion", &body.to_string());
    for (index, answer) in native.as_array().expect("one for each").iter().enumerate() {
        let tokens = alone[index]["usage"]["prompt_tokens"].clone();
        assert_eq!((&answer["content"], &answer["index"]), (&json!(expected[2 * index]), &json!(index)));
        assert_eq!(answer["tokens_evaluated"], tokens);
    }
}

#[test]
fn several_prompts_wait_for_room_in_the_queue_and_a_broken_one_ends_all() {
    let mut harness = Harness::default();
    let body = json!({ "prompt": vec!["a"; 8], "max_tokens": 2, "temperature": 0 }).to_string();
    let ids: Vec<_> = (0..3).map(|_| harness.connect()).collect();
    for &id in &ids {
        harness.server.receive(id, post(COMPLETIONS, &body).as_bytes(), 1);
    }
    while harness.step() {}
    for &id in &ids {
        let answer = String::from_utf8(harness.take(id)).unwrap();
        assert_eq!(status(&answer), 200, "{answer}");
        let all = texts(&serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap());
        assert!(all.len() == 8 && all.iter().all(|text| *text == all[0]), "{all:?}");
    }
    let (status, answer) = harness.post(COMPLETIONS, r#"{"prompt":[[1],[99999999]],"max_tokens":50}"#);
    assert_eq!(status, 400, "{answer}");
    assert!(harness.engine.is_idle());
}

#[test]
fn an_echo_is_the_prompt_before_the_answer() {
    let ask = |rest: Value| {
        let mut body = json!({ "max_tokens": 5, "temperature": 0 });
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        Harness::default().post(COMPLETIONS, &body.to_string()).1
    };
    let plain = texts(&ask(json!({ "prompt": "Hello" }))).concat();
    let echoed = ask(json!({ "prompt": "Hello", "echo": true }));
    assert_eq!(texts(&echoed), [format!("Hello{plain}")]);
    assert_eq!(echoed["usage"]["completion_tokens"], 5);
    assert_eq!(texts(&ask(json!({ "prompt": "Hello", "echo": true, "max_tokens": 0 }))), ["Hello"]);
    let (_, tokens) = Harness::default().post("/tokenize", r#"{"content":"Hello"}"#);
    let of_ids = ask(json!({ "prompt": tokens["tokens"], "echo": true }));
    assert!(texts(&of_ids)[0].starts_with("Hello"), "{of_ids}");
    let body =
        json!({ "prompt": "Hello", "echo": true, "max_tokens": 5, "temperature": 0, "n": 2, "stream": true });
    let mut streamed = [String::new(), String::new()];
    for event in Harness::default().stream(COMPLETIONS, &body.to_string()) {
        if let Ok(chunk) = serde_json::from_str::<Value>(&event) {
            let choice = &chunk["choices"][0];
            streamed[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
        }
    }
    assert_eq!(streamed, [format!("Hello{plain}"), format!("Hello{plain}")]);
}

#[test]
fn a_template_is_applied_as_for_a_chat() {
    let said = [("system", "Be brief."), ("user", "Hello \"there\"")];
    let messages = said.map(|(role, content)| Message::new(role, content));
    let mut harness = Harness::with_chat();
    let request = Request::new(Prompt::Messages(&messages, ChatFormat::default()), 4);
    let expected = harness.alone(request).output;
    let body = json!({ "messages": said.map(|(role, content)| json!({ "role": role, "content": content })) });
    let (status, answer) = harness.post("/apply-template", &body.to_string());
    assert_eq!(status, 200, "{answer}");
    let prompt = answer["prompt"].as_str().unwrap();
    assert!(prompt.contains("Hello \"there\"") && prompt.len() > 30, "{prompt}");
    // Names of special tokens in it stand for these.
    let tokens = harness.post("/tokenize", &json!({ "content": prompt }).to_string()).1["tokens"].clone();
    let body = json!({ "prompt": tokens, "max_tokens": 4, "temperature": 0 });
    let (_, continued) = harness.post(COMPLETIONS, &body.to_string());
    assert_eq!(texts(&continued), [expected]);
    let (status, answer) = Harness::default().post("/apply-template", r#"{"messages":[{"role":"user"}]}"#);
    assert!(status == 400 && answer["error"]["message"].as_str().unwrap().contains("chat_template"));
}

#[test]
fn adapters_are_told_and_chosen_by_each_request() {
    let mut harness = Harness::with_chat().with(TestModel::adapted("tiny", 2).called("adapted"));
    assert_eq!(harness.get("/lora-adapters").1, json!([]));
    assert_eq!(
        harness.get("/lora-adapters?model=adapted").1,
        json!([
            { "id": 0, "path": "adapter-0.gguf", "scale": 0.0 },
            { "id": 1, "path": "adapter-1.gguf", "scale": 0.0 },
        ])
    );
    let mut text = |model: &str, lora: Value| -> String {
        let mut body = json!({ "model": model, "prompt": "Hello", "max_tokens": 12, "temperature": 0 });
        if !lora.is_null() {
            body["lora"] = lora;
        }
        let (status, answer) = harness.post(COMPLETIONS, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        answer["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let plain = text("tiny", Value::Null);
    let all =
        [json!([{ "id": 0, "scale": 1.0 }]), json!([{ "id": 1, "scale": 1.5 }, { "id": 0, "scale": -1.0 }])];
    let [first, both] = all.map(|lora| text("adapted", lora));
    assert!(first != plain && both != plain && first != both, "{plain:?}, {first:?}, {both:?}");
    for nothing in [Value::Null, json!([]), json!([{ "id": 1, "scale": 0 }])] {
        assert_eq!(text("adapted", nothing), plain);
    }
    for (model, n_adapters) in [("tiny", 0), ("adapted", 2)] {
        let body = json!({ "model": model, "prompt": "Hello", "lora": [{ "id": 2, "scale": 1 }] });
        let (status, answer) = harness.post(COMPLETIONS, &body.to_string());
        assert_eq!((status, &answer["error"]["param"]), (400, &json!("lora")), "{answer}");
        let expected = format!("there is no adapter 2: the model has {n_adapters}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(&expected), "{answer}");
    }
    let broken = json!({ "prompt": "Hello", "lora": [{ "id": 0 }] });
    assert_eq!(harness.post(COMPLETIONS, &broken.to_string()).0, 400);
}

#[test]
fn what_a_model_is_asked_by_and_where_its_texts_are_is_told() {
    let mut harness = Harness::with_chat().with(TestModel::new("micro").called("a+b & c"));
    let (_, props) = harness.get("/props");
    assert_eq!((&props["model_alias"], &props["total_slots"]), (&json!("tiny"), &json!(4)));
    assert_eq!(props["model_path"], "/models/tiny.gguf");
    let defaults = &props["default_generation_settings"];
    assert_eq!((&defaults["n_ctx"], &defaults["params"]["top_k"]), (&json!(256), &json!(40)));
    assert!(props["chat_template"].as_str().unwrap().contains("messages"), "{props}");
    assert_eq!(
        (&props["bos_token"], &props["eos_token"]),
        (&json!("<|endoftext|>"), &json!("<|endoftext|>"))
    );
    assert_eq!(harness.get("/props?model=a%2Bb+%26+c").1["model_alias"], "a+b & c");
    assert_eq!(harness.get("/props?autoload=0&model=nobody").0, 404);

    let busy = |slots: &Value| -> usize {
        let slots = slots.as_array().unwrap();
        assert!(slots.iter().enumerate().all(|(id, slot)| slot["id"] == id && slot["n_ctx"] == 256));
        slots.iter().filter(|slot| slot["is_processing"] == true).count()
    };
    assert_eq!(busy(&harness.get("/slots").1), 0);
    let prompt = "My secret";
    let body = json!({ "model": "tiny", "prompt": vec![prompt; 3], "max_tokens": 100, "stream": true });
    let id = harness.connect();
    harness.server.receive(id, post(COMPLETIONS, &body.to_string()).as_bytes(), 1);
    for _ in 0..4 {
        harness.step();
    }
    // What is asked now is answered before the next batch.
    let ask = |harness: &mut Harness, path: &str| -> (ConnectionId, String) {
        let id = harness.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        harness.server.receive(id, request.as_bytes(), 1);
        harness.server.serve(&mut harness.engine, 1);
        (id, String::from_utf8(harness.take(id)).unwrap())
    };
    let (_, answer) = ask(&mut harness, "/slots?model=tiny&fail_on_no_slot=1");
    let slots: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(busy(&slots), 3);
    let text = slots.as_array().unwrap().iter().find(|slot| slot["is_processing"] == true).unwrap();
    assert_eq!(text["n_prompt_tokens"], text["n_prompt_tokens_processed"], "{text}");
    assert!(text["next_token"][0]["n_decoded"].as_u64() > Some(0), "{text}");
    assert!(!answer.contains("secret"), "{answer}");
    let body = json!({ "model": "tiny", "prompt": "a", "max_tokens": 100 });
    let another = harness.connect();
    harness.server.receive(another, post(COMPLETIONS, &body.to_string()).as_bytes(), 1);
    harness.step();
    assert_eq!(status(&ask(&mut harness, "/slots?fail_on_no_slot=1").1), 503);
    assert_eq!(status(&ask(&mut harness, "/slots?fail_on_no_slot=1&model=a%2Bb+%26+c").1), 200);
}

#[test]
fn models_are_changed_only_where_that_is_allowed() {
    for path in ["/models/load", "/models/unload"] {
        let (status, answer) = Harness::default().post(path, r#"{"model":"micro"}"#);
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("admin_off")));
        assert_eq!(answer["error"]["type"], "permission_error");
        let allowed = Settings { admin: true, ..settings() };
        let (status, answer) = Harness::new(allowed).post(path, r#"{"model":1}"#);
        assert_eq!((status, &answer["error"]["param"]), (400, &json!("model")));
    }
}

#[test]
fn web_pages_change_models_only_with_a_key() {
    for path in ["/models/load", "/models/unload"] {
        for (key, authorization, expected) in [
            (None, "", "HTTP/1.1 403 "),
            (Some("secret"), "", "HTTP/1.1 401 "),
            // What it says is read.
            (Some("secret"), "Authorization: Bearer secret\r\n", "HTTP/1.1 400 "),
        ] {
            let request = post(path, r#"{"model":1}"#);
            let request = request.replacen("\r\n", &format!("\r\nOrigin: http://b\r\n{authorization}"), 1);
            let keys = key.map(serve::Keys::one).unwrap_or_default();
            let answer = Harness::new(Settings { admin: true, keys, ..settings() }).ask(request.as_bytes());
            assert!(answer.starts_with(expected), "{answer}");
        }
    }
}

#[test]
fn a_change_is_made_by_whoever_owns_the_models_while_others_are_answered() {
    let mut harness = Harness::new(Settings { admin: true, ..settings() });
    let send = |harness: &mut Harness, path: &str, body: &Value| {
        let id = harness.connect();
        harness.server.receive(id, post(path, &body.to_string()).as_bytes(), 1);
        harness.step();
        id
    };
    let stream = json!({ "prompt": "Hello", "max_tokens": 40, "temperature": 0, "ignore_eos": true });
    let expected = texts(&Harness::default().post(COMPLETIONS, &stream.to_string()).1);
    let stream = send(&mut harness, COMPLETIONS, &stream);
    let load = send(&mut harness, "/models/load", &json!({ "model": "/x/\u{e4}.gguf" }));
    let unload = send(&mut harness, "/models/unload", &json!({ "model": "micro" }));
    let gone = send(&mut harness, "/models/unload", &json!({ "model": "none" }));

    // In the order in which they came; who has gone is not waited for.
    let (first, change) = harness.server.next_change().unwrap();
    assert_eq!(change, Change::Load("/x/\u{e4}.gguf".to_owned()));
    let (second, change) = harness.server.next_change().unwrap();
    assert_eq!(change, Change::Unload("micro".to_owned()));
    harness.server.remove(gone);
    assert!(harness.server.next_change().is_none());

    // Meanwhile others are answered, and what was asked of a model that goes is.
    assert!(harness.server.is_wanted(first) && harness.take(load).is_empty());
    assert_eq!(harness.get("/health").0, 200);
    assert_eq!(harness.engine.remove(Some("micro")), Ok(()));
    harness.server.changed(second, Ok(()), 1);
    let answer = String::from_utf8(harness.take(unload)).unwrap();
    assert!(status(&answer) == 200 && answer.ends_with(r#"{"success":true}"#), "{answer}");
    harness.server.changed(first, Err(ApiError::field("model", "no such file")), 1);
    let answer = String::from_utf8(harness.take(load)).unwrap();
    assert!(status(&answer) == 400 && answer.contains("model: no such file"), "{answer}");
    assert!(!harness.server.is_wanted(first));
    assert_eq!(harness.get("/props").0, 503);
    while harness.step() {}
    let answer = String::from_utf8(harness.take(stream)).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(texts(&serde_json::from_str(body).unwrap()), expected);
    assert!(harness.engine.is_idle());

    // A change of which nobody learns the end does not reach the next client on the same place.
    let load = send(&mut harness, "/models/load", &json!({ "model": "a" }));
    let (third, _) = harness.server.next_change().unwrap();
    harness.server.remove(load);
    assert!(!harness.server.is_wanted(third));
    let another = send(&mut harness, "/models/load", &json!({ "model": "b" }));
    assert_eq!(load, another);
    harness.server.changed(third, Ok(()), 1);
    assert!(harness.take(another).is_empty() && harness.server.next_change().is_some());
}

#[test]
fn a_model_that_takes_the_place_of_another_answers_what_comes_then() {
    let mut harness = Harness::default();
    let body = r#"{"prompt":"Hello","max_tokens":30,"temperature":0}"#;
    let id = harness.connect();
    harness.server.receive(id, post(COMPLETIONS, body).as_bytes(), 1);
    harness.step();
    harness.engine.add(TestModel::new("tiny").called("micro"));
    assert_eq!(harness.get("/v1/models").1["data"].as_array().unwrap().len(), 1);
    let new = texts(&harness.post(COMPLETIONS, body).1);
    let answer = String::from_utf8(harness.take(id)).unwrap();
    let old = texts(&serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap());
    assert_eq!(old, texts(&Harness::default().post(COMPLETIONS, body).1));
    assert_eq!(new, texts(&Harness::with_chat().post(COMPLETIONS, body).1));
}
