//! What several targets need. Each file of `src/bin` is one target; `scripts/fuzz` builds and runs them.

pub mod nobody;

/// Asserts that a message of an error is one: a line that is not empty.
pub fn assert_line(message: &str) {
    assert!(!message.is_empty() && !message.contains(['\n', '\r']), "{message:?}");
}

/// Takes up to `length` bytes off the front of `input`.
pub fn take<'i>(input: &mut &'i [u8], length: usize) -> &'i [u8] {
    let (taken, rest) = input.split_at(length.min(input.len()));
    *input = rest;
    taken
}
