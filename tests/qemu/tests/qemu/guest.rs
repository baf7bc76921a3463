//! Services between a guest and its hypervisor. QEMU's machine `virt` lacks most of these devices. Memory that the tree does not describe
//! as RAM stands in for their registers, and the test inspects it through QEMU's monitor.

use std::{
    io::{Read, Write},
    os::unix::{
        fs::{FileExt, MetadataExt},
        net::{UnixListener, UnixStream},
    },
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::client::post;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use qemu_tests::{
    Directory, Monitor, Run,
    device_tree::{qemu_tree, set},
    repository,
};

/// Memory that exists but that the tree does not describe.
const SPARE: u32 = 0x5f00_0000;

/// QEMU's tree without the last of its 512 MiB.
fn tree(directory: &Directory) -> DeviceTree {
    let mut tree = qemu_tree(directory, "gic-version=3");
    set(tree.root.child_mut("memory@40000000").unwrap(), "reg", [0, 0x4000_0000, 0, SPARE - 0x4000_0000]);
    set(tree.root.child_mut("chosen").unwrap(), "bootargs", "log=info");
    tree
}

/// Waits until `is_so`.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(300), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The watchdog's time-out is twice 30 s, by a counter of 62.5 MHz. The kernel refreshes it while the shell waits and while it computes.
#[test]
fn the_watchdog_is_fed_while_the_shell_waits_and_computes() {
    let directory = Directory::new("watchdog");
    let mut tree = tree(&directory);
    let mut watchdog = DeviceTreeNode::new("watchdog@5f000000").unwrap();
    set(&mut watchdog, "compatible", "arm,sbsa-gwdt");
    set(&mut watchdog, "reg", [0, SPARE, 0, 0x1000, 0, SPARE + 0x1000, 0, 0x1000]);
    tree.root.add_child(watchdog);
    let monitor = Monitor::new(directory.path());
    let mut session = Run::new()
        .model(&repository().join("test_models/micro.gguf"))
        .device_tree(&directory, &tree, &monitor.words())
        .start();
    session.wait_for("watchdog at 0x5f000000: 60 s");
    session.wait_for("ferrite> ");
    let mut qemu = monitor.connect();
    let (control, refresh) = (u64::from(SPARE), u64::from(SPARE) + 0x1000);
    assert_eq!((qemu.word(control), qemu.word(control + 8)), (1, 30 * 62_500_000));
    let mut last = qemu.word(refresh);
    let mut is_fed = || {
        let now = qemu.word(refresh);
        core::mem::replace(&mut last, now) != now
    };
    wait_until("it is fed while the shell waits", &mut is_fed);
    session.send("llm bench --runs 100000\r");
    session.wait_for("llm bench --runs 100000\r\n");
    is_fed();
    wait_until("it is fed while the shell computes", &mut is_fed);
    session.send("\x03");
    session.wait_for("ferrite> ");
    session.send("poweroff\r");
    session.finish();
}

/// Gives QEMU random numbers by the protocol of EGD (qemu, backends/rng-egd.c): a request has two bytes, the second of which is the number
/// of random bytes wanted. Counts the requests.
fn serve_random_numbers(socket: &std::path::Path) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(socket).unwrap();
    let n_asked = Arc::new(AtomicUsize::new(0));
    let count = n_asked.clone();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut asked = [0; 2];
        while stream.read_exact(&mut asked).is_ok() {
            assert_eq!(asked[0], 2);
            let number = count.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(&vec![number as u8; asked[1].into()]).is_err() {
                return;
            }
        }
    });
    n_asked
}

