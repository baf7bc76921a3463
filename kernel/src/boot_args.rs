//! The kernel's command line, `/chosen/bootargs` of the device tree.
//!
//! The line consists of words separated by spaces. Words that begin with neither `log=` nor `ferrite.` are meant for others and
//! skipped, except for `NO_COLOR`. If an argument is given several times, the last one counts. Exceptions: there is one `ferrite.model` for each disk,
//! and all values of `ferrite.verity_key` and `ferrite.verity_root` count.
//!
//! | argument | meaning |
//! |---|---|
//! | `log=off\|error\|warn\|info\|debug\|trace` | log level; default `info` |
//! | `NO_COLOR=1` | show no colours at a terminal, as programs do by this environment variable (no-color.org); any value but an empty one |
//! | `ferrite.admin=on\|off` | whether requests over the network may load and unload models; default `off` |
//! | `ferrite.api_key=KEY` | the key that requests over the network must present; it can be passed through `fw_cfg` instead |
//! | `ferrite.columns=N` | width of the terminal on the console; 0: there is no terminal, so do not ask it for its width |
//! | `ferrite.command=HEX` | run this shell line, its bytes in hexadecimal, then power off |
//! | `ferrite.encrypted=allow\|require` | whether requests over the network may carry texts in plain bodies; default `allow` (`docs/trust.md`) |
//! | `ferrite.host=none\|semihosting\|pvpanic` | how to report the exit status to the host |
//! | `ferrite.input-end=TEXT` | the console's input ends at the byte 0x19 followed by TEXT: see [`crate::piped_console`] |
//! | `ferrite.ip=dhcp\|ADDRESS/LENGTH[,gateway=ADDRESS]` | where the IPv4 address comes from; default `dhcp` |
//! | `ferrite.kernels=NAME` | multiply with this set of inner loops instead of the fastest in a trial; with `+fp16`, attention over f16 caches is computed in half precision |
//! | `ferrite.model=SERIAL:BYTES[:SHA256]` | exact length (and digest) of the file on the disk with this serial |
//! | `ferrite.serve=PORT\|off` | serve models over the network on this port, or not at all; default 8080 |
//! | `ferrite.vsock=PORT\|off` | also serve models to the host on this port of a vsock device; default `off` |
//! | `ferrite.verity=off\|report\|require` | whether models are checked as they are read, and what happens to models without a trusted signature or root (`docs/trust.md`); default `require` if a key or a root is given or this kernel was built with a key, else `off` |
//! | `ferrite.verity_key=KEY` | a public key of minisign's whose owner may sign manifests; may be given several times |
//! | `ferrite.verity_root=NAME:ROOT` | the trusted root of the hash tree of the model `NAME`; may be given several times |
//! | `ferrite.selftest=NAME` | run this check or raise this fault first; only in kernels built for tests: see `SelfTest` |

use crate::{
    net::Addressing,
    storage::{FileFacts, Mode, TrustSettings},
    system::{RunMode, ServeSettings},
};
use ::serve::Keys;
use alloc::{string::String, vec::Vec};
use log::LevelFilter;
use trust::{Root, manifest::MAX_NAME_BYTES, minisign::PublicKey};

/// How to reach the host that runs this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// Only through PSCI: powering off always counts as success.
    None,
    /// Arm semihosting: reports exit statuses, and sends the log to standard error in command mode.
    Semihosting,
    /// A pvpanic device: a failure is reported as a panic, which the hypervisor turns into an exit status.
    Pvpanic,
}

/// A check to run, or a fault to raise, between boot and shell.
#[cfg(any(test, feature = "selftest"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfTest {
    /// Read from an unmapped address.
    Fault,
    /// Panic.
    Panic,
    /// Overflow the main stack into its guard page.
    Stack,
    /// Panic on a core other than the boot core.
    SecondaryPanic,
    /// Read from an unmapped address on a core other than the boot core.
    SecondaryFault,
    /// Overflow the main stack of a core other than the boot core.
    SecondaryStack,
    /// Stop a core other than the boot core in the middle of its work.
    SecondaryStop,
    /// Let all cores work together many times, starting both awake and asleep.
    Cores,
    /// Request more from the heap than it has.
    HeapExhaustion,
    /// Write to the kernel's code.
    WriteText,
    /// Jump into data.
    ExecuteData,
    /// Compare the live translation tables with the intended map, and check that every core has all its protections on.
    MemoryMap,
    /// Check that vector registers survive interrupts whose handler overwrites them.
    Simd,
    /// Compare the CPU's SHA-256 instructions with the portable code.
    Sha256,
    /// Compare the kernel's `memcpy` and `memset` with loops over bytes.
    MemoryFunctions,
    /// Count more instructions than fit into 32 bits.
    Instructions,
    /// Ignore the input for a second, then echo it.
    Echo,
    /// Read every disk and log checksums.
    Disks,
}

