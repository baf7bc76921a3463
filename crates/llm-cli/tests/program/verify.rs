use crate::{LLAMA, fail_saying, scratch_file, succeed};

#[test]
fn a_checksum_beside_the_file_is_compared_with() {
    let path = scratch_file("verified.gguf");
    std::fs::copy(&*LLAMA, &path).unwrap();
    let beside = format!("{path}.sha256");
    let _ = std::fs::remove_file(&beside);
    fail_saying(&["verify", &path], &[&path, "SHA-256 is ", "no checksum came with the file"]);
    // Of the four bytes `abc\n`, by sha256sum.
    std::fs::write(&path, "abc\n").unwrap();
    let digest = "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb";
    std::fs::write(&beside, format!("{digest}  verified.gguf\n")).unwrap();
    let said = format!("{path}: SHA-256 {digest} as expected\n");
    assert_eq!(succeed(&["verify", &path]), said);
    assert_eq!(succeed(&["verify", "--model", &path]), said);
    std::fs::write(&path, "abd\n").unwrap();
    fail_saying(&["verify", "-m", &path], &[digest, "damaged"]);
    std::fs::write(&beside, "short").unwrap();
    fail_saying(&["verify", &path], &[".sha256", "64 hexadecimal digits"]);
    fail_saying(&["verify"], &["--model"]);
    fail_saying(&["verify", "/nowhere"], &["/nowhere"]);
}
