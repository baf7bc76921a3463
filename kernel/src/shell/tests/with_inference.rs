//! Tests of commands that load and run models.

use super::*;
use crate::llm::{EngineOptions, fixtures};

fn good() -> Computer {
    Computer::new().disk("s", broken_gguf::good())
}

fn is_one_line_error(answer: &str) -> bool {
    answer.starts_with("error: ") && answer.ends_with('\n') && answer.matches('\n').count() == 1
}

#[test]
fn a_one_liner_prints_the_text_and_nothing_else() {
    let computer = Computer::new().disk("s", fixtures::micro());
    let text = computer.command("llm infer 'Once upon a time' 12").unwrap();
    assert!(text.ends_with('\n') && text.trim().split(' ').count() > 3, "{text:?}");
    assert_eq!(computer.command("llm infer 'Once upon a time' 12").unwrap(), text, "not reproducible");
    let longer = computer.command("llm infer 'Once upon a time' 20").unwrap();
    assert!(longer.starts_with(text.trim_end()), "{longer:?}");
    let free_bytes = computer.pool.free_bytes();
    assert_eq!(free_bytes, computer.pool.total_bytes());
}

#[test]
fn a_model_whose_disk_was_swapped_is_loaded_anew() {
    let computer = Computer { swaps_disks: true, ..good() };
    let answers = computer.converse(&[
        b"llm load good",
        b"llm info --model good",
        b"llm list",
        b"disks rescan",
        b"llm list",
        b"llm infer hello 3",
        b"llm list",
        b"llm infer --model good hello 3",
        b"llm list",
    ]);
    assert!(answers[3].contains("is gone") && answers[3].contains("is new"), "{answers:?}");
    // Weights in memory can be used without their disk, but not if the path now refers to another file.
    for (answer, mark) in [(2, "* "), (4, "  "), (6, "  "), (8, "* ")] {
        assert!(answers[answer].starts_with(&std::format!("{mark}/models/good.gguf")), "{answers:?}");
    }
}

#[test]
fn sampling_options_reach_the_sampler() {
    let computer = Computer::new().disk("s", fixtures::micro());
    let text = |options: &str| computer.command(&std::format!("llm infer 'One day' 32 {options}")).unwrap();
    let greedy = text("");
    assert_eq!(text("--temp 0 --seed 7"), greedy);
    assert_eq!(text("--temp 3 --top-k 1"), greedy);
    assert_eq!(text("--temp 3 --top-p 0"), greedy);
    assert_eq!(text("--temp 3 --min-p 1"), greedy);
    assert_eq!(text("--temp 5 --seed 1"), text("--temp 5 --seed 1"));
    assert_ne!(text("--temp 5 --seed 1"), text("--temp 5 --seed 2"));
    let seeds = (0..20).map(|seed| text(&std::format!("--seed {seed}")));
    assert!(seeds.into_iter().any(|drawn| drawn != greedy), "a seed alone draws at the usual temperature");
    assert_ne!(text("--repeat-penalty 100"), greedy);
    assert_ne!(text("--frequency-penalty 100"), greedy);
    assert_ne!(text("--presence-penalty 100"), greedy);
    let stopped = text("--stop ' '");
    assert!(!stopped.trim_start().contains(' ') && stopped.len() < greedy.len(), "{stopped:?}");
}

#[test]
fn the_options_of_the_host_program_mean_the_same() {
    let computer = Computer::new().disk("s", fixtures::micro());
    let text = |line: &str| computer.command(line).unwrap_or_else(|| panic!("{line:?} failed"));
    let plain = text("llm infer 'One day' 20");
    for line in [
        "llm infer -p 'One day' -n 20",
        "llm infer --prompt='One day' --max-tokens=20",
        "llm infer --prompt 'One day' 20",
        "llm infer 'One day' --n-predict 20 -c 64",
        "llm infer -m ferrite-micro 'One day' -n 20",
    ] {
        assert_eq!(text(line), plain, "{line}");
    }
    let varied = |options: &str| text(&std::format!("llm infer 'One day' 32 --seed 3 {options}"));
    let all = varied("--top-k 0");
    assert_eq!(varied("--top-k -1"), all);
    assert_eq!(varied("--top-k=-1"), all);
    assert_eq!(varied("--temperature 0.8"), varied(""));
    let penalised =
        |options: &str| text(&std::format!("llm infer 'One day' 40 --repeat-penalty 50 {options}"));
    assert_eq!(penalised("--repeat-last-n -1"), penalised("--repeat-last-n 1000"));
    assert_ne!(penalised("--repeat-last-n -1"), penalised("--repeat-last-n 2"));
    assert!(text("llm bench -p 8 -n 4 -d 2 -r 1").contains("prefill  8 tokens"));
    assert!(
        text("llm bench --prompt-tokens 8 --generate-tokens 4 --repetitions 1").contains("decode   4 tokens")
    );
    assert_eq!(text("llm logits --tokens 1,2 --ctx 8"), text("llm logits 1,2"));
}