/// The boot arguments, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootArgs {
    /// Log level.
    pub log_level: LevelFilter,
    /// Interactive shell or one command.
    pub run_mode: RunMode,
    /// Width of the terminal on the console, 0 if there is none; `None` if not given.
    pub columns: Option<usize>,
    /// Whether no colours are wanted.
    pub no_colour: bool,
    /// How to reach the host.
    pub host: Host,
    /// The text that, after the byte 0x19, marks the end of the console's input; `None` if the input has no end.
    pub input_end: Option<String>,
    /// How models are served over the network.
    pub serve: ServeSettings,
    /// Where the network's IPv4 address comes from.
    pub addressing: Addressing,
    /// The set of inner loops to multiply with; `None` for the fastest.
    pub kernels: Option<String>,
    /// Facts about the files that the disks hold, by disk serial, in the order given.
    pub files: Vec<(String, FileFacts)>,
    /// Which signers and roots are trusted, for files to be checked against.
    pub trust: TrustSettings,
    /// The check to run before the shell starts, if any.
    #[cfg(any(test, feature = "selftest"))]
    pub self_test: Option<SelfTest>,
    /// The first of our arguments that is invalid. The others are kept, since they say how to report it.
    pub error: Option<BootArgError>,
    /// Other programs' arguments that are not text: the first sixteen.
    pub refused: Vec<BootArgError>,
}

impl Default for BootArgs {
    fn default() -> Self {
        Self {
            log_level: LevelFilter::Info,
            run_mode: RunMode::Interactive,
            columns: None,
            no_colour: false,
            host: Host::None,
            input_end: None,
            serve: ServeSettings { port: Some(DEFAULT_PORT), ..ServeSettings::default() },
            addressing: Addressing::Dhcp,
            kernels: None,
            files: Vec::new(),
            trust: built_in_trust(BUILT_IN_KEY),
            #[cfg(any(test, feature = "selftest"))]
            self_test: None,
            error: None,
            refused: Vec::new(),
        }
    }
}

/// The public key of minisign's that the kernel was built with.
const BUILT_IN_KEY: Option<&str> = option_env!("FERRITE_VERITY_KEY");

/// Trust settings if the boot arguments give none: with a built-in key, only models that it vouches for are used.
fn built_in_trust(key: Option<&str>) -> TrustSettings {
    let mut trust = TrustSettings::default();
    if let Some(key) = key {
        // An invalid key cannot verify any signature.
        (trust.mode, trust.keys) = (Mode::Require, PublicKey::parse(key).into_iter().collect());
    }
    trust
}

/// The port on which models are served by default.
const DEFAULT_PORT: u16 = 8080;

/// Longer boot arguments are not read. The boot protocol allows no larger device tree.
const MAX_BYTES: usize = 2 << 20;

/// Beyond this many refused words, further ones are refused without a log line.
const MAX_REFUSED: usize = 16;

/// An invalid boot argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("boot argument {argument:?}: expected {expected}")]
pub struct BootArgError {
    /// Made printable, and cut to the length of a line.
    argument: String,
    expected: &'static str,
}

impl BootArgError {
    fn new(argument: &[u8], expected: &'static str) -> Self {
        const SHOWN_BYTES: usize = 80;
        // The rest of the argument is secret.
        const KEY: &[u8] = b"ferrite.api_key=";
        let key = argument.windows(KEY.len()).position(|bytes| bytes == KEY);
        let argument = key.map_or(argument, |start| &argument[..start + KEY.len()]);
        let (shown, end) = match argument.get(..SHOWN_BYTES) {
            Some(start) if argument.len() > SHOWN_BYTES => (start, "..."),
            _ => (argument, ""),
        };
        Self { argument: String::from_utf8_lossy(shown).into_owned() + end, expected }
    }
}

