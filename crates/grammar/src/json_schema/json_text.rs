//! Expressions for the JSON texts (RFC 8259) of characters, strings and numbers.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

use super::automaton::{Automaton, Budget, LAST, State};
use super::error::Why;
use super::number;
use super::union::{Numbers, Strings};
use super::{Notation, Options, RawText, Spelling, Whitespace};
use crate::expression::{Builder, Expression, Rule};

/// Characters, as ranges.
type Ranges = Vec<(u32, u32)>;

/// Most levels of nested expressions for the states of an automaton; deeper states become rules.
const MAX_NESTING: u32 = 24;
/// Most states for a raw text of limited length. If it would take more, the length is not limited.
const MAX_COUNTED: u64 = 512;
/// Most digits before and after the point of a number in the plain spelling.
const MAX_DIGITS: u32 = 16;

/// Characters that JSON does not allow unescaped in a string.
const ESCAPED: [(u32, u32); 3] = [(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)];
/// Characters with a short escape, and its letter.
const ESCAPES: [(u32, &str); 8] = [
    (0x22, "\\\""),
    (0x5C, "\\\\"),
    (0x2F, "\\/"),
    (8, "\\b"),
    (9, "\\t"),
    (10, "\\n"),
    (12, "\\f"),
    (13, "\\r"),
];

/// Makes expressions; equal ones are made only once.
pub(super) struct JsonText<'b> {
    pub builder: &'b mut Builder,
    pub options: Options,
    pub space: Expression,
    /// A comma or colon, with the allowed white space around it.
    pub comma: Expression,
    pub colon: Expression,
    quote: Expression,
    characters: BTreeMap<Ranges, Expression>,
    hexadecimals: BTreeMap<(u32, u32, u32), Expression>,
    /// The expressions for any number, for an integer in the plain spelling and for any string, once they have been made.
    common: [Option<Expression>; 3],
    /// Expressions by the address of the automaton. The automaton is kept, so that no other one gets the same address.
    automata: BTreeMap<(usize, bool), (Rc<Automaton>, Expression)>,
}

impl<'b> JsonText<'b> {
    pub fn new(builder: &'b mut Builder, options: Options) -> Result<Self, Why> {
        let space = match options.whitespace {
            Whitespace::None | Whitespace::Spaces | Whitespace::UpTo(0) => Expression::EMPTY,
            Whitespace::UpTo(most) => {
                let one = builder.class(&[(9, 10), (13, 13), (32, 32)])?;
                builder.repeat(one, 0, Some(most))?
            }
        };
        let mut spaced = |mark| {
            let mark = builder.literal(mark)?;
            if options.whitespace == Whitespace::Spaces {
                let space = builder.literal(" ")?;
                let space = builder.optional(space)?;
                return Ok(builder.sequence(&[mark, space])?);
            }
            if space == Expression::EMPTY {
                Ok::<_, Why>(mark)
            } else {
                Ok(builder.sequence(&[space, mark, space])?)
            }
        };
        let (comma, colon) = (spaced(",")?, spaced(":")?);
        let quote = match options.notation {
            Notation::Quoted { mark, .. } => mark,
            Notation::Json | Notation::Python => builder.literal("\"")?,
        };
        Ok(Self {
            builder,
            options,
            space,
            comma,
            colon,
            quote,
            characters: BTreeMap::new(),
            hexadecimals: BTreeMap::new(),
            common: [None; 3],
            automata: BTreeMap::new(),
        })
    }

    /// `content` between two marks. With `may_be_empty`, there may also be only white space between them.
    pub fn between(
        &mut self,
        marks: [&str; 2],
        content: Option<Expression>,
        may_be_empty: bool,
    ) -> Result<Expression, Why> {
        let [open, close] = [self.builder.literal(marks[0])?, self.builder.literal(marks[1])?];
        let mut ways = Vec::new();
        if may_be_empty {
            ways.push(self.sequence(&[open, self.space, close])?);
        }
        if let Some(content) = content {
            ways.push(self.sequence(&[open, self.space, content, self.space, close])?);
        }
        Ok(self.builder.choice(&ways)?)
    }

    /// A sequence without its empty parts.
    pub fn sequence(&mut self, parts: &[Expression]) -> Result<Expression, Why> {
        if parts.contains(&Expression::NEVER) {
            return Ok(Expression::NEVER);
        }
        let parts: Vec<_> = parts.iter().copied().filter(|part| *part != Expression::EMPTY).collect();
        Ok(self.builder.sequence(&parts)?)
    }

