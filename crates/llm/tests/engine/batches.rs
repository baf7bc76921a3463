//! The number of positions per batch changes only the time that a text takes. A cancelled batch changes no result, nor does
//! packing of the weights.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::micro::{micro, repository_file};
use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Packer, Precision};
use llm::session::{Logits, Session, SessionError, SessionOptions};
use llm::simd::Kernels;

/// Calls `work` with a session whose memory is filled with NaN at first.
fn with_session<T>(
    gguf: &Gguf<'_>,
    n_ctx: usize,
    n_batch: usize,
    work: impl for<'a> FnOnce(&mut Session<'a>) -> T,
) -> T {
    let model = Model::load(gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let options =
        SessionOptions { n_ctx, n_batch, n_logits: 1, kv_type: KvType::F32, precision: Precision::Quantized };
    let required_bytes = Session::required_bytes(model.config(), &options).unwrap();
    let mut memory = vec![0xff; required_bytes + llm::arena::ALIGN];
    work(&mut Session::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap())
}

fn tokens(n: usize, n_vocab: usize) -> Vec<u32> {
    (1..=n).map(|i| (i * 7919 % n_vocab) as u32).collect()
}

/// The logits after some of `tokens` and after all of them, computed in batches of `n_batch`.
fn logits(gguf: &Gguf<'_>, tokens: &[u32], n_batch: usize) -> Vec<f32> {
    with_session(gguf, tokens.len(), n_batch, |session| {
        let (before, last) = tokens.split_at(tokens.len() - 1);
        let mut logits = session.forward(before, Logits::Last).unwrap().to_vec();
        logits.extend_from_slice(session.forward(last, Logits::Last).unwrap());
        logits
    })
}

#[test]
fn logits_are_the_same_to_the_bit_in_batches_of_any_length() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokens = tokens(601, 768);
    let want = logits(&gguf, &tokens, 1);
    assert!(want.iter().all(|logit| logit.is_finite()));
    for n_batch in [7, 64, 128, 129, 256, 300, 512, 601] {
        assert!(logits(&gguf, &tokens, n_batch) == want, "in batches of {n_batch}");
    }
}

#[test]
fn the_same_holds_in_every_family() {
    let mut n_files = 0;
    for entry in std::fs::read_dir(repository_file("tests/golden/architectures")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "gguf") {
            continue;
        }
        let file = std::fs::read(&path).unwrap();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let config = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap().config().clone();
        if config.is_encoder() {
            continue;
        }
        let tokens = tokens(config.n_ctx_train.min(9), config.n_vocab);
        let want = logits(&gguf, &tokens, tokens.len());
        for n_batch in [1, 3] {
            assert!(logits(&gguf, &tokens, n_batch) == want, "{} in batches of {n_batch}", path.display());
        }
        n_files += 1;
    }
    assert!(n_files > 50, "{n_files} files");
}

#[test]
fn a_session_is_after_a_batch_that_was_broken_off_as_before_it() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokens = tokens(300, 768);
    let n_layer = 4;
    with_session(&gguf, 400, 128, |session| {
        let want = session.forward(&tokens, Logits::Last).unwrap().to_vec();
        // Twice a layer it is asked, in two whole batches and the rest.
        for (n_asked, n_computed) in [(1, 0), (n_layer, 0), (2 * n_layer + 1, 128), (6 * n_layer, 256)] {
            session.reset();
            let mut n_left = n_asked;
            let stopped = session.forward_while(&tokens, Logits::Last, &mut || {
                n_left -= 1;
                if n_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert_eq!(stopped.unwrap_err(), SessionError::Stopped);
            assert_eq!((n_left, session.n_past()), (0, n_computed));
            assert!(session.forward(&tokens[n_computed..], Logits::Last).unwrap() == want);
        }
        session.reset();
        let mut n_asked = 0;
        let go_on = &mut || {
            n_asked += 1;
            ControlFlow::Continue(())
        };
        assert!(session.forward_while(&tokens, Logits::Last, go_on).unwrap() == want);
        assert_eq!(n_asked, 6 * n_layer);
    });
}

#[test]
fn sessions_share_a_model_without_disturbing_each_other() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let options = SessionOptions { kv_type: KvType::F32, ..SessionOptions::generate(64) };
    let required_bytes = Session::required_bytes(model.config(), &options).unwrap();
    let [mut first, mut second] = [(); 2].map(|()| vec![0xff; required_bytes + llm::arena::ALIGN]);
    let mut sessions = [&mut first, &mut second]
        .map(|memory| Session::new(Arc::clone(&model), options, Kernels::detect(), &Serial, memory).unwrap());
    let texts = [tokens(30, 768), tokens(60, 767)];
    // In turn, the one a token and the other two at a time.
    let (mut got, [first, second]) = ([vec![], vec![]], &texts);
    for (one, two) in first.chunks(1).zip(second.chunks(2)) {
        got[0] = sessions[0].forward(one, Logits::Last).unwrap().to_vec();
        got[1] = sessions[1].forward(two, Logits::Last).unwrap().to_vec();
    }
    for (text, got) in texts.iter().zip(got) {
        let want =
            with_session(&gguf, 64, 64, |session| session.forward(text, Logits::Last).unwrap().to_vec());
        assert!(got == want);
    }
}

#[test]
fn packed_weights_give_the_same_logits_and_only_to_the_set_that_they_are_packed_for() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokens = tokens(20, 768);
    let want =
        with_session(&gguf, 32, 20, |session| session.forward(&tokens, Logits::Last).unwrap().to_vec());
    let options = SessionOptions { kv_type: KvType::F32, ..SessionOptions::generate(32) };
    for packed_for in Kernels::available().filter(|kernels| kernels.packing().is_some()) {
        let mut packer = Packer::new(packed_for.packing(), &gguf).unwrap();
        let mut bytes = vec![0; file.len()];
        packer.write(&Serial, &file, &mut bytes);
        let bytes = packer.finish(bytes);
        let model = Arc::new(Model::load(&gguf, bytes.borrow()).unwrap());
        let mut memory =
            vec![0; Session::required_bytes(model.config(), &options).unwrap() + llm::arena::ALIGN];
        for kernels in Kernels::available() {
            let logits = catch_unwind(AssertUnwindSafe(|| {
                let mut session =
                    Session::new(Arc::clone(&model), options, kernels, &Serial, &mut memory).unwrap();
                session.forward(&tokens, Logits::Last).unwrap().to_vec()
            }));
            let suits = kernels.packing() == packed_for.packing();
            assert_eq!(logits.is_ok(), suits, "{} as {}", kernels.name(), packed_for.name());
            // Sets that attend in half precision have bits of their own.
            let is_rough = kernels.name().contains("fp16");
            assert!(logits.is_err() || is_rough || logits.unwrap() == want, "{}", kernels.name());
        }
    }
}
