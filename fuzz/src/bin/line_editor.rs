//! Any keys pressed in a line: what is written to the terminal is text, what is entered is within its bounds, and what Tab types
//! continues the word before the cursor.
//!
//! The first byte is the width of the terminal. A byte 0xFF comes two seconds after the one before it and is no key.
#![no_main]

use ferrite_kernel::console::{Background, Console};
use ferrite_kernel::shell::completion::Completions;
use ferrite_kernel::shell::keys::{Key, KeyDecoder, MAX_KEYS};
use ferrite_kernel::shell::line_editor::{Entered, LineEditor, MAX_LINE_BYTES};
use ferrite_kernel::shell::words::unfinished;
use libfuzzer_sys::fuzz_target;

#[derive(Default)]
struct Written(Vec<u8>);

impl Console for Written {
    fn read_byte(&mut self) -> Option<u8> {
        None
    }

    fn wait_for_byte(&mut self, _: &mut Background<'_>) -> Option<u8> {
        None
    }

    fn write_bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// What words can become: each of these has characters that some quotation treats in its own way.
const CANDIDATES: [&str; 7] = ["llm", "load", "a b$\"\\c", "a b`#", "it's", "né\t1", "0x41"];

fn complete(before: &[u8]) -> Completions {
    let Some(found) = unfinished(before) else { return Completions::of_text(b"") };
    let n_before = found.before.len();
    let mut completions = Completions::of(found);
    CANDIDATES.iter().for_each(|candidate| completions.offer(candidate));
    let addition = completions.addition();
    if !addition.is_empty() {
        let after = unfinished(&[before, addition.as_bytes()].concat()).expect("a word");
        match completions.candidates() {
            [only] => {
                assert_eq!((after.before.len(), &*after.word), (n_before + 1, &b""[..]));
                assert_eq!(after.before[n_before], only.as_bytes());
            }
            several => {
                assert_eq!(after.before.len(), n_before);
                assert!(several.iter().all(|candidate| candidate.as_bytes().starts_with(&after.word)));
            }
        }
    }
    completions
}

fuzz_target!(|input: &[u8]| {
    let Some((&columns, bytes)) = input.split_first() else { return };
    let (mut editor, mut decoder, mut written) = (LineEditor::new(), KeyDecoder::new(), Written::default());
    editor.begin("> ", columns.into(), &mut written);
    let mut now_us = 0;
    for &byte in bytes {
        now_us += 1000;
        if byte == 0xff {
            now_us += 2_000_000;
            continue;
        }
        let mut n_keys = 0;
        decoder.feed(byte, now_us, |key| {
            n_keys += 1;
            if key == Key::Complete {
                editor.complete(&mut complete, &mut written);
                return;
            }
            match editor.press(key, &mut written) {
                Some(Entered::Line(line)) => {
                    assert!(line.len() <= MAX_LINE_BYTES);
                    editor.remember(&line);
                }
                Some(_) => {}
                None => return,
            }
            editor.begin("> ", columns.into(), &mut written);
        });
        assert!(n_keys <= MAX_KEYS, "{n_keys} keys");
        assert!(str::from_utf8(&written.0).is_ok(), "{:?}", written.0);
        written.0.clear();
    }
});
