//! Disks that are checked, and whatever is changed on them.

use super::{
    BlockDevice, Disk, Disks, Distrust, FaultyDisk, MemoryDisk, Mode, ReadError, Standing, Trust,
    TrustSettings,
};
use ::llm::parallel::Serial;
use ::trust::{
    Root,
    manifest::{Entry, ManifestFault, Refusal},
    minisign::{KeyId, SecretKey, SignatureError},
    sha256::PORTABLE,
    verity::{Builder, Superblock},
};
use core::ops::ControlFlow;
use std::{boxed::Box, format, string::String, vec, vec::Vec};

/// The length of the file: not whole blocks, nor whole sectors.
const LENGTH: usize = 10 * 4096 + 1234;

/// A key, with an id of this byte.
pub fn key(number: u8) -> SecretKey {
    SecretKey::new(KeyId([number; 8]), &[number; 32])
}

fn file() -> Vec<u8> {
    (0..LENGTH as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The tree of a file, and its root.
pub fn tree(file: &[u8]) -> (Vec<u8>, Root) {
    let mut tree = Vec::new();
    let mut write = |at: u64, bytes: &[u8]| {
        let end = at as usize + bytes.len();
        tree.resize(end.max(tree.len()), 0);
        tree[at as usize..end].copy_from_slice(bytes);
    };
    let mut builder = Builder::new(Superblock::new(file.len() as u64), PORTABLE);
    builder.update(file, &mut write);
    let root = builder.finish(&mut write);
    (tree, root)
}

fn entry(root: Root, version: u64) -> Entry {
    let bytes = LENGTH as u64;
    Entry { name: "model".into(), version, bytes, root, superblock: Superblock::new(bytes) }
}

/// What is on the disks.
#[derive(Clone)]
struct Image {
    file: Vec<u8>,
    tree: Vec<u8>,
    manifest: String,
    root: Root,
}

impl Image {
    fn new(more: &str) -> Self {
        let file = file();
        let (tree, root) = tree(&file);
        let text = format!("ferrite-models 1\n{}\n{more}", entry(root, 2));
        let manifest = format!("{text}{}", key(1).sign(text.as_bytes(), "a comment"));
        Self { file, tree, manifest, root }
    }

    fn disks(&self, settings: TrustSettings) -> Disks {
        self.disks_with(&[&self.manifest], settings)
    }

    /// As [`disks`](Self::disks), with these manifests.
    fn disks_with(&self, manifests: &[&str], settings: TrustSettings) -> Disks {
        let manifests = manifests.iter().map(|manifest| ("manifest", manifest.as_bytes()));
        let disks = [("model", &self.file[..]), ("tree", &self.tree)].into_iter().chain(manifests);
        let disks = disks.map(|(serial, bytes)| (serial, bytes.to_vec())).enumerate();
        let disks = disks.map(|(index, (serial, mut bytes))| {
            // Disks are whole sectors.
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            let device: Box<dyn BlockDevice> = Box::new(MemoryDisk::new(serial, bytes));
            Disk::new(index, device, None)
        });
        let mut disks: Disks = disks.collect::<Vec<_>>().into();
        let settings = Box::leak(Box::new(settings));
        disks.set_trust(Trust { settings, compress: PORTABLE, workers: &Serial });
        disks.establish_trust();
        disks
    }
}

/// What the first key has signed is believed.
pub fn settings(mode: Mode) -> TrustSettings {
    TrustSettings { mode, keys: vec![key(1).public_key()], ..TrustSettings::default() }
}

/// Why the first disk is not to be read.
fn distrust<R: core::fmt::Debug>(disks: &Disks, result: Result<R, ReadError>) -> Distrust {
    assert_eq!(result.unwrap_err(), ReadError::Distrusted);
    let Standing::Distrusted(distrust) = disks[0].standing() else { panic!() };
    **distrust
}

/// The file, read in pieces.
fn read(disks: &mut Disks) -> Result<Vec<u8>, ReadError> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 * 512 + 1024]);
    let end = disks[0].length_bytes();
    disks.read_pieces(0, 0..end, &mut buffer, &mut |piece| {
        bytes.extend_from_slice(piece);
        ControlFlow::Continue(())
    })?;
    Ok(bytes)
}

