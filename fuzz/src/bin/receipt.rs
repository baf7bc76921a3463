//! Any text as a receipt: an error, or a record whose canonical spelling reads back as the same one. A right one that was changed is found out.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use trust::receipt::{Receipt, Record, TYPE};

/// One that is right, as `llm infer --receipt` has written it.
const RIGHT: &[u8] = include_bytes!("../../corpus/receipt/right");

struct Known {
    key: [u8; 32],
    signature: [u8; 64],
    record: Vec<u8>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let receipt: Receipt<'_> = serde_json::from_slice(RIGHT).unwrap();
    assert_eq!(receipt.is_signed(), Ok(true));
    Known { key: receipt.key.0, signature: receipt.signature.0, record: receipt.record.write().unwrap() }
});

fuzz_target!(|input: &[u8]| {
    let receipt: Receipt<'_> = match serde_json::from_slice(input) {
        Ok(receipt) => receipt,
        Err(error) => return assert!(error.line() > 0 || error.is_data()),
    };
    let written = receipt.record.write().unwrap();
    if receipt.record.r#type == TYPE {
        let again: Record<'_> = serde_json::from_slice(&written).unwrap();
        assert_eq!(again.write().unwrap(), written);
    }
    // Of others' keys nothing can be said.
    if receipt.key.0 == KNOWN.key {
        let is_it = receipt.record.r#type == TYPE && written == KNOWN.record;
        // What differs from the right signature is not looked at for long.
        if is_it || receipt.signature.0 == KNOWN.signature {
            assert_eq!(receipt.is_signed(), Ok(is_it && receipt.signature.0 == KNOWN.signature));
        }
    }
});
