//! Compiles expressions to instructions: [`Builder::finish`].

use alloc::vec::Vec;

use crate::analysis::{Facts, body};
use crate::class::Classes;
use crate::error::GrammarError;
use crate::expression::{Builder, Expression, Node, Rule, Span, append};
use crate::program::{Grammar, InterleaveOp, Op, Repeat};

/// Most instructions of a grammar.
pub const MAX_INSTRUCTIONS: u32 = 1 << 18;
/// An address that is not known yet.
const NOWHERE: u32 = u32::MAX;

impl Builder {
    /// The grammar of the texts of rule `root`.
    ///
    /// # Errors
    /// - [`GrammarError::Undefined`] with the name of a rule that has no definition.
    /// - [`GrammarError::LeftRecursion`] with the name of a rule that begins with itself.
    /// - [`GrammarError::MatchesNothing`] if the grammar has no finite text.
    /// - [`GrammarError::Invalid`] for an [`Interleave`](crate::Interleave) with a member that may be empty.
    /// - [`GrammarError::TooMany`] if the grammar becomes too large.
    pub fn finish(self, root: Rule) -> Result<Grammar, GrammarError> {
        for number in 0..self.rules.len() as u32 {
            if !self.is_defined(Rule(number)) {
                return Err(GrammarError::Undefined { rule: self.name(Rule(number)).into() });
            }
        }
        let facts = Facts::of(&self)?;
        let start = body(&self, root);
        if !facts.lives(Expression(start)) {
            return Err(GrammarError::MatchesNothing { rule: self.name(root).into() });
        }
        let n_nodes = self.nodes.len();
        #[cfg(test)]
        let source = (self.clone(), root);
        let mut compiler = Compiler {
            builder: self,
            facts,
            grammar: Grammar {
                ops: Vec::new(),
                text: Vec::new(),
                targets: Vec::new(),
                repeats: Vec::new(),
                interleaves: Vec::new(),
                classes: Classes::default(),
                start: 1,
                byte_class: [0; 256],
                representatives: Vec::new(),
                max_token: None,
                nesting: 0,
                needs: Vec::new(),
                #[cfg(test)]
                source,
            },
            places: Vec::new(),
            called: Vec::new(),
            recent_classes: [(Span { start: 0, len: 0 }, 0); N_RECENT],
        };
        compiler.places.try_reserve_exact(n_nodes)?;
        compiler.places.resize(n_nodes, NOWHERE);
        compiler.emit(Op::End)?;
        compiler.call(start)?;
        compiler.emit(Op::Return)?;
        let mut n_done = 0;
        while n_done < compiler.called.len() {
            let number = compiler.called[n_done];
            compiler.places[number as usize] = compiler.grammar.ops.len() as u32;
            compiler.expression(number, true)?;
            compiler.emit(Op::Return)?;
            n_done += 1;
        }
        compiler.finish()
    }
}

const N_RECENT: usize = 64;

struct Compiler {
    builder: Builder,
    facts: Facts,
    grammar: Grammar,
    /// The address of each expression that is called.
    places: Vec<u32>,
    /// Expressions that are called, without repetition, in the order of their addresses.
    called: Vec<u32>,
    /// Classes as pairs of characters, and the first node of each class, by a hash of the pairs.
    recent_classes: [(Span, u32); N_RECENT],
}

impl Compiler {
    fn emit(&mut self, op: Op) -> Result<u32, GrammarError> {
        Ok(append(&mut self.grammar.ops, &[op], MAX_INSTRUCTIONS, "instructions")?.start)
    }

    fn here(&self) -> u32 {
        self.grammar.ops.len() as u32
    }

    /// Emits a call. Until everything is emitted, its address is the number of the expression.
    fn call(&mut self, number: u32) -> Result<(), GrammarError> {
        self.subroutine(number)?;
        self.emit(Op::Call(number))?;
        Ok(())
    }

    /// Makes sure that the expression will be emitted with a return.
    fn subroutine(&mut self, number: u32) -> Result<(), GrammarError> {
        let place = &mut self.places[number as usize];
        if *place == NOWHERE {
            // Any value; it is set when the expression is emitted.
            *place = 0;
            self.called.try_reserve(1)?;
            self.called.push(number);
        }
        Ok(())
    }

    /// The expression that this one stands for; for a rule, its body.
    fn resolved(&self, number: u32) -> u32 {
        match self.builder.nodes[number as usize] {
            Node::Rule(rule) => body(&self.builder, rule),
            _ => number,
        }
    }

    /// Whether an expression takes at most one instruction.
    fn is_small(&self, number: u32) -> bool {
        matches!(
            self.builder.nodes[number as usize],
            Node::Empty | Node::Text(_) | Node::Class(_) | Node::Token { .. } | Node::Rule(_)
        )
    }