    /// A choice of those alternatives that are possible.
    pub fn choice(&mut self, ways: &[Expression]) -> Result<Expression, Why> {
        let ways: Vec<_> = ways.iter().copied().filter(|way| *way != Expression::NEVER).collect();
        Ok(self.builder.choice(&ways)?)
    }

    /// How `null`, `false` or `true` is written in the notation.
    pub fn constant(&mut self, json: &'static str) -> Result<Expression, Why> {
        let word = match (self.options.notation, json) {
            (Notation::Python, "null") => "None",
            (Notation::Python, "false") => "False",
            (Notation::Python, "true") => "True",
            _ => json,
        };
        Ok(self.builder.literal(word)?)
    }

    /// The name of a member.
    pub fn key(&mut self, name: &str) -> Result<Expression, Why> {
        let is_plain = |c: char| c.is_alphanumeric() || c == '_';
        let may_be_bare =
            name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(is_plain);
        match self.options.notation {
            Notation::Quoted { .. } if may_be_bare => Ok(self.builder.literal(name)?),
            _ => self.word(name),
        }
    }

    /// A particular string.
    pub fn word(&mut self, text: &str) -> Result<Expression, Why> {
        if let Notation::Quoted { text: any, .. } = self.options.notation {
            if !any.contains(text) {
                return Ok(Expression::NEVER);
            }
            let content = self.builder.literal(text)?;
            return self.sequence(&[self.quote, content, self.quote]);
        }
        if self.options.spelling == Spelling::Plain {
            let mut literal = String::from("\"");
            for c in text.chars() {
                match ESCAPES.iter().find(|escape| escape.0 == u32::from(c) && c != '/') {
                    Some((_, escape)) => literal.push_str(escape),
                    None if c < ' ' => {
                        write!(literal, "\\u{:04x}", u32::from(c)).map_err(|_| Why::OutOfMemory)?
                    }
                    None => literal.push(c),
                }
            }
            literal.push('"');
            return Ok(self.builder.literal(&literal)?);
        }
        let mut parts = vec![self.quote];
        for c in text.chars() {
            parts.push(self.character(&[(c.into(), c.into())])?);
        }
        parts.push(self.quote);
        self.sequence(&parts)
    }

    /// Strings, in quotation marks.
    pub fn string(&mut self, strings: &Strings, budget: &mut Budget) -> Result<Expression, Why> {
        if *strings != Strings::ALL {
            return self.some_string(strings, budget);
        }
        if self.common[2].is_none() {
            let any = self.some_string(strings, budget)?;
            self.common[2] = Some(self.named("string", any)?);
        }
        Ok(self.common[2].unwrap_or(Expression::NEVER))
    }

    /// Strings without quotation marks; only those that can be written so.
    pub fn raw_string(
        &mut self,
        strings: &Strings,
        any: RawText,
        budget: &mut Budget,
    ) -> Result<Expression, Why> {
        let set = match strings {
            Strings::Set(set) => set.intersect(&any.automaton(budget)?, budget)?,
            _ if *strings == Strings::ALL => return Ok(any.any),
            Strings::Lengths(min, max) => {
                let counted = max.unwrap_or(*min).saturating_add(2);
                if counted.saturating_mul(any.end.len() as u64) > MAX_COUNTED {
                    return Ok(any.any);
                }
                Automaton::lengths(*min, *max, budget)?.intersect(&any.automaton(budget)?, budget)?
            }
        };
        self.automaton(&Rc::new(set), false)
    }

    fn times(&mut self, of: Expression, min: u64, max: Option<u64>) -> Result<Expression, Why> {
        let Ok(min) = u32::try_from(min) else { return Ok(Expression::NEVER) };
        let max = max.and_then(|max| u32::try_from(max).ok()).filter(|max| *max < u32::MAX);
        Ok(self.builder.repeat(of, min, max)?)
    }

    fn some_string(&mut self, strings: &Strings, budget: &mut Budget) -> Result<Expression, Why> {
        if let Notation::Quoted { text, .. } = self.options.notation {
            let content = self.raw_string(strings, text, budget)?;
            return self.sequence(&[self.quote, content, self.quote]);
        }
        let content = match strings {
            Strings::Lengths(min, max) => {
                let any = self.character(&[(0, LAST)])?;
                self.times(any, *min, *max)?
            }
            Strings::Set(set) => self.automaton(set, true)?,
        };
        self.sequence(&[self.quote, content, self.quote])
    }

