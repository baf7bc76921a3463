//! A grammar compiled: instructions of a machine that reads bytes.
//!
//! An instruction that reads something is followed by the one at the next place. Calls have return addresses on a stack, and
//! with each a number that the instruction there knows the meaning of: how often a repetition came so far, or which members
//! of a set did.

use alloc::vec::Vec;

use crate::class::Classes;
use crate::expression::Span;

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// The text may end here. It is at place 0 and nowhere else.
    End,
    /// Returns to the address on top of the stack.
    Return,
    /// Reads these bytes of [`Grammar::text`].
    Text(Span),
    /// Reads a character: the first node of its class.
    Class(u32),
    /// Reads a token.
    Token { id: u32, negated: bool },
    /// Goes on at another place.
    Jump(u32),
    /// Goes on at each of the places in [`Grammar::targets`].
    Choice(Span),
    /// Calls what is at another place.
    Call(u32),
    /// Calls the body of this element of [`Grammar::repeats`], or goes on. The number beside it is how often the body came.
    Repeat(u32),
    /// Calls the separator, or the first member, of this element of [`Grammar::interleaves`], or goes on after the next place.
    Interleave(u32),
    /// Calls a member of this element. It stands after each `Interleave`.
    Member(u32),
}

/// How often something comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeat {
    /// Where the body is.
    pub body: u32,
    pub min: u32,
    /// `u32::MAX` where there is no limit.
    pub max: u32,
    /// Whether the body may be the empty text; then `min` is 0.
    pub is_nullable: bool,
}

/// Members in any order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InterleaveOp {
    /// Where the members are: in [`Grammar::targets`].
    pub members: Span,
    pub required: u128,
    /// Where others are.
    pub others: Option<u32>,
    pub separator: u32,
    pub min: u32,
    /// `u32::MAX` where there is no limit.
    pub max: u32,
}

/// A set of texts, ready to be kept to. It does not depend on a vocabulary, except where it refers to tokens.
#[derive(Debug)]
pub struct Grammar {
    pub(crate) ops: Vec<Op>,
    pub(crate) text: Vec<u8>,
    pub(crate) targets: Vec<u32>,
    pub(crate) repeats: Vec<Repeat>,
    pub(crate) interleaves: Vec<InterleaveOp>,
    pub(crate) classes: Classes,
    /// Where it begins.
    pub(crate) start: u32,
    /// Bytes that nothing in the grammar tells apart have the same number.
    pub(crate) byte_class: [u8; 256],
    /// One byte of each of these classes.
    pub(crate) representatives: Vec<u8>,
    /// The largest token that is referred to.
    pub(crate) max_token: Option<u32>,
    /// Most calls inside one another where brackets come, and for each instruction what it needs of them:
    /// [`Grammar::nested`]. Without a limit nothing is known.
    pub(crate) nesting: u32,
    pub(crate) needs: Vec<u8>,
    /// What it was made from, for tests that compare it with that.
    #[cfg(test)]
    pub(crate) source: (crate::expression::Builder, crate::expression::Rule),
}

#[cfg(test)]
impl Grammar {
    /// The expressions and the rule that everything starts from.
    pub(crate) fn parts(&self) -> (&crate::expression::Builder, crate::expression::Rule) {
        (&self.source.0, self.source.1)
    }
}

impl Grammar {
    /// How many instructions it has.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Never: it has at least an end.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.ops)
            + self.text.len()
            + size_of_val(&*self.targets)
            + size_of_val(&*self.repeats)
            + size_of_val(&*self.interleaves)
            + size_of_val(self.classes.all_ranges())
            + self.needs.len()
    }
}
