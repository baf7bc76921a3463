//! `llm pull` against a server on the loopback address that has the hub's routes.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::scratch_file;

const REPOSITORY: &str = "org/small-GGUF";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A server with one repository.
struct Hub {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    repository: &'static str,
    files: BTreeMap<String, Vec<u8>>,
    /// The only revision.
    revision: String,
    /// The number of bytes of content that the next answers send before the connection is cut.
    cuts: VecDeque<usize>,
    /// The token without which nothing is served.
    token: Option<&'static str>,
    /// Sent instead of the correct ETag.
    etag: Option<String>,
    /// Whether large files are elsewhere, as in the hub's large file storage.
    redirects: bool,
    has_no_ranges: bool,
    /// Whether the repository has a second name, which redirects to this one by an absolute URL.
    has_moved: bool,
    requests: Vec<Request>,
}

#[derive(Debug, Clone, Default)]
struct Request {
    target: String,
    /// The first byte and, if the request names it, the last one.
    range: Option<(usize, Option<usize>)>,
    token: Option<String>,
}

impl Hub {
    fn start(files: &[(&str, Vec<u8>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let state = Arc::new(Mutex::new(State {
            repository: REPOSITORY,
            files,
            revision: "main".to_owned(),
            cuts: VecDeque::new(),
            token: None,
            etag: None,
            redirects: false,
            has_no_ranges: false,
            has_moved: false,
            requests: Vec::new(),
        }));
        let hub = Hub { port, state: Arc::clone(&state) };
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                // A client may go away at any time.
                let _ = answer(connection.unwrap(), &state, port);
            }
        });
        hub
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.state.lock().unwrap());
        self
    }

    /// The offsets from which content was requested since the last call.
    fn content_requests(&self) -> Vec<usize> {
        let requests = std::mem::take(&mut self.state.lock().unwrap().requests);
        let ranges = requests.into_iter().filter_map(|request| request.range);
        ranges.filter(|(_, last)| last.is_none()).map(|(first, _)| first).collect()
    }

    fn command(&self, cache: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm"));
        for name in [
            "HF_TOKEN",
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "TRANSFORMERS_OFFLINE",
            "http_proxy",
            "HTTP_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ] {
            command.env_remove(name);
        }
        command
            .arg("pull")
            .args(arguments)
            .env("HF_ENDPOINT", format!("http://127.0.0.1:{}", self.port))
            .env("HF_HOME", cache)
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn pull(&self, cache: &Path, arguments: &[&str]) -> PathBuf {
        path_of(&self.command(cache, arguments).output().unwrap())
    }

    #[track_caller]
    fn fail(&self, cache: &Path, arguments: &[&str], parts: &[&str]) {
        expect_failure(&self.command(cache, arguments).output().unwrap(), parts);
    }
}

/// The path that a successful run printed, and nothing else.
#[track_caller]
fn path_of(output: &Output) -> PathBuf {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let path = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(path.lines().count(), 1, "{path}");
    PathBuf::from(path.trim_end())
}

#[track_caller]
fn expect_failure(output: &Output, parts: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(output.stdout.is_empty());
    assert!(errors.starts_with("llm: "), "{errors}");
    for part in parts {
        assert!(errors.contains(part), "no {part:?} in {errors}");
    }
}

