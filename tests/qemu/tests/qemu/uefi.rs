//! `scripts/disk` and `scripts/run --uefi`: UEFI firmware boots the kernel from a disk, with a device tree and with ACPI tables.

use crate::common::{self, COMMAND, USAGE_ERROR, expected};
use qemu_tests::{Directory, Run, repository};
use std::{fs, process::Command};

const TINY: &str = "test_models/tiny.gguf";

/// A machine with the default model, booted by firmware.
fn by_firmware() -> Run {
    Run::new().model(&repository().join(TINY)).args(["--uefi"])
}

/// A program in QEMU's place that prints the firmware's messages, then its own arguments, and copies the disk.
fn in_place_of_qemu(run: Run, directory: &Directory, says: &str) -> qemu_tests::Outcome {
    let copy = directory.path().join("copy.img").display().to_string();
    let script =
        format!("printf 'UEFI firmware\\r\\n{says}\\r\\n'; printf '%s\\n' \"$@\"; cat /dev/fd/5 >'{copy}'");
    common::in_place_of_qemu(run, directory, &script)
}

#[test]
fn a_disk_has_the_kernel_that_scripts_image_makes() {
    let directory = Directory::new("disk");
    let disk = directory.path().join("ferrite.img");
    let (_, image) = qemu_tests::kernel_files();
    let output = Command::new(repository().join("scripts/disk"))
        .args(["--model", &repository().join(TINY).display().to_string(), "--args", "log=debug"])
        .args(["-o", "ferrite.img"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ferrite.img: tiny\n");
    let bytes = fs::read(disk).unwrap();
    // Files of a new volume lie in one piece.
    let image = fs::read(image).unwrap();
    let place = bytes.windows(64).position(|window| window == &image[..64]).unwrap();
    assert!(bytes[place..place + image.len()] == image[..]);
}

#[test]
fn the_machine_boots_from_a_disk_that_is_gone_with_it() {
    let directory = Directory::new("uefi-disk");
    let outcome = in_place_of_qemu(by_firmware().command("help"), &directory, "BdsDxe: starting Boot0001");
    let outcome = outcome.expect_status(0);
    let text = outcome.text();
    let arguments: Vec<_> = text.lines().collect();
    assert!(text.starts_with("-machine\nvirt,gic-version=3,acpi=off\n"), "{text}");
    assert!(arguments.contains(&"-bios") && !arguments.contains(&"-kernel"), "{text}");
    let disk = fs::read(directory.path().join("copy.img")).unwrap();
    let holds = |text: &str| disk.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("log=warn ferrite.command=68656c70 ferrite.host=semihosting"));
    assert!(holds(
        "\nferrite.model=tiny:3027712:058ffcba55c189dc419a373ed61acea688cd86c43f2393aa5dc30db48185ac5a\n"
    ));

    let outcome = in_place_of_qemu(by_firmware().args(["--acpi"]), &directory, "BdsDxe: starting Boot0001");
    assert!(outcome.expect_status(0).text().starts_with("-machine\nvirt,gic-version=3,acpi=on\n"));
    Run::new()
        .args(["--acpi"])
        .finish()
        .expect_status(USAGE_ERROR)
        .expect_error("--acpi: only firmware has ACPI");
}

#[test]
fn a_kernel_that_firmware_does_not_start_cannot_boot() {
    let directory = Directory::new("uefi-refused");
    let refused = "BdsDxe: failed to load Boot0001 \"UEFI Misc Device\": Not Found";
    let outcome = in_place_of_qemu(by_firmware().command("help"), &directory, refused).expect_status(104);
    outcome
        .expect_error("does not start the kernel: failed to load Boot0001 \"UEFI Misc Device\": Not Found\n");
    let outcome = in_place_of_qemu(by_firmware().command("help"), &directory, "off").expect_status(104);
    assert!(outcome.expect_error("the machine has ended before").text().is_empty());
}

#[test]
fn firmware_boots_the_kernel_with_a_device_tree_and_with_acpi_tables() {
    for tables in [&[][..], &["--acpi"]] {
        let outcome = by_firmware().args(tables).command(COMMAND).finish().expect_status(0);
        assert_eq!(outcome.text(), expected(), "{tables:?}");
        by_firmware().args(tables).command("no-such-command").finish().expect_status(1);
    }
}

/// Firmware starts the kernel at EL2 if the core has EL2.
#[test]
fn firmware_boots_other_machines() {
    for (tables, machine) in [
        (&[][..], "-machine gic-version=2"),
        (&["--acpi"], "-machine gic-version=2"),
        (&[], "-machine virtualization=on"),
        (&["--acpi"], "-machine virtualization=on"),
    ] {
        let outcome = by_firmware().emulated().args(tables).qemu(machine).command(COMMAND).finish();
        assert_eq!(outcome.expect_status(0).text(), expected(), "{machine} {tables:?}");
    }
}

/// In both formats, with both block sizes; one model was added later.
#[test]
fn the_kernel_finds_the_models_of_a_disk() {
    let directory = Directory::new("models-of-a-disk");
    let disk = |arguments: &[&str]| {
        let mut program = Command::new(repository().join("scripts/disk"));
        let output = program.args(arguments).current_dir(directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let [tiny, micro] = ["tiny", "micro"].map(|name| repository().join(format!("test_models/{name}.gguf")));
    let (tiny, micro) = (format!("{}:first", tiny.display()), format!("{}:second", micro.display()));
    disk(&["--model", &tiny, "--model", &micro, "--qcow2", "-o", "a.qcow2"]);
    disk(&["--model", &tiny, "--block-size", "4096", "--spare", "1M", "-o", "b.img"]);
    disk(&["--add", &micro, "b.img"]);
    for (file, device) in [
        ("format=qcow2,file=a.qcow2", "virtio-blk-pci"),
        ("format=raw,file=b.img", "nvme,serial=x,logical_block_size=4096,physical_block_size=4096"),
    ] {
        let qemu = format!("-drive if=none,id=models,readonly=on,{file} -device {device},drive=models");
        let run = Run::new().args(["--mem", "128M"]).qemu(&qemu).in_directory(directory.path());
        let text = run.command("llm list").finish().expect_status(0).text();
        let names: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, ["/models/first.gguf", "/models/second.gguf"], "{text}");
    }
}

/// The firmware would consume input that arrives before the kernel runs.
#[test]
fn what_is_typed_early_is_the_kernels() {
    let mut session = by_firmware().boot_args("log=off").start();
    session.send("uptime\nllm verify\n");
    let outcome = session.finish().expect_status(0);
    // With the name that the partition has, and the file's exact length, or else its checksum would be another one.
    let verified = outcome
        .text()
        .lines()
        .any(|line| line.starts_with("/models/tiny.gguf: SHA-256") && line.ends_with(" as expected"));
    assert!(verified, "{}", outcome.text());
}
