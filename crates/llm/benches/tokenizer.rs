//! Encoding speed with the vocabularies of a conformance kit, for mixed text and for worst cases.
//!
//! ```text
//! FERRITE_KIT=../shared/conformance cargo bench -p llm --bench tokenizer [-- VOCABULARY [TEXT]]
//! ```
//!
//! Each figure is the best of several runs, because other programs can only slow a run down. Time in which the thread waits for
//! a core does not count.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use llm::gguf::Gguf;
use llm::tokenizer::{EncodeOptions, Tokenizer};

const TEXT_BYTES: usize = 1 << 20;

/// The time limit of a figure, not counting its first run.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let kit = std::env::var_os("FERRITE_KIT").map_or(beside, PathBuf::from);
    let folder = kit.join("tokenizers");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("no conformance kit at {}", kit.display());
        return;
    };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted_by =
        |place: usize, name: &str| wanted.get(place).is_none_or(|wanted| name.contains(wanted.as_str()));
    let mut texts = texts(&folder);
    texts.retain(|(kind, _)| wanted_by(1, kind));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "gguf")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if wanted_by(0, name) {
            measure(path, name, &texts);
        }
    }
}

fn measure(path: &Path, name: &str, texts: &[(&str, Vec<u8>)]) {
    let bytes = fs::read(path).unwrap();
    let gguf = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
    let load = best(|| {
        Tokenizer::from_gguf(&gguf).unwrap();
    });
    println!("{name}: loaded in {:.1} ms", load.as_secs_f64() * 1e3);
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let mut ids = Vec::new();
    for (kind, text) in texts {
        let time = best(|| {
            ids.clear();
            tokenizer.encode_bytes(text, EncodeOptions::default(), &mut ids).unwrap();
        });
        let megabytes_per_s = text.len() as f64 / time.as_secs_f64() / 1e6;
        println!("  {kind:<14} {megabytes_per_s:8.1} MB/s, {} tokens", ids.len());
    }
}

/// The shortest time of several runs.
fn best(mut run: impl FnMut()) -> Duration {
    let began = Instant::now();
    let mut best = Duration::MAX;
    while best == Duration::MAX || began.elapsed() < PATIENCE {
        let start = ThreadTime::now();
        run();
        best = best.min(start.elapsed());
    }
    best
}

/// Texts of one megabyte each, with their names.
fn texts(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut mixed = fs::read(folder.join("extra.txt")).unwrap_or_default();
    append_files(&source, &mut mixed);
    let repeated = |text: &[u8]| text.iter().copied().cycle().take(TEXT_BYTES).collect::<Vec<u8>>();
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let letters: Vec<u8> = (0..TEXT_BYTES).map(|_| b'a' + (random() % 26) as u8).collect();
    let bytes: Vec<u8> = (0..TEXT_BYTES).map(|_| random() as u8).collect();
    vec![
        ("mixed", repeated(&mixed)),
        ("one letter", repeated(b"a")),
        ("spaces", repeated(b" ")),
        ("newlines", repeated(b"\n")),
        ("digits", repeated(b"7")),
        ("one ideograph", repeated("字".as_bytes())),
        ("random letters", letters),
        ("random bytes", bytes),
        ("angles", repeated(b"<")),
    ]
}

fn append_files(folder: &Path, out: &mut Vec<u8>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            append_files(&path, out);
        } else {
            out.extend(fs::read(&path).unwrap());
        }
    }
}
