use crate::{LLAMA, fail_saying, succeed};

#[test]
fn the_json_report_has_every_field() {
    let report =
        succeed(&["bench", "--model", &LLAMA, "-p", "20", "-n", "4", "-t", "2", "-r", "1", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["pp_tokens"], 20);
    assert_eq!(report["tg_tokens"], 4);
    assert_eq!(report["cores"], 2);
    for key in ["pp_tps", "tg_tps", "first_token_us"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}");
    }
    for key in ["pp_insn_per_token", "tg_insn_per_token", "load_bytes_per_s"] {
        assert_eq!(report.get(key), Some(&serde_json::Value::Null), "{key}");
    }
    assert!(report["model"].is_string() && report["kernel_set"].is_string());
}

#[test]
fn the_table_is_for_people() {
    let table =
        succeed(&["bench", "--model", &LLAMA, "-p", "8", "-n", "2", "-r", "1", "--kernels", "scalar"]);
    let spelled = ["bench", "-m", &LLAMA, "--prompt", "8", "--generate", "2", "--runs", "1"];
    assert!(succeed(&spelled).contains("prefill  8 tokens in "));
    assert!(table.contains("scalar") && table.contains("tokens/s"), "{table}");
}

#[test]
fn the_keys_are_those_of_the_kernel_in_its_order() {
    let report = succeed(&["bench", "--model", &LLAMA, "-p", "5", "-n", "1", "-r", "2", "-t", "1", "--json"]);
    let keys: Vec<_> = report.split('"').skip(1).step_by(2).collect();
    let expected = [
        "pp_tokens",
        "pp_tps",
        "tg_tokens",
        "tg_tps",
        "pp_insn_per_token",
        "tg_insn_per_token",
        "load_bytes_per_s",
        "first_token_us",
    ];
    assert_eq!(keys[keys.len() - expected.len()..], expected, "{report}");
}

#[test]
fn more_tokens_than_the_context_holds_are_refused() {
    fail_saying(&["bench", "--model", &LLAMA, "-p", "100", "-n", "2"], &["100 tokens", "context of 64"]);
}

#[test]
fn several_texts_together_have_keys_of_their_own() {
    let bench = ["bench", "--model", &LLAMA, "-p", "5", "-n", "3", "-d", "9", "-r", "2", "--parallel", "3"];
    let report = succeed(&[&bench[..], &["--json"]].concat());
    let end = report.split_once("\"first_token_us\":").unwrap().1;
    let keys: Vec<_> = end.split('"').skip(1).step_by(2).collect();
    assert_eq!(keys, ["n_parallel", "batch_tps", "batch_insn_per_token"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["n_parallel"], &report["tg_tokens"]), (&3.into(), &3.into()));
    assert!(report["batch_tps"].as_f64().unwrap() > 0.0 && report["batch_insn_per_token"].is_null());
    assert!(succeed(&bench).contains("\nbatch    9 tokens of 3 texts in "));
    for n in ["0", "65", "x"] {
        fail_saying(&["bench", "--model", &LLAMA, "--parallel", n], &["--parallel", "1 to 64"]);
    }
}
