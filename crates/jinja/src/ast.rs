//! The tree of a template.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// A statement or a piece of text, and its line.
#[derive(Debug)]
pub(crate) struct Statement {
    pub line: u32,
    pub node: Node,
}

#[derive(Debug)]
pub(crate) enum Node {
    Text(Box<str>),
    Output(Expr),
    If {
        branches: Vec<(Expr, Vec<Statement>)>,
        otherwise: Vec<Statement>,
    },
    For(Box<For>),
    /// A loop that its body may call, given by its index.
    RecursiveFor(usize),
    Set {
        target: Target,
        value: Expr,
    },
    /// `{% set x %}…{% endset %}`
    SetBlock {
        target: Target,
        filters: Vec<FilterCall>,
        body: Vec<Statement>,
    },
    /// Binds a macro of the template, given by its index, to its name.
    Macro(usize),
    /// `{% call f(x) %}…{% endcall %}`: the body is a macro, given by its index.
    Call {
        call: Expr,
        body: usize,
    },
    FilterBlock {
        filters: Vec<FilterCall>,
        body: Vec<Statement>,
    },
    With {
        bindings: Vec<(Target, Expr)>,
        body: Vec<Statement>,
    },
    /// `{% block x %}…{% endblock %}`: its body, which sees the variables around it only if the block is `scoped`.
    Block {
        sees_scopes: bool,
        body: Vec<Statement>,
    },
    /// `{% autoescape x %}…{% endautoescape %}`
    AutoEscape {
        escapes: Expr,
        /// Whether the value is known without running the template.
        is_constant: bool,
        body: Vec<Statement>,
    },
    /// A block that changes nothing.
    Transparent(Vec<Statement>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct For {
    pub target: Target,
    pub iterable: Expr,
    pub condition: Option<Expr>,
    pub body: Vec<Statement>,
    pub otherwise: Vec<Statement>,
}

/// The target of an assignment.
#[derive(Debug)]
pub(crate) enum Target {
    Name(Box<str>),
    /// An attribute of a namespace.
    Attribute(Box<str>, Box<str>),
    Unpack(Vec<Target>),
}

#[derive(Debug)]
pub(crate) struct Macro {
    pub name: Box<str>,
    pub parameters: Vec<Parameter>,
    pub body: Vec<Statement>,
    /// Whether its output is escaped; `None` if that is not known before it is called.
    pub escapes: Option<bool>,
    /// Whether its body names `varargs`: more positional arguments than it has parameters.
    pub takes_varargs: bool,
    /// Whether its body names `kwargs`: named arguments that are not parameters.
    pub takes_kwargs: bool,
    /// Whether its body names `caller`.
    pub takes_caller: bool,
}

#[derive(Debug)]
pub(crate) struct Parameter {
    pub name: Box<str>,
    pub default: Option<Expr>,
}

/// An expression.
///
/// Consecutive operators are stored side by side, not one inside the other, so that only parentheses make a tree deep.
#[derive(Debug)]
pub(crate) enum Expr {
    Literal(Literal),
    Name(Box<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// A value and the steps that are applied to it, in order.
    Chain(Box<Expr>, Vec<Step>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    /// `a - b + c`, from left to right.
    Binary(Box<Expr>, Vec<(BinaryOp, Expr)>),
    /// `a < b <= c`: all comparisons must hold.
    Compare(Box<Expr>, Vec<(CompareOp, Expr)>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Conditional(Box<Conditional>),
}

#[derive(Debug)]
pub(crate) struct Conditional {
    pub condition: Expr,
    pub then: Expr,
    pub otherwise: Option<Expr>,
}

#[derive(Debug)]
pub(crate) enum Step {
    Attribute(Box<str>),
    Index(Expr),
    /// Start, stop and step.
    Slice(Box<[Option<Expr>; 3]>),
    Call(Arguments),
    Filter(FilterCall),
    Test {
        name: Box<str>,
        arguments: Arguments,
        negated: bool,
    },
}

#[derive(Debug)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(Box<str>),
}

impl Literal {
    pub fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(value) => *value,
            Self::Integer(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::String(text) => !text.is_empty(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct FilterCall {
    pub name: Box<str>,
    pub arguments: Arguments,
}

#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub positional: Vec<Expr>,
    pub named: Vec<(Box<str>, Expr)>,
    /// `*rest`: a list of further positional arguments.
    pub positional_rest: Option<Box<Expr>>,
    /// `**rest`: a dict of further named arguments.
    pub named_rest: Option<Box<Expr>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
    Concatenate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompareOp {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}