/// Answers one request as the hub would.
fn answer(mut connection: TcpStream, state: &Mutex<State>, port: u16) -> std::io::Result<()> {
    let request = read_request(&connection)?;
    let mut state = state.lock().unwrap();
    state.requests.push(request.clone());
    let repository = state.repository;
    let elsewhere = request.target.strip_prefix("/elsewhere/");
    if state.token.is_some() && request.token.as_deref() != state.token && elsewhere.is_none() {
        return respond(&mut connection, "401 Unauthorized", "", b"", 0);
    }
    if state.has_moved
        && let Some(rest) = request.target.strip_prefix("/org/old-name/")
    {
        let headers = format!("Location: http://127.0.0.1:{port}/{repository}/{rest}\r\n");
        return respond(&mut connection, "307 Temporary Redirect", &headers, b"", 0);
    }
    if request.target == format!("/api/models/{repository}/revision/{}?blobs=true", state.revision) {
        let sibling = |(name, bytes): (&String, &Vec<u8>)| serde_json::json!({ "rfilename": name, "size": bytes.len() });
        let siblings: Vec<_> = state.files.iter().map(sibling).collect();
        let listing =
            serde_json::json!({ "id": repository, "sha": COMMIT, "siblings": siblings }).to_string();
        return respond(&mut connection, "200 OK", "", listing.as_bytes(), listing.len());
    }
    let prefix = format!("/{repository}/resolve/{}/", state.revision.replace('/', "%2F"));
    let name = elsewhere.or(request.target.strip_prefix(&prefix)).unwrap_or_default().replace("%20", " ");
    let Some(bytes) = state.files.get(&name).cloned() else {
        return respond(&mut connection, "404 Not Found", "", b"", 0);
    };
    let is_large = name.to_lowercase().ends_with(".gguf");
    let etag = state.etag.clone().unwrap_or_else(|| match is_large {
        true => sha256(&bytes),
        false => hex(&Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), &bytes].concat())),
    });
    if is_large && state.redirects && elsewhere.is_none() {
        let headers = format!(
            "Location: http://localhost:{port}/elsewhere/{name}\r\nX-Repo-Commit: {COMMIT}\r\n\
             X-Linked-ETag: \"{etag}\"\r\nX-Linked-Size: {}\r\nETag: \"of-the-redirect\"\r\n",
            bytes.len()
        );
        return respond(&mut connection, "302 Found", &headers, b"", 0);
    }
    let headers = format!("X-Repo-Commit: {COMMIT}\r\nETag: \"{etag}\"\r\n");
    let Some((first, last)) = request.range.filter(|_| !state.has_no_ranges) else {
        return respond(&mut connection, "200 OK", &headers, &bytes, bytes.len());
    };
    if first >= bytes.len() {
        return respond(&mut connection, "416 Range Not Satisfiable", "", b"", 0);
    }
    let end = last.map_or(bytes.len(), |last| last + 1);
    let headers = format!("{headers}Content-Range: bytes {first}-{}/{}\r\n", end - 1, bytes.len());
    let is_content = last.is_none();
    let n_sent = if is_content { state.cuts.pop_front().unwrap_or(usize::MAX) } else { usize::MAX };
    respond(&mut connection, "206 Partial Content", &headers, &bytes[first..end], n_sent)
}

fn read_request(connection: &TcpStream) -> std::io::Result<Request> {
    let mut request = Request::default();
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    request.target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let (first, last) = value.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                request.range = Some((first.parse().unwrap(), last.parse().ok()));
            }
            "authorization" => request.token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    Ok(request)
}

/// Sends an answer with at most `n_sent` bytes of its body, and closes the connection.
fn respond(
    connection: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
    n_sent: usize,
) -> std::io::Result<()> {
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )?;
    connection.write_all(&body[..n_sent.min(length)])
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder for the files that one test fetches.
fn empty_cache(name: &str) -> PathBuf {
    let cache = PathBuf::from(scratch_file(name));
    let _ = fs::remove_dir_all(&cache);
    cache
}

