//! `scripts/setup` installs what is missing and says so, or says what to run. The test runs it on a simulated machine: a directory with
//! only the programs that the test allows.

use qemu_tests::{Directory, repository};
use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Output},
};

/// The programs that the script itself uses.
const TOOLS: [&str; 9] = ["bash", "env", "sed", "dirname", "grep", "cat", "chmod", "cp", "mkdir"];

/// The file with UEFI firmware.
const FIRMWARE: &str = "QEMU_EFI.fd";

/// A PATH that consists of one directory.
struct Machine {
    directory: Directory,
}

impl Machine {
    /// A machine with Rust and its targets, a C compiler, QEMU, its firmware, and the programs that test the server.
    fn complete(name: &str) -> Self {
        let machine = Self { directory: Directory::new(name) };
        let path = std::env::var("PATH").unwrap();
        for tool in TOOLS {
            let places = path.split(':').map(|place| PathBuf::from(place).join(tool));
            let place = places.into_iter().find(|place| place.exists());
            symlink(place.unwrap(), machine.path(tool)).unwrap();
        }
        machine.program("id", "echo 0");
        let clients = ["curl", "node", "npm", "python3", "chromium", "haproxy"];
        for program in
            ["cargo", "cc", "c++", "qemu-system-aarch64", "qemu-aarch64"].into_iter().chain(clients)
        {
            machine.program(program, "");
        }
        machine.program(FIRMWARE, "");
        machine.program("rustc", "echo /");
        machine.program("rustup", "case $1 in component) printf 'clippy\\nrustfmt\\n' ;; esac");
        machine
    }

    fn path(&self, program: &str) -> PathBuf {
        self.directory.path().join(program)
    }

    fn program(&self, name: &str, script: &str) {
        self.directory.program(name, script);
    }

    fn without(self, program: &str) -> Self {
        fs::remove_file(self.path(program)).unwrap();
        self
    }

    /// A program that records its arguments and then runs `script`.
    fn with_noting(self, program: &str, script: &str) -> Self {
        let note = self.path("notes").display().to_string();
        self.program(program, &format!("echo \"{program} $*\" >>{note}\n{script}"));
        self
    }

    fn notes(&self) -> String {
        fs::read_to_string(self.path("notes")).unwrap_or_default()
    }

    fn setup(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(repository().join("scripts/setup"));
        let home = self.directory.path();
        command.args(arguments).env("PATH", home).env("HOME", home);
        command.env("FERRITE_FIRMWARE", self.path(FIRMWARE));
        command
    }

