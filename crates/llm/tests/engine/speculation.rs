//! Guessed tokens change the number of batches and nothing else.

use crate::micro::{micro, repository_file, set_number};
use llm::gguf::Gguf;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::ModelBytes;
use llm::sampling::{Sampler, SamplingConfig};
use llm::session::{FinishReason, Logits, Session, SessionOptions, Speculation, Step};
use llm::simd::Kernels;
use llm::tokenizer::{EncodeOptions, Tokenizer};

const PROMPT: &str = "What is a key? A key is a small thing that opens a door. What is a key? A key is";

/// Calls `work` with the small model's tokenizer and a session of the model, for `n_ctx` positions and `n_logits` rows.
fn with_session<T>(
    n_ctx: usize,
    n_logits: usize,
    work: impl for<'a> FnOnce(&Tokenizer<'a>, &mut Session<'a>) -> T,
) -> T {
    with_session_of(&micro(128), n_ctx, n_logits, work)
}

/// The same with a session of another model.
fn with_session_of<T>(
    file: &[u8],
    n_ctx: usize,
    n_logits: usize,
    work: impl for<'a> FnOnce(&Tokenizer<'a>, &mut Session<'a>) -> T,
) -> T {
    let small = micro(128);
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&small, small.len() as u64).unwrap()).unwrap();
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let options = SessionOptions { n_logits, ..SessionOptions::generate(n_ctx) };
    let required = Session::required_bytes(model.config(), &options).unwrap();
    let mut memory = vec![0xff; required + 64];
    let mut session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    work(&tokenizer, &mut session)
}

/// The result of a generation, and the position of the session afterwards.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    ids: Vec<u32>,
    text: String,
    reason: FinishReason,
    n_past: usize,
    /// The logits of one more token.
    next: Vec<f32>,
}

fn generate<'a>(
    tokenizer: &Tokenizer<'a>,
    session: &mut Session<'a>,
    config: SamplingConfig,
    n_draft: usize,
    max_tokens: usize,
    stop: &[&str],
) -> (Outcome, Speculation) {
    let mut prompt = Vec::new();
    tokenizer.encode(PROMPT, EncodeOptions { add_special: true, parse_special: false }, &mut prompt).unwrap();
    let mut sampler = Sampler::new(config, tokenizer.n_vocab()).unwrap();
    let generation = session.generate(tokenizer, &mut sampler, &prompt, max_tokens, stop).unwrap();
    let mut generation = generation.speculate(n_draft).unwrap();
    let (mut ids, mut text) = (Vec::new(), String::new());
    let reason = loop {
        match generation.step().unwrap() {
            Step::Token { id, text: piece } => {
                ids.push(id);
                text += piece;
            }
            Step::Finished { reason, text: piece } => {
                text += piece;
                break reason;
            }
        }
    };
    let speculation = generation.speculation();
    let n_past = session.n_past();
    let next = match n_past < session.options().n_ctx {
        true => session.forward(&[5], Logits::Last).unwrap().to_vec(),
        false => vec![],
    };
    (Outcome { ids, text, reason, n_past, next }, speculation)
}

/// Runs the same generation with guesses of up to `n_draft` tokens and without; returns how the guesses did.
fn compare(
    config: SamplingConfig,
    n_ctx: usize,
    n_draft: usize,
    max_tokens: usize,
    stop: &[&str],
) -> (Outcome, Speculation) {
    with_session(n_ctx, 1 + n_draft, |tokenizer, session| {
        let (plain, none) = generate(tokenizer, session, config, 0, max_tokens, stop);
        assert_eq!(none, Speculation::default());
        let (guessed, speculation) = generate(tokenizer, session, config, n_draft, max_tokens, stop);
        // A guess that came last need not be computed again, so that one position more may be there.
        let Outcome { n_past, next, .. } = &guessed;
        assert!(*n_past == plain.n_past || *n_past == plain.n_past + 1, "{n_past}, {}", plain.n_past);
        if *n_past == plain.n_past {
            assert_eq!(next, &plain.next);
        }
        assert_eq!((&guessed.ids, &guessed.text, guessed.reason), (&plain.ids, &plain.text, plain.reason));
        (plain, speculation)
    })
}

#[test]
fn greedy_text_is_the_same() {
    for n_draft in [1, 3, 8] {
        let (_, speculation) = compare(SamplingConfig::greedy(), 128, n_draft, 60, &[]);
        assert!(speculation.n_accepted > 0, "{speculation:?}");
        assert!(speculation.n_accepted <= speculation.n_drafted);
    }
}