#[test]
fn a_signed_file_is_read_whole_and_in_any_part() {
    let image = Image::new("");
    let mut disks = image.disks(settings(Mode::Require));
    let seal = disks[0].seal().unwrap();
    assert_eq!((seal.root, seal.version, seal.key), (image.root, 2, Some(key(1).public_key().id)));
    assert_eq!(disks[0].length_bytes(), LENGTH as u64);
    assert!(matches!(disks[1].standing(), Standing::Proof) && matches!(disks[2].standing(), Standing::Proof));
    assert!(read(&mut disks).unwrap() == image.file);
    for (start, end) in
        [(0, 10), (5, 4096), (4096, 8192), (4000, 13_000), (30_000, LENGTH), (0, LENGTH), (7, 7)]
    {
        let mut bytes = vec![0; end - start];
        disks.read_at(0, start as u64, &mut bytes).unwrap();
        assert!(bytes == image.file[start..end], "{start}..{end}");
        let mut pieces = Vec::new();
        let mut take = |piece: &[u8]| {
            pieces.extend_from_slice(piece);
            ControlFlow::Continue(())
        };
        disks.read_pieces(0, start as u64..end as u64, &mut [0; 9000], &mut take).unwrap();
        assert!(pieces == bytes, "{start}..{end} in pieces");
    }
    let past = disks.read_at(0, LENGTH as u64 - 1, &mut [0; 2]);
    assert!(matches!(past, Err(ReadError::OutOfRange { .. })), "{past:?}");
    // What is wrong with one read is wrong with it alone.
    assert!(read(&mut disks).is_ok());
}

#[test]
fn a_root_of_the_boot_arguments_vouches_too() {
    let image = Image::new("");
    let roots = vec![("other-name".into(), image.root)];
    let mut disks = image.disks(TrustSettings { mode: Mode::Require, roots, keys: Vec::new() });
    assert_eq!(disks[0].seal().unwrap().name, "other-name");
    // Nobody says how long the file is: it is whole blocks.
    assert_eq!(read(&mut disks).unwrap()[..LENGTH], image.file);
    let roots = vec![("model".into(), Root([1; 32]))];
    let mut disks = image.disks(TrustSettings { mode: Mode::Require, roots, keys: Vec::new() });
    let result = read(&mut disks);
    assert!(matches!(distrust(&disks, result), Distrust::Unknown { .. }));
}

#[test]
fn wrong_keys_old_versions_and_what_is_revoked_are_refused_or_reported() {
    let image = Image::new("");
    let root = image.root;
    let id = key(1).public_key().id;
    let cases: [(Image, Vec<_>, Distrust); 5] = [
        (
            image.clone(),
            vec![key(2).public_key()],
            Distrust::Unknown { root, manifest: Some(ManifestFault::Signature(SignatureError::Key(id))) },
        ),
        (
            image.clone(),
            vec![],
            Distrust::Unknown { root, manifest: Some(ManifestFault::Signature(SignatureError::Key(id))) },
        ),
        (
            Image::new("minimum-version model 3\n"),
            vec![key(1).public_key()],
            Distrust::Refused(Refusal::Old { version: 2, minimum: 3 }),
        ),
        (
            Image::new(&format!("revoked-root {root}\n")),
            vec![key(1).public_key()],
            Distrust::Refused(Refusal::Revoked(root)),
        ),
        (
            Image::new(&format!("revoked-key {id}\n")),
            vec![key(1).public_key()],
            Distrust::Unknown { root, manifest: Some(ManifestFault::Revoked(id)) },
        ),
    ];
    for (image, keys, expected) in cases {
        let mut disks = image.disks(TrustSettings { keys: keys.clone(), ..settings(Mode::Require) });
        let result = read(&mut disks);
        assert_eq!(distrust(&disks, result), expected);
        let result = disks.read_at(0, 0, &mut [0; 4]);
        assert_eq!(distrust(&disks, result), expected);
        let mut disks = image.disks(TrustSettings { keys: keys.clone(), ..settings(Mode::Report) });
        assert!(read(&mut disks).unwrap()[..LENGTH] == image.file);
        assert!(matches!(disks[0].standing(), Standing::Distrusted(said) if **said == expected));
        let mut disks = image.disks(TrustSettings { keys, ..settings(Mode::Off) });
        assert!(read(&mut disks).unwrap()[..LENGTH] == image.file);
    }
}