/// The identifier changes while the shell waits and while the network is up. The next seed is drawn after the change, from numbers that
/// were requested from the host after it.
#[test]
fn a_restored_machine_begins_its_random_numbers_anew() {
    let directory = Directory::new("restored");
    let mut tree = tree(&directory);
    let mut generation = DeviceTreeNode::new("vmgenid").unwrap();
    set(&mut generation, "compatible", "microsoft,vmgenid");
    set(&mut generation, "reg", [0, SPARE + 0x10, 0, 16]);
    tree.root.add_child(generation);
    let ram = directory.path().join("ram");
    let qemu = format!(
        "-object memory-backend-file,id=ram,size=512M,share=on,mem-path={} -machine memory-backend=ram \
         -netdev user,id=net -device virtio-net-device,netdev=net \
         -chardev socket,id=egd,path={} -object rng-egd,id=rng,chardev=egd -device virtio-rng-device,rng=rng",
        ram.display(),
        directory.path().join("egd").display()
    );
    let n_asked = serve_random_numbers(&directory.path().join("egd"));
    let mut session = Run::new()
        .model(&repository().join("test_models/micro.gguf"))
        .device_tree(&directory, &tree, &qemu)
        .start();
    session.wait_for("serve: port 8080");
    let mut n_before = n_asked.load(Ordering::SeqCst);
    assert!(n_before > 0, "the machine asks when it starts");
    let file = std::fs::OpenOptions::new().write(true).open(&ram).unwrap();
    let lines = ["llm infer Hello 2 --temp 1 --seed -1\r", "net\r"];
    for (number, line) in lines.into_iter().enumerate() {
        file.write_all_at(&[number as u8 + 1], u64::from(SPARE - 0x4000_0000) + 0x1f).unwrap();
        session.send(line);
        session.wait_for("the machine was restored from a snapshot: random numbers begin anew");
        let n_now = n_asked.load(Ordering::SeqCst);
        assert!(core::mem::replace(&mut n_before, n_now) < n_now, "the machine asks again");
    }
    session.ask_until("net\r", |answer| answer.contains("address   10.0.2."));
    session.send("poweroff\r");
    session.finish().expect_status(0);
}

/// The host's memory is a file, which keeps only the pages in use.
#[test]
fn a_balloon_gives_the_host_what_is_free_and_no_more() {
    let directory = Directory::new("balloon");
    for device in ["virtio-balloon-device", "virtio-balloon-pci"] {
        let ram = directory.path().join("ram");
        let monitor = Monitor::new(directory.path());
        let qemu = format!(
            "-object memory-backend-file,id=ram,size=256M,share=on,mem-path={} -machine memory-backend=ram \
             -device {device},id=balloon,free-page-reporting=on {}",
            ram.display(),
            monitor.words()
        );
        let mut session = Run::new()
            .args(["--mem", "256M"])
            .model(&repository().join("test_models/tiny.gguf"))
            .qemu(&qemu)
            .boot_args("log=warn")
            .start();
        session.wait_for("ferrite> ");
        session.send("llm load\r");
        session.wait_for("ferrite> ");
        let infer = |session: &mut qemu_tests::Session| {
            session.send("llm infer Hello 8\r");
            session.wait_for("infer Hello 8\r\n");
            let text = session.wait_for("[");
            session.wait_for("ferrite> ");
            text
        };
        let text = infer(&mut session);
        let mut qemu = monitor.connect();
        let mut set = |mib: u64| qemu.command("balloon", &format!("{{\"value\": {}}}", mib << 20));
        set(156);
        session.ask_until("mem\r", |mem| mem.contains("balloon   100.0 MiB of 100.0 MiB given"));
        // More than there is: the model keeps its own.
        set(16);
        let mem = session.ask_until("mem\r", |mem| {
            mem.contains(" of 240.0 MiB given")
                && mem.lines().any(|line| line.starts_with("pool") && line.ends_with(" B"))
        });
        assert!(mem.contains("weights   2.9 MiB"), "{mem}");
        assert_eq!(infer(&mut session), text);
        set(256);
        session.ask_until("mem\r", |mem| mem.contains("balloon   0 B of 0 B given"));
        assert!(qemu.ask("info balloon").contains("actual=256"));
        assert_eq!(infer(&mut session), text);
        qemu.command(
            "qom-set",
            "{\"path\": \"/machine/peripheral/balloon\", \"property\": \"guest-stats-polling-interval\", \"value\": 1}",
        );
        wait_until("statistics are told", || {
            let statistics = qemu.ask("qom-get /machine/peripheral/balloon guest-stats");
            let total = statistics.split_once("stat-total-memory\\\": ").unwrap().1;
            let total: u64 = total.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
            (200 << 20..256 << 20).contains(&total)
        });
        // What the host is told of it takes.
        let used_bytes = || ram.metadata().unwrap().blocks() * 512;
        session.send("llm unload\r");
        session.wait_for("given back");
        let before = used_bytes();
        wait_until("free memory is told", || used_bytes() + (4 << 20) <= before);
        session.ask_until("mem\r", |mem| !mem.contains("told it of 0 B"));
        session.send("llm load\r");
        session.wait_for("ferrite> ");
        assert_eq!(infer(&mut session), text);
        session.send("poweroff\r");
        session.finish().expect_status(0);
        std::fs::remove_file(&ram).unwrap();
        std::fs::remove_file(directory.path().join("qmp")).ok();
    }
}

