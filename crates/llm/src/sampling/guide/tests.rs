//! Guides over a vocabulary of a few tokens: which tokens are allowed, however tokens divide the marks, and after any
//! number of tokens is taken back.

use super::*;
use alloc::vec;
use grammar::{Grammar, Limits, Piece, Vocabulary};

const TEXTS: [&str; 15] =
    ["a", "<", "c", ">", ">{", "{", "}", "", "<c", ">\n", "", ">a", "\r", "</t>\u{c}", "}<c>a"];
const END: u32 = 7;
/// A token without a text, whose name is `</t>`.
const MARK: u32 = 10;

fn vocabulary() -> Arc<Vocabulary> {
    let piece = |id: u32| match id {
        END => Piece::End,
        MARK => Piece::Mark,
        id => Piece::Text(TEXTS[id as usize].as_bytes()),
    };
    Arc::new(Vocabulary::new(TEXTS.len() as u32, &piece).unwrap())
}

fn prepared(rules: Rules, budget: Option<usize>) -> Guide {
    let mut guide = Guide::new(Arc::new(rules), budget).unwrap();
    guide.prepare().unwrap();
    guide
}

fn guide(grammar: Option<&str>, thinking: Option<(Thinking, Option<usize>)>, triggers: &[Trigger]) -> Guide {
    let grammar = grammar.map(|text| (Arc::new(Grammar::parse(text, &|_| None).unwrap()), Limits::default()));
    let (thinking, budget) = thinking.unzip();
    let marks = vec![(MARK, b"</t>".to_vec())];
    prepared(Rules::new(vocabulary(), grammar, thinking, triggers, marks).unwrap(), budget.flatten())
}

/// The tokens that may come next; all tokens if nothing is forbidden.
fn allowed(guide: &mut Guide) -> Vec<u32> {
    match (guide.forced(), guide.allowed().unwrap()) {
        (Some(token), _) => vec![token],
        (None, None) => (0..TEXTS.len() as u32).collect(),
        (None, Some(mask)) => mask.tokens().collect(),
    }
}

/// Advances by allowed tokens and sometimes goes back some steps. At the same position the same tokens must be allowed
/// each time.
fn walk(guide: &mut Guide, seed: u64) {
    let mut random = oorandom::Rand32::new(seed);
    guide.reset();
    let (mut tokens, mut sets): (Vec<u32>, Vec<Vec<u32>>) = (vec![], vec![allowed(guide)]);
    for _ in 0..60 {
        if random.rand_range(0..4) == 0 {
            let n = random.rand_range(0..(tokens.len() as u32).min(9) + 1) as usize;
            guide.rollback(n);
            let at = tokens.len() - n;
            assert_eq!(allowed(guide), sets[at]);
            for i in at..tokens.len() {
                assert_eq!(guide.accept(tokens[i]), Ok(()));
                assert_eq!(allowed(guide), sets[i + 1]);
            }
        }
        let may = sets[tokens.len()].clone();
        for token in 0..TEXTS.len() as u32 {
            if guide.accept(token).is_ok() {
                guide.rollback(1);
                assert!(may.contains(&token), "{token} after {tokens:?}");
            }
        }
        let token = may[random.rand_range(0..may.len() as u32) as usize];
        if token == END {
            return;
        }
        guide.accept(token).unwrap_or_else(|error| panic!("{error}: {token} after {tokens:?}"));
        tokens.push(token);
        sets.push(allowed(guide));
    }
}

const CALL: &str = "root ::= \"<c>\" \"\\n\"? \"{\" [a]{1,2} \"}\"";
const TRIGGER: Trigger = Trigger { text: "<c>", is_first: false };

#[test]
fn a_trigger_counts_wherever_tokens_divide_it() {
    let mut guide = guide(Some(CALL), None, &[TRIGGER]);
    let all = allowed(&mut guide).len();
    for (before, after) in [(&[0, 1, 2][..], 3), (&[8], 3), (&[1, 8], 3), (&[8, 8], 3)] {
        guide.reset();
        before.iter().for_each(|&token| guide.accept(token).unwrap());
        // Text that cannot follow the trigger is also forbidden in the token that ends it.
        assert_eq!(allowed(&mut guide).len(), all - 1, "{before:?}");
        assert!(guide.accept(11).is_err());
        guide.accept(after).unwrap();
        assert_eq!(allowed(&mut guide), [5]);
        guide.rollback(1);
        guide.accept(4).unwrap();
        assert_eq!(allowed(&mut guide), [0]);
        guide.rollback(1 + before.len());
        assert_eq!(allowed(&mut guide).len(), all);
    }
    guide.reset();
    [8, 9, 5, 0, 6].into_iter().for_each(|token| guide.accept(token).unwrap());
    assert!(guide.must_end());
    guide.rollback(1);
    assert!(!guide.must_end());
    // Text that only resembles the trigger is free.
    guide.reset();
    [1, 1, 2, 2, 3, 11].into_iter().for_each(|token| guide.accept(token).unwrap());
    assert_eq!(allowed(&mut guide).len(), all);
    for seed in 0..40 {
        walk(&mut guide, seed);
    }
    let mut first = super::tests::guide(Some(CALL), None, &[Trigger { is_first: true, ..TRIGGER }]);
    [0, 8, 3].into_iter().for_each(|token| first.accept(token).unwrap());
    assert_eq!(allowed(&mut first).len(), TEXTS.len());
    for seed in 0..40 {
        walk(&mut first, seed);
    }
}