    /// Emits code that reads an expression and then continues. The recursion is bounded by the nesting of expressions.
    /// Expressions that are used more than once are called, unless `inside` asks for the code of the expression itself.
    fn expression(&mut self, number: u32, inside: bool) -> Result<(), GrammarError> {
        if !inside && self.facts.is_shared[number as usize] && !self.is_small(number) {
            return self.call(number);
        }
        match self.builder.nodes[number as usize] {
            Node::Empty => {}
            // Expressions that never match are left out by everything that contains them.
            Node::Never => debug_assert!(false),
            Node::Text(span) => {
                self.emit(Op::Text(span))?;
            }
            Node::Class(span) => {
                let class = self.class(span)?;
                self.emit(Op::Class(class))?;
            }
            Node::Token { id, negated } => {
                self.grammar.max_token = self.grammar.max_token.max(Some(id));
                self.emit(Op::Token { id, negated })?;
            }
            Node::Rule(rule) => {
                let body = body(&self.builder, rule);
                match self.builder.nodes[body as usize] {
                    Node::Rule(_) => self.call(body)?,
                    _ if self.is_small(body) => self.expression(body, true)?,
                    _ => self.call(body)?,
                }
            }
            Node::Sequence(span) => {
                for i in 0..span.len {
                    let part = self.builder.lists[(span.start + i) as usize];
                    self.expression(part, false)?;
                }
            }
            Node::Choice(span) => self.choice(span)?,
            Node::Repeat { of, min, max } => self.repeat(of, min, max)?,
            Node::Interleave(i) => self.interleave(i)?,
        }
        Ok(())
    }

    fn class(&mut self, span: Span) -> Result<u32, GrammarError> {
        let characters = span.of(&self.builder.lists);
        let hash = characters.iter().fold(0_u32, |hash, &c| hash.wrapping_mul(0x9E37_79B1).wrapping_add(c));
        let slot = &mut self.recent_classes[(hash >> 16) as usize % N_RECENT];
        if slot.1 == 0 || slot.0.of(&self.builder.lists) != characters {
            *slot = (span, self.grammar.classes.add(characters)?);
        }
        Ok(slot.1)
    }

    fn choice(&mut self, span: Span) -> Result<(), GrammarError> {
        let n_living = span
            .of(&self.builder.lists)
            .iter()
            .filter(|&&number| self.facts.lives(Expression(number)))
            .count();
        let targets = self.targets(n_living)?;
        let choice = self.emit(Op::Choice(targets))?;
        let mut n_done = 0;
        // The jumps at the ends of alternatives form a linked list through their addresses.
        let mut last_jump = NOWHERE;
        for i in 0..span.len {
            let part = self.builder.lists[(span.start + i) as usize];
            if !self.facts.lives(Expression(part)) {
                continue;
            }
            self.grammar.targets[(targets.start + n_done) as usize] = self.here();
            n_done += 1;
            self.expression(part, false)?;
            if n_done < targets.len {
                last_jump = self.emit(Op::Jump(last_jump))?;
            }
        }
        debug_assert_eq!((n_done, self.grammar.ops[choice as usize]), (targets.len, Op::Choice(targets)));
        while last_jump != NOWHERE {
            let end = self.here();
            let Op::Jump(before) =
                core::mem::replace(&mut self.grammar.ops[last_jump as usize], Op::Jump(end))
            else {
                unreachable!("all links are jumps");
            };
            last_jump = before;
        }
        Ok(())
    }

    /// Reserves `n` targets.
    fn targets(&mut self, n: usize) -> Result<Span, GrammarError> {
        let start = self.grammar.targets.len() as u32;
        for _ in 0..n {
            append(&mut self.grammar.targets, &[NOWHERE], 4 * MAX_INSTRUCTIONS, "instructions")?;
        }
        Ok(Span { start, len: n as u32 })
    }

    fn repeat(&mut self, of: Expression, min: u32, max: u32) -> Result<(), GrammarError> {
        if !self.facts.lives(of) {
            // The expression may be empty, so zero repetitions are enough.
            return Ok(());
        }
        let is_nullable = self.facts.is_nullable[of.0 as usize];
        // If fewer than `min` are there, empty ones make up the rest.
        let min = if is_nullable { 0 } else { min };
        match (min, max) {
            (0, 1) => {
                let targets = self.targets(2)?;
                self.emit(Op::Choice(targets))?;
                self.grammar.targets[targets.start as usize] = self.here();
                self.expression(of.0, false)?;
                self.grammar.targets[targets.start as usize + 1] = self.here();
            }
            (0, u32::MAX) => {
                let targets = self.targets(2)?;
                let start = self.emit(Op::Choice(targets))?;
                self.grammar.targets[targets.start as usize] = self.here();
                self.expression(of.0, false)?;
                self.emit(Op::Jump(start))?;
                self.grammar.targets[targets.start as usize + 1] = self.here();
            }
            (1, u32::MAX) => {
                let start = self.here();
                self.expression(of.0, false)?;
                let targets = self.targets(2)?;
                self.emit(Op::Choice(targets))?;
                self.grammar.targets[targets.start as usize] = start;
                self.grammar.targets[targets.start as usize + 1] = self.here();
            }
            _ => {
                let body = self.resolved(of.0);
                self.subroutine(body)?;
                let repeat = Repeat { body, min, max, is_nullable };
                let at = append(&mut self.grammar.repeats, &[repeat], MAX_INSTRUCTIONS, "instructions")?;
                self.emit(Op::Repeat(at.start))?;
            }
        }
        Ok(())
    }

