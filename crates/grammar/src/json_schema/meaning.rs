//! The meaning of schemas: turns a schema, or its opposite, into a [`Union`] of the values of each type.
//!
//! [`Meanings::expand`] follows all keywords that apply to the same value (`$ref`, `allOf`, `anyOf`, `oneOf`, `not`, `if`,
//! `dependentSchemas`); schemas for the contents of the value stay as they are. The opposite of a schema is taken keyword by
//! keyword. `scalars`, `arrays` and `objects` handle the keywords for values of these types.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::Options;
use super::automaton::{Automaton, Budget};
use super::document::{Content, Document, Literal};
use super::error::{SchemaError, Why};
use super::union::{Array, Conjunction, Object, Union};

/// Most schemas that apply to the same value through one another.
const MAX_DEPTH: usize = 32;
/// How many levels inside a value are searched for contradictions.
const SEARCHED_DEPTH: u32 = 4;

/// Keywords that constrain a value; a schema without any of them allows everything.
const ASSERTIONS: [&str; 36] = [
    "$ref",
    "$dynamicRef",
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "prefixItems",
    "items",
    "minItems",
    "maxItems",
    "contains",
    "uniqueItems",
    "unevaluatedItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
];

/// A schema that is being expanded: its node, the meaning of dynamic references in it, and its keywords.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub node: u32,
    pub scope: u32,
    pub map: &'a Map<alloc::string::String, Value>,
    /// Whether the schema must hold, or its opposite.
    pub holds: bool,
    /// Whether it matters what schemas evaluate.
    pub tracks: bool,
}

/// See the module's documentation.
pub(super) struct Meanings<'a> {
    pub document: Document<'a>,
    pub options: Options,
    pub budget: Budget,
    /// Automata by number.
    pub automata: Vec<Rc<Automaton>>,
    pub patterns: BTreeMap<&'a str, u32>,
    pub names: BTreeMap<Literal, u32>,
    pub integers: Option<Rc<Automaton>>,
    expanded: BTreeMap<(Literal, bool), Rc<Union<'a>>>,
    expanding: Vec<Literal>,
    voids: BTreeMap<Conjunction, bool>,
}

impl<'a> Meanings<'a> {
    pub fn new(document: Document<'a>, options: Options, budget: Budget) -> Self {
        Self {
            document,
            options,
            budget,
            automata: Vec::new(),
            patterns: BTreeMap::new(),
            names: BTreeMap::new(),
            integers: None,
            expanded: BTreeMap::new(),
            expanding: Vec::new(),
            voids: BTreeMap::new(),
        }
    }

    /// Adds the place to an error.
    pub fn at<T>(&self, node: u32, keyword: &str, result: Result<T, Why>) -> Result<T, SchemaError> {
        result.map_err(|why| self.document.at(node, keyword, why))
    }

    /// The error that a keyword should have another value.
    pub fn expected<T>(&self, node: u32, keyword: &str, what: &'static str) -> Result<T, SchemaError> {
        Err(self.document.at(node, keyword, Why::Expected(what)))
    }

    /// The condition that a node holds.
    pub fn literal(&self, node: u32, scope: u32) -> Literal {
        match self.document.value(node) {
            Value::Bool(false) => Literal::FALSE,
            Value::Bool(true) => Literal::TRUE,
            Value::Object(map) if !ASSERTIONS.iter().any(|keyword| map.contains_key(*keyword)) => {
                Literal::TRUE
            }
            _ => Literal { node, scope, holds: true },
        }
    }

    /// The schema that is a keyword's value.
    pub fn inner(&mut self, place: Place<'a>, keyword: &str) -> Option<Literal> {
        let node = self.document.child(place.node, keyword)?;
        Some(self.literal(node, place.scope))
    }

    /// The schemas in the list that is a keyword's value.
    #[inline(never)]
    pub fn inner_list(&mut self, place: Place<'a>, keyword: &str) -> Result<Vec<Literal>, SchemaError> {
        let Some(node) = self.document.child(place.node, keyword) else { return Ok(Vec::new()) };
        let Value::Array(list) = self.document.value(node) else {
            return self.expected(place.node, keyword, "an array of schemas");
        };
        let mut literals = Vec::new();
        for index in 0..list.len() {
            if let Some(element) = self.document.element(node, index) {
                literals.push(self.literal(element, place.scope));
            }
        }
        let spent = self.budget.spend(literals.len());
        self.at(place.node, keyword, spent)?;
        Ok(literals)
    }

