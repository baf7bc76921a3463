//! The contract of `scripts/run`: arguments, defaults, exit statuses, clear errors.

use crate::common::{USAGE_ERROR, qemu_arguments};
use qemu_tests::{Directory, Run, repository};
use std::{fs, path::Path};

fn value_of<'a>(arguments: &'a [String], option: &str) -> &'a str {
    let place = arguments.iter().position(|argument| argument == option);
    &arguments[place.unwrap_or_else(|| panic!("no {option} in {arguments:?}")) + 1]
}

#[test]
fn the_exit_status_and_standard_output_are_the_commands_alone() {
    let quiet = Run::new().command("help").finish().expect_status(0);
    let logged =
        Run::new().boot_args("log=debug").command("help").finish().expect_status(0).expect_error("Ferrite");
    assert_eq!(quiet.text(), logged.text());
    assert!(!quiet.text().contains('\r'));
    Run::new().command("no-such-command").finish().expect_status(1);
}

#[test]
fn a_command_arrives_byte_by_byte() {
    let directory = Directory::new("command");
    let line = r#"llm infer "it's 5 % of \\ $HOME, `x` ä" 10"#;
    let arguments = qemu_arguments(Run::new().command(line), &directory);
    let hex: String = line.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(value_of(&arguments, "-append").contains(&format!("ferrite.command={hex}")));
    assert!(arguments.contains(&"-no-reboot".to_string()));
}

#[test]
fn defaults_follow_the_models() {
    let directory = Directory::new("defaults");
    let small = directory.file("a b,c.gguf", &[1; 700]);
    let large = directory.file("large.gguf", &[]);
    let size: u64 = 590 << 20;
    fs::File::options().write(true).open(&large).unwrap().set_len(size).unwrap();
    let same_name = directory.file("a_b_c.gguf", &[]);
    let digest = "0123456789abcdef".repeat(4);
    directory.file("large.gguf.sha256", format!("{digest}  large.gguf\n").as_bytes());

    let run = Run::new().model(&small).model(&large).model(&same_name);
    let arguments = qemu_arguments(run, &directory);
    let append = value_of(&arguments, "-append");
    assert!(append.contains("ferrite.model=a_b_c:700 "));
    assert!(append.contains(&format!("ferrite.model=large:{size}:{digest} ")));
    assert!(append.contains("ferrite.model=a_b_c-2:0 "));
    let memory: u64 = value_of(&arguments, "-m").trim_end_matches('M').parse().unwrap();
    assert!((700..=1024).contains(&memory), "{memory} MiB");
    let doubled = small.display().to_string().replace(',', ",,");
    assert!(arguments.iter().any(|argument| argument.ends_with(&format!("file.filename={doubled}"))));

    let arguments = qemu_arguments(Run::new().model(&small), &directory);
    assert_eq!(value_of(&arguments, "-m"), "128M");
}

#[test]
fn a_model_in_several_files_becomes_as_many_disks() {
    let directory = Directory::new("several-files");
    let names = ["Some Model-00001-of-00002.GGUF", "Some Model-00002-of-00002.GGUF"];
    let [first, second] = names.map(|name| directory.file(name, name.as_bytes()));
    directory.file("Some Model-00001-of-00003.GGUF", b"of another model");
    for run in [Run::new().model(&first), Run::new().model(&second), Run::new().model(&first).model(&second)]
    {
        let arguments = qemu_arguments(run, &directory);
        let append = value_of(&arguments, "-append");
        let n_disks = append.matches("ferrite.model=").count();
        assert!(
            append.contains("ferrite.model=Some_Model-00001-of-:30 ferrite.model=Some_Model-00002-of-:30 "),
            "{append}"
        );
        assert_eq!(n_disks, 2, "{append}");
    }
    let whole = directory.file("WHOLE.GGUF", &[1; 7]);
    let arguments = qemu_arguments(Run::new().model(&whole), &directory);
    assert!(value_of(&arguments, "-append").contains("ferrite.model=WHOLE:7"));
    let absent = directory.path().join("absent-00001-of-00002.gguf");
    Run::new()
        .model(&absent)
        .finish()
        .expect_status(1)
        .expect_error("absent-00001-of-00002.gguf: no such file");
}

