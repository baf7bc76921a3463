//! Tests of the commands that models may run in a chat, both with a scripted model and with one that a grammar forces to call.

use core::ops::ControlFlow;
use std::format;

use super::*;
use crate::llm::fixtures;
use ::llm::{
    chat::{Dialogue, Format, Tool},
    front::{ChatFormat, Prompt, Report, Request, ToolChoice},
    session::{FinishReason, Speculation},
};
use commands::tools::{self, MAX_CALLS, NAMES};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role ~ ':' ~ m.content }}\n{% endfor %}assistant:";

/// The small model with this chat format, and with room for the descriptions of the tools.
fn micro() -> Vec<u8> {
    const N_CTX_KEY: &[u8] = b"llama.context_length";
    let mut file = fixtures::with_text(&fixtures::micro(), "tokenizer.chat_template", TEMPLATE);
    let key = file.windows(N_CTX_KEY.len()).position(|bytes| bytes == N_CTX_KEY).unwrap();
    // The key is followed by the type of its value.
    file[key + N_CTX_KEY.len() + 4..][..4].copy_from_slice(&2048u32.to_le_bytes());
    file
}

const BEGINNING: &str = "[the test begins]\n";

/// Runs `test` in the shell of a machine with two models on disks, the first of which is loaded; returns the output.
fn in_shell(n_ctx: usize, test: impl FnOnce(&mut Shell<'_>)) -> String {
    let computer = Computer::new().disk("s", micro()).disk("other", broken_gguf::good());
    let mut console = Typed {
        input: VecDeque::new(),
        late: None,
        is_pipe: false,
        power_key_after: None,
        output: Vec::new(),
    };
    let mut shell = Shell::new(computer.system(&mut console), true);
    assert!(shell.run_line(format!("llm load --ctx {n_ctx}").as_bytes()));
    shell.terminal.print(format_args!("{BEGINNING}"));
    test(&mut shell);
    drop(shell);
    let output = String::from_utf8(console.output).unwrap();
    output.split_once(BEGINNING).unwrap().1.to_string()
}

fn call(name: &str, arguments: &str) -> String {
    format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>")
}

fn said(output: &str, finish_reason: FinishReason) -> Report {
    Report {
        output: output.into(),
        ids: Vec::new(),
        prompt_tokens: 1,
        cached_tokens: 0,
        tokens_emitted: 1,
        latency_us: 0,
        queued_us: 0,
        first_token_us: 0,
        finish_reason,
        stop: String::new(),
        speculation: Speculation::default(),
        forgotten: None,
        work: None,
        format: Some(Format::default()),
    }
}

/// Has a turn answered by a model that returns the texts of `script` one after another; returns how often it was offered tools.
fn scripted(shell: &mut Shell<'_>, dialogue: &mut Dialogue, script: &[String]) -> usize {
    dialogue.ask("How are you?").unwrap();
    let (mut lines, mut n_offered) = (script.iter(), 0);
    tools::answer(shell, dialogue, &tools::all(), &mut |_, _, offered| {
        n_offered += usize::from(!offered.is_empty());
        Ok(said(lines.next().expect("the model has said all that it says"), FinishReason::EndOfText))
    })
    .unwrap();
    assert_eq!(lines.next(), None, "the model was not asked as often as it should");
    n_offered
}

/// The roles and contents of a dialogue.
fn messages(dialogue: &Dialogue) -> Vec<(String, String)> {
    let messages = dialogue.messages(&[]).unwrap();
    messages.iter().map(|message| (message.role.to_string(), message.content.to_string())).collect()
}

#[test]
fn what_is_called_is_run_and_shown_and_its_output_is_the_result() {
    let mut dialogue = Dialogue::default();
    let script =
        ["Let me see.".to_string() + &call("uptime", "{}") + &call("llm_list", "{}"), "Well.".into()];
    let shown = in_shell(2048, |shell| {
        assert_eq!(scripted(shell, &mut dialogue, &script), 2);
    });
    let messages = messages(&dialogue);
    let roles: Vec<_> = messages.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "assistant"]);
    let (uptime, list) = (&messages[2].1, &messages[3].1);
    assert!(uptime.ends_with(" s\n") && list.starts_with("* /models/"), "{messages:?}");
    assert_eq!(shown, format!("[runs: uptime]\n{uptime}[runs: llm list]\n{list}"));
    assert_eq!((messages[1].1.as_str(), messages[4].1.as_str()), ("Let me see.", "Well."));
    let calls = dialogue.calls().unwrap();
    let told = dialogue.messages(&calls).unwrap();
    assert_eq!((told[3].name, told[3].tool_call_id), ("llm_list", told[1].tool_calls[1].id));
}

