//! The normal form of a schema: the allowed values of each type.
//!
//! Booleans, numbers and strings are sets, closed under union, intersection and complement. Arrays and objects are lists of
//! alternatives, [`Array`] and [`Object`]; an intersection has one alternative for each pair that does not contradict itself.
//! Conditions on the contents of arrays and objects remain conjunctions of schemas, which are expanded when needed.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;

use super::automaton::{Automaton, Budget};
use super::document::Literal;
use super::error::Why;
use super::number;

/// Most alternatives for arrays, and for objects.
const MAX_ALTERNATIVES: usize = 256;

/// A conjunction of conditions; sorted, without repetitions.
pub(super) type Conjunction = Vec<Literal>;

/// Adds a condition to a conjunction.
pub(super) fn also(conjunction: &mut Conjunction, literal: Literal) {
    if literal == Literal::TRUE {
        return;
    }
    if let Err(at) = conjunction.binary_search(&literal) {
        conjunction.insert(at, literal);
    }
}

/// Numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Numbers {
    /// Any number, also with an exponent.
    All,
    /// The numbers whose texts an automaton accepts.
    Set(Rc<Automaton>),
}

impl Numbers {
    pub fn none() -> Self {
        Self::Set(Rc::new(Automaton::constant(false)))
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Set(set) if set.is_empty())
    }

    pub fn intersect(&self, other: &Self, budget: &mut Budget) -> Result<Self, Why> {
        Ok(match (self, other) {
            (Self::All, set) | (set, Self::All) => set.clone(),
            (Self::Set(a), Self::Set(b)) if Rc::ptr_eq(a, b) || a.is_empty() => self.clone(),
            (Self::Set(a), Self::Set(b)) => Self::Set(Rc::new(a.intersect(b, budget)?)),
        })
    }

    pub fn unite(&self, other: &Self, budget: &mut Budget) -> Result<Self, Why> {
        Ok(match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Set(a), set) if a.is_empty() => set.clone(),
            (set, Self::Set(b)) if b.is_empty() => set.clone(),
            (Self::Set(a), Self::Set(b)) => Self::Set(Rc::new(a.unite(b, budget)?)),
        })
    }

    pub fn complement(&self, budget: &mut Budget) -> Result<Self, Why> {
        Ok(match self {
            Self::All => Self::none(),
            Self::Set(set) if set.is_empty() => Self::All,
            Self::Set(set) => Self::Set(Rc::new(number::others(set, budget)?)),
        })
    }
}

/// Strings.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Strings {
    /// The strings within these bounds of their length in characters.
    Lengths(u64, Option<u64>),
    /// The strings that an automaton accepts.
    Set(Rc<Automaton>),
}

impl Strings {
    pub const ALL: Self = Self::Lengths(0, None);

    pub fn none() -> Self {
        Self::Set(Rc::new(Automaton::constant(false)))
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::Lengths(min, max) => max.is_some_and(|max| max < *min),
            Self::Set(set) => set.is_empty(),
        }
    }

    /// The automaton that accepts these.
    pub fn automaton(&self, budget: &mut Budget) -> Result<Rc<Automaton>, Why> {
        Ok(match self {
            Self::Set(set) => set.clone(),
            _ if self.is_empty() => Rc::new(Automaton::constant(false)),
            Self::Lengths(min, max) => Rc::new(Automaton::lengths(*min, *max, budget)?),
        })
    }

    pub fn intersect(&self, other: &Self, budget: &mut Budget) -> Result<Self, Why> {
        Ok(match (self, other) {
            (&Self::ALL, set) | (set, &Self::ALL) => set.clone(),
            (Self::Lengths(min, max), Self::Lengths(other_min, other_max)) => {
                let max = max.map_or(*other_max, |max| Some(other_max.map_or(max, |other| other.min(max))));
                Self::Lengths(*min.max(other_min), max)
            }
            (Self::Set(set), _) | (_, Self::Set(set)) if set.is_empty() => Self::Set(set.clone()),
            (Self::Set(a), Self::Set(b)) if Rc::ptr_eq(a, b) => self.clone(),
            _ => Self::Set(Rc::new(self.automaton(budget)?.intersect(&*other.automaton(budget)?, budget)?)),
        })
    }

    pub fn unite(&self, other: &Self, budget: &mut Budget) -> Result<Self, Why> {
        Ok(match (self, other) {
            (&Self::ALL, _) | (_, &Self::ALL) => Self::ALL,
            (a, b) if a.is_empty() => b.clone(),
            (a, b) if b.is_empty() => a.clone(),
            (a, b) if a == b => a.clone(),
            _ => Self::Set(Rc::new(self.automaton(budget)?.unite(&*other.automaton(budget)?, budget)?)),
        })
    }

    pub fn complement(&self, budget: &mut Budget) -> Result<Self, Why> {
        Ok(match self {
            _ if self.is_empty() => Self::ALL,
            Self::Lengths(0, None) => Self::none(),
            Self::Lengths(0, Some(max)) => {
                max.checked_add(1).map_or_else(Self::none, |min| Self::Lengths(min, None))
            }
            Self::Lengths(min, None) => Self::Lengths(0, Some(min - 1)),
            _ => Self::Set(Rc::new(self.automaton(budget)?.complement())),
        })
    }
}