fn thinking(starts_open: bool, budget: Option<usize>) -> Option<(Thinking, Option<usize>)> {
    let closing = vec![9, MARK];
    Some((Thinking { open: "<c", close: "</t>", also_close: &[], starts_open, closing }, budget))
}

#[test]
fn what_follows_a_thought_is_held() {
    let open = "root ::= <[0]> [ \\n]{0,4} \"{\" \"}\"";
    let closed = "root ::= \"{a}\" | \"<c\" <[0]> [ \\n]{0,4} \"{}\"";
    let mut within = guide(Some(open), thinking(true, None), &[]);
    // The end of the text is forbidden, and white space that the grammar does not allow; nothing else.
    assert_eq!(allowed(&mut within).len(), TEXTS.len() - 2);
    [0, 11, MARK].into_iter().for_each(|token| within.accept(token).unwrap());
    assert_eq!(allowed(&mut within), [5]);
    let mut before = guide(Some(closed), thinking(false, None), &[]);
    assert_eq!(allowed(&mut before), [1, 5, 8]);
    [1, 2].into_iter().for_each(|token| before.accept(token).unwrap());
    assert_eq!(allowed(&mut before).len(), TEXTS.len() - 2);
    [MARK, 5].into_iter().for_each(|token| before.accept(token).unwrap());
    assert_eq!(allowed(&mut before), [6]);
    before.rollback(4);
    [5, 0].into_iter().for_each(|token| before.accept(token).unwrap());
    assert_eq!(allowed(&mut before), [6]);
    for seed in 0..40 {
        walk(&mut within, seed);
        walk(&mut before, seed);
    }
}

#[test]
fn a_thought_begins_and_ends_where_the_grammar_has_it() {
    let text = "root ::= \"\\r<ca\" | \"<ca{}\" | \"<c\" <[0]> \">\"";
    let mut guide = guide(Some(text), thinking(false, None), &[]);
    // After white space no thought may begin.
    [12, 8].into_iter().for_each(|token| guide.accept(token).unwrap());
    assert_eq!(allowed(&mut guide), [0]);
    guide.rollback(2);
    // The end of a thought is not the text of the token that stands for it.
    [8, MARK].into_iter().for_each(|token| guide.accept(token).unwrap());
    assert_eq!(allowed(&mut guide), [3]);
}

#[test]
fn a_token_may_end_a_thought_and_a_trigger() {
    let braces = Thinking { open: "{", close: "}", also_close: &[], starts_open: false, closing: vec![] };
    let mut guide = guide(Some(CALL), Some((braces, None)), &[TRIGGER]);
    guide.accept(5).unwrap();
    let may = allowed(&mut guide);
    for token in 0..TEXTS.len() as u32 {
        assert_eq!(guide.accept(token).is_ok(), may.contains(&token), "{token}");
        guide.rollback(usize::from(may.contains(&token)));
    }
    // The token's text after the trigger is not allowed by the grammar.
    assert!(!may.contains(&14));
}

#[test]
fn a_call_that_becomes_too_much_goes_on_freely() {
    let mut text = alloc::string::String::from("root ::= \"<c>\" \"{\" (\"ab\"");
    (0..60).for_each(|i| text.push_str(&alloc::format!(" | \"a\" [a] \"{i}\"")));
    text.push(')');
    let mut n_released = 0;
    for steps in 1..400 {
        let make = |triggers: &[Trigger]| {
            let grammar = Arc::new(Grammar::parse(&text, &|_| None).unwrap());
            let limits = Limits { steps, ..Limits::default() };
            let rules = Rules::new(vocabulary(), Some((grammar, limits)), None, triggers, vec![]).ok()?;
            Some(prepared(rules, None))
        };
        let (Some(mut held), Some(mut triggered)) = (make(&[]), make(&[TRIGGER])) else { continue };
        let call = [8, 3, 5, 0, 0];
        let is_read = call.iter().all(|&token| held.allowed().is_ok() && held.accept(token).is_ok());
        for token in call {
            triggered.allowed().unwrap();
            triggered.accept(token).unwrap();
        }
        assert!(is_read || triggered.at.part == Part::Released, "{steps}");
        if triggered.at.part == Part::Released {
            assert_eq!(allowed(&mut triggered).len(), TEXTS.len());
            n_released += 1;
            triggered.rollback(call.len());
            assert_eq!(triggered.at.part, Part::Free);
        }
    }
    assert!((1..399).contains(&n_released), "{n_released}");
}

