//! A server of models that say what they are told, each with the template of a family: what clients make of calls and
//! thoughts can be tried with it. After a line `Say:` in what the user says stands what the model says; after the result
//! of a tool it says that result.

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{Harness, templates};
use serve::ConnectionId;

/// The template of SmolLM2-135M-Instruct, which knows no tools.
const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}{% endif %}\
{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// A connection, and what came on it that the server has not taken.
struct Connection {
    socket: TcpStream,
    id: ConnectionId,
    kept: Vec<u8>,
}

fn main() {
    let mut templates = templates();
    templates.push(("smollm2".to_owned(), SMOLLM2.to_owned()));
    let mut harness = Harness::all_told(templates);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    eprintln!("serving at http://{}", listener.local_addr().unwrap());
    let start = Instant::now();
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        harness.now_us = 1 + start.elapsed().as_micros() as u64;
        if let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(true).unwrap();
            connections.push(Connection { socket, id: harness.connect(), kept: Vec::new() });
        }
        let is_busy = harness.step();
        connections.retain_mut(|connection| exchange(&mut harness, connection));
        harness.server.check_time(harness.now_us);
        if !is_busy {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Moves what there is both ways; whether the connection goes on.
fn exchange(harness: &mut Harness, Connection { socket, id, kept }: &mut Connection) -> bool {
    let mut buffer = [0; 1 << 14];
    let is_closed = match socket.read(&mut buffer) {
        Ok(0) => true,
        Ok(n) => {
            kept.extend_from_slice(&buffer[..n]);
            false
        }
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    let n_taken = harness.server.receive(*id, kept, harness.now_us);
    kept.drain(..n_taken);
    let sent = socket.write(harness.server.unsent(*id));
    harness.server.sent(*id, sent.unwrap_or(0), harness.now_us);
    let is_over = is_closed || harness.server.is_over(*id);
    if is_over {
        harness.server.remove(*id);
    }
    !is_over
}
