//! Several texts in one batch: each has the same logits as alone, to the bit.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::micro::{micro, repository_file, set_number};
use crate::random::Random;
use crate::threads::Threads;
use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::{Config, Input, Model};
use llm::parallel::{Serial, Workers};
use llm::quant::{ModelBytes, Precision};
use llm::session::{Logits, Runner, RunnerOptions, Session, SessionError, SessionOptions, Span, SpanError};
use llm::simd::Kernels;
use llm::state::StateOptions;

fn go_on() -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The logits after each of `tokens`, computed alone in one batch. The context has `n_ctx` positions, because the rotary
/// embedding can depend on its length.
fn alone(
    model: &Arc<Model<'_>>,
    kernels: &'static Kernels,
    kv_type: KvType,
    n_ctx: usize,
    tokens: &[u32],
) -> Vec<Vec<f32>> {
    let options =
        SessionOptions { n_ctx, n_batch: n_ctx, n_logits: n_ctx, kv_type, precision: Precision::Quantized };
    let mut memory =
        vec![0xff; Session::required_bytes(model.config(), &options).unwrap() + llm::arena::ALIGN];
    let mut session = Session::new(Arc::clone(model), options, kernels, &Serial, &mut memory).unwrap();
    let logits = session.forward(tokens, Logits::All).unwrap();
    logits.chunks_exact(model.config().n_output()).map(<[f32]>::to_vec).collect()
}

/// Options of a runner with enough pages for all slots.
fn options(n_slots: usize, n_ctx: usize, n_batch: usize, n_logits: usize, kv_type: KvType) -> RunnerOptions {
    let n_pages = n_slots * StateOptions::pages_of(n_ctx);
    let state = StateOptions {
        n_slots,
        n_ctx,
        n_pages,
        kv_type,
        finds_prefixes: false,
        n_checkpoints: 0,
        own_checkpoints: true,
    };
    RunnerOptions { state, n_batch, n_logits, precision: Precision::Quantized }
}

/// Calls `work` with a runner whose memory is filled with NaN at first.
fn with_runner<T>(
    model: &Arc<Model<'_>>,
    kernels: &'static Kernels,
    workers: &dyn Workers,
    options: RunnerOptions,
    work: impl for<'a> FnOnce(&mut Runner<'a>) -> T,
) -> T {
    let mut memory =
        vec![0xff; Runner::required_bytes(model.config(), &options).unwrap() + llm::arena::ALIGN];
    work(&mut Runner::new(Arc::clone(model), options, kernels, workers, &mut memory).unwrap())
}

fn span<'t>(slot: usize, first_position: usize, tokens: &'t [u32], logits: Logits<'t>) -> Span<'t> {
    Span { slot, first_position, input: Input::Tokens(tokens), logits }
}

/// A part of a text, to be computed in the next batch.
struct Part {
    text: usize,
    first: usize,
    len: usize,
    rows: Vec<usize>,
}