/// A condition on the number of elements that are valid against a schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Count {
    pub literal: Literal,
    /// Elements before this index do not count.
    pub from: usize,
    pub min: u64,
    pub max: Option<u64>,
}

/// Which elements schemas have evaluated, for `unevaluatedItems`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EvaluatedItems {
    pub all: bool,
    pub first: usize,
    /// The elements that are valid against one of these.
    pub matching: Conjunction,
}

/// An alternative for arrays.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Array {
    pub prefix: Vec<Conjunction>,
    /// The conditions on the elements after the prefix.
    pub rest: Conjunction,
    pub min: u64,
    pub max: Option<u64>,
    pub counts: Vec<Count>,
    pub unique: bool,
    pub evaluated: EvaluatedItems,
}

impl Array {
    /// The conditions on an element.
    pub fn element(&self, index: usize) -> &Conjunction {
        self.prefix.get(index).unwrap_or(&self.rest)
    }

    /// Extends the prefix to at least `len` elements.
    pub fn extend(&mut self, len: usize) {
        while self.prefix.len() < len {
            self.prefix.push(self.rest.clone());
        }
    }

    fn intersect(&self, other: &Self) -> Option<Self> {
        let mut result = self.clone();
        result.extend(other.prefix.len());
        for (index, element) in result.prefix.iter_mut().enumerate() {
            other.element(index).iter().for_each(|literal| also(element, *literal));
        }
        other.rest.iter().for_each(|literal| also(&mut result.rest, *literal));
        result.min = self.min.max(other.min);
        result.max = least(self.max, other.max);
        result.counts.extend(other.counts.iter().cloned());
        sort::sort(&mut result.counts);
        result.counts.dedup();
        result.unique |= other.unique;
        result.evaluated.all |= other.evaluated.all;
        result.evaluated.first = self.evaluated.first.max(other.evaluated.first);
        other.evaluated.matching.iter().for_each(|literal| also(&mut result.evaluated.matching, *literal));
        result.max.is_none_or(|max| result.min <= max).then_some(result)
    }

