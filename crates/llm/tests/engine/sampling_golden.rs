//! The sampler's distributions compared with a reference in numpy (`scripts/golden/sampling.py`). Compared with llama.cpp:
//! logits after biases and penalties (`scripts/golden/penalties.py`), and the tokens that each stage keeps
//! (`scripts/golden/samplers.py`).

use std::path::Path;

use llm::front::breakers;
use llm::gguf::Gguf;
use llm::sampling::{Breakers, Sampler, SamplingConfig, Stages};
use llm::tokenizer::Tokenizer;

#[test]
fn every_stage_keeps_what_llama_cpp_keeps() {
    let (mut logits, mut recent, mut n_cases) = (Vec::new(), Vec::new(), 0);
    for line in include_str!("../golden/samplers.txt").lines() {
        let fields: Vec<&str> = line.split("; ").collect();
        let [name, middle, last] = fields[..] else { continue };
        if name.starts_with("logits ") {
            (recent, logits) = (numbers::<u32>(middle), numbers::<f32>(last));
            continue;
        }
        if name.starts_with("mirostat ") {
            continue;
        }
        let mut sampler = Sampler::new(config(middle), logits.len()).unwrap();
        recent.iter().for_each(|&id| sampler.accept(id));
        let kept = sampler.distribution(&logits).unwrap().iter();
        let found = kept.map(|candidate| (candidate.id, candidate.probability)).collect();
        // It computes in f32, and its compiler in an order of its own.
        assert_same(found, last, 3e-5, &format!("{name} ({middle})"));
        n_cases += 1;
    }
    assert_eq!(n_cases, 167);
}

/// Compares the result with pairs of ids and probabilities, leaving out those of probability 0.
fn assert_same(mut found: Vec<(u32, f32)>, expected: &str, tolerance: f32, name: &str) {
    found.retain(|&(_, probability)| probability > 0.0);
    found.sort_unstable_by_key(|&(id, _)| id);
    let mut expected = pairs(expected);
    expected.sort_unstable_by_key(|&(id, _)| id);
    let ids = |list: &[(u32, f32)]| -> Vec<u32> { list.iter().map(|&(id, _)| id).collect() };
    assert_eq!(ids(&found), ids(&expected), "{name}");
    for (found, expected) in found.iter().zip(&expected) {
        let error = (found.1 - expected.1).abs();
        assert!(error <= tolerance * expected.1 + 1e-12, "{name}: {found:?}, not {expected:?}");
    }
}

#[test]
fn dry_takes_from_logits_what_llama_cpp_takes() {
    let file = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../test_models/{name}.gguf"));
        std::fs::read(path).unwrap()
    };
    let (micro, tiny) = (file("micro"), file("tiny"));
    let tokenizer = |file| Tokenizer::from_gguf(&Gguf::parse(file, file.len() as u64).unwrap()).unwrap();
    let (micro, tiny) = (tokenizer(&micro[..]), tokenizer(&tiny[..]));
    let (mut n_cases, mut n_broken) = (0, 0);
    for line in include_str!("../golden/samplers.txt").lines() {
        let Some((model, rest)) = line.strip_prefix("dry ").and_then(|rest| rest.split_once("; ")) else {
            continue;
        };
        let fields: Vec<&str> = rest.splitn(2, "; [").collect();
        let [parameters, rest] = fields[..] else { panic!("no breakers: {line}") };
        let (texts, rest) = rest.rsplit_once("]; ").unwrap();
        let (tokens, expected) = rest.split_once("; ").unwrap();
        let texts: Vec<String> = serde_json::from_str(&format!("[{texts}]")).unwrap();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let tokenizer = if model == "micro" { &micro } else { &tiny };
        let logits = vec![0.0; tokenizer.n_vocab()];
        let changes = |breakers: Breakers| -> Vec<(u32, f32)> {
            let sampler = Sampler::new(config(parameters), logits.len()).unwrap();
            let mut sampler = sampler.with_breakers(breakers);
            numbers::<u32>(tokens).into_iter().for_each(|id| sampler.accept(id));
            let kept = sampler.distribution(&logits).unwrap().iter();
            kept.map(|candidate| (candidate.id, candidate.logit)).filter(|&(_, logit)| logit != 0.0).collect()
        };
        let found = changes(breakers(tokenizer, &texts).unwrap());
        let expected = pairs(expected);
        let is_same =
            |(a, b): (&(u32, f32), &(u32, f32))| a.0 == b.0 && (a.1 - b.1).abs() <= 1e-6 * b.1.abs();
        assert!(
            found.len() == expected.len() && found.iter().zip(&expected).all(is_same),
            "{line}: {found:?}"
        );
        n_broken += usize::from(found != changes(Breakers::default()));
        n_cases += 1;
    }
    assert_eq!(n_cases, 240);
    assert!(n_broken > 50, "{n_broken}");
}

