//! Tests of dialogues through the service: what is dropped from the context and when, what ends an answer, what is refused.

use std::{string::ToString, vec, vec::Vec};

use core::ops::ControlFlow;

use super::*;
use ::llm::{
    chat::{Dialogue, Format},
    front::{ChatFormat, Prompt, Report, Request},
    session::FinishReason,
};

const TEMPLATE: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>";

/// The small model with a chat template, and a context of this length.
fn load(template: &str, n_ctx: usize) -> TransformerBackend {
    let file = fixtures::with_text(&fixtures::micro(), "tokenizer.chat_template", template);
    let pool = host::pool(64 << 20);
    let mut backend = TransformerBackend::new(host::resources(pool, vec![("model", file)]));
    let path = {
        let first = backend.catalog().first().unwrap();
        backend.catalog().path(first)
    };
    let options = EngineOptions { n_ctx: Some(n_ctx), ..EngineOptions::default() };
    backend.load(&path, options, &mut |_, _| ControlFlow::Continue(())).unwrap();
    backend
}

fn answer(
    backend: &mut TransformerBackend,
    dialogue: &mut Dialogue,
    max_tokens: usize,
) -> Result<Report, BackendError> {
    let prompt = Prompt::Chat(dialogue, ChatFormat::default());
    backend.generate(None, Request::new(prompt, max_tokens), &mut |_| ControlFlow::Continue(()))
}

#[test]
fn a_conversation_outlives_the_context() {
    const N_CTX: usize = 128;
    let mut backend = load(TEMPLATE, N_CTX);
    let mut dialogue = Dialogue::default();
    dialogue.begin(Some("Be brief.")).unwrap();
    let mut times_forgotten = 0;
    for turn in 0..12 {
        let n_before = dialogue.messages(&[]).unwrap().len();
        dialogue.ask("What is a key and what does it open?").unwrap();
        let result = answer(&mut backend, &mut dialogue, 12).unwrap();
        assert!(result.tokens_emitted > 0 || result.finish_reason == FinishReason::EndOfText);
        if let Some(forgotten) = result.forgotten {
            times_forgotten += 1;
            assert_eq!(forgotten.n_ctx, N_CTX);
            let n_messages = dialogue.messages(&[]).unwrap().len();
            assert_eq!(n_messages, n_before + 1 - 2 * forgotten.n_turns, "turn {turn}");
            // The result equals, to the last token, that of a conversation which began there.
            let mut anew = load(TEMPLATE, N_CTX);
            let again = answer(&mut anew, &mut dialogue.clone(), 12).unwrap();
            assert_eq!((&again.ids, again.prompt_tokens), (&result.ids, result.prompt_tokens));
            assert_eq!(again.forgotten, None);
        }
        let messages = dialogue.messages(&[]).unwrap();
        assert_eq!((messages[0].role, messages[0].content), ("system", "Be brief."));
        assert_eq!(messages[1].role, "user");
        dialogue.answer(&result.output, Format::default()).unwrap();
    }
    assert!((1..12).contains(&times_forgotten), "{times_forgotten}");
}

#[test]
fn a_message_longer_than_the_context_is_refused_by_name() {
    let mut backend = load(TEMPLATE, 64);
    let mut dialogue = Dialogue::default();
    dialogue.ask("What is a key?").unwrap();
    let result = answer(&mut backend, &mut dialogue, 8).unwrap();
    dialogue.answer(&result.output, Format::default()).unwrap();
    dialogue.ask(&"What is a key? ".repeat(20)).unwrap();
    let before = dialogue.clone();
    let refused = answer(&mut backend, &mut dialogue, 8).unwrap_err().to_string();
    assert!(refused.starts_with("the message is too long") && refused.contains("64"), "{refused}");
    assert_eq!(dialogue, before);
}

#[test]
fn an_answer_that_fills_the_context_says_so_and_the_next_goes_on() {
    let mut backend = load("{% for m in messages %}{{ m.content }}{% endfor %}", 64);
    let mut dialogue = Dialogue::default();
    dialogue.ask("Once upon a time there was").unwrap();
    let result = answer(&mut backend, &mut dialogue, 1000).unwrap();
    assert_eq!(result.finish_reason, FinishReason::ContextFull);
    dialogue.answer(&result.output, Format::default()).unwrap();
    dialogue.ask("Once upon a time there was").unwrap();
    let next = answer(&mut backend, &mut dialogue, 1000).unwrap();
    assert_eq!(next.forgotten.map(|forgotten| forgotten.n_turns), Some(1));
    assert_eq!(next.ids, result.ids);
}

#[test]
fn a_format_that_cannot_be_used_is_refused_beforehand() {
    let mut backend = load("", 64);
    let refused = backend.prepare_chat(None, None).unwrap_err().to_string();
    assert!(refused.contains("no tokenizer.chat_template") && refused.contains("chatml"), "{refused}");
    assert!(backend.prepare_chat(None, Some("chatgml")).is_err());
    backend.prepare_chat(None, Some("chatml")).unwrap();
    let mut broken = load("{% for m in messages %}", 64);
    let refused = broken.prepare_chat(None, None).unwrap_err().to_string();
    assert!(refused.contains("a block without an end"), "{refused}");
}

#[test]
fn a_format_is_made_ready_once() {
    let mut backend = load(TEMPLATE, 64);
    let allocations_of = |backend: &mut TransformerBackend, template: Option<&str>| {
        let before = fixtures::allocations();
        backend.prepare_chat(None, template).unwrap();
        fixtures::allocations() - before
    };
    let counts: Vec<u64> = [None, None, Some("chatml"), Some("chatml"), None]
        .map(|template| allocations_of(&mut backend, template))
        .to_vec();
    assert!(counts[0] > 0 && counts[2] > 0 && counts[4] > 0, "{counts:?}");
    assert_eq!((counts[1], counts[3]), (0, 0));
}
