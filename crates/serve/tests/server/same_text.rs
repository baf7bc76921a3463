//! The same request with the same seed gets the same text, whatever else is or was computed. What is already known of a text is not
//! computed again.

use crate::common::{Harness, post};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// A request for a sampled text, with further fields.
fn body(more: &Value) -> Value {
    let mut body =
        json!({ "prompt": "Once upon a time there was", "max_tokens": 24, "seed": 11, "temperature": 0.9 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn text(answer: &Value, choice: usize) -> &str {
    answer["choices"][choice]["text"].as_str().unwrap()
}

/// The texts of the choices of a stream.
fn streamed(events: &[String], n: usize) -> Vec<String> {
    let mut texts = vec![String::new(); n];
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    for choice in chunks.flat_map(|chunk| chunk["choices"].as_array().unwrap().clone()) {
        texts[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
    }
    texts
}

/// The body of an answer that has arrived.
fn answer(harness: &mut Harness, id: serve::ConnectionId) -> Value {
    let answer = String::from_utf8(harness.take(id)).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_seed_gives_the_same_text_alone_known_among_others_and_in_a_stream() {
    let mut harness = Harness::with_chat();
    let alone = harness.post(COMPLETIONS, &body(&json!({})).to_string()).1;
    let expected = text(&alone, 0).to_owned();
    assert!(expected.len() > 40, "{expected}");

    // Its prompt is known now.
    let known = harness.post(COMPLETIONS, &body(&json!({})).to_string()).1;
    assert_eq!(text(&known, 0), expected);
    assert!(known["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 3, "{known}");

    // As the first of several, each of which is the one with its seed.
    let several = harness.post(COMPLETIONS, &body(&json!({ "n": 6 })).to_string()).1;
    for choice in 0..6 {
        let one =
            Harness::with_chat().post(COMPLETIONS, &body(&json!({ "seed": 11 + choice })).to_string()).1;
        assert_eq!(text(&several, choice), text(&one, 0), "choice {choice}");
    }
    assert_eq!(text(&several, 0), expected);

    // In a stream, of one and of several.
    for n in [1, 6] {
        let asked = body(&json!({ "n": n, "stream": true })).to_string();
        let texts = streamed(&harness.stream(COMPLETIONS, &asked), n);
        assert!((0..n).all(|choice| texts[choice] == text(&several, choice)), "{texts:?}");
    }

    // Among fifteen others of all lengths, some of which begin alike, in each place; known and not.
    for place in [0, 7, 15] {
        for is_known in [true, false] {
            if !is_known {
                harness = Harness::with_chat();
            }
            let ids: Vec<_> = (0..16).map(|_| harness.connect()).collect();
            for (index, &id) in ids.iter().enumerate() {
                let asked = match index == place {
                    true => body(&json!({})),
                    false => {
                        let prompt = "Once upon a time there was a lamp. ".repeat(1 + index % 6);
                        let prompt = &prompt[index % 3..];
                        json!({ "prompt": prompt, "max_tokens": 4 + 3 * index, "seed": index, "n": 1 + index % 3 })
                    }
                };
                let request = post(COMPLETIONS, &asked.to_string());
                assert_eq!(harness.server.receive(id, request.as_bytes(), 1), request.len());
            }
            while harness.step() {}
            let answers: Vec<_> = ids.iter().map(|&id| answer(&mut harness, id)).collect();
            assert_eq!(text(&answers[place], 0), expected, "in place {place}, known: {is_known}");
            ids.into_iter().for_each(|id| harness.server.remove(id));
        }
    }
}

#[test]
fn a_conversation_that_goes_on_computes_what_is_new() {
    let mut harness = Harness::with_chat();
    let question = "What is the opposite of long? ".repeat(22);
    let mut messages = vec![json!({ "role": "user", "content": question })];
    let mut n_known = 0;
    for turn in 0..4 {
        let asked = json!({ "messages": messages, "max_tokens": 12, "temperature": 0 });
        let before = harness.responder().counts().n_computed;
        let (status, answer) = harness.post(CHAT, &asked.to_string());
        assert_eq!(status, 200, "{answer}");
        let n_computed = harness.responder().counts().n_computed - before;
        let count = |value: &Value| value.as_u64().unwrap() as usize;
        let usage = &answer["usage"];
        let (n_prompt, n_answer) = (count(&usage["prompt_tokens"]), count(&usage["completion_tokens"]));
        let n_cached = count(&usage["prompt_tokens_details"]["cached_tokens"]);
        println!("turn {turn}: {n_cached} of {n_prompt} tokens known, {n_computed} computed");
        // The last token of an answer, be it its end, is not computed.
        assert!(n_computed <= n_prompt - n_cached + n_answer, "turn {turn}: {answer}");
        if turn == 0 {
            assert!(n_cached == 0 && n_prompt > 100, "{answer}");
        } else {
            assert!(n_cached >= n_known, "turn {turn}: {answer}");
            assert!(10 * (n_prompt - n_cached) <= n_prompt, "turn {turn}: {answer}");
        }
        n_known = n_prompt + n_answer - 1;
        messages.push(json!({ "role": "assistant", "content": answer["choices"][0]["message"]["content"] }));
        messages.push(json!({ "role": "user", "content": "And of short?" }));
    }
}
