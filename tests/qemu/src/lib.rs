//! Runs the kernel in QEMU through `scripts/run`, as a user would.
//!
//! [`Run`] describes a run. [`Run::finish`] waits for the machine to end and returns its [`Outcome`]; [`Run::start`] returns a [`Session`]
//! to type into. A run that takes longer than five minutes is killed and fails the test. No test may fail because the host is slow or
//! schedules one program later than another.

pub mod device_tree;
pub mod loader;

mod nbd;
mod qmp;

pub use nbd::NbdServer;
pub use qmp::Monitor;

use std::{
    ffi::{OsStr, OsString},
    io::{Read, Write},
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The time limit of every wait: far more than any test needs on any host.
const LIMIT: Duration = Duration::from_secs(300);

/// The shell's prompt.
const PROMPT: &str = "ferrite> ";

/// The root of the repository.
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.join("../..").canonicalize().expect("the repository")
}

/// Builds the kernel once, so that the build takes none of a test's time and no test reads a file that is being written. Returns the ELF
/// file and the Image.
pub fn kernel_files() -> (PathBuf, PathBuf) {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    let image = IMAGE.get_or_init(|| build_image(&mut Command::new(repository().join("scripts/image"))));
    (image.with_extension(""), image.clone())
}

/// The same files of the kernel that can make deliberate faults: it has the boot argument `ferrite.selftest`.
pub fn self_test_files() -> (PathBuf, PathBuf) {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        build_image(Command::new(repository().join("scripts/image")).env("FERRITE_SELFTEST", "yes"))
    });
    (image.with_extension(""), image.clone())
}

fn build_image(script: &mut Command) -> PathBuf {
    let output = script.output().expect("scripts/image starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    repository().join(String::from_utf8_lossy(&output.stdout).trim())
}

/// Cargo's target folder.
pub fn target_directory() -> PathBuf {
    repository().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into()))
}

/// Builds the host program once, for the same reasons, for tests and runs of `scripts/run` that need it. Returns its file.
pub fn build_host_program() -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = Command::new("cargo");
        let status = cargo.args(["build", "--bin", "llm"]).current_dir(repository()).status();
        assert!(status.expect("cargo starts").success());
    });
    target_directory().join("debug/llm")
}

/// A machine to boot.
#[derive(Debug)]
pub struct Run {
    arguments: Vec<OsString>,
    shell_line: Option<OsString>,
    environment: Vec<(String, OsString)>,
    directory: Option<PathBuf>,
    /// Whether to boot the kernel that can make deliberate faults; by default, if the boot arguments request a fault.
    has_self_tests: Option<bool>,
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// A machine without a model and without anything special.
    pub fn new() -> Self {
        Self {
            arguments: vec!["--no-model".into()],
            shell_line: None,
            environment: Vec::new(),
            directory: None,
            has_self_tests: None,
        }
    }

    /// Adds arguments of `scripts/run`.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments.extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Has QEMU emulate the CPU even if the host could run the code itself. Only an emulator offers CPUs other than the host's and counts
    /// instructions.
    pub fn emulated(self) -> Self {
        self.args(["--accel", "tcg"])
    }

    /// Attaches a model.
    pub fn model(self, file: &Path) -> Self {
        self.args([OsStr::new("--model"), file.as_os_str()])
    }

    /// Runs this single shell line instead of the interactive shell.
    pub fn command(mut self, line: impl AsRef<OsStr>) -> Self {
        self.shell_line = Some(line.as_ref().to_owned());
        self
    }

    /// Adds arguments to the kernel's command line.
    pub fn boot_args(self, words: &str) -> Self {
        self.env("FERRITE_BOOTARGS", words)
    }