    /// Numbers. `integers` is the automaton of all integers, if it has been made.
    pub fn number(
        &mut self,
        numbers: &Numbers,
        integers: Option<&Rc<Automaton>>,
        budget: &mut Budget,
    ) -> Result<Expression, Why> {
        let is_plain = self.options.spelling == Spelling::Plain;
        match numbers {
            Numbers::All => self.any_number(true),
            Numbers::Set(set) if is_plain && integers.is_some_and(|integers| Rc::ptr_eq(set, integers)) => {
                self.any_number(false)
            }
            Numbers::Set(set) if is_plain => {
                let plain = Rc::new(set.intersect(&number::plain(budget)?, budget)?);
                self.automaton(&plain, false)
            }
            Numbers::Set(set) => self.automaton(set, false),
        }
    }

    fn any_number(&mut self, with_fraction: bool) -> Result<Expression, Why> {
        let place = usize::from(!with_fraction);
        if self.common[place].is_none() {
            let any = self.new_number(with_fraction)?;
            self.common[place] = Some(self.named("number", any)?);
        }
        Ok(self.common[place].unwrap_or(Expression::NEVER))
    }

    fn new_number(&mut self, with_fraction: bool) -> Result<Expression, Why> {
        let is_plain = self.options.spelling == Spelling::Plain;
        let most = is_plain.then_some(MAX_DIGITS);
        let b = &mut *self.builder;
        let (zero, minus, point) = (b.literal("0")?, b.literal("-")?, b.literal(".")?);
        let (first, digit) = (b.class(&[(0x31, 0x39)])?, b.class(&[(0x30, 0x39)])?);
        let more = b.repeat(digit, 0, most.map(|most| most - 1))?;
        let (sign, large) = (b.optional(minus)?, b.sequence(&[first, more])?);
        let mut parts = vec![sign, b.choice(&[zero, large])?];
        if with_fraction {
            let fraction = if is_plain {
                let digits = b.repeat(digit, 0, most.map(|most| most - 1))?;
                b.sequence(&[point, digits, first])?
            } else {
                let digits = b.repeat(digit, 1, None)?;
                b.sequence(&[point, digits])?
            };
            parts.push(b.optional(fraction)?);
        }
        if with_fraction && !is_plain {
            let (e, sign) =
                (b.class(&[(0x45, 0x45), (0x65, 0x65)])?, b.class(&[(0x2B, 0x2B), (0x2D, 0x2D)])?);
            let (sign, digits) = (b.optional(sign)?, b.repeat(digit, 1, None)?);
            let exponent = b.sequence(&[e, sign, digits])?;
            parts.push(b.optional(exponent)?);
        }
        Ok(b.sequence(&parts)?)
    }

    /// One of the characters in `ranges` inside a string, unescaped or as an escape.
    fn character(&mut self, ranges: &[(u32, u32)]) -> Result<Expression, Why> {
        if let Some(known) = self.characters.get(ranges) {
            return Ok(*known);
        }
        let is_plain = self.options.spelling == Spelling::Plain;
        let mut raw = Vec::new();
        for &(first, last) in ranges {
            let mut next = first;
            for (escaped_first, escaped_last) in ESCAPED {
                if next < escaped_first && next <= last {
                    raw.push((next, last.min(escaped_first - 1)));
                }
                next = next.max(escaped_last + 1);
            }
            if next <= last {
                raw.push((next, last));
            }
        }
        let mut ways = vec![self.builder.class(&raw)?];
        let has = |c: u32| ranges.iter().any(|range| (range.0..=range.1).contains(&c));
        for (c, escape) in ESCAPES {
            if has(c) && !(is_plain && c == 0x2F) {
                ways.push(self.builder.literal(escape)?);
            }
        }
        let mut coded = Vec::new();
        for &(first, last) in ranges {
            if !is_plain {
                self.code_units(first, last, &mut coded)?;
                continue;
            }
            for c in first..=last.min(0x1F) {
                if !ESCAPES.iter().any(|escape| escape.0 == c) {
                    self.code_units(c, c, &mut coded)?;
                }
            }
        }
        if !coded.is_empty() {
            let (start, coded) = (self.builder.literal("\\u")?, self.builder.choice(&coded)?);
            ways.push(self.builder.sequence(&[start, coded])?);
        }
        let mut expression = self.choice(&ways)?;
        if ways.len() > 1 {
            // It becomes a rule, so that a large expression is not repeated.
            expression = self.named("character", expression)?;
        }
        self.characters.insert(ranges.into(), expression);
        Ok(expression)
    }

