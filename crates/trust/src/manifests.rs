//! [`Manifests`]: what all signed manifests that there are say together.
//!
//! A file is trusted that any of them names. What one takes away, by a revocation or a lowest version, is taken away for all, and so is
//! everything by one that is signed but not understood, or that is too long to be read, as that could be a restriction. So their order
//! does not count, and one more of them makes nothing trusted that another one forbids.

use crate::{
    Root,
    manifest::{Entry, MAX_BYTES, Manifest, ManifestFault, Refusal},
    minisign::{self, KeyId, PublicKey, SignatureError},
    verity::Superblock,
};
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Manifests that are signed with keys that are believed.
#[derive(Default)]
pub struct Manifests {
    signed: Vec<(Manifest, KeyId)>,
    /// What is wrong with another one.
    fault: Option<ManifestFault>,
}

impl Manifests {
    /// Reads a manifest that has its signature behind it, and perhaps zeros behind that, if one of these keys has signed it.
    ///
    /// # Errors
    /// Why it is not believed, which [`fault`](Self::fault) says, too.
    #[inline(never)]
    pub fn add(&mut self, bytes: &[u8], keys: &[PublicKey]) -> Result<(), ManifestFault> {
        let read = read_signed(bytes, keys).and_then(|signed| {
            self.signed.try_reserve(1).map_err(|_| ManifestFault::NoMemory)?;
            self.signed.push(signed);
            Ok(())
        });
        read.inspect_err(|&fault| self.note(fault))
    }

    /// Takes note of a manifest that is not believed.
    pub fn note(&mut self, fault: ManifestFault) {
        if self.fault.is_none() || fault.may_hide_restriction() {
            self.fault = Some(fault);
        }
    }

    /// Why one of them is not believed, or that there is none.
    pub fn fault(&self) -> Option<ManifestFault> {
        let keys = || self.signed.iter().map(|(_, key)| *key);
        let revoked = || keys().find(|key| self.revokes_key(*key)).map(ManifestFault::Revoked);
        let missing = || self.signed.is_empty().then_some(ManifestFault::Missing);
        self.fault.or_else(revoked).or_else(missing)
    }

    /// Whether one of them says that nothing signed with this key is to be trusted.
    fn revokes_key(&self, key: KeyId) -> bool {
        self.signed.iter().any(|(manifest, _)| manifest.revokes_key(key))
    }

    /// Those that nobody has revoked.
    fn believed(&self) -> impl Iterator<Item = &(Manifest, KeyId)> {
        self.signed.iter().filter(|(_, key)| !self.revokes_key(*key))
    }

    /// Whether one of them says that no file with this root is to be trusted.
    pub fn revokes_root(&self, root: Root) -> bool {
        self.signed.iter().any(|(manifest, _)| manifest.revokes_root(root))
    }

    /// What they say of a file with this root, whose tree was made like this, and whose signature says so. The same file may be there in
    /// several versions, or under several names: of those that are to be trusted it is that of the highest version and, of several of
    /// these, the first by name, length and key.
    ///
    /// # Errors
    /// Why none of them is to be trusted, of which the same one is told; `None` if there is none.
    pub fn find(&self, root: Root, superblock: &Superblock) -> Result<(&Entry, KeyId), Option<Refusal>> {
        if self.fault.is_some_and(|fault| fault.may_hide_restriction()) {
            return Err(None);
        }
        let all = self
            .believed()
            .flat_map(|(manifest, key)| manifest.entries.iter().map(move |entry| (entry, *key)));
        let same = all.filter(|(entry, _)| entry.root == root && entry.superblock.is_same(superblock));
        let first = same.min_by_key(|&(entry, key)| {
            let is_refused = self.check(entry).is_err();
            (is_refused, Reverse(entry.version), &*entry.name, entry.bytes, key.0)
        });
        let Some((entry, key)) = first else { return Err(None) };
        self.check(entry).map(|()| (entry, key)).map_err(Some)
    }

    /// Whether a key that is believed has signed a file under this name, whether or not that file is to be trusted.
    pub fn names(&self, name: &str) -> bool {
        self.believed().any(|(manifest, _)| manifest.entries.iter().any(|entry| entry.name == name))
    }

    /// Whether a file that one of them names is to be trusted.
    fn check(&self, entry: &Entry) -> Result<(), Refusal> {
        if self.revokes_root(entry.root) {
            return Err(Refusal::Revoked(entry.root));
        }
        let minimums = self.signed.iter().filter_map(|(manifest, _)| manifest.minimum_version(&entry.name));
        match minimums.max() {
            Some(minimum) if entry.version < minimum => Err(Refusal::Old { version: entry.version, minimum }),
            _ => Ok(()),
        }
    }
}

