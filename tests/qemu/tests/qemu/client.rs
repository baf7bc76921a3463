//! A client of a machine's API, on the port of the host that `scripts/run --serve` forwards to the machine.

use crate::common::text;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// The time limit of a wait for an answer.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A port of the host on which nothing listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it has an address").port()
}

/// A connection.
pub fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// The answer to a request, up to the end of the connection; empty if there is none.
pub fn ask_bytes(port: u16, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Ok(mut stream) = connect(port) {
        let _ = stream.write_all(request);
        let _ = stream.read_to_end(&mut answer);
    }
    answer
}

/// The same as text.
pub fn ask(port: u16, request: &str) -> String {
    text(&ask_bytes(port, request.as_bytes()))
}

/// Waits until a server answers.
pub fn wait_until_served(port: u16) {
    let start = Instant::now();
    while !ask(port, "GET /health HTTP/1.0\r\n\r\n").contains("\"ok\"") {
        assert!(start.elapsed() < LIMIT, "no answer");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A request with a body.
pub fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The request with one more header field.
pub fn with_field(request: &[u8], field: &str) -> Vec<u8> {
    let end = request.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
    [&request[..end], field.as_bytes(), &request[end..]].concat()
}
