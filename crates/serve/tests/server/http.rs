//! HTTP as clients, proxies and attackers send it.

use crate::common::{Harness, post, settings, status, statuses};
use proptest::prelude::*;
use serve::{Limits, Settings};

const GET: &str = "GET /health HTTP/1.1\r\nHost: ferrite\r\n\r\n";

#[test]
fn each_broken_request_has_its_status_and_a_json_error() {
    let long = format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(20 << 10));
    let fields = format!("GET /health HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(80));
    let host = "Host: ferrite\r\n";
    let head = |line: &str, rest: &str| format!("{line} HTTP/1.1\r\n{host}{rest}\r\n");
    let cases = [
        (200, GET.to_owned(), ""),
        (200, "GET http://ferrite/health?x=1 HTTP/1.1\r\nHost: ferrite\r\n\r\n".to_owned(), ""),
        (200, "GET /health HTTP/1.0\r\n\r\n".to_owned(), ""),
        (400, "GET /health HTTP/1.1\r\n\r\n".to_owned(), "Host"),
        (400, "GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(), "Host"),
        (400, "nonsense\r\n\r\n".to_owned(), "method"),
        (400, "GET health HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "path"),
        (400, head("GET /health", "A b: c\r\n"), "header field"),
        (505, "GET /health HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), "HTTP/1.1"),
        (404, head("GET /nothing", ""), "/nothing"),
        (405, head("GET /v1/chat/completions", ""), "POST"),
        (405, head("DELETE /health", ""), "GET"),
        (400, head("POST /tokenize", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"), "two ways"),
        (400, head("POST /tokenize", "Content-Length: 2\r\nContent-Length: 2\r\n"), "twice"),
        (400, head("POST /tokenize", "Content-Length: +2\r\n"), "decimal"),
        (400, head("POST /tokenize", "Content-Length: 2, 2\r\n"), "decimal"),
        (413, head("POST /tokenize", "Content-Length: 99999999\r\n"), "4194304"),
        (413, head("POST /tokenize", "Content-Length: 99999999999999999999999999\r\n"), "4194304"),
        (501, head("POST /tokenize", "Transfer-Encoding: gzip, chunked\r\n"), "chunked"),
        (400, "POST /tokenize HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), "HTTP/1.0"),
        (400, head("POST /tokenize", "Transfer-Encoding: chunked\r\n") + "xyz\r\n", "hexadecimal"),
        (400, head("POST /tokenize", "Transfer-Encoding: chunked\r\n") + "\r\n", "hexadecimal"),
        (400, head("POST /tokenize", "Transfer-Encoding: chunked\r\n") + "2\r\n{}x", "line break"),
        (413, head("POST /tokenize", "Transfer-Encoding: chunked\r\n") + "fffffff\r\n", "4194304"),
        (413, head("POST /tokenize", "Transfer-Encoding: chunked\r\n") + "ffffffffffffff\r\n", "4194304"),
        (415, head("POST /tokenize", "Content-Type: multipart/form-data; boundary=x\r\n"), "multipart"),
        (417, head("POST /tokenize", "Expect: 200-ok\r\n"), "100-continue"),
        (400, post("/tokenize", "{\"content\""), "no JSON"),
        (400, post("/tokenize", "{\"content\": \"a\"} x"), "no JSON"),
        (400, post("/tokenize", ""), "no JSON"),
        (400, post("/tokenize", &"[".repeat(4000)), ""),
        (431, long, "16384"),
        (431, fields, "header fields"),
    ];
    for (expected, request, message) in cases {
        let answer = Harness::default().ask(request.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").expect(&request);
        assert_eq!(status(head), expected, "{request:?}: {answer}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
        if expected != 200 {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            let said = body["error"]["message"].as_str().unwrap();
            assert!(said.contains(message), "{request:?}: {said}");
            assert!(body["error"]["type"].is_string() && body["error"].get("param").is_some());
        }
    }
}

#[test]
fn a_request_that_is_refused_before_its_body_ends_the_connection() {
    let mut harness = Harness::default();
    let id = harness.connect();
    // What would be a second request is part of a body that nobody reads.
    let answer = harness
        .exchange(id, &[b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n", GET.as_bytes()]);
    assert_eq!(statuses(&answer), [404]);
    assert!(String::from_utf8(answer).unwrap().contains("Connection: close"));
    assert!(harness.server.is_over(id));
}

#[test]
fn connections_are_kept_as_the_client_asks() {
    let cases = [
        ("GET /health HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false),
        ("GET /health HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", false),
        ("GET /health HTTP/1.0\r\n\r\n", false),
        ("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
    ];
    for (request, is_kept) in cases {
        let mut harness = Harness::default();
        let id = harness.connect();
        let answer = String::from_utf8(harness.exchange(id, &[request.as_bytes()])).unwrap();
        assert_eq!(harness.server.is_over(id), !is_kept, "{request:?}");
        assert_eq!(answer.contains("Connection: keep-alive"), is_kept, "{answer}");
    }
}

#[test]
fn head_is_get_without_a_body_and_options_tells_browsers_what_they_may_send() {
    let mut harness = Harness::default();
    let get = harness.ask(GET.as_bytes());
    let head = harness.ask(GET.replace("GET", "HEAD").as_bytes());
    assert_eq!(head, get[..get.find("{").unwrap()]);
    let options = harness.ask(
        b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\
          Access-Control-Request-Headers: authorization,x-stainless-os\r\n\r\n",
    );
    assert_eq!(status(&options), 204);
    for field in [
        "Access-Control-Allow-Origin: *",
        "Access-Control-Allow-Headers: authorization,x-stainless-os",
        "Access-Control-Allow-Methods: POST, OPTIONS",
    ] {
        assert!(options.contains(field), "{options}");
    }
    assert!(!options.contains("Credentials") && options.ends_with("\r\n\r\n"));
}

#[test]
fn a_client_that_waits_for_a_word_before_the_body_gets_it() {
    let mut harness = Harness::default();
    let id = harness.connect();
    let body = r#"{"content":"Hello"}"#;
    let head = format!(
        "POST /tokenize HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    assert_eq!(harness.exchange(id, &[head.as_bytes()]), b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(statuses(&harness.exchange(id, &[body.as_bytes()])), [200]);
    // One that is refused does not.
    let refused = head.replace("/tokenize", "/nothing");
    assert_eq!(statuses(&harness.exchange(id, &[refused.as_bytes()])), [404]);
}

/// Requests of all kinds, one after the other; the last of them is broken.
fn conversation() -> Vec<u8> {
    let completion = r#"{"prompt":"Hello","max_tokens":3,"temperature":0}"#;
    let stream = r#"{"prompt":"Hello","max_tokens":3,"temperature":0,"stream":true}"#;
    let mut bytes = GET.as_bytes().to_vec();
    bytes.extend(post("/v1/completions", completion).bytes());
    bytes.extend(b"\r\nPOST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    bytes.extend(b"8;x=y\r\n{\"conten\r\nB\r\nt\":\"Hello\"}\r\n0\r\nTrailer: t\r\n\r\n");
    bytes.extend(post("/v1/completions", stream).bytes());
    bytes.extend(post("/v1/completions", r#"{"prompt":1}"#).bytes());
    bytes.extend(GET.bytes());
    bytes.extend(b"POST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxx");
    bytes
}

#[test]
fn bytes_one_at_a_time_are_the_same_requests() {
    let conversation = conversation();
    let whole = Harness::default().exchange_all(&[&conversation]);
    assert_eq!(statuses(&whole), [200, 200, 200, 200, 400, 200, 400]);
    let unfinished: [&[u8]; 4] = [
        b"GET /health HTTP/1.1\r\n\xffHo\xff",
        b"GET /health HTTP/1.1\r\n\xffHo\xff\r\n",
        b"\r\nnonsense",
        b"POST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\xff",
    ];
    for bytes in unfinished.into_iter().chain([&conversation[..]]) {
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        let whole = Harness::default().exchange_all(&[bytes]);
        assert_eq!(Harness::default().exchange_all(&pieces), whole, "{:?}", String::from_utf8_lossy(bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn wherever_bytes_are_cut_the_answers_are_the_same(
        cuts in proptest::collection::vec(0usize..1000, 0..12),
    ) {
        let conversation = conversation();
        let mut harness = Harness::default();
        let id = harness.connect();
        let whole = harness.exchange(id, &[&conversation]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % conversation.len()).collect();
        cuts.extend([0, conversation.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &conversation[cut[0]..cut[1]]).collect();
        let mut harness = Harness::default();
        let id = harness.connect();
        prop_assert_eq!(harness.exchange(id, &pieces), whole);
    }

    #[test]
    fn no_bytes_make_the_server_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in 0usize..600) {
        let mut harness = Harness::default();
        let id = harness.connect();
        let (first, rest) = bytes.split_at(cut.min(bytes.len()));
        harness.exchange(id, &[first, rest]);
    }
}

#[test]
fn who_asks_much_and_reads_nothing_is_read_no_further() {
    let mut harness = Harness::default();
    let id = harness.connect();
    let requests = GET.repeat(100);
    let limit = Limits::default().outbox_bytes;
    let mut n_taken = 0;
    for _ in 0..1000 {
        n_taken += harness.server.receive(id, requests.as_bytes(), 1);
    }
    assert!(!harness.server.takes_bytes(id));
    assert!(harness.server.unsent(id).len() < limit + 1000, "{}", harness.server.unsent(id).len());
    // What was taken is answered as the client reads on.
    let n_asked = n_taken / GET.len();
    let answers = harness.take(id);
    assert_eq!(statuses(&answers).len(), n_asked);
}

#[test]
fn who_is_slow_is_told_so_and_closed() {
    let limits = Limits::default();
    let second = 1_000_000;
    // A head that never ends.
    let mut harness = Harness::default();
    let id = harness.connect();
    let mut n_seconds = 0;
    while !harness.server.is_over(id) && n_seconds < 100 {
        harness.now_us += second;
        n_seconds += 1;
        harness.server.receive(id, b"G", harness.now_us);
        harness.server.check_time(harness.now_us);
        if harness.server.unsent(id).is_empty() {
            continue;
        }
        assert_eq!(statuses(&harness.take(id)), [408]);
    }
    assert_eq!(n_seconds, limits.head_us / second + 1);

    // A body that comes too slowly.
    let id = harness.connect();
    harness.server.receive(
        id,
        b"POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n{",
        harness.now_us,
    );
    harness.now_us += limits.body_us + second;
    harness.server.check_time(harness.now_us);
    assert_eq!(statuses(&harness.take(id)), [408]);

    // A connection on which nothing is asked.
    let id = harness.connect();
    assert_eq!(statuses(&harness.exchange(id, &[GET.as_bytes()])), [200]);
    harness.now_us += limits.idle_us - 1;
    harness.server.check_time(harness.now_us);
    assert!(!harness.server.is_over(id));
    harness.now_us += 2;
    harness.server.check_time(harness.now_us);
    assert!(harness.server.is_over(id) && harness.take(id).is_empty());

    // A client that does not read what it is sent.
    let id = harness.connect();
    harness.server.receive(id, GET.as_bytes(), harness.now_us);
    harness.server.check_time(harness.now_us);
    harness.now_us += limits.stalled_us + 1;
    harness.server.check_time(harness.now_us);
    assert!(harness.server.is_over(id));
}

#[test]
fn a_client_that_says_that_it_sends_no_more_gets_its_answer() {
    let mut harness = Harness::default();
    let id = harness.connect();
    let request = post("/v1/completions", r#"{"prompt":"Hello","max_tokens":3}"#);
    harness.server.receive(id, request.as_bytes(), 1);
    harness.server.half_close(id);
    while harness.step() {}
    let answer = harness.take(id);
    assert_eq!(statuses(&answer), [200]);
    assert!(harness.server.is_over(id));
    // One that has not asked anything yet is done.
    let id = harness.connect();
    harness.server.receive(id, b"GET /hea", 1);
    harness.server.half_close(id);
    assert!(harness.server.is_over(id));
}

#[test]
fn what_nobody_waits_for_is_not_computed() {
    let mut harness = Harness::default();
    let request = post("/v1/completions", r#"{"prompt":"Hello","max_tokens":200,"n":2}"#);
    for n_steps in [0, 1, 5] {
        let id = harness.connect();
        harness.server.receive(id, request.as_bytes(), 1);
        for _ in 0..n_steps {
            harness.step();
        }
        harness.server.remove(id);
        harness.step();
        assert!(harness.engine.is_idle(), "after {n_steps} steps");
    }
    assert_eq!(harness.server.n_connections(), 0);
}

#[test]
fn who_has_waited_longest_makes_room() {
    let mut harness = Harness::new(Settings { max_connections: 3, ..settings() });
    let mut ids = Vec::new();
    for _ in 0..3 {
        harness.now_us += 1;
        ids.push(harness.connect());
    }
    let request = post("/v1/completions", r#"{"prompt":"Hello","max_tokens":200}"#);
    harness.server.receive(ids[0], request.as_bytes(), 5);
    assert_eq!(harness.server.accept(6), None);
    assert_eq!(ids.iter().map(|&id| harness.server.is_over(id)).collect::<Vec<_>>(), [false, true, false]);
    harness.server.remove(ids[1]);
    assert!(harness.server.accept(7).is_some());
}
