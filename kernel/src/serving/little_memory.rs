//! Tests of loading a model over the API with little memory: either it is loaded, or the answer says why not and the next load succeeds.

use super::{faults::Scene, *};
use crate::llm::fixtures::failing::{self, Refused};
use crate::memory::pool::Shortage;
use std::{format, string::String, vec::Vec};

/// How many allocations of a load are refused, one after another, unless `FERRITE_EVERY_ALLOCATION` is set.
const N_REFUSED: u64 = 12;

/// The server's answer, without a network.
fn ask(scene: &mut Scene, path: &str, body: &str) -> String {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::with_capacity(1 << 16);
    let Scene { serving, backend, .. } = scene;
    failing::counted(|| {
        let id = {
            let mut desk = serving.desk.borrow_mut();
            let server = &mut desk.as_mut().unwrap().server;
            let id = server.accept(1_000_000).unwrap();
            assert_eq!(server.receive(id, request.as_bytes(), 1_000_000), request.len());
            id
        };
        for _ in 0..40 {
            serving.work(backend);
            let mut desk = serving.desk.borrow_mut();
            let server = &mut desk.as_mut().unwrap().server;
            let n = server.unsent(id).len();
            answer.extend_from_slice(server.unsent(id));
            server.sent(id, n, 1_000_000);
        }
        serving.desk.borrow_mut().as_mut().unwrap().server.remove(id);
    });
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_model_is_loaded_over_the_api_or_the_answer_says_that_there_is_no_memory() {
    const LOAD: &str = r#"{"model": "ferrite-micro"}"#;
    const ASKED: &str = r#"{"prompt": "Hello", "max_tokens": 4, "temperature": 0}"#;
    let _turn = failing::turn();
    let mut scene = Scene::new(1, (0, 0, 0));
    let pool = scene.backend.catalog().pool();
    let text = |answer: &str| {
        answer.split("\"text\":\"").nth(1).map(|rest| String::from(rest.split('"').next().unwrap()))
    };
    let right = text(&ask(&mut scene, "/v1/completions", ASKED)).unwrap();
    scene.backend.unload(None).unwrap();
    failing::begin(Refused::Nothing);
    let loaded = ask(&mut scene, "/models/load", LOAD);
    let n_blocks = failing::end().n_large;
    assert!(loaded.starts_with("HTTP/1.1 200 "), "{loaded}");
    let every = std::env::var_os("FERRITE_EVERY_ALLOCATION").is_some();
    let step = if every { 1 } else { n_blocks.div_ceil(N_REFUSED) };
    let mut n_failed = 0;
    for n in (0..n_blocks).step_by(step as usize) {
        for refused in [Refused::Only(n), Refused::From(n)] {
            scene.backend.unload(None).unwrap();
            assert_eq!(pool.free_bytes(), pool.total_bytes(), "{refused:?}");
            failing::begin(refused);
            let answer = ask(&mut scene, "/models/load", LOAD);
            failing::end();
            if !answer.starts_with("HTTP/1.1 200 ") {
                n_failed += 1;
                let says_why = ["memory", "heap", "bytes"].iter().any(|word| answer.contains(word));
                assert!(answer.starts_with("HTTP/1.1 503 ") && says_why, "{refused:?}: {answer}");
                assert_eq!(pool.free_bytes(), pool.total_bytes(), "{refused:?}");
                let again = ask(&mut scene, "/models/load", LOAD);
                assert!(again.starts_with("HTTP/1.1 200 "), "{refused:?}: {again}");
            }
            assert_eq!(text(&ask(&mut scene, "/v1/completions", ASKED)), Some(right.clone()), "{refused:?}");
        }
    }
    std::println!("{n_blocks} blocks, {n_failed} failures");
    assert!(n_failed > 5);
    // If there is no such model, it is the client's mistake.
    let unknown = ask(&mut scene, "/models/load", r#"{"model": "nobody"}"#);
    assert!(unknown.starts_with("HTTP/1.1 400 "), "{unknown}");
}

/// Waiting helps where others use the memory, and not where the machine has too little.
#[test]
fn a_model_that_no_memory_of_the_machine_would_do_for_is_not_to_be_asked_for_again() {
    let error = || {
        let taken = Vec::new();
        let shortage = Shortage { needed_bytes: 1000, free_bytes: 10, longest_free_bytes: 10 };
        let cause = BackendError::out_of_memory(shortage, 64);
        BackendError::Beside { cause: Box::new(cause), others: taken }.in_file("/models/a.gguf")
    };
    let [now, never] = [1000, 999].map(|total_bytes| refusal(error(), total_bytes));
    assert_eq!((now.status, now.retry_after_s()), (Status::ServiceUnavailable, Some(1)));
    assert_eq!((never.status, never.retry_after_s()), (Status::BadRequest, None));
    assert!(never.message.contains("not enough memory"), "{}", never.message);
}
