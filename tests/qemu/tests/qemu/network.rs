//! The network: addresses, answers, and hostile frames.

use qemu_tests::{Directory, Run};
use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(120);
const OURS: [u8; 6] = [0x52, 0x55, 0x0a, 0, 2, 2];
const KERNELS: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

fn user_network(device: &str) -> Run {
    Run::new().args(["--keep-running"]).qemu(&format!("-netdev user,id=n -device {device},netdev=n"))
}

#[test]
fn without_a_card_it_says_so() {
    let outcome = Run::new().command("net").finish().expect_status(0);
    assert!(outcome.text().contains("no network device"), "{}", outcome.text());
}

#[test]
fn a_server_gives_it_an_address() {
    for (device, name) in [
        ("virtio-net-device", "virtio-mmio"),
        ("virtio-net-pci,romfile=", "virtio-pci"),
        ("pcie-root-port,id=bridge -device virtio-net-pci,bus=bridge,romfile=", "virtio-pci"),
    ] {
        let mut session = user_network(device).start();
        session.wait_for("ferrite> ");
        // The log tells of the address as well.
        let shown =
            session.ask_until("net\r", |shown| shown.contains("link up") && shown.contains("10.0.2.15/24"));
        assert!(shown.contains(name), "{device}: {shown}");
        assert!(!shown.contains("without an interrupt"), "{device}: {shown}");
        // QEMU's router tells of a prefix as well.
        let shown = session.ask_until("net\r", |shown| shown.contains("link up") && shown.contains("fec0::"));
        assert!(shown.contains("10.0.2.2\r\n") && shown.contains(" 0 refused"), "{device}: {shown}");
        session.send("poweroff\r");
        session.finish().expect_status(0);
    }
}

/// The other end of the kernel's cable.
struct Cable {
    socket: UnixDatagram,
    kernel: std::path::PathBuf,
}

impl Cable {
    fn new(directory: &Path) -> Self {
        let socket = UnixDatagram::bind(directory.join("peer")).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a limit");
        Self { socket, kernel: directory.join("kernel") }
    }

    fn words(&self) -> String {
        format!(
            "-netdev dgram,id=n,local.type=unix,local.path={},remote.type=unix,remote.path={} \
             -device virtio-net-device,netdev=n,mac=52:54:00:12:34:56",
            self.kernel.display(),
            self.kernel.with_file_name("peer").display()
        )
    }

    /// Sends a frame until `is_answer` accepts an answer, and returns that answer.
    fn ask(&self, frame: &[u8], is_answer: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let start = Instant::now();
        let mut buffer = [0; 2048];
        while start.elapsed() < LIMIT {
            let _ = self.socket.send_to(frame, &self.kernel);
            while let Ok(length) = self.socket.recv(&mut buffer) {
                if is_answer(&buffer[..length]) {
                    return buffer[..length].to_vec();
                }
            }
        }
        panic!("no answer");
    }

    /// Sends a frame and reads whatever is answered: a peer that does not read answers is not served after a while.
    fn throw(&self, frame: &[u8]) {
        let start = Instant::now();
        self.socket.set_nonblocking(true).expect("a socket does not wait");
        while self.socket.send_to(frame, &self.kernel).is_err() {
            assert!(start.elapsed() < LIMIT, "nobody takes the frame");
            let mut buffer = [0; 2048];
            while self.socket.recv(&mut buffer).is_ok() {}
            std::thread::sleep(Duration::from_millis(1));
        }
        self.socket.set_nonblocking(false).expect("a socket waits");
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn echo_request() -> Vec<u8> {
    let mut echo = [&[8, 0, 0, 0, 0x12, 0x34, 0, 1][..], b"are you there?"].concat();
    let sum = checksum(&echo);
    echo[2..4].copy_from_slice(&sum);
    let length = 20 + echo.len() as u8;
    let mut header = vec![0x45, 0, 0, length, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15];
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    [&KERNELS[..], &OURS, &[8, 0], &header, &echo].concat()
}

fn arp_request() -> Vec<u8> {
    let question = [0, 1, 8, 0, 6, 4, 0, 1];
    let addresses = [10, 0, 2, 2, 0, 0, 0, 0, 0, 0, 10, 0, 2, 15];
    [&[0xff; 6][..], &OURS, &[8, 6], &question, &OURS, &addresses].concat()
}

/// A router that claims to know the way to multicast addresses.
fn bad_advertisement() -> Vec<u8> {
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let all = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut icmp = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend([3, 4, 64, 0xc0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, 0, 0]);
    icmp.extend([0; 8]);
    let length = icmp.len() as u8;
    let sum = checksum(&[&source[..], &all, &[0, 0, 0, length, 0, 0, 0, 58], &icmp].concat());
    icmp[2..4].copy_from_slice(&sum);
    let header = [0x60, 0, 0, 0, 0, length, 58, 255];
    [&[0x33, 0x33, 0, 0, 0, 1][..], &OURS, &[0x86, 0xdd], &header, &source, &all, &icmp].concat()
}

#[test]
fn it_answers_to_ping_whatever_else_comes() {
    let directory = Directory::new("cable");
    let cable = Cable::new(directory.path());
    let run = Run::new().args(["--keep-running"]).qemu(&cable.words());
    let mut session = run.boot_args("ferrite.ip=10.0.2.15/24,gateway=10.0.2.2").start();
    session.wait_for("ferrite> ");
    let is_arp_reply = |frame: &[u8]| frame[12..14] == [8, 6] && frame[21] == 2;
    assert_eq!(cable.ask(&arp_request(), is_arp_reply)[6..12], KERNELS);
    let is_echo_reply = |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 1 && frame[34] == 0;
    assert!(cable.ask(&echo_request(), is_echo_reply).ends_with(b"are you there?"));

    // Frames of every length, of which little makes sense.
    let seeds = [arp_request(), echo_request(), bad_advertisement()];
    let mut state = 1_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize
    };
    for round in 0..3000 {
        let mut frame = seeds[round % seeds.len()].clone();
        if round >= seeds.len() {
            for _ in 0..next() % 8 {
                let place = next() % frame.len();
                frame[place] = next() as u8;
            }
            frame.resize(1 + next() % 1600, 0xa5);
        }
        cable.throw(&frame);
    }
    assert!(cable.ask(&echo_request(), is_echo_reply).ends_with(b"are you there?"));
    let shown = session.ask_until("net\r", |shown| shown.contains("address   10.0.2.15/24"));
    assert!(!shown.contains(" 0 refused"), "{shown}");
    session.send("poweroff\r");
    session.finish().expect_status(0);
}

#[test]
fn a_machine_without_random_numbers_is_told_of() {
    const WARNING: &str = "the machine has no random numbers";
    for (device, is_told) in
        [("virtio-net-device", true), ("virtio-rng-device -device virtio-net-device", false)]
    {
        let qemu = format!("-machine dtb-randomness=off -netdev user,id=n -device {device},netdev=n");
        let run = Run::new().emulated().args(["--cpu", "cortex-a72"]).qemu(&qemu).command("net");
        let outcome = run.finish().expect_status(0);
        assert_eq!(outcome.stderr.contains(WARNING), is_told, "{device}: {}", outcome.stderr);
    }
}