#[test]
fn files_without_a_tree_and_manifests_without_a_signature_are_told() {
    let image = Image::new("");
    let refused = |image: &Image| {
        let mut disks = image.disks(settings(Mode::Require));
        let result = read(&mut disks);
        distrust(&disks, result)
    };
    let without_tree = Image { tree: vec![0; 512], ..image.clone() };
    assert_eq!(refused(&without_tree), Distrust::NoTree);
    let manifest = image.manifest.split("untrusted").next().unwrap().into();
    let fault = Some(ManifestFault::NotSigned);
    let unknown = Distrust::Unknown { root: image.root, manifest: fault };
    assert_eq!(refused(&Image { manifest, ..image.clone() }), unknown);
    let nothing = refused(&Image { manifest: "none".into(), ..image.clone() });
    let root = image.root;
    assert_eq!(
        format!("{nothing}"),
        format!("not trusted: nobody vouches for its root {root}; there is no manifest")
    );
}

/// 500 bits of file, tree, manifest and signature, wherever they are: whatever is changed is refused, or reported; and where a
/// change is of no consequence, the bytes are the right ones.
#[test]
fn whatever_bit_is_changed_it_is_refused_or_reported() {
    let image = Image::new("");
    let mut random = 1_u64;
    let (mut n_refused, mut n_harmless) = (0, 0);
    while n_refused < 500 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let flip = |bytes: &mut [u8]| {
            let bit = (random >> 20) as usize % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            bit / 8
        };
        let mut changed = image.clone();
        let which = random >> 60 & 3;
        let mut at = 0;
        match which {
            0 | 1 => at = flip(&mut changed.file),
            2 => at = flip(&mut changed.tree),
            _ => {
                let mut bytes = changed.manifest.into_bytes();
                at += flip(&mut bytes);
                // What is no text is refused, too.
                changed.manifest = String::from_utf8(bytes).unwrap_or_default();
            }
        }
        let mut disks = changed.disks(settings(Mode::Require));
        let result = read(&mut disks);
        match result {
            Err(ReadError::Distrusted) => {
                n_refused += 1;
                let distrust = distrust(&disks, result);
                if which < 2 {
                    let Distrust::Changed(mismatch) = distrust else { panic!("byte {at}: {distrust}") };
                    assert_eq!(mismatch.number, at as u64 / 4096);
                }
                let mut disks = changed.disks(settings(Mode::Report));
                assert!(read(&mut disks).unwrap()[..LENGTH] == changed.file);
                assert!(matches!(disks[0].standing(), Standing::Distrusted(_)), "{which} byte {at}");
            }
            // The UUID, what is behind the salt, the comment that nobody signs.
            Ok(bytes) => {
                n_harmless += 1;
                assert!(bytes == image.file && which >= 2, "{which} byte {at}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(n_harmless < 100, "{n_harmless}");
}

/// A disk whose contents change when they have been read.
#[test]
fn what_is_read_again_is_checked_again() {
    let image = Image::new("");
    let mut disks = image.disks(settings(Mode::Require));
    disks.read_at(0, 0, &mut [0; 8192]).unwrap();
    let mut file = image.file.clone();
    file[5000] ^= 1;
    file.resize(LENGTH.next_multiple_of(512), 0);
    disks[0].device = Box::new(MemoryDisk::new("model", file));
    let result = disks.read_at(0, 0, &mut [0; 8192]);
    let Distrust::Changed(mismatch) = distrust(&disks, result) else { panic!() };
    assert_eq!((mismatch.number, mismatch.offset_bytes), (1, 4096));
    assert!(read(&mut disks).is_err());
}

#[test]
fn a_disk_that_is_shorter_than_the_file_is_not_trusted() {
    let mut image = Image::new("");
    let root = image.root;
    image.file.truncate(9 * 4096);
    let roots = vec![("model".into(), root)];
    let told = TrustSettings { mode: Mode::Require, roots, keys: Vec::new() };
    for (settings, expected) in [(settings(Mode::Require), LENGTH as u64), (told, 11 * 4096)] {
        let mut disks = image.disks(settings);
        let result = disks.read_at(0, 0, &mut [0; 4]);
        assert_eq!(distrust(&disks, result), Distrust::Short { bytes: 9 * 4096, expected });
    }
}

#[test]
fn a_root_of_the_boot_arguments_can_be_revoked() {
    let root = Image::new("").root;
    let image = Image::new(&format!("revoked-root {root}\n"));
    let roots = vec![("model".into(), root)];
    let mut disks = image.disks(TrustSettings { roots, ..settings(Mode::Require) });
    let result = read(&mut disks);
    assert_eq!(distrust(&disks, result), Distrust::Refused(Refusal::Revoked(root)));
}

#[test]
fn a_file_that_was_signed_again_has_its_newest_version() {
    let root = Image::new("").root;
    let image = Image::new(&format!("{}\nminimum-version model 3\n", entry(root, 3)));
    assert_eq!(image.disks(settings(Mode::Require))[0].seal().unwrap().version, 3);
}

#[test]
fn a_disk_that_could_not_be_looked_at_is_told_when_it_is_used() {
    for read_all in [false, true] {
        let mut disks = Image::new("").disks(settings(Mode::Report));
        let bytes = MemoryDisk::new("model", vec![1; 8192]);
        disks[0].device = Box::new(FaultyDisk::new(bytes, 0..512));
        disks.establish_trust();
        assert!(matches!(disks[0].standing(), Standing::Unread(_)));
        match read_all {
            true => {
                disks.read_pieces(0, 4096..8192, &mut [0; 9000], &mut |_| ControlFlow::Continue(())).unwrap()
            }
            false => disks.read_at(0, 4096, &mut [0; 4]).unwrap(),
        }
        let Standing::Distrusted(distrust) = disks[0].standing() else { panic!() };
        assert_eq!(**distrust, Distrust::Unread);
    }
}

/// A manifest of these lines, signed with the key of this number.
fn manifest(number: u8, lines: &str) -> String {
    let text = format!("ferrite-models 1\n{lines}\n");
    text.clone() + &key(number).sign(text.as_bytes(), "")
}

#[test]
fn all_manifests_count_wherever_they_are() {
    let image = Image::new("");
    let root = image.root;
    let (model, other) = (manifest(1, &entry(root, 2).to_string()), manifest(2, "# nothing"));
    let foreign = manifest(3, &format!("revoked-root {root}"));
    let old = manifest(2, "minimum-version model 3");
    let keys = [1, 2].map(|number| key(number).public_key()).to_vec();
    for reversed in [false, true] {
        let disks = |manifests: &[&String]| {
            let mut manifests: Vec<&str> = manifests.iter().map(|text| &***text).collect();
            if reversed {
                manifests.reverse();
            }
            image.disks_with(&manifests, TrustSettings { keys: keys.clone(), ..settings(Mode::Require) })
        };
        // One that names the file is enough; one that nobody believes does no harm.
        for manifests in [&[&model, &other][..], &[&model, &foreign], &[&foreign, &other, &model]] {
            let mut disks = disks(manifests);
            assert_eq!(disks[0].seal().map(|seal| seal.version), Some(2));
            assert!(read(&mut disks).unwrap() == image.file);
        }
        let mut disks = disks(&[&model, &old]);
        let result = read(&mut disks);
        assert_eq!(distrust(&disks, result), Distrust::Refused(Refusal::Old { version: 2, minimum: 3 }));
    }
}

#[test]
fn beside_a_manifest_that_is_too_long_none_makes_a_file_trusted() {
    let image = Image::new("");
    let short: &str = &(image.manifest.clone() + &"\0".repeat(512 << 10));
    let long: &str = &manifest(1, &format!("#{}\nrevoked-root {}", "x".repeat(256 << 10), image.root));
    for (manifests, expected) in [
        (vec![short], None),
        (vec![long, short], Some(ManifestFault::TooLong)),
        (vec![short, long], Some(ManifestFault::TooLong)),
    ] {
        let mut disks = image.disks_with(&manifests, settings(Mode::Require));
        let is_read = read(&mut disks).map(|bytes| bytes == image.file);
        match expected {
            None => assert_eq!(is_read, Ok(true)),
            manifest => {
                let unknown = Distrust::Unknown { root: image.root, manifest };
                assert_eq!(distrust(&disks, is_read), unknown);
            }
        }
    }
}

/// Whoever attaches the disks makes the superblock, too.
#[test]
fn a_root_of_the_boot_arguments_is_that_of_a_file_of_one_length() {
    let mut image = Image::new("");
    let told =
        TrustSettings { mode: Mode::Require, roots: vec![("model".into(), image.root)], keys: Vec::new() };
    for n_blocks in [2_u64, 10, 12, 40] {
        image.tree[72..80].copy_from_slice(&n_blocks.to_le_bytes());
        image.file.resize(n_blocks as usize * 4096, 0);
        let mut disks = image.disks(told.clone());
        let result = read(&mut disks);
        assert_eq!(distrust(&disks, result), Distrust::Blocks { n_blocks });
    }
    image.tree[72..80].copy_from_slice(&11_u64.to_le_bytes());
    image.file = file();
    assert!(read(&mut image.disks(told)).is_ok());
}
