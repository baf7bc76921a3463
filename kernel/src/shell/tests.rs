//! Tests of the whole shell, driven with byte strings on a simulated machine.

use std::{
    boxed::Box,
    collections::VecDeque,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::*;
use crate::{
    console::{Background, Console},
    llm::host,
    memory::pool::Pool,
    storage::{BlockDevice, Disk, DiskBus, Disks, FileFacts, Found, MemoryDisk, Vanished},
};

/// A console whose user types `input`, then `late` once the shell has printed some text.
struct Typed {
    input: VecDeque<u8>,
    late: Option<Late>,
    /// Whether the input may end before the shell does.
    is_pipe: bool,
    /// The power key is pressed after this has been printed.
    power_key_after: Option<&'static [u8]>,
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

    fn wait_for_byte(&mut self, _: &mut Background<'_>) -> Option<u8> {
        if self.shutdown_request().is_some() {
            return None;
        }
        let byte = self.read_byte();
        assert!(byte.is_some() || self.is_pipe, "the shell waits, but all input is read");
        byte
    }

    fn write_bytes(&mut self, bytes: &[u8]) {
        self.output.extend(bytes);
    }

    fn shutdown_request(&self) -> Option<KeyAction> {
        let after = self.power_key_after?;
        let is_pressed = after.is_empty() || self.output.windows(after.len()).any(|printed| printed == after);
        is_pressed.then_some(KeyAction::PowerOff)
    }
}

/// A simulated machine to run the shell on.
struct Computer {
    disks: Vec<(MemoryDisk, Option<FileFacts>)>,
    pool: &'static Pool,
    now_seconds: fn() -> Option<u64>,
    /// Whether each rescan replaces the disks by others with the same contents.
    swaps_disks: bool,
}

/// Disks that are replaced by others at every search.
struct SwappingBus(Vec<MemoryDisk>);

impl DiskBus for SwappingBus {
    fn functions(&self) -> &[crate::pci::Function] {
        &[]
    }

    fn vanished(&mut self, known: &[&str]) -> Vec<Vanished> {
        let gone = |name: &&str| Vanished { transport: name.to_string(), is_reachable: false };
        known.iter().map(gone).collect()
    }

    fn find(&mut self, _: &[&str]) -> Found {
        let device = |disk: &MemoryDisk| Box::new(disk.clone()) as Box<dyn BlockDevice>;
        Found { devices: self.0.iter().map(device).collect(), undriven: Vec::new() }
    }
}

impl Computer {
    fn new() -> Self {
        Self { disks: Vec::new(), pool: host::pool(64 << 20), now_seconds: || None, swaps_disks: false }
    }

    fn disk(mut self, serial: &str, bytes: Vec<u8>) -> Self {
        self.disks.push((MemoryDisk::new(serial, bytes), None));
        self
    }

    fn run(&self, mode: RunMode, input: &[u8]) -> (Shutdown, String) {
        self.run_with_late(mode, input, None)
    }

    fn run_with_late(&self, mode: RunMode, input: &[u8], late: Option<Late>) -> (Shutdown, String) {
        let input = input.iter().copied().collect();
        self.run_on(Typed { input, late, is_pipe: false, power_key_after: None, output: Vec::new() }, mode)
    }

    /// Runs the shell with a pipe that holds `input`.
    fn run_pipe(&self, input: &[u8]) -> (Shutdown, String) {
        let input = input.iter().copied().collect();
        self.run_on(
            Typed { input, late: None, is_pipe: true, power_key_after: None, output: Vec::new() },
            RunMode::Interactive,
        )
    }

    /// Runs the shell and presses the power key when it has printed `after`.
    fn press_power_key(&self, mode: RunMode, input: &[u8], after: &'static [u8]) -> (Shutdown, String) {
        let input = input.iter().copied().collect();
        let power_key_after = Some(after);
        self.run_on(Typed { input, late: None, is_pipe: false, power_key_after, output: Vec::new() }, mode)
    }

    fn run_on(&self, mut console: Typed, mode: RunMode) -> (Shutdown, String) {
        let shutdown = run(self.system(&mut console), mode);
        let output = String::from_utf8(console.output).expect("what the shell prints is UTF-8");
        (shutdown, output)
    }

    /// The machine, as it is passed to the shell.
    fn system<'c>(&self, console: &'c mut Typed) -> System<'c> {
        let disks = self.disks.iter().enumerate().map(|(index, (disk, file))| {
            Disk::new(index, Box::new(disk.clone()) as Box<dyn BlockDevice>, *file)
        });
        let disks = if self.swaps_disks {
            let bus = SwappingBus(self.disks.iter().map(|(disk, _)| disk.clone()).collect());
            Disks::find(Box::new(bus), &[])
        } else {
            disks.collect::<Vec<_>>().into()
        };
        System {
            network: None,
            vsock: None,
            serve: ServeSettings::default(),
            console,
            columns: Some(0),
            no_colour: false,
            machine: Machine { now_seconds: self.now_seconds, ..host::machine(self.pool) },
            disks,
            pci: Vec::new(),
            offload: None,
        }
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
fn where_nothing_is_served_there_is_no_audit() {
    let computer = Computer::new();
    assert!(computer.command("llm audit").unwrap().starts_with("nothing can be served: "));
}

#[test]
fn the_date_is_the_clocks_or_a_stated_one() {
    let mut computer = Computer::new();
    let fixed = computer.command("date").unwrap();
    assert_eq!(
        fixed,
        "2024-07-26 00:00:00 UTC, a fixed date: the machine has no clock that knows the right one\n"
    );
    // date -u -d @1795887320 '+%F %T'
    computer.now_seconds = || Some(1_795_887_320);
    assert_eq!(computer.command("date").unwrap(), "2026-11-28 17:35:20 UTC\n");
    computer.now_seconds = || Some(u32::MAX.into());
    assert_eq!(computer.command("date").unwrap(), "2106-02-07 06:28:15 UTC\n");
    assert!(computer.command("date now").is_none());
}

#[test]
fn the_power_key_ends_the_shell_at_once() {
    let off = Shutdown::PowerOff { success: true };
    // In the middle of a line, which is then not run although more was typed.
    let (shutdown, output) =
        Computer::new().press_power_key(RunMode::Interactive, b"mem\nuptime\nmem\n", b"upt");
    assert_eq!(shutdown, off);
    assert!(output.ends_with("ferrite> \x1b[Kupt\npower key: turning the machine off\n"), "{output}");
    let (shutdown, _) = Computer::new().press_power_key(RunMode::Interactive, b"", b"ferrite> ");
    assert_eq!(shutdown, off);
    // A command that had failed before still counts as failed.
    let failed = Shutdown::PowerOff { success: false };
    let (shutdown, _) = Computer::new().press_power_key(RunMode::Interactive, b"frob\nx", b"> \x1b[Kx");
    assert_eq!(shutdown, failed);
    let (shutdown, _) = Computer::new().press_power_key(RunMode::Command(b"frob".into()), b"", b"");
    assert_eq!(shutdown, failed);
}

#[test]
fn readme_md_lists_every_command() {
    let (_, table) = include_str!("../../../README.md").split_once("| command | |\n|---|---|\n").unwrap();
    let rows = table.lines().map_while(|line| line.strip_prefix("| ")?.split_once("` | "));
    let mut documented: Vec<&str> = Vec::new();
    for usage in rows.flat_map(|(usages, _)| usages.split('`').skip(1).step_by(2)) {
        let words: Vec<Vec<u8>> = usage.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let (command, _) = commands::find(&words).unwrap_or_else(|error| panic!("{usage}: {error}"));
        documented.push(command.name);
    }
    documented.sort_unstable();
    let mut in_code: Vec<&str> = commands::all().map(|command| command.name).collect();
    in_code.sort_unstable();
    assert_eq!(documented, in_code);
}

#[test]
fn every_command_is_listed_and_explained() {
    let computer = Computer::new();
    let list = computer.command("help").unwrap();
    for command in commands::all() {
        assert!(list.contains(command.name), "{} is not listed", command.name);
        let help = computer.command(&std::format!("help {}", command.name)).unwrap();
        assert!(help.starts_with(command.name), "{help}");
        for option in command.own_options() {
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
        "mem map",
        "cpus",
        "disks",
        "pci",
        "uptime",
        "log",
        "reboot",
        "poweroff",
        "exit",
        "quit",
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
        b"llm infer",
        b"llm infer a b",
        b"llm infer a 1 2",
        b"llm infer a 1 --temp",
        b"llm infer a 1 --temp hot",
        b"llm infer a 1 --temp -1",
        b"llm infer a 1 --top-p 2",
        b"llm infer a 1 --frob 2",
        b"llm infer 'a\xff' 1",
        b"llm infer a -3",
        b"llm infer a 1 -n 2",
        b"llm infer -p a b 2",
        b"llm infer a --seed x",
        b"llm infer a --seed=-2",
        b"llm infer a --repeat-last-n -2",
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
        "usage: llm infer PROMPT [N]",
        "N is \"b\", expected a number of tokens",
        "usage: llm infer",
        "expected --temp T",
        "--temp is \"hot\", expected a number",
        "--temp is -1, but must be 0 or more",
        "--top-p is 2, but must be from 0 to 1",
        "unknown option --frob",
        "PROMPT is not valid UTF-8: byte 0xff at offset 1",
        "N is \"-3\", expected a number of tokens, or -1",
        "N is given twice",
        "PROMPT is given twice",
        "--seed is \"x\", expected a whole number, or -1",
        "--seed is \"-2\"",
        "--repeat-last-n is \"-2\", expected a number of tokens, or -1 for the whole context",
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
fn a_quotation_goes_on_in_the_next_line() {
    let computer = Computer::new();
    let output = |input: &[u8]| computer.run(RunMode::Interactive, input).1;
    for open in
        ["log 'no\nise'", "log \"no\nise\"", "log $'no\\nise'", "log 'no\\\nise'", "\n\nlog 'no\nise'"]
    {
        let shown = output(std::format!("{open}\npoweroff\n").as_bytes());
        assert!(shown.contains("error: LEVEL is \"no"), "{shown:?}");
        assert_eq!(shown.matches("error:").count(), 1, "{shown:?}");
        let n_lines = open.trim_start().matches('\n').count();
        assert_eq!(shown.matches("\r> \x1b[K").count(), n_lines, "{shown:?}");
    }
    // The arrow key brings back the whole command.
    let shown = output(b"log 'a\nb'\n\x1b[A\npoweroff\n");
    assert_eq!(shown.matches("error: LEVEL is \"a\u{fffd}b\"").count(), 2, "{shown:?}");
    let shown = output(b"log 'a\n\x03uptime\nlog 'b\n\x04uptime\n\x04");
    assert_eq!((shown.matches(" s\n").count(), shown.matches("error:").count()), (2, 1), "{shown:?}");
    assert!(shown.contains("error: the line ends within a quotation"), "{shown:?}");
    let mut long = b"log '".to_vec();
    for _ in 0..3 {
        long.extend([b'x'; 8000]);
        long.push(b'\n');
    }
    assert!(output(&[&long[..], b"'\n\x04"].concat()).contains("the line is too long"));
}

#[test]
fn pasted_lines_are_run_one_after_the_other_and_only_when_return_is_pressed() {
    let computer = Computer::new();
    let (_, output) =
        computer.run(RunMode::Interactive, b"\x1b[200~uptime\rlog 'x\ry'\r\x1b[201~\x01\x05\rpoweroff\r");
    let (before, after) = output.rsplit_once("\n").unwrap().0.split_once(" s\n").unwrap();
    assert!(before.ends_with(|c: char| c.is_ascii_digit()), "{output:?}");
    assert!(after.starts_with("error: LEVEL is \"x\u{fffd}y\""), "{output:?}");
}

#[test]
fn a_number_sign_is_a_word() {
    let answers = Computer::new().converse(&[b"log # x", b"log '#'", b"log a#b", b"# log x"]);
    assert!(answers[0].contains("usage: log"), "{}", answers[0]);
    assert!(answers[1].contains("LEVEL is \"#\""), "{}", answers[1]);
    assert!(answers[2].contains("LEVEL is \"a#b\""), "{}", answers[2]);
    assert_eq!(answers[3], "");
}

#[test]
fn help_is_given_wherever_it_is_asked_for() {
    let computer = Computer::new();
    let said = |line: &str| computer.command(line).unwrap_or_else(|| panic!("{line:?} failed"));
    for command in commands::all() {
        let help = said(&std::format!("help {}", command.name));
        for asked in ["--help", "-h"] {
            assert_eq!(said(&std::format!("{} {asked}", command.name)), help, "{}", command.name);
        }
    }
    assert_eq!(said("llm infer 'a' --temp 1 -h"), said("help llm infer"));
    for group in ["llm --help", "llm -h", "llm help"] {
        assert_eq!(said(group), said("help llm"), "{group}");
    }
    assert_eq!(said("llm help infer"), said("help llm infer"));
    assert_eq!(said("--help"), said("help"));
    assert!(said("help llm bench").contains("-p, --prompt N"));
}

#[test]
fn power_commands_end_the_shell() {
    let computer = Computer::new();
    for (line, expected) in [
        (&b"reboot\n"[..], Shutdown::Reboot),
        (b"poweroff\n", Shutdown::PowerOff { success: true }),
        (b"frob\r\npoweroff\r\n", Shutdown::PowerOff { success: true }),
        (b"powe\x03poweroff\r", Shutdown::PowerOff { success: true }),
        (b"exit\n", Shutdown::PowerOff { success: true }),
        (b"quit\r", Shutdown::PowerOff { success: true }),
        (b"\x04", Shutdown::PowerOff { success: true }),
        (b"ab\x04\x7f\x7f\x04", Shutdown::PowerOff { success: true }),
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
    assert_eq!(
        computer.command("mem map").unwrap(),
        "0x0000003000..0x0000004000 --- nothing  guard page, 4.0 KiB\n\
         0x0000004000..0x0000008000 rw- cached  heap, 16.0 KiB\n\
         3 tables, 0 ranges wrong; WXN on, PAN not in this CPU, stack alignment check on\n"
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

#[test]
fn what_stands_in_a_quotation_that_is_too_long_is_no_command() {
    let line = [b'a'; 10_000];
    for (opening, closing) in [("'", "'"), ("\"", "\""), ("$'", "'")] {
        let script = [
            b"frob ",
            opening.as_bytes(),
            &line,
            b"\n",
            &line,
            b"\nreboot\npoweroff\n",
            &line,
            b"\n",
            closing.as_bytes(),
            b"\nuptime\n",
        ]
        .concat();
        let (shutdown, output) = Computer::new().run_pipe(&script);
        assert_eq!(shutdown, Shutdown::PowerOff { success: true }, "{opening}");
        assert_eq!(output.matches("error: ").count(), 1, "{opening}");
        assert!(output.contains("error: the line is too long"), "{opening}");
    }
}

#[cfg(feature = "llm-transformer")]
mod batches;
#[cfg(feature = "llm-transformer")]
mod embedding;
#[cfg(feature = "llm-transformer")]
mod little_memory;
#[cfg(feature = "llm-transformer")]
mod tools;
#[cfg(feature = "llm-transformer")]
mod with_inference;

#[test]
fn the_end_of_the_input_ends_the_shell_with_the_status_of_the_last_command() {
    let cases: &[(&[u8], bool)] = &[
        (b"", true),
        (b"help\n", true),
        (b"help\n\n  \n", true),
        (b"frob\n", false),
        (b"frob\n\n", false),
        (b"frob\nhelp\n", true),
        (b"help\nfrob", false),
        (b"frob\nhelp", true),
        // A line dropped by Ctrl-C, and an escape sequence that never ends.
        (b"help\nfrob\x03", true),
        (b"help\x1b[", true),
    ];
    for &(input, success) in cases {
        let (shutdown, output) = Computer::new().run_pipe(input);
        assert_eq!(shutdown, Shutdown::PowerOff { success }, "{:?}", input.escape_ascii().to_string());
        assert!(output.ends_with('\n'), "{output:?}");
    }
    let (_, output) = Computer::new().run_pipe(b"uptime\nfrob");
    assert!(output.contains(" s\n") && output.contains("unknown command \"frob\""), "{output}");
}

/// What is at the end of the line after these keys at a terminal.
fn typed_at_a_terminal(computer: &Computer, keys: &str) -> String {
    let input = [keys.as_bytes(), b"\x03poweroff\r"].concat().into();
    let mut console = Typed { input, late: None, is_pipe: false, power_key_after: None, output: Vec::new() };
    let system = System { columns: Some(120), ..computer.system(&mut console) };
    run(system, RunMode::Interactive);
    let output = String::from_utf8(console.output).unwrap();
    let (before, _) = output.split_once("^C").unwrap();
    let line = before.rsplit_once("ferrite> ").unwrap().1;
    line.replace("\x1b[K", "").replace("\x1b[m", "").replace('\x07', "!")
}

#[test]
fn tab_completes_commands_options_values_and_models() {
    let computer = Computer::new().disk("first", vec![0; 1024]).disk("texts", b"one\ntwo".to_vec());
    let typed = |keys: &str| typed_at_a_terminal(&computer, keys);
    for (keys, line) in [
        ("upt\t", "uptime "),
        ("ll\t", "llm "),
        ("llm ch\t", "llm chat "),
        ("disks res\t", "disks res!"),
        ("disks resc\t", "disks rescan "),
        ("help mem m\t", "help mem map "),
        ("llm infer x --kv\t", "llm infer x --kv-type "),
        ("llm infer x --kv-type q8\t", "llm infer x --kv-type q8_0 "),
        ("llm infer x --kv-type=q8\t", "llm infer x --kv-type=q8_0 "),
        ("llm embed --pooling m\t", "llm embed --pooling mean "),
        ("llm infer x --kernels sc\t", "llm infer x --kernels scalar "),
        ("llm chat --template chat\t", "llm chat --template chatml "),
        ("llm batch -f te\t", "llm batch -f texts "),
        ("serve st\t", "serve status "),
        ("log de\t", "log debug "),
        ("uptime --h\t", "uptime --help "),
        // Options of the host program alone, and words after `--`, are not completed.
        ("llm tokenize --fi\t", "llm tokenize --fi!"),
        ("llm infer -- --kv\t", "llm infer -- --kv!"),
        ("frob x\t", "frob x!"),
        ("# ll\t", "# ll!"),
        ("uptime\\\t", "uptime\\!"),
    ] {
        assert_eq!(typed(keys), line, "{keys:?}");
    }
    let shown = typed("llm lo\t\t");
    assert_eq!(shown, "llm lo", "{shown}");
    let listed = |keys: &str| {
        let input = [keys.as_bytes(), b"\x03poweroff\r"].concat().into();
        let mut console =
            Typed { input, late: None, is_pipe: false, power_key_after: None, output: Vec::new() };
        run(System { columns: Some(120), ..computer.system(&mut console) }, RunMode::Interactive);
        String::from_utf8(console.output).unwrap()
    };
    assert!(listed("llm lo\t\t").contains("\nlogits  load    lora\n"), "{}", listed("llm lo\t\t"));
    let options = listed("llm infer x \t\t");
    for option in commands::find(&["llm".into(), "infer".into()]).unwrap().0.own_options() {
        assert!(options.contains(&std::format!("--{}", option.name)), "{options}");
    }
    // A file has Tabs between words.
    let (_, output) = computer.run(RunMode::Interactive, b"log\tloud\npoweroff\n");
    assert!(output.contains("LEVEL is \"loud\""), "{output}");
}

#[cfg(feature = "llm-transformer")]
#[test]
fn tab_completes_the_names_of_models_and_the_commands_of_a_conversation() {
    let computer = Computer::new().disk("s", broken_gguf::good()).disk("first", vec![0; 1024]);
    for (keys, line) in [
        ("llm load g\t", "llm load good "),
        ("llm load 'g\t", "llm load 'good' "),
        ("llm load /m\t", "llm load /models/good.gguf "),
        ("llm infer -m \t", "llm infer -m good "),
        ("llm infer --model=g\t", "llm infer --model=good "),
    ] {
        assert_eq!(typed_at_a_terminal(&computer, keys), line, "{keys:?}");
    }
    let late = Late { after: b"ends the conversation", input: b"/mo\tg\t\x15/s\t\t\x15hel\t\x03poweroff\r" };
    let mut console = Typed {
        input: b"llm chat --template chatml\r".iter().copied().collect(),
        late: Some(late),
        is_pipe: false,
        power_key_after: None,
        output: Vec::new(),
    };
    run(System { columns: Some(120), ..computer.system(&mut console) }, RunMode::Interactive);
    let output = String::from_utf8(console.output).unwrap();
    assert!(output.contains("/model good "), "{output:?}");
    assert!(output.contains("\n/system  /stats   /save\n"), "{output:?}");
    assert!(output.contains("hel\x07^C"), "messages are not completed: {output:?}");
}
