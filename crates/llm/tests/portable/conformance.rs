//! The logits and greedy cases of a conformance kit, with every instruction set that this CPU supports.
//!
//! The kit is the folder named by `FERRITE_KIT`, or `shared/conformance` beside the repository. Its README describes each case
//! and how its expected values were made. Without a kit, the tests print a message and pass; other tests cover everything that
//! needs only the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Precision};
use llm::sampling::{Sampler, SamplingConfig};
use llm::session::{Logits, Session, SessionOptions, Step};
use llm::simd::Kernels;
use llm::tokenizer::{EncodeOptions, Tokenizer};
use serde_json::Value;

/// The bound for exact activations if the kit states none.
const STRICT_LIMIT: f64 = 1e-9;

struct Kit {
    folder: PathBuf,
    cases: Vec<Value>,
}

impl Kit {
    fn find() -> Option<Self> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
        let folder = std::env::var_os("FERRITE_KIT").map_or(beside, PathBuf::from);
        let Ok(manifest) = fs::read_to_string(folder.join("manifest.json")) else {
            eprintln!("no conformance kit at {}: nothing was checked", folder.display());
            return None;
        };
        let mut manifest: Value = serde_json::from_str(&manifest).expect("manifest.json is JSON");
        let cases = manifest["cases"].take();
        let cases = serde_json::from_value(cases).expect("`cases` is a list");
        Some(Self { folder, cases })
    }

    /// The cases of these kinds.
    fn cases(&self, kinds: &[&str]) -> impl Iterator<Item = &Value> {
        self.cases.iter().filter(move |case| kinds.contains(&text(case, "kind")))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let path = self.folder.join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn read_f32s(&self, name: &str) -> Vec<f32> {
        let bytes = self.read(name);
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

fn text<'c>(case: &'c Value, key: &str) -> &'c str {
    case[key].as_str().unwrap_or_else(|| panic!("a case without {key}: {case}"))
}

fn ids(case: &Value, key: &str) -> Vec<u32> {
    serde_json::from_value(case[key].clone()).unwrap_or_else(|error| panic!("{key}: {error}"))
}

/// Calls `work` with a session over `file` that has room for `n_ctx` tokens.
fn with_session<T>(
    file: &[u8],
    n_ctx: usize,
    kernels: &'static Kernels,
    precision: Precision,
    work: impl for<'a> FnOnce(&Gguf<'a>, &mut Session<'a>) -> T,
) -> T {
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    // Less than most cases have, so that batches follow each other; an encoder has but one.
    let n_batch = if model.config().is_encoder() { n_ctx } else { n_ctx.min(16) };
    // Sets that compute in half precision do so with an f16 cache.
    let is_half = Kernels::in_half_precision().any(|set| set.name() == kernels.name());
    let kv_type = if is_half { KvType::F16 } else { KvType::F32 };
    let options = SessionOptions { n_ctx, n_batch, n_logits: n_batch, kv_type, precision };
    let required = Session::required_bytes(model.config(), &options).unwrap();
    let mut memory = vec![0; required + 64];
    let start = memory.as_ptr().align_offset(64);
    let memory = &mut memory[start..start + required];
    let mut session = Session::new(model, options, kernels, &Serial, memory).unwrap();
    work(&gguf, &mut session)
}

fn logits(file: &[u8], tokens: &[u32], kernels: &'static Kernels, precision: Precision) -> Vec<f32> {
    with_session(file, tokens.len(), kernels, precision, |_, session| {
        let mut logits = Vec::new();
        for batch in tokens.chunks(session.options().n_batch) {
            logits.extend_from_slice(session.forward(batch, Logits::All).unwrap());
        }
        logits
    })
}

/// The sum of squared differences divided by the sum of squares of the expected values.
fn nmse(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(expected);
    let error: f64 = pairs.map(|(&f, &e)| square(f64::from(f) - f64::from(e))).sum();
    error / expected.iter().map(|&e| square(e.into())).sum::<f64>()
}

/// Runs the logits cases; `limit` returns the bound for a case.
fn check_logits(precision: Precision, sets: &[&'static Kernels], limit: impl Fn(&Value) -> f64) {
    let Some(kit) = Kit::find() else { return };
    let mut failures = BTreeMap::new();
    let mut count = 0;
    for case in kit.cases(&["quant", "arch", "model", "embed"]) {
        let file = kit.read(text(case, "file"));
        let expected = kit.read_f32s(text(case, "logits"));
        for kernels in sets {
            let found = logits(&file, &ids(case, "tokens"), kernels, precision);
            let error = nmse(&found, &expected);
            if error.is_nan() || error > limit(case) {
                let name = format!("{} with {}", text(case, "name"), kernels.name());
                failures.insert(name, format!("NMSE {error:.2e}, limit {:.2e}", limit(case)));
            }
            count += 1;
        }
    }
    assert!(count > 0, "the kit has no case that the engine supports");
    assert!(failures.is_empty(), "{} of {count} fail: {failures:#?}", failures.len());
}

#[test]
fn logits_are_as_close_as_the_reference_comes() {
    let sets: Vec<_> = Kernels::available().chain(Kernels::in_half_precision().last()).collect();
    check_logits(Precision::Quantized, &sets, |case| {
        case["limit"].as_f64().expect("a logits case has a limit")
    });
}

#[test]
fn exact_logits_differ_by_rounding_only() {
    let sets = [Kernels::scalar(), Kernels::detect()];
    check_logits(Precision::Exact, &sets, |case| case["strict"].as_f64().unwrap_or(STRICT_LIMIT));
}

#[test]
fn greedy_continuations_are_those_of_the_reference() {
    let Some(kit) = Kit::find() else { return };
    let mut count = 0;
    for case in kit.cases(&["greedy"]) {
        let file = kit.read(text(case, "file"));
        let expected = ids(case, "ids");
        for kernels in Kernels::available().chain(Kernels::in_half_precision().last()) {
            let found = with_session(&file, 128, kernels, Precision::Quantized, |gguf, session| {
                greedy(gguf, session, text(case, "prompt"), expected.len())
            });
            assert_eq!(found, expected, "{} with {}", text(case, "name"), kernels.name());
            count += 1;
        }
    }
    assert!(count > 0, "the kit has no greedy case");
}

fn greedy<'a>(gguf: &Gguf<'a>, session: &mut Session<'a>, prompt: &str, n: usize) -> Vec<u32> {
    let tokenizer = Tokenizer::from_gguf(gguf).unwrap();
    let mut prompt_ids = Vec::new();
    let options = EncodeOptions { add_special: true, parse_special: false };
    tokenizer.encode(prompt, options, &mut prompt_ids).unwrap();
    let mut sampler = Sampler::new(SamplingConfig::greedy(), tokenizer.n_vocab()).unwrap();
    let mut generation = session.generate(&tokenizer, &mut sampler, &prompt_ids, n, &[]).unwrap();
    let mut ids = Vec::new();
    while let Step::Token { id, .. } = generation.step().unwrap() {
        ids.push(id);
    }
    ids
}
