//! The first minutes of a new user of `scripts/run`: a question, a look at the tools, `help`, Ctrl-C, and the end. Every key is typed at
//! the console of a terminal, each one only after the one before has been echoed.

use std::time::Instant;

use qemu_tests::{Run, Session, repository};

const SHELL: &str = "\x1b[32mferrite> \x1b[m\x1b[K";
const CHAT: &str = "\x1b[32m> \x1b[m\x1b[K";
/// A part of every remark on an answer.
const ANSWERED: &str = " generated, first after ";

/// Types a text, key by key, and Return.
fn enter(session: &mut Session, text: &str) {
    type_keys(session, text);
    session.send("\r");
    session.wait_for("\n");
}

fn type_keys(session: &mut Session, text: &str) {
    for key in text.chars() {
        session.send(key.to_string());
        session.wait_for(key.to_string());
    }
}

/// Waits until `end` is shown, and returns everything that was shown up to then.
fn shown_until(session: &mut Session, end: &str) -> String {
    let shown = session.wait_for(end);
    String::from_utf8_lossy(&shown).replace('\r', "")
}

#[test]
fn the_first_minutes_go_well() {
    let model = repository().join("test_models/tiny.gguf");
    let mut session = Run::new().model(&model).boot_args("ferrite.columns=100").start();
    let boot = shown_until(&mut session, SHELL);
    assert!(boot.contains("`help` lists the commands."), "{boot}");

    // Tab completes the command.
    type_keys(&mut session, "llm ch");
    session.send("\t");
    session.wait_for("llm chat ");
    session.send("\r");
    let greeting = shown_until(&mut session, CHAT);
    assert!(greeting.contains("/help lists the commands"), "{greeting}");
    let asked = Instant::now();
    enter(&mut session, "Who are you?");
    session.wait_for("I am ");
    println!("the answer began after {:.2} s, with all that was typed", asked.elapsed().as_secs_f64());
    let answer = shown_until(&mut session, CHAT);
    assert!(answer.contains("kernel") && answer.contains(ANSWERED), "{answer}");
    enter(&mut session, "/stats");
    let stats = shown_until(&mut session, CHAT);
    assert!(stats.contains("answers  1: "), "{stats}");
    enter(&mut session, "/quit");
    session.wait_for(SHELL);

    // The descriptions of the tools do not fit into the default model's context, which one line says.
    enter(&mut session, "llm chat --tools \"How long is the machine running?\"");
    let answer = shown_until(&mut session, SHELL);
    assert_eq!(answer.matches("error:").count(), 1, "{answer}");
    assert!(answer.contains("the message is too long"), "{answer}");
    println!("with tools: {answer:?}");

    enter(&mut session, "help");
    let help = shown_until(&mut session, SHELL);
    for command in ["llm chat", "llm infer", "mem", "poweroff"] {
        let is_listed =
            |line: &str| line.trim_start_matches("\x1b[?2004l").starts_with(&format!("{command:<14} "));
        assert!(help.lines().any(is_listed), "{help}");
    }

    // Exact arithmetic is slow enough that nobody comes too late with Ctrl-C.
    enter(&mut session, "llm infer \"Once upon a time\" -1 --ignore-eos --exact");
    session.wait_for("there was");
    session.send("\x03");
    let stopped = shown_until(&mut session, SHELL);
    assert!(stopped.contains(", stopped]"), "{stopped}");

    // Ctrl-R finds what was typed before, and Ctrl-G takes that back.
    session.send("\x12");
    session.wait_for("(reverse-i-search)`': ");
    session.send("hel");
    session.wait_for("(reverse-i-search)`hel': \x1b[mhelp");
    session.send("\x07");
    session.wait_for(SHELL);
    enter(&mut session, "poweroff");
    session.finish().expect_status(0);
}
