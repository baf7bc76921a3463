//! How much memory answers with a schema take: little while they wait, their tables while they are computed, nothing
//! afterwards. Answers wait while there is no room for their tables.

use std::alloc::System;
use std::ops::ControlFlow;

use cap::Cap;
use grammar::json_schema::Options;
use llm::front::{AnswerGrammar, Event, FrontError, PROMPT_ENCODING, Prompt, Request, Responder};
use llm::sampling::SamplingError;
use llm::session::SessionError;

mod micro;
mod responder;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const SCHEMA: &str = r#"{"type": "array", "items": {"type": "integer"}, "minItems": 30}"#;
/// The least size of an answer's tables in bytes.
const TABLES: usize = 3 << 20;

fn submit(responder: &mut Responder<'_>) {
    let grammar = Some(AnswerGrammar::JsonSchema(SCHEMA, Options::GENERATED));
    let request = Request { grammar, ..Request::new(Prompt::Text("One", PROMPT_ENCODING), 12) };
    responder.submit(request, || 0).unwrap();
}

/// The answers that end in this step, and why others have none.
fn step(responder: &mut Responder<'_>) -> (usize, Vec<FrontError>) {
    let (mut n_finished, mut errors) = (0, Vec::new());
    let mut on_event = |_, event: Event<'_>| {
        n_finished += usize::from(matches!(event, Event::Finished { .. }));
        if let Event::Failed { error, .. } = event {
            errors.push(error.clone());
        }
        ControlFlow::Continue(())
    };
    responder.step(|| 0, &mut || ControlFlow::Continue(()), &mut on_event).unwrap();
    (n_finished, errors)
}

#[test]
fn tables_are_there_while_an_answer_is_computed() {
    responder::with_responder(&micro::micro(512), 512, 64, |responder| {
        submit(responder);
        while !responder.is_idle() {
            step(responder);
        }
        let before = ALLOCATOR.allocated();
        let n_requests = responder::N_SLOTS + 4;
        (0..n_requests).for_each(|_| submit(responder));
        let waiting = ALLOCATOR.allocated() - before;
        assert!(waiting < n_requests * (64 << 10), "{waiting} bytes for {n_requests} requests");
        step(responder);
        let running = ALLOCATOR.allocated() - before;
        assert!(running > responder::N_SLOTS * TABLES, "{running} bytes");
        assert!(running < (responder::N_SLOTS + 1) * (4 << 20), "{running} bytes");
        let mut n_finished = 0;
        while !responder.is_idle() {
            n_finished += step(responder).0;
        }
        assert_eq!(n_finished, n_requests);
        assert!(ALLOCATOR.allocated() < before + (64 << 10));

        // There is room for the tables of two, and a mebibyte, but not for one more, which waits until one of them is over.
        (0..3).for_each(|_| submit(responder));
        ALLOCATOR.set_limit(ALLOCATOR.allocated() + 2 * (4 << 20) + (1 << 20)).unwrap();
        let (_, errors) = step(responder);
        ALLOCATOR.set_limit(usize::MAX).unwrap();
        assert_eq!(errors, []);
        let mut n_finished = 0;
        while n_finished == 0 {
            let running = ALLOCATOR.allocated() - before;
            assert!((2 * TABLES..3 * TABLES).contains(&running), "{running} bytes");
            n_finished += step(responder).0;
        }
        while !responder.is_idle() {
            n_finished += step(responder).0;
        }
        assert_eq!(n_finished, 3);

        // Tables do not take the last of the memory.
        submit(responder);
        let free = |bytes| ALLOCATOR.set_limit(ALLOCATOR.allocated() + bytes).unwrap();
        free(4 << 20);
        let (_, errors) = step(responder);
        ALLOCATOR.set_limit(usize::MAX).unwrap();
        let [FrontError::Session(SessionError::Sampling(SamplingError::OutOfMemory { needed_bytes }))] =
            errors[..]
        else {
            panic!("{errors:?}")
        };
        assert!((TABLES..4 << 20).contains(&needed_bytes), "{needed_bytes}");

        // Rules that are kept for later answers, of two mebibytes, are dropped for the tables of this one.
        let text = format!("root ::= \"a\" # {}", " ".repeat(2 << 20));
        let grammar = Some(AnswerGrammar::Gbnf(&text));
        let request = Request { grammar, ..Request::new(Prompt::Text("One", PROMPT_ENCODING), 2) };
        responder.submit(request, || 0).unwrap();
        while !responder.is_idle() {
            step(responder);
        }
        submit(responder);
        free(4 << 20);
        let (_, errors) = step(responder);
        ALLOCATOR.set_limit(usize::MAX).unwrap();
        assert_eq!(errors, []);
        while !responder.is_idle() {
            step(responder);
        }
    });
}
