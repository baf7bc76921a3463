//! Grammars whose values nest no deeper than a limit: [`Grammar::nested`].
//!
//! A reading that can only continue with a forbidden bracket leads nowhere, so it must not begin either. For each instruction it
//! is therefore known how deeply brackets must nest at least before its rule returns. An entry for which that is too deep is
//! dropped, so that every remaining entry can be completed.
//!
//! Source: D. E. Knuth, A generalization of Dijkstra's algorithm (1977).

use alloc::vec::Vec;

use super::members::{MemberSets, Members};
use super::sets::Entry;
use crate::error::GrammarError;
use crate::program::{Grammar, InterleaveOp, Op};

/// More than any limit.
const NEVER: u8 = u8::MAX;
/// The largest limit.
const MAX_LIMIT: u32 = 250;

impl Grammar {
    /// The texts of this grammar in which, wherever a text begins with `[` or `{`, at most `limit` calls of rules and bodies of
    /// repetitions are nested. In a grammar of JSON each nested value takes at least one of these, so this bounds the nesting of
    /// values. A larger `limit` than 250 counts as 250.
    ///
    /// # Errors
    /// [`GrammarError::TooNested`] if there is no such text; [`GrammarError::OutOfMemory`].
    pub fn nested(mut self, limit: u32) -> Result<Self, GrammarError> {
        let limit = limit.min(MAX_LIMIT);
        self.needs = needs(&self)?;
        self.nesting = limit;
        match fits(limit, 0, self.needs[self.start as usize]) {
            true => Ok(self),
            false => Err(GrammarError::TooNested { limit }),
        }
    }

    /// Whether an entry can get to its return if at least `depth` calls are below its stack.
    pub(super) fn can_return(&self, members: &MemberSets, entry: &Entry, depth: u32) -> bool {
        if self.needs.is_empty() {
            return true;
        }
        let place = entry.place as usize;
        let (own, next) = (self.needs[place], || self.needs[place + 1]);
        let need = match self.ops[place] {
            Op::Text(_) if entry.number > 0 => next(),
            Op::Repeat(i) if entry.number >= self.repeats[i as usize].min => next(),
            Op::Interleave(i) | Op::Member(i) => {
                let interleave = &self.interleaves[i as usize];
                of_interleave(self, &self.needs, place, interleave, members.get(entry.number))
            }
            _ => own,
        };
        fits(self.nesting, depth, need)
    }
}

fn fits(limit: u32, depth: u32, need: u8) -> bool {
    need == 0 || depth + u32::from(need) <= limit + 1
}

/// For each instruction, one more than the number of calls that must at least be nested, within its rule, where brackets come
/// before it returns; 0 if no brackets need come.
fn needs(grammar: &Grammar) -> Result<Vec<u8>, GrammarError> {
    let n_ops = grammar.ops.len();
    let users = Users::of(grammar)?;
    let mut needs = Vec::new();
    needs.try_reserve_exact(n_ops)?;
    needs.resize(n_ops, NEVER);
    // The instructions whose need is `level`, and those whose need is larger unless a smaller one is found.
    let (mut now, mut then) = (Vec::new(), Vec::new());
    for place in 0..n_ops as u32 {
        if matches!(grammar.ops[place as usize], Op::End | Op::Return) {
            needs[place as usize] = 0;
            push(&mut now, place)?;
        }
    }
    for level in 0..NEVER {
        while let Some(place) = now.pop() {
            match needs[place as usize] {
                need if need > level => {
                    push(&mut then, place)?;
                    continue;
                }
                need if need < level => continue,
                _ => {}
            }
            let before = [1, 2].map(|n| (place.wrapping_sub(n), false));
            let named = users.of_place(place).iter().map(|&user| (user, true));
            for (user, is_named) in before.into_iter().chain(named) {
                let Some(&known) = needs.get(user as usize) else { continue };
                let need = match grammar.ops[user as usize] {
                    // Needs are found in ascending order.
                    Op::Choice(_) if is_named => level,
                    _ => of_op(grammar, &needs, user as usize),
                };
                if need < known {
                    needs[user as usize] = need;
                    push(if need == level { &mut now } else { &mut then }, user)?;
                }
            }
        }
        core::mem::swap(&mut now, &mut then);
    }
    Ok(needs)
}

/// The need of an instruction, computed from the known needs of others.
fn of_op(grammar: &Grammar, needs: &[u8], place: usize) -> u8 {
    let next = needs.get(place + 1).copied().unwrap_or(NEVER);
    match grammar.ops[place] {
        Op::End | Op::Return => 0,
        Op::Text(span) => next.max(u8::from(matches!(span.of(&grammar.text), [b'[' | b'{', ..]))),
        Op::Class(_) | Op::Token { .. } => next,
        Op::Jump(target) => needs[target as usize],
        // It is known as soon as one of its alternatives is.
        Op::Choice(_) => NEVER,
        // A call before a return is as deep as its caller.
        Op::Call(target) if grammar.ops.get(place + 1) == Some(&Op::Return) => needs[target as usize],
        Op::Call(target) => called(needs, target).max(next),
        Op::Repeat(i) => {
            let repeat = &grammar.repeats[i as usize];
            if repeat.min == 0 { next } else { called(needs, repeat.body).max(next) }
        }
        Op::Interleave(i) | Op::Member(i) => {
            of_interleave(grammar, needs, place, &grammar.interleaves[i as usize], Members::NONE)
        }
    }
}

