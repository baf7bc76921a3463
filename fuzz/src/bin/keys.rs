//! Any text as the file of a server's keys: an error that names a line and no key, or keys with names of their own that are found.
#![no_main]

use std::collections::HashSet;

use fuzz::assert_line;
use libfuzzer_sys::fuzz_target;
use serve::Keys;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else { return };
    let keys = match Keys::parse(text) {
        Ok(keys) => keys,
        Err(error) => {
            assert!(error.line <= text.lines().count());
            return assert_line(&error.to_string());
        }
    };
    assert!((1..=256).contains(&keys.all().len()) && !keys.is_empty());
    let names: HashSet<&str> = keys.all().iter().map(|key| &*key.name).collect();
    assert_eq!(names.len(), keys.all().len());
    if keys.all().len() > 1 {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for (index, line) in lines.enumerate() {
            let key = line.split([' ', '\t']).next().unwrap();
            assert_eq!(keys.find(key.as_bytes()), Some(index));
        }
    }
    assert!(!format!("{keys:?}").contains(text.trim()) || text.trim().len() < 8);
});
