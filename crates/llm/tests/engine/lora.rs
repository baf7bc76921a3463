//! Adapters (LoRA) compared with llama.cpp, alone and several at once; texts with different adapters in one batch.
//!
//! The files and numbers come from `scripts/golden/lora.py`.

use std::fs;
use std::ops::ControlFlow;

use crate::golden_models::{FileBytes, nmse};
use llm::compute::LowRanks;
use llm::gguf::{Gguf, GgufWriter, Value};
use llm::kv_cache::KvType;
use llm::model::{Adapter, Input, Logits, Model, Span};
use llm::parallel::Serial;
use llm::quant::{GgmlType, ModelBytes, Precision};
use llm::sampling::{Sampler, SamplingConfig};
use llm::scheduler::{Output, Scheduler, Submission};
use llm::session::{Runner, RunnerOptions};
use llm::simd::Kernels;
use llm::state::StateOptions;

/// With exact arithmetic, the only differences come from rounding in f32 sums.
const EXACT_LIMIT: f64 = 1e-9;

fn golden(path: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/golden/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn load(gguf: &Gguf<'_>) -> Model<'static> {
    let bytes: &'static [u8] = FileBytes::new(gguf.bytes()).leak();
    Model::load(&Gguf::parse(bytes, bytes.len() as u64).unwrap(), ModelBytes::as_in_file(bytes)).unwrap()
}

/// The model with this name and its two adapters.
fn model_with_adapters(name: &str) -> (Model<'static>, Vec<LowRanks>) {
    let file = FileBytes::new(&golden(&format!("architectures/{name}.gguf")));
    let model = load(&file.gguf());
    let adapters = (0..2).map(|index| {
        let bytes = golden(&format!("lora/{name}-{index}.gguf"));
        let gguf = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
        Adapter::load(&gguf, &model, &file.gguf()).unwrap().low_ranks
    });
    let adapters = adapters.collect();
    (model, adapters)
}

/// A runner of three slots that uses no adapter by default.
fn runner(
    (model, adapters): (Model<'static>, Vec<LowRanks>),
    kernels: &'static Kernels,
    precision: Precision,
) -> Runner<'static> {
    let n_ctx = 128.min(model.config().n_ctx_train);
    let state = StateOptions {
        n_slots: 3,
        n_ctx,
        n_pages: 12 * StateOptions::pages_of(n_ctx),
        kv_type: KvType::F32,
        finds_prefixes: true,
        n_checkpoints: 0,
        own_checkpoints: false,
    };
    let options = RunnerOptions { state, n_batch: 3 * n_ctx, n_logits: 3 * n_ctx, precision };
    let required_bytes = Runner::required_bytes(model.config(), &options).unwrap();
    let memory = vec![0xff; required_bytes + llm::arena::ALIGN].leak();
    let mut runner = Runner::new(model, options, kernels, &Serial, memory).unwrap();
    let usual = vec![0.0; adapters.len()];
    runner.set_adapters(adapters, usual).unwrap();
    runner
}

fn span(slot: usize, tokens: &[u32]) -> Span<'_> {
    Span { slot, first_position: 0, input: Input::Tokens(tokens), logits: Logits::All }
}

fn run(runner: &mut Runner<'_>, spans: &[Span<'_>]) -> Vec<f32> {
    runner.run(spans, &mut || ControlFlow::Continue(())).unwrap().to_vec()
}

