//! Keywords for objects.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;

use serde_json::Value;

use super::document::Literal;
use super::error::{SchemaError, Why};
use super::meaning::{Meanings, Place};
use super::union::{Conjunction, Keys, Object, Strings, Union, also};

/// Most names in one schema.
pub(super) const MAX_NAMES: usize = 1024;

/// An object in which a member with one of these names has a value that satisfies `literal`.
fn with_member<'a>(keys: Keys<'a>, literal: Literal) -> Object<'a> {
    Object { exists: vec![(keys, literal)], ..Object::default() }
}

impl<'a> Meanings<'a> {
    /// The values that the keywords for objects allow; `None` if the schema has none of these keywords.
    #[inline(never)]
    pub fn objects(&mut self, place: Place<'a>) -> Result<Option<Union<'a>>, SchemaError> {
        let Place { node, map, holds, .. } = place;
        let mut object = Object::default();
        let mut others = Vec::new();

        let properties = self.inner_map(place, "properties")?;
        if properties.len() > MAX_NAMES {
            return self.at(node, "properties", Err(Why::TooLarge));
        }
        for (name, literal) in properties {
            object.order.push(name);
            object.rule(Keys::Name(name), literal);
            if literal != Literal::TRUE {
                let mut other = Object::with(name);
                other.rule(Keys::Name(name), literal.negated());
                others.push(other);
            }
        }
        let mut names = object.order.clone();
        sort::sort(&mut names);
        let mut patterns = Vec::new();
        for (pattern, literal) in self.inner_map(place, "patternProperties")? {
            let number = match self.pattern(node, pattern, pattern) {
                Err(SchemaError::At { why, .. }) => {
                    let inner = self.document.child(node, "patternProperties").unwrap_or(node);
                    return self.at(inner, pattern, Err(why));
                }
                other => other?,
            };
            patterns.push(number);
            object.rule(Keys::Pattern(number), literal);
            if literal != Literal::TRUE {
                others.push(with_member(Keys::Pattern(number), literal.negated()));
            }
        }
        sort::sort(&mut patterns);
        if let Some(literal) = self.inner(place, "additionalProperties") {
            let rest = Keys::Others { names: names.clone(), patterns: patterns.clone() };
            object.is_open = true;
            object.evaluated.all = true;
            if literal != Literal::TRUE {
                others.push(with_member(rest.clone(), literal.negated()));
            }
            object.rule(rest, literal);
        }
        (object.evaluated.names, object.evaluated.patterns) = (names, patterns);
        if let Some(literal) = self.inner(place, "propertyNames")
            && let Some(number) = self.other_names(node, literal)?
        {
            object.rule(Keys::Pattern(number), Literal::FALSE);
            others.push(with_member(Keys::Pattern(number), Literal::TRUE));
        }

        for name in self.names(place.node, "required", map.get("required"))? {
            object.required.push(name);
            others.push(Object::without(name));
        }
        sort::sort(&mut object.required);
        object.required.dedup();
        if object.required.len() > MAX_NAMES {
            return self.at(node, "required", Err(Why::TooLarge));
        }
        if let Some(min) = self.count(place, "minProperties")? {
            object.min = min;
            others.extend(min.checked_sub(1).map(|max| Object { max: Some(max), ..Object::default() }));
        }
        if let Some(max) = self.count(place, "maxProperties")? {
            object.max = Some(max);
            others.extend(max.checked_add(1).map(|min| Object { min, ..Object::default() }));
        }
        if !holds {
            return Ok((!others.is_empty()).then(|| Union { objects: others, ..Union::none() }));
        }
        if object == Object::default() {
            return Ok(None);
        }
        // Taking the intersection detects at once what is impossible.
        let only = Union { objects: vec![object], ..Union::all() };
        let seen = only.intersect(&Union::all(), &mut self.budget);
        Ok(Some(self.at(node, "", seen)?))
    }

    /// The automaton of the names that are not valid against a schema; `None` if all are valid.
    fn other_names(&mut self, node: u32, literal: Literal) -> Result<Option<u32>, SchemaError> {
        if let Some(&known) = self.names.get(&literal) {
            return Ok(Some(known));
        }
        let strings = self.expand(literal, false)?.strings.clone();
        if strings == Strings::ALL {
            return Ok(None);
        }
        let automaton = strings.automaton(&mut self.budget);
        let automaton = self.at(node, "propertyNames", automaton)?;
        let number = self.automata.len() as u32;
        self.automata.push(Rc::new(automaton.complement()));
        self.names.insert(literal, number);
        Ok(Some(number))
    }

    /// A list of names.
    fn names(&self, node: u32, keyword: &str, value: Option<&'a Value>) -> Result<Vec<&'a str>, SchemaError> {
        let names = match value {
            None => Some(Vec::new()),
            Some(Value::Array(names)) => names.iter().map(Value::as_str).collect(),
            Some(_) => None,
        };
        names.map_or_else(|| self.expected(node, keyword, "an array of strings"), Ok)
    }

    /// `dependentRequired` and `dependentSchemas`: either a member is missing, or another condition holds.
    #[inline(never)]
    pub fn dependent(&mut self, place: Place<'a>, all: &mut Union<'a>) -> Result<(), SchemaError> {
        let Place { node, map, holds, tracks, .. } = place;
        let mut dependencies = Vec::new();
        match map.get("dependentRequired") {
            None => {}
            Some(Value::Object(map)) => {
                for (name, needed) in map {
                    let needed = self.names(node, "dependentRequired", Some(needed))?;
                    if holds {
                        let mut object = Object::with(name);
                        object.required.extend(needed);
                        sort::sort(&mut object.required);
                        object.required.dedup();
                        dependencies.push((name.as_str(), Union { objects: vec![object], ..Union::none() }));
                    } else {
                        let objects = needed.into_iter().map(Object::without).collect();
                        dependencies.push((name.as_str(), Union { objects, ..Union::none() }));
                    }
                }
            }
            Some(_) => return self.expected(node, "dependentRequired", "an object of arrays of strings"),
        }
        for (name, literal) in self.inner_map(place, "dependentSchemas")? {
            let literal = if holds { literal } else { literal.negated() };
            dependencies.push((name, (*self.expand(literal, tracks)?).clone()));
        }
        for (name, then) in dependencies {
            let with = Union { objects: vec![Object::with(name)], ..Union::none() };
            let without = Union { objects: vec![Object::without(name)], ..Union::all() };
            let budget = &mut self.budget;
            let part = with
                .intersect(&then, budget)
                .and_then(|both| if holds { both.unite(&without, budget) } else { Ok(both) });
            let part = self.at(node, "", part)?;
            self.join(place, "", all, &part)?;
        }
        Ok(())
    }

    /// Applies `unevaluatedProperties` to the members that no other schema has evaluated.
    #[inline(never)]
    pub fn unevaluated_properties(
        &mut self,
        place: Place<'a>,
        all: &mut Union<'a>,
    ) -> Result<(), SchemaError> {
        const KEYWORD: &str = "unevaluatedProperties";
        let Some(literal) = self.inner(place, KEYWORD) else { return Ok(()) };
        if !place.holds {
            return self.not_unevaluated(place, KEYWORD, literal);
        }
        for object in &mut all.objects {
            if !core::mem::replace(&mut object.evaluated.all, true) {
                let evaluated = &object.evaluated;
                let rest =
                    Keys::Others { names: evaluated.names.clone(), patterns: evaluated.patterns.clone() };
                object.rule(rest, literal);
                object.is_open = true;
            }
        }
        let seen = all.intersect(&Union::all(), &mut self.budget);
        *all = self.at(place.node, KEYWORD, seen)?;
        Ok(())
    }

    /// Whether a name is among `keys`.
    pub fn is_among(&self, name: &str, keys: &Keys<'a>) -> bool {
        let accepts = |number: &u32| self.automata[*number as usize].accepts(name);
        match keys {
            Keys::Name(one) => *one == name,
            Keys::Pattern(number) => accepts(number),
            Keys::Others { names, patterns } => !names.contains(&name) && !patterns.iter().any(accepts),
        }
    }

    /// The conditions on the value of a member.
    pub fn member(&self, object: &Object<'a>, name: &str) -> Conjunction {
        let mut all = Vec::new();
        for (keys, literal) in &object.rules {
            if self.is_among(name, keys) {
                also(&mut all, *literal);
            }
        }
        all
    }
}
