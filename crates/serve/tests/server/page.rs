//! The page at `/`.

use crate::common::{Harness, settings, status};
use serve::Settings;

#[test]
fn the_page_needs_no_key_and_nothing_from_elsewhere() {
    let mut harness = Harness::new(Settings { keys: serve::Keys::one("sesame"), ..settings() });
    let answer = harness.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&answer), 200);
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: text/html; charset=utf-8"), "{head}");
    assert!(head.contains("Content-Security-Policy: default-src 'none'; connect-src 'self';"), "{head}");
    for elsewhere in ["http://", "https://", "src=", "@import", "innerHTML"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    // What it asks for is there.
    for path in ["/v1/chat/completions", "/v1/models", "/metrics"] {
        assert!(page.contains(&format!("fetch(\"{path}\"")), "{path}");
    }
    // So are the figures that it draws.
    let figures = harness.ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sesame\r\n\r\n");
    for name in
        ["kv_pages_used", "kv_pages", "requests_processing", "requests_deferred", "tokens_predicted_total"]
    {
        assert!(page.contains(&format!("\"{name}\"")), "{name}");
        assert!(figures.contains(&format!("\nferrite_{name} ")), "{name}");
    }
}