#[test]
fn logits_are_those_of_the_reference() {
    let cases: serde_json::Value = serde_json::from_slice(&golden("lora/manifest.json")).unwrap();
    let expected = golden("lora/logits");
    let expected: Vec<f32> =
        expected.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let cases = cases.as_array().unwrap();
    let n_each = expected.len() / cases.len();
    let mut failures = Vec::new();
    for (case, expected) in cases.iter().zip(expected.chunks_exact(n_each)) {
        let name = case["model"].as_str().unwrap();
        let numbers = |key: &str| -> Vec<f64> {
            case[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let tokens: Vec<u32> = numbers("tokens").into_iter().map(|id| id as u32).collect();
        let scales: Vec<f32> = numbers("scales").into_iter().map(|scale| scale as f32).collect();
        let limit = case["limit"].as_f64().unwrap();
        for kernels in Kernels::available() {
            for (precision, limit) in [(Precision::Quantized, limit), (Precision::Exact, EXACT_LIMIT)] {
                let mut runner = runner(model_with_adapters(name), kernels, precision);
                let plain = run(&mut runner, &[span(0, &tokens)]);
                assert!(nmse(&plain, expected) > 1e-3, "{name}: the adapters change nothing");
                runner.adapt(1, &scales);
                let error = nmse(&run(&mut runner, &[span(1, &tokens)]), expected);
                if error.is_nan() || error > limit {
                    failures.push(format!(
                        "{name} {scales:?} {kernels:?} {precision:?}: {error:.2e} > {limit:.2e}"
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn texts_with_different_adapters_in_one_batch_are_each_as_alone() {
    for name in ["llama", "llama-moe"] {
        for kernels in Kernels::available() {
            let mut runner = runner(model_with_adapters(name), kernels, Precision::Quantized);
            let texts: [&[u32]; 3] = [&[1, 5, 9, 11, 2, 7], &[1, 5, 9, 30], &[1, 5, 9, 11, 2, 7, 8, 3]];
            let scales: [&[f32]; 3] = [&[1.0], &[], &[0.5, -2.0]];
            let alone: Vec<Vec<f32>> = (0..3)
                .map(|index| {
                    runner.adapt(0, scales[index]);
                    let logits = run(&mut runner, &[span(0, texts[index])]);
                    runner.truncate(0, 0);
                    logits
                })
                .collect();
            assert_ne!(alone[0][..30], alone[2][..30]);
            for slots in [[0, 1, 2], [2, 0, 1]] {
                for (slot, scales) in slots.into_iter().zip(scales) {
                    runner.adapt(slot, scales);
                }
                let spans: Vec<_> =
                    slots.into_iter().zip(texts).map(|(slot, text)| span(slot, text)).collect();
                assert!(run(&mut runner, &spans) == alone.concat(), "{name} {kernels:?} {slots:?}");
                slots.into_iter().for_each(|slot| _ = runner.truncate(slot, 0));
            }
        }
    }
}

#[test]
fn what_is_known_of_a_text_is_known_only_with_the_same_adapters() {
    let mut runner = runner(model_with_adapters("llama"), Kernels::detect(), Precision::Quantized);
    let text: Vec<u32> = (0..100).map(|i| i * 7 % 30).collect();
    let len = text.len().min(runner.options().state.n_ctx - 1);
    let text = &text[..len];
    let mut compute = |slot: usize, scales: &[f32]| {
        runner.truncate(slot, 0);
        runner.adapt(slot, scales);
        let n_known = runner.reuse(slot, text);
        let span = Span {
            slot,
            first_position: n_known,
            input: Input::Tokens(&text[n_known..]),
            logits: Logits::Last,
        };
        (n_known, run(&mut runner, &[span]))
    };
    let (n_known, plain) = compute(0, &[]);
    assert_eq!(n_known, 0);
    let (n_known, adapted) = compute(1, &[1.0]);
    assert_eq!(n_known, 0);
    assert_ne!(plain, adapted);
    // In another slot, and after the slot was adapted otherwise.
    assert_eq!(compute(2, &[1.0, 0.0]), (len - 1, adapted.clone()));
    let (n_known, _) = compute(2, &[0.5]);
    assert_eq!(n_known, 0);
    assert_eq!(compute(0, &[1.0]), (len - 1, adapted));
    assert_eq!(compute(2, &[]), (len - 1, plain));
}

#[test]
fn a_scheduler_answers_each_text_with_its_adapters() {
    let prompt: &[u32] = &[1, 5, 9, 11, 2, 7];
    let all: [Option<&[f32]>; 5] = [None, Some(&[1.0]), Some(&[0.0, 3.0]), Some(&[1.0]), Some(&[])];
    let answer = |texts: &[Option<&[f32]>]| -> Vec<Vec<u32>> {
        let runner = runner(model_with_adapters("llama"), Kernels::detect(), Precision::Quantized);
        let n_vocab = runner.model().config().n_vocab;
        let mut scheduler = Scheduler::new(runner, 8).unwrap();
        let ids: Vec<_> = texts
            .iter()
            .map(|&adapters| {
                let sampler = Sampler::new(SamplingConfig::greedy(), n_vocab).unwrap();
                scheduler
                    .submit(Submission { prompt, max_tokens: 12, sampler, speculate: 0, adapters })
                    .unwrap()
            })
            .collect();
        let mut answers = vec![Vec::new(); texts.len()];
        let step = &mut |id, output: Output<'_>| {
            if let Output::Token { token, .. } = output {
                answers[ids.iter().position(|&known| known == id).unwrap()].push(token);
            }
            ControlFlow::Continue(())
        };
        while scheduler.step(&mut || ControlFlow::Continue(()), step).unwrap() > 0 {}
        answers
    };
    let together = answer(&all);
    for (index, adapters) in all.into_iter().enumerate() {
        assert_eq!(answer(&[adapters]), [together[index].clone()], "{adapters:?}");
    }
    assert_eq!(together[0], together[4]);
    assert_eq!(together[1], together[3]);
    assert!(together[0] != together[1] && together[1] != together[2], "{together:?}");
}

#[test]
fn what_is_usual_changes_for_texts_that_are_submitted_from_then_on() {
    let runner = runner(model_with_adapters("llama"), Kernels::detect(), Precision::Quantized);
    let n_vocab = runner.model().config().n_vocab;
    let mut scheduler = Scheduler::new(runner, 8).unwrap();
    let mut answers: Vec<(_, Vec<u32>)> = Vec::new();
    for usual in [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]] {
        scheduler.set_usual_scales(&usual);
        for adapters in [None, Some(&usual[..])] {
            let sampler = Sampler::new(SamplingConfig::greedy(), n_vocab).unwrap();
            let text =
                Submission { prompt: &[1, 5, 9, 11, 2, 7], max_tokens: 12, sampler, speculate: 0, adapters };
            answers.push((scheduler.submit(text).unwrap(), Vec::new()));
        }
    }
    let step = &mut |id, output: Output<'_>| {
        if let Output::Token { token, .. } = output {
            answers.iter_mut().find(|(known, _)| *known == id).unwrap().1.push(token);
        }
        ControlFlow::Continue(())
    };
    while scheduler.step(&mut || ControlFlow::Continue(()), step).unwrap() > 0 {}
    let ids: Vec<_> = answers.iter().map(|(_, ids)| ids).collect();
    assert!(ids.iter().all(|ids| !ids.is_empty()) && ids[0] != ids[2], "{ids:?}");
    assert!(ids[0] == ids[1] && ids[2] == ids[3] && ids[4] == ids[0] && ids[5] == ids[0], "{ids:?}");
}

/// An adapter of these tensors, F32 `[n1][n0]`.
fn adapter(keys: &[(&str, &str)], tensors: &[(&str, [u64; 2])]) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    keys.iter().for_each(|(key, value)| writer.put(key, Value::String((*value).into())).unwrap());
    tensors.iter().for_each(|(name, dims)| writer.declare_tensor(name, GgmlType::F32, dims).unwrap());
    let mut file = Vec::new();
    let sink = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok::<_, std::io::Error>(())
    };
    let mut data = writer.write_header(sink).unwrap();
    for (_, dims) in tensors {
        data.write(&vec![0; (dims[0] * dims[1] * 4) as usize]).unwrap();
    }
    data.finish().unwrap();
    file
}

#[test]
fn adapters_of_other_models_are_refused() {
    let file = FileBytes::new(&golden("architectures/llama.gguf"));
    let model = load(&file.gguf());
    let n_embd = model.config().n_embd as u64;
    let n_q = file.gguf().tensor("blk.0.attn_q.weight").unwrap().dims[1];
    let good = [("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", "llama")];
    let (a, b) = ("blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b");
    let pair = [(a, [n_embd, 2]), (b, [2, n_q])];
    let refused = |keys: &[(&str, &str)], tensors: &[(&str, [u64; 2])]| {
        let bytes = adapter(keys, tensors);
        let gguf = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
        Adapter::load(&gguf, &model, &file.gguf()).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(refused(&good, &pair), Ok(()));
    let says = |result: Result<(), String>, expected: &str| {
        let error = result.unwrap_err();
        assert!(error.contains(expected) && !error.contains('\n'), "{error:?}: {expected}");
    };
    says(refused(&good[1..], &pair), "`general.type` is missing, expected \"adapter\"");
    let other = [good[0], good[1], ("general.architecture", "qwen2")];
    says(refused(&other, &pair), "`general.architecture` is \"qwen2\", expected \"llama\"");
    let other = [good[0], ("adapter.type", "control"), good[2]];
    says(refused(&other, &pair), "`adapter.type` is \"control\", expected \"lora\"");
    says(refused(&good, &pair[..1]), "blk.0.attn_q.weight.lora_a is alone");
    says(refused(&good, &pair[1..]), "blk.0.attn_q.weight.lora_b is alone");
    says(refused(&good, &[]), "no tensors");
    says(refused(&good, &[(a, [n_embd + 2, 2]), (b, [2, n_q])]), "do not fit");
    says(refused(&good, &[(a, [n_embd, 2]), (b, [3, n_q])]), "do not fit");
    let (a, b) = ("blk.77.attn_q.weight.lora_a", "blk.77.attn_q.weight.lora_b");
    says(refused(&good, &[(a, [n_embd, 2]), (b, [2, n_q])]), "the model has no tensor blk.77.attn_q.weight");
    let (a, b) = ("blk.0.attn_norm.weight.lora_a", "blk.0.attn_norm.weight.lora_b");
    says(refused(&good, &[(a, [n_embd, 2]), (b, [2, 1])]), "blk.0.attn_norm.weight cannot be adapted");
    says(refused(&good, &[("blk.0.attn_norm.weight", [n_embd, 1])]), "names end in .lora_a and .lora_b");
}
