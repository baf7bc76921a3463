//! The expressions that grammars are made of.
//!
//! A [`Builder`] holds all expressions of a grammar in one array. An [`Expression`] is the number of one of them, and is made
//! from earlier ones. It may therefore be used several times, and there is no tree of boxes that could be too deep to be dropped.
//! Rules refer to one another, and to themselves, by [`Rule`]: they are declared first and defined later.
//!
//! Every method that adds something fails with [`GrammarError::TooMany`], [`GrammarError::TooDeep`] or
//! [`GrammarError::OutOfMemory`] when there is no room for it.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::GrammarError;

/// Most expressions of a grammar, and most of its rules.
pub const MAX_EXPRESSIONS: u32 = 1 << 17;
/// Most levels of nested expressions, not counting rules.
pub const MAX_NESTING: u32 = 256;
/// Most bytes in all literals and names of a grammar, and most elements in all its lists.
const MAX_BYTES: u32 = 1 << 20;
/// Most named members of an [`Interleave`].
pub const MAX_MEMBERS: usize = 128;
/// The last character of Unicode.
const LAST_CHARACTER: u32 = 0x10_FFFF;

/// A set of texts, as an element of a grammar. Only the [`Builder`] that made it knows which texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Expression(pub(crate) u32);

impl Expression {
    /// Only the empty text.
    pub const EMPTY: Self = Self(0);
    /// No text at all. Alternatives, members and repetitions that need it are left out of a grammar.
    pub const NEVER: Self = Self(1);
}

/// A rule: an expression with a name, which may contain itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule(pub(crate) u32);

/// Members in any order, each at most once, as in a JSON object.
///
/// Memory is proportional to the number of members, whereas rules for every order would number 2ⁿ.
#[derive(Debug, Clone, Copy)]
pub struct Interleave<'a> {
    /// The members, at most [`MAX_MEMBERS`]; `true` for members that are required.
    pub members: &'a [(Expression, bool)],
    /// What else may come, any number of times. A text that is also a member can be read as either, so the caller should exclude
    /// it.
    pub others: Option<Expression>,
    /// What separates two members.
    pub separator: Expression,
    /// Fewest members in total.
    pub min: u32,
    /// Most members in total.
    pub max: Option<u32>,
}

/// The kind of an expression. Lists are ranges of [`Builder::lists`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Node {
    Empty,
    Never,
    /// Bytes of [`Builder::text`], at least one.
    Text(Span),
    /// Pairs in `lists`: the first and last character of each range; sorted and disjoint.
    Class(Span),
    Rule(Rule),
    Token {
        id: u32,
        negated: bool,
    },
    /// At least two expressions in `lists`.
    Sequence(Span),
    /// At least two expressions in `lists`.
    Choice(Span),
    /// `max` is `u32::MAX` if there is no limit.
    Repeat {
        of: Expression,
        min: u32,
        max: u32,
    },
    /// An index into [`Builder::interleaves`].
    Interleave(u32),
}

/// A range of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    /// This range of `array`.
    pub fn of<T>(self, array: &[T]) -> &[T] {
        &array[self.start as usize..][..self.len as usize]
    }

    /// This range of `array`, mutable.
    pub fn of_mut<T>(self, array: &mut [T]) -> &mut [T] {
        &mut array[self.start as usize..][..self.len as usize]
    }
}

/// An [`Interleave`] as stored by a builder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InterleaveNode {
    /// Expressions in `lists`.
    pub members: Span,
    /// Bit `i` is set if member `i` is required.
    pub required: u128,
    pub others: Option<Expression>,
    pub separator: Expression,
    pub min: u32,
    /// `u32::MAX` if there is no limit.
    pub max: u32,
}

/// A rule as stored by a builder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RuleNode {
    /// Bytes of [`Builder::names`].
    pub name: Span,
    pub body: Option<Expression>,
}