#[test]
fn the_chain_that_options_ask_for_is_shown_and_used() {
    let text =
        |line: &str| Computer::new().disk("s", fixtures::micro()).converse(&[line.as_bytes()]).remove(0);
    assert_eq!(
        text("llm info --sampling --samplers 'top_k;temperature' --top-k 40 --seed 3"),
        "top_k        40\ntemperature  0.8\ndist         seed 3\n"
    );
    assert!(text("llm info --sampling --typical 2").contains("--typical is 2, but must be from 0 to 1"));
    // Each sampling option changes a text that is sampled, or one that repeats itself.
    let drawn = text("llm infer 'One day' 24 --temp 2 --seed 1");
    for options in [
        "--typical 0.3",
        "--top-nsigma 0.3",
        "--xtc-probability 1 --xtc-threshold 0.001",
        "--dynatemp-range 1.9",
        "--mirostat 1 --mirostat-ent 1",
        "--mirostat 2 --mirostat-ent 1 --mirostat-lr 0.5",
        "--samplers top_k",
    ] {
        assert_ne!(
            text(&std::format!("llm infer 'One day' 24 --temp 2 --seed 1 {options}")),
            drawn,
            "{options}"
        );
    }
    let greedy = text("llm infer 'One day' 40");
    let dry = "--dry-multiplier 50 --dry-allowed-length 1 --dry-sequence-breaker none";
    assert_ne!(text(&std::format!("llm infer 'One day' 40 {dry}")), greedy);
}

#[test]
fn tokens_have_lines_with_their_probabilities_if_asked_for() {
    let text =
        |line: &str| Computer::new().disk("s", fixtures::micro()).converse(&[line.as_bytes()]).remove(0);
    let lines = text("llm infer 'One day' 4 --logprobs 2");
    assert_eq!(
        lines.lines().filter(|line| line.contains(" | ") && line.starts_with('"')).count(),
        4,
        "{lines}"
    );
    let ids = text("llm infer 'One day' 4 --logprobs 0 --ids");
    let is_of_id = |line: &&str| {
        let two = line.split_once(' ');
        two.is_some_and(|(id, logprob)| id.parse::<u32>().is_ok() && logprob.parse::<f32>().is_ok())
    };
    assert_eq!(ids.lines().filter(is_of_id).count(), 4, "{ids}");
    // After greedy sampling, only the likeliest token is left.
    let after = text("llm infer 'One day' 4 --logprobs 3 --post-sampling-probs");
    assert_eq!(after.lines().filter(|line| line.matches(" 0.0000").count() == 2).count(), 4, "{after}");
    let refused = text("llm infer a --post-sampling-probs");
    assert!(refused.contains("--post-sampling-probs is about --logprobs"), "{refused}");
    assert!(text("llm infer a --logprobs 21").contains("expected a number of tokens, 0 to 20"));
}

#[test]
fn options_are_those_of_the_table_and_what_the_host_alone_has_says_why() {
    for (name, options) in ::llm::front::options::COMMANDS {
        let command = commands::all().find(|command| command.name == std::format!("llm {name}")).unwrap();
        let names = |options: ::llm::front::options::Options| -> Vec<_> {
            options
                .iter()
                .copied()
                .flatten()
                .map(|option| (option.name, option.aliases, option.value))
                .collect()
        };
        // The host program has no commands that a model could run.
        let own = if *name == "chat" { &command.options[1..] } else { command.options };
        assert_eq!(names(own), names(options), "{name}");
    }
    let answers = Computer::new().disk("s", fixtures::micro()).converse(&[
        b"llm tokenize --file x",
        b"llm logits 1 -o x",
        b"llm tokenize --help",
        b"llm infer a --kernels abacus",
        b"llm infer a --threads 0",
        b"llm infer a --system b",
        b"llm infer a --chat --special",
    ]);
    for (answer, said) in [
        (0, "--file is an option of the host program; the kernel has no files"),
        (1, "--output is an option of the host program"),
        (3, "no instruction set \"abacus\"; expected scalar"),
        (4, "--threads is \"0\", expected a number of cores, 1 or more"),
        (5, "give --chat too"),
        (6, "--special cannot be given with --chat"),
    ] {
        assert!(is_one_line_error(&answers[answer]) && answers[answer].contains(said), "{}", answers[answer]);
    }
    assert!(answers[2].contains("--special") && !answers[2].contains("--file"), "{}", answers[2]);
}

#[test]
fn no_option_of_a_command_holds_for_the_next_one() {
    let computer = Computer::new().disk("s", fixtures::micro());
    let infer = b"llm infer 'Once upon a time' 12 --ids";
    let logits = b"llm logits 1,100,120";
    let answers = computer.converse(&[
        b"llm load --ctx 64",
        infer,
        logits,
        b"llm logits 1,100,120 --exact --kv-type f32",
        b"llm infer 'Once upon a time' 12 --ids --kernels scalar --threads 1 --ctx 32 --temp 5 --seed 3 --stop e",
        b"llm info",
        infer,
        logits,
        b"llm info",
    ]);
    let ids = |answer: &str| answer.split_once("\n[").unwrap().0.to_string();
    assert_ne!(answers[3], answers[2]);
    assert_ne!(ids(&answers[4]), ids(&answers[1]));
    assert!(answers[5].contains("n_ctx         32 of"), "{}", answers[5]);
    assert_eq!(ids(answers[6].rsplit("\x1b[K\n").next().unwrap()), ids(&answers[1]));
    assert_eq!(answers[7], answers[2]);
    assert!(answers[8].contains("n_ctx         64 of"), "{}", answers[8]);

    let lines = fixtures::logged(|| {
        talker().converse(&[b"llm load", b"llm infer 'One day' 3 --verbose", b"llm chat 'One day' 3"]);
    });
    assert_eq!(lines.iter().filter(|line| line.contains("logits from")).count(), 3, "{lines:?}");
}

#[test]
fn prompts_can_be_messages_and_have_special_tokens() {
    let computer = talker();
    let text = |line: &str| computer.command(line).unwrap();
    assert_eq!(text("llm infer --chat 'One day' 8"), text("llm chat 'One day' 8"));
    assert_eq!(
        text("llm infer --chat 'One day' 8 --system Hush --template chatml"),
        text("llm chat 'One day' 8 --system Hush --template chatml")
    );
    let ids = |line: &str| text(line).trim().to_string();
    assert_ne!(ids("llm infer '<s>One day' 8 --special"), ids("llm infer '<s>One day' 8"));
}

