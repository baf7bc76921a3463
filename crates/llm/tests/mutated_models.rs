//! Model files of all families with random changes. Each is refused with a line that gives the reason, or runs for one token;
//! none makes the test crash or hang, or allocates memory that the file does not justify.
//!
//! `FERRITE_MUTATED_MODELS` is the number of files, 500 by default, or a range `FIRST..END` of them. `FERRITE_SEED` is the seed
//! of the changes. `scripts/fuzz --models 10000` runs many.

use std::alloc::System;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broken_gguf::Mutator;
use cap::Cap;
use llm::arena::ALIGN;
use llm::front::Prompter;
use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::{Packer, Precision};
use llm::sampling::{Sampler, SamplingConfig};
use llm::session::{Logits, Session, SessionOptions};
use llm::simd::Kernels;
use zerocopy::IntoBytes;

mod random;

use random::Random;

/// Allocations beyond the limit are refused; code that does not expect a refusal ends the program.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const N_FILES: u64 = 500;
/// How much memory a file may take, not counting its own bytes. The models take less than a megabyte.
const MEMORY_BYTES: usize = 64 << 20;
const MOST_POSITIONS: usize = 8;
/// A file takes milliseconds; one that takes this long is considered to hang.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// The maximum length of an error message.
const MAX_LINE_CHARS: usize = 500;

/// How far a file gets.
enum Outcome {
    Refused(String),
    TooLarge,
    Ran,
}

fn models() -> Vec<Mutator> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder.join("tests/golden/architectures")).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    paths.push(folder.join("../../test_models/micro.gguf"));
    paths.sort();
    let files = paths.iter().map(|path| std::fs::read(path).unwrap());
    let small = files.filter(|file| file.len() < 512 << 10);
    // A third of the files have a vocabulary.
    let with_vocabulary = std::iter::repeat_n(broken_gguf::good(), paths.len() / 3);
    small.chain(with_vocabulary).map(|file| Mutator::new(&file)).collect()
}

/// Loads a file as the host program does, with packed weights, and computes a token.
fn load_and_run(bytes: &[u8], token: u64) -> Result<bool, String> {
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    let bytes = &words.as_bytes()[..bytes.len()];
    let line = |error: &dyn std::fmt::Display| error.to_string();

    let kernels = Kernels::detect();
    let gguf = Gguf::parse(bytes, bytes.len() as u64).map_err(|error| line(&error))?;
    let mut packer = Packer::new(kernels.packing(), &gguf).map_err(|error| line(&error))?;
    let mut packed = vec![0_u64; words.len()];
    let packed = &mut packed.as_mut_bytes()[..bytes.len()];
    packer.write(&Serial, bytes, packed);
    let weights = packer.finish(&*packed);
    let gguf = Gguf::parse(weights.bytes(), bytes.len() as u64).map_err(|error| line(&error))?;
    let mut prompter = Prompter::new(gguf).map_err(|error| line(&error))?;
    let model = Model::load(prompter.gguf(), weights.borrow()).map_err(|error| line(&error))?;

    let (config, n_ctx) = (model.config(), model.config().n_ctx_train.min(MOST_POSITIONS));
    let (n_vocab, n_output, is_encoder) = (config.n_vocab, config.n_output(), config.is_encoder());
    let options = SessionOptions {
        n_ctx,
        n_batch: n_ctx,
        n_logits: 1,
        kv_type: KvType::F16,
        precision: Precision::Quantized,
    };
    let n_bytes = Session::required_bytes(config, &options).map_err(|error| line(&error))?;
    if n_bytes > MEMORY_BYTES / 2 {
        return Ok(false);
    }
    let mut memory = vec![0; n_bytes + ALIGN];
    let mut session =
        Session::new(model, options, kernels, &Serial, &mut memory).map_err(|error| line(&error))?;
    let token = (token % n_vocab as u64) as u32;
    let logits = session.forward(&[token], Logits::Last).map_err(|error| line(&error))?;
    assert_eq!(logits.len(), n_output);
    if is_encoder {
        return Ok(true);
    }
    let mut sampler = Sampler::new(SamplingConfig::greedy(), n_vocab).map_err(|error| line(&error))?;
    let next = sampler.sample(logits).map_err(|error| line(&error))?;
    assert!((next as usize) < n_vocab);
    // A file without a vocabulary can be run, by ids alone.
    if let Ok(tokenizer) = prompter.tokenizer() {
        let mut text = Vec::new();
        let _ = tokenizer.token_bytes(next, &mut text);
        if let Err(error) = prompter.prepare_chat(None) {
            assert_line(&error.to_string());
        }
    }
    Ok(true)
}

fn assert_line(message: &str) {
    assert!(!message.trim().is_empty() && !message.contains('\n'), "{message:?}");
    assert!(message.chars().count() <= MAX_LINE_CHARS, "{message}");
}

fn outcome(bytes: &[u8], token: u64) -> Outcome {
    match load_and_run(bytes, token) {
        Ok(true) => Outcome::Ran,
        Ok(false) => Outcome::TooLarge,
        Err(message) => {
            assert_line(&message);
            Outcome::Refused(message)
        }
    }
}

/// The numbers of the files.
fn files() -> Range<u64> {
    let told = std::env::var("FERRITE_MUTATED_MODELS").unwrap_or_default();
    let number =
        |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{told}: expected N or FIRST..END"));
    match told.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None if told.is_empty() => 0..N_FILES,
        None => 0..number(&told),
    }
}

#[test]
fn changed_files_are_refused_by_a_line_or_run() {
    static CURRENT: AtomicU64 = AtomicU64::new(u64::MAX);
    std::thread::spawn(|| {
        let mut last = u64::MAX;
        loop {
            std::thread::sleep(HANGS_AFTER);
            let current = CURRENT.load(Ordering::Relaxed);
            if current == last && current != u64::MAX {
                eprintln!("file {current} does not end");
                std::process::abort();
            }
            last = current;
        }
    });
    let (files, models) = (files(), models());
    let seed: u64 = std::env::var("FERRITE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_default();
    let (mut n_refused, mut n_too_large, mut n_ran) = (0, 0, 0);
    let mut failures = Vec::new();
    let mut kinds = std::collections::BTreeMap::new();
    for number in files.clone() {
        CURRENT.store(number, Ordering::Relaxed);
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number);
        let bytes = models[random.below(models.len())].mutated(&mut || random.u64());
        ALLOCATOR.set_limit(ALLOCATOR.allocated() + 3 * bytes.len() + MEMORY_BYTES).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| outcome(&bytes, number)));
        ALLOCATOR.set_limit(usize::MAX).unwrap();
        match outcome {
            Ok(Outcome::Ran) => n_ran += 1,
            Ok(Outcome::TooLarge) => n_too_large += 1,
            Ok(Outcome::Refused(message)) => {
                n_refused += 1;
                *kinds
                    .entry(message.split(|c: char| c.is_ascii_digit()).next().unwrap_or("").to_owned())
                    .or_insert(0) += 1;
            }
            Err(_) => failures.push(number),
        }
    }
    CURRENT.store(u64::MAX, Ordering::Relaxed);
    println!(
        "{} files: {n_refused} refused in {} ways, {n_ran} run, {n_too_large} would take more than {} MB",
        files.end - files.start,
        kinds.len(),
        MEMORY_BYTES >> 21
    );
    assert!(failures.is_empty(), "files that panic, of seed {seed}: {failures:?}");
    // Both happen, or the test is none.
    assert!(files.end - files.start < N_FILES || n_refused > 100 && n_ran > 50);
}
