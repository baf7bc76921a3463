//! Any text as lines of an audit, and as what one is about: each line that the server writes follows the one before, and no other does.
//!
//! The input is the name of a model, a byte 0, and lines.
#![no_main]

use std::cell::RefCell;

use fuzz::assert_line;
use libfuzzer_sys::fuzz_target;
use serve::Keys;
use serve::audit::{Audit, Chain, ChainError, Entry, Moment, Used};

const AT: Moment = Moment { now_us: 1_000_000, unix_s: Some(1_700_000_000) };

thread_local! {
    /// The server's lines, and what has been checked of them: kept, as their room takes longer to make than to use.
    static SERVER: RefCell<(Keys, Audit, Chain)> = RefCell::new({
        let keys = Keys::one("open sesame");
        let audit = Audit::new(&keys, AT).unwrap();
        let mut chain = Chain::default();
        audit.lines(0).for_each(|line| chain.take(line).unwrap());
        (keys, audit, chain)
    });
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else { return };
    let (model, lines) = text.split_once('\0').unwrap_or((text, ""));
    SERVER.with_borrow_mut(|(keys, audit, chain)| {
        let (n, _) = audit.head();
        let entry = Entry {
            key: (model.len() % 2 == 0).then_some(0),
            route: "/v1/chat/completions",
            model,
            stream: model.len() % 3 == 0,
            receipt: false,
            status: 200,
            finish: (model.len() % 5 > 0).then_some("stop"),
            used: Used { prompt: lines.len(), cached: model.len(), completion: usize::MAX >> 11 },
            duration_us: u64::MAX >> 11,
        };
        audit.add(keys, &entry, AT);
        assert_eq!(audit.head().0, n + 1, "the line of {model:?} is lost");
        let line = audit.lines(n).next().unwrap();
        assert_line(line);
        chain.take(line).unwrap();
        assert_eq!(chain.last, Some((n, audit.head().1)));

        // Nothing else follows.
        let mut copy = *chain;
        for line in lines.lines() {
            assert_line(&copy.take(line).unwrap_err().to_string());
        }
    });
    let mut chain = Chain::default();
    for line in lines.lines() {
        let before = chain;
        match chain.take(line) {
            Ok(()) => assert_eq!(chain.n, before.n + 1),
            Err(error) => {
                assert_eq!((chain.n, chain.last), (before.n, before.last));
                assert!(!matches!(error, ChainError::Seq { found, expected } if found == expected));
            }
        }
    }
});
