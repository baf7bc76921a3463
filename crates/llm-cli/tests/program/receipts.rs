use serde_json::Value;

use crate::{LLAMA, fail_saying, llm, scratch_file, succeed};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test_models/tiny.gguf");
const SEED: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A file with the answer of `llm infer` to these arguments, followed by its receipt.
fn answered(name: &str, arguments: &[&str]) -> (String, String) {
    let mut command = vec!["infer", "--model", TINY, "--receipt"];
    command.extend(arguments);
    let said = succeed(&command);
    let path = scratch_file(name);
    std::fs::write(&path, &said).unwrap();
    (path, said)
}

/// The last line of the message about a wrong receipt.
fn refused(path: &str, more: &[&str]) -> String {
    let mut command = vec!["verify-receipt", path, "--model", TINY];
    command.extend(more);
    let output = llm(&command);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("the receipt is wrong"), "{errors}");
    String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned()
}

#[test]
fn a_receipt_is_found_right_and_any_change_is_not() {
    let (path, said) = answered("receipt", &["Hello", "10", "--nonce", "mine \"\u{e9}"]);
    let verified = succeed(&["verify-receipt", &path, "--model", TINY, "--nonce", "mine \"\u{e9}"]);
    assert!(verified.starts_with("signed by ") && verified.ends_with("\nACCEPT\n"), "{verified}");
    assert_eq!(refused(&path, &["--nonce", "yours"]), "REJECT: the nonce is another one");
    assert_eq!(refused(&path, &["--key", SEED]), "REJECT: another key has signed it");
    let output = llm(&["verify-receipt", &path, "--model", &LLAMA]);
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("REJECT: it is about another model\n"));
    assert!(said.starts_with(", Ferrite!"), "the text comes first: {said}");
}

#[test]
fn a_key_can_be_given_and_the_prompt_kept_back() {
    let key = scratch_file("receipt.key");
    std::fs::write(&key, format!("{SEED}\n")).unwrap();
    let (path, said) =
        answered("receipt-of-key", &["What is", "12", "--receipt-key", &key, "--temp", "0.8", "--seed", "7"]);
    let (_, again) = answered(
        "receipt-of-key-2",
        &["What is", "12", "--receipt-key", &key, "--temp", "0.8", "--seed", "7"],
    );
    let receipt = |said: &str| -> Value { serde_json::from_str(said.lines().last().unwrap()).unwrap() };
    let (first, second) = (receipt(&said), receipt(&again));
    assert_eq!(first["record"]["work"], second["record"]["work"], "the same request does the same");
    let public = first["key"].as_str().unwrap();
    assert!(succeed(&["verify-receipt", &path, "--model", TINY, "--key", public]).ends_with("ACCEPT\n"));

    // Indented, and without the prompt.
    let mut without = first.clone();
    let ids = without.as_object_mut().unwrap().remove("prompt_tokens").unwrap();
    std::fs::write(&path, serde_json::to_string_pretty(&without).unwrap()).unwrap();
    fail_with(&path, &["does not show the prompt", "--prompt-tokens FILE"]);
    let ids_file = scratch_file("receipt.ids");
    std::fs::write(&ids_file, ids.to_string()).unwrap();
    let command = ["verify-receipt", &path, "--model", TINY, "--prompt-tokens", &ids_file];
    assert!(succeed(&command).ends_with("ACCEPT\n"));
    std::fs::write(&ids_file, "1 2 3").unwrap();
    let other_prompt = refused(&path, &["--prompt-tokens", &ids_file]);
    assert_eq!(other_prompt, "REJECT: the prompt is not the one that the record has the digest of");

    // One thing changed.
    let unsigned = "REJECT: the signature is not that of the key over the record";
    let changes: [(&str, Value); 7] = [
        ("/record/work/answer/tokens/3", 1.into()),
        ("/record/work/request/sampling/seed", "8".into()),
        ("/record/maker/program", "ferrite 0.1.0".into()),
        ("/record/time", 1.into()),
        ("/record/work/usage/cached_tokens", 1.into()),
        ("/key", SEED.into()),
        ("/signature", "00".repeat(64).into()),
    ];
    for (place, value) in changes {
        let mut changed = first.clone();
        *changed.pointer_mut(place).expect(place) = value;
        std::fs::write(&path, changed.to_string()).unwrap();
        assert_eq!(refused(&path, &[]), unsigned, "{place}");
    }
    for (place, value, part) in [
        ("/record/type", Value::from("ferrite/receipt/2"), unsigned),
        ("/record/more", 1.into(), "unknown field `more`"),
        ("/signature", "00".into(), "expected 128 hexadecimal digits"),
        ("/record/work/answer/tokens/0", (-1).into(), "invalid value: integer `-1`"),
    ] {
        let mut changed = first.clone();
        match changed.pointer_mut(place) {
            Some(there) => *there = value,
            None => changed["record"]["more"] = value,
        }
        std::fs::write(&path, changed.to_string()).unwrap();
        match part == unsigned {
            true => assert_eq!(refused(&path, &[]), unsigned),
            false => fail_with(&path, &["no receipt", part]),
        }
    }
}

/// Asserts that a receipt cannot be checked, and the reason.
fn fail_with(path: &str, parts: &[&str]) {
    let output = llm(&["verify-receipt", path, "--model", TINY]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(!String::from_utf8(output.stdout).unwrap().contains("ACCEPT"));
    parts.iter().for_each(|part| assert!(errors.contains(part), "`{part}` is not in {errors:?}"));
}

#[test]
fn what_is_no_receipt_is_told() {
    let noise = scratch_file("no-receipt");
    std::fs::write(&noise, "neither here nor there\n").unwrap();
    fail_with(&noise, &["no-receipt: no receipt"]);
    fail_with("/nowhere", &["/nowhere"]);
    fail_saying(
        &["infer", "--model", TINY, "a", "1", "--receipt", "--receipt-key", &noise],
        &["64 hexadecimal digits"],
    );
    let long = "x".repeat(257);
    fail_saying(
        &["infer", "--model", TINY, "a", "1", "--receipt", "--nonce", &long],
        &["--nonce", "256 bytes"],
    );
}