/// Computes `texts` in batches of random parts of them, and compares every row of logits with that of the text alone.
fn check(
    model: &Arc<Model<'_>>,
    kernels: &'static Kernels,
    n_workers: usize,
    kv_type: KvType,
    texts: &[Vec<u32>],
    random: &mut Random,
) {
    let config = model.config();
    let n_ctx = texts.iter().map(Vec::len).max().unwrap();
    let want: Vec<_> = texts.iter().map(|text| alone(model, kernels, kv_type, n_ctx, text)).collect();
    let n_batch = texts.iter().map(Vec::len).sum();
    let options = options(texts.len(), n_ctx, n_batch, n_batch, kv_type);
    with_runner(model, kernels, &Threads(n_workers), options, |runner| {
        while (0..texts.len()).any(|text| runner.len(text) < texts[text].len()) {
            // What recurrent layers keep goes back to a checkpoint or to the beginning, so not too often.
            if config.is_recurrent() && random.below(4) == 0 {
                let text = random.below(texts.len());
                runner.truncate(text, runner.len(text).saturating_sub(random.below(3)));
                runner.plan_checkpoint(text, 1);
            }
            let mut parts: Vec<Part> = (0..texts.len())
                .filter_map(|text| {
                    let (first, end) = (runner.len(text), texts[text].len());
                    let most = end - first;
                    // Encoders read whole texts; others now and then go back a little.
                    let (first, len) = match config.is_encoder() {
                        true => (first, most),
                        false if config.is_recurrent() => (first, random.below(most + 1)),
                        false if most > 0 => (first - random.below(2).min(first), random.below(most + 1)),
                        false => (first, 0),
                    };
                    let rows = (0..len).filter(|_| random.below(2) == 0).collect();
                    (len > 0).then_some(Part { text, first, len, rows })
                })
                .collect();
            if !parts.is_empty() {
                let turn = random.below(parts.len());
                parts.rotate_left(turn);
            } else {
                continue;
            }
            let wanted: Vec<Logits<'_>> = parts
                .iter()
                .map(|part| match random.below(5) {
                    0 => Logits::None,
                    1 => Logits::Last,
                    2 => Logits::Tail(random.below(part.len + 1)),
                    3 => Logits::All,
                    _ => Logits::Rows(&part.rows),
                })
                .collect();
            let spans: Vec<Span<'_>> = parts
                .iter()
                .zip(&wanted)
                .map(|(part, &logits)| Span {
                    slot: part.text,
                    first_position: part.first,
                    input: Input::Tokens(&texts[part.text][part.first..][..part.len]),
                    logits,
                })
                .collect();
            let logits = runner.run(&spans, &mut go_on).unwrap();
            let mut rows = logits.chunks_exact(config.n_output());
            for (part, wanted) in parts.iter().zip(wanted) {
                let of_part = match wanted {
                    Logits::None => vec![],
                    Logits::Last => vec![part.len - 1],
                    Logits::Tail(n) => (part.len - n..part.len).collect(),
                    Logits::All => (0..part.len).collect(),
                    Logits::Rows(rows) => rows.to_vec(),
                };
                for row in of_part {
                    let position = part.first + row;
                    assert!(
                        rows.next() == Some(&want[part.text][position][..]),
                        "{}, {}, {n_workers} cores: position {position} of text {} of {}",
                        config.architecture.name,
                        kernels.name(),
                        part.text,
                        texts.len(),
                    );
                }
            }
            assert!(rows.next().is_none());
        }
    });
}

fn text(random: &mut Random, len: usize, n_vocab: usize) -> Vec<u32> {
    (0..len).map(|_| random.below(n_vocab) as u32).collect()
}

/// Calls `work` with the name and the small model of each family.
fn each_family(mut work: impl FnMut(&str, Arc<Model<'_>>)) {
    let mut n_files = 0;
    for entry in std::fs::read_dir(repository_file("tests/golden/architectures")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            let file = std::fs::read(&path).unwrap();
            let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
            let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
            work(path.file_stem().unwrap().to_str().unwrap(), model);
            n_files += 1;
        }
    }
    assert!(n_files > 50, "{n_files} files");
}

#[test]
fn texts_in_one_batch_have_the_logits_that_each_has_alone_in_every_family() {
    let mut random = Random(11);
    let mut n_checks = 0;
    each_family(|_, model| {
        let (n_vocab, n_ctx) = (model.config().n_vocab, model.config().n_ctx_train);
        for kernels in Kernels::all() {
            n_checks += 1;
            // Threads that begin and end with each product take most of an emulator's time.
            let is_emulated = cfg!(all(target_arch = "aarch64", target_env = "musl"));
            let n_workers = if is_emulated && n_checks % 5 > 0 { 1 } else { n_checks % 4 + 1 };
            let texts = [9, 4, 1, 7].map(|len| text(&mut random, len.min(n_ctx), n_vocab));
            check(&model, kernels, n_workers, KvType::F32, &texts, &mut random);
        }
    });
}

#[test]
fn so_have_texts_of_several_blocks_of_positions() {
    let mut file = micro(1024);
    // Heads of 32 elements, which a cache of Q8_0 can hold.
    set_number(&mut file, "llama.attention.head_count", 2);
    set_number(&mut file, "llama.attention.head_count_kv", 1);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let mut random = Random(5);
    for (n_workers, kv_type) in [(1, KvType::F16), (2, KvType::F32), (3, KvType::Q8_0), (4, KvType::F16)] {
        let texts = [200, 65, 1, 64, 131].map(|len| text(&mut random, len, model.config().n_vocab));
        check(&model, Kernels::detect(), n_workers, kv_type, &texts, &mut random);
    }
}

