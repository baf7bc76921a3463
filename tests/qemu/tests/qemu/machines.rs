//! The same text on every kind of machine.

use crate::common::{COMMAND, expected};
use dtoolkit::model::DeviceTree;
use qemu_tests::{
    Directory, Run,
    device_tree::{TREE_ADDRESS, qemu_tree, set},
    loader::{KERNEL_ADDRESS, enable_ports, loader, raw, with_kernel},
    repository,
};
use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::Duration,
};

/// A machine that generates a text with the default model, and then ends.
fn machine() -> Run {
    model().command(COMMAND)
}

#[test]
fn controllers_cores_and_memory_of_many_kinds() {
    const HUGE: &str = "-machine memory-backend=ram -object memory-backend-ram,id=ram,size=512G,reserve=off";
    const NODES: &str = "-object memory-backend-ram,id=a,size=320M -object memory-backend-ram,id=b,size=192M \
        -numa node,memdev=a,cpus=0 -numa node,memdev=b,cpus=1";
    let kinds: [(&[&str], &str); 7] = [
        (&["--smp", "16"], ""),
        (&["--smp", "8"], "-machine gic-version=2"),
        (&[], "-machine its=off"),
        (&[], "-machine highmem=off"),
        (&["--mem", "512G"], HUGE),
        (&["--mem", "512M", "--smp", "2"], NODES),
        (&["--mem", "64M"], ""),
    ];
    for (arguments, qemu) in kinds {
        let outcome = machine().args(arguments).qemu(qemu).finish().expect_status(0);
        assert_eq!(outcome.text(), expected(), "{arguments:?} {qemu}");
    }
}

/// QEMU's machine without a UART, which generates the text.
fn without_uart(directory: &Directory, change: impl FnOnce(&mut DeviceTree)) -> DeviceTree {
    let command: String = COMMAND.bytes().map(|byte| format!("{byte:02x}")).collect();
    without_uart_but(directory, &format!("ferrite.command={command}"), change)
}

fn without_uart_but(
    directory: &Directory,
    boot_args: &str,
    change: impl FnOnce(&mut DeviceTree),
) -> DeviceTree {
    let mut tree = qemu_tree(directory, "gic-version=3");
    tree.root.remove_child("pl011@9000000");
    let chosen = tree.root.child_mut("chosen").unwrap();
    set(chosen, "bootargs", format!("log=warn ferrite.host=semihosting {boot_args}").as_str());
    chosen.remove_property("stdout-path");
    change(&mut tree);
    tree
}

fn model() -> Run {
    Run::new().emulated().model(&repository().join("test_models/tiny.gguf"))
}

/// With both transports; with an interrupt and, behind a host bridge that maps none, without one.
#[test]
fn a_virtio_console_is_typed_into() {
    let directory = Directory::new("virtio-console-input");
    for (number, device) in ["virtio-serial-device", "virtio-serial-pci"].into_iter().enumerate() {
        let tree = without_uart_but(&directory, "ferrite.columns=0", |tree| {
            tree.root.child_mut("pcie@10000000").unwrap().remove_property("interrupt-map");
        });
        let socket = directory.path().join(number.to_string());
        let console = format!("-chardev socket,id=virtio,path={},server=on,wait=on", socket.display());
        let console = format!("{console} -device {device} -device virtconsole,chardev=virtio");
        let session = model().device_tree(&directory, &tree, &console).start();
        let mut terminal = connect(&socket);
        wait_for(&mut terminal, "ferrite> ");
        // More than a buffer of the device's.
        let line = format!("llm infer \"Hello\" 10 {}", "--temp 0 ".repeat(100));
        terminal.write_all(line.as_bytes()).unwrap();
        terminal.write_all(b"\r").unwrap();
        let text = wait_for(&mut terminal, "tokens/s]");
        assert!(text.contains(expected().trim()), "{device}: {text}");
        terminal.write_all(b"poweroff\r").unwrap();
        session.wait_to_end().expect_status(0);
    }
}