#[test]
fn what_a_file_holds_is_listed_on_demand() {
    let computer = good();
    let listed = computer.command("llm info --metadata --tensors").unwrap();
    assert!(listed.contains("\nmetadata\n  ") && listed.contains("  llama.block_count = 2\n"), "{listed}");
    assert!(listed.contains("\ntensors\n  token_embd.weight F32 ["), "{listed}");
    assert!(!computer.command("llm info").unwrap().contains("metadata"));
    let kernels = computer.command("llm info --kernels").unwrap();
    assert!(kernels.starts_with("scalar\n") && !kernels.contains("n_layer"), "{kernels}");
}

#[test]
fn minus_one_generates_to_the_end_of_the_context() {
    let computer = good();
    for line in ["llm infer hello -1", "llm infer hello -n -1", "llm infer hello --max-tokens=-1"] {
        let answers = computer.converse(&[line.as_bytes()]);
        assert!(
            answers[0].contains("context full]") || answers[0].contains("end of text]"),
            "{}",
            answers[0]
        );
    }
}

#[test]
fn a_random_seed_is_shown_and_repeats_the_text() {
    let computer = Computer::new().disk("s", fixtures::micro());
    let answers = computer.converse(&[
        b"llm load",
        b"llm infer 'One day' 16 --seed -1 --temp 5",
        b"llm infer 'One day' 16 --temp 5 --seed 4294967291",
        b"llm infer 'One day' 16 --seed=-1 --temp 5",
    ]);
    assert!(answers[1].starts_with("seed 4294967291\n"), "{}", answers[1]);
    let text = |answer: &str| answer.rsplit_once("\n[").unwrap().0.to_string();
    assert_eq!(text(answers[1].split_once('\n').unwrap().1), text(&answers[2]));
    assert_eq!(text(&answers[3]), text(&answers[1]));
}

#[test]
fn a_model_is_loaded_shown_used_and_unloaded() {
    let computer = good().disk("noise", vec![1; 512]);
    let answers = computer.converse(&[
        b"llm unload",
        b"llm load /models/good.gguf --ctx 32",
        b"llm list",
        b"llm info",
        b"llm tokenize hello",
        b"llm infer hello 5",
        b"llm stats",
        b"mem",
        b"llm bench --prompt 8 --generate 4 --depth 3",
        b"llm infer hello 5 --ctx 48",
        b"llm info",
        b"llm infer hello 5 --ctx 65",
        b"llm infer hello 5",
        b"llm unload",
        b"mem",
        b"llm unload",
    ]);
    assert!(is_one_line_error(&answers[0]), "{:?}", answers[0]);
    assert!(answers[1].contains("/models/good.gguf: llama F32") && answers[1].contains("context 32 of 64"));
    assert!(answers[2].starts_with("* /models/good.gguf") && answers[2].contains("\n  /models/noise.gguf"));
    assert!(answers[3].contains("n_layer       2\n") && answers[3].contains("n_ctx         32 of 64\n"));
    assert!(answers[4].split_whitespace().all(|id| id.parse::<u32>().is_ok()), "{}", answers[4]);
    assert!(answers[5].contains("[") && answers[5].contains("5 generated"), "{}", answers[5]);
    assert!(answers[6].contains("inferences    1\n"), "{}", answers[6]);
    assert!(!answers[7].contains("weights   0 B"));
    assert!(answers[8].contains("prefill  8 tokens") && answers[8].contains("decode   4 tokens"));
    assert!(!answers[9].contains("error") && answers[10].contains("n_ctx         48 of 64\n"));
    assert!(is_one_line_error(&answers[11]) && answers[11].contains("64"), "{}", answers[11]);
    assert!(!answers[12].contains("error"));
    assert!(answers[13].contains("given back"));
    assert!(answers[14].contains("weights   0 B") && answers[14].contains("pool      0 B of"));
    assert!(is_one_line_error(&answers[15]), "{:?}", answers[15]);
}

#[test]
fn a_benchmark_is_shown_as_json() {
    let shown = good().command("llm bench --prompt 8 --generate 4 --runs 2 --json").unwrap();
    let (line, rest) = shown.split_once('\n').unwrap();
    assert_eq!(rest, "");
    let inner = line.strip_prefix('{').and_then(|line| line.strip_suffix('}')).unwrap();
    let fields: Vec<_> = inner.split(',').map(|field| field.split_once(':').unwrap()).collect();
    let names: Vec<_> = fields.iter().map(|(name, _)| name.trim_matches('"')).collect();
    let expected = [
        "model",
        "kernel_set",
        "cores",
        "pp_tokens",
        "pp_tps",
        "tg_tokens",
        "tg_tps",
        "pp_insn_per_token",
        "tg_insn_per_token",
        "load_bytes_per_s",
        "first_token_us",
    ];
    assert_eq!(names, expected);
    assert_eq!((fields[0].1, fields[3].1, fields[5].1), ("\"good.gguf\"", "8", "4"));
    for at in [4, 6, 10] {
        assert!(fields[at].1.parse::<f64>().unwrap() >= 0.0, "{line}");
    }
}