/// Expressions and rules that become a [`Grammar`](crate::Grammar) by [`Builder::finish`].
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Builder {
    pub(crate) nodes: Vec<Node>,
    /// The depth of nested expressions in each expression.
    depths: Vec<u16>,
    pub(crate) lists: Vec<u32>,
    pub(crate) text: Vec<u8>,
    pub(crate) interleaves: Vec<InterleaveNode>,
    pub(crate) rules: Vec<RuleNode>,
    pub(crate) names: String,
    /// The steps that JSON schemas have taken so far.
    pub(crate) schema_steps: u32,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// A builder without rules.
    pub fn new() -> Self {
        Self {
            nodes: alloc::vec![Node::Empty, Node::Never],
            depths: alloc::vec![0, 0],
            lists: Vec::new(),
            text: Vec::new(),
            interleaves: Vec::new(),
            rules: Vec::new(),
            names: String::new(),
            schema_steps: 0,
        }
    }

    /// The text itself, in UTF-8.
    pub fn literal(&mut self, text: &str) -> Result<Expression, GrammarError> {
        if text.is_empty() {
            return Ok(Expression::EMPTY);
        }
        let span = append(&mut self.text, text.as_bytes(), MAX_BYTES, "bytes of text")?;
        self.add(Node::Text(span), 0)
    }

    /// One character of `ranges`, each given by its first and its last character, in any order. Surrogates are left out, because
    /// no UTF-8 text contains them.
    ///
    /// # Errors
    /// [`GrammarError::Invalid`] for a range that ends before it begins, or that goes beyond U+10FFFF.
    pub fn class(&mut self, ranges: &[(u32, u32)]) -> Result<Expression, GrammarError> {
        let sorted = normalized(ranges)?;
        self.add_class(&sorted)
    }

    /// One character that is in none of `ranges`; any character at all if there are none.
    ///
    /// # Errors
    /// The same as for [`Builder::class`].
    pub fn not_in_class(&mut self, ranges: &[(u32, u32)]) -> Result<Expression, GrammarError> {
        let sorted = normalized(ranges)?;
        let mut others = Vec::new();
        others.try_reserve_exact(sorted.len() + 1)?;
        let mut next = 0;
        for (first, last) in sorted {
            if next < first {
                others.push((next, first - 1));
            }
            next = last + 1;
        }
        if next <= LAST_CHARACTER {
            others.push((next, LAST_CHARACTER));
        }
        // This is normalised again because surrogates were left out of the excluded characters.
        let others = normalized(&others)?;
        self.add_class(&others)
    }

    /// The texts of a rule.
    pub fn rule(&mut self, rule: Rule) -> Result<Expression, GrammarError> {
        self.add(Node::Rule(rule), 0)
    }

    /// The token with this number or, with `negated`, any other token except those that end generation. The token need not have a
    /// text.
    pub fn token(&mut self, id: u32, negated: bool) -> Result<Expression, GrammarError> {
        self.add(Node::Token { id, negated }, 0)
    }

    /// All parts, one after the other; the empty text if there are none.
    pub fn sequence(&mut self, parts: &[Expression]) -> Result<Expression, GrammarError> {
        match parts {
            [] => Ok(Expression::EMPTY),
            [one] => Ok(*one),
            _ => {
                let (span, depth) = self.list(parts)?;
                self.add(Node::Sequence(span), depth)
            }
        }
    }

    /// One of the alternatives; [`Expression::NEVER`] if there are none.
    pub fn choice(&mut self, alternatives: &[Expression]) -> Result<Expression, GrammarError> {
        match alternatives {
            [] => Ok(Expression::NEVER),
            [one] => Ok(*one),
            _ => {
                let (span, depth) = self.list(alternatives)?;
                self.add(Node::Choice(span), depth)
            }
        }
    }

    /// The expression or the empty text.
    pub fn optional(&mut self, of: Expression) -> Result<Expression, GrammarError> {
        self.repeat(of, 0, Some(1))
    }

    /// The expression `min` to `max` times; without `max`, at least `min` times. Large numbers cost no more than small ones.
    ///
    /// # Errors
    /// [`GrammarError::Invalid`] if `max` is below `min`.
    pub fn repeat(&mut self, of: Expression, min: u32, max: Option<u32>) -> Result<Expression, GrammarError> {
        let max = max.unwrap_or(u32::MAX);
        if max < min {
            return Err(GrammarError::Invalid {
                problem: "a repetition of fewer than it begins with",
                value: max,
            });
        }
        match (min, max) {
            (_, 0) => Ok(Expression::EMPTY),
            (1, 1) => Ok(of),
            _ => {
                let depth = self.depth(of);
                self.add(Node::Repeat { of, min, max }, depth)
            }
        }
    }

    /// Members in any order.
    ///
    /// # Errors
    /// [`GrammarError::TooMany`] for more than [`MAX_MEMBERS`] members.
    pub fn interleave(&mut self, interleave: &Interleave<'_>) -> Result<Expression, GrammarError> {
        if interleave.members.len() > MAX_MEMBERS {
            return Err(GrammarError::TooMany { what: "members in any order", limit: MAX_MEMBERS as u32 });
        }
        let mut depth = self.depth(interleave.separator);
        let mut required = 0;
        let start = self.lists.len() as u32;
        for (i, &(member, is_required)) in interleave.members.iter().enumerate() {
            depth = depth.max(self.depth(member));
            required |= u128::from(is_required) << i;
            append(&mut self.lists, &[member.0], MAX_BYTES, "elements of lists")?;
        }
        if let Some(others) = interleave.others {
            depth = depth.max(self.depth(others));
        }
        let node = InterleaveNode {
            members: Span { start, len: interleave.members.len() as u32 },
            required,
            others: interleave.others,
            separator: interleave.separator,
            min: interleave.min,
            max: interleave.max.unwrap_or(u32::MAX),
        };
        let number = append(&mut self.interleaves, &[node], MAX_EXPRESSIONS, "expressions")?;
        self.add(Node::Interleave(number.start), depth)
    }

    /// A rule that will be defined later. The name is used in errors; two rules may have the same name.
    pub fn declare(&mut self, name: &str) -> Result<Rule, GrammarError> {
        let start = self.names.len();
        if start + name.len() > MAX_BYTES as usize {
            return Err(GrammarError::TooMany { what: "bytes of names", limit: MAX_BYTES });
        }
        self.names.try_reserve(name.len())?;
        self.names.push_str(name);
        let node = RuleNode { name: Span { start: start as u32, len: name.len() as u32 }, body: None };
        let number = append(&mut self.rules, &[node], MAX_EXPRESSIONS, "rules")?;
        Ok(Rule(number.start))
    }

    /// Defines what a rule stands for.
    ///
    /// # Errors
    /// [`GrammarError::DefinedTwice`].
    pub fn define(&mut self, rule: Rule, body: Expression) -> Result<(), GrammarError> {
        if self.is_defined(rule) {
            return Err(GrammarError::DefinedTwice { rule: self.name(rule).into() });
        }
        self.rules[rule.0 as usize].body = Some(body);
        Ok(())
    }

    /// Whether the rule has been defined.
    pub fn is_defined(&self, rule: Rule) -> bool {
        self.rules[rule.0 as usize].body.is_some()
    }

    /// The name that the rule was declared with.
    pub fn name(&self, rule: Rule) -> &str {
        let span = self.rules[rule.0 as usize].name;
        &self.names[span.start as usize..][..span.len as usize]
    }

    /// The current end of all arrays, for [`Builder::go_back`].
    pub(crate) fn place(&self) -> [usize; 6] {
        let Self { nodes, lists, text, interleaves, rules, names, .. } = self;
        [nodes.len(), lists.len(), text.len(), interleaves.len(), rules.len(), names.len()]
    }

    /// Removes everything that was added since `place` was called. No rule from before may have been defined since.
    pub(crate) fn go_back(&mut self, [nodes, lists, text, interleaves, rules, names]: [usize; 6]) {
        self.nodes.truncate(nodes);
        self.depths.truncate(nodes);
        self.lists.truncate(lists);
        self.text.truncate(text);
        self.interleaves.truncate(interleaves);
        self.rules.truncate(rules);
        self.names.truncate(names);
    }

    /// Number of expressions and rules, for limits that the caller sets.
    pub fn len(&self) -> usize {
        self.nodes.len() + self.rules.len()
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 2 && self.rules.is_empty()
    }

    fn depth(&self, expression: Expression) -> u16 {
        self.depths[expression.0 as usize] + 1
    }

    fn list(&mut self, elements: &[Expression]) -> Result<(Span, u16), GrammarError> {
        let start = self.lists.len() as u32;
        let mut depth = 0;
        for &element in elements {
            depth = depth.max(self.depth(element));
            append(&mut self.lists, &[element.0], MAX_BYTES, "elements of lists")?;
        }
        Ok((Span { start, len: elements.len() as u32 }, depth))
    }

    fn add_class(&mut self, ranges: &[(u32, u32)]) -> Result<Expression, GrammarError> {
        if ranges.is_empty() {
            return Ok(Expression::NEVER);
        }
        let start = self.lists.len() as u32;
        for &(first, last) in ranges {
            append(&mut self.lists, &[first, last], MAX_BYTES, "elements of lists")?;
        }
        self.add(Node::Class(Span { start, len: 2 * ranges.len() as u32 }), 0)
    }

    fn add(&mut self, node: Node, depth: u16) -> Result<Expression, GrammarError> {
        if u32::from(depth) > MAX_NESTING {
            return Err(GrammarError::TooDeep { limit: MAX_NESTING });
        }
        self.depths.try_reserve(1)?;
        let span = append(&mut self.nodes, &[node], MAX_EXPRESSIONS, "expressions")?;
        self.depths.push(depth);
        Ok(Expression(span.start))
    }
}

