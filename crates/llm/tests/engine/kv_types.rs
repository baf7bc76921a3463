//! Caches in types of few bits, also with different types for keys and values, compared with llama.cpp.
//!
//! The numbers come from `scripts/golden/kv_types.py`, and so do the bounds, which are llama.cpp's own errors with these types.

use std::fs;

use llm::arena::ALIGN;
use llm::gguf::Gguf;
use llm::kv_cache::{CacheType, KvType};
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Precision};
use llm::session::{Logits, Session, SessionError, SessionOptions};
use llm::simd::Kernels;

fn repository_file(path: &str) -> Vec<u8> {
    fs::read(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn logits(
    gguf: &Gguf<'_>,
    kernels: &'static Kernels,
    kv_type: KvType,
    tokens: &[u32],
) -> Result<Vec<f32>, SessionError> {
    let n_ctx = tokens.len();
    let options =
        SessionOptions { n_ctx, n_batch: n_ctx, n_logits: n_ctx, kv_type, precision: Precision::Exact };
    let model = Model::load(gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    // Memory that holds no numbers at first.
    let mut memory = vec![0xff; Session::required_bytes(model.config(), &options)? + ALIGN];
    let mut session = Session::new(model, options, kernels, &Serial, &mut memory)?;
    Ok(session.forward(tokens, Logits::All)?.to_vec())
}

#[test]
fn logits_are_those_of_the_reference_within_its_own_error() {
    let file = repository_file("../../test_models/tiny.gguf");
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let cases = String::from_utf8(repository_file("tests/golden/kv_types.txt")).unwrap();
    let (first, cases) = cases.split_once('\n').unwrap();
    let (stride, tokens) = first.split_once(' ').unwrap();
    let stride: usize = stride.parse().unwrap();
    let tokens: Vec<u32> = tokens.split(' ').map(|id| id.parse().unwrap()).collect();
    let expected = repository_file("tests/golden/kv_types.logits");
    let expected: Vec<f32> =
        expected.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let n_cases = cases.lines().count();
    for (case, expected) in cases.lines().zip(expected.chunks_exact(expected.len() / n_cases)) {
        let mut words = case.split(' ');
        let mut word = || words.next().unwrap();
        let [keys, values] = [word(), word()].map(|name| CacheType::from_name(name).unwrap());
        let limit: f64 = word().parse().unwrap();
        let run = |kernels| -> Vec<f32> {
            let all = logits(&gguf, kernels, KvType { keys, values }, &tokens).unwrap();
            all.into_iter().step_by(stride).collect()
        };
        let got = run(Kernels::scalar());
        let (mut error, mut square) = (0.0, 0.0);
        for (got, expected) in got.iter().zip(expected) {
            error += f64::from(got - expected).powi(2);
            square += f64::from(*expected).powi(2);
        }
        assert_eq!(got.len(), expected.len());
        assert!(error <= limit * square, "{case}: NMSE {:.2e}", error / square);
        for kernels in Kernels::available() {
            assert!(run(kernels) == got, "{case}: {kernels:?}");
        }
    }
}

#[test]
fn types_without_a_routine_of_their_own_give_the_same_bits_in_batches_of_any_length() {
    let file = repository_file("../../test_models/tiny.gguf");
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokens: Vec<u32> = (1..=150).map(|i| i * 7919 % 2048).collect();
    let kv_type = KvType { keys: CacheType::Q8_0, values: CacheType::Q4_0 };
    let want = logits(&gguf, Kernels::detect(), kv_type, &tokens).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let options = SessionOptions {
        n_ctx: tokens.len(),
        n_batch: 64,
        n_logits: 1,
        kv_type,
        precision: Precision::Exact,
    };
    let mut memory = vec![0xff; Session::required_bytes(model.config(), &options).unwrap() + ALIGN];
    let mut session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    let n_vocab = want.len() / tokens.len();
    let mut done = 0;
    for n in [1, 5, 64, 1, 30, 49] {
        done += n;
        let got = session.forward(&tokens[done - n..done], Logits::Last).unwrap();
        assert!(got == &want[(done - 1) * n_vocab..done * n_vocab], "after {done} tokens");
    }
}

#[test]
fn keys_and_values_are_checked_apart() {
    let file = repository_file("../../test_models/micro.gguf");
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    // Heads of 16 elements.
    for (keys, values) in [(CacheType::Q4_0, CacheType::F16), (CacheType::F16, CacheType::Q5_0)] {
        let refused = logits(&gguf, Kernels::detect(), KvType { keys, values }, &[1]).unwrap_err();
        assert_eq!(refused, SessionError::HeadLength { head_len: 16, block_len: 32 });
    }
    let kv_type = KvType { keys: CacheType::F32, values: CacheType::F16 };
    assert!(logits(&gguf, Kernels::detect(), kv_type, &[1]).is_ok());
}
