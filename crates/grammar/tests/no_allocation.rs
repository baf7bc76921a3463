//! Nothing is allocated per token, and making a constraint allocates no more than documented.

mod common;

use std::alloc::System;
use std::sync::Arc;

use common::{byte_level, parse};
use grammar::{Constraint, Limits, Piece, Vocabulary};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

// No test of a harness: the allocator counts for the whole process.
fn main() {
    // As many tokens as Qwen 2 has.
    let piece_of = |token: u32| if token == 0 { Piece::End } else { Piece::Text(b"a") };
    let large = Vocabulary::new(151_936, &piece_of).unwrap();
    let stated = Constraint::memory_bytes(&parse("root ::= .*"), &large, Limits::default());
    assert!(stated < 4 << 20, "{stated} bytes");

    let grammars = [
        "root ::= [a-zé]+ (\" \" root)?",
        "root ::= \"a\" root \"b\" | \"a\" root \",\" | \"é\"",
        "root ::= (\"a\" | [^a] | !<[98]>){3,70000}",
        "root ::= [ab]{3} ([a-z日]{0,100} \"\\n\"?){2,} .",
    ];
    for text in grammars {
        // Little memory, so that room is made again and again.
        let limits = Limits { memory_bytes: 600_000, n_rollback: 4, ..Limits::default() };
        let grammar = parse(text);
        let vocabulary = byte_level();
        let stated = Constraint::memory_bytes(&grammar, &vocabulary, limits);
        let region = Region::new(ALLOCATOR);
        let mut constraint = Constraint::new(grammar, Arc::clone(&vocabulary), limits).unwrap();
        let allocated = region.change().bytes_allocated;
        assert!(allocated <= stated && 2 * allocated > stated, "{allocated} bytes instead of {stated}");
        let region = Region::new(ALLOCATOR);
        let mut n_tokens = 0;
        for _ in 0..10 {
            constraint.reset();
            for n in 1..300_u32 {
                let mask = constraint.allowed().unwrap();
                let allowed = mask.count();
                let token = mask.tokens().nth(n.wrapping_mul(0x9E37_79B1) as usize % allowed).unwrap();
                constraint.accept(token).unwrap();
                n_tokens += 1;
                if n % 16 == 0 {
                    constraint.rollback(2).unwrap();
                }
                assert!(constraint.accept(u32::MAX).is_err() && constraint.accept_bytes(b"\xFF").is_err());
            }
        }
        let change = region.change();
        assert_eq!((change.allocations, change.reallocations), (0, 0), "{text}");
        assert_eq!(n_tokens, 2990);
    }
}
