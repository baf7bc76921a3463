//! Properties of all configurations and all logits.

use llm::sampling::{Breakers, Sampler, SamplingConfig, SamplingError, Stages};
use proptest::prelude::*;

/// Configurations of temperature, top-k, top-p, min-p and penalties alone.
fn usual_configs() -> impl Strategy<Value = SamplingConfig> {
    let temperature = prop_oneof![Just(0.0f32), 0.01f32..5.0, Just(f32::MIN_POSITIVE)];
    let repeat = prop_oneof![Just(1.0f32), 0.5f32..2.0, Just(1e-38f32), Just(1e38f32)];
    let taken = || prop_oneof![2 => Just(0.0f32), 2 => -2f32..2.0, 1 => Just(f32::MIN), 1 => Just(f32::MAX)];
    let penalties = (repeat, taken(), taken());
    (temperature, 0u32..200, 0f32..=1.0, 0f32..=1.0, penalties, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, penalties, seed)| SamplingConfig {
            temperature,
            top_k,
            top_p,
            min_p,
            repeat_penalty: penalties.0,
            frequency_penalty: penalties.1,
            presence_penalty: penalties.2,
            repeat_last_n: 16,
            seed,
            ..SamplingConfig::greedy()
        },
    )
}

/// A non-negative number, extreme ones included.
fn amount() -> impl Strategy<Value = f32> {
    prop_oneof![2 => Just(0.0f32), 4 => 0f32..5.0, 1 => Just(f32::MIN_POSITIVE), 1 => Just(f32::MAX)]
}

/// A list for `samplers`: any stages in any order.
fn orders() -> impl Strategy<Value = Stages> {
    let any_order = prop::collection::vec(prop::sample::select(Stages::USUAL.as_slice()), 0..=Stages::MOST);
    let any_order = any_order.prop_map(|list| {
        let mut stages = Stages::NONE;
        assert!(list.into_iter().all(|stage| stages.push(stage)));
        stages
    });
    prop_oneof![1 => Just(Stages::USUAL), 1 => any_order]
}

/// Configurations of all parameters.
fn configs() -> impl Strategy<Value = SamplingConfig> {
    let off_or = || prop_oneof![1 => Just(1.0f32), 2 => 0f32..=1.0];
    let filters = (off_or(), prop_oneof![-1f32..4.0, Just(f32::MAX)], off_or(), 0f32..=0.6);
    let dry = (amount(), prop_oneof![1f32..3.0, Just(1.0f32), Just(f32::MAX)], 0u32..4, 0u32..20);
    let mirostat = (prop_oneof![3 => Just(0u32), 2 => 1u32..=2], amount(), amount());
    let rest = (amount(), amount(), prop_oneof![Just(0u32), 0u32..400], orders());
    (usual_configs(), filters, dry, mirostat, rest).prop_map(|(usual, filters, dry, mirostat, rest)| {
        SamplingConfig {
            typical_p: filters.0,
            top_n_sigma: filters.1,
            xtc_probability: filters.2,
            xtc_threshold: filters.3,
            dry_multiplier: dry.0,
            dry_base: dry.1,
            dry_allowed_length: dry.2,
            dry_penalty_last_n: dry.3,
            mirostat: mirostat.0,
            mirostat_tau: mirostat.1,
            mirostat_eta: mirostat.2,
            dynatemp_range: rest.0,
            dynatemp_exponent: rest.1,
            min_keep: rest.2,
            stages: rest.3,
            ..usual
        }
    })
}