#[test]
fn every_tool_is_a_command_that_changes_nothing() {
    let known = tools::all();
    assert_eq!(known.iter().map(|tool| tool.name).collect::<Vec<_>>(), NAMES);
    assert!(known.iter().all(|tool| !tool.description.is_empty()));
    in_shell(2048, |shell| {
        let state = |shell: &Shell<'_>| {
            let models: Vec<_> = shell
                .backend
                .models()
                .iter()
                .map(|model| (model.metadata.clone(), model.is_current))
                .collect();
            (models, shell.shutdown)
        };
        let before = state(shell);
        for name in NAMES {
            let mut dialogue = Dialogue::default();
            scripted(shell, &mut dialogue, &[call(name, "{}"), "So.".into()]);
            let (_, result) = &messages(&dialogue)[2];
            assert!(!result.is_empty() && !result.starts_with("error"), "{name}: {result}");
            assert_eq!(state(shell), before, "{name}");
        }
    });
}

#[test]
fn nothing_but_the_tools_is_run() {
    in_shell(2048, |shell| {
        for command in commands::all() {
            let name = command.name.replace(' ', "_");
            if NAMES.contains(&name.as_str()) {
                continue;
            }
            let mut dialogue = Dialogue::default();
            scripted(shell, &mut dialogue, &[call(&name, "{}"), "Oh.".into()]);
            assert_eq!(messages(&dialogue)[2].1, "error: there is no such tool", "{name}");
        }
        assert!(shell.shutdown.is_none() && shell.backend.model(None).is_ok());
    });
    let shown = in_shell(2048, |shell| {
        scripted(shell, &mut Dialogue::default(), &[call("poweroff", "{}"), "Oh.".into()]);
    });
    assert_eq!(shown, "[does not run poweroff: there is no such tool]\n");
}

#[test]
fn a_model_that_is_asked_about_has_to_be_loaded() {
    let mut dialogue = Dialogue::default();
    let shown = in_shell(2048, |shell| {
        let current = shell.backend.model(None).unwrap().path.clone();
        let calls = [
            call("llm_info", &format!("{{\"model\": \"{current}\"}}")),
            call("llm_info", "{\"model\": \"good\"}"),
            "Only one.".into(),
        ];
        scripted(shell, &mut dialogue, &calls);
        assert_eq!(shell.backend.models().len(), 1);
        assert_eq!(shell.backend.model(None).unwrap().path, current);
    });
    let messages = messages(&dialogue);
    assert!(messages[2].1.starts_with("path "), "{messages:?}");
    assert!(messages[4].1.starts_with("error: ") && messages[4].1.contains("good"), "{messages:?}");
    assert!(shown.contains("[runs: llm info --model \"good\"]\nerror: "), "{shown}");
}

#[test]
fn a_turn_has_so_many_commands_and_then_an_answer() {
    // One call after another, and more calls at once than allowed; calls by a model that is offered no tools are plain text.
    let one = call("uptime", "{}");
    let endless = vec![one.clone(); MAX_CALLS + 1];
    let shown = in_shell(2048, |shell| {
        let mut dialogue = Dialogue::default();
        assert_eq!(scripted(shell, &mut dialogue, &endless), MAX_CALLS);
        assert_eq!(messages(&dialogue).len(), 1 + 2 * MAX_CALLS + 1);
    });
    assert_eq!(shown.matches("[runs: uptime]").count(), MAX_CALLS);
    let shown = in_shell(2048, |shell| {
        let mut dialogue = Dialogue::default();
        assert_eq!(scripted(shell, &mut dialogue, &[one.repeat(MAX_CALLS + 2), "Yes.".into()]), 1);
        let refused = "error: so many commands are not run for one message";
        assert_eq!(
            messages(&dialogue)[2 + MAX_CALLS..][..2],
            [(); 2].map(|()| ("tool".into(), refused.into()))
        );
    });
    assert_eq!(shown.matches("[runs: uptime]").count(), MAX_CALLS);
    assert_eq!(shown.matches("[does not run uptime: ").count(), 2);
}

