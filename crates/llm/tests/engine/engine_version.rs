//! The engine's version changes if and only if the golden logits change, or the tokens drawn from them.

use crate::golden_models;
use llm::ENGINE_VERSION;
use llm::quant::Precision;
use llm::sampling::{Sampler, SamplingConfig};
use llm::simd::Kernels;
use trust::fixed::Fixed;
use trust::sha256::{PORTABLE, Sha256};

/// Each version with the digest of its logits.
const VERSIONS: &str = include_str!("../golden/engine_versions");

#[test]
fn the_version_names_the_bits() {
    let mut versions = Vec::new();
    for line in VERSIONS.lines().filter(|line| !line.starts_with('#')) {
        let (version, digest) = line.split_once(' ').expect("a version and a digest");
        versions.push((version.parse::<u32>().unwrap(), Fixed::<32>::parse(digest).unwrap()));
    }
    for (index, (version, digest)) in versions.iter().enumerate() {
        assert_eq!(*version as usize, index + 1, "versions count from 1");
        let is_new = versions[..index].iter().all(|(_, earlier)| earlier != digest);
        assert!(is_new, "version {version} has the bits of an earlier one");
    }
    let &(version, expected) = versions.last().unwrap();
    assert_eq!(version, ENGINE_VERSION);
    // Those that compute attention in half precision give other bits, and receipts name them.
    let sets = Kernels::available().filter(|kernels| !kernels.name().contains("+fp16"));
    for kernels in sets {
        let set = kernels.name();
        assert_eq!(
            digest(kernels),
            expected,
            "{set}: logits have other bits. If that is meant, count ENGINE_VERSION up and add a line with the new digest to \
             crates/llm/tests/golden/engine_versions"
        );
    }
}

/// The digest of the logits of all golden models.
fn digest(kernels: &'static Kernels) -> Fixed<32> {
    let mut hash = Sha256::new(PORTABLE);
    for folder in ["architectures", "tensor_types"] {
        for case in golden_models::cases(folder) {
            let file = case.file();
            for precision in [Precision::Quantized, Precision::Exact] {
                let logits = case.logits(&file.gguf(), kernels, precision).unwrap();
                hash.update(case.name.as_bytes());
                logits.iter().for_each(|logit| hash.update(&logit.to_bits().to_le_bytes()));
                let n_vocab = logits.len() / case.tokens.len();
                draw(&logits, n_vocab).iter().for_each(|token| hash.update(&token.to_le_bytes()));
            }
        }
    }
    Fixed(hash.finish())
}

/// Tokens drawn from each row of logits in turn, in several ways, so that every sampling stage takes part.
fn draw(logits: &[f32], n_vocab: usize) -> Vec<u32> {
    let filters = SamplingConfig {
        temperature: 1.5,
        dynatemp_range: 0.5,
        top_k: 40,
        top_p: 0.95,
        typical_p: 0.98,
        top_n_sigma: 3.0,
        xtc_probability: 0.5,
        min_p: 0.02,
        repeat_penalty: 1.1,
        frequency_penalty: 0.1,
        presence_penalty: 0.2,
        dry_multiplier: 0.8,
        seed: 1,
        ..SamplingConfig::greedy()
    };
    let mirostat =
        |mirostat| SamplingConfig { temperature: 1.2, mirostat, seed: 2, ..SamplingConfig::greedy() };
    let mut drawn = Vec::new();
    for config in [SamplingConfig::greedy(), filters, mirostat(1), mirostat(2)] {
        let mut sampler = Sampler::new(config, n_vocab).unwrap();
        for row in logits.chunks_exact(n_vocab) {
            let token = sampler.sample(row).unwrap();
            sampler.accept(token);
            drawn.push(token);
        }
    }
    drawn
}
