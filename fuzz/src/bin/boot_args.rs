//! Any bytes as boot arguments, as UEFI's load options and as the boot disk's configuration: mistakes of one line, in which no key stands.
//!
//! The first byte says which of them the others are.
#![no_main]

use ferrite_kernel::boot_args::BootArgs;
use ferrite_kernel::firmware::{configuration, load_options};
use ferrite_kernel::system::RunMode;
use fuzz::assert_line;
use libfuzzer_sys::fuzz_target;

/// What no message may say.
const SECRET: &str = "Sesame";
/// How many bytes there may be room for.
const PLACE_BYTES: usize = 96;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, bytes)) = input.split_first() else { return };
    match kind % 3 {
        0 => check(bytes),
        1 => {
            let mut place = [0; PLACE_BYTES];
            let place = &mut place[..usize::from(kind) % (PLACE_BYTES + 1)];
            if let Some(options) = load_options(bytes, place) {
                assert!(options[0].is_ascii_graphic() && str::from_utf8(options).is_ok());
                check(options);
            }
        }
        _ => {
            let mut file = bytes.to_vec();
            if let Some(arguments) = configuration(&mut file) {
                assert!(!arguments.contains(&b'\n') && !arguments.contains(&0));
                assert!(arguments == arguments.trim_ascii() && !arguments.is_empty());
                check(arguments);
            }
        }
    }
});

fn check(line: &[u8]) {
    let arguments = BootArgs::parse(line);
    let (host, is_command) = BootArgs::host_and_mode(line);
    assert_eq!(arguments.host, host);
    assert!(is_command || arguments.run_mode == RunMode::Interactive);
    assert!(arguments.refused.len() <= 16);
    let key = ["ferrite.api_key=", SECRET].concat();
    let hides = line.windows(key.len()).any(|bytes| bytes == key.as_bytes());
    for mistake in arguments.error.iter().chain(&arguments.refused) {
        let message = mistake.to_string();
        assert_line(&message);
        assert!(message.len() < 1024);
        assert!(!hides || !message.contains(&key), "{message}");
    }
    assert!(!format!("{:?}", arguments.serve).contains(SECRET));
}