/// The socket, once QEMU has made it.
fn connect(socket: &Path) -> UnixStream {
    for _ in 0..600 {
        if let Ok(stream) = UnixStream::connect(socket) {
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            return stream;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("nobody listens at {}", socket.display());
}

/// Reads up to and including `text`.
fn wait_for(stream: &mut UnixStream, text: &str) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(text.as_bytes()) {
        stream.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("{error} before {text:?}: {}", String::from_utf8_lossy(&read));
        });
        read.push(byte[0]);
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[test]
fn a_virtio_console_is_the_console_where_there_is_no_other() {
    let directory = Directory::new("virtio-console");
    for device in ["virtio-serial-device", "virtio-serial-pci"] {
        let tree = without_uart(&directory, |tree| {
            tree.root.child_mut("pcie@10000000").unwrap().remove_property("interrupt-map");
        });
        let written = directory.path().join(device);
        let console = format!("-chardev file,id=virtio,path={}", written.display());
        let console = format!("{console} -device {device} -device virtconsole,chardev=virtio");
        let outcome = model().device_tree(&directory, &tree, &console).finish().expect_status(0);
        assert!(outcome.stdout.is_empty());
        assert_eq!(fs::read_to_string(written).unwrap(), expected(), "{device}");
    }
}

/// On this machine QEMU has such a device only behind PCI: its registers are ports, which the host bridge maps into memory.
#[test]
fn a_16550_is_a_console() {
    const ECAM: u64 = 0x40_1000_0000;
    const PORTS: u64 = 0x3eff_0000;
    const PORT: u32 = 0x1000;
    const DEVICE: u32 = 0x1e;
    let directory = Directory::new("ns16550");
    let tree = without_uart_but(&directory, "ferrite.columns=0", |tree| {
        let mut uart = dtoolkit::model::DeviceTreeNode::new("serial@3eff1000").unwrap();
        set(&mut uart, "compatible", "ns16550a");
        set(&mut uart, "reg", [0_u32, PORTS as u32 + PORT, 0, 8]);
        set(&mut uart, "clock-frequency", 1_843_200_u32);
        tree.root.add_child(uart);
        set(tree.root.child_mut("chosen").unwrap(), "stdout-path", "/serial@3eff1000");
    });
    let before = enable_ports(ECAM + u64::from(DEVICE << 15), PORT);
    let loader = loader(&directory, 0x47f0_0000, &before, TREE_ADDRESS, KERNEL_ADDRESS);
    let tree = directory.file("tree.dtb", &tree.to_dtb());
    let socket = directory.path().join("socket");
    let qemu = format!(
        "{} {} -chardev socket,id=serial,path={},server=on,wait=on -device pci-serial,chardev=serial,addr={DEVICE:#x}",
        with_kernel(&loader),
        raw(&tree, TREE_ADDRESS),
        socket.display()
    );
    let session = model().args(["--mem", "512M", "--smp", "2"]).qemu(&qemu).start();
    let mut terminal = connect(&socket);
    wait_for(&mut terminal, "ferrite> ");
    terminal.write_all(COMMAND.as_bytes()).unwrap();
    terminal.write_all(b"\r").unwrap();
    let text = wait_for(&mut terminal, "tokens/s]");
    assert!(text.contains(expected().trim()), "{text}");
    terminal.write_all(b"poweroff\r").unwrap();
    session.wait_to_end().expect_status(0);
}

/// The heap alone takes 16 MiB.
#[test]
fn too_little_memory_is_told_in_a_line() {
    for memory in ["8M", "16M", "20M"] {
        let outcome = Run::new().qemu(&format!("-m {memory}")).command("help").finish();
        assert_ne!(outcome.status, 0, "{memory}");
        let said = outcome.text() + &outcome.stderr;
        let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let [line] = lines[..] else { panic!("{memory}: {said}") };
        assert!(line.starts_with("Ferrite cannot boot: no place for the heap in "), "{memory}: {line}");
    }
    Run::new().qemu("-m 24M").command("help").finish().expect_status(0);
}

#[test]
fn without_a_console_the_machine_works_all_the_same() {
    let directory = Directory::new("no-console");
    let tree = without_uart(&directory, |tree| {
        set(tree.root.child_mut("chosen").unwrap(), "stdout-path", "/pl011@9000000");
    });
    let outcome = model().device_tree(&directory, &tree, "").finish().expect_status(0);
    outcome.expect_error("stdout-path is \"/pl011@9000000\", which is no enabled device");
}