    /// What follows `\u` for the characters from `first` to `last`: one unit of UTF-16, or two.
    fn code_units(&mut self, first: u32, last: u32, ways: &mut Vec<Expression>) -> Result<(), Why> {
        for (from, to) in [(0, 0xD7FF), (0xE000, 0xFFFF)] {
            let (from, to) = (first.max(from), last.min(to));
            if from <= to {
                ways.push(self.hexadecimal(from, to, 4)?);
            }
        }
        let (mut from, to) = (first.max(0x1_0000), last);
        while from <= to {
            // Covers either the characters with the same first unit, or all characters of several first units, whichever is more.
            let (unit, second) = ((from - 0x1_0000) >> 10, (from - 0x1_0000) & 0x3FF);
            let (last_unit, last_second) = ((to - 0x1_0000) >> 10, (to - 0x1_0000) & 0x3FF);
            let (units, seconds) = if unit == last_unit {
                ((unit, unit), (second, last_second))
            } else if second > 0 {
                ((unit, unit), (second, 0x3FF))
            } else {
                ((unit, if last_second == 0x3FF { last_unit } else { last_unit - 1 }), (0, 0x3FF))
            };
            let high = self.hexadecimal(0xD800 + units.0, 0xD800 + units.1, 4)?;
            let again = self.builder.literal("\\u")?;
            let low = self.hexadecimal(0xDC00 + seconds.0, 0xDC00 + seconds.1, 4)?;
            ways.push(self.builder.sequence(&[high, again, low])?);
            from = 0x1_0000 + (units.1 << 10) + seconds.1 + 1;
        }
        Ok(())
    }

    /// The hexadecimal numbers from `first` to `last` with `digits` digits.
    fn hexadecimal(&mut self, first: u32, last: u32, digits: u32) -> Result<Expression, Why> {
        if digits == 0 {
            return Ok(Expression::EMPTY);
        }
        if let Some(known) = self.hexadecimals.get(&(first, last, digits)) {
            return Ok(*known);
        }
        let unit = 1 << (4 * (digits - 1));
        let (mut from, mut to) = (first / unit, last / unit);
        let mut ways = Vec::new();
        if from == to {
            ways.push((from, from, first % unit, last % unit));
        } else {
            if !first.is_multiple_of(unit) {
                ways.push((from, from, first % unit, unit - 1));
                from += 1;
            }
            if last % unit != unit - 1 {
                ways.push((to, to, 0, last % unit));
                to -= 1;
            }
            if from <= to {
                ways.push((from, to, 0, unit - 1));
            }
        }
        let mut expressions = Vec::new();
        for (from, to, first, last) in ways {
            let mut ranges = Vec::new();
            for (digit, code) in [(0u32, 0x30u32), (10, 0x41), (10, 0x61)] {
                let (from, to) = (from.max(digit), to.min(if digit == 0 { 9 } else { 15 }));
                if from <= to {
                    ranges.push((code + from - digit, code + to - digit));
                }
            }
            let digit = self.builder.class(&ranges)?;
            let rest = self.hexadecimal(first, last, digits - 1)?;
            expressions.push(self.sequence(&[digit, rest])?);
        }
        let expression = self.choice(&expressions)?;
        self.hexadecimals.insert((first, last, digits), expression);
        Ok(expression)
    }

    /// A rule that stands for the expression.
    pub fn named(&mut self, name: &str, expression: Expression) -> Result<Expression, Why> {
        if expression == Expression::NEVER || expression == Expression::EMPTY {
            return Ok(expression);
        }
        let rule = self.builder.declare(name)?;
        self.builder.define(rule, expression)?;
        Ok(self.builder.rule(rule)?)
    }

