//! Any text as a manifest: an error that names a line, or entries whose own lines read back as the same ones. What nobody has signed is
//! not believed; what is signed is found unless that or another manifest forbids it.
#![no_main]

use std::sync::LazyLock;

use fuzz::assert_line;
use libfuzzer_sys::fuzz_target;
use trust::Manifests;
use trust::manifest::{FIRST_LINE, Manifest, ManifestFault};
use trust::minisign::{KeyId, SecretKey};

static KEYS: LazyLock<[SecretKey; 2]> =
    LazyLock::new(|| [*b"one key.", *b"another."].map(|id| SecretKey::new(KeyId(id), &[7; 32])));

fuzz_target!(|input: &[u8]| {
    let keys = KEYS.each_ref().map(SecretKey::public_key);
    let mut manifests = Manifests::default();
    match manifests.add(input, &keys) {
        Ok(()) => panic!("nobody has signed that"),
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
    let sign = |key: usize, text: &str| text.to_owned() + &KEYS[key].sign(text.as_bytes(), "");
    let mut signed = Manifests::default();
    // A text that has this in it ends there.
    let is_whole = !manifest.entries.is_empty() && !text.contains("untrusted comment:");
    assert!(!is_whole || signed.add(sign(0, text).as_bytes(), &keys).is_ok());
    for entry in &manifest.entries {
        let again = Manifest::parse(&format!("{FIRST_LINE}\n{entry}")).ok().unwrap();
        assert!(again.entries[..] == [entry.clone()], "{entry}");
        assert!(entry.superblock.is_for(entry.bytes));
        match signed.find(entry.root, &entry.superblock) {
            _ if !is_whole => {}
            Ok((found, _)) => assert!(found.root == entry.root && !signed.revokes_root(found.root)),
            Err(refusal) => assert!(refusal.is_some() || signed.fault().is_some()),
        }
    }
    if let (true, Some(entry)) = (is_whole, manifest.entries.first()) {
        // One more that revokes the file's root takes it away, whatever else is said.
        let more = format!("{FIRST_LINE}\nrevoked-root {}\n", entry.root);
        assert!(signed.add(sign(1, &more).as_bytes(), &keys).is_ok());
        assert!(signed.find(entry.root, &entry.superblock).is_err());
    }
});
