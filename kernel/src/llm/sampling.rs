//! Tests of the engine's sampling as linked by the kernel, on logits of the small model.

use std::{collections::BTreeSet, vec::Vec};

use llm::{
    gguf::Gguf,
    model::Model,
    parallel::Serial,
    quant::ModelBytes,
    sampling::{Sampler, SamplingConfig, SamplingError},
    session::{Logits, Session, SessionOptions},
    simd::Kernels,
};

use super::fixtures;

/// The small model's logits after a few tokens.
fn logits() -> Vec<f32> {
    let file = fixtures::aligned(&fixtures::micro());
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let options = SessionOptions::generate(32);
    let mut memory =
        fixtures::aligned(&std::vec![0; Session::required_bytes(model.config(), &options).unwrap()]);
    let mut session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    session.forward(&[1, 100, 120, 140], Logits::Last).unwrap().to_vec()
}

fn most_likely(logits: &[f32]) -> u32 {
    (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
}

fn draws(config: SamplingConfig, logits: &[f32], n: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(config, logits.len()).unwrap();
    (0..n)
        .map(|_| {
            let id = sampler.sample(logits).unwrap();
            sampler.accept(id);
            id
        })
        .collect()
}

#[test]
fn greedy_takes_the_most_likely_token_and_the_first_of_equals() {
    let logits = logits();
    assert_eq!(draws(SamplingConfig::greedy(), &logits, 3), [most_likely(&logits); 3]);
    assert_eq!(draws(SamplingConfig::greedy(), &[0.0, 2.0, 1.0, 2.0], 1), [1]);
}

#[test]
fn a_seed_gives_the_same_draws_and_another_seed_others() {
    let logits = logits();
    let seeded =
        |seed| draws(SamplingConfig { seed, temperature: 1.5, ..SamplingConfig::greedy() }, &logits, 50);
    assert_eq!(seeded(1), seeded(1));
    assert_ne!(seeded(1), seeded(2));
    assert!(BTreeSet::from_iter(seeded(1)).len() > 5, "hardly anything varies");
}

#[test]
fn top_k_and_min_p_keep_unlikely_tokens_out() {
    let logits = logits();
    let hot = SamplingConfig { temperature: 5.0, ..SamplingConfig::greedy() };
    assert_eq!(draws(SamplingConfig { top_k: 1, ..hot }, &logits, 20), [most_likely(&logits); 20]);
    assert_eq!(draws(SamplingConfig { min_p: 1.0, ..hot }, &logits, 20), [most_likely(&logits); 20]);
    assert_eq!(draws(SamplingConfig { top_p: 0.0, ..hot }, &logits, 20), [most_likely(&logits); 20]);
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
    let drawn = BTreeSet::from_iter(draws(SamplingConfig { top_k: 3, ..hot }, &logits, 200));
    assert_eq!(drawn, BTreeSet::from_iter(order[..3].iter().copied()));
}

#[test]
fn a_repetition_penalty_drives_greedy_text_on() {
    let config = SamplingConfig { repeat_penalty: 1e6, ..SamplingConfig::greedy() };
    let drawn = draws(config, &[1.0, 3.0, 2.0], 3);
    assert_eq!(drawn, [1, 2, 0]);
}

#[test]
fn logits_that_are_not_numbers_are_an_error() {
    let mut logits = logits();
    logits[7] = f32::NAN;
    let mut sampler = Sampler::new(SamplingConfig::greedy(), logits.len()).unwrap();
    assert!(std::format!("{}", sampler.sample(&logits).unwrap_err()).contains('7'));
    let config = SamplingConfig { top_p: 1.5, ..SamplingConfig::creative() };
    assert!(matches!(Sampler::new(config, 10), Err(SamplingError::Parameter { name: "top_p", .. })));
}