    fn interleave(&mut self, number: u32) -> Result<(), GrammarError> {
        let node = self.builder.interleaves[number as usize];
        let has_separator = self.facts.lives(node.separator);
        let others = node.others.filter(|&others| self.facts.lives(others));
        let mut members = Span { start: self.grammar.targets.len() as u32, len: 0 };
        let mut required = 0;
        for i in 0..node.members.len {
            let member = self.builder.lists[(node.members.start + i) as usize];
            if self.facts.is_nullable[member as usize] {
                return Err(GrammarError::Invalid {
                    problem: "a member that may be empty, at place",
                    value: i,
                });
            }
            if self.facts.lives(Expression(member)) {
                let member = self.resolved(member);
                self.subroutine(member)?;
                append(&mut self.grammar.targets, &[member], 4 * MAX_INSTRUCTIONS, "instructions")?;
                required |= (node.required >> i & 1) << members.len;
                members.len += 1;
            }
        }
        if let Some(others) = others {
            if self.facts.is_nullable[others.0 as usize] {
                let value = node.members.len;
                return Err(GrammarError::Invalid { problem: "a member that may be empty, at place", value });
            }
            let others = self.resolved(others.0);
            self.subroutine(others)?;
        }
        let separator = self.resolved(node.separator.0);
        if has_separator {
            self.subroutine(separator)?;
        }
        let op = InterleaveOp {
            members,
            required,
            others: others.map(|others| self.resolved(others.0)),
            separator,
            min: node.min,
            max: if has_separator { node.max } else { node.max.min(1) },
        };
        let at = append(&mut self.grammar.interleaves, &[op], MAX_INSTRUCTIONS, "instructions")?.start;
        self.emit(Op::Interleave(at))?;
        self.emit(Op::Member(at))?;
        Ok(())
    }

    /// Replaces numbers of expressions by addresses.
    fn finish(self) -> Result<Grammar, GrammarError> {
        let Self { mut grammar, places, builder, .. } = self;
        let place = |number: &mut u32| *number = places[*number as usize];
        for op in &mut grammar.ops {
            if let Op::Call(number) = op {
                place(number);
            }
        }
        for repeat in &mut grammar.repeats {
            place(&mut repeat.body);
        }
        for interleave in &mut grammar.interleaves {
            place(&mut interleave.separator);
            interleave.others.iter_mut().for_each(place);
            interleave.members.of_mut(&mut grammar.targets).iter_mut().for_each(place);
        }
        grammar.text = builder.text;
        // Jumps to jumps are shortened, so that a call followed by a return is recognised as a tail call.
        for at in 0..grammar.ops.len() {
            let mut target = match grammar.ops[at] {
                Op::Jump(target) => target,
                _ => continue,
            };
            // Jumps alone form no circle: backward jumps lead to a choice.
            while let Op::Jump(next) = grammar.ops[target as usize] {
                target = next;
            }
            grammar.ops[at] = match grammar.ops[target as usize] {
                Op::Return => Op::Return,
                _ => Op::Jump(target),
            };
        }
        divide_bytes(&mut grammar)?;
        Ok(grammar)
    }
}

/// Finds which bytes the grammar distinguishes.
fn divide_bytes(grammar: &mut Grammar) -> Result<(), GrammarError> {
    // The bytes at which a range begins, or that follow the end of one.
    let mut begins = [false; 257];
    begins[0] = true;
    for op in &grammar.ops {
        if let Op::Text(span) = op {
            for &byte in span.of(&grammar.text) {
                begins[usize::from(byte)] = true;
                begins[usize::from(byte) + 1] = true;
            }
        }
    }
    for range in grammar.classes.all_ranges() {
        begins[usize::from(range.first)] = true;
        begins[usize::from(range.last) + 1] = true;
    }
    grammar.representatives.try_reserve_exact(256)?;
    for byte in 0..=255_u8 {
        if begins[usize::from(byte)] {
            grammar.representatives.push(byte);
        }
        grammar.byte_class[usize::from(byte)] = (grammar.representatives.len() - 1) as u8;
    }
    Ok(())
}
