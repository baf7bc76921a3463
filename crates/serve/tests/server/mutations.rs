//! Nearly valid bodies: each is answered, and the connection continues.

use crate::common::{Harness, post, status};

/// Number of bodies made from each valid one.
const N_OF_EACH: u64 = 1000;

/// Valid bodies, which are also the seeds of the fuzzer; the first byte of each is the index of its path there.
const BODIES: [(&str, &[u8]); 4] = [
    ("/v1/chat/completions", include_bytes!("../../../../fuzz/corpus/json/chat")),
    ("/v1/messages", include_bytes!("../../../../fuzz/corpus/json/messages")),
    ("/v1/responses", include_bytes!("../../../../fuzz/corpus/json/responses")),
    ("/infill", include_bytes!("../../../../fuzz/corpus/json/infill")),
];

/// Replacements for a part of a body.
const PIECES: [&str; 16] = [
    "null",
    "[]",
    "{}",
    "\"\"",
    "-1",
    "1e9",
    "true",
    ",",
    ":",
    "[",
    "}",
    "\"type\":\"text\",",
    "\"\\ud83d\\ude00\"",
    "\u{1f600}",
    "\"content\":[{\"type\":\"text\",\"text\":\"a\"}],",
    "[[[[[[[[[[[[[[[[",
];

#[test]
fn bodies_that_are_nearly_right_are_answered() {
    // Without a model, each gets as far as its name.
    let mut harness = Harness::default();
    harness.engine.remove(None).unwrap();
    let id = harness.connect();
    let mut seed = 1_u64;
    let mut next = |n: usize| {
        // Knuth's MMIX.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n.max(1)
    };
    let mut n_right = 0;
    for (path, body) in BODIES {
        for _ in 0..N_OF_EACH {
            let mut body = String::from_utf8(body[1..].to_vec()).unwrap();
            for _ in 0..next(4) {
                // At the beginnings of names, values and marks, most of the time.
                let places: Vec<_> =
                    body.match_indices(['"', '{', '[', ':', ',']).map(|(at, _)| at).collect();
                let place = |pick: usize| places.get(pick % places.len().max(1)).copied().unwrap_or(0);
                let (a, b) = (place(next(places.len())), place(next(places.len())));
                let (start, end) = (a.min(b), a.max(b).min(a.min(b) + next(40)));
                let end = (end..=body.len()).find(|&end| body.is_char_boundary(end)).unwrap();
                body.replace_range(start..end, PIECES[next(PIECES.len())]);
            }
            let answer = harness.exchange(id, &[post(path, &body).as_bytes()]);
            let answer = String::from_utf8(answer).unwrap();
            let (head, error) = answer.split_once("\r\n\r\n").unwrap();
            assert!(matches!(status(head), 400 | 503) && head.contains("keep-alive"), "{body}: {answer}");
            let error: serde_json::Value = serde_json::from_str(error).expect(error);
            assert!(
                error["error"]["message"].is_string() && error["error"]["type"].is_string(),
                "{body}: {error}"
            );
            assert_eq!(error["type"] == "error", path == "/v1/messages", "{body}: {error}");
            n_right += u32::from(status(head) == 503);
        }
    }
    assert!(n_right > 100, "{n_right} could have been answered");
}
