use crate::{GPT2, LLAMA, fail_saying, llm, scratch_file, succeed};

fn infer(model: &str, options: &[&str]) -> String {
    succeed(&[&["infer", "--model", model, "--prompt", "the cat sat", "-n", "8"], options].concat())
}

#[test]
fn ids_and_text_are_of_the_same_tokens() {
    for model in [&*LLAMA, &*GPT2] {
        let ids = infer(model, &["--ids"]);
        assert_eq!(ids.lines().count(), 1);
        assert_eq!(ids.split_whitespace().count(), 8, "{ids}");
        assert_eq!(infer(model, &["--ids"]), ids, "greedy text is the same each time");
        assert!(infer(model, &[]).ends_with('\n'));
    }
}

#[test]
fn a_seed_repeats_a_text_and_another_gives_another() {
    let sample = |seed| infer(&LLAMA, &["--ids", "--temp", "1", "--top-k", "0", "--seed", seed]);
    assert_eq!(sample("1"), sample("1"));
    assert_ne!(sample("1"), sample("2"));
}

#[test]
fn a_random_seed_is_printed_and_repeats_the_text() {
    let run = |seed: &str| {
        let base = ["infer", "-m", &*LLAMA, "-p", "the cat sat", "-n", "12", "--ids", "--temp", "2"];
        let output = llm(&[&base[..], &[seed]].concat());
        assert!(output.status.success());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (text, said) = run("--seed=-1");
    let seed = said.strip_prefix("llm: seed ").unwrap_or_else(|| panic!("{said:?}")).trim_end();
    assert_eq!(run(&format!("--seed={seed}")), (text, String::new()));
    let seeds: std::collections::BTreeSet<_> = (0..4).map(|_| run("-s-1").1).collect();
    assert!(seeds.len() > 1, "{seeds:?}");
}

#[test]
fn one_option_lets_the_tokens_vary_as_in_the_kernel() {
    let greedy = infer(&LLAMA, &["--ids"]);
    assert_eq!(infer(&LLAMA, &["--ids", "--temp", "0", "--seed", "7"]), greedy);
    for option in ["--seed", "--top-k", "--top-p", "--min-p"] {
        let value = if option == "--top-p" { "1" } else { "0" };
        let drawn = infer(&LLAMA, &["--ids", option, value]);
        assert_eq!(drawn, infer(&LLAMA, &["--ids", "--temp", "0.8"]), "{option}");
        assert_ne!(drawn, greedy);
    }
}

#[test]
fn minus_one_is_all_of_something() {
    let drawn = |options: &[&str]| infer(&LLAMA, &[&["--ids", "--temp", "1"], options].concat());
    assert_eq!(drawn(&["--top-k", "-1"]), drawn(&["--top-k", "0"]));
    let penalised = |n: &str| {
        succeed(&[
            "infer",
            "-m",
            &LLAMA,
            "-p",
            "a",
            "-n",
            "40",
            "--ids",
            "--repeat-penalty",
            "9",
            "--repeat-last-n",
            n,
        ])
    };
    assert_eq!(penalised("-1"), penalised("64"));
    assert_ne!(penalised("-1"), penalised("2"));
    for penalty in ["--frequency-penalty", "--presence-penalty"] {
        // Less than nothing makes them likelier.
        let [repeating, varied] = ["-99", "99"].map(|value| {
            let ids = infer(&LLAMA, &["--ids", "--temp", "0", penalty, value]);
            ids.split_whitespace().map(str::to_owned).collect::<std::collections::BTreeSet<_>>().len()
        });
        assert!(repeating < 8 && varied == 8, "{penalty}: {repeating}, {varied}");
    }
    for n in [&["-n", "-1"][..], &["-n-1"], &["--n-predict=-1"]] {
        let output = llm(&[&["infer", "-m", &LLAMA, "-p", "ab", "--ids"], n].concat());
        assert!(output.status.success(), "{n:?}");
        let n_ids = String::from_utf8(output.stdout).unwrap().split_whitespace().count();
        assert!((50..=64).contains(&n_ids), "{n:?}: {n_ids}");
    }
}

#[test]
fn the_kernels_arguments_are_understood() {
    let expected = infer(&LLAMA, &["--ids"]);
    assert_eq!(succeed(&["infer", "-m", &LLAMA, "the cat sat", "8", "--ids"]), expected);
    assert_eq!(succeed(&["infer", "-m", &LLAMA, "the cat sat", "-n", "8", "--ids", "-c", "32"]), expected);
    assert_eq!(succeed(&["infer", "-m", &LLAMA, "-p", "the cat sat", "8", "--ids"]), expected);
    assert_eq!(succeed(&["infer", "-m", &LLAMA, "8", "--ids", "-p", "the cat sat"]), expected);
    let all = |words: &[&str]| llm(&[&["infer", "-m", &*LLAMA, "--ids"], words].concat()).stdout;
    let until_full = all(&["-p", "ab", "-n", "-1"]);
    assert!(!until_full.is_empty());
    assert_eq!(all(&["-p", "ab", "-1"]), until_full);
    assert_eq!(all(&["ab", "-1"]), until_full);
    fail_saying(&["infer", "-m", &LLAMA, "a", "-p", "b"], &["\"a\"", "N: expected a number of tokens"]);
    fail_saying(&["infer", "-m", &LLAMA, "a", "5", "-p", "b"], &["PROMPT is given twice", "--prompt"]);
    fail_saying(&["infer", "-m", &LLAMA, "5", "-p", "b", "-n", "5"], &["N is given twice", "--max-tokens"]);
    fail_saying(&["infer", "-m", &LLAMA, "a", "5", "-n", "5"], &["--max-tokens", "cannot be used with"]);
    fail_saying(&["infer", "-m", &LLAMA], &["PROMPT"]);
}

#[test]
fn verbose_shows_weights_steps_and_the_end_beside_the_text() {
    let base = ["infer", "-m", &*LLAMA, "-p", "the cat sat", "-n", "3"];
    let output = llm(&[&base[..], &["--verbose"]].concat());
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), succeed(&base));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("llm: ") && said.contains("mean magnitude"), "{said}");
    assert_eq!(said.matches(": logits from ").count(), 3, "{said}");
    assert!(said.contains(" prompt tokens, 3 generated, first after "), "{said}");
}

