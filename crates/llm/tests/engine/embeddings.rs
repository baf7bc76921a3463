//! Embeddings compared with llama.cpp; `scripts/golden/embeddings.py` made the expected values.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::golden_models::{FileBytes, nmse};
use llm::front::embedding::{EmbeddingOptions, EmbeddingWish, Pooling};
use llm::front::{FrontError, PROMPT_ENCODING, Prompt, Prompter, Responder, vectors};
use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Precision};
use llm::scheduler::{Output, Scheduler};
use llm::session::{Runner, RunnerOptions, SessionError};
use llm::simd::Kernels;
use llm::state::StateOptions;

const N_CTX: usize = 48;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Runs `test` with a runner of the model in `gguf`, with batches of up to `n_batch` tokens.
fn with_runner<T>(
    gguf: &Gguf<'_>,
    n_batch: usize,
    kernels: &'static Kernels,
    test: impl FnOnce(Runner<'_>) -> T,
) -> T {
    let model = Model::load(gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let state = StateOptions {
        n_slots: 1,
        n_ctx: N_CTX.min(model.config().n_ctx_train),
        n_pages: 1,
        kv_type: KvType::F32,
        finds_prefixes: true,
        n_checkpoints: 0,
        own_checkpoints: false,
    };
    let options = RunnerOptions { state, n_batch, n_logits: 1, precision: Precision::Quantized };
    let mut memory = vec![0; Runner::required_bytes(model.config(), &options).unwrap() + llm::arena::ALIGN];
    test(Runner::new(model, options, kernels, &Serial, &mut memory).unwrap())
}

fn go_on() -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn embeddings_are_those_of_the_reference() {
    let golden_file = std::fs::read_to_string(golden("embeddings.json")).unwrap();
    let entries: serde_json::Value = serde_json::from_str(&golden_file).unwrap();
    let entries = entries.as_array().unwrap();
    for entry in entries {
        let name = entry["name"].as_str().unwrap();
        let numbers = |key: &str| entry[key].as_array().unwrap().iter();
        let tokens: Vec<u32> = numbers("tokens").map(|id| id.as_u64().unwrap() as u32).collect();
        let expected: Vec<f32> = numbers("embedding").map(|value| value.as_f64().unwrap() as f32).collect();
        let pooling = match entry["pooling_type"].as_u64().unwrap() {
            0 => Pooling::None,
            1 => Pooling::Mean,
            2 => Pooling::Cls,
            3 => Pooling::Last,
            4 => Pooling::Rank,
            other => panic!("pooling type {other}"),
        };
        let options =
            EmbeddingOptions { pooling, normalise: !matches!(pooling, Pooling::None | Pooling::Rank) };
        let file = FileBytes::new(&std::fs::read(golden(&format!("{name}.gguf"))).unwrap());
        let mut all: Vec<Vec<f32>> = vec![];
        for kernels in Kernels::available() {
            // An encoder reads the whole text at once.
            let batches = if name.contains("bert") { &[tokens.len()][..] } else { &[tokens.len(), 5] };
            for &n_batch in batches {
                let found = with_runner(&file.gguf(), n_batch, kernels, |runner| {
                    let mut scheduler = Scheduler::new(runner, 0).unwrap();
                    scheduler.submit_embedding(&tokens, options).unwrap();
                    let mut found = vec![];
                    while scheduler
                        .step(&mut go_on, &mut |_, output| {
                            if let Output::Embedding { values } = output {
                                found.push(values.to_vec());
                            }
                            ControlFlow::Continue(())
                        })
                        .unwrap()
                        > 0
                    {}
                    found
                });
                let [values] = &found[..] else { panic!("{} results", found.len()) };
                let error = nmse(values, &expected);
                let limit = entry["limit"].as_f64().unwrap();
                assert!(error <= limit, "{name}, {pooling:?}, {}: NMSE {error:.2e}", kernels.name());
                all.push(values.clone());
            }
        }
        assert!(all.iter().all(|values| *values == all[0]), "{name}");
    }
    assert_eq!(entries.len(), 23);
}

/// A model with a classifier, whose words have one letter each.
const RERANKER: &str = "classifiers/bert.gguf";

#[test]
fn documents_are_scored_behind_the_query_and_in_their_order() {
    let file = FileBytes::new(&std::fs::read(golden(RERANKER)).unwrap());
    let documents = ["b c", "z", "a b c d e f", "?"];
    let scores = with_runner(&file.gguf(), N_CTX, Kernels::detect(), |runner| {
        let mut responder = Responder::new(Prompter::new(file.gguf()).unwrap(), runner, 4).unwrap();
        let pair = |document: &str| {
            let mut ids = vec![];
            responder.prompter().encode_pair("a b", document, &mut ids).unwrap();
            ids
        };
        assert_eq!(pair("b c"), [2, 5, 6, 3, 6, 7]);
        let pairs: Vec<Vec<u32>> = documents.iter().map(|document| pair(document)).collect();
        let wish = EmbeddingWish { pooling: Some(Pooling::Rank), normalise: None, max_tokens: None };
        let of_pairs = |place: usize| match place % 2 {
            0 => Prompt::Ids(&pairs[place]),
            _ => Prompt::Pair("a b", documents[place]),
        };
        let mut scores = vec![];
        vectors::run(
            &mut responder,
            (pairs.len(), &of_pairs),
            wish,
            || 0,
            &mut go_on,
            &mut |place, embedding| {
                assert_eq!((place, embedding.n_tokens), (scores.len(), pairs[place].len()));
                scores.extend_from_slice(&embedding.values);
                ControlFlow::Continue(())
            },
        )
        .unwrap();
        // Alone it is the same.
        let alone = responder.embed(&Prompt::Ids(&pairs[2]), wish, &mut go_on).unwrap();
        assert_eq!(alone.values, scores[2..3]);
        // A text that cannot be computed is told after those before it, and nothing remains.
        let too_long = vec![5; N_CTX + 1];
        let mut n_told = 0;
        let refused = vectors::run(
            &mut responder,
            (2, &|place| Prompt::Ids([&pairs[0], &too_long][place])),
            wish,
            || 0,
            &mut go_on,
            &mut |_, _| {
                n_told += 1;
                ControlFlow::Continue(())
            },
        );
        let expected = SessionError::PromptTooLong { n_tokens: N_CTX + 1, n_ctx: N_CTX };
        assert_eq!((refused, n_told), (Err(FrontError::Session(expected)), 1));
        let stopped =
            vectors::run(&mut responder, (pairs.len(), &of_pairs), wish, || 0, &mut go_on, &mut |_, _| {
                ControlFlow::Break(())
            });
        assert_eq!(stopped, Err(FrontError::Session(SessionError::Stopped)));
        assert!(responder.is_idle());
        scores
    });
    assert_eq!(scores.len(), documents.len());
    assert!(scores.windows(2).all(|pair| pair[0] != pair[1]), "{scores:?}");
}

/// The small model with a pooling type.
fn micro(pooling_type: Option<u32>) -> Vec<u8> {
    let file = std::fs::read(golden("../../../../test_models/micro.gguf")).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let architecture = gguf.str_value("general.architecture").unwrap().unwrap();
    broken_gguf::with_metadata(&gguf, &|_| true, &mut |writer| {
        if let Some(pooling_type) = pooling_type {
            writer.put_u32(&format!("{architecture}.pooling_type"), pooling_type).unwrap();
        }
    })
}

/// Runs `test` with a responder of the small model with this pooling type.
fn with_responder<T>(pooling_type: Option<u32>, test: impl FnOnce(&mut Responder<'_>) -> T) -> T {
    let file = FileBytes::new(&micro(pooling_type));
    with_runner(&file.gguf(), 8, Kernels::detect(), |runner| {
        test(&mut Responder::new(Prompter::new(file.gguf()).unwrap(), runner, 1).unwrap())
    })
}

#[test]
fn a_responder_pools_as_the_file_says_while_there_are_no_requests() {
    let text = Prompt::Text("Once upon a time there was a robot", PROMPT_ENCODING);
    let wish = EmbeddingWish::default();
    let embed = |pooling_type| {
        with_responder(pooling_type, |responder| {
            let mut ids = vec![];
            let tokenizer = responder.prompter().tokenizer().unwrap();
            tokenizer.encode("Once upon a time there was a robot", PROMPT_ENCODING, &mut ids).unwrap();
            let found = responder.embed(&text, wish, &mut go_on)?;
            let length: f64 = found.values.iter().map(|&value| f64::from(value).powi(2)).sum();
            assert!((length - 1.0).abs() < 1e-6 && found.n_tokens == ids.len(), "{length}");
            assert_eq!(responder.embed(&Prompt::Ids(&ids), wish, &mut go_on)?, found);
            Ok::<_, FrontError>(found.values)
        })
    };
    let mean = embed(None).unwrap();
    assert_eq!(embed(Some(0)).unwrap(), mean);
    assert_eq!(embed(Some(1)).unwrap(), mean);
    let (first, last) = (embed(Some(2)).unwrap(), embed(Some(3)).unwrap());
    assert!(first != mean && last != mean && first != last);
    assert_eq!(embed(Some(4)), Err(FrontError::NoClassifier));
    assert_eq!(embed(Some(5)), Err(FrontError::Pooling { pooling_type: 5 }));

    with_responder(None, |responder| {
        let ask = || llm::front::Request::new(Prompt::Ids(&[5, 6, 7]), 4);
        let answer = |responder: &mut Responder<'_>| {
            responder.generate(ask(), || 0, &mut |_| ControlFlow::Continue(())).unwrap().ids
        };
        let before = answer(responder);
        assert_eq!(responder.embed(&text, wish, &mut go_on).unwrap().values, mean);
        assert_eq!(answer(responder), before);
        let stopped = responder.embed(&text, wish, &mut || ControlFlow::Break(()));
        assert_eq!(stopped, Err(FrontError::Session(SessionError::Stopped)));
        let refused = responder.embed(&Prompt::Ids(&[]), wish, &mut go_on);
        assert_eq!(refused, Err(FrontError::Session(SessionError::NoTokens)));
        let too_long = responder.embed(&Prompt::Ids(&[5; N_CTX + 1]), wish, &mut go_on);
        let expected = SessionError::PromptTooLong { n_tokens: N_CTX + 1, n_ctx: N_CTX };
        assert_eq!(too_long, Err(FrontError::Session(expected)));
        let id = responder.submit(ask(), || 0).unwrap();
        assert_eq!(responder.embed(&text, wish, &mut go_on), Err(FrontError::Busy));
        responder.cancel(id, || 0).unwrap();
        assert_eq!(responder.embed(&text, wish, &mut go_on).unwrap().values, mean);
        assert_eq!(answer(responder), before);
    });
}