    /// The schemas in the object that is a keyword's value, by name.
    pub fn inner_map(
        &mut self,
        place: Place<'a>,
        keyword: &str,
    ) -> Result<Vec<(&'a str, Literal)>, SchemaError> {
        let Some(node) = self.document.child(place.node, keyword) else { return Ok(Vec::new()) };
        let Value::Object(map) = self.document.value(node) else {
            return self.expected(place.node, keyword, "an object of schemas");
        };
        let mut literals = Vec::new();
        for name in map.keys() {
            if let Some(element) = self.document.child(node, name) {
                literals.push((name.as_str(), self.literal(element, place.scope)));
            }
        }
        let spent = self.budget.spend(literals.len());
        self.at(place.node, keyword, spent)?;
        Ok(literals)
    }

    /// The values that a schema, or the opposite of one, allows. With `tracks`, alternatives also record what schemas have
    /// evaluated.
    pub fn expand(&mut self, literal: Literal, tracks: bool) -> Result<Rc<Union<'a>>, SchemaError> {
        if let Some(known) = self.expanded.get(&(literal, tracks)) {
            return Ok(known.clone());
        }
        if self.expanding.contains(&literal) {
            return Err(self.document.at(literal.node, "", Why::Cyclic));
        }
        if self.expanding.len() >= MAX_DEPTH {
            return Err(self.document.at(literal.node, "", Why::TooLarge));
        }
        self.expanding.push(literal);
        let union = self.content(literal, tracks);
        self.expanding.pop();
        let mut union = union?;
        if !tracks {
            union.forget_evaluated();
        }
        let union = Rc::new(union);
        let cost = 4 + 4 * (union.arrays.len() + union.objects.len());
        let spent = self.budget.spend(cost);
        self.at(literal.node, "", spent)?;
        self.expanded.insert((literal, tracks), union.clone());
        Ok(union)
    }

    fn content(&mut self, literal: Literal, tracks: bool) -> Result<Union<'a>, SchemaError> {
        let Literal { node, scope, holds } = literal;
        match self.document.content(node).clone() {
            Content::Schema(Value::Bool(value)) => {
                Ok(if *value == holds { Union::all() } else { Union::none() })
            }
            Content::Schema(Value::Object(map)) => {
                let scope = self.document.scope(node, scope);
                self.schema(Place { node, scope, map, holds, tracks })
            }
            Content::Schema(_) => self.expected(node, "", "a schema: an object or a boolean"),
            Content::Constant(value) => self.constants(node, core::slice::from_ref(value), holds),
            Content::Any(literals) => self.any_of(node, &literals, holds, false),
        }
    }

    /// The meaning of a conjunction.
    pub fn conjunction(&mut self, conjunction: &[Literal]) -> Result<Rc<Union<'a>>, SchemaError> {
        let [first, rest @ ..] = conjunction else { return Ok(Rc::new(Union::all())) };
        let mut all = self.expand(*first, false)?;
        for literal in rest {
            let next = self.expand(*literal, false)?;
            let both = all.intersect(&next, &mut self.budget);
            all = Rc::new(self.at(literal.node, "", both)?);
        }
        Ok(all)
    }

    fn schema(&mut self, outer: Place<'a>) -> Result<Union<'a>, SchemaError> {
        let Place { node, map, holds, .. } = outer;
        let unevaluated = ["unevaluatedItems", "unevaluatedProperties"].iter().any(|k| map.contains_key(*k));
        let place = Place { tracks: holds && (outer.tracks || unevaluated), ..outer };
        let mut all = if holds { Union::all() } else { Union::none() };
        for (keyword, is_dynamic) in [("$ref", false), ("$dynamicRef", true)] {
            let Some(reference) = map.get(keyword) else { continue };
            let Value::String(reference) = reference else {
                return self.expected(node, keyword, "a URI reference");
            };
            let target = self.document.resolve(node, place.scope, reference, is_dynamic);
            let target = self.at(node, keyword, target)?;
            let part = match self.literal(target, place.scope) {
                literal if holds => self.expand(literal, place.tracks)?,
                literal => self.expand(literal.negated(), false)?,
            };
            self.join(place, keyword, &mut all, &part)?;
        }
        for (keyword, part) in
            [("", self.scalars(place)?), ("", self.arrays(place)?), ("", self.objects(place)?)]
        {
            if let Some(part) = part {
                self.join(place, keyword, &mut all, &part)?;
            }
        }
        for keyword in ["allOf", "anyOf", "oneOf", "not", "if"] {
            if map.contains_key(keyword) {
                let part = self.combination(place, keyword)?;
                self.join(place, keyword, &mut all, &part)?;
            }
        }
        self.dependent(place, &mut all)?;
        if unevaluated {
            self.unevaluated_items(place, &mut all)?;
            self.unevaluated_properties(place, &mut all)?;
        }
        Ok(all)
    }

    /// Combines a keyword's meaning with those before it: both hold or, for opposites, one of them does.
    #[inline(never)]
    pub fn join(
        &mut self,
        place: Place<'a>,
        keyword: &str,
        all: &mut Union<'a>,
        part: &Union<'a>,
    ) -> Result<(), SchemaError> {
        let budget = &mut self.budget;
        let joined = if place.holds {
            all.intersect(part, budget)
        } else {
            core::mem::replace(all, Union::none()).unite(part, budget)
        };
        *all = self.at(place.node, keyword, joined)?;
        Ok(())
    }

    fn combination(&mut self, place: Place<'a>, keyword: &str) -> Result<Union<'a>, SchemaError> {
        let Place { node, holds, tracks, .. } = place;
        match keyword {
            "not" => {
                let inner = self.inner(place, keyword).unwrap_or(Literal::TRUE);
                let mut union = (*self.expand(if holds { inner.negated() } else { inner }, false)?).clone();
                union.forget_evaluated();
                return Ok(union);
            }
            "if" => return self.condition(place),
            _ => {}
        }
        let literals = self.inner_list(place, keyword)?;
        if literals.is_empty() {
            return self.expected(node, keyword, "at least one schema");
        }
        match (keyword, holds) {
            // By De Morgan's law.
            ("allOf", true) => self.all_of(node, &literals, tracks),
            ("allOf", false) => self.any_of(node, &negated(&literals), true, false),
            ("anyOf", holds) => self.any_of(node, &literals, holds, tracks),
            (_, true) => self.one_of(node, &literals, tracks),
            (_, false) => self.not_one_of(node, &literals),
        }
    }

    #[inline(never)]
    fn all_of(&mut self, node: u32, literals: &[Literal], tracks: bool) -> Result<Union<'a>, SchemaError> {
        let mut all = Union::all();
        for literal in literals {
            let next = self.expand(*literal, tracks)?;
            let both = all.intersect(&next, &mut self.budget);
            all = self.at(node, "", both)?;
        }
        Ok(all)
    }

    pub fn any_of(
        &mut self,
        node: u32,
        literals: &[Literal],
        holds: bool,
        tracks: bool,
    ) -> Result<Union<'a>, SchemaError> {
        if !holds {
            return self.all_of(node, &negated(literals), false);
        }
        let mut any = Union::none();
        for literal in literals {
            let next = self.expand(*literal, tracks)?;
            let budget = &mut self.budget;
            let more = (|| {
                // If several hold, all of them have evaluated something.
                let both = if tracks { any.intersect(&next, budget)? } else { Union::none() };
                any.unite(&next, budget)?.unite(&both, budget)
            })();
            any = self.at(node, "", more)?;
        }
        Ok(any)
    }

    #[inline(never)]
    fn one_of(&mut self, node: u32, literals: &[Literal], tracks: bool) -> Result<Union<'a>, SchemaError> {
        let mut any = Union::none();
        let disjoint = self.disjoint(node, literals)?;
        for (i, literal) in literals.iter().enumerate() {
            let mut one = (*self.expand(*literal, tracks)?).clone();
            for (j, other) in literals.iter().enumerate() {
                if i != j && disjoint.binary_search(&(i.min(j), i.max(j))).is_err() {
                    let not = self.expand(other.negated(), false)?;
                    let both = one.intersect(&not, &mut self.budget);
                    one = self.at(node, "oneOf", both)?;
                }
            }
            let more = any.unite(&one, &mut self.budget);
            any = self.at(node, "oneOf", more)?;
        }
        Ok(any)
    }

    /// The pairs of schemas that no value satisfies together.
    #[inline(never)]
    fn disjoint(&mut self, node: u32, literals: &[Literal]) -> Result<Vec<(usize, usize)>, SchemaError> {
        let mut pairs = Vec::new();
        for (i, first) in literals.iter().enumerate() {
            for (j, second) in literals.iter().enumerate().skip(i + 1) {
                let (a, b) = (self.expand(*first, false)?, self.expand(*second, false)?);
                let both = a.intersect(&b, &mut self.budget);
                let both = self.at(node, "oneOf", both)?;
                if self.is_void(&both, 0)? {
                    pairs.push((i, j));
                }
            }
        }
        Ok(pairs)
    }

    /// The opposite of `oneOf`: none holds, or at least two do.
    #[inline(never)]
    fn not_one_of(&mut self, node: u32, literals: &[Literal]) -> Result<Union<'a>, SchemaError> {
        let mut any = self.all_of(node, &negated(literals), false)?;
        for (i, first) in literals.iter().enumerate() {
            for second in &literals[i + 1..] {
                let both = self.all_of(node, &[*first, *second], false)?;
                let more = any.unite(&both, &mut self.budget);
                any = self.at(node, "oneOf", more)?;
            }
        }
        Ok(any)
    }

    #[inline(never)]
    fn condition(&mut self, place: Place<'a>) -> Result<Union<'a>, SchemaError> {
        let Place { node, holds, tracks, .. } = place;
        let condition = self.inner(place, "if").unwrap_or(Literal::TRUE);
        let mut any = Union::none();
        let has_branch = ["then", "else"].iter().any(|keyword| place.map.contains_key(*keyword));
        if !has_branch && !tracks {
            return Ok(if holds { Union::all() } else { any });
        }
        for (keyword, condition) in [("then", condition), ("else", condition.negated())] {
            let branch = self.inner(place, keyword).unwrap_or(Literal::TRUE);
            let branch = if holds { branch } else { branch.negated() };
            if branch == Literal::FALSE || condition == Literal::FALSE {
                continue;
            }
            let both = self.all_of(node, &[condition, branch], tracks)?;
            let more = any.unite(&both, &mut self.budget);
            any = self.at(node, keyword, more)?;
        }
        Ok(any)
    }

    /// Whether it is clear that no value satisfies a conjunction. The search is bounded.
    #[inline(never)]
    pub fn is_void_conjunction(
        &mut self,
        conjunction: &Conjunction,
        depth: u32,
    ) -> Result<bool, SchemaError> {
        if conjunction.iter().any(|l| *l == Literal::FALSE || conjunction.binary_search(&l.negated()).is_ok())
        {
            return Ok(true);
        }
        if let Some(&known) = self.voids.get(conjunction) {
            return Ok(known);
        }
        if depth > SEARCHED_DEPTH {
            return Ok(false);
        }
        self.voids.insert(conjunction.clone(), false);
        let union = match self.conjunction(conjunction) {
            Ok(union) => union,
            Err(error @ SchemaError::At { why: Why::TooLarge | Why::OutOfMemory, .. }) => return Err(error),
            // Errors in it are found again if it is used.
            Err(_) => {
                self.voids.remove(conjunction);
                return Ok(false);
            }
        };
        let is_void = self.is_void(&union, depth)?;
        self.voids.insert(conjunction.clone(), is_void);
        Ok(is_void)
    }

    fn is_void(&mut self, union: &Union<'a>, depth: u32) -> Result<bool, SchemaError> {
        if !union.has_no_scalar() {
            return Ok(false);
        }
        for array in &union.arrays {
            if !self.is_void_array(array, depth)? {
                return Ok(false);
            }
        }
        for object in &union.objects {
            if !self.is_void_object(object, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_void_array(&mut self, array: &Array, depth: u32) -> Result<bool, SchemaError> {
        let last = usize::try_from(array.min).unwrap_or(usize::MAX).min(array.prefix.len() + 1);
        for index in 0..last {
            if self.is_void_conjunction(array.element(index), depth + 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_void_object(&mut self, object: &Object<'a>, depth: u32) -> Result<bool, SchemaError> {
        for name in &object.required {
            let member = self.member(object, name);
            if self.is_void_conjunction(&member, depth + 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn negated(literals: &[Literal]) -> Vec<Literal> {
    literals.iter().map(|literal| literal.negated()).collect()
}