/// The cases of llama.cpp's `tests/test-sampling.cpp`.
#[test]
fn the_cases_of_llama_cpps_own_tests_hold() {
    let quarter = [0.1f32, 0.2, 0.3, 0.4];
    let falling = [0.4f32, 0.3, 0.2, 0.1];
    let same = [0.2f32; 5];
    let cases: &[(&[f32], &str, &[f32])] = &[
        (&quarter, "temperature=1", &[0.1, 0.2, 0.3, 0.4]),
        (&quarter, "temperature=0", &[0.0, 0.0, 0.0, 1.0]),
        (&quarter, "temperature=1 dynatemp_range=0 dynatemp_exponent=1", &[0.1, 0.2, 0.3, 0.4]),
        (&quarter, "temperature=0 dynatemp_range=0 dynatemp_exponent=1", &[0.0, 0.0, 0.0, 1.0]),
        (&quarter, "top_k=1", &[0.0, 0.0, 0.0, 1.0]),
        (&quarter, "top_k=3", &[0.0, 0.22222, 0.33333, 0.44444]),
        (&quarter, "top_k=4", &quarter),
        (&quarter, "top_k=0", &quarter),
        (&quarter, "top_p=0", &[0.0, 0.0, 0.0, 1.0]),
        (&quarter, "top_p=0.7", &[0.0, 0.0, 0.428571, 0.571429]),
        (&quarter, "top_p=0.8", &[0.0, 0.22222, 0.33333, 0.44444]),
        (&quarter, "top_p=1", &quarter),
        (&quarter, "min_p=0", &quarter),
        (&quarter, "min_p=0.24", &quarter),
        (&quarter, "min_p=0.26", &[0.0, 0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9]),
        (&quarter, "min_p=0.49", &[0.0, 0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9]),
        (&quarter, "min_p=0.51", &[0.0, 0.0, 0.3 / 0.7, 0.4 / 0.7]),
        (&quarter, "min_p=0.74", &[0.0, 0.0, 0.3 / 0.7, 0.4 / 0.7]),
        (&quarter, "min_p=0.76", &[0.0, 0.0, 0.0, 1.0]),
        (&quarter, "min_p=1", &[0.0, 0.0, 0.0, 1.0]),
        // Its chance there is one of 0.99. What is left is told before it is made to sum up to 1.
        (&falling, "xtc_probability=1 xtc_threshold=0.09", &[0.0, 0.0, 0.0, 1.0]),
        (&falling, "xtc_probability=1 xtc_threshold=0.19", &[0.0, 0.0, 0.2 / 0.3, 0.1 / 0.3]),
        (&falling, "xtc_probability=1 xtc_threshold=0.29", &[0.0, 0.3 / 0.6, 0.2 / 0.6, 0.1 / 0.6]),
        (&falling, "xtc_probability=1 xtc_threshold=0.39", &falling),
        (&[0.97, 0.01, 0.01, 0.01], "typical_p=0.5", &[1.0, 0.0, 0.0, 0.0]),
        (&[0.4, 0.2, 0.2, 0.2], "typical_p=0.5", &[0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]),
        (&same, "repeat_penalty=50 after=0", &[0.0, 0.25, 0.25, 0.25, 0.25]),
        (&same, "repeat_penalty=50 after=0,1,2", &[0.0, 0.0, 0.0, 0.5, 0.5]),
        (&same, "repeat_penalty=50 after=0,1,2,0,0", &[0.0, 0.0, 0.0, 0.5, 0.5]),
        (
            &same,
            "frequency_penalty=5 presence_penalty=5 after=0",
            &[0.000011, 0.249997, 0.249997, 0.249997, 0.249997],
        ),
        (
            &same,
            "frequency_penalty=5 presence_penalty=5 after=0,1,2",
            &[0.000023, 0.000023, 0.000023, 0.499966, 0.499966],
        ),
        (
            &same,
            "frequency_penalty=5 presence_penalty=5 after=0,1,2,0,0",
            &[0.0, 0.000023, 0.000023, 0.499977, 0.499977],
        ),
        (&[0.25; 4], "dry_multiplier=1 dry_base=1.1 dry_penalty_last_n=4 after=0,1", &[0.25; 4]),
        (
            &[0.25; 4],
            "dry_multiplier=1 dry_base=1.1 dry_penalty_last_n=5 after=0,1,2,0,1",
            &[0.296923, 0.296923, 0.109232, 0.296923],
        ),
        (&same, "dry_multiplier=1 dry_base=1.1 dry_penalty_last_n=6 after=0,1,3,4,0,1 breaker=3", &same),
        (
            &same,
            "dry_multiplier=2 dry_base=1.1 dry_penalty_last_n=5 after=0,1,2,0,1",
            &[0.241818, 0.241818, 0.032727, 0.241818, 0.241818],
        ),
        (
            &same,
            "dry_multiplier=1 dry_base=1.1 dry_allowed_length=4 dry_penalty_last_n=7 after=0,1,2,3,4,0,1",
            &same,
        ),
        (&quarter, "top_n_sigma=1", &[0.0, 0.0, 0.428571, 0.571429]),
        (&quarter, "top_n_sigma=0", &quarter),
        (&quarter, "top_n_sigma=3", &quarter),
    ];
    for &(probabilities, parameters, expected) in cases {
        let is_of_config = |word: &&str| !word.starts_with("after=") && !word.starts_with("breaker=");
        let of_config: Vec<&str> = parameters.split(' ').filter(is_of_config).collect();
        let logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
        let mut breakers = Breakers::default();
        let word = |name: &str| parameters.split(' ').find_map(|word| word.strip_prefix(name));
        if let Some(id) = word("breaker=") {
            breakers.add(id.parse().unwrap(), &[]).unwrap();
        }
        let sampler = Sampler::new(config(&of_config.join(" ")), logits.len()).unwrap();
        let mut sampler = sampler.with_breakers(breakers);
        for id in word("after=").into_iter().flat_map(|ids| ids.split(',')) {
            sampler.accept(id.parse().unwrap());
        }
        let mut found = vec![0.0; logits.len()];
        for candidate in sampler.distribution(&logits).unwrap() {
            found[candidate.id as usize] = candidate.probability;
        }
        let is_near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(found.iter().zip(expected).all(is_near), "{parameters}: {found:?}");
    }
}