/// The need of the code that is called.
fn called(needs: &[u8], target: u32) -> u8 {
    // A separator that never comes has no address.
    match needs.get(target as usize) {
        None | Some(0) => 0,
        Some(need) => need.saturating_add(1),
    }
}

/// The need of members in any order when some have come. At [`Op::Member`] a member must come next.
fn of_interleave(
    grammar: &Grammar,
    needs: &[u8],
    place: usize,
    interleave: &InterleaveOp,
    came: Members,
) -> u8 {
    let (behind, n_next) = match grammar.ops[place] {
        Op::Member(_) => (place + 1, 1),
        _ => (place + 2, 0),
    };
    let (mut need, mut n_missing) = (needs[behind], 0);
    let mut optional = [NEVER; crate::expression::MAX_MEMBERS];
    for (i, &target) in interleave.members.of(&grammar.targets).iter().enumerate() {
        let bit = 1 << i;
        match called(needs, target) {
            _ if came.bits & bit != 0 => {}
            of_member if interleave.required & bit != 0 => {
                (need, n_missing) = (need.max(of_member), n_missing + 1)
            }
            of_member => optional[i] = of_member,
        }
    }
    let n_more = interleave.min.saturating_sub(came.count).max(n_next);
    if n_more > 0 {
        need = need.max(called(needs, interleave.separator));
    }
    // The other members that are still needed are chosen from those with the smallest need.
    if let Some(n_optional) = n_more.saturating_sub(n_missing).checked_sub(1) {
        let n_up_to = |most: u8| optional.iter().filter(|&&need| need <= most).count();
        let dearest = (0..NEVER).find(|&need| n_up_to(need) > n_optional as usize).unwrap_or(NEVER);
        let others = interleave.others.map_or(NEVER, |others| called(needs, others));
        need = need.max(dearest.min(others));
    }
    need
}

/// For each instruction, the instructions that continue at it, except the one just before it.
struct Users {
    /// Where the users of each instruction begin in `users`, followed by the end.
    starts: Vec<u32>,
    users: Vec<u32>,
}

impl Users {
    fn of(grammar: &Grammar) -> Result<Self, GrammarError> {
        let n_ops = grammar.ops.len();
        let mut starts = Vec::new();
        starts.try_reserve_exact(n_ops + 2)?;
        starts.resize(n_ops + 2, 0_u32);
        // Each count is stored two places further on, so that filling moves it to its final place.
        for_each_use(grammar, &mut |target, _| {
            if let Some(count) = starts.get_mut(target as usize + 2) {
                *count += 1;
            }
        });
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut users = Vec::new();
        users.try_reserve_exact(starts[n_ops + 1] as usize)?;
        users.resize(starts[n_ops + 1] as usize, 0);
        for_each_use(grammar, &mut |target, user| {
            if let Some(start) = starts[..n_ops + 1].get_mut(target as usize + 1) {
                users[*start as usize] = user;
                *start += 1;
            }
        });
        Ok(Self { starts, users })
    }

    fn of_place(&self, place: u32) -> &[u32] {
        &self.users[self.starts[place as usize] as usize..self.starts[place as usize + 1] as usize]
    }
}

/// Calls `each` with every address that an instruction continues at or calls, and with the instruction's own address.
fn for_each_use(grammar: &Grammar, each: &mut dyn FnMut(u32, u32)) {
    for (place, op) in grammar.ops.iter().enumerate() {
        let user = place as u32;
        match *op {
            Op::Jump(target) | Op::Call(target) => each(target, user),
            Op::Choice(span) => span.of(&grammar.targets).iter().for_each(|&target| each(target, user)),
            Op::Repeat(i) => each(grammar.repeats[i as usize].body, user),
            Op::Interleave(i) | Op::Member(i) => {
                let interleave = &grammar.interleaves[i as usize];
                let members = interleave.members.of(&grammar.targets).iter();
                let all = members.chain(&interleave.others).chain([&interleave.separator]);
                all.for_each(|&target| each(target, user));
            }
            Op::End | Op::Return | Op::Text(_) | Op::Class(_) | Op::Token { .. } => {}
        }
    }
}

fn push(places: &mut Vec<u32>, place: u32) -> Result<(), GrammarError> {
    places.try_reserve(1)?;
    places.push(place);
    Ok(())
}
