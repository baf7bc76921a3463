use crate::{LLAMA, fail_saying, scratch_file, succeed};

const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../trust/tests/golden/minisign/secret.key");
const PUBLIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../trust/tests/golden/minisign/secret.pub");
const OTHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../trust/tests/golden/minisign/other.pub");

#[test]
fn what_is_signed_is_verified_and_what_is_changed_is_not() {
    let (model, manifest) = (scratch_file("signed.gguf"), scratch_file("signed.manifest"));
    let _ = std::fs::remove_file(&manifest);
    std::fs::copy(&*LLAMA, &model).unwrap();
    let sign = |words: &[&str]| {
        succeed(&[&["sign", "--secret-key", KEY, "--manifest", &manifest][..], words].concat())
    };
    let said = sign(&["--version", "2", &model]);
    let root = said.split("root ").nth(1).and_then(|rest| rest.get(..64)).unwrap().to_owned();
    let of_key = ["verify", &model, "--manifest", &manifest, "--public-key"];
    let verify: Vec<&str> = [&of_key[..], &[PUBLIC]].concat();
    let said = succeed(&verify);
    assert!(
        said.starts_with(&format!("{model}: root {root}, signed, version 2, signed with key ")),
        "{said}"
    );
    assert_eq!(succeed(&["verify", &model, "--root", &root]), format!("{model}: root {root}, as told\n"));
    fail_saying(&[&of_key[..], &[OTHER]].concat(), &[&manifest, "is not trusted"]);
    fail_saying(&["verify", &model, "--root", &"00".repeat(32)], &[&root, "expected 000"]);

    // The beginning of the file, and a tree that says that this is all.
    let bytes = std::fs::read(&model).unwrap();
    let tree = format!("{model}.verity");
    let whole = std::fs::read(&tree).unwrap();
    let mut shorter = whole.clone();
    let n_blocks = shorter[72] - 1;
    shorter[72] = n_blocks;
    std::fs::write(&tree, &shorter).unwrap();
    std::fs::write(&model, &bytes[..usize::from(n_blocks) * 4096]).unwrap();
    fail_saying(&["verify", &model, "--root", &root], &["a file of another length than"]);
    std::fs::write(&tree, &whole).unwrap();

    let mut changed = bytes.clone();
    changed[9000] ^= 1;
    std::fs::write(&model, &changed).unwrap();
    fail_saying(&verify, &["block 2 (bytes 8192 to 12287) was changed", "expected"]);
    std::fs::write(&model, &bytes[1..]).unwrap();
    fail_saying(&verify, &[&format!("expected {}", bytes.len())]);
    std::fs::write(&model, &bytes).unwrap();
    let mut changed = std::fs::read(&tree).unwrap();
    changed[4200] ^= 1;
    std::fs::write(&tree, &changed).unwrap();
    fail_saying(&verify, &[]);

    // The tree again, a line more, and no line less.
    sign(&["--version", "2", &model]);
    sign(&["--minimum-version", "signed:3"]);
    fail_saying(&verify, &["it is version 2; expected version 3 or newer"]);
    sign(&["--minimum-version", "signed:2"]);
    succeed(&verify);
    sign(&["--revoke", &root]);
    fail_saying(&verify, &["is revoked"]);
    // Any of several manifests names a file, and any of them forbids one.
    let other = scratch_file("other.manifest");
    let _ = std::fs::remove_file(&other);
    succeed(&["sign", "--secret-key", KEY, "--manifest", &other, "--version", "3", &model]);
    let of_other = ["verify", &model, "--manifest", &other, "--public-key", PUBLIC];
    succeed(&of_other);
    fail_saying(&[&of_other[..], &["--manifest", &manifest]].concat(), &["is revoked"]);
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    fail_saying(&["sign", "--secret-key", PUBLIC, "--manifest", &manifest, &model], &[PUBLIC]);
    let unsafe_name = format!("{model}:A B");
    fail_saying(&["sign", "--secret-key", KEY, "--manifest", &manifest, &unsafe_name], &["expected a name"]);
    fail_saying(&["sign", "--secret-key", KEY, "--manifest", &manifest], &["nothing to sign"]);
}

#[test]
fn only_a_manifest_of_the_same_key_is_changed_and_no_line_but_the_one_that_is_meant() {
    let manifest = scratch_file("guarded.manifest");
    let signature = format!("{manifest}.minisig");
    let _ = std::fs::remove_file(&manifest);
    let base = ["sign", "--secret-key", KEY, "--manifest", &*manifest, "--revoke"];
    let sign = |key: &str| succeed(&[&base[..], &[key]].concat());
    let refuse = |key: &str, said: &str| fail_saying(&[&base[..], &[key]].concat(), &[said]);
    sign("B3899FE443C58D51");
    sign("00000000000B3899");
    sign("B3899FE443C58D51");
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert_eq!(text, "ferrite-models 1\nrevoked-key B3899\nrevoked-key B3899FE443C58D51\n");
    refuse("B3899", "a key id of 16");
    // A line that nobody has signed.
    let changed = text.replace("revoked-key B3899\n", "");
    std::fs::write(&manifest, &changed).unwrap();
    refuse("0123456789ABCDEF", "it is not what this key has signed");
    assert_eq!(std::fs::read_to_string(&manifest).unwrap(), changed);
    std::fs::write(&manifest, &text).unwrap();
    std::fs::remove_file(&signature).unwrap();
    refuse("0123456789ABCDEF", &signature);
    assert!(!std::fs::exists(format!("{manifest}.part")).unwrap());
}

#[test]
fn a_manifest_that_the_kernel_would_not_read_is_not_written() {
    let manifest = scratch_file("long.manifest");
    let _ = std::fs::remove_file(&manifest);
    let refuse = |names: Vec<String>, said: &str| {
        let minimums = names.iter().flat_map(|name| ["--minimum-version", name]);
        let words = ["sign", "--secret-key", KEY, "--manifest", &manifest].into_iter().chain(minimums);
        fail_saying(&words.collect::<Vec<_>>(), &[&manifest, said]);
        assert!(
            !std::fs::exists(&manifest).unwrap() && !std::fs::exists(format!("{manifest}.part")).unwrap()
        );
    };
    let long = |number: usize| format!("{number:0>255}:1");
    refuse((0..1000).map(long).collect(), "expected at most 262144");
    refuse((0..4096).map(|number| format!("n{number}:1")).collect(), "line 4097 of the manifest");
}
