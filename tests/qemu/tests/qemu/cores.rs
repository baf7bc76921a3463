//! All cores of the machine compute together, and no core can hide a failure.

use crate::common::PROMPT;
use qemu_tests::{
    Directory, Outcome, Run,
    device_tree::{qemu_tree, set},
    repository,
};
use std::{thread, time::Duration};

#[test]
fn the_same_tokens_with_any_number_of_cores() {
    let text = |cores: &str, cpu: &str| {
        let run = Run::new().model(&repository().join("test_models/tiny.gguf"));
        let run = run.emulated().args(["--smp", cores, "--cpu", cpu]);
        run.command("llm infer 'Once upon a time there was' 24").finish().expect_status(0).text()
    };
    let expected = text("1", "max");
    assert!(expected.split_whitespace().count() > 10, "{expected:?}");
    for cores in ["2", "3", "4", "8"] {
        assert_eq!(text(cores, "max"), expected, "{cores} cores");
    }
    assert_eq!(text("3", "cortex-a72"), expected);
}

/// Over many runs each item is computed once, while cores fall asleep and wake up.
fn work_together(cores: &str, qemu: &str) {
    let said = format!("{cores} cores, 3000 runs");
    Run::new()
        .emulated()
        .args(["--smp", cores])
        .qemu(qemu)
        .boot_args("log=info ferrite.selftest=cores")
        .command("help")
        .finish()
        .expect_status(0)
        .expect_error(&said);
}

#[test]
fn cores_work_together_on_every_interrupt_controller_and_level() {
    for machine in [
        "gic-version=2",
        "gic-version=3",
        "gic-version=2,virtualization=on",
        "gic-version=3,virtualization=on",
    ] {
        work_together("3", &format!("-machine {machine}"));
    }
}

#[test]
fn cores_work_together_in_any_number() {
    // Three do in the test above.
    for cores in ["2", "4", "8", "20"] {
        work_together(cores, "");
    }
}

#[test]
fn cores_take_turns_where_the_emulator_runs_one_at_a_time() {
    work_together("2", "-accel tcg,thread=single");
}

#[test]
fn each_core_is_listed_and_counted_and_work_on_many_can_be_stopped() {
    let mut session =
        Run::new().model(&repository().join("test_models/tiny.gguf")).args(["--smp", "4"]).start();
    session.wait_for(PROMPT);
    // A core that has just been started may not have said so yet.
    let cores = session.ask_until("cpus\n", |cores| cores.matches(", online\r\n").count() == 4);
    assert_eq!(cores.matches("\ncore ").count(), 4, "{cores}");
    session.send("llm bench --prompt 4 --generate 2\n");
    session.wait_for("cores    4\r\n");
    session.wait_for(PROMPT);
    session.send("llm load\n");
    session.wait_for(PROMPT);
    // Days of prompts and texts: whenever Ctrl-C comes, it is in the middle of one.
    session.send("llm bench --runs 100000\n");
    session.wait_for("\n");
    thread::sleep(Duration::from_millis(100));
    session.send("\x03");
    session.wait_for("error: stopped");
    session.wait_for(PROMPT);
    session.send("llm infer Hello 3\n");
    session.wait_for("3 generated");
    session.wait_for(PROMPT);
    session.send("poweroff\n");
    session.finish().expect_status(0);
}

#[test]
fn cores_beyond_the_limit_are_named_in_one_line() {
    let outcome =
        Run::new().args(["--smp", "67"]).boot_args("log=warn").command("cpus").finish().expect_status(0);
    let line = "cores 64 to 66 do not start: the kernel uses 64 cores at most";
    outcome.expect_error(line);
}

#[test]
fn a_core_that_has_failed_is_not_started_and_one_that_is_disabled_is() {
    let directory = Directory::new("failed-core");
    let mut tree = qemu_tree(&directory, "gic-version=3");
    let cpus = tree.root.child_mut("cpus").unwrap();
    set(cpus.child_mut("cpu@0").unwrap(), "status", "okay");
    set(cpus.child_mut("cpu@1").unwrap(), "status", "disabled");
    let machine = |tree: &_| Run::new().device_tree(&directory, tree, "").start();
    let mut session = machine(&tree);
    session.wait_for("ferrite> ");
    session.ask_until("cpus\r", |cores| cores.contains("core 1: mpidr 0x1, online"));
    drop(session);
    set(tree.root.child_mut("cpus").unwrap().child_mut("cpu@1").unwrap(), "status", "fail");
    let mut session = machine(&tree);
    session.wait_for("core 1 (mpidr 0x1) does not start: by its status in the device tree it cannot be used");
    session.wait_for("ferrite> ");
}

fn end_on_another_core(run: Run, test: &str) -> Outcome {
    let boot_args = format!("ferrite.selftest=secondary-{test}");
    run.args(["--smp", "3"]).boot_args(&boot_args).command("help").finish()
}

#[test]
fn another_core_that_fails_ends_the_machine_and_says_which() {
    end_on_another_core(Run::new(), "panic").expect_status(101).expect_error("PANIC on core ");
    let fault = end_on_another_core(Run::new(), "fault").expect_status(102).expect_error("FAULT on core ");
    fault.expect_error("read from 0xdead0000").expect_error("x29");
    end_on_another_core(Run::new(), "stack").expect_status(102).expect_error("main stack overflow of core ");
}

/// No other core can finish what it has begun, and it still holds the memory: after a minute the machine ends instead of hanging. The
/// minute is the guest's: its clock advances by 256 ns with each instruction, and at once to the end of a sleep.
#[test]
fn another_core_that_stops_in_its_work_ends_the_machine() {
    let run = Run::new().emulated().qemu("-icount shift=8,sleep=off");
    let outcome = end_on_another_core(run, "stop").expect_status(101);
    outcome.expect_error("another core has stopped in the middle of its work");
}