/// Sequences of filters over logits, each of which is the logarithm of its token's id, so that counting shows which tokens
/// stay.
#[test]
fn queues_of_filters_keep_what_llama_cpps_own_tests_count() {
    const N: usize = 10_000;
    let logits: Vec<f32> = (0..N).map(|id| (id as f32).ln()).collect();
    let one_more = 9997.9 / 9999.0;
    for (letters, top_k, top_p, min_p) in [
        ("k", 10_000, 1.0, 1.0),
        ("k", 1, 1.0, 1.0),
        ("p", 10_000, 0.0, 1.0),
        ("m", 10_000, 1.0, 1.0),
        ("m", 10_000, 1.0, 1e-12),
        ("k", 100, 1.0, 1.0),
        ("p", 10_000, 0.0003, 1.0),
        ("p", 10_000, 0.8, 1.0),
        ("m", 10_000, 1.0, one_more),
        ("m", 10_000, 1.0, 0.1),
        ("kp", 100, 0.8, 0.1),
        ("km", 100, 0.8, 0.1),
        ("pk", 100, 0.8, 0.1),
        ("pm", 100, 0.8, 0.1),
        ("mk", 100, 0.8, 0.1),
        ("mp", 100, 0.8, one_more),
        ("mp", 100, 0.8, 0.1),
        ("kpm", 100, 0.8, 0.1),
        ("kmp", 100, 0.8, 0.1),
        ("pkm", 100, 0.8, 0.1),
        ("pmk", 100, 0.8, 0.1),
        ("mkp", 100, 0.8, 0.1),
        ("mpk", 100, 0.8, 0.1),
    ] {
        // The lowest token that stays.
        let mut first = 0;
        for letter in letters.chars() {
            first = match letter {
                'k' => first.max(N.saturating_sub(top_k)),
                'p' => {
                    let total = (N * (N - 1) / 2 - first * first.saturating_sub(1) / 2) as f64;
                    let (mut id, mut sum) = (N, 0);
                    while id == N || (sum as f64) < (f64::from(top_p) * total).ceil() {
                        id -= 1;
                        sum += id;
                    }
                    first.max(id)
                }
                _ => first.max((f64::from(min_p) * N as f64).floor() as usize).clamp(1, N - 1),
            };
        }
        let stages = Stages::of_letters(letters).unwrap();
        let config = SamplingConfig {
            temperature: 1.0,
            top_k: top_k as u32,
            top_p,
            min_p,
            stages,
            ..SamplingConfig::greedy()
        };
        let mut sampler = Sampler::new(config, N).unwrap();
        let mut kept: Vec<usize> =
            sampler.distribution(&logits).unwrap().iter().map(|candidate| candidate.id as usize).collect();
        kept.sort_unstable();
        let expected: Vec<usize> = (first..N).collect();
        let name = format!("{letters} {top_k} {top_p} {min_p}");
        assert_eq!(
            (kept.len(), kept.first(), kept.last()),
            (expected.len(), expected.first(), expected.last()),
            "{name}"
        );
        assert_eq!(kept, expected, "{name}");
    }
}

