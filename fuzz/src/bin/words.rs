//! Any text as lines of the shell: an open quotation that can be closed, or words that are the same when they are quoted.
#![no_main]

use ferrite_kernel::shell::words::split;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let commands = match split(text) {
        Ok(commands) => commands,
        Err(incomplete) => {
            assert!(split(incomplete.opening).is_err());
            // A backslash is closed by any byte; within quotation marks one may be open as well.
            let ends: [&[u8]; 2] = match incomplete.opening.last() {
                Some(b'\\') => [b"x", b"x"],
                Some(mark) => [std::slice::from_ref(mark), &[b'x', *mark]],
                None => panic!("nothing is open"),
            };
            assert!(ends.iter().any(|end| split(&[text, end].concat()).is_ok()));
            return;
        }
    };
    let mut quoted = Vec::new();
    for words in &commands {
        assert!(!words.is_empty());
        for word in words {
            quoted.push(b'\'');
            for &byte in word {
                match byte {
                    b'\'' => quoted.extend_from_slice(br"'\''"),
                    byte => quoted.push(byte),
                }
            }
            quoted.extend_from_slice(b"' ");
        }
        quoted.push(b'\n');
    }
    assert_eq!(split(&quoted).as_ref(), Ok(&commands));
});