    /// Adds arguments to QEMU's command line.
    pub fn qemu(self, words: &str) -> Self {
        self.env("QEMU_EXTRA", words)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Calls `scripts/run` from this directory.
    pub fn in_directory(mut self, path: &Path) -> Self {
        self.directory = Some(path.to_owned());
        self
    }

    /// Boots the released kernel, whatever the boot arguments request.
    pub fn released(self) -> Self {
        Self { has_self_tests: Some(false), ..self }
    }

    /// Boots the kernel that can make deliberate faults, even if the boot arguments request none.
    pub fn with_self_tests(self) -> Self {
        Self { has_self_tests: Some(true), ..self }
    }

    /// Starts the machine. Its kernel is the one that can make deliberate faults if the boot arguments request one.
    pub fn start(self) -> Session {
        let mut command = Command::new(repository().join("scripts/run"));
        let is_self_test = |word: &[u8]| word.starts_with(b"ferrite.selftest=");
        let mut values = self.environment.iter().map(|(_, value)| value.as_encoded_bytes());
        let asks_for_one = values.any(|value| value.split(|&byte| byte == b' ').any(is_self_test));
        let (kernel, _) = match self.has_self_tests.unwrap_or(asks_for_one) {
            true => self_test_files(),
            false => kernel_files(),
        };
        command
            .args(&self.arguments)
            .env("FERRITE_KERNEL", kernel)
            .env_remove("QEMU_EXTRA")
            .env_remove("FERRITE_BOOTARGS")
            .envs(self.environment);
        if let Some(line) = &self.shell_line {
            command.arg("--").arg(line);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        Session::of(command)
    }

    /// Runs the machine until it ends by itself.
    ///
    /// # Panics
    /// If it does not end within the time limit.
    pub fn finish(self) -> Outcome {
        self.start().finish()
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status of `scripts/run`.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// # Panics
    /// If the exit status is not `status`; shows both outputs.
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Self {
        assert_eq!(
            self.status,
            status,
            "exit status\n--- stdout\n{}\n--- stderr\n{}",
            end_of(&self.stdout),
            end_of(self.stderr.as_bytes())
        );
        self
    }

    /// # Panics
    /// If standard error does not contain `text`.
    #[track_caller]
    pub fn expect_error(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "standard error has no {text:?}:\n{}", self.stderr);
        self
    }
}

/// The last part of an output, as much of it as helps a reader of a failed test.
fn end_of(output: &[u8]) -> String {
    const SHOWN_BYTES: usize = 3000;
    let start = output.len().saturating_sub(SHOWN_BYTES);
    String::from_utf8_lossy(&output[start..]).into_owned()
}

/// A running machine.
#[derive(Debug)]
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collector,
    stderr: Collector,
    /// The number of bytes of standard output that earlier waits have consumed.
    read_so_far: usize,
    deadline: Instant,
}

impl Session {
    /// Starts QEMU with these arguments, for a machine that differs from that of `scripts/run`.
    pub fn of_qemu<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new("qemu-system-aarch64");
        command.args(words);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that QEMU can be killed together with the script.
            .process_group(0);
        let mut child = command.spawn().expect("QEMU or its script starts");
        let stdin = child.stdin.take();
        let stdout = Collector::of(child.stdout.take().expect("a pipe"));
        let stderr = Collector::of(child.stderr.take().expect("a pipe"));
        Self { child, stdin, stdout, stderr, read_so_far: 0, deadline: Instant::now() + LIMIT }
    }

    /// Restarts the time limit, for tests that do one thing after another on the same machine.
    pub fn allow_more_time(&mut self) {
        self.deadline = Instant::now() + LIMIT;
    }