fn read_signed(bytes: &[u8], keys: &[PublicKey]) -> Result<(Manifest, KeyId), ManifestFault> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if end > MAX_BYTES {
        return Err(ManifestFault::TooLong);
    }
    let text = str::from_utf8(&bytes[..end]).unwrap_or_default();
    let start = text.find("untrusted comment:").ok_or(ManifestFault::NotSigned)?;
    let (text, signature) = text.split_at(start);
    let signed = minisign::verify(keys, text.as_bytes(), signature).map_err(|error| match error {
        SignatureError::NoMemory => ManifestFault::NoMemory,
        error => ManifestFault::Signature(error),
    })?;
    let manifest = Manifest::parse(text).map_err(ManifestFault::Text)?;
    Ok((manifest, signed.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{manifest::FIRST_LINE, minisign::SecretKey};
    use std::{
        format,
        string::{String, ToString},
    };

    const ROOT: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn key(number: u8) -> SecretKey {
        SecretKey::new(KeyId([number; 8]), &[number; 32])
    }

    /// Manifests of these lines, each signed with the key of this number, of which 1 and 2 are believed; in both orders.
    fn both_orders(manifests: &[(u8, &str)]) -> [Manifests; 2] {
        let keys = [1, 2].map(|number| key(number).public_key());
        let read = |manifests: &mut dyn Iterator<Item = &(u8, &str)>| {
            let mut all = Manifests::default();
            for (number, lines) in manifests {
                let text = format!("{FIRST_LINE}\n{lines}\n");
                let signed = text.clone() + &key(*number).sign(text.as_bytes(), "");
                let _ = all.add(signed.as_bytes(), &keys);
            }
            all
        };
        [read(&mut manifests.iter()), read(&mut manifests.iter().rev())]
    }

    /// Which file of this root is trusted: its name, version and the number of the key; or why none is.
    fn find(manifests: &[(u8, &str)]) -> Result<(String, u64, u8), String> {
        let root = Root::parse(ROOT).unwrap();
        let [one, other] = both_orders(manifests).map(|all| {
            let found = all.find(root, &Superblock::new(9));
            let found = found.map(|(entry, key)| (entry.name.clone(), entry.version, key.0[0]));
            found.map_err(|refusal| match (refusal, all.fault()) {
                (Some(refusal), _) => refusal.to_string(),
                (None, fault) => fault.map_or(String::new(), |fault| fault.to_string()),
            })
        });
        assert_eq!(one, other, "the order of manifests counts");
        one
    }

    fn model(name_and_version: &str) -> String {
        format!("model {name_and_version} 9 {ROOT}")
    }

    #[test]
    fn a_file_is_trusted_that_any_manifest_names() {
        let (a2, other) = (model("a 2"), model("a 2").replace(ROOT, &"11".repeat(32)));
        let expected = Ok(("a".into(), 2, 1));
        assert_eq!(find(&[(1, &a2)]), expected);
        assert_eq!(find(&[(1, &a2), (2, &other)]), expected);
        assert_eq!(find(&[(1, &a2), (1, &other), (1, "")]), expected);
        // One that nobody has to believe neither names nor forbids anything.
        assert_eq!(find(&[(1, &a2), (3, &format!("revoked-root {ROOT}"))]), expected);
        assert_eq!(find(&[(1, &a2), (3, &model("b 9"))]), expected);
        assert_eq!(find(&[(1, &other)]), Err(String::new()));
        assert_eq!(find(&[]), Err("there is no manifest".into()));
        let untrusted = ManifestFault::Signature(SignatureError::Key(KeyId([3; 8])));
        assert_eq!(find(&[(3, &a2)]), Err(untrusted.to_string()));
    }

    #[test]
    fn of_several_names_and_versions_it_is_the_newest_that_is_trusted() {
        let lines = |minimum: &str| [model("a 1"), model("b 3"), model("a 2"), minimum.into()].join("\n");
        let c9 = model("c 9") + " 00";
        let find = |minimum| find(&[(1, &lines(minimum)), (2, &c9)]);
        assert_eq!(find("minimum-version a 2"), Ok(("b".into(), 3, 1)));
        assert_eq!(find("minimum-version b 4"), Ok(("a".into(), 2, 1)));
        assert!(find("minimum-version a 3\nminimum-version b 4").is_err());
        let [all, _] = both_orders(&[(1, &model("a 1"))]);
        assert!(all.find(Root::parse(ROOT).unwrap(), &Superblock::new(5000)).is_err());
    }

    #[test]
    fn names_are_those_of_files_that_somebody_has_signed() {
        let key_2 = format!("{}\nrevoked-key {}", model("b 1"), KeyId([2; 8]));
        for all in both_orders(&[(1, &key_2), (2, &model("c 1")), (3, &model("d 1"))]) {
            assert_eq!(["a", "b", "c", "d"].map(|name| all.names(name)), [false, true, false, false]);
        }
    }

    #[test]
    fn of_equal_versions_it_is_the_same_one_in_both_orders() {
        assert_eq!(find(&[(1, &model("b 2")), (2, &model("a 2"))]), Ok(("a".into(), 2, 2)));
        assert_eq!(find(&[(1, &model("a 2")), (2, &model("a 2"))]), Ok(("a".into(), 2, 1)));
        let longer = model("a 2").replace(" 9 ", " 10 ");
        for all in both_orders(&[(1, &longer), (2, &model("a 2"))]) {
            let (entry, _) = all.find(Root::parse(ROOT).unwrap(), &Superblock::new(9)).unwrap();
            assert_eq!(entry.bytes, 9);
        }
        // Why none is trusted is said of the same one, too.
        let b2 = model("b 2") + "\nminimum-version a 5\nminimum-version b 6";
        let old = "it is version 2; expected version 6 or newer";
        assert_eq!(find(&[(1, &model("a 1")), (2, &b2)]), Err(old.into()));
    }

    #[test]
    fn what_any_manifest_takes_away_is_taken_away() {
        let a2 = model("a 2");
        let old = "it is version 2; expected version 3 or newer";
        assert_eq!(find(&[(1, &a2), (2, "minimum-version a 3\nminimum-version a 1")]), Err(old.into()));
        assert_eq!(find(&[(1, &a2), (2, "minimum-version b 3")]), Ok(("a".into(), 2, 1)));
        let revoked = format!("revoked-root {ROOT}");
        assert_eq!(find(&[(1, &a2), (2, &revoked)]), Err(format!("its root {ROOT} is revoked")));
        // Of two that are signed with one key, too.
        assert_eq!(find(&[(1, &a2), (1, &revoked)]), Err(format!("its root {ROOT} is revoked")));
        let key_1 = format!("revoked-key {}", KeyId([1; 8]));
        let fault = ManifestFault::Revoked(KeyId([1; 8])).to_string();
        assert_eq!(find(&[(1, &a2), (2, &key_1)]), Err(fault.clone()));
        assert_eq!(find(&[(1, &format!("{a2}\n{key_1}"))]), Err(fault));
        // Another key vouches for it as well.
        assert_eq!(find(&[(1, &a2), (2, &format!("{}\n{key_1}", model("b 1")))]), Ok(("b".into(), 1, 2)));
        // Who is revoked gives nothing any more, but can still take away.
        let key_2 = format!("{revoked}\nrevoked-key {}", KeyId([2; 8]));
        assert!(find(&[(1, &a2), (2, &key_2)]).is_err());
    }

    #[test]
    fn a_signed_manifest_that_is_not_understood_could_be_a_restriction() {
        let a2 = model("a 2");
        let fault = find(&[(1, &a2), (2, "forbidden a")]).unwrap_err();
        assert!(fault.starts_with("line 2 of the manifest"), "{fault}");
        let fault = find(&[(1, &a2), (3, ""), (2, "forbidden a")]).unwrap_err();
        assert!(fault.starts_with("line 2 of the manifest"), "{fault}");
        assert!(find(&[(1, &a2), (3, "forbidden a")]).is_ok());
    }

    #[test]
    fn a_manifest_that_is_too_long_could_be_a_restriction() {
        let a2 = model("a 2");
        let other_bytes = format!("{FIRST_LINE}\n#\n").len() + key(2).sign(b"", "").len();
        let longest = format!("#{}", "x".repeat(MAX_BYTES - other_bytes));
        assert_eq!(find(&[(1, &a2), (2, &longest)]), Ok(("a".into(), 2, 1)));
        let longer = format!("{longest}x");
        // Of one that is not read to its end nobody knows who has signed it.
        for number in [1, 2, 3] {
            assert_eq!(find(&[(1, &a2), (number, &longer)]), Err(ManifestFault::TooLong.to_string()));
        }
    }
}