#[test]
fn results_are_cut_to_half_of_the_context() {
    let mut dialogue = Dialogue::default();
    let shown = in_shell(128, |shell| {
        scripted(
            shell,
            &mut dialogue,
            &[call("uptime", "{}") + &call("mem", "{}") + &call("cpus", "{}"), "Ah.".into()],
        );
    });
    let messages = messages(&dialogue);
    let [uptime, mem, cpus] = [2, 3, 4].map(|place: usize| messages[place].1.as_str());
    let (kept, remark) = mem.split_once("\n[cut: ").unwrap();
    assert_eq!(uptime.len() + kept.len(), 64);
    let n_bytes: usize = remark.split(' ').nth(2).unwrap().parse().unwrap();
    let whole = shown.split("[runs: mem]\n").nth(1).unwrap().split("[runs: ").next().unwrap();
    assert!(whole.len() == n_bytes && whole.starts_with(kept), "{shown}");
    assert!(cpus.starts_with("\n[cut: 0 of "), "{cpus}");
}

#[test]
fn a_stopped_answer_runs_nothing_and_a_failed_one_ends_the_turn() {
    let shown = in_shell(2048, |shell| {
        let mut dialogue = Dialogue::default();
        dialogue.ask("Hi").unwrap();
        tools::answer(shell, &mut dialogue, &tools::all(), &mut |_, _, _| {
            Ok(said(&call("uptime", "{}"), FinishReason::Cancelled))
        })
        .unwrap();
        assert_eq!(dialogue.next_call(), None);
        let failed =
            tools::answer(shell, &mut dialogue, &tools::all(), &mut |_, _, _| Err(BackendError::NotLoaded));
        assert!(matches!(failed, Err(CommandError::Backend(BackendError::NotLoaded))));
    });
    assert_eq!(shown, "");
}

#[test]
fn a_model_that_must_call_is_told_what_the_command_prints() {
    let mut dialogue = Dialogue::default();
    let mut prompts = Vec::new();
    let shown = in_shell(2048, |shell| {
        dialogue.ask("How long?").unwrap();
        tools::answer(shell, &mut dialogue, &tools::all(), &mut |shell, dialogue, tools: &[Tool<'_>]| {
            let is_first = dialogue.messages(&[])?.len() == 1;
            let format = ChatFormat { tools, ..ChatFormat::default() };
            let tool_choice = if is_first { ToolChoice::Named("uptime") } else { ToolChoice::Auto };
            let prompt = Prompt::Chat(dialogue, format);
            let request = Request { tell_apart: true, tool_choice, ..Request::new(prompt, 120) };
            let report = shell.backend.generate(None, request, &mut |_| ControlFlow::Continue(()))?;
            prompts.push(report.prompt_tokens);
            Ok(report)
        })
        .unwrap();
    });
    let messages = messages(&dialogue);
    assert!(messages[2].0 == "tool" && messages[2].1.ends_with(" s\n"), "{messages:?}");
    assert!(shown.contains(&format!("[runs: uptime]\n{}", messages[2].1)), "{shown}");
    assert!(prompts.len() >= 2 && prompts[1] > prompts[0], "{prompts:?}");
}

#[test]
fn tools_are_off_unless_asked_for() {
    let computer = Computer::new().disk("s", micro());
    let answers = computer.converse(&[
        b"llm load --ctx 2048",
        b"llm chat 'One day' 4",
        b"llm chat --tools 'One day' 4",
        b"llm chat --tools --grammar 'root ::= \"a\"' 'One day' 4",
        b"llm chat --help",
    ]);
    let n_prompt = |answer: &str| -> usize {
        let (before, _) = answer.split_once(" prompt tokens").unwrap_or_else(|| panic!("{answer}"));
        before.rsplit('[').next().unwrap().parse().unwrap()
    };
    // If the template has no support for tools, they are described in the system message.
    assert!(n_prompt(&answers[2]) > n_prompt(&answers[1]) + 100, "{answers:?}");
    assert!(answers[3].starts_with("error: --tools cannot be given with --grammar"), "{}", answers[3]);
    assert!(answers[4].contains("--tools"), "{}", answers[4]);
}