#[test]
fn options_reach_qemu() {
    let directory = Directory::new("options");
    let run = Run::new()
        .args(["--smp", "3", "--mem", "2G", "--cpu", "cortex-a76"])
        .args(["--accel", "tcg", "--device", "edu", "--device", "usb-ehci"])
        .qemu("-icount shift=0")
        .boot_args("log=trace");
    let arguments = qemu_arguments(run, &directory);
    assert_eq!(value_of(&arguments, "-smp"), "3");
    assert_eq!(value_of(&arguments, "-m"), "2G");
    assert_eq!(value_of(&arguments, "-cpu"), "cortex-a76");
    assert_eq!(value_of(&arguments, "-accel"), "tcg");
    assert_eq!(value_of(&arguments, "-icount"), "shift=0");
    assert!(value_of(&arguments, "-append").ends_with("log=trace"));
    for device in ["edu", "usb-ehci"] {
        assert!(arguments.contains(&device.to_string()));
    }

    let hypervisor = qemu_arguments(Run::new().args(["--accel", "kvm"]), &directory);
    assert_eq!(value_of(&hypervisor, "-cpu"), "host");
    assert_eq!(value_of(&hypervisor, "-action"), "panic=exit-failure");
    assert!(value_of(&hypervisor, "-append").contains("ferrite.host=pvpanic"));
    assert!(!hypervisor.contains(&"-semihosting-config".to_string()));
}

#[test]
fn mistakes_are_named() {
    let mistakes: &[(&[&str], i32, &str)] = &[
        (&["--speed"], USAGE_ERROR, "unknown argument --speed"),
        (&["--smp"], USAGE_ERROR, "--smp expects a value"),
        (&["--smp", "many"], USAGE_ERROR, "--smp many"),
        (&["--smp", "0"], USAGE_ERROR, "--smp 0: expected a number of cores"),
        (&["--smp=00"], USAGE_ERROR, "--smp 00: expected a number of cores"),
        (&["--smp="], USAGE_ERROR, "--smp expects a value"),
        (&["--cpu", ""], USAGE_ERROR, "--cpu expects a value"),
        (&["--mem", "much"], USAGE_ERROR, "--mem much: expected a size, such as 512M or 2G"),
        (&["--mem=31m"], USAGE_ERROR, "--mem 31m: the kernel needs at least 32M"),
        (&["--mem=0"], USAGE_ERROR, "--mem 0: the kernel needs at least 32M"),
        (&["--mem", "32767k"], USAGE_ERROR, "--mem 32767k: the kernel needs at least 32M"),
        (
            &["--cpu", "cortex-a15"],
            USAGE_ERROR,
            "--cpu cortex-a15: a 32-bit CPU; the kernel needs a 64-bit one",
        ),
        (&["--cpu=cortex-a7,pmu=off"], USAGE_ERROR, "a 32-bit CPU"),
        (&["--cpu=max,aarch64=off"], USAGE_ERROR, "the kernel needs a 64-bit CPU"),
        (&["--cpu", "cortex-a99"], 1, "cortex-a99"),
        (&["--help=yes"], USAGE_ERROR, "takes no value"),
        (&["uptime"], USAGE_ERROR, "a command of the shell goes behind --"),
        (&["--keep-running", "--", "help"], USAGE_ERROR, "--keep-running"),
        (&["--accel", "xen"], USAGE_ERROR, "expected tcg, kvm or hvf"),
        (&["--"], USAGE_ERROR, "a command is expected after --"),
        (&["--model", "/nowhere.gguf"], 1, "/nowhere.gguf: no such file"),
        (&["--model", "/"], 1, "/: not a regular file"),
        (&["--model", "hf:org/repository"], USAGE_ERROR, "expected hf:ORG/REPO/FILE or hf:ORG/REPO:TAG"),
        (&["--model", "hf:org/:Q4_0"], USAGE_ERROR, "expected hf:ORG/REPO/FILE or hf:ORG/REPO:TAG"),
        (&["--model", "/nowhere-00001-of-00002.gguf"], 1, "/nowhere-00001-of-00002.gguf: no such file"),
        (&["--gpu", "ff:1f.7"], 1, "no such PCI device"),
        (&["--api-key-file", "/nowhere"], 1, "/nowhere: not readable"),
        (&["--api-key-file=/dev/zero"], 1, "expected at most 65536 bytes"),
        (
            &["--api-key-file", "/dev/null", "--", "help"],
            1,
            "fw_cfg file opt/ferrite/api_key: expected a key",
        ),
    ];
    for (arguments, status, message) in mistakes {
        Run::new().args(*arguments).finish().expect_status(*status).expect_error(message);
    }
}

#[test]
fn a_broken_checksum_file_is_named() {
    let directory = Directory::new("checksum");
    let model = directory.file("m.gguf", b"x");
    for content in ["", "abc", "not hexadecimal"] {
        directory.file("m.gguf.sha256", content.as_bytes());
        Run::new()
            .model(&model)
            .finish()
            .expect_status(1)
            .expect_error("m.gguf.sha256: expected 64 hexadecimal digits");
    }
}