#[test]
fn forks_go_on_as_if_each_had_been_computed_alone_in_every_family() {
    let mut random = Random(3);
    each_family(|name, model| {
        let config = model.config();
        let n_ctx = config.n_ctx_train.min(8);
        if config.is_encoder() || n_ctx < 4 {
            return;
        }
        let origin = text(&mut random, n_ctx, config.n_vocab);
        let branch = [&origin[..n_ctx - 2], &text(&mut random, 2, config.n_vocab)].concat();
        let options = options(2, n_ctx, 2 * n_ctx, n_ctx, KvType::F32);
        with_runner(&model, Kernels::detect(), &Serial, options, |runner| {
            runner.run(&[span(0, 0, &origin[..n_ctx - 2], Logits::None)], &mut go_on).unwrap();
            runner.fork(0, 1);
            let spans = [
                span(1, n_ctx - 2, &branch[n_ctx - 2..], Logits::Last),
                span(0, n_ctx - 2, &origin[n_ctx - 2..], Logits::Last),
            ];
            let logits = runner.run(&spans, &mut go_on).unwrap();
            let want = [&branch, &origin]
                .map(|text| alone(&model, Kernels::detect(), KvType::F32, n_ctx, text).pop().unwrap());
            assert!(logits == want.concat(), "{name}");
        });
    });
}