#[test]
fn logits_are_shown_to_the_last_bit_and_hold_what_is_chosen() {
    let computer = Computer::new().disk("s", fixtures::micro());
    let rows = |line: &str| -> Vec<Vec<f32>> {
        let shown = computer.command(line).unwrap();
        let row = |line: &str| line.split(' ').map(|number| number.parse().unwrap()).collect();
        shown.lines().map(row).collect()
    };
    let ids = computer.command("llm tokenize 'Once upon a time'").unwrap();
    let line = std::format!("llm logits --kv-type f32 {}", ids.trim().replace(' ', ","));
    let logits = rows(&line);
    assert_eq!(logits.len(), ids.trim().split(' ').count());
    assert!(logits.iter().all(|row| row.len() == logits[0].len()));
    let best = logits.last().unwrap().iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap().0;
    let chosen = computer.command("llm infer 'Once upon a time' 3 --ids --kv-type f32").unwrap();
    assert!(chosen.starts_with(&std::format!("{best} ")), "{chosen:?} after {best}");
    assert_eq!(chosen.trim().split(' ').count(), 3);
    assert_ne!(rows(&line.replace("f32", "f16")), logits, "the cache's format changes nothing");

    let mut backend = llm::backend(host::resources(host::pool(64 << 20), vec![("s", fixtures::micro())]));
    let options = EngineOptions {
        type_k: Some(::llm::kv_cache::CacheType::F32),
        type_v: Some(::llm::kv_cache::CacheType::F32),
        ..EngineOptions::default()
    };
    backend.load("ferrite-micro", options, &mut |_, _| core::ops::ControlFlow::Continue(())).unwrap();
    let ids: Vec<u32> = ids.trim().split(' ').map(|id| id.parse().unwrap()).collect();
    let mut exact = Vec::new();
    let every_row = &mut |row: &[f32]| {
        exact.push(row.to_vec());
        core::ops::ControlFlow::Continue(())
    };
    backend.logits(None, &ids, every_row).unwrap();
    assert_eq!(exact, logits);
}

/// A machine whose small model takes part in chats with a made-up format.
fn talker() -> Computer {
    let template = "{% for m in messages %}{{ '[' ~ m.role[0] ~ ']' ~ m.content }}{% endfor %}[a]";
    Computer::new().disk("s", fixtures::with_text(&fixtures::micro(), "tokenizer.chat_template", template))
}

#[test]
fn a_message_is_asked_in_the_format_of_the_file_or_of_a_name() {
    let computer = talker();
    let text = |line: &str| computer.command(line).unwrap();
    let answer = text("llm chat 'One day' 8");
    assert_eq!(answer, text("llm infer '[u]One day[a]' 8"));
    assert_eq!(text("llm chat 'One day' 8 --system Hush"), text("llm infer '[s]Hush[u]One day[a]' 8"));
    assert_ne!(text("llm chat 'One day' 8 --template zephyr"), answer);
    assert_eq!(computer.command("llm chat"), None, "nobody is there to converse");
    let refused = Computer::new().disk("s", fixtures::micro()).converse(&[b"llm chat hello"]);
    assert!(refused[0].contains("tokenizer.chat_template; --template NAME"), "{}", refused[0]);
    assert!(refused[0].contains("chatml, "), "{}", refused[0]);
    let unknown = talker().converse(&[b"llm chat hello --template chatgml"]);
    assert!(unknown[0].contains("\"chatgml\", expected one of chatml"), "{}", unknown[0]);
}

#[test]
fn thinking_is_turned_on_and_off_and_answers_end_at_any_stop_text() {
    let template = "{{ messages[0].content }}{{ ' Yes.' if enable_thinking else ' No.' }}";
    let file = fixtures::with_text(&fixtures::micro(), "tokenizer.chat_template", template);
    let computer = Computer::new().disk("s", file);
    let text = |line: &str| computer.command(line).unwrap();
    let (on, off) = (text("llm infer 'One day Yes.' 8"), text("llm infer 'One day No.' 8"));
    assert_ne!(on, off);
    for (options, expected) in [
        ("", &on),
        ("--thinking", &on),
        ("--no-thinking", &off),
        ("--thinking --no-thinking", &off),
        ("--no-thinking --thinking", &on),
    ] {
        assert_eq!(text(&std::format!("llm chat 'One day' 8 {options}")), *expected, "{options}");
    }

    let letters: Vec<char> = on.chars().filter(|c| c.is_ascii_lowercase()).collect();
    let (first, last) = (letters[2], letters[letters.len() - 1]);
    for command in ["llm chat 'One day' 8", "llm infer 'One day Yes.' 8"] {
        let stopped = text(&std::format!("{command} --stop {last} --stop {first} --stop '~~'"));
        let end = on.find([first, last]).unwrap();
        assert_eq!(stopped.trim_end_matches('\n'), on[..end].trim_end_matches('\n'), "{command}");
    }
}

#[test]
fn a_conversation_outlives_the_context_and_says_so() {
    let line = b"One day a little robot went for a walk\n".repeat(8);
    let typed = [&b"llm chat --ctx 64 --system Hush\n"[..], &line, b"/quit\npoweroff\n"].concat();
    let (_, output) = talker().run(RunMode::Interactive, &typed);
    assert!(!output.contains("error: "), "{output}");
    // This is printed before the answer.
    assert!(output.contains("for a walk\n[the context of 64 tokens is full: the oldest "), "{output}");
    assert_eq!(output.matches(" prompt tokens, ").count(), 8, "{output}");
}

#[test]
fn a_conversation_explains_its_commands_when_asked() {
    let (_, output) = talker().run(RunMode::Interactive, b"llm chat\n /help\n/frob\n/quit\npoweroff\n");
    assert!(output.contains("\n/help lists the commands, /quit ends the conversation.\n"), "{output}");
    for command in ::llm::front::chat_commands::COMMANDS {
        assert_eq!(output.matches(&std::format!("{command}\n")).count(), 1, "{output}");
    }
    assert!(output.contains("/frob\nerror: unknown command /frob; /help lists the commands\n"), "{output}");
    assert!(!output.contains(" prompt tokens, "), "{output}");
}

