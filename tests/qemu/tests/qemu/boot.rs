//! The kernel boots on every supported machine, loaded in every supported way.

use qemu_tests::{Run, kernel_files, self_test_files};

/// Boots, checks that interrupts work and leave vector registers alone, and runs one command.
fn boots(cpu: &str, qemu: &str) {
    let outcome = Run::new()
        .emulated()
        .args(["--cpu", cpu, "--mem", "128M", "--smp", "2"])
        .qemu(qemu)
        .boot_args("log=info ferrite.selftest=simd")
        .command("help")
        .finish()
        .expect_status(0)
        .expect_error("100 interrupts");
    assert!(!outcome.stderr.contains("cannot be enabled"), "{}", outcome.stderr);
    assert!(!outcome.stdout.is_empty());
}

fn boots_on_every_machine(cpu: &str) {
    boots(cpu, "-machine gic-version=2");
    boots(cpu, "-machine gic-version=3");
    boots(cpu, "-machine gic-version=2,virtualization=on");
    boots(cpu, "-machine gic-version=3,virtualization=on");
}

#[test]
fn cortex_a72() {
    boots_on_every_machine("cortex-a72");
}

#[test]
fn cortex_a76() {
    boots_on_every_machine("cortex-a76");
}

#[test]
fn neoverse_n1() {
    boots_on_every_machine("neoverse-n1");
}

#[test]
fn max() {
    boots_on_every_machine("max");
}

#[test]
fn memory_of_every_size() {
    for (size, expected_mib) in [("128M", 100), ("1G", 940), ("8G", 8000)] {
        // Also where the host has less.
        let backend = format!("-object memory-backend-ram,id=ram,size={size},reserve=off");
        let run = Run::new().args(["--mem", size]).qemu(&format!("{backend} -machine memory-backend=ram"));
        let outcome = run.boot_args("log=info").command("help").finish().expect_status(0);
        let words: Vec<_> = outcome.stderr.split_whitespace().collect();
        let place = words.iter().position(|&word| word == "memory:").unwrap();
        let mib: u64 = words[place + 1].parse().unwrap();
        assert!(mib >= expected_mib, "{size}: {mib} MiB for models");
    }
}

/// The interrupt controller has two security states, and the kernel runs in the one that sees fewer registers.
#[test]
fn on_the_non_secure_side() {
    let (_, image) = kernel_files();
    for version in [2, 3] {
        let machine = format!("-machine gic-version={version},secure=on -kernel {}", image.display());
        let mut session =
            Run::new().emulated().args(["--smp", "2"]).qemu(&machine).boot_args("log=warn").start();
        session.wait_for("ferrite> ");
        session.ask_until("cpus\r", |cores| cores.contains("core 1: mpidr 0x1, online"));
        session.send("poweroff\r");
        let outcome = session.finish().expect_status(0);
        // Without its interrupt, the console would be polled.
        assert!(!outcome.text().contains("WARN"), "GICv{version}: {}", outcome.text());
    }
}

#[test]
fn as_a_raw_image_at_el1_and_el2() {
    let (_, image) = self_test_files();
    for machine in ["gic-version=2", "gic-version=3,virtualization=on"] {
        for cpu in ["cortex-a72", "max"] {
            boots(cpu, &format!("-machine {machine} -kernel {}", image.display()));
        }
    }
}

#[test]
fn sixteen_cores_and_legacy_virtio() {
    Run::new()
        .args(["--smp", "16"])
        .qemu("-global virtio-mmio.force-legacy=true")
        .command("help")
        .finish()
        .expect_status(0);
}

#[test]
fn memory_functions_move_the_right_bytes() {
    Run::new()
        .boot_args("log=info ferrite.selftest=memory-functions")
        .command("help")
        .finish()
        .expect_status(0)
        .expect_error("at every alignment");
}

#[test]
fn sha256_instructions_compute_what_the_portable_code_does() {
    for cpu in ["cortex-a72", "max"] {
        Run::new()
            .emulated()
            .args(["--cpu", cpu])
            .boot_args("log=info ferrite.selftest=sha256")
            .command("help")
            .finish()
            .expect_status(0)
            .expect_error("lengths up to 300");
    }
}

#[test]
fn the_pmu_counts_under_icount() {
    Run::new()
        .emulated()
        .args(["--cpu", "cortex-a72", "--smp", "1"])
        .qemu("-icount shift=0")
        .boot_args("log=debug")
        .command("help")
        .finish()
        .expect_status(0)
        .expect_error("instructions: Some(");
}

#[test]
fn more_instructions_are_counted_than_32_bits_hold() {
    for cpu in ["cortex-a76", "max"] {
        Run::new()
            .emulated()
            .args(["--cpu", cpu, "--smp", "1"])
            .qemu("-icount shift=0")
            .boot_args("log=debug ferrite.selftest=instructions")
            .command("help")
            .finish()
            .expect_status(0)
            .expect_error("instructions: Some(")
            .expect_error("instruction self-test: twice 10737418240 counted");
    }
}