/// Runs where `vhost-device-vsock` is installed (`cargo install vhost-device-vsock`). The network is off, and the host's clients connect
/// to a socket of that program.
#[test]
fn the_host_is_served_by_vsock() {
    if std::process::Command::new("vhost-device-vsock").arg("--version").output().is_err() {
        eprintln!("not tested: vhost-device-vsock is not installed");
        return;
    }
    let directory = Directory::new("vsock");
    let (socket, host) = (directory.path().join("vhost"), directory.path().join("host"));
    let vm = format!("guest-cid=3,socket={},uds-path={}", socket.display(), host.display());
    let mut device = std::process::Command::new("vhost-device-vsock").args(["--vm", &vm]).spawn().unwrap();
    wait_until("vhost-device-vsock listens", || socket.exists());
    let qemu = format!(
        "-object memory-backend-memfd,id=ram,size=256M,share=on -machine memory-backend=ram \
         -chardev socket,id=vsock,path={} -device vhost-user-vsock-pci,chardev=vsock",
        socket.display()
    );
    let mut session = Run::new()
        .args(["--mem", "256M", "--keep-running"])
        .model(&repository().join("test_models/micro.gguf"))
        .qemu(&qemu)
        .boot_args("log=info ferrite.vsock=1234")
        .start();
    session.wait_for("serve: vsock port 1234, machine 3, virtio-pci");
    session.wait_for("ferrite> ");
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(&host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        stream.write_all(b"CONNECT 1234\n").unwrap();
        let mut accepted = Vec::new();
        while accepted.last() != Some(&b'\n') {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "{accepted:?}");
            accepted.push(byte[0]);
        }
        assert!(accepted.starts_with(b"OK "));
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // The program may reset what is at its end.
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let health = ask("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(health.starts_with("HTTP/1.1 200 OK"), "{health}");
    // A prompt longer than what a connection has room for, and an answer of many pieces.
    let body = format!(
        "{{\"prompt\": \"{}\", \"max_tokens\": 40, \"temperature\": 0, \"stream\": true}}",
        "Once upon a time ".repeat(1000)
    );
    let completion = |body: &str| ask(&post("/v1/completions", body));
    let refused = completion(&body);
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    let answer =
        completion("{\"prompt\": \"Once\", \"max_tokens\": 40, \"temperature\": 0, \"stream\": true}");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("data: [DONE]"), "{answer}");
    session.send("serve\r");
    session.wait_for("on, vsock port 1234, 0 connections");
    session.send("poweroff\r");
    session.finish().expect_status(0);
    let _ = device.kill();
    let _ = device.wait();
}
