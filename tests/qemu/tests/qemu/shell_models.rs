//! Models in the kernel's shell: from a disk to text, and everything that can go wrong on the way.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::PathBuf, process::Command, time::Duration};

use crate::common::{COMMAND, PROMPT, expected};
use qemu_tests::{Directory, Run, Session, build_host_program, repository};

/// The guest's clock stands still while the kernel waits for a key, so that the keys of an escape sequence never come too late.
const PATIENT_CLOCK: &str = "-icount shift=0,sleep=off";

fn default_model() -> PathBuf {
    repository().join("test_models/tiny.gguf")
}

/// What the shell answers to a line, without its echo.
fn answer(session: &mut Session, line: &[u8]) -> String {
    session.send([line, b"\n"].concat());
    session.wait_for("\n");
    let answer = String::from_utf8(session.wait_for(PROMPT)).expect("what the shell prints is UTF-8");
    answer.strip_suffix(PROMPT).expect("it ends where it was waited for").replace('\r', "")
}

fn start(run: Run) -> Session {
    let mut session = run.start();
    session.wait_for(PROMPT);
    session
}

fn power_off(mut session: Session) {
    session.send("poweroff\n");
    session.finish().expect_status(0);
}

#[track_caller]
fn assert_is_error(answer: &str, said: &str) {
    // The last line of a progress display may stand before it.
    let error = &answer[answer.find("error: ").unwrap_or_else(|| panic!("{answer:?} is no error"))..];
    assert!(error.contains(said), "{error:?} does not say {said:?}");
    assert_eq!(error.matches('\n').count(), 1, "{error:?} is not one line");
}

#[test]
fn the_same_text_on_every_cpu() {
    assert!(expected().split_whitespace().count() >= 4, "{:?}", expected());
    // The default is `max`.
    for cpu in ["cortex-a72", "cortex-a76", "neoverse-n1"] {
        let run = Run::new().model(&default_model()).emulated().args(["--cpu", cpu]);
        assert_eq!(run.command(COMMAND).finish().expect_status(0).text(), expected(), "{cpu}");
    }
}

#[test]
fn a_model_in_several_files_is_that_model() {
    let directory = Directory::new("parts");
    let path = |name: &str| directory.path().join(name);
    let mut split = Command::new(build_host_program());
    split.arg("split").arg(default_model()).arg(path("tiny")).args(["--split-max-tensors", "20"]);
    assert!(split.status().expect("it starts").success());
    let parts = fs::read_dir(directory.path()).unwrap().count();
    assert!(parts >= 3, "{parts}");
    let second = path(&format!("tiny-00002-of-{parts:05}.gguf"));
    let text = Run::new().model(&second).command(COMMAND).finish().expect_status(0).text();
    assert_eq!(text, expected());
    fs::remove_file(&second).unwrap();
    let first = path(&format!("tiny-00001-of-{parts:05}.gguf"));
    let missing = Run::new().model(&first).command("llm load ferrite-tiny").finish().expect_status(1);
    missing.expect_error(&format!("part 2 of {parts} of the model is on no disk"));
}

#[test]
fn a_set_of_kernels_can_be_named() {
    let run = |cpu: &str, name: &str| {
        let run = Run::new().model(&default_model()).emulated().args(["--cpu", cpu]);
        run.boot_args(&format!("ferrite.kernels={name}")).command("llm bench --prompt 4 --generate 4 --json")
    };
    for (cpu, name) in [("cortex-a72", "neon"), ("cortex-a76", "dotprod+fp16"), ("max", "i8mm+fp16")] {
        let report = run(cpu, name).finish().expect_status(0).text();
        assert!(report.contains(&format!("\"kernel_set\":\"{name}\"")), "{report}");
    }
    let refused = run("cortex-a76", "i8mm").finish().expect_status(1);
    refused.expect_error(
        "\"ferrite.kernels=i8mm\": this CPU has no instruction set \"i8mm\"; \
                             expected neon, mla, dotprod, dotprod+fp16",
    );
}

