//! The distributions of the sampler against a reference in numpy (`scripts/golden/sampling.py`), and what biases and penalties
//! make of logits against llama.cpp (`scripts/golden/penalties.py`).

use llm::sampling::{Sampler, SamplingConfig};

#[test]
fn every_filter_agrees_with_the_reference() {
    let golden = include_str!("golden/sampling.txt");
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
    for line in include_str!("golden/penalties.txt").lines() {
        let fields: Vec<&str> = line.split("; ").collect();
        let [biases, parameters, values] = fields[..] else {
            panic!("not three fields: {line}");
        };
        if biases == "logits" {
            (tokens, logits) = (numbers::<u32>(parameters), numbers::<f32>(values));
            continue;
        }
        let biases: Vec<(u32, f32)> = biases
            .split_whitespace()
            .map(|pair| pair.split_once(':').unwrap())
            .map(|(id, bias)| (id.parse().unwrap(), bias.parse().unwrap()))
            .collect();
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
            _ => panic!("unknown parameter {name}"),
        }
    }
    config
}

fn numbers<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
    text.split(' ').map(|word| word.parse().unwrap()).collect()
}
