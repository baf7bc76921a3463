//! Deterministic automata over characters: sets of strings, and of numbers by their texts.
//!
//! An [`Automaton`] is complete: every character leads from each state to some state. The complement therefore only swaps
//! accepting and other states, and union and intersection are products. A [`Budget`] counts all work, because products multiply
//! sizes.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::error::Why;

/// The last character of Unicode.
pub(super) const LAST: u32 = 0x10_FFFF;
/// Most states of one automaton.
const MAX_STATES: usize = 1 << 15;
/// Larger automata are not minimised, because that takes quadratic time.
const MINIMIZED: usize = 160;

/// How many steps may still be computed for a schema.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
}

impl Budget {
    pub fn new(steps: u32) -> Self {
        Self { left: steps }
    }

    /// How many steps are left.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Subtracts `steps`; fails if fewer are left.
    pub fn spend(&mut self, steps: usize) -> Result<(), Why> {
        let steps = u32::try_from(steps).map_err(|_| Why::TooLarge)?;
        self.left = self.left.checked_sub(steps).ok_or(Why::TooLarge)?;
        Ok(())
    }
}

/// The state that characters lead to: those up to `last` that come after the previous edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub last: u32,
    pub to: u32,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// Whether a text may end here.
    pub accepts: bool,
    /// In ascending order of characters; the last edge reaches to [`LAST`].
    pub edges: Vec<Edge>,
}

/// A set of texts. State 0 is the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Automaton {
    pub states: Vec<State>,
}

/// Appends an edge, or extends the last one.
fn append(edges: &mut Vec<Edge>, last: u32, to: u32) {
    match edges.last_mut() {
        Some(edge) if edge.to == to => edge.last = last,
        _ => edges.push(Edge { last, to }),
    }
}

impl Automaton {
    /// All texts, or none.
    pub fn constant(accepts: bool) -> Self {
        Self { states: vec![State { accepts, edges: vec![Edge { last: LAST, to: 0 }] }] }
    }

    /// Explores the states that can be reached from `start`. For each state, `step` gives the state that each range of characters
    /// leads to, in ascending order up to [`LAST`], and whether the state accepts.
    pub fn explore<S: Ord + Clone>(
        start: S,
        budget: &mut Budget,
        mut step: impl FnMut(&S, &mut Vec<(u32, S)>, &mut Budget) -> Result<bool, Why>,
    ) -> Result<Self, Why> {
        let mut numbers = BTreeMap::new();
        let mut found = vec![start.clone()];
        numbers.insert(start, 0);
        let mut states: Vec<State> = Vec::new();
        let mut ways = Vec::new();
        while states.len() < found.len() {
            ways.clear();
            let accepts = step(&found[states.len()], &mut ways, budget)?;
            budget.spend(2 + 2 * ways.len())?;
            let mut edges = Vec::new();
            edges.try_reserve(ways.len())?;
            for (last, to) in ways.drain(..) {
                let number = match numbers.get(&to) {
                    Some(&number) => number,
                    None => {
                        let number = found.len() as u32;
                        if found.len() >= MAX_STATES {
                            return Err(Why::TooLarge);
                        }
                        found.try_reserve(1)?;
                        found.push(to.clone());
                        numbers.insert(to, number);
                        number
                    }
                };
                append(&mut edges, last, number);
            }
            states.try_reserve(1)?;
            states.push(State { accepts, edges });
        }
        Self { states }.reduced(budget)
    }

    /// The set of these words.
    pub fn words(words: &[&str], budget: &mut Budget) -> Result<Self, Why> {
        let mut sorted: Vec<Vec<u32>> = words.iter().map(|w| w.chars().map(u32::from).collect()).collect();
        sort::sort(&mut sorted);
        sorted.dedup();
        // A state is the range of words that begin with the text so far, and the length of that text.
        Self::explore(Some((0, sorted.len(), 0)), budget, |state, ways, _| {
            let Some((mut from, to, at)) = *state else {
                ways.push((LAST, None));
                return Ok(false);
            };
            let mut accepts = false;
            while from < to && sorted[from].len() == at {
                accepts = true;
                from += 1;
            }
            while from < to {
                let c = sorted[from][at];
                let mut end = from;
                while end < to && sorted[end][at] == c {
                    end += 1;
                }
                if c > 0 {
                    ways.push((c - 1, None));
                }
                ways.push((c, Some((from, end, at + 1))));
                from = end;
            }
            if ways.last().is_none_or(|way| way.0 < LAST) {
                ways.push((LAST, None));
            }
            Ok(accepts)
        })
    }

