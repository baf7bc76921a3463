//! Automata of the texts in which patterns match.
//!
//! Parts of a pattern become states of a nondeterministic automaton (Thompson's construction). Sets of these states are the
//! states of a deterministic one.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::automaton::{Automaton, Budget, LAST};
use super::error::Why;
use super::pattern::Part;

/// Most states of the nondeterministic automaton.
const MAX_STATES: usize = 1 << 13;

/// A state of a nondeterministic automaton.
enum Nfa {
    /// Reads one of these characters. The class is that of a part.
    Over { part: usize, to: u32 },
    /// Reads any character.
    Any { to: u32 },
    /// Leads to all of these without reading a character.
    Split(Vec<u32>),
    /// Passes only at the beginning of the text.
    AtStart(u32),
    /// Passes only at the end of the text.
    AtEnd(u32),
    /// The pattern has matched.
    Found,
}

/// The texts in which a part of a pattern matches.
pub(super) fn language(parts: &[Part], root: usize, budget: &mut Budget) -> Result<Automaton, Why> {
    Matcher { parts }.language(root, budget)
}

struct Matcher<'p> {
    parts: &'p [Part],
}

impl Matcher<'_> {
    fn language(&self, root: usize, budget: &mut Budget) -> Result<Automaton, Why> {
        match &self.parts[root] {
            Part::Choice(alternatives) if self.has_lookahead(alternatives) => {
                let mut all = Automaton::constant(false);
                for &alternative in alternatives {
                    all = all.unite(&self.language(alternative, budget)?, budget)?;
                }
                Ok(all)
            }
            Part::Sequence(parts)
                if self.has_lookahead(&[root]) && matches!(self.parts[parts[0]], Part::Start) =>
            {
                let mut all = Automaton::constant(true);
                let mut rest = &parts[1..];
                while let [first, others @ ..] = rest {
                    let Part::Ahead { of, negated } = self.parts[*first] else { break };
                    let mut ahead = self.search(&[parts[0], of], budget)?;
                    if negated {
                        ahead = ahead.complement();
                    }
                    all = all.intersect(&ahead, budget)?;
                    rest = others;
                }
                let mut all_parts = vec![parts[0]];
                all_parts.extend(rest);
                all.intersect(&self.search(&all_parts, budget)?, budget)
            }
            _ => self.search(&[root], budget),
        }
    }

    /// Whether one of these sequences has a lookahead.
    fn has_lookahead(&self, sequences: &[usize]) -> bool {
        sequences.iter().any(|&part| match &self.parts[part] {
            Part::Sequence(parts) => parts.iter().any(|&part| matches!(self.parts[part], Part::Ahead { .. })),
            _ => false,
        })
    }

    /// The texts in which these parts match, one after the other.
    fn search(&self, parts: &[usize], budget: &mut Budget) -> Result<Automaton, Why> {
        let mut nfa = vec![Nfa::Found];
        let mut root = 0;
        for &part in parts.iter().rev() {
            root = self.build(part, root, &mut nfa)?;
        }
        let again = add(&mut nfa, Nfa::Any { to: 0 })?;
        let start = add(&mut nfa, Nfa::Split(vec![again, root]))?;
        nfa[again as usize] = Nfa::Any { to: start };
        budget.spend(nfa.len())?;

        let first = closure(&nfa, &[start], true, false);
        let mut closures: BTreeMap<Vec<u32>, Vec<u32>> = BTreeMap::new();
        Automaton::explore(first, budget, |state, ways, budget| {
            budget.spend(4 * state.len() + nfa.len() / 8)?;
            if state[..] == [0] {
                ways.push((LAST, state.clone()));
                return Ok(true);
            }
            let mut cuts = vec![LAST];
            for &number in state {
                if let Nfa::Over { part, .. } = nfa[number as usize] {
                    for &(first, last) in self.class(part) {
                        cuts.extend(first.checked_sub(1));
                        cuts.push(last);
                    }
                }
            }
            sort::sort(&mut cuts);
            cuts.dedup();
            for last in cuts {
                let mut next = Vec::new();
                for &number in state {
                    match nfa[number as usize] {
                        Nfa::Any { to } => next.push(to),
                        Nfa::Over { part, to } => {
                            let class = self.class(part);
                            let range = class.partition_point(|range| range.1 < last);
                            if class.get(range).is_some_and(|range| range.0 <= last) {
                                next.push(to);
                            }
                        }
                        _ => {}
                    }
                }
                sort::sort(&mut next);
                next.dedup();
                budget.spend(1 + 3 * next.len())?;
                if let Some(known) = closures.get(&next) {
                    ways.push((last, known.clone()));
                    continue;
                }
                let closed = closure(&nfa, &next, false, false);
                budget.spend(closed.len() + nfa.len() / 8)?;
                ways.push((last, closed.clone()));
                closures.insert(next, closed);
            }
            Ok(closure(&nfa, state, false, true)[..] == [0])
        })
    }

    fn class(&self, part: usize) -> &[(u32, u32)] {
        match &self.parts[part] {
            Part::Class(class) => class,
            _ => &[],
        }
    }

    /// A state from which `part` leads to `next`.
    fn build(&self, part: usize, next: u32, nfa: &mut Vec<Nfa>) -> Result<u32, Why> {
        match &self.parts[part] {
            Part::Class(_) => add(nfa, Nfa::Over { part, to: next }),
            Part::Sequence(parts) => {
                parts.iter().rev().try_fold(next, |next, &part| self.build(part, next, nfa))
            }
            Part::Choice(parts) => {
                let mut ways = Vec::new();
                for &part in parts {
                    ways.push(self.build(part, next, nfa)?);
                }
                add(nfa, Nfa::Split(ways))
            }
            Part::Repeat { of, min, max } => {
                let mut next = next;
                match max {
                    Some(max) => {
                        let behind = next;
                        for _ in *min..*max {
                            let one = self.build(*of, next, nfa)?;
                            next = add(nfa, Nfa::Split(vec![one, behind]))?;
                        }
                    }
                    None => {
                        let again = add(nfa, Nfa::Split(vec![next]))?;
                        let one = self.build(*of, again, nfa)?;
                        nfa[again as usize] = Nfa::Split(vec![one, next]);
                        next = again;
                    }
                }
                // Repetitions of an empty text add nothing.
                let mut first = next;
                for _ in 0..*min {
                    let before = first;
                    first = self.build(*of, first, nfa)?;
                    if first == before {
                        break;
                    }
                }
                Ok(first)
            }
            Part::Start => add(nfa, Nfa::AtStart(next)),
            Part::End => add(nfa, Nfa::AtEnd(next)),
            Part::Ahead { .. } => Err(Why::NotExpressible(
                "a lookahead that does not stand behind a ^ that begins an alternative",
            )),
        }
    }
}

fn add(nfa: &mut Vec<Nfa>, state: Nfa) -> Result<u32, Why> {
    if nfa.len() >= MAX_STATES {
        return Err(Why::TooLarge);
    }
    nfa.try_reserve(1)?;
    nfa.push(state);
    Ok(nfa.len() as u32 - 1)
}

/// The states that can be reached from `from` without reading a character, sorted; only state 0 once the pattern has matched.
fn closure(nfa: &[Nfa], from: &[u32], at_start: bool, at_end: bool) -> Vec<u32> {
    let mut open = from.to_vec();
    let mut seen = vec![false; nfa.len()];
    let mut result = Vec::new();
    while let Some(number) = open.pop() {
        if core::mem::replace(&mut seen[number as usize], true) {
            continue;
        }
        match &nfa[number as usize] {
            Nfa::Found => return vec![0],
            Nfa::Split(ways) => open.extend(ways),
            Nfa::AtStart(to) if at_start => open.push(*to),
            Nfa::AtEnd(to) if at_end => open.push(*to),
            Nfa::AtStart(_) => {}
            Nfa::AtEnd(_) | Nfa::Over { .. } | Nfa::Any { .. } => result.push(number),
        }
    }
    sort::sort(&mut result);
    result
}
