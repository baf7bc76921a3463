//! `scripts/run --model hf:ORG/REPO/FILE`, or with a short name; a server on the loopback address stands in for the hub.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use crate::common::qemu_arguments;
use qemu_tests::{Directory, Run, build_host_program, repository};
use sha2::{Digest, Sha256};

/// Serves one file of one repository and returns its address.
fn serve(target: &'static str, bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            // A client that has gone is an error as good as any.
            let _ = connection.and_then(|connection| answer(connection, target, &bytes));
        }
    });
    address
}

fn answer(mut connection: TcpStream, target: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut lines = BufReader::new(&connection).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    // What else the request says does not matter to a server that knows no ranges.
    lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
    if first.split(' ').nth(1) != Some(target) {
        return write!(
            connection,
            "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
    }
    let checksum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Repo-Commit: {}\r\nETag: \"{checksum}\"\r\n\
         Content-Length: {}\r\n\r\n",
        "0".repeat(40),
        bytes.len(),
    )?;
    connection.write_all(bytes)
}

#[test]
fn a_model_of_the_hub_is_fetched_and_its_checksum_known_to_the_kernel() {
    build_host_program();
    let model = fs::read(repository().join("test_models/tiny.gguf")).unwrap();
    let address = serve("/org/tiny-GGUF/resolve/main/sub/tiny-q4.gguf", model);
    let cache = Directory::new("hub");
    let run = |model: &str| {
        Run::new().args(["--model", model]).env("HF_ENDPOINT", &address).env("HF_HUB_CACHE", cache.path())
    };

    let outcome = run("hf:org/tiny-GGUF/sub/tiny-q4.gguf").command("llm verify").finish().expect_status(0);
    // Without a checksum of its own, the kernel would have nothing to expect.
    assert!(outcome.text().contains(" as expected"), "{}", outcome.text());
    assert!(cache.path().join("models--org--tiny-GGUF/snapshots").is_dir());

    run("hf:org/other/tiny.gguf").finish().expect_status(1).expect_error("has no repository org/other");
}

#[test]
fn a_short_name_is_fetched_once() {
    build_host_program();
    let model = fs::read(repository().join("test_models/tiny.gguf")).unwrap();
    let address = serve(
        "/HuggingFaceTB/SmolLM2-360M-Instruct-GGUF/resolve/main/smollm2-360m-instruct-q8_0.gguf",
        model,
    );
    let cache = Directory::new("short-name");
    let run = |model: &str, address: &str| {
        Run::new().args(["--model", model]).env("HF_ENDPOINT", address).env("HF_HUB_CACHE", cache.path())
    };
    let outcome = run("smollm2-360m", &address).command("llm verify").finish().expect_status(0);
    assert!(outcome.text().contains(" as expected"), "{}", outcome.text());

    // Nobody listens there: the file that is here is not asked for again.
    let arguments = qemu_arguments(run("smollm2-360m", "http://127.0.0.1:1"), &cache).join("\n");
    assert!(arguments.contains("ferrite.model=smollm2-360m-instruc:"), "{arguments}");
    run("smollm2-135m", "http://127.0.0.1:1")
        .finish()
        .expect_status(1)
        .expect_error("fetch http://127.0.0.1:1/bartowski/SmolLM2-135M-Instruct-GGUF/resolve/main/");
    run("smolm2-360m", &address).finish().expect_status(1).expect_error("the nearest are smollm2-360m");
}