#[test]
fn beginnings_that_are_found_again_change_no_bit() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let mut random = Random(9);
    const N_CTX: usize = 250;
    let beginning = text(&mut random, 150, model.config().n_vocab);
    let state = StateOptions {
        n_slots: 3,
        n_ctx: N_CTX,
        n_pages: 7,
        kv_type: KvType::F16,
        finds_prefixes: true,
        n_checkpoints: 0,
        own_checkpoints: true,
    };
    let options = RunnerOptions { state, n_batch: 300, n_logits: 4, precision: Precision::Quantized };
    with_runner(&model, Kernels::detect(), &Threads(2), options, |runner| {
        let (mut n_found, mut n_refused, mut n_stopped) = (0, 0, 0);
        for round in 0..40 {
            let slot = random.below(3);
            let rest = 1 + random.below(N_CTX - beginning.len());
            let whole = [&beginning[..], &text(&mut random, rest, model.config().n_vocab)].concat();
            let len = runner.reuse(slot, &whole);
            n_found += usize::from(len >= 128);
            let n_free_pages = runner.n_free_pages();
            let span = span(slot, len, &whole[len..], Logits::Last);
            // Now and then a batch is broken off.
            let mut n_left = [2, usize::MAX][random.below(4).min(1)];
            let computed = runner.run(&[span], &mut || {
                n_left -= 1;
                if n_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match computed.map(<[f32]>::to_vec) {
                Ok(logits) => {
                    let want = alone(&model, Kernels::detect(), KvType::F16, N_CTX, &whole);
                    assert!(logits == want[whole.len() - 1], "round {round}: {len} of {}", whole.len());
                }
                Err(error) => {
                    assert_eq!((runner.len(slot), runner.n_free_pages()), (len, n_free_pages));
                    match error {
                        SessionError::Stopped => n_stopped += 1,
                        SessionError::Pages(_) => {
                            n_refused += 1;
                            (0..3).for_each(|slot| assert_eq!(runner.truncate(slot, 0), 0));
                            assert_eq!(runner.n_free_pages(), 7);
                        }
                        error => panic!("{error}"),
                    }
                }
            }
        }
        assert!(n_found > 20 && n_refused > 0 && n_stopped > 0, "{n_found}, {n_refused}, {n_stopped}");
    });
}

#[test]
fn embeddings_stand_for_the_tokens_whose_rows_they_are() {
    let mut random = Random(7);
    each_family(|name, model| {
        let config = model.config();
        // Others read a token's id as well.
        if model.weights().per_layer.is_some() || config.ngrams.is_some() {
            return;
        }
        let tokens = text(&mut random, 5.min(config.n_ctx_train), config.n_vocab);
        let mut embeddings = vec![0.0; tokens.len() * config.n_embd];
        for (row, &token) in embeddings.chunks_exact_mut(config.n_embd).zip(&tokens) {
            model.weights().token_embd.dequantize_row(token as usize, row);
            row.iter_mut().for_each(|x| *x *= config.embedding_scale);
        }
        let n = tokens.len();
        let options = options(2, n, 2 * n, 2 * n, KvType::F32);
        with_runner(&model, Kernels::detect(), &Serial, options, |runner| {
            let span = |slot, input| Span { slot, first_position: 0, input, logits: Logits::All };
            let spans = [span(0, Input::Tokens(&tokens)), span(1, Input::Embeddings(&embeddings))];
            let logits = runner.run(&spans, &mut go_on).unwrap();
            let (of_tokens, of_embeddings) = logits.split_at(logits.len() / 2);
            assert!(of_tokens == of_embeddings, "{name}");
        });
    });
}

#[test]
fn a_batch_that_cannot_be_is_refused_and_changes_nothing() {
    let file = std::fs::read(repository_file("../../test_models/micro.gguf")).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let (n_vocab, n_embd) = (model.config().n_vocab, model.config().n_embd);
    let options = options(2, 8, 6, 2, KvType::F32);
    with_runner(&model, Kernels::detect(), &Serial, options, |runner| {
        let good = span(0, 0, &[1, 2, 3], Logits::Last);
        let want = runner.run(&[good], &mut go_on).unwrap().to_vec();
        let too_large = [n_vocab as u32];
        let short = vec![0.0; n_embd - 1];
        let embeddings = Span { input: Input::Embeddings(&short), ..good };
        let refused: [(Vec<Span<'_>>, SessionError); 11] = [
            (vec![], SessionError::NoTokens),
            (vec![span(1, 0, &[], Logits::None)], SessionError::NoTokens),
            (vec![span(2, 0, &[1], Logits::None)], SpanError::Slot { slot: 2, n_slots: 2 }.into()),
            (vec![good, good], SpanError::SlotTwice { slot: 0 }.into()),
            (
                vec![span(0, 4, &[1], Logits::None)],
                SpanError::Position { first_position: 4, slot: 0, len: 3 }.into(),
            ),
            (vec![span(1, 0, &too_large, Logits::None)], SessionError::TokenId { id: too_large[0], n_vocab }),
            (vec![embeddings], SpanError::Embeddings { len: n_embd - 1, n_embd }.into()),
            (
                vec![span(0, 3, &[1; 6], Logits::None)],
                SessionError::ContextFull { n_tokens: 6, n_past: 3, n_ctx: 8 },
            ),
            (vec![span(0, 3, &[1; 3], Logits::Rows(&[1, 1]))], SpanError::Rows { n_tokens: 3 }.into()),
            (
                vec![span(0, 3, &[1; 4], Logits::None), span(1, 0, &[1; 3], Logits::None)],
                SpanError::Batch { n_tokens: 7, n_batch: 6 }.into(),
            ),
            (
                vec![span(0, 3, &[1; 2], Logits::All), span(1, 0, &[1], Logits::Last)],
                SessionError::LogitsRows { n_rows: 3, n_logits: 2 },
            ),
        ];
        for (spans, error) in refused {
            assert_eq!(runner.run(&spans, &mut go_on).unwrap_err(), error);
            assert_eq!([runner.len(0), runner.len(1)], [3, 0], "after {error}");
        }
        let stop = &mut || ControlFlow::Break(());
        let spans = [span(0, 2, &[7], Logits::None), span(1, 0, &[7], Logits::None)];
        assert_eq!(runner.run(&spans, stop).unwrap_err(), SessionError::Stopped);
        assert_eq!([runner.len(0), runner.len(1)], [2, 0]);
        assert!(runner.run(&[span(0, 2, &[3], Logits::Last)], &mut go_on).unwrap() == want);
    });
}

#[test]
fn options_that_do_not_suit_are_refused_by_name() {
    let path = repository_file("tests/golden/architectures/deepseek2.gguf");
    let mut file = std::fs::read(path).unwrap();
    // Keys of 32 elements, whose first 16 are the values.
    set_number(&mut file, "deepseek2.rope.dimension_count", 16);
    set_number(&mut file, "deepseek2.attention.key_length_mla", 28);
    let config = Config::from_gguf(&Gguf::parse(&file, file.len() as u64).unwrap()).unwrap();
    let error = |options| Runner::required_bytes(&config, &options).map(drop).unwrap_err();
    assert_eq!(
        error(options(1, 8, 8, 1, KvType::Q8_0)),
        SessionError::HeadLength { head_len: 16, block_len: 32 }
    );
    let good = options(1, 8, 8, 1, KvType::F16);
    assert!(Runner::required_bytes(&config, &good).is_ok());
    let with = |n_slots, n_pages| {
        let state = StateOptions { n_slots, n_pages, ..good.state };
        RunnerOptions { state, ..good }
    };
    assert_eq!(error(with(0, 1)), SessionError::StateLength { n_slots: 0, n_pages: 1 });
    let n_pages = StateOptions::MAX_PAGES + 1;
    assert_eq!(error(with(1, n_pages)), SessionError::StateLength { n_slots: 1, n_pages });
}
