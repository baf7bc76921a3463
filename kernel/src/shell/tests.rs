//! The whole shell, driven with byte strings on a made-up machine.

use std::{
    boxed::Box,
    collections::VecDeque,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::*;
use crate::{
    console::Console,
    llm::host,
    storage::{BlockDevice, Disk, FileFacts, MemoryDisk},
    system::CoreState,
};

/// A console whose user types `input`, then `late` once the shell has printed some text.
struct Typed {
    input: VecDeque<u8>,
    late: Option<Late>,
    output: Vec<u8>,
}

struct Late {
    after: &'static [u8],
    input: &'static [u8],
}

impl Console for Typed {
    fn read_byte(&mut self) -> Option<u8> {
        if let Some(late) = &self.late
            && self.output.windows(late.after.len()).any(|printed| printed == late.after)
        {
            self.input.extend(late.input);
            self.late = None;
        }
        self.input.pop_front()
    }

    fn wait_for_byte(&mut self) -> u8 {
        self.read_byte().expect("the shell waits, but all input is read")
    }

    fn write_bytes(&mut self, bytes: &[u8]) {
        self.output.extend(bytes);
    }
}

/// A machine to run the shell on.
struct Computer {
    disks: Vec<(MemoryDisk, Option<FileFacts>)>,
    pool: &'static Pool,
}

impl Computer {
    fn new() -> Self {
        Self { disks: Vec::new(), pool: host::pool(64 << 20) }
    }

    fn disk(mut self, serial: &str, bytes: Vec<u8>) -> Self {
        self.disks.push((MemoryDisk::new(serial, bytes), None));
        self
    }

    fn run(&self, mode: RunMode, input: &[u8]) -> (Shutdown, String) {
        self.run_with_late(mode, input, None)
    }

    fn run_with_late(&self, mode: RunMode, input: &[u8], late: Option<Late>) -> (Shutdown, String) {
        let mut console = Typed { input: input.iter().copied().collect(), late, output: Vec::new() };
        let disks = self.disks.iter().enumerate().map(|(index, (disk, file))| {
            Disk::new(index, Box::new(disk.clone()) as Box<dyn BlockDevice>, *file)
        });
        let system = System {
            console: &mut console,
            clock_us: host::clock_us,
            kernels: ::llm::simd::Kernels::detect(),
            instructions_retired: || None,
            cpu_model: CpuModel::from_midr(0x410f_d083),
            cpu_features: CpuFeatures { dotprod: true, ..CpuFeatures::default() },
            cores: || {
                let states = [CoreState::Online, CoreState::Off];
                states.into_iter().zip(0..).map(|(state, mpidr)| Core { mpidr, state }).collect()
            },
            sha256: crate::sha256::PORTABLE,
            workers: &::llm::parallel::Serial,
            heap_usage: || HeapUsage { used_bytes: 1 << 20, size_bytes: 16 << 20 },
            pool: self.pool,
            disks: disks.collect(),
            pci: Vec::new(),
            offload: None,
        };
        let shutdown = run(system, mode);
        let output = String::from_utf8(console.output).expect("what the shell prints is UTF-8");
        (shutdown, output)
    }

    /// The output of one command, if it succeeded.
    fn command(&self, line: &str) -> Option<String> {
        match self.run(RunMode::Command(line.into()), b"") {
            (Shutdown::PowerOff { success: true }, output) => Some(output),
            (Shutdown::PowerOff { success: false }, output) => {
                assert_eq!(output, "", "a failed command printed something");
                None
            }
            (Shutdown::Reboot, _) => panic!("{line:?} rebooted"),
        }
    }

    /// What the user sees of a conversation that ends with `poweroff`: for each line the output up to
    /// the next prompt.
    fn converse(&self, lines: &[&[u8]]) -> Vec<String> {
        let mut input = lines.join(&b'\n');
        input.extend(b"\npoweroff\n");
        let (shutdown, output) = self.run(RunMode::Interactive, &input);
        assert_eq!(shutdown, Shutdown::PowerOff { success: true });
        // Each prompt is followed by the echo of its line and a line feed.
        let answers = output.split("\rferrite> \x1b[K").skip(1).map(|shown| {
            let (_, answer) = shown.split_once('\n').expect("a line was entered");
            answer.to_string()
        });
        let mut answers: Vec<_> = answers.collect();
        assert_eq!(answers.pop().as_deref(), Some(""), "poweroff says nothing");
        assert_eq!(answers.len(), lines.len());
        answers
    }
}

#[test]
fn every_command_is_listed_and_explained() {
    let computer = Computer::new();
    let list = computer.command("help").unwrap();
    for command in commands::all() {
        assert!(list.contains(command.name), "{} is not listed", command.name);
        let help = computer.command(&std::format!("help {}", command.name)).unwrap();
        assert!(help.starts_with(command.name), "{help}");
        for option in command.options {
            assert!(help.contains(&std::format!("--{}", option.name)), "{help}");
        }
        for line in help.lines() {
            assert!(line.len() < 300, "{line}");
        }
    }
    for name in [
        "llm infer",
        "llm load",
        "llm unload",
        "llm list",
        "llm info",
        "llm stats",
        "llm verify",
        "llm bench",
        "llm tokenize",
        "llm offload",
        "llm logits",
        "llm chat",
        "mem",
        "mem bench",
        "cpus",
        "disks",
        "pci",
        "uptime",
        "log",
        "reboot",
        "poweroff",
        "help",
    ] {
        assert!(commands::all().any(|command| command.name == name), "{name} is missing");
    }
    assert!(!computer.command("help llm").unwrap().contains("poweroff"));
}

#[test]
fn mistakes_are_answered_in_one_line_and_the_shell_lives_on() {
    let answers = Computer::new().converse(&[
        b"hlep",
        b"llm",
        b"llm frob",
        b"llm infer 'unclosed",
        b"llm infer",
        b"llm infer a b",
        b"llm infer a 1 2",
        b"llm infer a 1 --temp",
        b"llm infer a 1 --temp hot",
        b"llm infer a 1 --temp -1",
        b"llm infer a 1 --top-p 2",
        b"llm infer a 1 --frob 2",
        b"llm infer 'a\xff' 1",
        b"llm infer a -1",
        b"llm infer a 99999999999999999999999",
        b"llm load nothing",
        b"llm unload",
        b"llm info",
        b"log loud",
        b"mem now",
        b"help frob",
        b"help mem now",
        b"\xff\xfe",
    ]);
    let expected = [
        "unknown command \"hlep\"",
        "expected infer, bench",
        "unknown command \"llm frob\"; expected infer",
        "expected a closing quote",
        "usage: llm infer PROMPT [N]",
        "N is \"b\", expected a number of tokens",
        "usage: llm infer",
        "expected --temp T",
        "temp is \"hot\", expected a number",
        "temperature",
        "top_p",
        "unknown option --frob",
        "PROMPT is not valid UTF-8: byte 0xff at offset 1",
        "unknown option -1",
        "expected a number of tokens",
        "no model is called \"nothing\"",
        "no model is loaded",
        "no disk",
        "LEVEL is \"loud\", expected off, error, warn, info, debug or trace",
        "usage: mem",
        "unknown command \"frob\"",
        "usage: help [COMMAND]",
        "unknown command \"\u{fffd}\u{fffd}\"",
    ];
    for (answer, expected) in answers.iter().zip(expected) {
        assert!(answer.starts_with("error: "), "{answer:?} is no error");
        assert!(answer.contains(expected), "{answer:?} does not say {expected:?}");
        assert_eq!(answer.matches('\n').count(), 1, "{answer:?} is not one line");
    }
}

#[test]
fn a_failed_command_fails_the_command_mode_and_prints_nothing() {
    let computer = Computer::new();
    for line in ["frob", "llm infer Hello 10", "llm load x", "llm verify", "llm infer '"] {
        assert_eq!(computer.command(line), None, "{line}");
    }
    assert_eq!(computer.command("").as_deref(), Some(""));
    assert_eq!(computer.command("  # nothing").as_deref(), Some(""));
}

#[test]
fn power_commands_end_the_shell() {
    let computer = Computer::new();
    for (line, expected) in [
        (&b"reboot\n"[..], Shutdown::Reboot),
        (b"poweroff\n", Shutdown::PowerOff { success: true }),
        (b"frob\r\npoweroff\r\n", Shutdown::PowerOff { success: true }),
        (b"powe\x03poweroff\r", Shutdown::PowerOff { success: true }),
    ] {
        assert_eq!(computer.run(RunMode::Interactive, line).0, expected);
    }
    let (shutdown, _) = computer.run(RunMode::Command(b"reboot".to_vec()), b"");
    assert_eq!(shutdown, Shutdown::Reboot);
}

#[test]
fn the_machine_is_described() {
    let computer = Computer::new().disk("first", vec![0; 1024]).disk("", vec![]);
    assert_eq!(
        computer.command("cpus").unwrap(),
        "Cortex-A72 r0p3, neon, dotprod\ncore 0: mpidr 0x0, online\ncore 1: mpidr 0x1, off\n"
    );
    assert_eq!(
        computer.command("disks").unwrap(),
        "disk 0: first, memory, 1.0 KiB (1024 bytes, file of 1024 bytes)\n\
         disk 1: -, memory, 0 B (0 bytes, file of 0 bytes)\n"
    );
    assert!(
        computer
            .command("mem")
            .unwrap()
            .starts_with("heap      1.0 MiB of 16.0 MiB used\npool      0 B of 64.0 MiB")
    );
    let roofs = computer.command("mem bench").unwrap();
    assert!(roofs.starts_with("read 64.0 MiB\n  1 core "), "{roofs}");
    assert_eq!((roofs.matches(" GB/s\n").count(), roofs.matches(" products/s\n").count()), (1, 2), "{roofs}");
    assert_eq!(computer.command("pci").unwrap(), "there are no PCI functions\n");
    assert!(computer.command("uptime").unwrap().ends_with(" s\n"));
    assert_eq!(Computer::new().command("disks").unwrap(), "there are no disks\n");
    assert!(computer.command("llm offload").unwrap().contains("the CPU computes"));
}

#[test]
fn a_disk_without_a_model_is_listed_with_its_reason_and_refused() {
    let computer = Computer::new().disk("noise", vec![0x5a; 4096]).disk("empty", vec![]);
    let list = computer.command("llm list").unwrap();
    assert_eq!(list.lines().count(), 2);
    assert!(list.contains("/models/noise.gguf") && list.contains("/models/empty.gguf"), "{list}");
    assert_eq!(list.matches("unusable").count(), 2);
    let answers =
        computer.converse(&[b"llm load noise", b"llm load /models/empty.gguf", b"llm infer Hello 10"]);
    assert!(answers[0].contains("/models/noise.gguf: "), "{}", answers[0]);
    assert!(answers[1].contains("the disk is empty, expected a GGUF file"), "{}", answers[1]);
    assert!(answers[2].contains("on any of 2 disks"), "{}", answers[2]);
    let none = Computer::new();
    assert!(none.converse(&[b"llm infer Hello 10"])[0].contains("no disk"));
    assert!(none.command("llm list").unwrap().contains("no disk"));
}

/// Tests that load and run models.
#[cfg(feature = "llm-transformer")]
mod with_inference {
    use super::*;
    use crate::llm::fixtures;

    fn good() -> Computer {
        Computer::new().disk("s", broken_gguf::good())
    }

    fn is_one_line_error(answer: &str) -> bool {
        answer.starts_with("error: ") && answer.ends_with('\n') && answer.matches('\n').count() == 1
    }

    #[test]
    fn a_one_liner_prints_the_text_and_nothing_else() {
        let computer = Computer::new().disk("s", fixtures::micro());
        let text = computer.command("llm infer 'Once upon a time' 12").unwrap();
        assert!(text.ends_with('\n') && text.trim().split(' ').count() > 3, "{text:?}");
        assert_eq!(computer.command("llm infer 'Once upon a time' 12").unwrap(), text, "not reproducible");
        let longer = computer.command("llm infer 'Once upon a time' 20").unwrap();
        assert!(longer.starts_with(text.trim_end()), "{longer:?}");
        let free_bytes = computer.pool.free_bytes();
        assert_eq!(free_bytes, computer.pool.total_bytes());
    }

    #[test]
    fn sampling_options_reach_the_sampler() {
        let computer = Computer::new().disk("s", fixtures::micro());
        let text =
            |options: &str| computer.command(&std::format!("llm infer 'One day' 32 {options}")).unwrap();
        let greedy = text("");
        assert_eq!(text("--temp 0 --seed 7"), greedy);
        assert_eq!(text("--temp 3 --top-k 1"), greedy);
        assert_eq!(text("--temp 3 --top-p 0"), greedy);
        assert_eq!(text("--temp 3 --min-p 1"), greedy);
        assert_eq!(text("--temp 5 --seed 1"), text("--temp 5 --seed 1"));
        assert_ne!(text("--temp 5 --seed 1"), text("--temp 5 --seed 2"));
        let seeds = (0..20).map(|seed| text(&std::format!("--seed {seed}")));
        assert!(
            seeds.into_iter().any(|drawn| drawn != greedy),
            "a seed alone draws at the usual temperature"
        );
        assert_ne!(text("--repeat-penalty 100"), greedy);
        let stopped = text("--stop ' '");
        assert!(!stopped.trim_start().contains(' ') && stopped.len() < greedy.len(), "{stopped:?}");
    }

    #[test]
    fn a_model_is_loaded_shown_used_and_unloaded() {
        let computer = good().disk("noise", vec![1; 512]);
        let answers = computer.converse(&[
            b"llm unload",
            b"llm load /models/good.gguf --ctx 32",
            b"llm list",
            b"llm info",
            b"llm tokenize hello",
            b"llm infer hello 5",
            b"llm stats",
            b"mem",
            b"llm bench --prompt 8 --generate 4 --depth 3",
            b"llm infer hello 5 --ctx 48",
            b"llm info",
            b"llm infer hello 5 --ctx 65",
            b"llm infer hello 5",
            b"llm unload",
            b"mem",
            b"llm unload",
        ]);
        assert!(is_one_line_error(&answers[0]), "{:?}", answers[0]);
        assert!(
            answers[1].contains("/models/good.gguf: llama F32") && answers[1].contains("context 32 of 64")
        );
        assert!(
            answers[2].starts_with("* /models/good.gguf") && answers[2].contains("\n  /models/noise.gguf")
        );
        assert!(answers[3].contains("n_layer       2\n") && answers[3].contains("n_ctx         32 of 64\n"));
        assert!(answers[4].split_whitespace().all(|id| id.parse::<u32>().is_ok()), "{}", answers[4]);
        assert!(answers[5].contains("[") && answers[5].contains("5 generated"), "{}", answers[5]);
        assert!(answers[6].contains("inferences    1\n"), "{}", answers[6]);
        assert!(!answers[7].contains("weights   0 B"));
        assert!(answers[8].contains("prefill  8 tokens") && answers[8].contains("decode   4 tokens"));
        assert!(!answers[9].contains("error") && answers[10].contains("n_ctx         48 of 64\n"));
        assert!(is_one_line_error(&answers[11]) && answers[11].contains("64"), "{}", answers[11]);
        assert!(!answers[12].contains("error"));
        assert!(answers[13].contains("given back"));
        assert!(answers[14].contains("weights   0 B") && answers[14].contains("pool      0 B of"));
        assert!(is_one_line_error(&answers[15]), "{:?}", answers[15]);
    }

    #[test]
    fn a_benchmark_is_shown_as_json() {
        let shown = good().command("llm bench --prompt 8 --generate 4 --runs 2 --json").unwrap();
        let (line, rest) = shown.split_once('\n').unwrap();
        assert_eq!(rest, "");
        let inner = line.strip_prefix('{').and_then(|line| line.strip_suffix('}')).unwrap();
        let fields: Vec<_> = inner.split(',').map(|field| field.split_once(':').unwrap()).collect();
        let names: Vec<_> = fields.iter().map(|(name, _)| name.trim_matches('"')).collect();
        let expected = [
            "model",
            "kernel_set",
            "cores",
            "pp_tokens",
            "pp_tps",
            "tg_tokens",
            "tg_tps",
            "pp_insn_per_token",
            "tg_insn_per_token",
            "load_bytes_per_s",
            "first_token_us",
        ];
        assert_eq!(names, expected);
        assert_eq!((fields[0].1, fields[3].1, fields[5].1), ("\"good.gguf\"", "8", "4"));
        for at in [4, 6, 10] {
            assert!(fields[at].1.parse::<f64>().unwrap() >= 0.0, "{line}");
        }
    }

    #[test]
    fn logits_are_shown_to_the_last_bit_and_hold_what_is_chosen() {
        let computer = Computer::new().disk("s", fixtures::micro());
        let rows = |line: &str| -> Vec<Vec<f32>> {
            let shown = computer.command(line).unwrap();
            let row = |line: &str| line.split(' ').map(|number| number.parse().unwrap()).collect();
            shown.lines().map(row).collect()
        };
        let ids = computer.command("llm tokenize 'Once upon a time'").unwrap();
        let line = std::format!("llm logits --kv-type f32 {}", ids.trim().replace(' ', ","));
        let logits = rows(&line);
        assert_eq!(logits.len(), ids.trim().split(' ').count());
        assert!(logits.iter().all(|row| row.len() == logits[0].len()));
        let best =
            logits.last().unwrap().iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap().0;
        let chosen = computer.command("llm infer 'Once upon a time' 3 --ids --kv-type f32").unwrap();
        assert!(chosen.starts_with(&std::format!("{best} ")), "{chosen:?} after {best}");
        assert_eq!(chosen.trim().split(' ').count(), 3);
        assert_ne!(rows(&line.replace("f32", "f16")), logits, "the cache's format changes nothing");

        let mut backend = llm::backend(host::platform(host::pool(64 << 20), vec![("s", fixtures::micro())]));
        backend.load_model("ferrite-micro").unwrap();
        backend.set_kv_type(::llm::kv_cache::KvType::F32).unwrap();
        let ids: Vec<u32> = ids.trim().split(' ').map(|id| id.parse().unwrap()).collect();
        let mut exact = Vec::new();
        let every_row = &mut |row: &[f32]| {
            exact.push(row.to_vec());
            core::ops::ControlFlow::Continue(())
        };
        backend.logits(&ids, every_row).unwrap();
        assert_eq!(exact, logits);
    }

    /// The small model, which asks and is asked in a made-up format.
    fn talker() -> Computer {
        let template = "{% for m in messages %}{{ '[' ~ m.role[0] ~ ']' ~ m.content }}{% endfor %}[a]";
        Computer::new()
            .disk("s", fixtures::with_text(&fixtures::micro(), "tokenizer.chat_template", template))
    }

    #[test]
    fn a_message_is_asked_in_the_format_of_the_file_or_of_a_name() {
        let computer = talker();
        let text = |line: &str| computer.command(line).unwrap();
        let answer = text("llm chat 'One day' 8");
        assert_eq!(answer, text("llm infer '[u]One day[a]' 8"));
        assert_eq!(text("llm chat 'One day' 8 --system Hush"), text("llm infer '[s]Hush[u]One day[a]' 8"));
        assert_ne!(text("llm chat 'One day' 8 --template zephyr"), answer);
        assert_eq!(computer.command("llm chat"), None, "nobody is there to converse");
        let refused = Computer::new().disk("s", fixtures::micro()).converse(&[b"llm chat hello"]);
        assert!(refused[0].contains("tokenizer.chat_template; --template NAME"), "{}", refused[0]);
        assert!(refused[0].contains("chatml, "), "{}", refused[0]);
        let unknown = talker().converse(&[b"llm chat hello --template chatgml"]);
        assert!(unknown[0].contains("\"chatgml\", expected one of chatml"), "{}", unknown[0]);
    }

    #[test]
    fn a_conversation_is_remembered_until_it_is_cleared_or_left() {
        let typed = b"llm chat\n/quit\nllm chat\nOne day\n \nAnd then\n/clear\nOne day\n\xff\n";
        let late = Late { after: b"not valid UTF-8", input: b"One d\x03mem\npoweroff\n" };
        let (_, output) = talker().run_with_late(RunMode::Interactive, typed, Some(late));
        // What follows the echo of each line, up to the next prompt, without the remark on speed.
        let shown: Vec<_> =
            output.split("\r> \x1b[K").skip(1).filter_map(|shown| shown.split_once('\n')).collect();
        let answer = |index: usize| shown[index].1.rsplit_once("\n[").map_or("", |(answer, _)| answer);
        let (first, second) = (answer(1), answer(3));
        assert!(!first.is_empty() && !second.is_empty(), "{output}");
        let written = std::format!("llm infer '[u]One day[a]{first}[u]And then[a]' 512");
        assert_eq!(talker().command(&written).unwrap().trim_end_matches('\n'), second);
        assert_eq!(shown[2].1, "", "an empty line is no message");
        assert_eq!(answer(5), first, "the conversation was not cleared");
        assert!(shown[6].1.starts_with("error: the message is not valid UTF-8"), "{}", shown[6].1);
        let after = shown.last().unwrap().1;
        assert!(after.contains("heap "), "Ctrl-C did not lead back to the shell: {after}");
    }

    #[test]
    fn what_is_no_token_has_no_logits() {
        let answers = good().converse(&[
            b"llm logits",
            b"llm logits ''",
            b"llm logits 1,x",
            b"llm logits 1,99999",
            b"llm logits 1 --kv-type q3_k",
            std::format!("llm logits 1{}", ",1".repeat(64)).as_bytes(),
            b"llm logits 1",
        ]);
        let expected =
            ["usage: llm logits ID,ID...", "ID,ID... is", "ID,ID... is", "99999", "f16, f32 or q8_0", "65"];
        for (answer, expected) in answers.iter().zip(expected) {
            assert!(answer.contains("error: ") && answer.contains(expected), "{answer:?}: {expected}");
        }
        assert!(!answers[6].contains("error"), "{}", answers[6]);
    }

    #[test]
    fn texts_are_tokenized_without_loading_a_model() {
        let computer = Computer::new().disk("s", fixtures::micro());
        let answers = computer.converse(&[
            b"llm tokenize 'Once upon' ' a time' ''",
            b"llm tokenize --no-bos 'Once upon'",
            b"mem",
            b"llm load",
            b"llm tokenize 'Once upon' ' a time' ''",
            b"llm tokenize --special '<s>' '</s>'",
        ]);
        let lines: Vec<_> = answers[0].lines().collect();
        assert_eq!(lines.len(), 3, "{}", answers[0]);
        assert!(lines[0].ends_with(answers[1].trim()) && lines[0] != answers[1].trim());
        assert!(answers[2].contains("weights   0 B"), "{}", answers[2]);
        assert_eq!(answers[4], answers[0]);
        assert!(answers[5].lines().all(|ids| ids.split(' ').count() <= 2), "{}", answers[5]);
        assert!(Computer::new().converse(&[b"llm tokenize a"])[0].contains("no disk"));
    }

    #[test]
    fn ctrl_c_stops_the_text_and_keeps_what_was_typed_after_it() {
        let late = Late { after: b"infer hello 60\n", input: b"lost\x03llm tokenize hello\npoweroff\n" };
        let (shutdown, output) =
            good().run_with_late(RunMode::Interactive, b"llm load\nllm infer hello 60\n", Some(late));
        assert_eq!(shutdown, Shutdown::PowerOff { success: true });
        assert!(output.contains("1 generated") && output.contains("stopped]"), "{output}");
        let after = output.split("stopped]").nth(1).unwrap();
        assert!(after.starts_with("\n\rferrite> \x1b[Kllm tokenize hello\n"), "{after}");
    }

    #[test]
    fn ctrl_c_stops_a_load() {
        let late = Late { after: b"llm load\n", input: b"\x03mem\npoweroff\n" };
        let (_, output) = good().run_with_late(RunMode::Interactive, b"llm load\n", Some(late));
        assert!(output.contains("error: stopped\n") && output.contains("weights   0 B\n"), "{output}");
    }

    #[test]
    fn what_is_typed_while_a_command_runs_is_the_next_line() {
        let answers = good().converse(&[b"llm infer hello 5", b"llm tokenize hello"]);
        assert!(answers[0].contains("5 generated"));
        assert!(answers[1].trim().split(' ').count() > 1);
    }

    #[test]
    fn a_prompt_that_does_not_fit_is_refused_and_the_next_one_works() {
        let long = std::format!("llm infer '{}' 5", "hello ".repeat(200));
        let answers = good().converse(&[
            long.as_bytes(),
            b"llm infer 'hel\xfflo' 5",
            b"llm infer hello 5",
            b"llm infer hello 1000",
            b"llm bench --prompt 1000",
            b"llm bench --depth 1000",
        ]);
        assert!(answers[0].contains("error: the prompt has"), "{}", answers[0]);
        assert!(is_one_line_error(&answers[1]) && answers[1].contains("UTF-8"));
        assert!(!answers[2].contains("error"));
        assert!(
            answers[3].contains("context full]") || answers[3].contains("end of text]"),
            "{}",
            answers[3]
        );
        for refused in &answers[4..6] {
            assert!(is_one_line_error(refused), "{refused}");
        }
    }

    #[test]
    fn too_little_memory_is_named_in_bytes_and_a_smaller_model_still_runs() {
        let mut computer = Computer::new().disk("big", fixtures::tiny()).disk("s", broken_gguf::good());
        computer.pool = host::pool(2 << 20);
        let answers = computer.converse(&[
            b"llm load ferrite-tiny",
            b"llm load good",
            b"llm load ferrite-tiny",
            b"llm infer hello 5",
            b"llm unload",
            b"llm infer hello 5",
        ]);
        for refused in [&answers[0], &answers[2]] {
            assert!(is_one_line_error(refused), "{refused}");
            assert!(refused.contains("bytes needed"), "{refused}");
        }
        assert!(answers[0].contains(", 2097152 available"), "{}", answers[0]);
        assert!(answers[3].contains("5 generated"), "the small model was lost: {}", answers[3]);
        assert!(answers[5].contains("5 generated"), "{}", answers[5]);
    }

    #[test]
    fn every_kind_of_broken_file_is_refused_and_a_good_one_runs_after_it() {
        let good = broken_gguf::good();
        let pool = host::pool(64 << 20);
        let all = broken_gguf::all(&good);
        assert!(all.len() >= 50);
        for broken in all {
            let mut computer = Computer::new().disk("broken", broken.bytes).disk("fine", good.clone());
            computer.pool = pool;
            let list = computer.command("llm list").unwrap();
            let paths: Vec<_> = list.lines().map(|line| line[2..].split(' ').next().unwrap()).collect();
            let loads = [0, 1].map(|file| std::format!("llm load {}", paths[file]));
            let answers = computer.converse(&[
                loads[0].as_bytes(),
                b"llm infer hello 3",
                loads[1].as_bytes(),
                loads[0].as_bytes(),
                b"llm infer hello 3",
            ]);
            for refused in [0, 3] {
                let answer = answers[refused].rsplit('\r').next().unwrap().trim_start_matches("\x1b[K");
                let answer = &answer[answer.find("error: ").unwrap_or(0)..];
                assert!(is_one_line_error(answer), "{}: {:?}", broken.name, answers[refused]);
                assert!(answer.contains(paths[0]), "{}: {answer}", broken.name);
            }
            for ran in [1, 4] {
                assert!(answers[ran].contains("3 generated"), "{}: {:?}", broken.name, answers[ran]);
            }
            assert_eq!(pool.free_bytes(), pool.total_bytes(), "{}", broken.name);
        }
    }

    #[test]
    fn a_checksum_is_compared() {
        let mut computer = good();
        assert_eq!(computer.command("llm verify"), None, "there is nothing to compare with");
        let bytes = broken_gguf::good();
        let digest: [u8; 32] =
            sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), &bytes))
                .into();
        computer.disks[0].1 = Some(FileFacts { length_bytes: bytes.len() as u64, sha256: Some(digest) });
        assert!(computer.command("llm verify").unwrap().contains("as expected"));
        computer.disks[0].1 = Some(FileFacts { length_bytes: bytes.len() as u64 - 1, sha256: Some(digest) });
        assert_eq!(computer.command("llm verify good"), None);
    }
}