#[test]
fn every_filter_agrees_with_the_reference() {
    let golden = include_str!("../golden/sampling.txt");
    let mut logits = Vec::new();
    let mut recent = Vec::new();
    let mut n_cases = 0;
    for line in golden.lines() {
        let fields: Vec<&str> = line.split("; ").collect();
        let [name, middle, last] = fields[..] else {
            panic!("not three fields: {line}");
        };
        if name.starts_with("logits ") {
            recent = numbers::<u32>(middle);
            logits = numbers::<f32>(last);
            continue;
        }
        let mut sampler = Sampler::new(config(middle), logits.len()).unwrap();
        for &id in &recent {
            sampler.accept(id);
        }
        let mut found: Vec<(u32, f32)> = sampler
            .distribution(&logits)
            .unwrap()
            .iter()
            .map(|candidate| (candidate.id, candidate.probability))
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));

        let mut expected: Vec<(u32, f32)> = last
            .split(' ')
            .map(|pair| pair.split_once(':').unwrap())
            .map(|(id, p)| (id.parse().unwrap(), p.parse().unwrap()))
            .collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let ids = |list: &[(u32, f32)]| {
            let mut ids: Vec<u32> = list.iter().map(|&(id, _)| id).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(&found), ids(&expected), "{name} ({middle})");
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found.1 - expected.1).abs();
            assert!(error <= 2e-6 * expected.1 + 1e-12, "{name} ({middle}): {found:?}, not {expected:?}");
        }
        n_cases += 1;
    }
    assert_eq!(n_cases, 90);
}

