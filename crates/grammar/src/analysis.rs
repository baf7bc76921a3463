//! Properties of expressions that depend on how the rules refer to each other: which may be empty, which stand for any text at
//! all, and which begin with themselves.
//!
//! The time is proportional to the number of expressions. Nothing recurses, because chains of rules may be as long as the
//! grammar.

use alloc::vec::Vec;

use crate::error::GrammarError;
use crate::expression::{Builder, Expression, InterleaveNode, Node, Rule};

/// The properties of each expression, by its number.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Whether the empty text is one of its texts.
    pub is_nullable: Vec<bool>,
    /// Whether it stands for at least one finite text.
    pub is_productive: Vec<bool>,
    /// Whether it is part of more than one expression.
    pub is_shared: Vec<bool>,
}

impl Facts {
    /// Analyses all expressions of a builder. All its rules must be defined.
    ///
    /// # Errors
    /// [`GrammarError::LeftRecursion`] with the name of the first rule that begins with itself.
    pub fn of(builder: &Builder) -> Result<Self, GrammarError> {
        let users = Users::of(builder)?;
        let is_nullable = users.least_fixpoint(builder, Question::Nullable)?;
        let is_productive = users.least_fixpoint(builder, Question::Productive)?;
        check_left_recursion(builder, &is_nullable)?;
        let mut is_shared = filled(builder.nodes.len(), false)?;
        for (number, is_shared) in is_shared.iter_mut().enumerate() {
            *is_shared = users.of_node(number as u32).len() > 1;
        }
        Ok(Self { is_nullable, is_productive, is_shared })
    }

    /// Whether the expression stands for any text.
    pub fn lives(&self, expression: Expression) -> bool {
        self.is_productive[expression.0 as usize]
    }
}

/// A vector with `n` copies of `value`.
fn filled<T: Clone>(n: usize, value: T) -> Result<Vec<T>, GrammarError> {
    let mut array = Vec::new();
    array.try_reserve_exact(n)?;
    array.resize(n, value);
    Ok(array)
}

/// Calls `each` with every direct part of an expression; for a rule, with its body.
fn for_each_part(builder: &Builder, node: Node, mut each: impl FnMut(u32)) {
    match node {
        Node::Empty | Node::Never | Node::Text(_) | Node::Class(_) | Node::Token { .. } => {}
        Node::Rule(rule) => each(body(builder, rule)),
        Node::Sequence(span) | Node::Choice(span) => {
            span.of(&builder.lists).iter().for_each(|&part| each(part))
        }
        Node::Repeat { of, .. } => each(of.0),
        Node::Interleave(number) => {
            let interleave = &builder.interleaves[number as usize];
            interleave.members.of(&builder.lists).iter().for_each(|&member| each(member));
            interleave.others.iter().for_each(|others| each(others.0));
            each(interleave.separator.0);
        }
    }
}

/// The number of the expression that a rule stands for. The rule must be defined.
pub(crate) fn body(builder: &Builder, rule: Rule) -> u32 {
    builder.rules[rule.0 as usize].body.unwrap_or(Expression::NEVER).0
}

