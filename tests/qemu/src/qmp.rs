//! QEMU's machine protocol (QMP), through which a test acts on a machine from outside while it runs.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::LIMIT;

/// A monitor that QEMU opens.
#[derive(Debug)]
pub struct Monitor {
    socket: PathBuf,
}

impl Monitor {
    /// A monitor whose socket will be in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self { socket: directory.join("qmp") }
    }

    /// Arguments for QEMU.
    pub fn words(&self) -> String {
        format!("-qmp unix:{},server=on,wait=off", self.socket.display())
    }

    /// Connects to the monitor of a machine that has started.
    ///
    /// # Panics
    /// If it does not open.
    pub fn connect(&self) -> Connection {
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(start.elapsed() < LIMIT, "QEMU's monitor: {error}"),
            }
            thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let lines = BufReader::new(stream.try_clone().expect("another handle"));
        let mut connection = Connection { stream, lines };
        connection.command("qmp_capabilities", "{}");
        connection
    }
}

/// A connection to a monitor.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Connection {
    /// Runs a command; `arguments` is a JSON object.
    ///
    /// # Panics
    /// If QEMU refuses it.
    pub fn command(&mut self, name: &str, arguments: &str) {
        writeln!(self.stream, "{{\"execute\": \"{name}\", \"arguments\": {arguments}}}")
            .expect("QEMU listens");
        let answer = self.line_with(&["\"return\"", "\"error\""]);
        assert!(answer.contains("\"return\""), "{name}: {answer}");
    }

    /// The output of QEMU's human monitor for a command; line ends are written as `\\r\\n`.
    ///
    /// # Panics
    /// If QEMU has ended.
    pub fn ask(&mut self, line: &str) -> String {
        let arguments = format!("{{\"command-line\": \"{line}\"}}");
        writeln!(self.stream, "{{\"execute\": \"human-monitor-command\", \"arguments\": {arguments}}}")
            .expect("QEMU listens");
        self.line_with(&["\"return\"", "\"error\""])
    }

    /// The 32-bit word at a physical address.
    ///
    /// # Panics
    /// If QEMU does not return it.
    pub fn word(&mut self, address: u64) -> u32 {
        let answer = self.ask(&format!("xp /1wx {address:#x}"));
        let word = answer.split_once(": 0x").and_then(|(_, word)| word.get(..8));
        let word = word.and_then(|word| u32::from_str_radix(word, 16).ok());
        word.unwrap_or_else(|| panic!("no word at {address:#x}: {answer}"))
    }

    /// Waits until the device with this id is gone; events about parts of it do not count.
    ///
    /// # Panics
    /// If it does not disappear.
    pub fn wait_until_deleted(&mut self, id: &str) {
        let of_device = format!("\"device\": \"{id}\"");
        while !self.line_with(&["\"event\": \"DEVICE_DELETED\""]).contains(&of_device) {}
    }

    /// The next line that contains one of `texts`.
    fn line_with(&mut self, texts: &[&str]) -> String {
        loop {
            let mut line = String::new();
            let length =
                self.lines.read_line(&mut line).unwrap_or_else(|error| panic!("no {texts:?}: {error}"));
            assert!(length > 0, "QEMU has ended without {texts:?}");
            if texts.iter().any(|text| line.contains(text)) {
                return line;
            }
        }
    }
}
