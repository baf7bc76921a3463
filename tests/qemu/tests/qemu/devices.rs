//! Disks, PCI functions and the console, on QEMU's devices.

use crate::common::checksum;
use qemu_tests::{Directory, Run, repository};
use std::{io::Write, os::unix::net::UnixStream};

/// Bytes whose pattern does not repeat with the size of a sector.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn disks_read_back(lengths: &[usize], qemu: &str) {
    let directory = Directory::new(&format!("disks-{}-{}", lengths.len(), qemu.len()));
    let mut run = Run::new()
        .args(["--mem", "256M"])
        .qemu(qemu)
        .boot_args("log=info ferrite.selftest=disks")
        .command("help");
    let mut expected = Vec::new();
    for (index, &length) in lengths.iter().enumerate() {
        let bytes = noise(length, index as u32 + 1);
        run = run.model(&directory.file(format!("disk {index},.gguf"), &bytes));
        let sum = checksum(&bytes);
        expected.push((
            format!("disk {index} \"disk_{index}_\" on virtio-"),
            format!(": {length} bytes, checksum {sum:08x}"),
        ));
    }
    let outcome = run.finish().expect_status(0);
    for (start, end) in expected {
        let line = outcome.stderr.lines().find(|line| line.contains(&start));
        let line = line.unwrap_or_else(|| panic!("no {start:?} in\n{}", outcome.stderr));
        assert!(line.ends_with(&end), "{line}, expected {end}");
    }
}

#[test]
fn disks_of_every_size_hold_what_the_files_hold() {
    let sizes = [0, 1, 511, 512, 513, 1_000_003, 0, 40_000_000];
    disks_read_back(&sizes, "-global virtio-mmio.force-legacy=false");
}

#[test]
fn legacy_virtio_disks() {
    disks_read_back(&[700, 3_000_000], "-global virtio-mmio.force-legacy=true");
}

/// The disk fails while other requests of the same read are in flight.
#[test]
fn a_bad_sector_is_an_error_of_its_read() {
    let directory = Directory::new("bad-sector");
    let file = directory.file("bad.gguf", &noise(40_000_000, 3));
    let bad_sector: u64 = 30_000_000 / 512;
    let qemu = format!(
        "-blockdev driver=blkdebug,node-name=bad,read-only=on,image.driver=file,image.filename={},\
         inject-error.0.event=none,inject-error.0.errno=5,inject-error.0.sector={bad_sector} \
         -device virtio-blk-device,drive=bad,serial=bad",
        file.display()
    );
    let outcome = Run::new()
        .args(["--mem", "256M"])
        .qemu(&qemu)
        .boot_args("ferrite.selftest=disks")
        .command("help")
        .finish()
        .expect_status(101)
        .expect_error("the disk failed to read ");
    let (_, request) = outcome.stderr.split_once("the disk failed to read ").expect("just seen");
    let numbers = request.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
    let [length, start] = numbers.take(2).collect::<Vec<_>>()[..] else { panic!("{request}") };
    assert!((start..start + length).contains(&(bad_sector * 512)), "{length} bytes at byte {start}");
}

#[test]
fn more_disks_than_virtio_mmio_has_slots() {
    let sizes: Vec<_> = (0..40).map(|index| 1000 + index * 333).collect();
    disks_read_back(&sizes, "");
}

/// QEMU writes its traces to standard error.
#[test]
fn nvme_controllers_are_told_before_power_is_cut() {
    let directory = Directory::new("nvme-shutdown");
    let file = directory.file("disk", &[1; 4096]);
    let qemu = format!(
        "-drive if=none,id=disk,format=raw,readonly=on,file={} -device nvme,serial=x,drive=disk -trace pci_nvme_mmio_shutdown_set",
        file.display()
    );
    let outcome = Run::new().qemu(&qemu).command("disks").finish().expect_status(0);
    outcome.expect_error("pci_nvme_mmio_shutdown_set");
}

#[test]
fn pci_functions_get_their_memory() {
    let outcome = Run::new()
        .args(["--device", "edu"])
        .args(["--device", "bochs-display,romfile="])
        .args(["--device", "pcie-root-port,id=bridge"])
        .args(["--device", "virtio-gpu-pci,bus=bridge,romfile="])
        .boot_args("log=debug")
        .command("pci")
        .finish();
    let function = |ids: &str| {
        let line = outcome.stderr.lines().find(|line| line.contains(ids));
        line.unwrap_or_else(|| panic!("no {ids} in\n{}", outcome.stderr))
    };
    assert!(function("vendor_id: 1234, device_id: 11e8").contains("size_bytes: 100000"));
    let display = function("vendor_id: 1234, device_id: 1111");
    assert!(display.contains("class: 3"));
    assert!(display.contains("size_bytes: 1000000"));
    let behind_bridge = function("vendor_id: 1af4, device_id: 1050");
    assert!(behind_bridge.contains("bus: 1"));
    assert!(!outcome.stderr.contains("address: 0, size_bytes"));
    assert!(outcome.stderr.contains("offload: display controller 1234:1111"));
}

#[test]
fn piped_input_of_any_length_arrives_whole() {
    let mut session = Run::new().boot_args("log=off ferrite.selftest=echo").start();
    session.wait_for("echo\r\n");
    // Printable, so that line ends are not translated; ends with end of transmission.
    let mut input: Vec<u8> = noise(30_000, 7).iter().map(|byte| b'!' + byte % 90).collect();
    input.push(0x04);
    session.send(&input);
    input.pop();
    assert!(session.wait_for(&input[input.len() - 16..]) == input);
}

#[test]
fn the_clock_tells_the_date() {
    let outcome = Run::new().qemu("-rtc base=2030-05-06T07:08:09,clock=vm").command("date").finish();
    let date = String::from_utf8(outcome.expect_status(0).stdout).unwrap();
    assert!(date.starts_with("2030-05-06 07:") && date.ends_with(" UTC\n"), "{date}");
}

/// QEMU's `system_powerdown`, which `virsh shutdown` sends, presses the power key of the device tree.
#[test]
fn the_power_key_turns_the_machine_off() {
    let directory = Directory::new("power-key");
    // A command that is cut off has failed.
    let bench = ("llm bench --runs 1000\r", "llm bench --runs 1000\r\n", 1);
    for (typed, running, status) in [("", "ferrite> ", 0), bench] {
        let socket = directory.path().join("monitor");
        let monitor = format!("-monitor unix:{},server=on,wait=off", socket.display());
        let model = repository().join("test_models/micro.gguf");
        let mut session = Run::new().model(&model).qemu(&monitor).boot_args("log=warn").start();
        session.wait_for("ferrite> ");
        if !typed.is_empty() {
            session.send("llm load\r");
            session.wait_for("ferrite> ");
            session.send(typed);
            session.wait_for(running);
        }
        let mut monitor = UnixStream::connect(&socket).expect("QEMU listens");
        monitor.write_all(b"system_powerdown\n").expect("QEMU reads");
        session.wait_for("power key: turning the machine off");
        session.finish().expect_status(status);
    }
}

#[test]
fn reboot_starts_again_and_power_off_ends() {
    let mut session = Run::new().args(["--keep-running"]).boot_args("log=off").start();
    session.wait_for("ferrite> ");
    session.send("reboot\r");
    session.wait_for("Ferrite ");
    session.wait_for("ferrite> ");
    session.send("poweroff\r");
    session.finish().expect_status(0);
}