#[test]
fn a_conversation_without_a_format_does_not_begin() {
    let (_, output) = Computer::new()
        .disk("s", fixtures::micro())
        .run(RunMode::Interactive, b"llm chat\nllm chat --template chatgml\npoweroff\n");
    assert!(output.contains("tokenizer.chat_template; --template NAME"), "{output}");
    assert!(output.contains("\"chatgml\", expected one of chatml"), "{output}");
    assert!(!output.contains("/quit ends"), "{output}");
}

/// What a conversation prints after each of these lines.
fn chat_with(computer: &Computer, lines: &[&str]) -> Vec<String> {
    let typed = std::format!("llm chat --system Hush 8\n{}\n/quit\npoweroff\n", lines.join("\n"));
    let typed = typed.replace(" 8\n", " --max-tokens 8\n");
    let (_, output) = computer.run(RunMode::Interactive, typed.as_bytes());
    let shown = output.split("\r> \x1b[K").skip(1).map(|shown| shown.split_once('\n').unwrap().1.to_string());
    let mut shown: Vec<_> = shown.collect();
    assert!(shown.pop().unwrap().contains("ferrite> "), "{output}");
    assert_eq!(shown.len(), lines.len(), "{output}");
    shown
}

#[test]
fn the_commands_of_a_conversation_do_what_they_say() {
    let shown = chat_with(
        &talker(),
        &[
            "/stats",
            "/regen",
            "One day",
            "/system",
            "/save",
            "/stats",
            "/save x",
            "/clear",
            "/save",
            "/system Be kind.",
            "/system",
        ],
    );
    assert_eq!(shown[0], "nothing was answered yet\n");
    assert!(is_one_line_error(&shown[1]) && shown[1].contains("nothing to answer again"), "{}", shown[1]);
    let (answer, _) = shown[2].rsplit_once("\n[").unwrap();
    assert_eq!(shown[3], "Hush\n");
    let messages = shown[4].lines().collect::<Vec<_>>();
    assert_eq!(
        messages[..3],
        [
            "[",
            "{\"role\": \"system\", \"content\": \"Hush\"},",
            "{\"role\": \"user\", \"content\": \"One day\"},"
        ]
    );
    assert!(messages[3].starts_with("{\"role\": \"assistant\", \"content\": \""), "{}", messages[3]);
    assert_eq!((messages.len(), messages[4]), (5, "]"));
    assert!(!answer.is_empty() && shown[5].contains("\nanswers  1: 8 tokens"), "{}", shown[5]);
    assert!(is_one_line_error(&shown[6]) && shown[6].contains("writes no files"), "{}", shown[6]);
    assert_eq!(shown[8], "[\n{\"role\": \"system\", \"content\": \"Hush\"}\n]\n");
    assert_eq!((&*shown[9], &*shown[10]), ("", "Be kind.\n"));
}

#[test]
fn a_message_is_answered_again_in_the_place_of_the_first_answer() {
    let shown = chat_with(&talker(), &["One day", "/save", "/regen", "/save"]);
    assert!(shown[2].starts_with("[temperature 0.8, seed "), "{}", shown[2]);
    assert_eq!((shown[1].lines().count(), shown[3].lines().count()), (5, 5));
    let messages = |shown: &str| shown.lines().map(String::from).collect::<Vec<_>>();
    let (before, after) = (messages(&shown[1]), messages(&shown[3]));
    assert_eq!(before[..3], after[..3]);
    assert_ne!(before[3], after[3], "by chance it is another answer");
}

#[test]
fn a_conversation_goes_on_with_another_model() {
    let computer = talker().disk("other", broken_gguf::good());
    let shown = chat_with(
        &computer,
        &["/model", "/model nothing", "/model good", "/model", "One day", "/model ferrite-micro", "One day"],
    );
    assert_eq!(shown[0], "* ferrite-micro\n  good\n");
    assert!(
        is_one_line_error(&shown[1]) && shown[1].contains("no model is called \"nothing\""),
        "{}",
        shown[1]
    );
    // It has no chat format.
    assert!(shown[2].contains("error: ") && shown[2].contains("--template NAME"), "{}", shown[2]);
    assert_eq!(shown[3], "* ferrite-micro\n+ good\n");
    assert!(shown[4].contains(" generated"), "{}", shown[4]);
    assert!(shown[5].starts_with("/models/ferrite-micro.gguf: "), "{}", shown[5]);
    assert!(shown[6].contains(" generated"), "{}", shown[6]);
}

#[test]
fn what_is_pasted_into_a_conversation_is_one_message() {
    let shown = chat_with(&talker(), &["\x1b[200~One\rday\x1b[201~", "/save"]);
    assert!(shown[1].contains("\"content\": \"One\\nday\"}"), "{}", shown[1]);
}

#[test]
fn a_conversation_is_remembered_until_it_is_cleared_or_left() {
    let typed = b"llm chat\n/quit\nllm chat\nOne day\n \nAnd then\n/clear\nOne day\n\xff\n";
    let late = Late { after: b"not valid UTF-8", input: b"One d\x03mem\npoweroff\n" };
    let (_, output) = talker().run_with_late(RunMode::Interactive, typed, Some(late));
    // The output after the echo of each line, up to the next prompt, without the note on speed.
    let shown: Vec<_> =
        output.split("\r> \x1b[K").skip(1).filter_map(|shown| shown.split_once('\n')).collect();
    let answer = |index: usize| shown[index].1.rsplit_once("\n[").map_or("", |(answer, _)| answer);
    let (first, second) = (answer(1), answer(3));
    assert!(!first.is_empty() && !second.is_empty(), "{output}");
    let written = std::format!("llm infer '[u]One day[a]{first}[u]And then[a]' -1");
    assert_eq!(talker().command(&written).unwrap().trim_end_matches('\n'), second);
    assert_eq!(shown[2].1, "", "an empty line is no message");
    assert_eq!(answer(5), first, "the conversation was not cleared");
    assert!(shown[6].1.starts_with("error: the message is not valid UTF-8"), "{}", shown[6].1);
    let after = shown.last().unwrap().1;
    assert!(after.contains("heap "), "Ctrl-C did not lead back to the shell: {after}");
}

