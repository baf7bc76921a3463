//! Any bytes as what a client sends: the answers are the same wherever the bytes are cut.
//!
//! The input's first byte says how: in pieces of so many bytes, or before each of the bytes that are equal to it.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::nobody;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_first() else { return };
    let (mut server, id) = nobody::server();
    let mut whole = Vec::new();
    nobody::exchange(&mut server, id, bytes, &mut whole);
    let is_over = server.is_over(id);

    let (mut server, id) = nobody::server();
    let mut in_pieces = Vec::new();
    let mut start = 0;
    for end in 1..=bytes.len() {
        let is_end = match cut {
            0..32 => (end - start) > usize::from(cut),
            _ => bytes.get(end) == Some(&cut),
        };
        if is_end || end == bytes.len() {
            nobody::exchange(&mut server, id, &bytes[start..end], &mut in_pieces);
            start = end;
        }
    }
    // Who sends the body at once is not told to go on.
    let answers = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    assert_eq!(answers(&whole), answers(&in_pieces));
    assert_eq!(is_over, server.is_over(id));
    assert!(whole.is_empty() || whole.starts_with(b"HTTP/1.1 "));
});
