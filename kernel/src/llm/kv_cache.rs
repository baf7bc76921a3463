//! Tests of the engine's key-value cache as linked by the kernel.

use std::vec::Vec;

use llm::{
    arena::Arena,
    gguf::Gguf,
    kv_cache::{HeadElements, KvCache, KvShape, KvType},
    model::{Config, Model},
    parallel::Serial,
    quant::{ModelBytes, Precision},
    session::{Logits, Session, SessionError, SessionOptions},
    simd::Kernels,
};

use super::fixtures;

const OPTIONS: SessionOptions = SessionOptions {
    n_ctx: 32,
    n_batch: 32,
    n_logits: 32,
    kv_type: KvType::F32,
    precision: Precision::Exact,
};

/// Runs `test` with a session on the small model.
fn with_session(options: SessionOptions, test: impl FnOnce(&mut Session<'_>)) {
    let file = fixtures::aligned(&fixtures::micro());
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let mut memory =
        fixtures::aligned(&std::vec![0xa5; Session::required_bytes(model.config(), &options).unwrap()]);
    let mut session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    test(&mut session);
}

fn ids(n: u32) -> Vec<u32> {
    (0..n).map(|i| 5 + i * 11 % 200).collect()
}

fn worst_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn what_is_stored_is_read_back() {
    let shape = KvShape { n_head_kv: 2, head_len_k: 8, head_len_v: 8, values_in_keys: false, index_len: 0 };
    let keys: Vec<f32> = (0..16).map(|i| i as f32 / 3.0).collect();
    let values: Vec<f32> = (0..16).map(|i| -(i as f32) / 7.0).collect();
    for (kv_type, tolerance) in [(KvType::F32, 0.0), (KvType::F16, 1.0 / 1024.0)] {
        let mut memory = fixtures::aligned(&std::vec![0; 1 << 16]);
        let mut cache =
            KvCache::carve([shape; 2].into_iter(), 2, kv_type, &mut Arena::new(&mut memory)).unwrap();
        cache.store(::llm::simd::Kernels::scalar(), 1, (1, 2), &keys, &values);
        for head in 0..2 {
            for (stored, given) in [(cache.keys(1, head), &keys), (cache.values(1, head), &values)] {
                // The third position of the second page.
                let at = stored.page_len + stored.first + 2 * 8;
                let position: Vec<f32> = match stored.elements {
                    HeadElements::F32(elements) => elements[at..][..8].to_vec(),
                    HeadElements::F16(elements) => elements[at..][..8].iter().map(|e| e.to_f32()).collect(),
                    HeadElements::Q8_0(_) | HeadElements::Blocks(..) => unreachable!("not asked for"),
                };
                for (stored, given) in position.iter().zip(&given[head * 8..]) {
                    assert!((stored - given).abs() <= tolerance * given.abs(), "{stored} for {given}");
                }
            }
        }
    }
}

#[test]
fn a_prompt_in_one_batch_and_token_by_token_gives_the_same_logits() {
    let ids = ids(20);
    with_session(OPTIONS, |session| {
        let batch = session.forward(&ids, Logits::All).unwrap().to_vec();
        session.reset();
        let mut steps = Vec::new();
        for id in &ids {
            steps.extend(session.forward(&[*id], Logits::Last).unwrap());
        }
        assert!(worst_difference(&batch, &steps) < 1e-3);
        assert!(worst_difference(&batch, &std::vec![0.0; batch.len()]) > 1.0, "the logits are all but zero");
    });
}

#[test]
fn a_reset_cache_remembers_nothing() {
    with_session(OPTIONS, |session| {
        let fresh = session.forward(&ids(4), Logits::Last).unwrap().to_vec();
        session.reset();
        session.forward(&ids(30), Logits::None).unwrap();
        session.reset();
        assert_eq!(session.forward(&ids(4), Logits::Last).unwrap(), fresh);
    });
}

#[test]
fn what_two_prompts_have_in_common_is_computed_once() {
    let before = ids(20);
    let prompt: Vec<u32> = [&before[..12], &[7, 8, 9]].concat();
    with_session(OPTIONS, |session| {
        let fresh = session.forward(&prompt, Logits::Last).unwrap().to_vec();
        session.reset();
        session.forward(&before, Logits::None).unwrap();
        for (other, n_common) in [(&[][..], 0), (&[99, 98], 0), (&before, 19), (&prompt, 12)] {
            session.reset();
            session.forward(&before, Logits::None).unwrap();
            session.keep_common_prefix(other);
            assert_eq!(session.n_past(), n_common, "{other:?}");
        }
        let resumed = session.forward(&prompt[12..], Logits::Last).unwrap();
        assert!(worst_difference(&fresh, resumed) < 1e-3);
    });
}

#[test]
fn earlier_tokens_matter() {
    with_session(OPTIONS, |session| {
        let one = session.forward(&[10, 20, 30], Logits::Last).unwrap().to_vec();
        session.reset();
        let other = session.forward(&[11, 20, 30], Logits::Last).unwrap();
        assert!(worst_difference(&one, other) > 1e-3, "the first token has no effect");
    });
}

#[test]
fn a_full_context_refuses_and_stays_as_it_was() {
    with_session(OPTIONS, |session| {
        session.forward(&ids(31), Logits::None).unwrap();
        let full = SessionError::ContextFull { n_tokens: 2, n_past: 31, n_ctx: 32 };
        assert_eq!(session.forward(&ids(2), Logits::Last).unwrap_err(), full);
        assert_eq!(session.n_past(), 31);
        session.forward(&ids(1), Logits::Last).unwrap();
        assert_eq!(session.n_past(), 32);
    });
}

#[test]
fn the_memory_is_known_to_the_byte() {
    let file = fixtures::aligned(&fixtures::micro());
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let required_bytes = Session::required_bytes(&Config::from_gguf(&gguf).unwrap(), &OPTIONS).unwrap();
    for (bytes, suffices) in [(required_bytes, true), (required_bytes - 64, false)] {
        let mut memory = fixtures::aligned(&std::vec![0; bytes]);
        let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
        let session = Session::new(model, OPTIONS, Kernels::detect(), &Serial, &mut memory);
        assert_eq!(session.is_ok(), suffices);
    }
}