    /// The texts of `min` to `max` characters.
    pub fn lengths(min: u64, max: Option<u64>, budget: &mut Budget) -> Result<Self, Why> {
        let end = max.map_or(Some(min), |max| max.checked_add(1)).ok_or(Why::TooLarge)?;
        if end >= MAX_STATES as u64 {
            return Err(Why::TooLarge);
        }
        Self::explore(0, budget, |&n: &u64, ways, _| {
            ways.push((LAST, end.min(n + 1)));
            Ok(n >= min && max.is_none_or(|max| n <= max))
        })
    }

    /// The texts that this one does not accept.
    pub fn complement(&self) -> Self {
        let mut other = self.clone();
        for state in &mut other.states {
            state.accepts = !state.accepts;
        }
        other
    }

    /// The texts that both accept or, unless `both` is set, that one of them accepts.
    fn product(&self, other: &Self, both: bool, budget: &mut Budget) -> Result<Self, Why> {
        Self::explore((0, 0), budget, |&(a, b): &(u32, u32), ways, _| {
            let (a, b) = (&self.states[a as usize], &other.states[b as usize]);
            let (mut i, mut j) = (0, 0);
            while let (Some(x), Some(y)) = (a.edges.get(i), b.edges.get(j)) {
                ways.push((x.last.min(y.last), (x.to, y.to)));
                i += usize::from(x.last <= y.last);
                j += usize::from(y.last <= x.last);
            }
            Ok(if both { a.accepts && b.accepts } else { a.accepts || b.accepts })
        })
    }

    /// The texts that both accept.
    pub fn intersect(&self, other: &Self, budget: &mut Budget) -> Result<Self, Why> {
        self.product(other, true, budget)
    }

    /// The texts that at least one of them accepts.
    pub fn unite(&self, other: &Self, budget: &mut Budget) -> Result<Self, Why> {
        self.product(other, false, budget)
    }

    /// Whether no text is accepted. (Reduced automata that accept nothing have one state.)
    pub fn is_empty(&self) -> bool {
        self.states.iter().all(|state| !state.accepts)
    }

    /// Whether every text is accepted.
    pub fn is_full(&self) -> bool {
        self.states.iter().all(|state| state.accepts)
    }

    /// Whether `text` is accepted.
    pub fn accepts(&self, text: &str) -> bool {
        let mut at = &self.states[0];
        for c in text.chars() {
            let edge = at.edges.partition_point(|edge| edge.last < u32::from(c));
            at = &self.states[at.edges[edge].to as usize];
        }
        at.accepts
    }