#[test]
fn a_command_names_its_kernels_and_its_cores() {
    let run = Run::new().model(&default_model()).emulated().args(["--cpu", "cortex-a76", "--smp", "4"]);
    let mut session = start(run);
    let ids = |answer: &str| {
        let (ids, _) = answer.rsplit_once("\n[").expect("a remark on speed");
        ids.rsplit('\n').next().expect("a line").to_owned()
    };
    answer(&mut session, b"llm load");
    let expected = ids(&answer(&mut session, b"llm infer 'Once upon a time' 6 --ids"));
    assert_eq!(expected.split(' ').count(), 6, "{expected}");
    let kernels = answer(&mut session, b"llm info --kernels");
    assert_eq!(kernels, "neon\nmla\ndotprod\ndotprod+fp16\n");
    for options in ["--threads 1", "--threads 2", "--threads 3 --kernels neon", "--kernels mla", ""] {
        let line = format!("llm infer 'Once upon a time' 6 --ids {options}");
        assert_eq!(ids(&answer(&mut session, line.as_bytes())), expected, "{options}");
    }
    let report = answer(&mut session, b"llm bench -p 8 -n 2 -r 1 --json --threads 3 --kernels mla");
    assert!(report.contains("\"kernel_set\":\"mla\",\"cores\":3,"), "{report}");
    assert_ne!(
        answer(&mut session, b"llm logits 1,2 --exact"),
        answer(&mut session, b"llm logits 1,2"),
        "--exact changes nothing"
    );
    power_off(session);
}

#[test]
fn a_model_is_listed_loaded_verified_used_and_unloaded() {
    let directory = Directory::new("models");
    let good = directory.file("good.gguf", &broken_gguf::good());
    let mut session = start(Run::new().model(&default_model()).model(&good));
    let list = answer(&mut session, b"llm list");
    assert_eq!(list.matches("/models/").count(), 2, "{list}");
    assert!(answer(&mut session, b"llm verify").contains("as expected"));
    assert_is_error(&answer(&mut session, b"llm verify good"), "no checksum");
    assert!(answer(&mut session, b"llm infer 'Once upon a time' 12").contains("12 generated"));
    assert!(answer(&mut session, b"llm bench -p 8 -n 4").contains("tokens/s"));
    let drawn = |session: &mut Session, seed: &str| {
        answer(session, format!("llm infer 'Once upon a time' 12 --temp 2 --seed {seed}").as_bytes())
    };
    let text = |answer: &str| answer.rsplit_once("\n[").expect("a remark on speed").0.to_owned();
    let random = [drawn(&mut session, "-1"), drawn(&mut session, "-1")];
    assert_ne!(random[0], random[1]);
    let (seed, random) = random[0].split_once('\n').expect("a line with the seed");
    let seed = seed.strip_prefix("seed ").expect("the seed is shown");
    assert_eq!(text(&drawn(&mut session, seed)), text(random));
    session.send("llm tokenize 'one\n");
    session.wait_for("\r> \x1b[K");
    let two_lines = answer(&mut session, b"two'");
    assert_eq!(answer(&mut session, b"llm tokenize $'one\\ntwo'"), two_lines);
    assert!(answer(&mut session, b"llm stats").contains("inferences    4\n"));
    assert!(answer(&mut session, b"llm load good --ctx 32").contains("context 32 of 64"));
    assert!(answer(&mut session, b"llm info").contains("n_ctx         32 of 64"));
    assert!(answer(&mut session, b"llm unload --all").contains("given back"));
    let memory = answer(&mut session, b"mem");
    assert!(memory.contains("weights   0 B\n") && memory.contains("pool      0 B of"), "{memory}");
    power_off(session);
}

