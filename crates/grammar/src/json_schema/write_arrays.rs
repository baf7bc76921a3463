//! Rules for arrays.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use serde_json::Value;

use super::document::{Content, Literal};
use super::error::{SchemaError, Why};
use super::number;
use super::union::{Array, Conjunction, also};
use super::writer::Writer;
use crate::expression::{Expression, Interleave, MAX_MEMBERS, Rule};

/// Most states of an array whose elements are counted.
const MAX_STATES: usize = 1 << 12;
/// Most schemas that count elements of one array.
const MAX_COUNTS: usize = 4;
/// Most references that are followed to find the values that elements can have.
const MAX_REFERENCES: u32 = 8;

/// The two boolean values.
static BOOLEANS: [Value; 2] = [Value::Bool(false), Value::Bool(true)];
static NULL: [Value; 1] = [Value::Null];

/// A limit for a grammar's repetition; there is no limit if it does not fit 32 bits.
pub(super) fn limit(max: Option<u64>) -> Option<u32> {
    max.and_then(|max| u32::try_from(max).ok()).filter(|max| *max < u32::MAX)
}

impl<'a> Writer<'a, '_> {
    /// An array.
    pub fn array(&mut self, array: &Array) -> Result<Expression, SchemaError> {
        let mut array = array.clone();
        // If no value satisfies an element's schema, the array ends before that element.
        for index in 0..=array.prefix.len() {
            if self.meanings.is_void_conjunction(&array.element(index).clone(), 1)? {
                array.max = Some(array.max.map_or(index as u64, |max| max.min(index as u64)));
                break;
            }
        }
        if u32::try_from(array.min).is_err() || array.max.is_some_and(|max| max < array.min) {
            return Ok(Expression::NEVER);
        }
        let content = if array.unique && array.max.is_none_or(|max| max > 1) {
            self.unique(&array)?
        } else if array.counts.is_empty() {
            self.elements(&array)?
        } else {
            self.counted(&array)?
        };
        let may_be_empty = array.min == 0 && array.counts.iter().all(|count| count.min == 0);
        let content = Some(content).filter(|content| *content != Expression::NEVER);
        let array = self.text.between(["[", "]"], content, may_be_empty);
        self.here(array)
    }

    /// At least one element, up to the maximum.
    fn elements(&mut self, array: &Array) -> Result<Expression, SchemaError> {
        if array.max == Some(0) {
            return Ok(Expression::NEVER);
        }
        let len = array.prefix.len().min(limit(array.max).map_or(usize::MAX, |max| max as usize));
        let comma = self.text.comma;
        let left = |n: usize| array.max.map(|max| max.saturating_sub(n as u64));
        let mut tail = match left(len) {
            Some(0) => Expression::EMPTY,
            _ => {
                let element = self.reference(&array.rest)?;
                let tail = (|| {
                    let more = self.text.sequence(&[comma, element])?;
                    let known = len.max(1);
                    let (min, max) = ((array.min as u32).saturating_sub(known as u32), limit(left(known)));
                    let more = self.text.builder.repeat(more, min, max)?;
                    if len > 0 { Ok(more) } else { self.text.sequence(&[element, more]) }
                })();
                self.here(tail)?
            }
        };
        for index in (0..len).rev() {
            let element = self.reference(array.element(index))?;
            let text = &mut self.text;
            let before = if index > 0 { comma } else { Expression::EMPTY };
            let whole = text.sequence(&[before, element, tail]).and_then(|whole| {
                let may_end = index > 0 && array.min <= index as u64;
                let whole = if may_end { text.choice(&[Expression::EMPTY, whole])? } else { whole };
                if index % 16 == 15 { text.named("elements", whole) } else { Ok(whole) }
            });
            tail = self.here(whole)?;
        }
        Ok(tail)
    }

    /// At least one element, if it matters how many are valid against some schemas.
    fn counted(&mut self, array: &Array) -> Result<Expression, SchemaError> {
        let counts = &array.counts;
        if counts.len() > MAX_COUNTS {
            return self.here(Err(Why::TooLarge));
        }
        let last = counts.iter().map(|count| count.from as u64);
        let last =
            last.chain([array.prefix.len() as u64, array.max.unwrap_or(array.min), 1]).max().unwrap_or(1);
        // The number of elements, as far as it matters, and the numbers of elements that count for each schema.
        let start = (0u64, vec![0u64; counts.len()]);
        let mut rules: BTreeMap<(u64, Vec<u64>), Rule> = BTreeMap::new();
        let mut open = vec![start];
        let mut first = Expression::NEVER;
        while let Some(state) = open.pop() {
            let (at, found) = &state;
            let mut ways = Vec::new();
            if *at > 0
                && *at >= array.min
                && counts.iter().zip(found).all(|(count, found)| *found >= count.min)
            {
                ways.push(Expression::EMPTY);
            }
            let element = array.element(usize::try_from(*at).unwrap_or(usize::MAX));
            let choices = if array.max.is_some_and(|max| *at >= max) { 0 } else { 1u32 << counts.len() };
            for chosen in 0..choices {
                let Some((asked, next)) = next_counts(array, element, *at, found, chosen) else { continue };
                let next = (last.min(at + 1), next);
                let one = self.reference(&asked)?;
                if one == Expression::NEVER {
                    continue;
                }
                let rule = match rules.get(&next) {
                    Some(rule) => *rule,
                    None => {
                        if rules.len() >= MAX_STATES {
                            return self.here(Err(Why::TooLarge));
                        }
                        let rule = self.text.builder.declare("elements");
                        let rule = self.here(rule.map_err(Why::from))?;
                        rules.insert(next.clone(), rule);
                        open.push(next);
                        rule
                    }
                };
                let before = if *at > 0 { self.text.comma } else { Expression::EMPTY };
                let then = self.text.builder.rule(rule).map_err(Why::from);
                let then = self.here(then)?;
                let way = self.text.sequence(&[before, one, then]);
                ways.push(self.here(way)?);
            }
            let body = self.text.choice(&ways);
            let body = self.here(body)?;
            match rules.get(&state) {
                Some(rule) => {
                    let defined = self.text.builder.define(*rule, body).map_err(Why::from);
                    self.here(defined)?;
                }
                None => first = body,
            }
        }
        Ok(first)
    }

    /// Elements that are all different. If they have only few possible values, this is a set of values.
    fn unique(&mut self, array: &Array) -> Result<Expression, SchemaError> {
        let values =
            if array.prefix.is_empty() && array.counts.is_empty() { self.values(&array.rest)? } else { None };
        let Some(values) = values else {
            let why = "that elements differ, unless they are all of a list of values, or of type boolean";
            return self.refused("uniqueItems", why);
        };
        let mut members: Vec<(Literal, Expression)> = Vec::new();
        for value in values {
            let document = &self.meanings.document;
            let own = document.value(value.node);
            let is_known =
                members.iter().any(|(known, _)| number::are_equal(document.value(known.node), own));
            let expression = self.reference_with(&array.rest, value)?;
            if !is_known && expression != Expression::NEVER {
                members.push((value, expression));
            }
        }
        if members.len() > MAX_MEMBERS {
            return self.here(Err(Why::TooLarge));
        }
        let members: Vec<_> = members.into_iter().map(|(_, expression)| (expression, false)).collect();
        let interleave = Interleave {
            members: &members,
            others: None,
            separator: self.text.comma,
            min: (array.min as u32).max(1),
            max: limit(array.max),
        };
        let set = self.text.builder.interleave(&interleave).map_err(Why::from);
        self.here(set)
    }

    /// The values of which one must equal any value that is valid against all of these; `None` if no schema lists them.
    fn values(&mut self, conjunction: &Conjunction) -> Result<Option<Vec<Literal>>, SchemaError> {
        for literal in conjunction.iter().filter(|literal| literal.holds) {
            let mut node = literal.node;
            for _ in 0..MAX_REFERENCES {
                let Content::Schema(Value::Object(map)) = *self.meanings.document.content(node) else {
                    break;
                };
                let values: &'a [Value] = match (map.get("enum"), map.get("const"), map.get("type")) {
                    (Some(Value::Array(values)), ..) => values,
                    (_, Some(value), _) => core::slice::from_ref(value),
                    (_, _, Some(Value::String(name))) if name == "boolean" => &BOOLEANS,
                    (_, _, Some(Value::String(name))) if name == "null" => &NULL,
                    _ => {
                        let Some(Value::String(reference)) = map.get("$ref") else { break };
                        let target = self.meanings.document.resolve(node, literal.scope, reference, false);
                        node = self.meanings.at(node, "$ref", target)?;
                        continue;
                    }
                };
                if values.len() > MAX_MEMBERS {
                    return Ok(None);
                }
                let constant = |value| Literal {
                    node: self.meanings.document.constant(value, node),
                    scope: 0,
                    holds: true,
                };
                return Ok(Some(values.iter().map(constant).collect()));
            }
        }
        Ok(None)
    }
}

/// The condition on an element that counts exactly for the schemas whose bit is set in `chosen`, and the new counts; `None` if
/// such an element is not allowed, or need not be distinguished.
fn next_counts(
    array: &Array,
    element: &Conjunction,
    at: u64,
    found: &[u64],
    chosen: u32,
) -> Option<(Conjunction, Vec<u64>)> {
    let mut asked = element.clone();
    let mut next = found.to_vec();
    for (index, count) in array.counts.iter().enumerate() {
        let is_chosen = chosen >> index & 1 == 1;
        // If only a minimum is required and reached, an element that counts need not be counted.
        let matters = at >= count.from as u64 && (count.max.is_some() || found[index] < count.min);
        match (matters, is_chosen) {
            (false, true) => return None,
            (true, true) => {
                if count.max.is_some_and(|max| found[index] >= max) {
                    return None;
                }
                next[index] += 1;
                also(&mut asked, count.literal);
            }
            (true, false) if count.max.is_some() => also(&mut asked, count.literal.negated()),
            _ => {}
        }
    }
    Some((asked, next))
}