/// Biases of the logits of the first tokens.
fn biases() -> impl Strategy<Value = Vec<(u32, f32)>> {
    let bias = prop_oneof![
        4 => -100f32..=100.0,
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::MAX),
        1 => Just(f32::MIN),
    ];
    prop::collection::vec((0u32..12, bias), 0..6)
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        8 => -20f32..20.0,
        1 => Just(f32::NEG_INFINITY),
        1 => Just(0.0f32),
        1 => Just(-0.0f32),
        1 => Just(f32::MAX),
        1 => Just(f32::MIN),
    ];
    prop::collection::vec(logit, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_distribution_is_a_head_of_the_vocabulary(
        config in usual_configs(),
        logits in logits(),
        mut biases in biases(),
    ) {
        biases.retain(|&(id, _)| (id as usize) < logits.len());
        let is_banned = |id| biases.contains(&(id, f32::NEG_INFINITY));
        let mut sampler = Sampler::with_biases(config, logits.len(), &biases).unwrap();
        for id in [0, 1, 1, 7, u32::MAX] {
            sampler.accept(id);
        }
        if !(0..).zip(&logits).any(|(id, logit)| logit.is_finite() && !is_banned(id)) {
            prop_assert_eq!(sampler.sample(&logits), Err(SamplingError::NoCandidate));
            return Ok(());
        }
        let kept = sampler.distribution(&logits).unwrap().to_vec();
        let sum: f64 = kept.iter().map(|candidate| f64::from(candidate.probability)).sum();
        prop_assert!((sum - 1.0).abs() < 1e-5, "sum {}", sum);
        if config.top_k > 0 {
            prop_assert!(kept.len() <= config.top_k as usize);
        }
        // A token that went is not more likely than one that stayed.
        let is_plain = SamplingConfig { repeat_penalty: 1.0, frequency_penalty: 0.0, presence_penalty: 0.0, ..config };
        if config == is_plain && biases.is_empty() {
            let lowest = kept.iter().map(|c| c.logit).fold(f32::INFINITY, f32::min);
            for (id, &logit) in (0u32..).zip(&logits) {
                prop_assert!(logit <= lowest || kept.iter().any(|c| c.id == id));
            }
        }
        let drawn = sampler.sample(&logits).unwrap();
        prop_assert!(!is_banned(drawn), "{} is banned", drawn);
        prop_assert!(kept.iter().any(|c| c.id == drawn && c.probability > 0.0));
    }

    #[test]
    fn every_chain_keeps_a_token_and_none_that_is_excluded(
        config in configs(),
        logits in logits(),
        mut biases in biases(),
    ) {
        biases.retain(|&(id, _)| (id as usize) < logits.len());
        let is_excluded = |id: u32| {
            logits[id as usize] == f32::NEG_INFINITY || biases.contains(&(id, f32::NEG_INFINITY))
        };
        let sampler = || {
            let mut breakers = Breakers::default();
            breakers.add(3, &[]).unwrap();
            breakers.add(1, &[7]).unwrap();
            let mut sampler = Sampler::with_biases(config, logits.len(), &biases).unwrap().with_breakers(breakers);
            for id in [0, 1, 2, 1, 7, 0, 1, 2, 0, 1, u32::MAX, 0, 1, 2, 0, 1] {
                sampler.accept(id);
            }
            sampler
        };
        let (mut one, mut other) = (sampler(), sampler());
        if (0..logits.len() as u32).all(is_excluded) {
            prop_assert_eq!(one.sample(&logits), Err(SamplingError::NoCandidate));
            return Ok(());
        }
        for _ in 0..4 {
            let kept = one.distribution(&logits).unwrap().to_vec();
            let sum: f64 = kept.iter().map(|candidate| f64::from(candidate.probability)).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5, "sum {}", sum);
            for candidate in &kept {
                prop_assert!(!candidate.logit.is_nan() && candidate.logit < f32::INFINITY);
                prop_assert!(candidate.probability == 0.0 || !is_excluded(candidate.id));
            }
            let drawn = one.sample(&logits).unwrap();
            prop_assert!(kept.iter().any(|c| c.id == drawn && c.probability > 0.0), "{} of {:?}", drawn, kept);
            // A look at what there is to draw from changes nothing.
            prop_assert_eq!(other.sample(&logits), Ok(drawn));
            one.accept(drawn);
            other.accept(drawn);
        }
    }

    #[test]
    fn any_bits_are_drawn_from_or_refused(bits in prop::collection::vec(any::<u32>(), 1..50)) {
        let logits: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        let mut sampler = Sampler::new(SamplingConfig::creative(), logits.len()).unwrap();
        let broken = logits.iter().any(|x| x.is_nan() || *x == f32::INFINITY);
        match sampler.sample(&logits) {
            Ok(id) => prop_assert!(!broken && logits[id as usize].is_finite()),
            Err(SamplingError::BadLogit { .. }) => prop_assert!(broken),
            Err(error) => prop_assert_eq!(error, SamplingError::NoCandidate),
        }
    }
}

#[test]
fn tokens_are_drawn_as_often_as_their_probability_says() {
    let logits = [0.0f32, 1.0, 2.0, -1.0, 0.5];
    let config = SamplingConfig { temperature: 1.0, seed: 42, ..SamplingConfig::greedy() };
    let mut sampler = Sampler::new(config, logits.len()).unwrap();
    let expected = sampler.distribution(&logits).unwrap().to_vec();
    let n_draws = 100_000;
    let mut counts = [0f64; 5];
    for _ in 0..n_draws {
        counts[sampler.sample(&logits).unwrap() as usize] += 1.0;
    }
    for candidate in expected {
        let p = f64::from(candidate.probability);
        let deviation = (f64::from(n_draws) * p * (1.0 - p)).sqrt();
        let error = counts[candidate.id as usize] - f64::from(n_draws) * p;
        assert!(error.abs() < 4.0 * deviation, "token {}: off by {error}", candidate.id);
    }
}

#[test]
fn a_whole_vocabulary_is_filtered_as_a_full_sort_would() {
    // 150 thousand tokens in pseudo-random order, many of them equal.
    let logits: Vec<f32> =
        (0..150_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as f32 / 4096.0).collect();
    let mut order: Vec<u32> = (0..150_000).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
    for (top_k, top_p) in [(40, 1.0), (0, 0.3), (1000, 0.9)] {
        let config = SamplingConfig { temperature: 1.0, top_k, top_p, ..SamplingConfig::greedy() };
        let mut sampler = Sampler::new(config, logits.len()).unwrap();
        let kept: Vec<u32> = sampler.distribution(&logits).unwrap().iter().map(|c| c.id).collect();
        assert_eq!(kept, order[..kept.len()], "top_k {top_k}, top_p {top_p}");
        assert!(kept.len() > 30);
    }
}