#[test]
fn two_models_answer_as_alone_and_a_third_is_refused_to_the_byte() {
    let directory = Directory::new("several");
    let micro = repository().join("test_models/micro.gguf");
    let long = directory.file("long.gguf", &with_context_length(1 << 24));
    let run = Run::new().model(&default_model()).model(&micro).model(&long);
    let mut session = start(run.args(["--mem", "128M"]));
    let names = ["ferrite-tiny", "ferrite-micro"];
    let ids = |session: &mut Session, name: &str| {
        let answer =
            answer(session, format!("llm infer 'Once upon a time' 12 --ids --model {name}").as_bytes());
        let (ids, _) = answer.rsplit_once("\n[").expect("a remark on speed");
        ids.rsplit('\n').next().expect("a line").to_owned()
    };
    let alone = names.map(|name| {
        let ids = ids(&mut session, name);
        assert!(answer(&mut session, b"llm unload").contains("given back"));
        ids
    });
    for name in names {
        assert!(answer(&mut session, format!("llm load {name}").as_bytes()).contains("context"));
    }
    assert_eq!(
        [0, 1, 0].map(|index: usize| ids(&mut session, names[index])),
        [0, 1, 0].map(|index: usize| alone[index].clone())
    );
    let list = answer(&mut session, b"llm list");
    let marks: Vec<_> = list.lines().map(|line| &line[..1]).collect();
    assert_eq!(marks, ["*", "+", " "], "{list}");
    let taken = |line: usize| -> usize {
        let (_, taken) = list.lines().nth(line).unwrap().split_once("; in memory: ").expect("a loaded model");
        taken.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<usize>().ok()).sum()
    };
    let frees =
        names.iter().enumerate().map(|(line, name)| format!("`llm unload {name}` frees {}", taken(line)));
    let frees: Vec<_> = frees.collect();

    let available = |refused: &str| -> usize {
        assert_is_error(refused, " bytes needed for the weights and a context of 16000000 tokens, ");
        let (before, _) = refused.split_once(" available").expect("what is available");
        before.rsplit(' ').next().unwrap().parse().expect("a number")
    };
    let load_long = b"llm load good --ctx 16000000";
    let refused = answer(&mut session, load_long);
    assert!(refused.ends_with(&format!(" available; {}, {}\n", frees[0], frees[1])), "{refused}");
    let before = available(&refused);
    assert_eq!(ids(&mut session, names[1]), alone[1]);
    assert!(answer(&mut session, b"llm unload ferrite-tiny").contains("given back"));
    let refused = answer(&mut session, load_long);
    assert_eq!(available(&refused), before + taken(0));
    assert!(refused.ends_with(&format!(" available; {}\n", frees[1])), "{refused}");
    assert_eq!(ids(&mut session, names[1]), alone[1]);
    assert_is_error(&answer(&mut session, b"llm unload ferrite-tiny"), "expected ferrite-micro");
    power_off(session);
}

#[test]
fn keys_edit_lines_and_recall_them() {
    let mut session = start(Run::new().emulated().args(["--smp", "1"]).qemu(PATIENT_CLOCK));
    assert!(answer(&mut session, b"cpuz\x7fs").contains("core 0"));
    assert!(answer(&mut session, b"pus\x1b[Hc\x1b[F").contains("core 0"));
    assert!(answer(&mut session, b"\x1b[A\x1b[A").contains("core 0"));
    assert!(answer(&mut session, b"nonsense\x15uptime").ends_with(" s\n"));
    // Return after Esc, reports of a terminal, a function key of the Linux console, a mouse, Alt-Backspace, Ctrl-C.
    for line in [
        &b"uptime\x1b"[..],
        b"\x1b]0;title\x07uptime",
        b"\x1bP>|xterm(370)\x1b\\uptime",
        b"\x1b[[Auptime",
        b"\x1b[M !!uptime",
        b"words\x1b\x7fuptime",
    ] {
        assert!(answer(&mut session, line).ends_with(" s\n"), "{line:?}");
    }
    session.send("some words\x1b\x03");
    session.wait_for("^C");
    session.wait_for(PROMPT);
    session.send("\x04");
    session.finish().expect_status(0);
}

