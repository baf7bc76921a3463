//! Models whose layers keep a state that each position replaces. A text gives the same bits however it is computed, and a
//! session never continues from the state of another text.

use std::ops::ControlFlow;

use llm::gguf::{Gguf, Value};
use llm::kv_cache::KvType;
use llm::model::{Input, Model, Span};
use llm::parallel::{Serial, Workers};
use llm::quant::{ModelBytes, Precision};
use llm::session::{Logits, Runner, RunnerOptions, Session, SessionError, SessionOptions};
use llm::simd::Kernels;
use llm::state::StateOptions;

use crate::golden_models::{FileBytes, cases};
use crate::threads::Threads;

/// One model of each mixer, and of each combination of mixers in one model.
const CASES: [&str; 16] = [
    "mamba",
    "mamba-normalised",
    "mamba2",
    "jamba",
    "granitehybrid",
    "falcon-h1",
    "qwen35",
    "lfm2",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "plamo2",
    "nemotron_h",
    "kimi-linear",
    "qwen4exp",
    "minimax-01",
];
const N_CTX: usize = 40;

/// Calls `work` with a session whose memory is filled with NaN at first.
fn with_session<T>(
    gguf: &Gguf<'_>,
    n_batch: usize,
    kernels: &'static Kernels,
    workers: &dyn Workers,
    work: impl for<'a> FnOnce(&mut Session<'a>) -> T,
) -> T {
    let model = Model::load(gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    assert!(model.config().is_recurrent());
    let precision = Precision::Quantized;
    let options = SessionOptions { n_ctx: N_CTX, n_batch, n_logits: 1, kv_type: KvType::F16, precision };
    let required_bytes = Session::required_bytes(model.config(), &options).unwrap();
    let mut memory = vec![0xff; required_bytes + llm::arena::ALIGN];
    work(&mut Session::new(model, options, kernels, workers, &mut memory).unwrap())
}

fn tokens(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i + seed).wrapping_mul(2_654_435_761) >> 27).collect()
}

/// The logits after each of `tokens`, computed one token at a time.
fn one_at_a_time(session: &mut Session<'_>, tokens: &[u32]) -> Vec<Vec<f32>> {
    session.reset();
    tokens.iter().map(|token| session.forward(&[*token], Logits::Last).unwrap().to_vec()).collect()
}

fn for_each_case(mut work: impl FnMut(&Gguf<'_>)) {
    for case in cases("architectures").iter().filter(|case| CASES.contains(&case.name.as_str())) {
        println!("{}", case.name);
        work(&case.file().gguf());
    }
}

#[test]
fn a_text_gives_the_same_bits_however_it_is_computed() {
    let tokens = tokens(23, 1);
    for_each_case(|gguf| {
        let want =
            with_session(gguf, 1, Kernels::scalar(), &Serial, |session| one_at_a_time(session, &tokens));
        // With every set of instructions alone, with the fastest in company too.
        let alone = |kernels| [1, 2, 3, 8, 23].map(|n_batch| (kernels, 1, n_batch));
        let together = [2, 8, 23].map(|n_batch| (Kernels::detect(), 3, n_batch));
        for (kernels, n_cores, n_batch) in Kernels::available().flat_map(alone).chain(together) {
            with_session(gguf, n_batch, kernels, &Threads(n_cores), |session| {
                for first in [1, 2, 5, 22] {
                    session.reset();
                    let logits = session.forward(&tokens[..first], Logits::Last).unwrap();
                    assert!(logits == want[first - 1], "{first} tokens in batches of {n_batch}");
                    let logits = session.forward(&tokens[first..], Logits::Last).unwrap();
                    assert!(logits == want[22], "after {first} in batches of {n_batch}");
                }
            });
        }
    });
}

#[test]
fn a_session_goes_on_from_what_its_text_and_the_next_have_in_common() {
    let text = tokens(20, 1);
    for_each_case(|gguf| {
        let want = with_session(gguf, 4, Kernels::detect(), &Serial, |session| one_at_a_time(session, &text));
        with_session(gguf, 6, Kernels::detect(), &Serial, |session| {
            // A prompt of 12, then an answer.
            session.forward(&text[..12], Logits::Last).unwrap();
            for token in &text[12..16] {
                session.forward(&[*token], Logits::Last).unwrap();
            }
            let go_on = |session: &mut Session<'_>, n_past: usize| {
                assert_eq!(session.n_past(), n_past);
                assert!(
                    session.forward(&text[n_past..], Logits::Last).unwrap() == want[19],
                    "after {n_past}"
                );
            };
            // The text goes on: all is kept.
            session.keep_common_prefix(&text);
            go_on(session, 16);
            // The same text again, whose last token is to be computed: that is where the checkpoint is.
            session.keep_common_prefix(&text);
            go_on(session, 19);
            // Another text, of which no beginning is kept.
            let mut other = text.clone();
            other[18] ^= 1;
            session.keep_common_prefix(&other);
            assert_eq!(session.n_past(), 0);
            let after_other = session.forward(&other, Logits::Last).unwrap().to_vec();
            assert!(after_other != want[19]);
            session.keep_common_prefix(&text);
            go_on(session, 0);
            // The prompt again after another answer than this one.
            session.reset();
            session.forward(&text[..12], Logits::Last).unwrap();
            for token in [3, 4, 5] {
                session.forward(&[token], Logits::Last).unwrap();
            }
            session.keep_common_prefix(&text);
            go_on(session, 11);
        });
    });
}

