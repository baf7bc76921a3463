//! Each fault ends the machine with an exit status of its own and a message that says what happened and where.

use qemu_tests::{Outcome, Run};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

const PANIC: i32 = 101;
const FAULT: i32 = 102;
const HEAP_EXHAUSTED: i32 = 103;
const CANNOT_BOOT: i32 = 104;

fn run(test: &str) -> Outcome {
    Run::new().boot_args(&format!("ferrite.selftest={test}")).command("help").finish()
}

#[test]
fn a_read_of_nothing_is_a_fault_with_registers() {
    let outcome = run("fault")
        .expect_status(FAULT)
        .expect_error("read from 0xdead0000")
        .expect_error("nothing is mapped there")
        .expect_error("x29");
    assert!(outcome.stdout.is_empty());
}

#[test]
fn code_cannot_be_written_and_data_not_executed() {
    run("write-text").expect_status(FAULT).expect_error("write to 0x40200000").expect_error("not permitted");
    run("execute-data").expect_status(FAULT).expect_error("fetch from 0x").expect_error("not permitted");
}

#[test]
fn a_stack_overflow_hits_the_guard_page() {
    run("stack").expect_status(FAULT).expect_error("main stack overflow");
}

#[test]
fn a_panic_says_where() {
    run("panic").expect_status(PANIC).expect_error("PANIC: panicked at kernel/src/self_test.rs");
}

#[test]
fn too_little_memory_to_boot_is_said_before_there_is_a_console() {
    let run = |host: &str| {
        let run = Run::new().qemu("-m 16M -device pvpanic-pci -action panic=exit-failure");
        run.boot_args(host).command("help").finish()
    };
    run("").expect_status(CANNOT_BOOT).expect_error("no place for the heap in 16777216 bytes of RAM");
    let without_semihosting = run("ferrite.host=none");
    assert!(without_semihosting.text().contains("no place for the heap"), "{}", without_semihosting.text());
}

#[test]
fn an_exhausted_heap_is_told_apart_from_a_panic() {
    run("heap").expect_status(HEAP_EXHAUSTED).expect_error("memory allocation of 1099511627776 bytes failed");
}

#[test]
fn a_fault_in_the_interactive_shell_has_the_same_status() {
    let outcome = Run::new().boot_args("ferrite.selftest=fault").finish().expect_status(FAULT);
    assert!(outcome.text().contains("FAULT: "));
}

#[test]
fn a_boot_argument_without_meaning_is_refused() {
    Run::new()
        .boot_args("ferrite.selftest=nothing")
        .command("help")
        .finish()
        .expect_status(1)
        .expect_error("\"ferrite.selftest=nothing\": expected");
}

/// The property in the device tree is a byte string, and QEMU passes it on unchanged.
#[test]
fn a_boot_argument_that_is_no_text_is_refused_alone() {
    let outcome = Run::new().env("FERRITE_BOOTARGS", OsStr::from_bytes(b"x=\xff")).command("help").finish();
    let outcome =
        outcome.expect_status(0).expect_error("boot argument \"x=\u{fffd}\": expected text in UTF-8");
    assert!(outcome.text().contains("llm infer"));
}

/// As under a hypervisor, where semihosting does not exist.
#[test]
fn pvpanic_reports_failure_where_there_is_no_semihosting() {
    let run = |test: &str, line: &str| {
        Run::new()
            .qemu("-device pvpanic-pci -action panic=exit-failure")
            .boot_args(&format!("ferrite.host=pvpanic {test}"))
            .command(line)
            .finish()
    };
    let succeeded = run("log=debug", "help").expect_status(0);
    assert!(!succeeded.text().contains("INFO"));
    run("", "no-such-command").expect_status(1);
    run("ferrite.selftest=panic", "help").expect_status(1);
    run("ferrite.selftest=fault", "help").expect_status(1);
}