#[test]
fn the_terminal_is_asked_for_its_width() {
    const ASKED: &str = "\x1b[999C\x1b[6n";
    let run = Run::new().emulated().args(["--smp", "1"]).qemu(PATIENT_CLOCK);
    let mut session = run.boot_args("ferrite.columns=60 NO_COLOR=1").start();
    for columns in [30, 45] {
        session.wait_for(ASKED);
        session.wait_for(PROMPT);
        session.send(format!("\x1b[3;{columns}R"));
        session.send("words ".repeat(40));
        session.send("\x03");
        let shown = String::from_utf8(session.wait_for("^C")).unwrap();
        // Each sight of the line begins at the left edge.
        let widths = shown
            .split('\r')
            .map(|row| row.split("\x1b[K").map(|text| text.trim_end_matches("^C").len()).sum());
        assert_eq!(widths.max(), Some(columns - 1), "{shown:?}");
    }
    session.wait_for(ASKED);
    session.send("poweroff\n");
    session.finish().expect_status(0);
}

#[test]
fn many_prompts_are_answered_as_each_alone() {
    const PROMPTS: [&str; 3] = ["What is Ferrite?", "Once upon a time", "Hello"];
    let directory = Directory::new("many_prompts");
    let file = directory.file("prompts.txt", PROMPTS.join("\n").as_bytes());
    let run = Run::new().model(&default_model()).emulated().args(["--text".as_ref(), file.as_os_str()]);
    let mut session = start(run);
    let text = |answer: String| answer[..answer.rfind("\n[").expect("a remark on speed") + 1].to_owned();
    answer(&mut session, b"llm load ferrite-tiny --parallel 3");
    let mut expected = String::new();
    for (index, prompt) in PROMPTS.iter().enumerate() {
        let alone = text(answer(&mut session, format!("llm infer '{prompt}' 12").as_bytes()));
        for line in alone.lines() {
            expected += &format!("[{}] {line}\n", index + 1);
        }
    }
    assert_eq!(text(answer(&mut session, b"llm batch --prompts prompts.txt -n 12")), expected);
    let stats = answer(&mut session, b"llm stats");
    assert!(stats.contains("inferences    6\n"), "{stats}");
    let (_, hits) = stats.split_once("\nprefix hits   ").expect("known beginnings are counted");
    let (hits, _) = hits.split_once(' ').expect("tokens stand behind the hits");
    assert!(hits.parse::<usize>().is_ok_and(|hits| hits > 0), "{stats}");
    session.send("llm batch -n 100 a b c d e f g h i j k l m n o p q r s t u v w x y z\n");
    session.wait_for("[1] ");
    session.send("\x03");
    session.wait_for(", stopped]");
    session.wait_for(PROMPT);
    power_off(session);
}

#[test]
fn ctrl_c_stops_a_text() {
    let directory = Directory::new("stop");
    // A context so long that the text, which repeats itself without an end, would go on for an hour.
    let model = directory.file("long.gguf", &with_context_length(1 << 16));
    let mut session = start(Run::new().model(&model).args(["--mem", "256M"]));
    answer(&mut session, b"llm load --ctx 60000");
    session.send("llm infer 'Can you help me?' 50000\n");
    session.wait_for("\n");
    std::thread::sleep(Duration::from_millis(500));
    session.send("\x03");
    let stopped = String::from_utf8_lossy(&session.wait_for(PROMPT)).into_owned();
    assert!(stopped.contains(", stopped]"), "{stopped}");
    assert!(answer(&mut session, b"uptime").ends_with(" s\n"));
    power_off(session);
}