    /// Whether `other` allows everything that this allows, as far as a quick check can tell.
    fn is_within(&self, other: &Self) -> bool {
        let elements = self.prefix.len().max(other.prefix.len());
        self.evaluated == other.evaluated
            && self.min >= other.min
            && other.max.is_none_or(|max| self.max.is_some_and(|own| own <= max))
            && self.unique >= other.unique
            && is_subset(&other.counts, &self.counts)
            && (0..=elements).all(|index| is_subset(other.element(index), self.element(index)))
    }
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Whether all elements of `small` are in `large`; both are sorted.
fn is_subset<T: Ord>(small: &[T], large: &[T]) -> bool {
    small.iter().all(|element| large.binary_search(element).is_ok())
}

/// Some names of members.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Keys<'a> {
    /// One.
    Name(&'a str),
    /// The names that the automaton of this number accepts.
    Pattern(u32),
    /// The names that are not among these and that none of these automata accepts.
    Others { names: Vec<&'a str>, patterns: Vec<u32> },
}

/// Which members schemas have evaluated, for `unevaluatedProperties`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EvaluatedMembers<'a> {
    pub all: bool,
    pub names: Vec<&'a str>,
    pub patterns: Vec<u32>,
}

/// An alternative for objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Object<'a> {
    /// The conditions on the values of members with these names.
    pub rules: Vec<(Keys<'a>, Literal)>,
    /// Names of required members.
    pub required: Vec<&'a str>,
    pub min: u64,
    pub max: Option<u64>,
    /// There must be a member with one of these names and such a value.
    pub exists: Vec<(Keys<'a>, Literal)>,
    /// The names in `properties`, in order.
    pub order: Vec<&'a str>,
    /// Whether a schema says which members may exist that it does not name.
    pub is_open: bool,
    pub evaluated: EvaluatedMembers<'a>,
}

impl<'a> Object<'a> {
    /// Adds a condition on the values of some members.
    pub fn rule(&mut self, keys: Keys<'a>, literal: Literal) {
        let rule = (keys, literal);
        if literal == Literal::TRUE {
            return;
        }
        if let Err(at) = self.rules.binary_search(&rule) {
            self.rules.insert(at, rule);
        }
    }

    /// An object with this member.
    pub fn with(name: &'a str) -> Self {
        Self { required: vec![name], ..Self::default() }
    }

    /// An object without this member.
    pub fn without(name: &'a str) -> Self {
        Self { rules: vec![(Keys::Name(name), Literal::FALSE)], ..Self::default() }
    }

    fn intersect(&self, other: &Self) -> Option<Self> {
        let mut result = self.clone();
        merge(&mut result.rules, &other.rules);
        merge(&mut result.required, &other.required);
        merge(&mut result.exists, &other.exists);
        for name in &other.order {
            if !result.order.contains(name) {
                result.order.push(name);
            }
        }
        result.min = self.min.max(other.min).max(result.required.len() as u64);
        result.max = least(self.max, other.max);
        result.is_open |= other.is_open;
        result.evaluated.all |= other.evaluated.all;
        merge(&mut result.evaluated.names, &other.evaluated.names);
        merge(&mut result.evaluated.patterns, &other.evaluated.patterns);
        result.is_possible().then_some(result)
    }

    /// Whether it does not contradict itself: a required member is not forbidden, and there are not more members than allowed.
    fn is_possible(&self) -> bool {
        let forbidden = |name: &&str| {
            self.rules.iter().any(|(keys, literal)| {
                *literal == Literal::FALSE
                    && match keys {
                        Keys::Name(forbidden) => forbidden == name,
                        Keys::Pattern(_) => false,
                        Keys::Others { names, patterns } => patterns.is_empty() && !names.contains(name),
                    }
            })
        };
        self.max.is_none_or(|max| self.min <= max) && !self.required.iter().any(forbidden)
    }

    /// Whether `other` allows everything that this allows, as far as a quick check can tell.
    fn is_within(&self, other: &Self) -> bool {
        self.evaluated == other.evaluated
            && self.min >= other.min
            && other.max.is_none_or(|max| self.max.is_some_and(|own| own <= max))
            && is_subset(&other.rules, &self.rules)
            && is_subset(&other.required, &self.required)
            && is_subset(&other.exists, &self.exists)
            && self.is_open <= other.is_open
            && self.order.iter().all(|name| other.order.contains(name))
    }
}

fn merge<T: Ord + Clone>(set: &mut Vec<T>, other: &[T]) {
    set.extend_from_slice(other);
    sort::sort(set);
    set.dedup();
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct Union<'a> {
    pub null: bool,
    /// Whether the value may be false, and whether it may be true.
    pub booleans: [bool; 2],
    pub numbers: Numbers,
    pub strings: Strings,
    pub arrays: Vec<Array>,
    pub objects: Vec<Object<'a>>,
}

/// The steps that it takes to keep an alternative and to compare it.
trait Cost {
    fn cost(&self) -> usize;
}

impl Cost for Array {
    fn cost(&self) -> usize {
        16 + self.prefix.iter().map(|element| 2 + element.len()).sum::<usize>()
            + self.rest.len()
            + 4 * self.counts.len()
    }
}

impl Cost for Object<'_> {
    fn cost(&self) -> usize {
        let names = self.required.len() + self.order.len();
        // Searches for required members that are forbidden, and for names that two schemas have in common.
        16 + 2 * self.rules.len()
            + names
            + self.exists.len()
            + (names * (self.rules.len() + self.order.len())) / 16
    }
}

/// The pairs of alternatives that do not contradict each other.
fn pairs<T: Clone + PartialEq + Cost>(
    a: &[T],
    b: &[T],
    budget: &mut Budget,
    intersect: impl Fn(&T, &T) -> Option<T>,
    is_within: impl Fn(&T, &T) -> bool,
) -> Result<Vec<T>, Why> {
    let mut all = Vec::new();
    for x in a {
        for y in b {
            budget.spend(x.cost() + y.cost())?;
            if let Some(both) = intersect(x, y) {
                add(&mut all, both, budget, &is_within)?;
            }
        }
    }
    Ok(all)
}

/// Adds an alternative, unless another one allows everything that it does; removes alternatives that it makes redundant.
fn add<T>(
    all: &mut Vec<T>,
    new: T,
    budget: &mut Budget,
    is_within: impl Fn(&T, &T) -> bool,
) -> Result<(), Why> {
    budget.spend(1 + all.len())?;
    if all.iter().any(|known| is_within(&new, known)) {
        return Ok(());
    }
    all.retain(|known| !is_within(known, &new));
    if all.len() >= MAX_ALTERNATIVES {
        return Err(Why::TooLarge);
    }
    all.try_reserve(1)?;
    all.push(new);
    Ok(())
}

impl<'a> Union<'a> {
    /// Every value.
    pub fn all() -> Self {
        Self {
            null: true,
            booleans: [true; 2],
            numbers: Numbers::All,
            strings: Strings::ALL,
            arrays: vec![Array::default()],
            objects: vec![Object::default()],
        }
    }