/// A guess is a distribution with all its mass on one token. To accept it with its probability, and otherwise draw among the
/// other tokens, is the same as to draw among all tokens and compare. So not only the distribution is the same: with the same
/// seed, each token is.
#[test]
fn each_seed_draws_the_same_tokens() {
    let mut accepted = 0;
    let mut texts = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let config = SamplingConfig { temperature: 0.8, seed, ..SamplingConfig::greedy() };
        let (outcome, speculation) = compare(config, 128, 4, 24, &[]);
        accepted += speculation.n_accepted;
        texts.insert(outcome.text);
    }
    assert!(accepted > 0 && texts.len() > 5, "{accepted} accepted, {} texts", texts.len());
}

#[test]
fn penalties_see_every_token() {
    let config = SamplingConfig { repeat_penalty: 1.3, repeat_last_n: 16, ..SamplingConfig::greedy() };
    compare(config, 128, 6, 40, &[]);
}

#[test]
fn ends_are_where_they_were() {
    let (outcome, _) = compare(SamplingConfig::greedy(), 128, 8, 10, &[]);
    let stop: String = outcome.text.chars().skip(3).take(4).collect();
    let (stopped, _) = compare(SamplingConfig::greedy(), 128, 8, 60, &[&stop]);
    assert_eq!(stopped.reason, FinishReason::StopString);
    for n_ctx in 40..48 {
        compare(SamplingConfig { temperature: 1.5, ..SamplingConfig::greedy() }, n_ctx, 8, 60, &[]);
    }
    for max_tokens in 0..6 {
        compare(SamplingConfig::greedy(), 128, 8, max_tokens, &[]);
    }
}

#[test]
fn a_session_for_one_row_of_logits_guesses_nothing() {
    with_session(128, 1, |tokenizer, session| {
        let (_, speculation) = generate(tokenizer, session, SamplingConfig::greedy(), 8, 30, &[]);
        assert_eq!(speculation, Speculation::default());
    });
}

/// The continuation of `prompt`: its tokens with the logits that each was drawn from, and how the guesses did.
fn tokens_and_logits<'a>(
    tokenizer: &Tokenizer<'a>,
    session: &mut Session<'a>,
    config: SamplingConfig,
    n_draft: usize,
    prompt: &[u32],
) -> (Vec<(u32, Vec<f32>)>, Speculation) {
    let mut sampler = Sampler::new(config, session.model().config().n_vocab).unwrap();
    let generation = session.generate(tokenizer, &mut sampler, prompt, 70, &[]).unwrap();
    let mut generation = generation.speculate(n_draft).unwrap();
    let mut answer = Vec::new();
    while let Step::Token { id, .. } = generation.step().unwrap() {
        answer.push((id, generation.logits().to_vec()));
    }
    (answer, generation.speculation())
}

#[test]
fn recurrent_layers_go_back_to_where_a_guess_was_wrong() {
    let mut sum = Speculation::default();
    for kind in ["mamba", "mamba2", "jamba", "granitehybrid", "falcon-h1", "qwen35", "lfm2", "qwen4exp"] {
        let path = repository_file("tests/golden/architectures").join(kind).with_extension("gguf");
        let mut file = std::fs::read(path).unwrap();
        set_number(&mut file, &format!("{kind}.context_length"), 128);
        with_session_of(&file, 128, 7, |tokenizer, session| {
            for seed in 0..8 {
                let temperature = [0.0, 0.5, 0.9][seed as usize % 3];
                let config = SamplingConfig { temperature, seed, ..SamplingConfig::greedy() };
                let prompt = [3, 4, 5, 6 + seed as u32].repeat(5);
                let (want, _) = tokens_and_logits(tokenizer, session, config, 0, &prompt);
                let (got, speculation) = tokens_and_logits(tokenizer, session, config, 6, &prompt);
                assert!(got == want, "{kind}, {seed}");
                sum.n_drafted += speculation.n_drafted;
                sum.n_accepted += speculation.n_accepted;
                // Wherever the guesses have left it, the session goes on from what is right.
                let mut text = prompt;
                text.extend(want.iter().map(|&(id, _)| id).chain([7, 8]));
                session.keep_common_prefix(&text);
                let got = session.forward(&text[session.n_past()..], Logits::Last).unwrap().to_vec();
                session.reset();
                assert!(session.forward(&text, Logits::Last).unwrap() == got, "{kind}, {seed}");
            }
        });
    }
    assert!(sum.n_accepted > 50 && sum.n_drafted - sum.n_accepted > 10, "{sum:?}");
}