    /// The texts that an automaton accepts, either raw or as the contents of a string.
    pub fn automaton(&mut self, automaton: &Rc<Automaton>, in_string: bool) -> Result<Expression, Why> {
        let key = (Rc::as_ptr(automaton).addr(), in_string);
        if let Some((_, known)) = self.automata.get(&key) {
            return Ok(*known);
        }
        let mut states = States::new(automaton, in_string);
        let start = states.expression(self, 0, 0)?;
        while let Some((state, rule)) = states.open.pop() {
            let expression = states.body(self, state, 0)?;
            self.builder.define(rule, expression)?;
        }
        let expression = self.named("text", start)?;
        self.automata.insert(key, (automaton.clone(), expression));
        Ok(expression)
    }
}

/// The states of an automaton that become expressions. A state that several others lead to becomes a rule.
struct States {
    states: Vec<Live>,
    in_string: bool,
    rules: Vec<Option<Rule>>,
    open: Vec<(u32, Rule)>,
}

/// A state, with its edges to states from which the end can be reached.
struct Live {
    accepts: bool,
    is_live: bool,
    /// The characters that lead back to the same state.
    again: Ranges,
    others: Vec<(u32, Ranges)>,
    /// Number of edges from other states.
    n_before: u32,
}

impl States {
    fn new(automaton: &Automaton, in_string: bool) -> Self {
        let live = automaton.reaches(true);
        let mut states: Vec<Live> = Vec::new();
        for (number, State { accepts, edges }) in automaton.states.iter().enumerate() {
            let mut ways: BTreeMap<u32, Ranges> = BTreeMap::new();
            let mut first = 0;
            for edge in edges {
                if live[edge.to as usize] {
                    ways.entry(edge.to).or_default().push((first, edge.last));
                }
                first = edge.last.saturating_add(1);
            }
            let again = ways.remove(&(number as u32)).unwrap_or_default();
            let others = ways.into_iter().collect();
            states.push(Live { accepts: *accepts, is_live: live[number], again, others, n_before: 0 });
        }
        for number in 0..states.len() {
            let targets: Vec<u32> = states[number].others.iter().map(|way| way.0).collect();
            for target in targets {
                states[target as usize].n_before += 1;
            }
        }
        // The start is also entered from outside.
        states[0].n_before += 1;
        let rules = vec![None; states.len()];
        Self { states, in_string, rules, open: Vec::new() }
    }

    /// The expression for what may follow in a state.
    fn expression(&mut self, text: &mut JsonText<'_>, state: u32, depth: u32) -> Result<Expression, Why> {
        let live = &self.states[state as usize];
        if !live.is_live {
            return Ok(Expression::NEVER);
        }
        if let Some(rule) = self.rules[state as usize] {
            return Ok(text.builder.rule(rule)?);
        }
        let is_end = live.accepts && live.again.is_empty() && live.others.is_empty();
        if is_end {
            return Ok(Expression::EMPTY);
        }
        if live.n_before > 1 || depth >= MAX_NESTING {
            let rule = text.builder.declare("text")?;
            self.rules[state as usize] = Some(rule);
            self.open.push((state, rule));
            return Ok(text.builder.rule(rule)?);
        }
        self.body(text, state, depth)
    }

    fn body(&mut self, text: &mut JsonText<'_>, mut state: u32, depth: u32) -> Result<Expression, Why> {
        let mut parts = Vec::new();
        loop {
            let Live { accepts, again, others, .. } = &self.states[state as usize];
            let (accepts, others) = (*accepts, others.clone());
            if !again.is_empty() {
                let again = again.clone();
                let one = self.character(text, &again)?;
                parts.push(text.builder.repeat(one, 0, None)?);
            }
            match &others[..] {
                [(next, ranges)] if !accepts => {
                    parts.push(self.character(text, ranges)?);
                    let next_state = &self.states[*next as usize];
                    if next_state.n_before > 1 || self.rules[*next as usize].is_some() {
                        parts.push(self.expression(text, *next, depth + 1)?);
                        break;
                    }
                    state = *next;
                }
                _ => {
                    let mut ways = Vec::new();
                    for (next, ranges) in &others {
                        let (one, then) =
                            (self.character(text, ranges)?, self.expression(text, *next, depth + 2)?);
                        ways.push(text.sequence(&[one, then])?);
                    }
                    if accepts {
                        ways.push(Expression::EMPTY);
                    }
                    parts.push(text.choice(&ways)?);
                    break;
                }
            }
        }
        text.sequence(&parts)
    }

    fn character(&self, text: &mut JsonText<'_>, ranges: &[(u32, u32)]) -> Result<Expression, Why> {
        if self.in_string { text.character(ranges) } else { Ok(text.builder.class(ranges)?) }
    }
}