    /// No value.
    pub fn none() -> Self {
        Self {
            null: false,
            booleans: [false; 2],
            numbers: Numbers::none(),
            strings: Strings::none(),
            arrays: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// The values that both allow.
    pub fn intersect(&self, other: &Self, budget: &mut Budget) -> Result<Self, Why> {
        budget.spend(16)?;
        Ok(Self {
            null: self.null && other.null,
            booleans: [0, 1].map(|i| self.booleans[i] && other.booleans[i]),
            numbers: self.numbers.intersect(&other.numbers, budget)?,
            strings: self.strings.intersect(&other.strings, budget)?,
            arrays: pairs(&self.arrays, &other.arrays, budget, Array::intersect, Array::is_within)?,
            objects: pairs(&self.objects, &other.objects, budget, Object::intersect, Object::is_within)?,
        })
    }

    /// The values that one of them allows.
    pub fn unite(mut self, other: &Self, budget: &mut Budget) -> Result<Self, Why> {
        budget.spend(16)?;
        self.null |= other.null;
        self.booleans = [0, 1].map(|i| self.booleans[i] || other.booleans[i]);
        self.numbers = self.numbers.unite(&other.numbers, budget)?;
        self.strings = self.strings.unite(&other.strings, budget)?;
        for array in &other.arrays {
            add(&mut self.arrays, array.clone(), budget, Array::is_within)?;
        }
        for object in &other.objects {
            add(&mut self.objects, object.clone(), budget, Object::is_within)?;
        }
        Ok(self)
    }

    /// Forgets what schemas have evaluated.
    pub fn forget_evaluated(&mut self) {
        self.arrays.iter_mut().for_each(|array| array.evaluated = EvaluatedItems::default());
        self.objects.iter_mut().for_each(|object| object.evaluated = EvaluatedMembers::default());
    }

    /// Whether only arrays and objects are valid.
    pub fn has_no_scalar(&self) -> bool {
        !self.null && self.booleans == [false; 2] && self.numbers.is_empty() && self.strings.is_empty()
    }
}