impl BootArgs {
    /// The host, and whether one command is to be run. This allocates nothing, so it works for a boot that fails before there is
    /// a heap. Invalid arguments are ignored.
    pub fn host_and_mode(line: &[u8]) -> (Host, bool) {
        let mut host = Host::None;
        let mut is_command = false;
        for word in words(line).filter_map(|word| str::from_utf8(word).ok()) {
            match word.split_once('=') {
                Some(("ferrite.host", name)) => host = parse_host(name).unwrap_or(host),
                Some(("ferrite.command", _)) => is_command = true,
                _ => {}
            }
        }
        (host, is_command)
    }

    /// Parses the command line.
    pub fn parse(line: &[u8]) -> Self {
        let mut args = Self::default();
        // An argument that names a key or a root also means that every file must be vouched for, unless `ferrite.verity` says otherwise.
        if words(line).any(|word| word.starts_with(b"ferrite.verity_")) {
            args.trust.mode = Mode::Require;
        }
        if line.len() > MAX_BYTES {
            args.error = Some(BootArgError::new(line, "at most 2 MiB of boot arguments"));
        }
        for word in words(line) {
            let is_ours = word.starts_with(b"log=") || word.starts_with(b"ferrite.");
            let Ok(text) = str::from_utf8(word) else {
                let error = BootArgError::new(word, "text in UTF-8");
                match is_ours {
                    true => args.error = args.error.or(Some(error)),
                    false if args.refused.len() < MAX_REFUSED => args.refused.push(error),
                    false => {}
                }
                continue;
            };
            let set = match text.split_once('=') {
                Some(("NO_COLOR", value)) => {
                    args.no_colour = !value.is_empty();
                    Ok(())
                }
                _ if !is_ours => Ok(()),
                Some((key, value)) => args.set(key, value),
                None => Err("a value, as in ferrite.NAME=VALUE"),
            };
            if let Err(expected) = set {
                args.error.get_or_insert_with(|| BootArgError::new(word, expected));
            }
        }
        args
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        match key {
            "log" => {
                self.log_level = value.parse().map_err(|_| "log=off, error, warn, info, debug or trace")?;
            }
            "ferrite.admin" => {
                self.serve.admin = match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err("on or off"),
                };
            }
            "ferrite.api_key" if value.is_empty() => return Err("a key"),
            "ferrite.api_key" => self.serve.keys = Keys::one(value),
            "ferrite.columns" => {
                self.columns = Some(value.parse().map_err(|_| "a number of columns")?);
            }
            "ferrite.command" => {
                let line = parse_hex(value).ok_or("an even number of hexadecimal digits")?;
                self.run_mode = RunMode::Command(line);
            }
            "ferrite.encrypted" => {
                self.serve.sealed_only = match value {
                    "allow" => false,
                    "require" => true,
                    _ => return Err("allow or require"),
                };
            }
            "ferrite.host" => {
                self.host = parse_host(value).ok_or("none, semihosting or pvpanic")?;
            }
            "ferrite.input-end" if value.is_empty() || value.contains(char::is_control) => {
                return Err("a text without control characters");
            }
            "ferrite.input-end" => self.input_end = Some(String::from(value)),
            "ferrite.ip" => self.addressing = value.parse().map_err(|_| Addressing::EXPECTED)?,
            "ferrite.kernels" => self.kernels = Some(String::from(value)),
            "ferrite.model" => {
                let file = parse_file(value).ok_or("SERIAL:BYTES or SERIAL:BYTES:SHA256")?;
                self.files.retain(|(serial, _)| *serial != file.0);
                self.files.push(file);
            }
            "ferrite.serve" => {
                let port = || value.parse().ok().filter(|&port: &u16| port > 0);
                self.serve.port = match value {
                    "off" => None,
                    _ => Some(port().ok_or("off or a port, 1 to 65535")?),
                };
            }
            "ferrite.verity" => {
                self.trust.mode = match value {
                    "off" => Mode::Off,
                    "report" => Mode::Report,
                    "require" => Mode::Require,
                    _ => return Err("off, report or require"),
                };
            }
            "ferrite.verity_key" => {
                let key = PublicKey::parse(value).ok_or("a public key of minisign's, 56 characters")?;
                self.trust.keys.push(key);
            }
            "ferrite.verity_root" => {
                let root = value.rsplit_once(':').and_then(|(name, root)| Some((name, Root::parse(root)?)));
                let root = root.filter(|(name, _)| name.len() <= MAX_NAME_BYTES);
                let expected = "NAME:ROOT, a name of at most 255 bytes and a root of 64 hexadecimal digits";
                let (name, root) = root.ok_or(expected)?;
                self.trust.roots.push((name.into(), root));
            }
            "ferrite.vsock" => {
                let port = || value.parse().ok().filter(|&port: &u32| port < u32::MAX);
                self.serve.vsock_port = match value {
                    "off" => None,
                    _ => Some(port().ok_or("off or a port, 0 to 4294967294")?),
                };
            }
            #[cfg(any(test, feature = "selftest"))]
            "ferrite.selftest" => {
                self.self_test = Some(match value {
                    "fault" => SelfTest::Fault,
                    "panic" => SelfTest::Panic,
                    "stack" => SelfTest::Stack,
                    "secondary-panic" => SelfTest::SecondaryPanic,
                    "secondary-fault" => SelfTest::SecondaryFault,
                    "secondary-stack" => SelfTest::SecondaryStack,
                    "secondary-stop" => SelfTest::SecondaryStop,
                    "cores" => SelfTest::Cores,
                    "heap" => SelfTest::HeapExhaustion,
                    "write-text" => SelfTest::WriteText,
                    "execute-data" => SelfTest::ExecuteData,
                    "memory-map" => SelfTest::MemoryMap,
                    "simd" => SelfTest::Simd,
                    "sha256" => SelfTest::Sha256,
                    "memory-functions" => SelfTest::MemoryFunctions,
                    "instructions" => SelfTest::Instructions,
                    "echo" => SelfTest::Echo,
                    "disks" => SelfTest::Disks,
                    _ => return Err("one of the names in boot_args.rs"),
                });
            }
            _ => {
                return Err(
                    "admin, api_key, columns, command, encrypted, host, input-end, ip, kernels, model, serve, verity, verity_key, verity_root or vsock between ferrite. and =",
                );
            }
        }
        Ok(())
    }
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let line = if line.len() > MAX_BYTES { &[] } else { line };
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn parse_host(name: &str) -> Option<Host> {
    match name {
        "none" => Some(Host::None),
        "semihosting" => Some(Host::Semihosting),
        "pvpanic" => Some(Host::Pvpanic),
        _ => None,
    }
}

