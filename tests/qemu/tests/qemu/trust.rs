//! Models that are checked while they are read: changes are refused or reported.

use qemu_tests::{Directory, Outcome, Run, repository};
use std::{fs, path::PathBuf};
use trust::{
    Root,
    manifest::Entry,
    minisign::{KeyId, SecretKey},
    sha256::PORTABLE,
    verity::{Builder, Superblock},
};

/// A model with its hash tree, a manifest, and the key that signed the manifest.
struct Signed {
    model: PathBuf,
    tree: PathBuf,
    manifest: PathBuf,
    key: PathBuf,
    root: Root,
}

fn key(number: u8) -> SecretKey {
    SecretKey::new(KeyId([number; 8]), &[number; 32])
}

impl Signed {
    fn new(directory: &Directory, more: &str) -> Self {
        let bytes = fs::read(repository().join("test_models/tiny.gguf")).unwrap();
        let superblock = Superblock::new(bytes.len() as u64);
        let mut tree = Vec::new();
        let mut write = |at: u64, block: &[u8]| {
            let end = at as usize + block.len();
            tree.resize(end.max(tree.len()), 0);
            tree[at as usize..end].copy_from_slice(block);
        };
        let mut builder = Builder::new(superblock.clone(), PORTABLE);
        builder.update(&bytes, &mut write);
        let root = builder.finish(&mut write);
        let entry = Entry { name: "signed".into(), version: 2, bytes: bytes.len() as u64, root, superblock };
        let text = format!("ferrite-models 1\n{entry}\n{more}");
        let manifest = directory.file("models.manifest", text.as_bytes());
        directory.file("models.manifest.minisig", key(1).sign(text.as_bytes(), "of a test").as_bytes());
        let public = format!("untrusted comment: key\n{}\n", key(1).public_key());
        Self {
            model: directory.file("tiny.gguf", &bytes),
            tree: directory.file("tiny.gguf.verity", &tree),
            manifest,
            key: directory.file("key.pub", public.as_bytes()),
            root,
        }
    }

    fn run(&self, mode: &str, command: &str) -> Outcome {
        let Self { model, manifest, key, .. } = self;
        let run = Run::new()
            .model(model)
            .args(["--verity", mode])
            .args(["--manifest".as_ref(), manifest.as_os_str()]);
        run.args(["--public-key".as_ref(), key.as_os_str()]).command(command).finish()
    }

    /// Changes a bit, runs, and restores the bit.
    fn with_bit(&self, path: &PathBuf, at: usize, check: impl FnOnce(&Self)) {
        let bytes = fs::read(path).unwrap();
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(path, changed).unwrap();
        check(self);
        fs::write(path, bytes).unwrap();
    }
}

const INFER: &str = "llm infer 'Once upon a time' 8";

#[test]
fn a_signed_model_is_computed_with_under_the_name_that_it_was_signed_as() {
    let directory = Directory::new("trust-signed");
    let signed = Signed::new(&directory, "");
    let unchecked = signed.run("off", INFER).expect_status(0);
    let checked = signed.run("require", INFER).expect_status(0);
    assert_eq!(checked.text(), unchecked.text());
    let root = signed.root;
    let info = signed.run("require", "llm info").expect_status(0).text();
    assert!(
        info.contains(&format!("root          {root}\n")) && info.contains("/models/signed.gguf"),
        "{info}"
    );
    let verified = signed.run("require", "llm verify").expect_status(0).text();
    let expected = format!(
        "/models/signed.gguf: verified: signed, root {root}, version 2, signed with key 101010101010101\n"
    );
    assert!(verified.ends_with(&expected), "{verified}");
    let list = signed.run("require", "llm list").expect_status(0).text();
    assert!(list.contains("2.9 MiB, verified\n"), "{list}");
    // By its root alone.
    let root = format!("ferrite.verity=require ferrite.verity_root=mine:{root}");
    Run::new().model(&signed.model).boot_args(&root).command(INFER).finish().expect_status(0);
    // A model beside it that nobody has signed.
    let other = repository().join("test_models/micro.gguf");
    let run = Run::new()
        .model(&signed.model)
        .model(&other)
        .boot_args(&root)
        .command("llm infer hi 1 --model ferrite-micro");
    run.finish().expect_status(1);
}

#[test]
fn a_changed_bit_anywhere_is_refused_with_its_place_or_reported() {
    let directory = Directory::new("trust-changed");
    let signed = Signed::new(&directory, "");
    let text = signed.run("off", INFER).expect_status(0).text();
    let (model, tree, manifest) = (&signed.model, &signed.tree, &signed.manifest);
    // In the header, in the first block of weights, in the last block.
    for at in [100, 200_000, 3_027_000] {
        let block = at / 4096;
        signed.with_bit(model, at, |signed| {
            let place = format!("block {block} (bytes {} to ", block * 4096);
            signed.run("require", INFER).expect_status(1).expect_error(&place);
            signed.run("report", INFER).expect_error(&place);
        });
    }
    for (path, at) in
        [(tree, 5000), (tree, 70), (manifest, 30), (&manifest.with_extension("manifest.minisig"), 90)]
    {
        signed.with_bit(path, at, |signed| {
            signed.run("require", INFER).expect_status(1);
            assert_eq!(
                signed.run("report", INFER).expect_status(0).expect_error("disk 0: not trusted").text(),
                text
            );
        });
    }
}

#[test]
fn old_versions_and_revoked_models_are_refused() {
    let directory = Directory::new("trust-old");
    let signed = Signed::new(&directory, "minimum-version signed 3\n");
    let expected = "it is version 2; expected version 3 or newer";
    signed.run("require", INFER).expect_status(1).expect_error(expected);
    signed.run("report", INFER).expect_status(0).expect_error(expected);
    let root = signed.root;
    let signed = Signed::new(&directory, &format!("revoked-root {root}\n"));
    signed.run("require", INFER).expect_status(1).expect_error("is revoked");
    // Another key than the one that is trusted.
    fs::write(&signed.key, format!("{}\n", key(2).public_key())).unwrap();
    signed.run("require", INFER).expect_status(1).expect_error("which is not trusted");
}

#[test]
fn trees_and_manifest_are_partitions_of_a_disk() {
    let directory = Directory::new("trust-uefi");
    let signed = Signed::new(&directory, "");
    let Signed { model, manifest, key, .. } = &signed;
    let run = |mode: &str| {
        let run = Run::new().model(model).args(["--uefi", "--verity", mode]);
        let run = run.args(["--manifest".as_ref(), manifest.as_os_str()]);
        run.args(["--public-key".as_ref(), key.as_os_str()]).command(INFER).finish()
    };
    run("require").expect_status(0);
    signed.with_bit(model, 2_000_000, |_| {
        run("require").expect_status(1);
    });
}
