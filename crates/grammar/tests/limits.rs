//! A limit is reached at the same place whatever was tried before: a guess that is taken back changes nothing.

use std::sync::Arc;

use grammar::json_schema::Options;
use grammar::{Constraint, ConstraintError, Grammar, Limits, Piece, Vocabulary};

const SCHEMA: &str = r##"{"type":"object","properties":{"name":{"type":"string","pattern":"^[a-z]{2,9}(-[0-9]+)*$"},
    "kind":{"enum":["one","other","another","none"]},"tags":{"type":"array","items":{"anyOf":[{"type":"string"},{"type":"number"},
    {"$ref":"#"}]}}},"required":["name","kind"]}"##;
const TEXT: &str = r#"{"name":"abc-12","kind":"other","tags":[1.5,"x",{"name":"de","kind":"none"}]}"#;

fn vocabulary() -> Arc<Vocabulary> {
    let pieces: Vec<Vec<u8>> = (0..=255)
        .map(|byte| vec![byte])
        .chain((1..6).flat_map(|n| TEXT.as_bytes().windows(n + 1).map(<[u8]>::to_vec)))
        .collect();
    let piece = |token: u32| pieces.get(token as usize).map_or(Piece::End, |bytes| Piece::Text(bytes));
    Arc::new(Vocabulary::new(pieces.len() as u32 + 1, &piece).unwrap())
}

#[test]
fn what_is_known_costs_as_much_as_what_is_not() {
    let grammar = Arc::new(Grammar::of_json_schema(SCHEMA, Options::GENERATED).unwrap());
    let vocabulary = vocabulary();
    let (mut n_masks, mut n_refused) = (0, 0);
    for steps in (20..6000).step_by(61) {
        let made =
            || Constraint::new(grammar.clone(), vocabulary.clone(), Limits { steps, ..Limits::default() });
        let (Ok(mut fresh), Ok(mut warm)) = (made(), made()) else { continue };
        // All of the text, and all masks on its way that can be made, are known to one of them.
        for byte in TEXT.bytes() {
            let _ = warm.allowed().map(|mask| mask.count());
            if warm.accept_bytes(&[byte]).is_err() {
                break;
            }
        }
        warm.reset();
        for byte in TEXT.bytes() {
            warm.forget_masks();
            let count = |constraint: &mut Constraint| constraint.allowed().map(|mask| mask.count());
            let result = count(&mut fresh);
            assert_eq!(count(&mut warm), result, "{steps} steps");
            n_masks += 1;
            n_refused += usize::from(result == Err(ConstraintError::TooManySteps { steps }));
            let token = u32::from(byte);
            let accepted = fresh.accept(token);
            assert_eq!(warm.accept(token), accepted, "{steps} steps");
            if accepted.is_err() {
                break;
            }
        }
    }
    assert!(n_refused > 100 && n_masks - n_refused > 100, "{n_refused} of {n_masks}");
}