#[test]
fn budgets_end_thoughts() {
    let open = "root ::= <[0]> [ \\n]{0,4} \"{\" \"}\"";
    for grammar in [None, Some(open)] {
        let mut guide = guide(grammar, thinking(true, Some(2)), &[]);
        [0, 0, 9, MARK].into_iter().for_each(|token| guide.accept(token).unwrap());
        assert_eq!(guide.forced(), None);
        assert_eq!(allowed(&mut guide).len(), if grammar.is_some() { 1 } else { TEXTS.len() });
        guide.rollback(1);
        assert_eq!(guide.forced(), Some(MARK));
        guide.rollback(2);
        assert_eq!(guide.forced(), None);
        for seed in 0..40 {
            walk(&mut guide, seed);
        }
    }
    assert_eq!(guide(None, thinking(true, Some(0)), &[]).forced(), Some(9));
    // The budget covers all thoughts of an answer together.
    let mut again = guide(None, thinking(false, Some(1)), &[]);
    again.accept(8).unwrap();
    assert_eq!(again.forced(), None);
    [0, 9, MARK, 8].into_iter().for_each(|token| again.accept(token).unwrap());
    assert_eq!(again.forced(), Some(9));
}

/// Marks that are ordinary text here: `<c` also ends a thought, and `<c>` begins a call.
const HEADS: Thinking =
    Thinking { open: "{", close: "</t>", also_close: &["<c", "}>"], starts_open: true, closing: Vec::new() };

#[test]
fn what_ends_a_thought_otherwise_does_not_come_in_one_that_is_held() {
    let mut guide = guide(Some("root ::= <[0]> \"{}\""), Some((HEADS, None)), &[]);
    // Forbidden are: the end of the text, white space after the closing mark that the grammar does not allow, and `<c`
    // with or without text around it.
    let may = allowed(&mut guide);
    for token in [END, 8, 13, 14] {
        assert!(!may.contains(&token) || token == 14, "{token}");
    }
    for (before, never) in [(&[1][..], &[2][..]), (&[1, 1], &[2]), (&[6], &[3, 4, 9, 11]), (&[0, 14], &[])] {
        guide.reset();
        for &token in before {
            let may = allowed(&mut guide);
            assert_eq!(guide.accept(token).is_ok(), may.contains(&token), "{token}");
        }
        let may = allowed(&mut guide);
        for token in 0..TEXTS.len() as u32 {
            let is_ok = guide.accept(token).is_ok();
            assert_eq!(is_ok, may.contains(&token), "{token} after {before:?}");
            guide.rollback(usize::from(is_ok));
        }
        assert!(never.iter().all(|token| !may.contains(token)), "{before:?}: {may:?}");
    }
    for seed in 0..40 {
        walk(&mut guide, seed);
    }
}

#[test]
fn what_ends_a_thought_otherwise_begins_a_call_or_what_is_said() {
    let within = || Some((Thinking { closing: vec![9, MARK], ..HEADS }, Some(3)));
    let mut guide = guide(Some(CALL), within(), &[TRIGGER]);
    // A call inside a thought; its mark ends the thought.
    [0, 8, 3].into_iter().for_each(|token| guide.accept(token).unwrap());
    assert_eq!(allowed(&mut guide), [5]);
    guide.rollback(1);
    // Not a call: the text from there on is not part of the thought, so it has no budget.
    [2, 0, 0, 0, 0].into_iter().for_each(|token| guide.accept(token).unwrap());
    assert_eq!(guide.forced(), None);
    guide.reset();
    [0, 0, 0].into_iter().for_each(|token| guide.accept(token).unwrap());
    assert_eq!(guide.forced(), Some(9));
    for seed in 0..40 {
        walk(&mut guide, seed);
    }
}

#[test]
fn little_is_taken_before_it_is_needed() {
    let grammar = (Arc::new(Grammar::parse(CALL, &|_| None).unwrap()), Limits::default());
    let rules = Arc::new(Rules::new(vocabulary(), Some(grammar), None, &[], vec![]).unwrap());
    let mut guide = Guide::new(rules, None).unwrap();
    assert!(guide.constraint.is_none() && guide.words.capacity() == 0);
    guide.prepare().unwrap();
    assert_eq!(allowed(&mut guide), [1, 8]);
    guide.accept(1).unwrap();
    guide.prepare().unwrap();
    assert_eq!(allowed(&mut guide), [2]);
}