#[test]
fn a_batch_that_was_broken_off_leaves_no_trace() {
    let text = tokens(20, 1);
    for_each_case(|gguf| {
        let want = with_session(gguf, 4, Kernels::detect(), &Serial, |session| one_at_a_time(session, &text));
        with_session(gguf, 6, Kernels::detect(), &Serial, |session| {
            for n_asked in 1..40 {
                for n_before in [0, 1, 9] {
                    session.reset();
                    if n_before > 0 {
                        session.forward(&text[..n_before], Logits::Last).unwrap();
                    }
                    let mut n_left = n_asked;
                    let result = session.forward_while(&text[n_before..], Logits::Last, &mut || {
                        n_left -= 1;
                        if n_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    });
                    match result {
                        Ok(logits) => assert!(logits == want[19]),
                        Err(error) => {
                            assert_eq!(error, SessionError::Stopped);
                            let n_past = session.n_past();
                            assert!([0, n_before.saturating_sub(1)].contains(&n_past), "{n_past}");
                            let logits = session.forward(&text[n_past..], Logits::Last).unwrap();
                            assert!(logits == want[19], "after {n_past}");
                        }
                    }
                }
            }
        });
    });
}

/// Calls `work` with a runner of three slots whose memory is filled with NaN at first.
fn with_runner<T>(gguf: &Gguf<'_>, work: impl for<'a> FnOnce(&mut Runner<'a>) -> T) -> T {
    let model = Model::load(gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let state = StateOptions {
        n_slots: 3,
        n_ctx: N_CTX,
        n_pages: 4,
        kv_type: KvType::F16,
        finds_prefixes: true,
        n_checkpoints: 0,
        own_checkpoints: true,
    };
    let options = RunnerOptions { state, n_batch: 32, n_logits: 3, precision: Precision::Quantized };
    let required_bytes = Runner::required_bytes(model.config(), &options).unwrap();
    let mut memory = vec![0xff; required_bytes + llm::arena::ALIGN];
    work(&mut Runner::new(model, options, Kernels::detect(), &Threads(2), &mut memory).unwrap())
}

fn span<'t>(slot: usize, first_position: usize, tokens: &'t [u32], logits: Logits<'t>) -> Span<'t> {
    Span { slot, first_position, input: Input::Tokens(tokens), logits }
}

#[test]
fn texts_in_one_batch_have_the_bits_that_they_have_alone() {
    let texts = [tokens(9, 1), tokens(14, 5), tokens(3, 9)];
    let go_on = &mut || ControlFlow::Continue(());
    for_each_case(|gguf| {
        let mut want = Vec::new();
        for text in &texts {
            let logits =
                with_session(gguf, 1, Kernels::detect(), &Serial, |session| one_at_a_time(session, text));
            want.extend_from_slice(logits.last().unwrap());
        }
        with_runner(gguf, |runner| {
            for cut in [0, 1, 2] {
                // Another order of slots each time; the slots hold other texts before.
                let slot = |text: usize| (text + cut) % 3;
                let texts = texts.iter().enumerate();
                if cut > 0 {
                    let spans: Vec<_> = texts
                        .clone()
                        .map(|(index, text)| span(slot(index), 0, &text[..cut], Logits::None))
                        .collect();
                    runner.run(&spans, go_on).unwrap();
                }
                let spans: Vec<_> =
                    texts.map(|(index, text)| span(slot(index), cut, &text[cut..], Logits::Last)).collect();
                assert!(runner.run(&spans, go_on).unwrap() == want, "cut after {cut}");
            }
        });
    });
}

#[test]
fn a_slot_is_cut_back_to_its_checkpoint_or_to_its_beginning() {
    let text = tokens(9, 1);
    let go_on = &mut || ControlFlow::Continue(());
    for_each_case(|gguf| {
        with_runner(gguf, |runner| {
            runner.plan_checkpoint(1, 1);
            runner.run(&[span(1, 0, &text[..6], Logits::None)], go_on).unwrap();
            let want = runner.run(&[span(1, 6, &text[6..], Logits::Last)], go_on).unwrap().to_vec();
            let error = runner.run(&[span(1, 8, &text[8..], Logits::Last)], go_on).unwrap_err();
            assert_eq!(
                error.to_string(),
                "a span begins at position 8 of slot 1, whose recurrent layers are at 9: it can begin there or at 0"
            );
            assert_eq!(runner.truncate(1, 9), 9);
            assert_eq!(runner.truncate(1, 7), 5);
            assert!(runner.run(&[span(1, 5, &text[5..], Logits::Last)], go_on).unwrap() == want);
            assert_eq!(runner.truncate(1, 4), 0);
            // Pages are not found again without what recurrent layers keep.
            assert_eq!(runner.reuse(1, &text), 0);
            assert!(runner.run(&[span(1, 0, &text, Logits::Last)], go_on).unwrap() == want);
        });
    });
}

#[test]
fn a_fork_goes_on_by_itself() {
    let (text, other) = (tokens(9, 1), tokens(9, 5));
    let go_on = &mut || ControlFlow::Continue(());
    for_each_case(|gguf| {
        let want = with_session(gguf, 1, Kernels::detect(), &Serial, |session| one_at_a_time(session, &text));
        with_runner(gguf, |runner| {
            runner.plan_checkpoint(0, 1);
            runner.run(&[span(0, 0, &text[..5], Logits::None)], go_on).unwrap();
            runner.fork(0, 2);
            runner.run(&[span(0, 5, &other[5..], Logits::None)], go_on).unwrap();
            assert!(runner.run(&[span(2, 5, &text[5..], Logits::Last)], go_on).unwrap() == want[8]);
            // The fork has the checkpoint as well.
            assert_eq!(runner.truncate(2, 4), 4);
            assert!(runner.run(&[span(2, 4, &text[4..], Logits::Last)], go_on).unwrap() == want[8]);
        });
    });
}

#[test]
fn the_state_takes_memory_whatever_the_context_and_the_context_none() {
    let case = cases("architectures").into_iter().find(|case| case.name == "mamba2").unwrap();
    let file = case.file();
    let config = file.model().unwrap().config().clone();
    let precision = Precision::Quantized;
    let state_bytes = |n_ctx| {
        let options = SessionOptions { n_ctx, n_batch: 4, n_logits: 1, kv_type: KvType::F16, precision };
        Session::required_bytes(&config, &options).unwrap()
            - Session::scratch_bytes(&config, &options).unwrap()
    };
    // Of each of two layers the history of a convolution over 4 positions, and 48 channels of 16; twice.
    let n_elements = 2 * (3 * (48 + 2 * 2 * 16) + 48 * 16);
    assert_eq!(state_bytes(16), 2 * (4_usize * n_elements).next_multiple_of(llm::arena::ALIGN));
    assert_eq!(state_bytes(64), state_bytes(16));
}

/// The file with this key set to a number, or to numbers.
fn with_key(gguf: &Gguf<'_>, key: &str, numbers: &[u32]) -> FileBytes {
    let file = broken_gguf::with_metadata(gguf, &|name| name != key, &mut |writer| match numbers {
        [number] => writer.put(key, Value::U32(*number)).unwrap(),
        _ => writer.put_i32s(key, &numbers.iter().map(|number| *number as i32).collect::<Vec<_>>()).unwrap(),
    });
    FileBytes::new(&file)
}

#[test]
fn numbers_that_cannot_be_are_refused_in_a_line() {
    #[rustfmt::skip]
    let refusals: [(&str, &str, &[u32], &str); 16] = [
        ("mamba", "ssm.conv_kernel", &[0], "mamba.ssm.conv_kernel is 0, expected 1 to 16777216"),
        ("mamba", "ssm.inner_size", &[0], "mamba.ssm.inner_size is 0, expected 1 to 16777216"),
        ("mamba", "ssm.state_size", &[12], "mamba.ssm.state_size is 12, expected a multiple of 8"),
        ("mamba", "ssm.state_size", &[1 << 24 | 8], "mamba.ssm.state_size is 16777224, expected at most 16777216"),
        ("mamba", "ssm.inner_size", &[1 << 24], "tensor blk.0.ssm_in.weight has dimensions [24, 96, 1, 1], expected [24, 33554432, 1, 1]"),
        ("mamba2", "ssm.time_step_rank", &[5], "mamba2.ssm.time_step_rank is 5, expected a divisor of ssm.inner_size"),
        ("mamba2", "ssm.group_count", &[3], "mamba2.ssm.group_count is 3, expected a divisor of ssm.time_step_rank"),
        ("mamba2", "ssm.group_count", &[0], "mamba2.ssm.group_count is 0, expected 1 to 16777216"),
        ("mamba2", "ssm.conv_kernel", &[1 << 24], "tensor blk.0.ssm_conv1d.weight has dimensions [4, 112, 1, 1], expected [16777216, 112, 1, 1]"),
        ("jamba", "attention.head_count_kv", &[0, 2], "jamba.attention.head_count_kv is 2, expected one number per layer"),
        ("falcon-h1", "attention.head_count_kv", &[0], "falcon-h1.attention.head_count_kv is 0, expected 1 to 16777216"),
        ("qwen35", "ssm.group_count", &[3], "qwen35.ssm.group_count is 3, expected a divisor of ssm.time_step_rank"),
        ("qwen35", "attention.value_length", &[6], "qwen35.attention.value_length is 6, expected the same as attention.key_length"),
        ("qwen35", "full_attention_interval", &[0], "qwen35.full_attention_interval is 0, expected 1 to 16777216"),
        ("qwen35", "attention.recurrent_layers", &[1, 1, 1], "qwen35.attention.recurrent_layers is 3, expected one truth value per layer"),
        ("lfm2", "shortconv.l_cache", &[0], "lfm2.shortconv.l_cache is 0, expected 1 to 16777216"),
    ];
    for (name, key, numbers, line) in refusals {
        let case = cases("architectures").into_iter().find(|case| case.name == name).unwrap();
        let file = with_key(&case.file().gguf(), &format!("{}.{key}", case.architecture), numbers);
        let error = file.model().map(drop).unwrap_err();
        assert_eq!(error.to_string(), line);
    }
}

#[test]
fn numbers_whose_product_has_no_end_are_refused() {
    let case = cases("architectures").into_iter().find(|case| case.name == "mamba2").unwrap();
    let mut file = case.file();
    for (key, number) in [
        ("state_size", 1 << 24),
        ("conv_kernel", 1 << 24),
        ("inner_size", 1 << 24),
        ("time_step_rank", 1 << 24),
        ("group_count", 1 << 24),
    ] {
        file = with_key(&file.gguf(), &format!("mamba2.ssm.{key}"), &[number]);
    }
    let error = file.model().map(drop).unwrap_err().to_string();
    assert!(error.starts_with("tensor blk.0.ssm_in.weight has dimensions"), "{error}");
}

#[test]
fn a_list_says_which_layers_are_recurrent_in_the_place_of_an_interval() {
    let case = cases("architectures").into_iter().find(|case| case.name == "qwen35-intervals").unwrap();
    let file = case.file();
    let list = with_key(&file.gguf(), "qwen35.attention.recurrent_layers", &[1, 0, 1, 0]);
    let logits = |file: &FileBytes| {
        with_session(&file.gguf(), 4, Kernels::detect(), &Serial, |session| {
            one_at_a_time(session, &tokens(5, 1))
        })
    };
    // Without the list and the interval, the second of four layers would be recurrent.
    let list = with_key(&list.gguf(), "qwen35.full_attention_interval", &[4]);
    assert!(logits(&list) == logits(&file));
}
