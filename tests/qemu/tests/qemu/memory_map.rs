//! What the live translation tables allow, on every machine: `mem map` reads them as the CPU does.

use qemu_tests::{
    Directory, Run, kernel_files,
    loader::{loader, raw},
    self_test_files,
};

/// A line of `mem map`: a range that is mapped, or one that is left out on purpose.
struct Line<'a> {
    start: u64,
    end: u64,
    /// `rwx`, followed by the kind of memory and anything unusual.
    access: &'a str,
    purpose: &'a str,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let address = |hex: &str| u64::from_str_radix(hex.strip_prefix("0x").unwrap(), 16).unwrap();
    let line = |line| {
        let (range, rest) = str::split_once(line, ' ')?;
        let (start, end) = range.split_once("..")?;
        let (access, rest) = rest.split_once("  ")?;
        let (purpose, _size) = rest.rsplit_once(", ")?;
        Some(Line { start: address(start), end: address(end), access, purpose })
    };
    text.lines().filter_map(line).collect()
}

/// Checks what `mem map` prints on a machine with this many cores, whose CPU has `FEAT_PAN` or not.
fn check(text: &str, n_cores: usize, has_pan: bool) {
    let lines = lines(text);
    let last = text.lines().last().unwrap();
    let pan = if has_pan { "on" } else { "not in this CPU" };
    let expected = format!(" tables, 0 ranges wrong; WXN on, PAN {pan}, stack alignment check on");
    assert!(last.ends_with(&expected), "{text}");
    assert_eq!(lines.len() + 1, text.lines().count(), "{text}");
    assert!(lines.is_sorted_by(|a, b| a.end <= b.start), "{text}");
    let all = |purpose: &str| lines.iter().filter(|line| line.purpose == purpose).collect::<Vec<_>>();
    for line in &lines {
        let expected = match line.purpose {
            "text" => "r-x cached",
            "constants" => "r-- cached",
            "guard page" => "--- nothing",
            "devices" => "rw- device",
            _ => "rw- cached",
        };
        assert_eq!(line.access, expected, "{text}");
        // Nothing is at page 0 on any of these machines.
        assert!(line.start >= 0x1000, "{text}");
    }
    for purpose in ["text", "constants", "data", "heap"] {
        assert_eq!(all(purpose).len(), 1, "{text}");
    }
    assert!(!all("pool").is_empty() && !all("devices").is_empty(), "{text}");
    // A page below every stack of every core.
    let guards = all("guard page");
    assert_eq!(guards.len(), 2 * n_cores, "{text}");
    assert!(guards.iter().all(|guard| guard.end - guard.start == 0x1000), "{text}");
    for core in 0..n_cores {
        for stack in ["stack", "exception stack"].map(|name| all(&format!("{name} of core {core}"))) {
            assert!(stack.len() == 1 && guards.iter().any(|guard| guard.end == stack[0].start), "{text}");
        }
    }
}

/// Boots, has every core check its own registers, and checks the map.
fn checked(run: Run, n_cores: usize, has_pan: bool) {
    let outcome = run.boot_args("log=info ferrite.selftest=memory-map").command("mem map").finish();
    let outcome = outcome.expect_status(0).expect_error(&format!("memory map self-test: {n_cores} cores"));
    check(&outcome.text(), n_cores, has_pan);
}

#[test]
fn every_cpu_and_layout_of_qemus_machine() {
    for (cpu, has_pan) in [("cortex-a72", false), ("cortex-a76", true), ("neoverse-n1", true), ("max", true)]
    {
        let machine = |memory: &str, n_cores: usize, qemu: &str| {
            let run =
                Run::new().emulated().args(["--cpu", cpu, "--mem", memory, "--smp", &n_cores.to_string()]);
            checked(run.qemu(qemu), n_cores, has_pan);
        };
        machine("128M", 2, "-machine gic-version=2");
        machine("512M", 3, "-machine gic-version=3,virtualization=on");
        machine("3G", 1, "-machine gic-version=3,highmem=off");
    }
}

#[test]
fn a_large_machine_and_one_that_begins_at_el3() {
    let backend = "-object memory-backend-ram,id=ram,size=512G,reserve=off -machine memory-backend=ram";
    checked(Run::new().emulated().args(["--mem", "512G", "--smp", "16"]).qemu(backend), 16, true);
    let image = kernel_files().1;
    let machine = format!("-machine gic-version=3,secure=on -kernel {}", image.display());
    let mut session = Run::new().emulated().args(["--smp", "2"]).qemu(&machine).start();
    session.wait_for("ferrite> ");
    session.ask_until("mem map\r", |map| map.contains(" 0 ranges wrong; WXN on, PAN on"));
    session.send("poweroff\r");
    session.finish().expect_status(0);
}

/// Within a GiB, across a multiple of one, and not page-aligned.
#[test]
fn an_image_loaded_elsewhere() {
    let directory = Directory::new("map-elsewhere");
    let image = self_test_files().1;
    for (address, memory) in [(0x8020_0000, "2G"), (0x7fe0_0000, "2G"), (0x4a00_0744, "256M")] {
        let loader = loader(&directory, 0x4700_0000, &[], 0x4000_0000, address);
        let qemu = format!("-kernel {} {}", loader.display(), raw(&image, address));
        checked(Run::new().emulated().args(["--mem", memory, "--smp", "2"]).qemu(&qemu), 2, true);
    }
}

/// With a device tree, and with ACPI's tables.
#[test]
fn started_by_firmware() {
    for tables in [&[][..], &["--acpi"]] {
        let run = Run::new().emulated().model(&qemu_tests::repository().join("test_models/tiny.gguf"));
        checked(run.args(["--uefi", "--smp", "2"]).args(tables), 2, true);
    }
}