/// For each expression, the expressions that it is a direct part of.
struct Users {
    /// Where the users of each expression begin in `users`, followed by the end.
    starts: Vec<u32>,
    users: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Question {
    Nullable,
    Productive,
}

impl Users {
    fn of(builder: &Builder) -> Result<Self, GrammarError> {
        let mut starts = filled(builder.nodes.len() + 1, 0_u32)?;
        for &node in &builder.nodes {
            for_each_part(builder, node, |part| starts[part as usize + 1] += 1);
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut users = filled(starts[builder.nodes.len()] as usize, 0)?;
        let mut next = filled(starts.len(), 0)?;
        next.copy_from_slice(&starts);
        for (number, &node) in builder.nodes.iter().enumerate() {
            for_each_part(builder, node, |part| {
                users[next[part as usize] as usize] = number as u32;
                next[part as usize] += 1;
            });
        }
        Ok(Self { starts, users })
    }

    fn of_node(&self, number: u32) -> &[u32] {
        let range = self.starts[number as usize] as usize..self.starts[number as usize + 1] as usize;
        &self.users[range]
    }

    /// The smallest consistent set of expressions for which the answer is yes.
    fn least_fixpoint(&self, builder: &Builder, question: Question) -> Result<Vec<bool>, GrammarError> {
        let mut holds = filled(builder.nodes.len(), false)?;
        // For each sequence, how many of its parts have not been answered with yes.
        let mut n_missing = filled(builder.nodes.len(), 0)?;
        // Each expression is added once.
        let mut known = Vec::new();
        known.try_reserve_exact(builder.nodes.len())?;
        for (number, &node) in builder.nodes.iter().enumerate() {
            if let Node::Sequence(span) = node {
                n_missing[number] = span.len;
            }
            let at_once = match node {
                Node::Empty => true,
                Node::Text(_) | Node::Class(_) | Node::Token { .. } => question == Question::Productive,
                Node::Repeat { min, .. } => min == 0,
                Node::Interleave(i) => answer(question, &builder.interleaves[i as usize], builder, &holds),
                Node::Never | Node::Rule(_) | Node::Sequence(_) | Node::Choice(_) => false,
            };
            if at_once {
                holds[number] = true;
                known.push(number as u32);
            }
        }
        let mut n_done = 0;
        while n_done < known.len() {
            for &user in self.of_node(known[n_done]) {
                let at = user as usize;
                let now = match builder.nodes[at] {
                    Node::Sequence(_) => {
                        n_missing[at] -= 1;
                        n_missing[at] == 0
                    }
                    Node::Interleave(i) => {
                        answer(question, &builder.interleaves[i as usize], builder, &holds)
                    }
                    _ => true,
                };
                if now && !holds[at] {
                    holds[at] = true;
                    known.push(user);
                }
            }
            n_done += 1;
        }
        Ok(holds)
    }
}

/// Members that may be empty are refused, so a set can only be empty if it has no members.
fn answer(question: Question, interleave: &InterleaveNode, builder: &Builder, holds: &[bool]) -> bool {
    if interleave.required == 0 && interleave.min == 0 {
        return true;
    }
    if question == Question::Nullable {
        return false;
    }
    let members = interleave.members.of(&builder.lists);
    let lives = |number: u32| holds[number as usize];
    let n_required = interleave.required.count_ones();
    let n_living = members.iter().filter(|&&member| lives(member)).count() as u32;
    let needed = interleave.min.max(n_required);
    let has_required =
        members.iter().enumerate().all(|(i, &member)| interleave.required >> i & 1 == 0 || lives(member));
    has_required
        && needed <= interleave.max
        && (n_living >= needed || interleave.others.is_some_and(|others| lives(others.0)))
        && (needed <= 1 || lives(interleave.separator.0))
}

/// Looks for an expression that can be reached from itself without reading anything.
fn check_left_recursion(builder: &Builder, is_nullable: &[bool]) -> Result<(), GrammarError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = filled(builder.nodes.len(), Mark::New)?;
    // The expressions on the current path, and how many parts of each have been visited.
    let mut path: Vec<(u32, u32)> = Vec::new();
    path.try_reserve_exact(builder.nodes.len())?;
    for rule in 0..builder.rules.len() as u32 {
        let start = body(builder, Rule(rule));
        if marks[start as usize] == Mark::New {
            marks[start as usize] = Mark::Open;
            path.push((start, 0));
        }
        while let Some((number, n_seen)) = path.last_mut() {
            let part = first_part(builder, builder.nodes[*number as usize], *n_seen, is_nullable);
            *n_seen += 1;
            match part {
                None => {
                    marks[*number as usize] = Mark::Done;
                    path.pop();
                }
                Some(part) => match marks[part as usize] {
                    Mark::New => {
                        marks[part as usize] = Mark::Open;
                        path.push((part, 0));
                    }
                    Mark::Done => {}
                    Mark::Open => {
                        // A circle contains a rule, because other expressions consist only of earlier ones.
                        let circle = path.iter().rev().map(|&(number, _)| builder.nodes[number as usize]);
                        let found = circle.filter_map(|node| match node {
                            Node::Rule(rule) => Some(rule),
                            _ => None,
                        });
                        let rule = found.into_iter().next().unwrap_or(Rule(rule));
                        return Err(GrammarError::LeftRecursion { rule: builder.name(rule).into() });
                    }
                },
            }
        }
    }
    Ok(())
}

/// Part number `n` among the parts that an expression may begin with.
fn first_part(builder: &Builder, node: Node, n: u32, is_nullable: &[bool]) -> Option<u32> {
    match node {
        Node::Empty | Node::Never | Node::Text(_) | Node::Class(_) | Node::Token { .. } => None,
        Node::Rule(rule) => (n == 0).then(|| body(builder, rule)),
        Node::Repeat { of, .. } => (n == 0).then_some(of.0),
        Node::Choice(span) => span.of(&builder.lists).get(n as usize).copied(),
        Node::Sequence(span) => {
            let parts = span.of(&builder.lists);
            let is_reached = n == 0 || is_nullable[*parts.get(n as usize - 1)? as usize];
            is_reached.then(|| parts.get(n as usize).copied())?
        }
        Node::Interleave(number) => {
            let interleave = &builder.interleaves[number as usize];
            let members = interleave.members.of(&builder.lists);
            match members.get(n as usize) {
                Some(&member) => Some(member),
                None if n as usize == members.len() => interleave.others.map(|others| others.0),
                None => None,
            }
        }
    }
}
