//! Keywords for null, booleans, numbers and strings, and those for values of any type: `type`, `enum`, `const`.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering::{self, Equal, Greater, Less};

use serde_json::Value;

use super::automaton::{Automaton, Budget};
use super::document::Literal;
use super::error::{SchemaError, Why};
use super::format;
use super::meaning::{Meanings, Place};
use super::number::{self, Decimal};
use super::objects::MAX_NAMES;
use super::pattern;
use super::union::{Array, Keys, Numbers, Object, Strings, Union};

/// The allowed results of comparing a number with a keyword's number.
const BOUNDS: [(&str, &[Ordering]); 4] = [
    ("minimum", &[Equal, Greater]),
    ("exclusiveMinimum", &[Greater]),
    ("maximum", &[Less, Equal]),
    ("exclusiveMaximum", &[Less]),
];

/// The union of automata. They are united in pairs, so that none is copied often.
fn unite_all(mut all: Vec<Automaton>, budget: &mut Budget) -> Result<Automaton, Why> {
    while all.len() > 1 {
        let mut next = Vec::new();
        let mut rest = all.into_iter();
        while let Some(first) = rest.next() {
            next.push(match rest.next() {
                Some(second) => first.unite(&second, budget)?,
                None => first,
            });
        }
        all = next;
    }
    Ok(all.pop().unwrap_or_else(|| Automaton::constant(false)))
}

impl<'a> Meanings<'a> {
    /// The value of a keyword that is a count.
    pub fn count(&self, place: Place<'a>, keyword: &str) -> Result<Option<u64>, SchemaError> {
        let count = match place.map.get(keyword) {
            None => return Ok(None),
            Some(Value::Number(number)) => self.at(place.node, keyword, Decimal::of(number))?.count(),
            Some(_) => None,
        };
        match count {
            Some(count) => Ok(Some(count)),
            None => self.expected(place.node, keyword, "an integer from 0 up"),
        }
    }