#[test]
fn options_of_a_chat_are_about_one() {
    fail_saying(&["infer", "-m", &LLAMA, "-p", "a", "--system", "b"], &["give --chat too"]);
    fail_saying(
        &["infer", "-m", &LLAMA, "-p", "a", "--chat", "--special"],
        &["--special cannot be given with --chat"],
    );
}

#[test]
fn threads_do_not_change_the_text() {
    assert_eq!(infer(&LLAMA, &["--ids", "-t", "1"]), infer(&LLAMA, &["--ids", "-t", "4"]));
}

#[test]
fn a_stop_text_ends_the_generation_and_is_not_printed() {
    let whole = infer(&LLAMA, &[]);
    let whole = whole.trim_end_matches('\n');
    let (start, _) = whole.char_indices().nth(2).unwrap();
    let stop = &whole[start..];
    assert_eq!(infer(&LLAMA, &["--stop", stop]), format!("{}\n", &whole[..start]));
}

#[test]
fn a_prompt_may_begin_with_a_dash() {
    let ids = succeed(&["infer", "--model", &LLAMA, "--prompt", "--ids", "-n", "2", "--stop", "-x", "--ids"]);
    assert_eq!(ids.split_whitespace().count(), 2);
}

#[test]
fn generation_ends_with_the_context() {
    let output = llm(&["infer", "--model", &LLAMA, "--prompt", "ab", "-n", "500", "--ids"]);
    assert!(output.status.success());
    let n = String::from_utf8(output.stdout).unwrap().split_whitespace().count();
    assert!((50..=64).contains(&n), "{n}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the context of 64 tokens is full"));
}

#[test]
fn mistakes_are_explained() {
    let run = |prompt: &str, options: &[&str], parts: &[&str]| {
        fail_saying(&[&["infer", "--model", &LLAMA, "--prompt", prompt], options].concat(), parts);
    };
    run(&"word ".repeat(100), &[], &["tokens", "64"]);
    run("abc def", &["--ctx", "3"], &["tokens", "3"]);
    run("abc", &["--temp", "-1"], &["--temp is -1"]);
    run("abc", &["--top-p", "1.5"], &["--top-p is 1.5"]);
    run("abc", &["--repeat-last-n", "-2"], &["'-2' for '--repeat-last-n", "or -1 for the whole context"]);
    run("abc", &["--seed", "-2"], &["--seed"]);
    run("abc", &["-n", "-3"], &["-1"]);
    let no_start = ["infer", "--model", &GPT2, "--prompt", ""];
    fail_saying(&no_start, &["no tokens"]);
}

#[test]
fn the_vocabulary_must_be_whole() {
    let bytes = std::fs::read(&*LLAMA).unwrap();
    let key = b"tokenizer.ggml.tokens";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    let mut renamed = bytes;
    renamed[at + key.len() - 1] = b'z';
    let path = scratch_file("no-tokens.gguf");
    std::fs::write(&path, renamed).unwrap();
    fail_saying(&["infer", "--model", &path, "--prompt", "x"], &["tokenizer.ggml.tokens"]);
}