#[test]
fn a_relative_path_is_relative_to_where_the_user_is() {
    let here = std::env::current_dir().unwrap();
    assert!(here.join("Cargo.toml").exists());
    let directory = Directory::new("relative");
    let arguments = qemu_arguments(Run::new().model(Path::new("Cargo.toml")), &directory);
    assert!(value_of(&arguments, "-append").contains("ferrite.model=Cargo.toml:"));
}

#[test]
fn a_value_may_follow_an_equals_sign() {
    let directory = Directory::new("equals");
    let model = directory.file("a=b.gguf", &[1; 700]);
    let run = Run::new().args([format!("--model={}", model.display())]).args([
        "--smp=3",
        "--mem=64m",
        "--cpu=max,pauth=off",
        "--accel=tcg",
        "--device=edu,id=x",
    ]);
    let arguments = qemu_arguments(run, &directory);
    assert!(value_of(&arguments, "-append").contains("ferrite.model=a_b:700 "));
    assert_eq!(value_of(&arguments, "-smp"), "3");
    assert_eq!(value_of(&arguments, "-m"), "64m");
    assert_eq!(value_of(&arguments, "-cpu"), "max,pauth=off");
    assert!(arguments.contains(&"edu,id=x".to_string()));
}

#[test]
fn both_names_of_help_print_it() {
    for option in ["-h", "--help"] {
        let outcome = Run::new().args([option]).finish().expect_status(0);
        assert!(outcome.text().starts_with("Usage: scripts/run"), "{option}");
    }
}

#[test]
fn a_command_of_any_length_runs_or_is_refused_beforehand() {
    let longest = format!("help {}", "x".repeat(65_000));
    Run::new().command(longest).finish().expect_status(1).expect_error("unknown command \"xxx");
    let longer = format!("help {}", "x".repeat(65_600));
    let outcome = Run::new().command(longer).finish().expect_status(USAGE_ERROR);
    let (_, limit) = outcome.stderr.split_once("the command has 65605 bytes, but no more than ").unwrap();
    let (limit, _) = limit.split_once(" reach the kernel").unwrap();
    assert!((65_005..65_536).contains(&limit.parse().unwrap()), "{}", outcome.stderr);
}

/// Types `input` through a pipe that is then closed.
fn piped(run: Run, input: &str) -> qemu_tests::Outcome {
    let mut session = run.boot_args("log=off").start();
    session.send(input);
    session.finish()
}

#[test]
fn the_end_of_the_input_ends_the_machine_with_the_status_of_the_last_command() {
    piped(Run::new(), "").expect_status(0);
    let failed = piped(Run::new(), "uptime\nfrob").expect_status(1);
    assert!(failed.text().contains("unknown command \"frob\""), "{}", failed.text());
    piped(Run::new(), "frob\nuptime\n").expect_status(0);
    // What comes behind it is not waited for.
    piped(Run::new(), "frob\nreboot\nuptime\n").expect_status(0);
}

#[test]
fn lines_piped_in_while_a_command_runs_are_all_run() {
    const LINES: usize = 1300;
    let name = |index: usize| format!("unknown-{index:05}-{}", "abcdefghij".repeat(4));
    let lines: String = (0..LINES).map(|index| format!("help {}\n", name(index))).collect();
    let input = format!("llm infer \"Once upon a time\" 60\n{lines}uptime\n");
    assert!(input.len() > 70_000, "more than is ever kept in the kernel");
    let outcome =
        piped(Run::new().model(&repository().join("test_models/tiny.gguf")), &input).expect_status(0);
    let text = outcome.text();
    let answers: Vec<_> = text.lines().filter(|line| line.starts_with("error: unknown command")).collect();
    assert_eq!(answers.len(), LINES);
    for (index, answer) in answers.iter().enumerate() {
        assert!(answer.contains(&format!("unknown-{index:05}-")), "line {index}: {answer}");
    }
}

#[test]
fn a_machine_that_is_to_keep_running_is_told_of_no_end() {
    let directory = Directory::new("keep-running");
    let arguments = qemu_arguments(Run::new(), &directory);
    assert!(value_of(&arguments, "-append").contains("ferrite.input-end="));
    let arguments = qemu_arguments(Run::new().args(["--keep-running"]), &directory);
    assert!(!value_of(&arguments, "-append").contains("ferrite.input-end="));
    assert!(!arguments.contains(&"-no-reboot".to_string()));
}

#[test]
fn a_machine_that_ends_first_does_not_wait_for_the_input_to_end() {
    let mut session = Run::new().boot_args("log=off").start();
    session.send("poweroff\n");
    session.wait_to_end().expect_status(0);
}