    /// The values that the keywords for scalars allow; `None` if the schema has none of these keywords.
    #[inline(never)]
    pub fn scalars(&mut self, place: Place<'a>) -> Result<Option<Union<'a>>, SchemaError> {
        let Place { node, map, holds, .. } = place;
        let mut all: Option<Union<'a>> = None;
        let mut parts = Vec::new();
        if let Some(types) = map.get("type") {
            parts.push(self.types(node, types, holds)?);
        }
        if let Some(value) = map.get("const") {
            parts.push(self.constants(node, core::slice::from_ref(value), holds)?);
        }
        match map.get("enum") {
            None => {}
            Some(Value::Array(values)) => parts.push(self.constants(node, values, holds)?),
            Some(_) => return self.expected(node, "enum", "an array of values"),
        }
        let numbers = self.numbers(place)?;
        if numbers != Numbers::All {
            parts.push(self.only(holds, node, |union, budget| {
                union.numbers = if holds { numbers } else { numbers.complement(budget)? };
                Ok(())
            })?);
        }
        let strings = self.strings(place)?;
        if strings != Strings::ALL {
            parts.push(self.only(holds, node, |union, budget| {
                union.strings = if holds { strings } else { strings.complement(budget)? };
                Ok(())
            })?);
        }
        for part in parts {
            let all = all.get_or_insert_with(|| if holds { Union::all() } else { Union::none() });
            self.join(place, "", all, &part)?;
        }
        Ok(all)
    }

    /// All values, or no values for the opposite of a schema, with the change that `change` makes.
    fn only(
        &mut self,
        holds: bool,
        node: u32,
        change: impl FnOnce(&mut Union<'a>, &mut Budget) -> Result<(), Why>,
    ) -> Result<Union<'a>, SchemaError> {
        let mut union = if holds { Union::all() } else { Union::none() };
        let changed = change(&mut union, &mut self.budget);
        self.at(node, "", changed)?;
        Ok(union)
    }

    #[inline(never)]
    fn types(&mut self, node: u32, types: &'a Value, holds: bool) -> Result<Union<'a>, SchemaError> {
        let types = match types {
            Value::Array(types) => types.as_slice(),
            one => core::slice::from_ref(one),
        };
        let mut union = Union::none();
        for name in types {
            match name.as_str() {
                Some("null") => union.null = true,
                Some("boolean") => union.booleans = [true; 2],
                Some("number") => union.numbers = Numbers::All,
                Some("integer") if union.numbers != Numbers::All => {
                    let integers = self.integers();
                    union.numbers = Numbers::Set(self.at(node, "type", integers)?);
                }
                Some("integer") => {}
                Some("string") => union.strings = Strings::ALL,
                Some("array") => union.arrays = vec![Array::default()],
                Some("object") => union.objects = vec![Object::default()],
                _ => {
                    return self.expected(
                        node,
                        "type",
                        "null, boolean, number, integer, string, array or object, or an array of these",
                    );
                }
            }
        }
        if !holds {
            union.null = !union.null;
            union.booleans = union.booleans.map(|may_be| !may_be);
            let others = union.numbers.complement(&mut self.budget);
            union.numbers = self.at(node, "type", others)?;
            let others = union.strings.complement(&mut self.budget);
            union.strings = self.at(node, "type", others)?;
            union.arrays = if union.arrays.is_empty() { vec![Array::default()] } else { Vec::new() };
            union.objects = if union.objects.is_empty() { vec![Object::default()] } else { Vec::new() };
        }
        Ok(union)
    }

    /// The automaton of all integers.
    pub fn integers(&mut self) -> Result<Rc<Automaton>, Why> {
        if let Some(known) = &self.integers {
            return Ok(known.clone());
        }
        let integers = Rc::new(number::multiples(&Decimal::of(&1.into())?, &mut self.budget)?);
        self.integers = Some(integers.clone());
        Ok(integers)
    }

    fn numbers(&mut self, place: Place<'a>) -> Result<Numbers, SchemaError> {
        let mut all = Numbers::All;
        for keyword in BOUNDS.iter().map(|bound| bound.0).chain(["multipleOf"]) {
            let number = match place.map.get(keyword) {
                None => continue,
                Some(Value::Number(number)) => number,
                Some(_) => return self.expected(place.node, keyword, "a number"),
            };
            let joined = (|| {
                let decimal = Decimal::of(number)?;
                let budget = &mut self.budget;
                let set = match BOUNDS.iter().find(|bound| bound.0 == keyword) {
                    Some((_, accepted)) => number::compared(&decimal, accepted, budget)?,
                    None => number::multiples(&decimal, budget)?,
                };
                all.intersect(&Numbers::Set(Rc::new(set)), budget)
            })();
            all = self.at(place.node, keyword, joined)?;
        }
        Ok(all)
    }

    fn strings(&mut self, place: Place<'a>) -> Result<Strings, SchemaError> {
        let Place { node, map, holds, .. } = place;
        let mut all = Strings::ALL;
        let (min, max) = (self.count(place, "minLength")?, self.count(place, "maxLength")?);
        if min.is_some() || max.is_some() {
            all = Strings::Lengths(min.unwrap_or(0), max);
        }
        let mut sets = Vec::new();
        match map.get("pattern") {
            None => {}
            Some(Value::String(pattern)) => {
                let number = self.pattern(node, "pattern", pattern)?;
                sets.push(("pattern", self.automata[number as usize].clone()));
            }
            Some(_) => return self.expected(node, "pattern", "a regular expression"),
        }
        match map.get("format") {
            None => {}
            Some(Value::String(name)) if self.options.formats => {
                if let Some(format) = format::of(name) {
                    if !holds && !format.is_exact {
                        let why = Why::NotExpressible("the opposite of a format that is narrower here");
                        return self.at(node, "format", Err(why));
                    }
                    let number = self.pattern(node, "format", format.pattern)?;
                    sets.push(("format", self.automata[number as usize].clone()));
                }
            }
            Some(Value::String(_)) => {}
            Some(_) => return self.expected(node, "format", "a string"),
        }
        for (keyword, set) in sets {
            let both = all.intersect(&Strings::Set(set), &mut self.budget);
            all = self.at(node, keyword, both)?;
        }
        Ok(all)
    }

    /// The number of a pattern's automaton.
    pub fn pattern(&mut self, node: u32, keyword: &str, text: &'a str) -> Result<u32, SchemaError> {
        if let Some(&known) = self.patterns.get(text) {
            return Ok(known);
        }
        let automaton = pattern::automaton(text, &mut self.budget);
        let automaton = self.at(node, keyword, automaton)?;
        let number = self.automata.len() as u32;
        self.automata.push(Rc::new(automaton));
        self.patterns.insert(text, number);
        Ok(number)
    }

    /// The values that are equal to one of these, or to none of them.
    #[inline(never)]
    pub fn constants(
        &mut self,
        node: u32,
        values: &'a [Value],
        holds: bool,
    ) -> Result<Union<'a>, SchemaError> {
        let mut union = Union::none();
        let mut words = Vec::new();
        let mut numbers = Vec::new();
        for value in values {
            let len = match value {
                Value::Array(list) => list.len(),
                Value::Object(map) => map.len(),
                _ => 0,
            };
            let spent = if len > MAX_NAMES { Err(Why::TooLarge) } else { self.budget.spend(1 + 4 * len) };
            self.at(node, "", spent)?;
            match value {
                Value::Null => union.null = true,
                Value::Bool(value) => union.booleans[usize::from(*value)] = true,
                Value::Number(number) => {
                    let equal =
                        Decimal::of(number).and_then(|d| number::compared(&d, &[Equal], &mut self.budget));
                    numbers.push(self.at(node, "", equal)?);
                }
                Value::String(text) => words.push(text.as_str()),
                Value::Array(elements) => {
                    let array = self.constant_array(node, elements);
                    union.arrays.push(array);
                }
                Value::Object(members) => {
                    let members: Vec<_> =
                        members.iter().map(|(name, value)| (name.as_str(), value)).collect();
                    let object = self.constant_object(node, &members);
                    union.objects.push(object);
                }
            }
        }
        let sets = (|| {
            let budget = &mut self.budget;
            let numbers = unite_all(numbers, budget)?;
            let words = Automaton::words(&words, budget)?;
            Ok((Numbers::Set(Rc::new(numbers)), Strings::Set(Rc::new(words))))
        })();
        (union.numbers, union.strings) = self.at(node, "", sets)?;
        if holds {
            return Ok(union);
        }
        union.null = !union.null;
        union.booleans = union.booleans.map(|may_be| !may_be);
        let sets = (|| {
            let budget = &mut self.budget;
            Ok((union.numbers.complement(budget)?, union.strings.complement(budget)?))
        })();
        (union.numbers, union.strings) = self.at(node, "", sets)?;
        (union.arrays, union.objects) = (vec![Array::default()], vec![Object::default()]);
        for value in values {
            let mut others = Union::all();
            match value {
                Value::Array(elements) => others.arrays = self.other_arrays(node, elements),
                Value::Object(members) => {
                    let members: Vec<_> =
                        members.iter().map(|(name, value)| (name.as_str(), value)).collect();
                    others.objects = self.other_objects(node, &members);
                }
                _ => continue,
            }
            let both = union.intersect(&others, &mut self.budget);
            union = self.at(node, "", both)?;
        }
        Ok(union)
    }

    fn constant(&mut self, value: &'a Value, node: u32) -> Literal {
        Literal { node: self.document.constant(value, node), scope: 0, holds: true }
    }

    fn constant_array(&mut self, node: u32, elements: &'a [Value]) -> Array {
        let len = elements.len() as u64;
        let prefix = elements.iter().map(|element| vec![self.constant(element, node)]).collect();
        Array { prefix, min: len, max: Some(len), ..Array::default() }
    }

    fn other_arrays(&mut self, node: u32, elements: &'a [Value]) -> Vec<Array> {
        let len = elements.len() as u64;
        let mut others = vec![Array { min: len + 1, ..Array::default() }];
        others.extend(len.checked_sub(1).map(|max| Array { max: Some(max), ..Array::default() }));
        for (index, element) in elements.iter().enumerate() {
            let mut prefix = vec![Vec::new(); index];
            prefix.push(vec![self.constant(element, node).negated()]);
            others.push(Array { prefix, min: index as u64 + 1, ..Array::default() });
        }
        others
    }

    fn constant_object(&mut self, node: u32, members: &[(&'a str, &'a Value)]) -> Object<'a> {
        let mut object = Object { is_open: true, ..Object::default() };
        for &(name, value) in members {
            object.rule(Keys::Name(name), self.constant(value, node));
            object.order.push(name);
        }
        object.required = object.order.clone();
        sort::sort(&mut object.required);
        object.min = members.len() as u64;
        object.rule(Keys::Others { names: object.required.clone(), patterns: Vec::new() }, Literal::FALSE);
        object
    }

    fn other_objects(&mut self, node: u32, members: &[(&'a str, &'a Value)]) -> Vec<Object<'a>> {
        let mut names: Vec<&'a str> = members.iter().map(|member| member.0).collect();
        sort::sort(&mut names);
        let more = Keys::Others { names, patterns: Vec::new() };
        let mut others = vec![Object { exists: vec![(more, Literal::TRUE)], ..Object::default() }];
        for &(name, value) in members {
            others.push(Object::without(name));
            let mut other = Object::with(name);
            other.rule(Keys::Name(name), self.constant(value, node).negated());
            others.push(other);
        }
        others
    }
}
