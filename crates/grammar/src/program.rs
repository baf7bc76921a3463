//! A compiled grammar: instructions for a machine that reads bytes.
//!
//! An instruction that reads something is followed by the one at the next address. Return addresses of calls are on a stack. With
//! each of them is a number that is used by the instruction at that address: how many repetitions have come so far, or which
//! members of a set.

use alloc::vec::Vec;

use crate::class::Classes;
use crate::expression::Span;

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// The text may end here. This instruction is at address 0 and nowhere else.
    End,
    /// Returns to the address on top of the stack.
    Return,
    /// Reads these bytes of [`Grammar::text`].
    Text(Span),
    /// Reads a character of a class, given by the class's first node.
    Class(u32),
    /// Reads a token.
    Token { id: u32, negated: bool },
    /// Continues at another address.
    Jump(u32),
    /// Continues at each of the addresses in [`Grammar::targets`].
    Choice(Span),
    /// Calls the code at another address.
    Call(u32),
    /// Calls the body of this element of [`Grammar::repeats`], or continues. The number beside the address is how often the body
    /// has come.
    Repeat(u32),
    /// Calls the separator, or the first member, of this element of [`Grammar::interleaves`], or continues after the next
    /// address.
    Interleave(u32),
    /// Calls a member of this element. It follows each `Interleave`.
    Member(u32),
}

/// A repetition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeat {
    /// The address of the body.
    pub body: u32,
    pub min: u32,
    /// `u32::MAX` if there is no limit.
    pub max: u32,
    /// Whether the body may be empty; `min` is 0 then.
    pub is_nullable: bool,
}

/// Members in any order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InterleaveOp {
    /// The addresses of the members: in [`Grammar::targets`].
    pub members: Span,
    pub required: u128,
    /// The address of other members.
    pub others: Option<u32>,
    pub separator: u32,
    pub min: u32,
    /// `u32::MAX` if there is no limit.
    pub max: u32,
}

/// A set of texts, compiled. It does not depend on a vocabulary, except for references to tokens.
#[derive(Debug)]
pub struct Grammar {
    pub(crate) ops: Vec<Op>,
    pub(crate) text: Vec<u8>,
    pub(crate) targets: Vec<u32>,
    pub(crate) repeats: Vec<Repeat>,
    pub(crate) interleaves: Vec<InterleaveOp>,
    pub(crate) classes: Classes,
    /// The address where it begins.
    pub(crate) start: u32,
    /// A class for each byte: the grammar does not distinguish bytes of the same class.
    pub(crate) byte_class: [u8; 256],
    /// One byte of each class.
    pub(crate) representatives: Vec<u8>,
    /// The largest token number that the grammar refers to.
    pub(crate) max_token: Option<u32>,
    /// Most nested calls at places where brackets come, and for each instruction how many it needs: see [`Grammar::nested`].
    /// Without a limit, the needs are not known.
    pub(crate) nesting: u32,
    pub(crate) needs: Vec<u8>,
    /// The source of the grammar, for tests that compare it with the compiled form.
    #[cfg(test)]
    pub(crate) source: (crate::expression::Builder, crate::expression::Rule),
}

#[cfg(test)]
impl Grammar {
    /// The expressions and the root rule.
    pub(crate) fn parts(&self) -> (&crate::expression::Builder, crate::expression::Rule) {
        (&self.source.0, self.source.1)
    }
}

impl Grammar {
    /// How many instructions it has.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Always false: there is at least an end.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The memory that it takes, in bytes.
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