/// Bytes without a pattern, so that a misplaced range is noticed.
fn noise(n: usize) -> Vec<u8> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn a_file_comes_into_the_cache_of_the_hubs_other_programs() {
    let model = noise(300_000);
    let hub = Hub::start(&[("model Q4_0.gguf", model.clone()), ("sub/config.json", b"{}".to_vec())]);
    let cache = empty_cache("pull-file");
    let path = hub.pull(&cache, &[REPOSITORY, "model Q4_0.gguf"]);
    let folder = cache.join("hub/models--org--small-GGUF");
    assert_eq!(path, folder.join("snapshots").join(COMMIT).join("model Q4_0.gguf"));
    assert_eq!(fs::read(&path).unwrap(), model);
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(
        path.canonicalize().unwrap(),
        folder.join("blobs").join(sha256(&model)).canonicalize().unwrap()
    );

    let path = hub.pull(&cache, &[REPOSITORY, "sub/config.json"]);
    assert_eq!(fs::read(&path).unwrap(), b"{}");
    assert_eq!(path, folder.join("snapshots").join(COMMIT).join("sub/config.json"));
    let names: Vec<_> =
        fs::read_dir(folder.join("blobs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(names.len() == 2 && names.iter().all(|name| name.extension().is_none()), "{names:?}");
}

#[test]
fn what_is_there_is_not_fetched_again_unless_it_is_broken() {
    let model = noise(1000);
    let hub = Hub::start(&[("model.gguf", model.clone())]);
    let cache = empty_cache("pull-again");
    let path = hub.pull(&cache, &[REPOSITORY, "model.gguf"]);
    assert_eq!(hub.content_requests(), [0]);
    assert_eq!(hub.pull(&cache, &[REPOSITORY, "model.gguf"]), path);
    assert_eq!(hub.content_requests(), [0; 0]);

    let mut broken = model.clone();
    broken[500] ^= 1;
    fs::write(&path, &broken).unwrap();
    assert_eq!(hub.pull(&cache, &[REPOSITORY, "model.gguf"]), path);
    assert_eq!(hub.content_requests(), [0]);
    assert_eq!(fs::read(&path).unwrap(), model);
}

#[test]
fn the_only_gguf_file_needs_no_name() {
    let files = [("README.md", noise(10)), ("model.gguf", noise(20))];
    let path = Hub::start(&files).pull(&empty_cache("pull-only"), &[REPOSITORY]);
    assert_eq!(fs::read(path).unwrap(), noise(20));
}

#[test]
fn several_gguf_files_are_listed() {
    let hub =
        Hub::start(&[("a-Q4_0.gguf", noise(2048)), ("b/c-Q8_0.gguf", noise(5)), ("README.md", noise(1))]);
    let cache = empty_cache("pull-several");
    hub.fail(
        &cache,
        &[REPOSITORY],
        &[
            "2 GGUF files",
            "llm pull org/small-GGUF FILE",
            "\n  a-Q4_0.gguf  2.00 KiB\n  b/c-Q8_0.gguf  5 B\n",
        ],
    );
}

/// The path in the repository of the file that a command fetched.
fn fetched(hub: &Hub, cache: &Path, arguments: &[&str]) -> String {
    let path = hub.pull(cache, arguments);
    let snapshot = cache.join("hub/models--org--small-GGUF/snapshots").join(COMMIT);
    path.strip_prefix(snapshot).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_tag_chooses_among_several() {
    let names = ["m-IQ4_K_M.gguf", "m-Q4_K.gguf", "m-mmproj-Q4_K_M.gguf", "m-Q4_K_M.gguf", "sub/m.Q8_0.GGUF"];
    let files: Vec<_> = names.iter().map(|name| (*name, name.as_bytes().to_vec())).collect();
    let hub = Hub::start(&files);
    let cache = empty_cache("pull-tag-of-several");
    let with = |prefix: &str, tag: &str| format!("{prefix}{REPOSITORY}{tag}");
    for (repository, file) in [
        (with("", ""), "m-Q4_K_M.gguf"),
        (with("", ":Q4_K_M"), "m-Q4_K_M.gguf"),
        (with("", ":q4_k_m"), "m-Q4_K_M.gguf"),
        (with("", ":Q4_K"), "m-Q4_K.gguf"),
        (with("", ":latest"), "m-Q4_K_M.gguf"),
        (with("hf.co/", ":Q8_0"), "sub/m.Q8_0.GGUF"),
        (with("hf.co/", ""), "m-Q4_K_M.gguf"),
        (with("https://huggingface.co/", ":iq4_k_m"), "m-IQ4_K_M.gguf"),
        (with("https://huggingface.co/", "/blob/main/sub/m.Q8_0.GGUF"), "sub/m.Q8_0.GGUF"),
        (with("https://huggingface.co/", "/resolve/main/m-Q4_K.gguf?download=true"), "m-Q4_K.gguf"),
        (with("https://huggingface.co/", "/tree/main"), "m-Q4_K_M.gguf"),
        (with(&format!("http://127.0.0.1:{}/", hub.port), ""), "m-Q4_K_M.gguf"),
    ] {
        assert_eq!(fetched(&hub, &cache, &[&repository]), file, "{repository}");
    }
    hub.fail(&cache, &[&with("", ":Q2_K")], &["no GGUF file with the tag Q2_K", "\n  m-Q4_K_M.gguf"]);
    hub.fail(&cache, &[&with("", ":Q4_K_M"), "m-Q4_K.gguf"], &["names a tag"]);
    hub.fail(&cache, &["https://example.com/org/name"], &["not an address of the hub", "HF_ENDPOINT"]);
    hub.fail(&cache, &[&with("hf.co/", "/blob/main/x.gguf"), "y.gguf"], &["names a file"]);
}

#[test]
fn the_extension_may_be_in_capitals() {
    let files = [("README.md", noise(10)), ("MODEL.GGUF", noise(20))];
    let path = Hub::start(&files).pull(&empty_cache("pull-capitals"), &[REPOSITORY]);
    assert_eq!(fs::read(path).unwrap(), noise(20));
}

#[test]
fn all_parts_of_a_model_come() {
    let part = |number: usize| format!("Q4_K_M/m-Q4_K_M-0000{number}-of-00003.gguf");
    let names: Vec<String> = (1..=3).map(part).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_bytes().to_vec())).collect();
    let hub = Hub::start(&files);
    for (index, arguments) in [
        &[REPOSITORY][..],
        &[&format!("{REPOSITORY}:Q4_K_M")],
        &[REPOSITORY, &names[0]],
        &[REPOSITORY, &names[2]],
    ]
    .into_iter()
    .enumerate()
    {
        let cache = empty_cache(&format!("pull-parts-{index}"));
        let first = hub.pull(&cache, arguments);
        assert!(first.ends_with(&names[0]), "{}", first.display());
        for name in &names {
            let path = first.with_file_name(Path::new(name).file_name().unwrap());
            assert_eq!(fs::read_to_string(path).unwrap(), *name);
        }
    }
    // One is gone.
    let hub = Hub::start(&files[..2]);
    hub.fail(
        &empty_cache("pull-parts-gone"),
        &[REPOSITORY],
        &["no file Q4_K_M/m-Q4_K_M-00003-of-00003.gguf"],
    );
}

#[test]
fn offline_only_the_cache_is_asked() {
    let hub = Hub::start(&[("a-Q4_K_M.gguf", noise(1000)), ("b/c-Q8_0.gguf", noise(500))]);
    let cache = empty_cache("pull-offline-variable");
    let path = hub.pull(&cache, &[REPOSITORY, "a-Q4_K_M.gguf"]);
    hub.content_requests();
    let offline = |value: &str, arguments: &[&str]| {
        hub.command(&cache, arguments).env("HF_HUB_OFFLINE", value).output().unwrap()
    };
    for value in ["1", "true", "ON", "yes"] {
        assert_eq!(path_of(&offline(value, &[REPOSITORY, "a-Q4_K_M.gguf"])), path);
        assert_eq!(path_of(&offline(value, &[&format!("{REPOSITORY}:Q4_K_M")])), path);
        assert_eq!(path_of(&offline(value, &[REPOSITORY])), path);
    }
    for (arguments, what) in [
        (&[REPOSITORY, "b/c-Q8_0.gguf"][..], "org/small-GGUF/b/c-Q8_0.gguf at main"),
        (&["org/other"], "org/other at main"),
        (&[REPOSITORY, "a-Q4_K_M.gguf", "--revision", "v2"], "a-Q4_K_M.gguf at v2"),
    ] {
        expect_failure(&offline("1", arguments), &["HF_HUB_OFFLINE", what, "pull-offline-variable"]);
    }
    assert!(hub.state.lock().unwrap().requests.is_empty());
    assert_eq!(path_of(&offline("0", &[REPOSITORY, "a-Q4_K_M.gguf"])), path);
    assert!(!hub.state.lock().unwrap().requests.is_empty());
    // Where nobody listens, the cache will do for a list, too.
    let nobody = |command: &mut Command| command.env("HF_ENDPOINT", "http://127.0.0.1:1").output().unwrap();
    assert_eq!(path_of(&nobody(&mut hub.command(&cache, &[REPOSITORY]))), path);
    expect_failure(&nobody(&mut hub.command(&cache, &["org/other"])), &["http://127.0.0.1:1"]);
}

#[test]
fn a_repository_that_moved_on_the_same_host_is_followed_with_the_token() {
    let hub = Hub::start(&[("model.gguf", noise(1000))]).with(|state| {
        state.has_moved = true;
        state.token = Some("hf_secret");
    });
    let cache = empty_cache("pull-moved");
    let arguments = ["org/old-name", "model.gguf", "--token", "hf_secret"];
    assert_eq!(fs::read(hub.pull(&cache, &arguments)).unwrap(), noise(1000));
    let requests = hub.state.lock().unwrap().requests.clone();
    assert!(requests.iter().any(|request| request.target.starts_with("/org/small-GGUF/resolve")));
}

#[test]
fn a_checkpoint_comes_whole() {
    let wanted = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let wanted = [&["added_tokens.json", "chat_template.json"], &wanted[..]].concat();
    let wanted = [
        &wanted[..],
        &["model.safetensors.index.json", "quant_config.json", "tokenizer.json", "tokenizer.model"],
    ]
    .concat();
    let unwanted =
        ["README.md", "consolidated.safetensors", "onnx/model.onnx", "pytorch_model.bin", "x.jinja"];
    let files: Vec<_> =
        wanted.iter().chain(&unwanted).map(|name| (*name, name.as_bytes().to_vec())).collect();
    let directory = Hub::start(&files).pull(&empty_cache("pull-checkpoint"), &[REPOSITORY]);
    let names =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert_eq!(names, wanted);
    for name in names {
        assert_eq!(fs::read_to_string(directory.join(&name)).unwrap(), name);
    }
}

#[test]
fn templates_come_with_a_checkpoint() {
    let wanted =
        ["config.json", "model.safetensors", "chat_template.jinja", "additional_chat_templates/rag.jinja"];
    let files: Vec<_> = wanted.iter().map(|name| (*name, name.as_bytes().to_vec())).collect();
    let directory = Hub::start(&files).pull(&empty_cache("pull-templates"), &[REPOSITORY]);
    for name in wanted {
        assert_eq!(fs::read_to_string(directory.join(name)).unwrap(), name);
    }
}

#[test]
fn a_repository_without_models_says_so() {
    let hub = Hub::start(&[("README.md", noise(10)), ("config.json", b"{}".to_vec())]);
    hub.fail(&empty_cache("pull-nothing"), &[REPOSITORY], &["neither a GGUF file nor a checkpoint"]);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let model = noise(500_000);
    let hub = Hub::start(&[("model.gguf", model.clone())]).with(|state| state.cuts = [123_456, 1000].into());
    let path = hub.pull(&empty_cache("pull-cut"), &[REPOSITORY, "model.gguf"]);
    assert_eq!(fs::read(path).unwrap(), model);
    assert_eq!(hub.content_requests(), [0, 123_456, 124_456]);
}

#[test]
fn an_interrupted_run_is_taken_up_by_the_next() {
    let model = noise(500_000);
    let hub =
        Hub::start(&[("model.gguf", model.clone())]).with(|state| state.cuts = [250_000, 0, 0, 0].into());
    let cache = empty_cache("pull-interrupted");
    let arguments = [REPOSITORY, "model.gguf"];
    hub.fail(&cache, &arguments, &["model.gguf", "250000 of 500000 bytes are kept"]);
    assert_eq!(hub.content_requests(), [0, 250_000, 250_000, 250_000]);
    let path = hub.pull(&cache, &arguments);
    assert_eq!(hub.content_requests(), [250_000]);
    assert_eq!(fs::read(path).unwrap(), model);
}

/// All bytes arrived, but the run ended before the file got its name.
#[test]
fn a_whole_part_needs_no_request() {
    let model = noise(1000);
    let hub = Hub::start(&[("model.gguf", model.clone())]);
    let cache = empty_cache("pull-part");
    let blobs = cache.join("hub/models--org--small-GGUF/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(sha256(&model)).with_extension("part"), &model).unwrap();
    let path = hub.pull(&cache, &[REPOSITORY, "model.gguf"]);
    assert_eq!(hub.content_requests(), [0; 0]);
    assert_eq!(fs::read(path).unwrap(), model);
}

#[test]
fn a_server_without_ranges_begins_again() {
    let model = noise(1000);
    let hub = Hub::start(&[("model.gguf", model.clone())]).with(|state| state.has_no_ranges = true);
    let cache = empty_cache("pull-no-ranges");
    let blobs = cache.join("hub/models--org--small-GGUF/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(sha256(&model)).with_extension("part"), &model[..400]).unwrap();
    let path = hub.pull(&cache, &[REPOSITORY, "model.gguf"]);
    assert_eq!(fs::read(path).unwrap(), model);
}

#[test]
fn a_wrong_checksum_leaves_nothing_behind() {
    let (model, other) = (noise(1000), sha256(b"something else"));
    let hub = Hub::start(&[("model.gguf", model.clone()), ("config.json", b"{}".to_vec())]);
    let cache = empty_cache("pull-checksum");
    for (file, etag, sum) in [
        ("model.gguf", &other, sha256(&model)),
        ("config.json", &other[..40].to_owned(), hex(&Sha1::digest(b"blob 2\0{}"))),
    ] {
        hub.state.lock().unwrap().etag = Some(etag.clone());
        hub.fail(&cache, &[REPOSITORY, file], &[file, etag, &sum, "deleted"]);
        let folder = cache.join("hub/models--org--small-GGUF");
        assert_eq!(fs::read_dir(folder.join("blobs")).unwrap().count(), 0);
        assert!(!folder.join("snapshots").exists());
    }
}

#[test]
fn the_token_is_shown_to_the_hub_alone() {
    let model = noise(1000);
    let hub = Hub::start(&[("model.gguf", model.clone())]).with(|state| {
        state.redirects = true;
        state.token = Some("hf_secret");
    });
    let cache = empty_cache("pull-token");
    let arguments = [REPOSITORY, "model.gguf"];
    hub.fail(&cache, &arguments, &["private or gated", "401", "--token", "HF_TOKEN"]);
    hub.fail(&cache, &[REPOSITORY], &["private or gated", "--token"]);
    hub.fail(&cache, &[&arguments[..], &["--token", "hf_other"]].concat(), &["not valid", "401", "--token"]);
    hub.content_requests();

    let path = hub.pull(&cache, &[&arguments[..], &["--token", "hf_secret"]].concat());
    assert_eq!(fs::read(path).unwrap(), model);
    let requests = hub.state.lock().unwrap().requests.clone();
    assert!(requests.iter().any(|request| request.target.starts_with("/elsewhere/")));
    for request in requests {
        assert_eq!(request.token.is_some(), !request.target.starts_with("/elsewhere/"), "{request:?}");
    }

    let by_environment = empty_cache("pull-token-environment");
    path_of(&hub.command(&by_environment, &arguments).env("HF_TOKEN", "hf_secret").output().unwrap());
    let kept = empty_cache("pull-token-kept");
    fs::create_dir_all(&kept).unwrap();
    fs::write(kept.join("token"), "hf_secret\n").unwrap();
    hub.pull(&kept, &arguments);
}

#[test]
fn revisions_are_told_apart() {
    let hub = Hub::start(&[("model.gguf", noise(10))]).with(|state| state.revision = "refs/pr/1".to_owned());
    let cache = empty_cache("pull-revision");
    hub.fail(&cache, &[REPOSITORY, "model.gguf"], &["no repository org/small-GGUF", "no revision main"]);
    hub.pull(&cache, &[REPOSITORY, "model.gguf", "--revision", "refs/pr/1"]);
    let folder = cache.join("hub/models--org--small-GGUF");
    assert_eq!(fs::read_to_string(folder.join("refs/refs/pr/1")).unwrap(), COMMIT);
}

#[test]
fn the_cache_can_be_chosen() {
    let hub = Hub::start(&[("model.gguf", noise(10))]);
    let (home, by_flag, by_variable) =
        (empty_cache("pull-home"), empty_cache("pull-by-flag"), empty_cache("pull-by-variable"));
    let arguments = [REPOSITORY, "model.gguf"];
    let path = hub.pull(&home, &[&arguments[..], &["--cache", by_flag.to_str().unwrap()]].concat());
    assert!(path.starts_with(by_flag.join("models--org--small-GGUF")));
    let path = path_of(&hub.command(&home, &arguments).env("HF_HUB_CACHE", &by_variable).output().unwrap());
    assert!(path.starts_with(by_variable.join("models--org--small-GGUF")));
    assert!(!home.exists());
}

#[test]
fn without_a_network_what_is_there_must_do() {
    let hub = Hub::start(&[("model.gguf", noise(1000))]);
    let cache = empty_cache("pull-offline");
    let arguments = [REPOSITORY, "model.gguf"];
    let path = hub.pull(&cache, &arguments);
    // Nobody listens there.
    let offline = |command: &mut Command| command.env("HF_ENDPOINT", "http://127.0.0.1:1").output().unwrap();
    assert_eq!(path_of(&offline(&mut hub.command(&cache, &arguments))), path);
    fs::write(&path, noise(999)).unwrap();
    expect_failure(&offline(&mut hub.command(&cache, &arguments)), &["http://127.0.0.1:1"]);
}

#[test]
fn mistakes_are_explained() {
    let hub = Hub::start(&[("model.gguf", noise(10)), ("README.md", noise(10))]);
    let cache = empty_cache("pull-mistakes");
    for (arguments, parts) in [
        (
            &[REPOSITORY, "modle.gguf"][..],
            &["no file modle.gguf at main", "GGUF files there: model.gguf"][..],
        ),
        (&["org/other", "model.gguf"], &["no repository org/other"]),
        (&["org/other"], &["no repository org/other"]),
        (&["org/small/GGUF"], &["expected ORG/REPO"]),
        (&["../x", "y"], &["expected ORG/REPO"]),
        (&[REPOSITORY, "../../x"], &["not a path in a repository"]),
        (&[REPOSITORY, "model.gguf", "--revision", "../x"], &["not a revision"]),
    ] {
        hub.fail(&cache, arguments, parts);
    }
    assert!(!cache.exists());
}

#[test]
fn names_from_the_server_do_not_leave_the_cache() {
    let hub =
        Hub::start(&[("model.gguf", noise(10))]).with(|state| state.etag = Some("../../evil".to_owned()));
    let cache = empty_cache("pull-evil");
    hub.fail(&cache, &[REPOSITORY, "model.gguf"], &["../../evil", "entity tag"]);
    let hub = Hub::start(&[("../evil.gguf", noise(10))]);
    hub.fail(&cache, &[REPOSITORY], &["../evil.gguf", "not a path"]);
    assert!(!cache.exists());
}

/// The model that has a short name in these tests.
const SHORT: &str = "smollm2-360m";
const SHORT_REPOSITORY: &str = "HuggingFaceTB/SmolLM2-360M-Instruct-GGUF";
const SHORT_FILE: &str = "smollm2-360m-instruct-q8_0.gguf";

/// A hub with a model that has a short name, and another file beside it.
fn hub_with_a_short_name(model: &[u8]) -> Hub {
    let files = [(SHORT_FILE, model.to_vec()), ("other-Q4_0.gguf", noise(10))];
    Hub::start(&files).with(|state| state.repository = SHORT_REPOSITORY)
}

/// The path of a model with a short name in a cache, relative to the folder of its repository.
fn in_folder(cache: &Path, path: &str) -> PathBuf {
    cache.join("hub/models--HuggingFaceTB--SmolLM2-360M-Instruct-GGUF").join(path)
}

#[test]
fn a_short_name_is_a_file_of_a_repository() {
    let model = noise(500_000);
    let hub = hub_with_a_short_name(&model).with(|state| state.cuts = [123_456, 1000].into());
    let cache = empty_cache("pull-short");
    let path = hub.pull(&cache, &[SHORT]);
    assert_eq!(path, in_folder(&cache, &format!("snapshots/{COMMIT}/{SHORT_FILE}")));
    assert_eq!(fs::read(&path).unwrap(), model);
    assert_eq!(hub.content_requests(), [0, 123_456, 124_456]);
    assert_eq!(hub.pull(&cache, &["SmolLM2-360M"]), path);
    assert_eq!(hub.content_requests(), [0; 0]);
    let other = hub.pull(&cache, &[&format!("{SHORT}:Q4_0")]);
    assert_eq!(other, path.with_file_name("other-Q4_0.gguf"));
    hub.fail(&cache, &[SHORT, SHORT_FILE], &["names a file"]);

    hub.state.lock().unwrap().etag = Some(sha256(b"something else"));
    hub.fail(&empty_cache("pull-short-checksum"), &[SHORT], &[SHORT_FILE, "checksum", "deleted"]);
}

#[test]
fn a_word_that_is_no_short_name_has_near_ones() {
    let hub = Hub::start(&[]);
    let cache = empty_cache("pull-short-unknown");
    for word in ["smolm2-360m", "smolm2-360m:Q8_0"] {
        hub.fail(
            &cache,
            &[word],
            &["no model", "\"smolm2-360m\"", "nearest are smollm2-360m, ", "--list", "ORG/REPO"],
        );
    }
    assert!(hub.state.lock().unwrap().requests.is_empty());
}

#[test]
fn the_list_says_what_is_here() {
    let hub = hub_with_a_short_name(&noise(10));
    let cache = empty_cache("pull-list");
    let list = || {
        let output = hub.command(&cache, &["--list"]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        String::from_utf8(output.stdout).unwrap()
    };
    let before = list();
    assert!(before.lines().count() >= 12, "{before}");
    assert!(before.lines().all(|line| line.starts_with("  ")), "{before}");
    assert!(hub.state.lock().unwrap().requests.is_empty());
    hub.pull(&cache, &[SHORT]);
    let line = |list: &str| list.lines().find(|line| line.contains(SHORT)).unwrap().to_owned();
    let after = list();
    assert!(line(&before).contains("362M  386 MB  Apache-2.0"), "{before}");
    assert_eq!(line(&after), line(&before).replacen(' ', "*", 1));
    assert_eq!(after.matches('*').count(), 1, "{after}");
    hub.fail(&cache, &["--list", SHORT], &["--list", "cannot be used with"]);
    hub.fail(&cache, &[], &["required", "NAME"]);
}

#[test]
fn without_a_network_it_is_said_what_to_fetch_and_where_to_put_it() {
    let model = noise(1000);
    let hub = hub_with_a_short_name(&model);
    let cache = empty_cache("pull-by-hand");
    let place = in_folder(&cache, SHORT_FILE);
    // Nobody listens there.
    let offline = || hub.command(&cache, &[SHORT]).env("HF_ENDPOINT", "http://127.0.0.1:1").output().unwrap();
    let url = format!("http://127.0.0.1:1/{SHORT_REPOSITORY}/resolve/main/{SHORT_FILE}");
    let output = offline();
    expect_failure(&output, &["without a network", &format!("fetch {url} "), &place.display().to_string()]);
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);

    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, &model).unwrap();
    assert_eq!(path_of(&offline()), place);
    let list = hub.command(&cache, &["--list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&list.stdout).contains(&format!("* {SHORT} ")));

    // The hub knows its checksum, so that it need not come again.
    let path = hub.pull(&cache, &[SHORT]);
    assert_eq!(hub.content_requests(), [0; 0]);
    assert!(fs::read(&path).unwrap() == model && !place.exists());
    assert_eq!(path_of(&offline()), path);

    // A wrong one does not count.
    fs::remove_file(path.canonicalize().unwrap()).unwrap();
    fs::write(&place, noise(999)).unwrap();
    let path = hub.pull(&cache, &[SHORT]);
    assert_eq!(hub.content_requests(), [0]);
    assert_eq!(fs::read(&path).unwrap(), model);
}

#[test]
fn other_commands_take_short_names_of_what_is_here() {
    let hub = hub_with_a_short_name(&fs::read(&*crate::LLAMA).unwrap());
    let cache = empty_cache("pull-model");
    let info = |model: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm"));
        command.args(["info", "--model", model]).env("HF_HOME", &cache).env_remove("HF_HUB_CACHE");
        command.current_dir(cache.parent().unwrap()).output().unwrap()
    };
    expect_failure(&info(SHORT), &["not here yet", "`llm pull smollm2-360m`", "386 MB"]);
    let path = hub.pull(&cache, &[SHORT]);
    let by_name = info(SHORT);
    assert!(by_name.status.success(), "{}", String::from_utf8_lossy(&by_name.stderr));
    assert_eq!(by_name.stdout, info(path.to_str().unwrap()).stdout);
    expect_failure(&info("smolm2-360m"), &["smolm2-360m", "No such file"]);
}

/// The line is drawn while the next request waits.
#[test]
#[cfg(target_os = "linux")]
fn a_terminal_sees_rate_and_time_left() {
    let hub = hub_with_a_short_name(&noise(500_000)).with(|state| state.cuts = [200_000].into());
    let pull = hub.command(&empty_cache("pull-terminal"), &[SHORT]);
    let words = std::iter::once(pull.get_program()).chain(pull.get_args()).map(|word| word.to_str().unwrap());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &shlex::try_join(words).unwrap(), "/dev/null"]);
    for (name, value) in pull.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.env("TERM", "xterm").stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for part in [SHORT_FILE, "200.00 kB/500.00 kB", "B/s, ", " left"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

/// A mirror has ETags of its own, so only the size can be checked.
#[test]
fn other_tags_will_do() {
    let hub = Hub::start(&[("model.gguf", noise(10))]).with(|state| state.etag = Some("v1-2_3".to_owned()));
    let path = hub.pull(&empty_cache("pull-tag"), &[REPOSITORY, "model.gguf"]);
    assert_eq!(fs::read(path).unwrap(), noise(10));
}
