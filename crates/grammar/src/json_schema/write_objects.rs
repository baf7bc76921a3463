//! Rules for objects.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::automaton::Automaton;
use super::document::{Document, Literal};
use super::error::{SchemaError, Why};
use super::union::{Conjunction, Keys, Object, Strings, also};
use super::write_arrays::limit;
use super::writer::Writer;
use super::{Members as Written, Order};
use crate::expression::{Expression, Interleave, MAX_MEMBERS};

/// Most patterns for names in one object.
const MAX_PATTERNS: usize = 8;
/// Most alternatives into which one object is divided because some member must exist.
const MAX_ALTERNATIVES: usize = 64;
/// Most states of an object whose members are in order and counted.
const MAX_STATES: u64 = 1 << 14;

/// The members of an object, as expressions.
struct Members {
    /// The named members, in order, and whether they are required.
    named: Vec<(Expression, bool)>,
    others: Option<Expression>,
    /// A required member without a fixed name.
    one: Option<Expression>,
    min: u64,
    max: Option<u64>,
}

impl<'a> Writer<'a, '_> {
    /// An object.
    pub fn object(&mut self, object: &Object<'a>) -> Result<Expression, SchemaError> {
        // Each member that must exist has either a name that the schema knows, or another name.
        let mut open: Vec<(Object<'a>, Option<(Keys<'a>, Literal)>)> = vec![(object.clone(), None)];
        let mut ways = Vec::new();
        while let Some((mut object, one)) = open.pop() {
            let names = names(&object, one.as_ref());
            let Some((keys, literal)) = object.exists.pop() else {
                ways.push(self.members(&object, one.as_ref())?);
                if ways.len() > MAX_ALTERNATIVES {
                    return self.here(Err(Why::TooLarge));
                }
                continue;
            };
            for name in names {
                if self.meanings.is_among(name, &keys) {
                    // Each open alternative yields at least one.
                    if ways.len() + open.len() >= MAX_ALTERNATIVES {
                        return self.here(Err(Why::TooLarge));
                    }
                    let mut other = object.clone();
                    other.rule(Keys::Name(name), literal);
                    other.required.push(name);
                    sort::sort(&mut other.required);
                    other.required.dedup();
                    open.push((other, one.clone()));
                }
            }
            if one.is_some() {
                let why = "that two members exist which the schema does not name";
                return self.refused("not", why);
            }
            open.push((object, Some((keys, literal))));
        }
        let choice = self.text.choice(&ways);
        self.here(choice)
    }

    fn members(
        &mut self,
        object: &Object<'a>,
        one: Option<&(Keys<'a>, Literal)>,
    ) -> Result<Expression, SchemaError> {
        let names = names(object, one);
        let spent = self.meanings.budget.spend(names.len() * (1 + object.rules.len()));
        self.here(spent)?;
        let mut named = Vec::new();
        for name in &names {
            let asked = self.meanings.member(object, name);
            let is_required = object.required.binary_search(name).is_ok();
            let value = self.reference(&asked)?;
            if value == Expression::NEVER {
                if is_required {
                    return Ok(Expression::NEVER);
                }
                continue;
            }
            let member = match self.members {
                Some(written) => self.bare_member(name, &asked, value, written)?,
                None => {
                    let member = self.text.key(name);
                    let member = member.and_then(|key| self.text.sequence(&[key, self.text.colon, value]));
                    self.here(member)?
                }
            };
            named.push((member, is_required));
        }
        let n_named = named.len() as u64;
        let (others, one) = self.other_members(object, &names, one, object.min > n_named)?;
        if one == Some(Expression::NEVER) {
            return Ok(Expression::NEVER);
        }
        let n_required = named.iter().filter(|member| member.1).count() as u64 + u64::from(one.is_some());
        let most = others.is_none().then_some(n_named + u64::from(one.is_some()));
        let max = object.max.filter(|max| limit(Some(*max)).is_some() && most.is_none_or(|most| *max < most));
        let members = Members { named, others, one, min: object.min.max(n_required), max };
        if most.is_some_and(|most| members.min > most)
            || object.max.is_some_and(|max| max < members.min)
            || u32::try_from(members.min).is_err()
        {
            return Ok(Expression::NEVER);
        }
        let content = if most == Some(0) || members.max == Some(0) {
            None
        } else if self.meanings.options.order == Order::Any || members.one.is_some() {
            Some(self.in_any_order(&members)?)
        } else {
            Some(self.in_order(&members, n_required)?)
        };
        let marks = if self.members.is_some() { ["", ""] } else { ["{", "}"] };
        let object = self.text.between(marks, content, members.min == 0);
        self.here(object)
    }

    /// At least one member, in any order.
    fn in_any_order(&mut self, members: &Members) -> Result<Expression, SchemaError> {
        let mut all = members.named.clone();
        all.extend(members.one.map(|one| (one, true)));
        if all.len() > MAX_MEMBERS {
            let why = "more than 128 members in any order";
            return self.refused("properties", why);
        }
        let interleave = Interleave {
            members: &all,
            others: members.others,
            separator: self.text.comma,
            min: (members.min as u32).max(1),
            max: limit(members.max),
        };
        let expression = self.text.builder.interleave(&interleave).map_err(Why::from);
        self.here(expression)
    }

    /// At least one member, in order.
    fn in_order(&mut self, members: &Members, n_required: u64) -> Result<Expression, SchemaError> {
        // Up to here the number of members matters: whether there is one, or all that are counted.
        let is_counted = members.max.is_some() || members.min > n_required;
        let most = if is_counted { members.max.unwrap_or(members.min).max(1) } else { 1 };
        let states = (members.named.len() as u64 + 1).checked_mul(most + 1);
        if states.is_none_or(|states| states > MAX_STATES) {
            return self.here(Err(Why::TooLarge));
        }
        let spent = self.meanings.budget.spend(states.unwrap_or(0) as usize);
        self.here(spent)?;
        let chain = self.chain(members, is_counted, most);
        self.here(chain)
    }

    fn chain(&mut self, members: &Members, is_counted: bool, most: u64) -> Result<Expression, Why> {
        let text = &mut self.text;
        let comma = text.comma;
        // For each number of members that have come, what may follow.
        let mut follow = Vec::new();
        for n in 0..=most {
            let min = if is_counted { members.min.saturating_sub(n) as u32 } else { 0 };
            let max = limit(members.max.map(|max| max.saturating_sub(n)));
            let min = if n == 0 { min.max(1) } else { min };
            follow.push(match members.others {
                _ if max.is_some_and(|max| max < min) => Expression::NEVER,
                None if min > 0 => Expression::NEVER,
                None => Expression::EMPTY,
                Some(other) => {
                    let more = text.sequence(&[comma, other])?;
                    if n > 0 {
                        text.builder.repeat(more, min, max)?
                    } else {
                        let more = text.builder.repeat(more, min - 1, max.map(|max| max - 1))?;
                        text.sequence(&[other, more])?
                    }
                }
            });
        }
        for (member, is_required) in members.named.iter().rev() {
            let mut before = Vec::new();
            for n in 0..=most {
                let mut ways = Vec::new();
                if members.max.is_none_or(|max| n < max) {
                    let separator = if n > 0 { comma } else { Expression::EMPTY };
                    ways.push(text.sequence(&[separator, *member, follow[most.min(n + 1) as usize]])?);
                }
                if !is_required {
                    ways.push(follow[n as usize]);
                }
                let way = text.choice(&ways)?;
                before.push(text.named("members", way)?);
            }
            follow = before;
        }
        Ok(follow.first().copied().unwrap_or(Expression::NEVER))
    }

    /// The members that have none of these names: any such member, and the one that is required.
    fn other_members(
        &mut self,
        object: &Object<'a>,
        names: &[&'a str],
        one: Option<&(Keys<'a>, Literal)>,
        is_needed: bool,
    ) -> Result<(Option<Expression>, Option<Expression>), SchemaError> {
        let mut patterns = Vec::new();
        for keys in object.rules.iter().map(|rule| &rule.0).chain(one.map(|one| &one.0)) {
            match keys {
                Keys::Name(_) => {}
                Keys::Pattern(number) => patterns.push(*number),
                Keys::Others { patterns: numbers, .. } => patterns.extend(numbers),
            }
        }
        sort::sort(&mut patterns);
        patterns.dedup();
        if patterns.len() > MAX_PATTERNS {
            return self.here(Err(Why::TooLarge));
        }
        let allowing =
            |rule: &&(Keys<'a>, Literal)| rule.1 != Literal::FALSE && matches!(rule.0, Keys::Pattern(_));
        let of_patterns: Vec<&Keys<'a>> = object.rules.iter().filter(allowing).map(|rule| &rule.0).collect();
        let any = self.meanings.options.unnamed_members
            || object.is_open
            || is_needed
            || (object.order.is_empty() && of_patterns.is_empty());

        let classes = self.name_classes(names, &patterns);
        let classes = self.here(classes)?;
        let mut others: BTreeMap<Conjunction, Automaton> = BTreeMap::new();
        let mut ones = Vec::new();
        for (accepted, automaton) in classes {
            let applies = |keys: &Keys<'a>| match keys {
                Keys::Name(_) => false,
                Keys::Pattern(number) => accepted.contains(number),
                Keys::Others { patterns, .. } => !patterns.iter().any(|number| accepted.contains(number)),
            };
            let mut asked = Vec::new();
            for (keys, literal) in &object.rules {
                if applies(keys) {
                    also(&mut asked, *literal);
                }
            }
            if let Some((_, literal)) = one.filter(|one| applies(&one.0)) {
                let value = self.reference_with(&asked, *literal)?;
                ones.push(self.member_of(&automaton, names.is_empty() && patterns.is_empty(), value)?);
            }
            if !any && !of_patterns.iter().any(|keys| applies(keys)) {
                continue;
            }
            if self.meanings.is_void_conjunction(&asked, 1)? {
                continue;
            }
            let all = match others.remove(&asked) {
                Some(known) => {
                    let all = known.unite(&automaton, &mut self.meanings.budget);
                    self.here(all)?
                }
                None => automaton,
            };
            others.insert(asked, all);
        }
        let mut ways = Vec::new();
        for (asked, automaton) in others {
            let value = self.reference(&asked)?;
            ways.push(self.member_of(&automaton, automaton.is_full(), value)?);
        }
        let (others, ones) = (self.text.choice(&ways), one.map(|_| self.text.choice(&ones)));
        let others = Some(self.here(others)?).filter(|others| *others != Expression::NEVER);
        Ok((others, ones.map(|one| self.here(one)).transpose()?))
    }

    /// An object whose members are not written in JSON's form.
    pub fn bare_object(
        &mut self,
        conjunction: &Conjunction,
        written: Written,
    ) -> Result<Expression, SchemaError> {
        self.at.clone_from(conjunction);
        let union = self.meanings.conjunction(conjunction)?;
        let usual = (self.text.comma, self.text.space);
        (self.text.comma, self.text.space) = (written.separator, Expression::EMPTY);
        self.members = Some(written);
        let ways: Result<Vec<_>, _> = union.objects.iter().map(|object| self.object(object)).collect();
        self.members = None;
        (self.text.comma, self.text.space) = usual;
        let choice = self.text.choice(&ways?);
        self.here(choice)
    }

    /// A member with this name and a value that satisfies `asked`; `value` is the expression of the value in JSON.
    fn bare_member(
        &mut self,
        name: &str,
        asked: &Conjunction,
        value: Expression,
        written: Written,
    ) -> Result<Expression, SchemaError> {
        if !(written.is_key)(name) {
            let why = "a name that the model's form of calls cannot write";
            return self.refused("properties", why);
        }
        let Written { before_key, after_key, after_value, .. } = written;
        let root = self.meanings.document.value(Document::ROOT);
        let kind = root.get("properties").and_then(|properties| properties.get(name)?.get("type")?.as_str());
        let value = match written.text {
            Some(any) if kind == Some("string") => {
                let union = self.meanings.conjunction(asked)?;
                let text = self.text.raw_string(&union.strings, any, &mut self.meanings.budget);
                self.here(text)?
            }
            _ => value,
        };
        let key = self.text.builder.literal(name).map_err(Why::from);
        let key = self.here(key)?;
        let member = self.text.sequence(&[before_key, key, after_key, value, after_value]);
        self.here(member)
    }

    /// A member whose name an automaton accepts.
    fn member_of(
        &mut self,
        automaton: &Automaton,
        is_any: bool,
        value: Expression,
    ) -> Result<Expression, SchemaError> {
        if let Some(written) = self.members {
            // Some of the members with known names may be left out.
            if !is_any {
                return Ok(Expression::NEVER);
            }
            let Written { before_key, after_key, after_value, .. } = written;
            let parts = [before_key, written.any_key, after_key, value, after_value];
            let member = self.text.sequence(&parts);
            return self.here(member);
        }
        let names = if is_any { Strings::ALL } else { Strings::Set(automaton.clone().into()) };
        let member = self
            .text
            .string(&names, &mut self.meanings.budget)
            .and_then(|key| self.text.sequence(&[key, self.text.colon, value]));
        self.here(member)
    }

    /// Divides the names that are not in `names` into classes, by the patterns that match them.
    fn name_classes(&mut self, names: &[&str], patterns: &[u32]) -> Result<Vec<(Vec<u32>, Automaton)>, Why> {
        let budget = &mut self.meanings.budget;
        let all = Automaton::words(names, budget)?.complement();
        let mut classes = vec![(Vec::new(), all)];
        for number in patterns {
            let pattern = &self.meanings.automata[*number as usize];
            let mut finer = Vec::new();
            for (accepted, automaton) in classes {
                let without = automaton.intersect(&pattern.complement(), budget)?;
                let with = automaton.intersect(pattern, budget)?;
                if !with.is_empty() {
                    let mut accepted = accepted.clone();
                    accepted.push(*number);
                    finer.push((accepted, with));
                }
                if !without.is_empty() {
                    finer.push((accepted, without));
                }
            }
            classes = finer;
        }
        Ok(classes)
    }
}

/// The names that a schema mentions, in the order of `properties`; then the other names.
fn names<'a>(object: &Object<'a>, one: Option<&(Keys<'a>, Literal)>) -> Vec<&'a str> {
    let mut all = object.order.clone();
    let mut more: Vec<&'a str> = object.required.clone();
    for (keys, _) in object.rules.iter().chain(&object.exists).chain(one) {
        match keys {
            Keys::Name(name) => more.push(name),
            Keys::Pattern(_) => {}
            Keys::Others { names, .. } => more.extend(names),
        }
    }
    let mut known = all.clone();
    sort::sort(&mut known);
    sort::sort(&mut more);
    more.dedup();
    all.extend(more.into_iter().filter(|name| known.binary_search(name).is_err()));
    all
}
