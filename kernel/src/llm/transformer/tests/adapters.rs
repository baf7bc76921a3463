//! Tests of adapters on disks, together with a model. The files and numbers come from `scripts/golden/lora.py`.

use super::*;
use crate::llm::{AdapterFile, Lora};
use ::llm::kv_cache::CacheType;
use std::path::Path;

pub fn golden(path: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/llm/tests/golden");
    std::fs::read(folder.join(path)).unwrap()
}

/// Disks with an adapter, the model, another adapter, and an adapter of another model of the same family.
fn computer() -> TransformerBackend {
    let adapter = |name: &str| golden(&format!("lora/{name}.gguf"));
    let model = golden("architectures/llama.gguf");
    let disks = vec![
        ("a", adapter("llama-0")),
        ("m", model),
        ("b", adapter("llama-1")),
        ("c", adapter("llama-moe-0")),
        ("text", b"no file of GGUF".to_vec()),
    ];
    backend(16 << 20, disks)
}

fn model_path(backend: &mut TransformerBackend) -> String {
    let first = backend.catalog().first().unwrap();
    backend.catalog().path(first)
}

/// The options that llama.cpp was given.
fn options(lora: &[(&str, f32)]) -> EngineOptions {
    let lora = lora.iter().map(|&(name, scale)| Lora { name: name.into(), scale }).collect();
    let ty = Some(CacheType::F32);
    EngineOptions { type_k: ty, type_v: ty, lora, ..EngineOptions::default() }
}

const TOKENS: [u32; 12] = [5, 7, 28, 27, 23, 5, 5, 7, 11, 28, 30, 8];

fn logits(backend: &mut TransformerBackend) -> Vec<f32> {
    let mut logits = Vec::new();
    let mut take = |row: &[f32]| {
        logits.extend_from_slice(row);
        ControlFlow::Continue(())
    };
    backend.logits(None, &TOKENS, &mut take).unwrap();
    logits
}

fn load_with(backend: &mut TransformerBackend, path: &str, lora: &[(&str, f32)]) -> Result<(), BackendError> {
    backend.load(path, options(lora), &mut |_, _| ControlFlow::Continue(()))
}

#[test]
fn a_model_is_changed_by_those_that_are_asked_for_alone() {
    let mut backend = computer();
    let path = model_path(&mut backend);
    load_with(&mut backend, &path, &[("llama-0", 0.75), ("/models/llama-1.gguf", 1.5)]).unwrap();
    let adapted = logits(&mut backend);
    // The third case.
    let expected = golden("lora/logits");
    let floats = expected.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    let expected: Vec<f32> = floats.skip(2 * adapted.len()).take(adapted.len()).collect();
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum();
    let error: f64 = square(&mut adapted.iter().zip(&expected).map(|(found, expected)| found - expected));
    let nmse = error / square(&mut expected.iter().copied());
    assert!(nmse < 2.264881382303507e-06, "{nmse}");

    let mut alone = super::backend(16 << 20, vec![("m", golden("architectures/llama.gguf"))]);
    load_with(&mut alone, &path, &[]).unwrap();
    let plain = logits(&mut alone);
    assert!(backend.adapt(None, options(&[])).unwrap());
    assert_eq!(logits(&mut backend), plain);
    assert!(backend.adapt(None, options(&[("llama-0", 0.75), ("llama-1", 1.5)])).unwrap());
    assert_eq!(logits(&mut backend), adapted);
    // Also with a different memory for texts.
    let n_ctx = backend.model(None).unwrap().n_ctx;
    let shorter = EngineOptions { n_ctx: Some(n_ctx / 2), ..options(&[("llama-1", 1.5), ("llama-0", 0.75)]) };
    assert!(backend.adapt(None, shorter).unwrap());
    assert_eq!(logits(&mut backend), adapted);

    let facts: Vec<_> = backend.adapters(None).unwrap().iter().map(|file| file.facts.as_ref().ok()).collect();
    let [Some(first), Some(second), None] = facts[..] else { panic!("{facts:?}") };
    assert_eq!((first.id, first.rank, first.alpha, second.id, second.rank), (0, 4, 8.0, 1, 3));
    // In the pool, not on the heap: four bytes per number.
    let taken = [first, second].iter().map(|facts| facts.footprint.size_bytes()).sum::<usize>();
    assert_eq!(taken, (2816 + 768) * size_of::<f32>());
    let more = backend.memory_usage().weights_bytes - alone.memory_usage().weights_bytes;
    assert_eq!(more, taken);
    backend.unload(None).unwrap();
    let pool = backend.machine.pool;
    assert_eq!(pool.free_bytes(), pool.total_bytes());
}

#[test]
fn what_is_no_adapter_of_a_model_is_refused_in_a_line() {
    let mut backend = computer();
    let path = model_path(&mut backend);
    // The adapter on the first disk does not count as a model.
    assert_eq!(path, "/models/m.gguf");
    let says = |refused: Result<(), BackendError>, expected: &str| {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(expected) && !refused.contains('\n'), "{refused}");
    };
    // Both before and after the model is loaded.
    for _ in 0..2 {
        says(load_with(&mut backend, &path, &[("llama-moe-0", 1.0)]), "/models/llama-moe-0.gguf: ");
        says(load_with(&mut backend, &path, &[(&path, 1.0)]), "is no adapter");
        says(load_with(&mut backend, &path, &[("nothing", 1.0)]), "\"nothing\"");
        // Before anything of the model is read.
        let before = backend.statistics().load_bytes;
        says(load_with(&mut backend, &path, &[("text", 1.0)]), "/models/text.gguf: not a GGUF file");
        assert_eq!(backend.statistics().load_bytes, before);
        says(load_with(&mut backend, "llama-0", &[]), "the file is an adapter, expected a model");
        load_with(&mut backend, &path, &[]).unwrap();
        let adapt = |backend: &mut TransformerBackend, name: &str| {
            backend.adapt(None, options(&[(name, 1.0)])).map(drop)
        };
        says(adapt(&mut backend, "llama-moe-0"), "/models/llama-moe-0.gguf: ");
        says(adapt(&mut backend, &path), "is no adapter");
        says(adapt(&mut backend, "nothing"), "\"nothing\"");
        says(adapt(&mut backend, "text"), "/models/text.gguf: not a GGUF file");
    }
    let refused: Vec<&AdapterFile> = backend.adapters(None).unwrap().iter().collect();
    assert_eq!(refused[2].path, "/models/llama-moe-0.gguf");
    assert!(
        refused[2].facts.as_ref().unwrap_err().contains("the adapter is of another model"),
        "{refused:?}"
    );
}
