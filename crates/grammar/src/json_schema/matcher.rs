//! Checks exhaustively whether a text is one of an expression's texts: slow, but simple enough to be obviously right.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::constraint::{Constraint, ConstraintError, Limits};
use crate::expression::{Builder, Expression, Node};
use crate::program::Grammar;
use crate::tokens::{Piece, Vocabulary};

/// Where the texts of expressions can end, by where they begin.
pub(super) struct Matcher<'g> {
    builder: &'g Builder,
    text: &'g str,
    known: BTreeMap<(u32, usize), BTreeSet<usize>>,
}

/// Whether `text` is one of the grammar's texts. Panics if the machine disagrees.
pub(crate) fn accepts(grammar: &Arc<Grammar>, text: &str) -> bool {
    let (builder, root) = grammar.parts();
    let body = builder.rules[root.0 as usize].body.unwrap();
    let accepts = Matcher { builder, text, known: BTreeMap::new() }.ends(body, 0).contains(&text.len());
    let vocabulary = Vocabulary::new(0, &|_| Piece::End).unwrap();
    let mut constraint =
        Constraint::new(Arc::clone(grammar), Arc::new(vocabulary), Limits::default()).unwrap();
    let machine_accepts = match constraint.accept_bytes(text.as_bytes()) {
        Ok(()) => constraint.can_end(),
        Err(ConstraintError::BytesNotAllowed) => false,
        Err(error) => panic!("{error}: {text}"),
    };
    assert_eq!(machine_accepts, accepts, "{text}");
    accepts
}

impl Matcher<'_> {
    fn ends(&mut self, expression: Expression, from: usize) -> BTreeSet<usize> {
        if let Some(known) = self.known.get(&(expression.0, from)) {
            return known.clone();
        }
        let builder = self.builder;
        let mut ends = BTreeSet::new();
        match builder.nodes[expression.0 as usize] {
            Node::Empty => drop(ends.insert(from)),
            Node::Never => {}
            Node::Text(span) => {
                let literal = span.of(&builder.text);
                if self.text.as_bytes()[from..].starts_with(literal) {
                    ends.insert(from + literal.len());
                }
            }
            Node::Class(span) => {
                if let Some(c) = self.text[from..].chars().next() {
                    let ranges = span.of(&builder.lists).chunks(2);
                    if ranges.into_iter().any(|range| (range[0]..=range[1]).contains(&c.into())) {
                        ends.insert(from + c.len_utf8());
                    }
                }
            }
            Node::Rule(rule) => ends = self.ends(builder.rules[rule.0 as usize].body.unwrap(), from),
            Node::Token { .. } => panic!("no grammar of a schema names tokens"),
            Node::Sequence(span) => {
                ends.insert(from);
                for &part in span.of(&builder.lists) {
                    ends = ends.into_iter().flat_map(|at| self.ends(Expression(part), at)).collect();
                }
            }
            Node::Choice(span) => {
                for &way in span.of(&builder.lists) {
                    ends.extend(self.ends(Expression(way), from));
                }
            }
            Node::Repeat { of, min, max } => {
                // Keyed by the number of repetitions and the position. Beyond `min`, without a limit, the number does not matter.
                // If the body may be empty, empty repetitions make up for missing ones.
                let min = if self.ends(of, from).contains(&from) { 0 } else { min };
                let cap = if max == u32::MAX { min } else { max };
                let mut open = alloc::vec![(0, from)];
                let mut seen = BTreeSet::new();
                while let Some((n, at)) = open.pop() {
                    if !seen.insert((n, at)) {
                        continue;
                    }
                    if n >= min {
                        ends.insert(at);
                    }
                    if max == u32::MAX || n < max {
                        open.extend(
                            self.ends(of, at)
                                .into_iter()
                                .filter(|end| *end > at)
                                .map(|end| (cap.min(n + 1), end)),
                        );
                    }
                }
            }
            Node::Interleave(number) => {
                let node = builder.interleaves[number as usize];
                let members: Vec<u32> = node.members.of(&builder.lists).to_vec();
                let mut open = alloc::vec![(0u128, 0u32, from)];
                let mut seen = BTreeSet::new();
                while let Some((taken, n, at)) = open.pop() {
                    if !seen.insert((taken, n, at)) {
                        continue;
                    }
                    if n >= node.min && taken & node.required == node.required {
                        ends.insert(at);
                    }
                    if n >= node.max {
                        continue;
                    }
                    let starts = if n == 0 { BTreeSet::from([at]) } else { self.ends(node.separator, at) };
                    for start in starts {
                        for (i, member) in members.iter().enumerate().filter(|(i, _)| taken >> i & 1 == 0) {
                            let next = self.ends(Expression(*member), start);
                            open.extend(next.into_iter().map(|end| (taken | 1 << i, n + 1, end)));
                        }
                        if let Some(others) = node.others {
                            open.extend(self.ends(others, start).into_iter().map(|end| (taken, n + 1, end)));
                        }
                    }
                }
            }
        }
        self.known.insert((expression.0, from), ends.clone());
        ends
    }
}