fn parse_file(value: &str) -> Option<(String, FileFacts)> {
    let mut fields = value.split(':');
    let serial = fields.next().filter(|serial| !serial.is_empty())?;
    let length_bytes = fields.next()?.parse().ok()?;
    let sha256 = match fields.next() {
        None => None,
        Some(digest) => Some(parse_hex(digest)?.try_into().ok()?),
    };
    if fields.next().is_some() {
        return None;
    }
    let facts = FileFacts { length_bytes, sha256 };
    Some((String::from(serial), facts))
}

fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits.chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWTVWDxE/pk4C6n8M3PWmlUuRO4VuEsrhBmiQcqb4kAdkXjpn7scDUKb";

    #[test]
    fn a_kernel_with_a_key_requires_what_it_has_signed() {
        assert_eq!(built_in_trust(None), TrustSettings::default());
        let trust = built_in_trust(Some(KEY));
        assert_eq!((trust.mode, trust.keys.len()), (Mode::Require, 1));
        let trust = built_in_trust(Some("none"));
        assert_eq!((trust.mode, trust.keys.len()), (Mode::Require, 0));
    }

    #[test]
    fn nothing_given_means_an_interactive_shell() {
        assert_eq!(BootArgs::parse(b""), BootArgs::default());
        assert_eq!(BootArgs::parse(b"console=ttyAMA0 root=/dev/vda quiet"), BootArgs::default());
    }

    #[test]
    fn reads_every_argument() {
        let digest = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        let line = alloc::format!(
            "log=debug ferrite.command=6c6c6d20ff00 ferrite.host=semihosting \
             ferrite.model=tiny:513 ferrite.model=big.q4_0:617000000:{digest} \
             ferrite.selftest=stack ferrite.kernels=neon ferrite.input-end=1f2e ferrite.columns=132 \
             ferrite.ip=10.0.2.15/24 ferrite.serve=80 ferrite.api_key=hush ferrite.admin=on ferrite.vsock=1234 ferrite.encrypted=require \
             ferrite.verity=report ferrite.verity_root=a:b:{digest} ferrite.verity_key={KEY}"
        );
        let args = BootArgs::parse(line.as_bytes());
        assert_eq!(args.error, None);
        let TrustSettings { mode: Mode::Report, roots, keys } = &args.trust else { panic!() };
        assert_eq!(roots, &[("a:b".into(), Root::parse(digest).unwrap())]);
        assert_eq!(keys[0].id.to_string(), "B3899FE443C58D5");
        assert_eq!(BootArgs::host_and_mode(line.as_bytes()), (Host::Semihosting, true));
        assert_eq!(BootArgs::host_and_mode(b"ferrite.host=x ferrite.commander=1 ="), (Host::None, false));
        assert_eq!(args.log_level, LevelFilter::Debug);
        assert_eq!(args.run_mode, RunMode::Command(Vec::from(*b"llm \xff\x00")));
        assert_eq!(args.host, Host::Semihosting);
        assert_eq!(args.input_end.as_deref(), Some("1f2e"));
        assert_eq!(args.columns, Some(132));
        assert_eq!(
            args.serve,
            ServeSettings {
                port: Some(80),
                vsock_port: Some(1234),
                keys: Keys::one("hush"),
                admin: true,
                sealed_only: true,
                receipt_key: None
            }
        );
        assert!(!std::format!("{args:?}").contains("hush"));
        assert_eq!(BootArgs::parse(b"ferrite.serve=off").serve.port, None);
        assert_eq!(Ok(args.addressing), "10.0.2.15/24".parse());
        assert_eq!(args.kernels.as_deref(), Some("neon"));
        assert_eq!(args.self_test, Some(SelfTest::Stack));
        assert_eq!(args.files[0].0, "tiny");
        assert_eq!(args.files[0].1.length_bytes, 513);
        assert_eq!(args.files[0].1.sha256, None);
        assert_eq!(args.files[1].0, "big.q4_0");
        assert_eq!(args.files[1].1.sha256.unwrap()[..3], [0x00, 0x11, 0x22]);
    }

    #[test]
    fn an_empty_command_is_a_command() {
        let args = BootArgs::parse(b"ferrite.command=");
        assert_eq!(args.run_mode, RunMode::Command(Vec::new()));
    }

    #[test]
    fn mistakes_name_the_argument() {
        for line in [
            "log=loud",
            "ferrite.command=abc",
            "ferrite.command=zz",
            "ferrite.host=xen",
            "ferrite.input-end=",
            "ferrite.ip=10.0.2.15",
            "ferrite.input-end=a\x19",
            "ferrite.model=:1",
            "ferrite.model=a",
            "ferrite.model=a:many",
            "ferrite.model=a:1:00",
            "ferrite.model=a:1::",
            "ferrite.selftest=",
            "ferrite.serve=",
            "ferrite.serve=0",
            "ferrite.serve=65536",
            "ferrite.api_key=",
            "ferrite.admin=yes",
            "ferrite.encrypted=on",
            "ferrite.columns=wide",
            "ferrite.colour=red",
            "ferrite.=1",
            "ferrite.command",
            "ferrite.host",
        ] {
            let args = BootArgs::parse(alloc::format!("{line} log=warn log=x").as_bytes());
            assert_eq!(args.log_level, LevelFilter::Warn);
            let error = args.error.unwrap();
            assert_eq!(error.argument, line);
            assert!(alloc::format!("{error}").contains("expected"));
        }
    }

    #[test]
    fn colours_can_be_turned_off() {
        for (line, no_colour) in [
            ("", false),
            ("NO_COLOR=1", true),
            ("log=warn NO_COLOR=0", true),
            ("NO_COLOR=", false),
            ("NO_COLOR", false),
        ] {
            let args = BootArgs::parse(line.as_bytes());
            assert_eq!((args.no_colour, args.error), (no_colour, None), "{line}");
        }
    }

    #[test]
    fn a_word_that_is_no_text_is_refused_alone() {
        let args =
            BootArgs::parse(b"log=debug x=\xff ferrite.command=68 \xc3\x28\xf0=y quiet ferrite.host=pvpanic");
        assert_eq!(args.error, None);
        assert_eq!(args.log_level, LevelFilter::Debug);
        assert_eq!(args.run_mode, RunMode::Command(Vec::from(*b"h")));
        assert_eq!(args.host, Host::Pvpanic);
        let lines: Vec<_> = args.refused.iter().map(|refused| alloc::format!("{refused}")).collect();
        let line = |word: &str| alloc::format!("boot argument {word:?}: expected text in UTF-8");
        assert_eq!(lines, [line("x=\u{fffd}"), line("\u{fffd}(\u{fffd}=y")]);
        assert_eq!(
            BootArgs::host_and_mode(b"\xff ferrite.host=pvpanic\tferrite.command="),
            (Host::Pvpanic, true)
        );
    }

    #[test]
    fn a_word_of_ours_that_is_no_text_is_a_mistake() {
        let args = BootArgs::parse(b"ferrite.model=\xff:1 log=warn");
        assert!(args.refused.is_empty());
        assert_eq!(args.log_level, LevelFilter::Warn);
        assert_eq!(args.error.unwrap().argument, "ferrite.model=\u{fffd}:1");
    }

    #[test]
    fn the_name_of_a_root_may_not_be_too_long() {
        for (n_bytes, is_mistaken) in [(MAX_NAME_BYTES, false), (MAX_NAME_BYTES + 1, true), (5000, true)] {
            let line = alloc::format!("ferrite.verity_root={}:{}", "a".repeat(n_bytes), "0".repeat(64));
            let args = BootArgs::parse(line.as_bytes());
            assert_eq!((args.error.is_some(), args.trust.roots.is_empty()), (is_mistaken, is_mistaken));
        }
    }

    #[test]
    fn who_names_a_key_or_a_root_requires_it_unless_told() {
        let root = "ferrite.verity_root=a:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        // Invalid keys and roots count as well.
        for line in [root, "ferrite.verity_key=x"] {
            assert_eq!(BootArgs::parse(line.as_bytes()).trust.mode, Mode::Require);
            let reports = alloc::format!("ferrite.verity=report {line}");
            assert_eq!(BootArgs::parse(reports.as_bytes()).trust.mode, Mode::Report);
        }
        assert_eq!(BootArgs::parse(b"verity_key=x").trust.mode, built_in_trust(BUILT_IN_KEY).mode);
    }

    #[test]
    fn no_key_is_shown() {
        let too_long = alloc::format!("ferrite.api_key=hush{}", " ".repeat(MAX_BYTES));
        for line in [&b"ferrite.api_key=hush\xff"[..], too_long.as_bytes()] {
            assert_eq!(BootArgs::parse(line).error.unwrap().argument, "ferrite.api_key=");
        }
    }

    #[test]
    fn the_last_of_the_same_name_counts() {
        let args =
            BootArgs::parse(b"log=warn ferrite.model=a:1 ferrite.model=b:2 log=error ferrite.model=a:3 log");
        assert_eq!((args.error, args.log_level), (None, LevelFilter::Error));
        let lengths: Vec<_> =
            args.files.iter().map(|(serial, facts)| (serial.as_str(), facts.length_bytes)).collect();
        assert_eq!(lengths, [("b", 2), ("a", 3)]);
    }

    #[test]
    fn long_arguments_do_not_make_long_lines() {
        let word = alloc::format!("ferrite.command={}", "x".repeat(100_000));
        let line = alloc::format!("{}", BootArgs::parse(word.as_bytes()).error.unwrap());
        assert!(line.len() < 200 && line.contains("xxx..."), "{line}");
        let too_long = alloc::vec![b' '; MAX_BYTES + 1];
        let line = alloc::format!("{}", BootArgs::parse(&too_long).error.unwrap());
        assert!(line.ends_with("expected at most 2 MiB of boot arguments"), "{line}");
    }
}