#[test]
fn what_is_no_token_has_no_logits() {
    let answers = good().converse(&[
        b"llm logits",
        b"llm logits ''",
        b"llm logits 1,x",
        b"llm logits 1,99999",
        b"llm logits 1 --kv-type q3_k",
        std::format!("llm logits 1{}", ",1".repeat(64)).as_bytes(),
        b"llm logits 1",
    ]);
    let expected = [
        "usage: llm logits ID,ID...",
        "ID,ID... is",
        "ID,ID... is",
        "99999",
        "f16, f32, q8_0, q5_0 or q4_0",
        "65",
    ];
    for (answer, expected) in answers.iter().zip(expected) {
        assert!(answer.contains("error: ") && answer.contains(expected), "{answer:?}: {expected}");
    }
    assert!(!answers[6].contains("error"), "{}", answers[6]);
}

#[test]
fn texts_are_tokenized_without_loading_a_model() {
    let computer = Computer::new().disk("s", fixtures::micro());
    let answers = computer.converse(&[
        b"llm tokenize 'Once upon' ' a time' ''",
        b"llm tokenize --no-bos 'Once upon'",
        b"mem",
        b"llm load",
        b"llm tokenize 'Once upon' ' a time' ''",
        b"llm tokenize --special '<s>' '</s>'",
    ]);
    let lines: Vec<_> = answers[0].lines().collect();
    assert_eq!(lines.len(), 3, "{}", answers[0]);
    assert!(lines[0].ends_with(answers[1].trim()) && lines[0] != answers[1].trim());
    assert!(answers[2].contains("weights   0 B"), "{}", answers[2]);
    assert_eq!(answers[4], answers[0]);
    assert!(answers[5].lines().all(|ids| ids.split(' ').count() <= 2), "{}", answers[5]);
    assert!(Computer::new().converse(&[b"llm tokenize a"])[0].contains("no disk"));
}

#[test]
fn ctrl_c_stops_an_inference_and_keeps_what_was_typed_after_it() {
    let late = Late { after: b"infer hello 60\n", input: b"lost\x03llm tokenize hello\npoweroff\n" };
    let (shutdown, output) =
        good().run_with_late(RunMode::Interactive, b"llm load\nllm infer hello 60\n", Some(late));
    assert_eq!(shutdown, Shutdown::PowerOff { success: true });
    assert!(output.contains(" 0 generated") && output.contains("stopped]"), "{output}");
    let after = output.split("stopped]").nth(1).unwrap();
    assert!(after.starts_with("\n\rferrite> \x1b[Kllm tokenize hello\n"), "{after}");
}

#[test]
fn templates_are_told_the_date() {
    let template = "{{ raise_exception('today is ' ~ strftime_now('%d %b %Y %H')) }}";
    let file = fixtures::with_text(&fixtures::micro(), "tokenizer.chat_template", template);
    let mut computer = Computer::new().disk("s", file);
    let answer = computer.converse(&[b"llm chat Hello"]);
    assert!(answer[0].contains("today is 26 Jul 2024 00"), "{}", answer[0]);
    computer.now_seconds = || Some(1_795_887_320);
    let answer = computer.converse(&[b"llm chat Hello"]);
    assert!(answer[0].contains("today is 28 Nov 2026 17"), "{}", answer[0]);
}

#[test]
fn the_power_key_stops_what_is_running() {
    let off = Shutdown::PowerOff { success: true };
    let typed = b"llm load\nllm infer hello 60\nmem\n";
    let (shutdown, output) = good().press_power_key(RunMode::Interactive, typed, b"infer hello 60\n");
    let stopped = Shutdown::PowerOff { success: false };
    assert_eq!(shutdown, stopped);
    assert!(output.contains(" 0 generated") && output.contains("stopped]"), "{output}");
    assert!(output.ends_with("stopped]\npower key: turning the machine off\n"), "{output}");
    // In a conversation, the line being typed is dropped too.
    let typed = b"llm load\nllm chat --template chatml\nHel";
    let (shutdown, output) = good().press_power_key(RunMode::Interactive, typed, b"Hel");
    assert_eq!(shutdown, off);
    assert!(output.ends_with("Hel\npower key: turning the machine off\n"), "{output}");
    // The single command of command mode has failed then, too.
    let command = || RunMode::Command(b"llm infer hello 60".into());
    assert_eq!(good().press_power_key(command(), b"", b"").0, stopped);
    // The same as with Ctrl-C.
    assert_eq!(good().run(command(), b"\x03").0, stopped);
    assert_eq!(good().run(command(), b"").0, off);
}

#[test]
fn ctrl_c_stops_a_load() {
    let late = Late { after: b"llm load\n", input: b"\x03mem\npoweroff\n" };
    let (_, output) = good().run_with_late(RunMode::Interactive, b"llm load\n", Some(late));
    assert!(output.contains("error: stopped\n") && output.contains("weights   0 B\n"), "{output}");
}