    /// Types `bytes`.
    ///
    /// # Panics
    /// If the machine has ended.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(bytes.as_ref()).expect("QEMU reads");
        stdin.flush().expect("QEMU reads");
    }

    /// Waits until `text` appears in the output after the part that the last wait returned. Returns the output up to and including `text`.
    ///
    /// # Panics
    /// If it does not appear within the time limit, or the machine ends without it.
    pub fn wait_for(&mut self, text: impl AsRef<[u8]>) -> Vec<u8> {
        let text = text.as_ref();
        let start = self.read_so_far;
        let found = self.stdout.wait(self.deadline, |output| {
            let new = &output[start..];
            let place = new.windows(text.len()).position(|window| window == text)?;
            Some(new[..place + text.len()].to_vec())
        });
        let Some(output) = found else {
            self.kill();
            panic!(
                "no {:?} in the output\n--- stdout\n{}\n--- stderr\n{}",
                String::from_utf8_lossy(text),
                end_of(&self.stdout.bytes()[start..]),
                end_of(&self.stderr.bytes()),
            );
        };
        self.read_so_far += output.len();
        output
    }

    /// Types the same line again and again at the shell's prompt until `is_wanted` accepts the answer, and returns that answer. For
    /// conditions that become true some time after the boot.
    ///
    /// # Panics
    /// If no answer is accepted within the time limit.
    pub fn ask_until(&mut self, line: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        loop {
            self.send(line);
            let answer = String::from_utf8_lossy(&self.wait_for(PROMPT)).into_owned();
            if is_wanted(&answer) {
                return answer;
            }
        }
    }

    /// Ends the input and waits for the machine to end by itself.
    ///
    /// # Panics
    /// If it does not within the time limit.
    pub fn finish(mut self) -> Outcome {
        self.stdin = None;
        self.wait_to_end()
    }

    /// Waits for the machine to end by itself; its input stays open.
    ///
    /// # Panics
    /// If it does not within the time limit.
    pub fn wait_to_end(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                break status;
            }
            if Instant::now() >= self.deadline {
                self.kill();
                panic!(
                    "the machine did not end in time\n--- stdout\n{}\n--- stderr\n{}",
                    end_of(&self.stdout.bytes()),
                    end_of(&self.stderr.bytes()),
                );
            }
            thread::sleep(Duration::from_millis(5));
        };
        Outcome {
            status: status.code().unwrap_or(-1),
            stdout: self.stdout.to_end(self.deadline),
            stderr: String::from_utf8_lossy(&self.stderr.to_end(self.deadline)).into_owned(),
        }
    }

    /// Ends the machine immediately.
    pub fn kill(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

/// Reads a pipe to its end in a thread of its own.
#[derive(Debug, Clone)]
struct Collector(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    is_complete: bool,
}

impl Collector {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let collector = Self(Arc::default());
        let of_thread = collector.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let length = pipe.read(&mut buffer).unwrap_or(0);
                let (collected, changed) = &*of_thread.0;
                let mut collected = collected.lock().expect("no holder panics");
                collected.bytes.extend(&buffer[..length]);
                collected.is_complete = length == 0;
                changed.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        collector
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.0.lock().expect("no holder panics").bytes.clone()
    }

    /// The whole output, once the pipe is closed; the output so far if that takes too long.
    fn to_end(&self, deadline: Instant) -> Vec<u8> {
        self.wait(deadline, |_| None::<()>);
        self.bytes()
    }

    /// Waits until `find` finds something, the pipe is closed or the deadline has passed.
    fn wait<T>(&self, deadline: Instant, find: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let (collected, changed) = &*self.0;
        let mut collected = collected.lock().expect("no holder panics");
        loop {
            let found = find(&collected.bytes);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_some() || collected.is_complete || left.is_zero() {
                return found;
            }
            let woken = changed.wait_timeout(collected, left);
            collected = woken.expect("no holder panics").0;
        }
    }
}

/// A directory for the files of one test. It is empty at first and removed at the end.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// A directory whose name contains `name`; several may have the same one.
    pub fn new(name: &str) -> Self {
        static N_MADE: AtomicUsize = AtomicUsize::new(0);
        let number = N_MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ferrite-{}-{number}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).expect("the temporary directory is writable");
        path
    }

    /// A program that runs `script`, in the language of bash, in place of the program with this name.
    ///
    /// No program file is written: a file that any process has open for writing cannot be executed, and a process that another test starts
    /// at this moment has it open until it has executed its own program.
    pub fn program(&self, name: &str, script: &str) -> PathBuf {
        self.file(format!("{name}.script"), script.as_bytes());
        let program = self.0.join(name);
        let _ = std::fs::remove_file(&program);
        let stand_in = repository().join("tests/qemu/stand-in");
        symlink(stand_in, &program).expect("the temporary directory is writable");
        program
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
