//! Any text as a manifest: an error that names a line, or entries whose own lines read back as the same ones. What nobody has signed is
//! not believed.
#![no_main]

use std::sync::LazyLock;

use fuzz::assert_line;
use libfuzzer_sys::fuzz_target;
use trust::manifest::{FIRST_LINE, Manifest, ManifestFault, read_signed};
use trust::minisign::{KeyId, PublicKey, SecretKey};

static KEYS: LazyLock<[PublicKey; 2]> =
    LazyLock::new(|| [*b"one key.", *b"another."].map(|id| SecretKey::new(KeyId(id), &[7; 32]).public_key()));

fuzz_target!(|input: &[u8]| {
    match read_signed(input, &*KEYS) {
        Ok(_) => panic!("nobody has signed that"),
        Err(ManifestFault::Text(_) | ManifestFault::Revoked(_)) => panic!("this is found out before"),
        Err(fault) => assert_line(&fault.to_string()),
    }
    let Ok(text) = str::from_utf8(input) else { return };
    let manifest = match Manifest::parse(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert!((1..=text.lines().count()).contains(&error.line));
            return assert_line(&error.to_string());
        }
    };
    for entry in &manifest.entries {
        let again = Manifest::parse(&format!("{FIRST_LINE}\n{entry}")).ok().unwrap();
        assert!(again.entries[..] == [entry.clone()], "{entry}");
        assert!(entry.superblock.is_for(entry.bytes));
        let is_trusted = manifest.check(entry).is_ok();
        match manifest.find(entry.root, &entry.superblock) {
            Ok(found) => assert!(manifest.check(found).is_ok() && found.root == entry.root),
            Err(refusal) => assert!(!is_trusted && refusal.is_some()),
        }
    }
});
