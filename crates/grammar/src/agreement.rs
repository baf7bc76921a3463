//! Compares the machine with an exhaustive matcher on random grammars.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::prelude::rust_2024::*;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::error::GrammarError;
use crate::expression::{Builder, Expression, Interleave, Rule};
use crate::json_schema::matcher;
use crate::program::Grammar;

/// Turns decisions into expressions.
struct Random<'a> {
    builder: Builder,
    rules: [Rule; 3],
    decisions: core::slice::Iter<'a, u8>,
}

impl Random<'_> {
    fn below(&mut self, n: u8) -> u8 {
        self.decisions.next().map_or(0, |&decision| decision % n)
    }

    fn one_of<T: Copy>(&mut self, options: &[T]) -> T {
        options[usize::from(self.below(options.len() as u8))]
    }

    fn expressions(&mut self, depth: u8) -> Vec<Expression> {
        (0..=self.below(3)).map(|_| self.expression(depth)).collect()
    }

    fn expression(&mut self, depth: u8) -> Expression {
        let kind = if depth == 0 { self.below(7) } else { self.below(14) };
        match kind {
            0 => self.builder.literal("a"),
            1 => self.builder.literal("b"),
            2 => {
                let text = self.one_of(&["", "ab", "é", "a,"]);
                self.builder.literal(text)
            }
            3 => self.builder.class(&[(0x61, 0x62), (0xE8, 0xEA)]),
            4 => self.builder.not_in_class(&[(0x61, 0x61)]),
            5 | 6 => {
                // Something comes before it, so that no rule begins with itself.
                let rule = self.one_of(&self.rules.clone());
                let text = self.one_of(&["a", ",", "b"]);
                let (literal, rule) = (self.builder.literal(text).unwrap(), self.builder.rule(rule).unwrap());
                self.builder.sequence(&[literal, rule])
            }
            7 | 8 => {
                let parts = self.expressions(depth - 1);
                self.builder.sequence(&parts)
            }
            9 | 10 => {
                let alternatives = self.expressions(depth - 1);
                self.builder.choice(&alternatives)
            }
            11 | 12 => {
                let of = self.expression(depth - 1);
                let min = u32::from(self.below(4));
                let max = match self.below(3) {
                    0 => None,
                    more => Some(min + u32::from(more) - 1),
                };
                self.builder.repeat(of, min, max)
            }
            _ => {
                // A member that may be empty is refused.
                let mut member = |name| {
                    let rest = self.expression(0);
                    let name = self.builder.literal(name).unwrap();
                    self.builder.sequence(&[name, rest]).unwrap()
                };
                let members = [member("a"), member("b"), member("ab")];
                let others = (self.below(2) == 0).then(|| self.builder.class(&[(0xE9, 0xE9)]).unwrap());
                let separator = self.builder.literal(",").unwrap();
                let required = self.below(8);
                let members: Vec<_> =
                    members.iter().enumerate().map(|(i, &member)| (member, required >> i & 1 == 1)).collect();
                let min = u32::from(self.below(3));
                let max = (self.below(2) == 0).then(|| min + 1);
                self.builder.interleave(&Interleave { members: &members, others, separator, min, max })
            }
        }
        .unwrap()
    }
}

fn random_grammar(decisions: &[u8]) -> Result<Grammar, GrammarError> {
    let mut builder = Builder::new();
    let rules = [0, 1, 2].map(|i| builder.declare(&format!("rule-{i}")).unwrap());
    let mut random = Random { builder, rules, decisions: decisions.iter() };
    for i in 0..3 {
        let body = random.expression(3);
        random.builder.define(random.rules[i], body).unwrap();
    }
    let root = random.rules[0];
    random.builder.finish(root)
}

/// All texts of these characters up to a length.
fn texts(n: usize) -> Vec<String> {
    let mut texts = Vec::from([String::new()]);
    let mut start = 0;
    for _ in 0..n {
        let end = texts.len();
        for i in start..end {
            for character in ['a', 'b', ',', 'é'] {
                let text = format!("{}{character}", texts[i]);
                texts.push(text);
            }
        }
        start = end;
    }
    texts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_accepts_what_the_expressions_stand_for(decisions in vec(any::<u8>(), 0..60)) {
        match random_grammar(&decisions) {
            Err(GrammarError::MatchesNothing { .. }) => {}
            grammar => {
                let grammar = Arc::new(grammar.unwrap());
                // `accepts` compares the two.
                for text in texts(4) {
                    matcher::accepts(&grammar, &text);
                }
            }
        }
    }
}