    /// For each state, whether it can reach a state that accepts (if `wanted`), or one that does not.
    pub fn reaches(&self, wanted: bool) -> Vec<bool> {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); self.states.len()];
        let mut reaches = vec![false; self.states.len()];
        let mut open = Vec::new();
        for (number, state) in self.states.iter().enumerate() {
            for edge in &state.edges {
                before[edge.to as usize].push(number as u32);
            }
            if state.accepts == wanted {
                reaches[number] = true;
                open.push(number as u32);
            }
        }
        while let Some(state) = open.pop() {
            for &earlier in &before[state as usize] {
                if !core::mem::replace(&mut reaches[earlier as usize], true) {
                    open.push(earlier);
                }
            }
        }
        reaches
    }

    /// The same set with a single state for all states that can accept nothing any more, and a single state for all that accept
    /// everything from there on. Small automata get the fewest possible states.
    fn reduced(self, budget: &mut Budget) -> Result<Self, Why> {
        let (may, may_not) = (self.reaches(true), self.reaches(false));
        budget.spend(self.states.len())?;
        let mut class: Vec<u32> = (0..self.states.len() as u32).collect();
        let mut n_classes = class.len();
        if self.states.len() <= MINIMIZED {
            // Moore's refinement: states differ if only one of them accepts, or if they lead to states that differ.
            n_classes = 1;
            for (number, state) in self.states.iter().enumerate() {
                class[number] = u32::from(state.accepts);
                n_classes = n_classes.max(1 + usize::from(state.accepts));
            }
            loop {
                let mut numbers: BTreeMap<(u32, Vec<Edge>), u32> = BTreeMap::new();
                let mut finer = Vec::new();
                for (number, state) in self.states.iter().enumerate() {
                    let mut edges = Vec::new();
                    for edge in &state.edges {
                        append(&mut edges, edge.last, class[edge.to as usize]);
                    }
                    let next = numbers.len() as u32;
                    finer.push(*numbers.entry((class[number], edges)).or_insert(next));
                }
                budget.spend(self.states.len())?;
                let grown = numbers.len() > n_classes;
                n_classes = numbers.len();
                class = finer;
                if !grown {
                    break;
                }
            }
        } else {
            let (mut dead, mut full) = (None, None);
            for number in 0..class.len() {
                let one = match (may[number], may_not[number]) {
                    (false, _) => &mut dead,
                    (_, false) => &mut full,
                    _ => continue,
                };
                class[number] = *one.get_or_insert(number as u32);
            }
        }
        // States are numbered from the start, in the order in which they are found.
        let mut number_of: Vec<Option<u32>> = vec![None; self.states.len().max(n_classes)];
        let mut found = vec![0u32];
        number_of[class[0] as usize] = Some(0);
        let mut states = Vec::new();
        while let Some(&representative) = found.get(states.len()) {
            let state = &self.states[representative as usize];
            let mut edges = Vec::new();
            for edge in &state.edges {
                let to = class[edge.to as usize];
                let number = *number_of[to as usize].get_or_insert_with(|| {
                    found.push(edge.to);
                    found.len() as u32 - 1
                });
                append(&mut edges, edge.last, number);
            }
            states.push(State { accepts: state.accepts, edges });
        }
        Ok(Self { states })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(1_000_000)
    }

    #[test]
    fn sets_of_words() {
        let b = &mut budget();
        let words = Automaton::words(&["foo", "bar", "foobar", "", "\u{0}", "\u{10FFFF}"], b).unwrap();
        for (text, is_in) in
            [("foo", true), ("foob", false), ("foobar", true), ("", true), ("\u{0}", true), ("b", false)]
        {
            assert_eq!(words.accepts(text), is_in, "{text:?}");
            assert_eq!(words.complement().accepts(text), !is_in, "{text:?}");
        }
        assert!(words.accepts("\u{10FFFF}"));
        assert!(words.intersect(&words.complement(), b).unwrap().is_empty());
        let all = words.unite(&words.complement(), b).unwrap();
        assert!(all.is_full());
        assert_eq!(all.states.len(), 1);
        assert!(Automaton::words(&[], b).unwrap().is_empty());
    }

    #[test]
    fn lengths_count_characters() {
        let b = &mut budget();
        let some = Automaton::lengths(2, Some(3), b).unwrap();
        for (text, is_in) in
            [("", false), ("a", false), ("äö", true), ("abc", true), ("abcd", false), ("😀😀", true)]
        {
            assert_eq!(some.accepts(text), is_in, "{text:?}");
        }
        assert!(Automaton::lengths(1, None, b).unwrap().accepts("abcdefgh"));
        assert_eq!(some.states.len(), 5);
    }

    #[test]
    fn large_ones_are_refused_or_reduced() {
        let b = &mut budget();
        assert_eq!(Automaton::lengths(0, Some(1 << 40), b), Err(Why::TooLarge));
        let long = Automaton::lengths(0, Some(1000), b).unwrap();
        assert_eq!(long.states.len(), 1002);
        assert!(long.intersect(&long.complement(), b).unwrap().is_empty());
        assert_eq!(long.intersect(&long.complement(), b).unwrap().states.len(), 1);
        assert_eq!(Automaton::lengths(0, Some(1000), &mut Budget::new(500)), Err(Why::TooLarge));
    }
}