/// Appends `new` to an array that may have at most `limit` elements.
pub(crate) fn append<T: Copy>(
    array: &mut Vec<T>,
    new: &[T],
    limit: u32,
    what: &'static str,
) -> Result<Span, GrammarError> {
    if array.len() + new.len() > limit as usize {
        return Err(GrammarError::TooMany { what, limit });
    }
    array.try_reserve(new.len())?;
    let start = array.len() as u32;
    array.extend_from_slice(new);
    Ok(Span { start, len: new.len() as u32 })
}

/// The same characters as sorted and disjoint ranges, without surrogates.
fn normalized(ranges: &[(u32, u32)]) -> Result<Vec<(u32, u32)>, GrammarError> {
    let mut sorted: Vec<(u32, u32)> = Vec::new();
    sorted.try_reserve_exact(2 * ranges.len())?;
    for &(first, last) in ranges {
        if last > LAST_CHARACTER {
            return Err(GrammarError::Invalid { problem: "a character beyond U+10FFFF", value: last });
        }
        if last < first {
            return Err(GrammarError::Invalid {
                problem: "a range that ends before it begins, at",
                value: last,
            });
        }
        if first < 0xD800 {
            sorted.push((first, last.min(0xD7FF)));
        }
        if last > 0xDFFF {
            sorted.push((first.max(0xE000), last));
        }
    }
    sort::sort(&mut sorted);
    let mut n_merged = 0;
    for i in 0..sorted.len() {
        let (first, last) = sorted[i];
        // Adjacent ranges are merged.
        if n_merged > 0 && first <= sorted[n_merged - 1].1 + 1 {
            sorted[n_merged - 1].1 = last.max(sorted[n_merged - 1].1);
        } else {
            sorted[n_merged] = (first, last);
            n_merged += 1;
        }
    }
    sorted.truncate(n_merged);
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges_of(builder: &Builder, expression: Expression) -> Vec<u32> {
        match builder.nodes[expression.0 as usize] {
            Node::Class(span) => span.of(&builder.lists).to_vec(),
            node => panic!("{node:?}"),
        }
    }

    #[test]
    fn classes_are_sorted_disjoint_and_without_surrogates() {
        let mut builder = Builder::new();
        let class = builder.class(&[(0x63, 0x7A), (0x61, 0x62), (0x6D, 0x70), (0xD000, 0xE001)]).unwrap();
        assert_eq!(ranges_of(&builder, class), [0x61, 0x7A, 0xD000, 0xD7FF, 0xE000, 0xE001]);
        let any = builder.not_in_class(&[]).unwrap();
        assert_eq!(ranges_of(&builder, any), [0, 0xD7FF, 0xE000, 0x10_FFFF]);
        let no_quote = builder.not_in_class(&[(0x22, 0x22), (0, 0x1F)]).unwrap();
        assert_eq!(ranges_of(&builder, no_quote), [0x20, 0x21, 0x23, 0xD7FF, 0xE000, 0x10_FFFF]);
        assert_eq!(builder.class(&[]), Ok(Expression::NEVER));
        assert_eq!(builder.not_in_class(&[(0, 0x10_FFFF)]), Ok(Expression::NEVER));
        assert!(matches!(builder.class(&[(2, 1)]), Err(GrammarError::Invalid { value: 1, .. })));
        assert!(matches!(
            builder.class(&[(0, 0x11_0000)]),
            Err(GrammarError::Invalid { value: 0x11_0000, .. })
        ));
    }

    #[test]
    fn what_is_trivial_is_made_simpler() {
        let mut builder = Builder::new();
        let a = builder.literal("a").unwrap();
        assert_eq!(builder.sequence(&[a]), Ok(a));
        assert_eq!(builder.choice(&[]), Ok(Expression::NEVER));
        assert_eq!(builder.repeat(a, 0, Some(0)), Ok(Expression::EMPTY));
        assert_eq!(builder.repeat(a, 1, Some(1)), Ok(a));
        assert!(matches!(builder.repeat(a, 3, Some(2)), Err(GrammarError::Invalid { value: 2, .. })));
    }

    #[test]
    fn rules_are_defined_once() {
        let mut builder = Builder::new();
        let [root, item] = ["root", "item"].map(|name| builder.declare(name).unwrap());
        let reference = builder.rule(item).unwrap();
        builder.define(root, reference).unwrap();
        assert_eq!(builder.define(root, reference), Err(GrammarError::DefinedTwice { rule: "root".into() }));
        assert_eq!(builder.finish(root).unwrap_err(), GrammarError::Undefined { rule: "item".into() });
    }

    #[test]
    fn nesting_and_size_are_limited() {
        let mut builder = Builder::new();
        let mut expression = builder.literal("a").unwrap();
        for _ in 0..MAX_NESTING {
            expression = builder.repeat(expression, 0, None).unwrap();
        }
        assert_eq!(builder.repeat(expression, 0, None), Err(GrammarError::TooDeep { limit: MAX_NESTING }));
        while builder.literal("b").is_ok() {}
        let limit = MAX_EXPRESSIONS;
        assert_eq!(builder.literal("b"), Err(GrammarError::TooMany { what: "expressions", limit }));
    }
}
