//! Tests of commands whose larger allocations are refused one after another: each reports an error, and all memory of the pool is
//! returned.

use super::*;
use crate::llm::fixtures::{
    self,
    failing::{self, Refused, Seen},
};
use std::format;

/// How many allocations of a command are refused, one after another, unless `FERRITE_EVERY_ALLOCATION` is set.
const N_REFUSED: u64 = 10;

/// Runs a command while allocations are refused, and once more without refusals. Returns the output of the first run (or else
/// what it logged) and the output of the second.
fn run_refusing(
    computer: &Computer,
    line: &str,
    refused: Refused,
) -> (Result<String, Vec<String>>, String, Seen) {
    let output = Vec::with_capacity(1 << 16);
    let mut console =
        Typed { input: VecDeque::new(), late: None, is_pipe: false, power_key_after: None, output };
    // Allocations at the start succeed.
    let mut shell = Shell::new(computer.system(&mut console), false);
    let mut success = false;
    failing::begin(refused);
    let logged = fixtures::logged(|| success = failing::counted(|| shell.run_line(line.as_bytes())));
    let seen = failing::end();
    shell.terminal.print(format_args!("\0"));
    assert!(shell.run_line(line.as_bytes()), "{line} after {refused:?}: {logged:?}");
    drop(shell);
    assert_eq!(computer.pool.free_bytes(), computer.pool.total_bytes(), "{line}: {refused:?}");
    let printed = String::from_utf8(console.output).unwrap();
    let (first, second) = printed.split_once('\0').unwrap();
    (if success { Ok(first.to_string()) } else { Err(logged) }, second.to_string(), seen)
}

/// Refuses one allocation after another.
fn refuse_in_turn(computer: &Computer, line: &str) {
    let (right, right_again, seen) = run_refusing(computer, line, Refused::Nothing);
    let right = right.unwrap_or_else(|logged| panic!("{line}: {logged:?}"));
    let every = std::env::var_os("FERRITE_EVERY_ALLOCATION").is_some();
    let step = if every { 1 } else { seen.n_large.div_ceil(N_REFUSED) };
    let mut n_failed = 0;
    for n in (0..seen.n_large).step_by(step.max(1) as usize) {
        for refused in [Refused::Only(n), Refused::From(n)] {
            let (said, again, _) = run_refusing(computer, line, refused);
            assert!(again == right || again == right_again, "{line} after {refused:?}: {again}");
            match said {
                Ok(printed) if printed == right => {}
                said => {
                    n_failed += 1;
                    // A list shows the error of each file.
                    let said = said.unwrap_or_else(|logged| logged.join("\n"));
                    let says_why = ["memory", "heap", "bytes"].iter().any(|word| said.contains(word));
                    assert!(says_why, "{line}: {refused:?}: {said}");
                }
            }
        }
    }
    std::println!("{line}: {} blocks, {n_failed} failures", seen.n_large);
    assert!(n_failed > 0 || seen.n_large == 0);
}

#[test]
fn a_model_is_loaded_and_asked_or_there_is_an_error() {
    let _turn = failing::turn();
    let computer = Computer::new().disk("tiny", fixtures::tiny());
    refuse_in_turn(&computer, "llm infer 'Once upon a time' 3");
    refuse_in_turn(&computer, "llm infer Hi 3 --grammar 'root ::= [a-z]+'");
    for line in ["llm list", "llm info", "llm tokenize 'Once upon a time'"] {
        refuse_in_turn(&computer, line);
    }
}

#[test]
fn a_model_in_parts_is_loaded_or_there_is_an_error() {
    let _turn = failing::turn();
    let parts = fixtures::parts(&fixtures::micro(), 3);
    let disk = |computer: Computer, (index, part)| computer.disk(&format!("part-{index}"), part);
    let computer = parts.into_iter().enumerate().fold(Computer::new(), disk);
    refuse_in_turn(&computer, "llm infer 'One day' 2");
}

#[test]
fn texts_of_a_disk_are_answered_and_ranked_or_there_is_an_error() {
    let _turn = failing::turn();
    // A text of more than 4 KiB, only a few lines of which are not blank.
    let text = format!("a b{}c d\na\n", "\n ".repeat(3000)).into_bytes();
    let computer = Computer::new().disk("s", fixtures::micro()).disk("texts", text.clone());
    refuse_in_turn(&computer, "llm batch --prompts texts -n 2");
    refuse_in_turn(&computer, "llm embed --texts texts");
    let reranker = Computer::new().disk("s", super::embedding::reranker()).disk("texts", text);
    refuse_in_turn(&reranker, "llm rerank 'a b' --texts texts");
}

#[test]
fn the_words_of_a_long_line_are_read_or_there_is_an_error() {
    let _turn = failing::turn();
    let computer = Computer::new().disk("s", fixtures::micro());
    refuse_in_turn(&computer, &format!("llm tokenize{}", " a 'b'".repeat(800)));
}

#[test]
fn a_line_that_there_is_no_memory_for_is_told_so_and_the_next_one_is_run() {
    let _turn = failing::turn();
    let computer = Computer::new();
    let typed = format!("log {}\nuptime\npoweroff\n", "x".repeat(1000));
    let input = typed.bytes().collect();
    let output = Vec::with_capacity(1 << 16);
    let mut console = Typed { input, late: None, is_pipe: false, power_key_after: None, output };
    let mut shell = Shell::new(computer.system(&mut console), true);
    failing::begin(Refused::From(0));
    let shutdown = failing::counted(|| shell.converse());
    failing::end();
    drop(shell);
    assert_eq!(shutdown, Shutdown::PowerOff { success: true });
    let printed = String::from_utf8(console.output).unwrap();
    assert!(
        printed.contains("error: the heap has no ") && printed.contains(" bytes for this line"),
        "{printed}"
    );
    assert!(printed.contains(" s\n"), "{printed}");
}