/// The small good model, with another `llama.context_length`.
fn with_context_length(n_ctx: u32) -> Vec<u8> {
    let mut bytes = broken_gguf::good();
    let key = b"llama.context_length";
    let place = bytes.windows(key.len()).position(|window| window == key).expect("the key is there");
    // Behind the key stand four bytes for the type.
    let value = place + key.len() + 4;
    bytes[value..value + 4].copy_from_slice(&n_ctx.to_le_bytes());
    bytes
}

#[test]
fn too_little_memory_is_named_and_the_next_inference_works() {
    let directory = Directory::new("memory");
    let model = directory.file("long.gguf", &with_context_length(1 << 24));
    let mut session = start(Run::new().model(&model).args(["--mem", "128M"]));
    assert_is_error(&answer(&mut session, b"llm load --ctx 16000000"), "bytes needed");
    assert!(answer(&mut session, b"llm infer hello 5").contains("5 generated"));
    assert_is_error(&answer(&mut session, b"llm infer hello 5 --ctx 16000000"), "available");
    assert!(answer(&mut session, b"llm infer hello 5").contains("5 generated"));
    power_off(session);
}

#[test]
fn prompts_that_cannot_be_are_refused_and_the_next_one_works() {
    let directory = Directory::new("prompts");
    let model = directory.file("good.gguf", &broken_gguf::good());
    let mut session = start(Run::new().model(&model));
    let long = format!("llm infer '{}' 5", "hello ".repeat(100));
    assert_is_error(&answer(&mut session, long.as_bytes()), "the prompt has");
    assert_is_error(&answer(&mut session, b"llm infer 'hel\xfflo' 5"), "byte 0xff at offset 3");
    assert!(answer(&mut session, b"llm infer hello 5").contains("5 generated"));
    power_off(session);

    let invalid = OsStr::from_bytes(b"llm infer 'hel\xfflo' 5");
    let outcome = Run::new().model(&model).command(invalid).finish().expect_status(1);
    assert_eq!(outcome.text(), "");
    outcome.expect_error("not valid UTF-8");
}

#[test]
fn no_disk_an_empty_disk_and_noise() {
    let directory = Directory::new("noise");
    let noise: Vec<u8> = (0..65536_u32).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8).collect();
    let empty = directory.file("empty.gguf", &[]);
    let noise = directory.file("noise.gguf", &noise);
    let good = directory.file("good.gguf", &broken_gguf::good());
    Run::new().command("llm infer Hello 10").finish().expect_status(1).expect_error("no disk");
    Run::new().model(&empty).command("llm infer Hello 10").finish().expect_status(1).expect_error("empty");
    Run::new().model(&noise).command("llm infer Hello 10").finish().expect_status(1).expect_error("GGUF");

    let mut session = start(Run::new().model(&empty).model(&noise).model(&good));
    assert_eq!(answer(&mut session, b"llm list").matches("unusable").count(), 2);
    assert_is_error(&answer(&mut session, b"llm load empty"), "/models/empty.gguf: the disk is empty");
    assert_is_error(&answer(&mut session, b"llm load noise"), "/models/noise.gguf");
    assert!(answer(&mut session, b"llm infer hello 5").contains("5 generated"));
    power_off(session);
}