    #[track_caller]
    fn expect(&self, arguments: &[&str], status: i32, message: &str) {
        let output = self.setup(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{errors}");
        assert!(errors.contains(message), "no {message:?} in:\n{errors}");
        assert!(output.stdout.is_empty());
    }
}

/// Installs QEMU on the simulated machine.
fn install_qemu(machine: &Machine) -> String {
    let qemu = machine.path("qemu-system-aarch64").display().to_string();
    format!("case $* in *install*) cp {} {qemu} ;; esac", machine.path("id").display())
}

#[test]
fn says_nothing_if_nothing_is_missing() {
    let machine = Machine::complete("complete");
    for arguments in [&["run"][..], &["uefi"], &["disk"], &[]] {
        let output = machine.setup(arguments);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_disk_is_made_without_qemu() {
    let machine =
        Machine::complete("disk").without("qemu-system-aarch64").without("qemu-aarch64").without(FIRMWARE);
    let output = machine.setup(&["disk"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn firmware_is_named_from_where_the_user_is() {
    let machine = Machine::complete("relative-firmware");
    let mut setup = machine.command(&["uefi"]);
    let output =
        setup.env("FERRITE_FIRMWARE", FIRMWARE).current_dir(machine.directory.path()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_browser_and_a_balancer_are_missed_by_nobody() {
    let machine = Machine::complete("no-browser").without("chromium").without("haproxy");
    let output = machine.setup(&[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    // What a step cannot do without is.
    Machine::complete("no-node").without("node").expect(&[], 1, "node; install it and try again");
}

#[test]
fn installs_qemu_with_apt() {
    let machine = Machine::complete("apt").without("qemu-system-aarch64");
    let install = install_qemu(&machine);
    let machine = machine.with_noting("apt-get", &install);
    machine.expect(&["run"], 0, "installing with apt: qemu-system-arm");
    assert!(machine.notes().contains("apt-get update\n"));
    assert!(machine.notes().contains("install -y --no-install-recommends qemu-system-arm\n"));
}

#[test]
fn installs_with_sudo_where_the_user_is_not_root() {
    let machine = Machine::complete("sudo").without("qemu-system-aarch64").with_noting("sudo", "\"$@\"");
    let install = install_qemu(&machine);
    machine.program("id", "echo 1000");
    machine.program("apt-get", &install);
    machine.expect(&["run"], 0, "installing with apt");
    assert!(machine.notes().contains("sudo apt-get install"));
}

/// The firmware is needed only for booting with UEFI.
#[test]
fn installs_firmware_with_apt() {
    let machine = Machine::complete("firmware").without(FIRMWARE);
    let output = machine.setup(&["run"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let firmware = machine.path(FIRMWARE).display().to_string();
    let install = format!("case $* in *install*) cp {} {firmware} ;; esac", machine.path("id").display());
    let machine = machine.with_noting("apt-get", &install);
    machine.expect(&["uefi"], 0, "installing with apt: qemu-efi-aarch64");
    assert!(machine.notes().contains("install -y --no-install-recommends qemu-efi-aarch64\n"));

    let machine = Machine::complete("firmware-dnf").without(FIRMWARE);
    machine.program("dnf", "exit 9");
    machine.expect(&["uefi"], 1, "\n    dnf install edk2-aarch64\n");
}

#[test]
fn installs_qemu_with_brew() {
    let machine = Machine::complete("brew").without("qemu-system-aarch64");
    let install = install_qemu(&machine);
    let machine = machine.with_noting("brew", &install);
    machine.program("id", "echo 501");
    machine.expect(&["run"], 0, "installing with brew: qemu");
    assert_eq!(machine.notes(), "brew install qemu\n");
}

#[test]
fn prints_the_command_where_it_cannot_install() {
    let machine = Machine::complete("dnf").without("qemu-system-aarch64");
    machine.program("dnf", "exit 9");
    machine.expect(&["run"], 1, "\n    dnf install qemu-system-aarch64-core\n");

    let machine = Machine::complete("no-sudo").without("qemu-aarch64");
    machine.program("id", "echo 1000");
    machine.program("apt-get", "exit 9");
    machine.expect(&[], 1, "apt-get install -y qemu-user");

    let machine = Machine::complete("offline").without("cc");
    machine.program("apt-get", "exit 9");
    machine.expect(&["run"], 1, "apt-get install -y --no-install-recommends gcc libc6-dev");

    let machine = Machine::complete("unknown").without("cc");
    machine.expect(&["run"], 1, "cc; install it and try again");
}

#[test]
fn adds_what_rust_lacks() {
    let machine = Machine::complete("target")
        .with_noting("rustup", "case $1 in component) printf 'clippy\\nrustfmt\\n' ;; esac");
    machine.program("rustc", "echo /nowhere");
    machine.expect(&["run"], 0, "adding the Rust target aarch64-unknown-none");
    assert!(machine.notes().contains("rustup target add --toolchain 1."));

    let machine =
        Machine::complete("toolchain").with_noting("rustup", "case $1 in run) exit 1 ;; esac\nexit 0");
    machine.expect(&["run"], 0, "installing Rust 1.");
    assert!(machine.notes().contains("rustup toolchain install 1."));
}

#[test]
fn asks_for_rust() {
    let machine = Machine::complete("no-rust").without("cargo").without("rustup");
    machine.expect(&["run"], 1, "https://sh.rustup.rs");
}