#[test]
fn what_is_typed_while_a_command_runs_is_the_next_line() {
    let answers = good().converse(&[b"llm infer hello 5", b"llm tokenize hello"]);
    assert!(answers[0].contains("5 generated"));
    assert!(answers[1].trim().split(' ').count() > 1);
}

#[test]
fn a_bench_of_nothing_or_of_more_runs_than_can_be_kept_is_refused() {
    let answers = good().converse(&[
        b"llm bench -p 0",
        b"llm bench -n 0",
        b"llm bench -r 0",
        b"llm bench -r 1000000000000000000",
        b"llm bench -p 1 -n 1",
    ]);
    for refused in &answers[..4] {
        assert!(
            is_one_line_error(refused.split_once('\n').map_or("", |(_, last)| last))
                || is_one_line_error(refused),
            "{refused}"
        );
    }
    assert!(answers[4].contains("tokens/s"), "{}", answers[4]);
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_and_the_next_one_works() {
    let long = std::format!("llm infer '{}' 5", "hello ".repeat(200));
    let answers = good().converse(&[
        long.as_bytes(),
        b"llm infer 'hel\xfflo' 5",
        b"llm infer hello 5",
        b"llm infer hello 1000",
        b"llm bench --prompt 1000",
        b"llm bench --depth 1000",
    ]);
    assert!(answers[0].contains("error: the prompt has"), "{}", answers[0]);
    assert!(is_one_line_error(&answers[1]) && answers[1].contains("UTF-8"));
    assert!(!answers[2].contains("error"));
    assert!(answers[3].contains("context full]") || answers[3].contains("end of text]"), "{}", answers[3]);
    for refused in &answers[4..6] {
        assert!(is_one_line_error(refused), "{refused}");
    }
}

#[test]
fn too_little_memory_is_named_in_bytes_and_a_smaller_model_still_runs() {
    let mut computer = Computer::new().disk("big", fixtures::tiny()).disk("s", broken_gguf::good());
    computer.pool = host::pool(2 << 20);
    let answers = computer.converse(&[
        b"llm load ferrite-tiny",
        b"llm load good",
        b"llm load ferrite-tiny",
        b"llm infer hello 5",
        b"llm unload",
        b"llm infer hello 5",
    ]);
    for refused in [&answers[0], &answers[2]] {
        assert!(is_one_line_error(refused), "{refused}");
        assert!(refused.contains("bytes needed"), "{refused}");
    }
    assert!(answers[0].contains(", 2097152 available"), "{}", answers[0]);
    assert!(answers[3].contains("5 generated"), "the small model was lost: {}", answers[3]);
    assert!(answers[5].contains("5 generated"), "{}", answers[5]);
}

#[test]
fn every_kind_of_broken_file_is_refused_and_a_good_one_runs_after_it() {
    let good = broken_gguf::good();
    let pool = host::pool(64 << 20);
    let all = broken_gguf::all(&good);
    assert!(all.len() >= 50);
    for broken in all {
        let mut computer = Computer::new().disk("broken", broken.bytes).disk("fine", good.clone());
        computer.pool = pool;
        let list = computer.command("llm list").unwrap();
        let paths: Vec<_> = list.lines().map(|line| line[2..].split(' ').next().unwrap()).collect();
        let loads = [0, 1].map(|file| std::format!("llm load {}", paths[file]));
        let answers = computer.converse(&[
            loads[0].as_bytes(),
            b"llm infer hello 3",
            loads[1].as_bytes(),
            loads[0].as_bytes(),
            b"llm infer hello 3",
            b"llm logits 1",
        ]);
        if broken.refused_by == broken_gguf::Layer::Tokenizer {
            // Only commands that need text are refused.
            for refused in [1, 4] {
                assert!(is_one_line_error(&answers[refused]), "{}: {:?}", broken.name, answers[refused]);
            }
            assert!(answers[0].contains(paths[0]) && answers[3].contains(paths[0]), "{answers:?}");
            let n_logits = answers[5].split_whitespace().filter(|word| word.parse::<f32>().is_ok()).count();
            assert!(n_logits > 30, "{}: {:?}", broken.name, answers[5]);
            assert_eq!(pool.free_bytes(), pool.total_bytes(), "{}", broken.name);
            continue;
        }
        for refused in [0, 3] {
            let answer = answers[refused].rsplit('\r').next().unwrap().trim_start_matches("\x1b[K");
            let answer = &answer[answer.find("error: ").unwrap_or(0)..];
            assert!(is_one_line_error(answer), "{}: {:?}", broken.name, answers[refused]);
            assert!(answer.contains(paths[0]), "{}: {answer}", broken.name);
        }
        for ran in [1, 4] {
            assert!(answers[ran].contains("3 generated"), "{}: {:?}", broken.name, answers[ran]);
        }
        assert_eq!(pool.free_bytes(), pool.total_bytes(), "{}", broken.name);
    }
}

#[test]
fn a_checksum_is_compared() {
    let mut computer = good();
    assert_eq!(computer.command("llm verify"), None, "there is nothing to compare with");
    let bytes = broken_gguf::good();
    let digest = trust::sha256::digest(trust::sha256::PORTABLE, &bytes);
    computer.disks[0].1 = Some(FileFacts { length_bytes: bytes.len() as u64, sha256: Some(digest) });
    assert!(computer.command("llm verify").unwrap().contains("as expected"));
    computer.disks[0].1 = Some(FileFacts { length_bytes: bytes.len() as u64 - 1, sha256: Some(digest) });
    assert_eq!(computer.command("llm verify good"), None);
}

#[test]
fn the_end_of_the_input_ends_a_conversation_and_the_shell() {
    let (shutdown, output) = talker().run_pipe(b"llm chat\nOne day");
    assert_eq!(shutdown, Shutdown::PowerOff { success: true });
    let (_, answer) = output.split_once("One day\n").expect("the message was echoed");
    assert!(answer.contains(" generated"), "{output}");
}

#[test]
fn the_default_model_converses() {
    let computer = Computer::new().disk("ferrite-tiny", fixtures::tiny());
    let alone = computer.command("llm chat 'Who are you?'").unwrap();
    assert!(alone.starts_with("I am ") && alone.contains("kernel"), "{alone}");
    assert_eq!(alone.lines().count(), 1, "it ends after the answer: {alone}");
    let told = computer.command("llm chat 'Who are you?' --system 'Answer briefly.'").unwrap();
    assert!(told.starts_with("I am ") && told.lines().count() == 1, "{told}");

    let (_, output) =
        computer.run_pipe(b"llm chat\nWho are you?\nWhat is Ferrite?\nHow do I turn off the machine?");
    let answers: Vec<_> =
        output.split("\r> \x1b[K").skip(1).filter_map(|shown| shown.lines().nth(1)).collect();
    assert_eq!(std::format!("{}\n", answers[0]), alone);
    assert!(answers[1].starts_with("Ferrite is "), "{output}");
    assert!(answers[2].contains("poweroff"), "{output}");
}

#[test]
fn several_models_are_loaded_named_and_unloaded() {
    let computer = good().disk("m", fixtures::micro());
    let alone = |computer: Computer, line: &str| computer.command(line).unwrap();
    let micro = Computer::new().disk("m", fixtures::micro());
    let expected = [
        alone(good(), "llm infer hello 6 --ids"),
        alone(micro, "llm infer hello 6 --ids"),
        alone(good(), "llm tokenize hello"),
    ];
    let answers = computer.converse(&[
        b"llm load good --ctx 32",
        b"llm load ferrite-micro --ctx 64",
        b"llm list",
        b"llm infer hello 6 --ids --model good",
        b"llm infer hello 6 --ids --model ferrite-micro",
        b"llm tokenize hello --model good",
        b"llm info",
        b"llm info --model good",
        b"llm infer hello 6 --ids",
        b"llm list",
        b"mem",
        b"llm infer hello --model nothing",
        b"llm unload nothing",
        b"llm unload good --all",
        b"llm unload good -m good",
        b"llm unload good",
        b"llm infer hello 6 --ids",
        b"llm infer hello 6 --ids --model good",
        b"llm unload --all",
        b"mem",
        b"llm unload --all",
    ]);
    let ids = |answer: usize| {
        let shown = answers[answer].split_once("\n[").unwrap().0.rsplit("\x1b[K\n").next().unwrap();
        std::format!("{}\n", shown)
    };
    assert_eq!([ids(3), ids(4), answers[5].clone()], expected);
    assert_eq!((ids(8), ids(16), ids(17)), (expected[0].clone(), expected[1].clone(), expected[0].clone()));
    let marks = |list: &str| list.lines().map(|line| line[..2].to_string()).collect::<Vec<_>>();
    assert_eq!(
        (marks(&answers[2]), marks(&answers[9])),
        (vec!["+ ".into(), "* ".into()], vec!["* ".into(), "+ ".into()])
    );
    for line in answers[2].lines() {
        let (_, taken) = line.split_once("; in memory: weights ").unwrap();
        let numbers =
            taken.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<usize>().ok());
        assert!(numbers.clone().count() == 3 && numbers.min() > Some(0), "{line}");
    }
    assert!(answers[6].contains("path          /models/ferrite-micro.gguf\n"), "{}", answers[6]);
    assert!(answers[7].contains("path          /models/good.gguf\n"), "{}", answers[7]);
    // Each runs as it was loaded.
    assert!(answers[6].contains("n_ctx         64 of") && answers[7].contains("n_ctx         32 of"));
    assert!(!answers[10].contains("weights   0 B"));
    for (answer, said) in [
        (11, "no model is called \"nothing\"; expected good, ferrite-micro\n"),
        (12, "no loaded model is called \"nothing\"; expected good, ferrite-micro\n"),
        (13, "--all is every model"),
        (14, "PATH is given twice"),
        (20, "no model is loaded"),
    ] {
        assert!(is_one_line_error(&answers[answer]) && answers[answer].contains(said), "{}", answers[answer]);
    }
    assert!(answers[15].ends_with(" given back\n") && answers[18].ends_with(" given back\n"));
    assert!(
        answers[19].contains("weights   0 B") && answers[19].contains("pool      0 B of"),
        "{}",
        answers[19]
    );
}

#[test]
fn a_command_does_not_unload_a_model_to_make_room_for_another() {
    let mut computer = good().disk("big", fixtures::tiny());
    computer.pool = host::pool(2 << 20);
    let answers = computer.converse(&[
        b"llm load good",
        b"llm infer hello 3 --model ferrite-tiny",
        b"llm infer hello 3",
        b"llm tokenize hello --model ferrite-tiny",
        b"llm list",
    ]);
    assert!(is_one_line_error(&answers[1]), "{}", answers[1]);
    assert!(
        answers[1].contains(" bytes needed") && answers[1].contains("; `llm unload good` frees "),
        "{}",
        answers[1]
    );
    assert!(answers[2].contains("3 generated"), "{}", answers[2]);
    // A vocabulary can be used without room for the weights.
    assert!(answers[3].split_whitespace().all(|id| id.parse::<u32>().is_ok()), "{}", answers[3]);
    assert!(answers[4].starts_with("* /models/good.gguf"), "{}", answers[4]);
}