/// The files and numbers come from `scripts/golden/lora.py`; this is the third of its cases.
#[test]
fn adapters_on_disks_of_their_own_give_the_logits_of_the_reference() {
    let golden = repository().join("crates/llm/tests/golden");
    let machine = || {
        let run = Run::new().model(&golden.join("architectures/llama.gguf")).args(["--mem", "256M"]);
        let adapters = ["llama-0", "llama-moe-0", "llama-1"];
        adapters.iter().fold(run, |run, name| {
            run.args([OsStr::new("--lora"), golden.join(format!("lora/{name}.gguf")).as_os_str()])
        })
    };
    let logits = |lora: &str| -> Vec<f32> {
        let line = format!("llm logits --kv-type f32 {lora} 5,7,28,27,23,5,5,7,11,28,30,8");
        let text = machine().command(line).finish().expect_status(0).text();
        text.split_whitespace().map(|logit| logit.parse().unwrap()).collect()
    };
    let adapted = logits("--lora llama-0:0.75 --lora llama-1:1.5");
    let reference = fs::read(golden.join("lora/logits")).unwrap();
    let floats = reference.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    let expected: Vec<f32> = floats.skip(2 * adapted.len()).take(adapted.len()).collect();
    let nmse = |found: &[f32]| {
        let squares =
            found.iter().zip(&expected).map(|(found, expected)| f64::from(found - expected).powi(2));
        squares.sum::<f64>() / expected.iter().map(|expected| f64::from(*expected).powi(2)).sum::<f64>()
    };
    assert!(nmse(&adapted) < 2.264881382303507e-06, "{}", nmse(&adapted));
    assert!(nmse(&logits("")) > 1e-3, "nothing was asked for");

    let mut session = start(machine());
    let listed = answer(&mut session, b"llm lora");
    let is_of_log = |line: &&str| line.contains(" INFO ");
    let listed_files = listed.lines().filter(|line| line.contains("  /models/llama-"));
    let lines: Vec<_> = listed_files.filter(|line| !is_of_log(line)).collect();
    assert!(lines[0].starts_with("0  /models/llama-0.gguf  llama-0, rank 4, alpha 8, changes "), "{listed}");
    assert!(lines[1].starts_with("-  /models/llama-moe-0.gguf  "), "{listed}");
    assert!(lines[2].starts_with("1  /models/llama-1.gguf  llama-1, rank 3, alpha 0, changes "), "{listed}");
    assert!(lines[2].ends_with(", times 0"), "{listed}");
    assert!(answer(&mut session, b"llm load --lora llama-1:0.5").contains("llama"));
    assert!(answer(&mut session, b"llm lora").contains(", times 0.5\n"));
    let refused = answer(&mut session, b"llm logits --lora llama-moe-0 5,7");
    assert_is_error(&refused, "/models/llama-moe-0.gguf: ");
    power_off(session);
}

#[test]
fn every_kind_of_broken_file_is_refused_and_a_good_one_runs_after_it() {
    const DISKS_PER_MACHINE: usize = 25;
    let good = broken_gguf::good();
    let all = broken_gguf::all(&good);
    for (machine, broken) in all.chunks(DISKS_PER_MACHINE).enumerate() {
        let directory = Directory::new(&format!("broken-{machine}"));
        let mut run = Run::new().model(&directory.file("good.gguf", &good));
        for broken in broken {
            run = run.model(&directory.file(format!("{}.gguf", broken.name), &broken.bytes));
        }
        let mut session = start(run);
        let list = answer(&mut session, b"llm list");
        let paths: Vec<_> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(paths.len(), broken.len() + 1, "{list}");
        for (broken, path) in broken.iter().zip(&paths[1..]) {
            let refused = answer(&mut session, format!("llm load {path}").as_bytes());
            if broken.refused_by == broken_gguf::Layer::Tokenizer {
                // Only what needs text is refused.
                assert!(!refused.contains("error: "), "{}: {refused}", broken.name);
                let text = answer(&mut session, b"llm infer hello 2");
                assert!(text.contains("error: "), "{}: {text}", broken.name);
                assert!(!answer(&mut session, b"llm logits 1").contains("error: "), "{}", broken.name);
                answer(&mut session, b"llm unload");
                continue;
            }
            assert!(refused.contains(&format!("error: {path}: ")), "{}: {refused}", broken.name);
            assert_is_error(&refused, path);
            let text = answer(&mut session, b"llm infer hello 2");
            assert!(text.contains("2 generated"), "{}: {text}", broken.name);
        }
        power_off(session);
    }
}