#[test]
fn biases_and_penalties_change_logits_as_llama_cpp_does() {
    let (mut tokens, mut logits, mut n_cases) = (vec![], vec![], 0);
    for line in include_str!("../golden/penalties.txt").lines() {
        let fields: Vec<&str> = line.split("; ").collect();
        let [biases, parameters, values] = fields[..] else {
            panic!("not three fields: {line}");
        };
        if biases == "logits" {
            (tokens, logits) = (numbers::<u32>(parameters), numbers::<f32>(values));
            continue;
        }
        let biases = pairs(biases);
        let mut sampler = Sampler::with_biases(config(parameters), logits.len(), &biases).unwrap();
        tokens.iter().for_each(|&id| sampler.accept(id));
        let found = sampler.distribution(&logits).unwrap();
        let expected = numbers::<f32>(values);
        assert_eq!(found.len(), expected.len());
        for candidate in found {
            let (found, expected) = (candidate.logit, expected[candidate.id as usize]);
            // Its compiler may fuse the multiplication with the subtraction.
            let is_same = found == expected || (found - expected).abs() <= 1e-6 * expected.abs().max(1.0);
            assert!(is_same, "{line}: {found}, not {expected}, of {}", candidate.id);
        }
        n_cases += 1;
    }
    assert_eq!(n_cases, 18);
}

fn config(parameters: &str) -> SamplingConfig {
    let mut config = SamplingConfig { temperature: 1.0, ..SamplingConfig::greedy() };
    for parameter in parameters.split_whitespace() {
        let (name, value) = parameter.split_once('=').unwrap();
        match name {
            "temperature" => config.temperature = value.parse().unwrap(),
            "top_k" => config.top_k = value.parse().unwrap(),
            "top_p" => config.top_p = value.parse().unwrap(),
            "min_p" => config.min_p = value.parse().unwrap(),
            "repeat_penalty" => config.repeat_penalty = value.parse().unwrap(),
            "frequency_penalty" => config.frequency_penalty = value.parse().unwrap(),
            "presence_penalty" => config.presence_penalty = value.parse().unwrap(),
            "repeat_last_n" => config.repeat_last_n = value.parse().unwrap(),
            "dynatemp_range" => config.dynatemp_range = value.parse().unwrap(),
            "dynatemp_exponent" => config.dynatemp_exponent = value.parse().unwrap(),
            "typical_p" => config.typical_p = value.parse().unwrap(),
            "top_n_sigma" => config.top_n_sigma = value.parse().unwrap(),
            "xtc_probability" => config.xtc_probability = value.parse().unwrap(),
            "xtc_threshold" => config.xtc_threshold = value.parse().unwrap(),
            "dry_multiplier" => config.dry_multiplier = value.parse().unwrap(),
            "dry_base" => config.dry_base = value.parse().unwrap(),
            "dry_allowed_length" => config.dry_allowed_length = value.parse().unwrap(),
            "dry_penalty_last_n" => config.dry_penalty_last_n = value.parse().unwrap(),
            "min_keep" => config.min_keep = value.parse().unwrap(),
            "stages" => config.stages = Stages::of_letters(value).unwrap(),
            _ => panic!("unknown parameter {name}"),
        }
    }
    config
}

fn numbers<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
    text.split(' ').map(|word| word.parse().unwrap()).collect()
}

/// Tokens, with one number each.
fn pairs(text: &str) -> Vec<(u32, f32)> {
    let pairs = text.split_whitespace().map(|pair| pair.split_once(':').unwrap());
    pairs.map(|(id, number)| (id.parse().unwrap(), number.parse().unwrap())).collect()
}
