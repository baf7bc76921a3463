//! Expressions.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Parsed, Parser};
use crate::ast::{Arguments, BinaryOp, CompareOp, Conditional, Expr, FilterCall, Literal, Step};
use crate::lexer::Token;

/// From the loosest to the tightest.
const BINARY_OPERATORS: [&[(&str, BinaryOp)]; 4] = [
    &[("+", BinaryOp::Add), ("-", BinaryOp::Subtract)],
    &[("~", BinaryOp::Concatenate)],
    &[
        ("*", BinaryOp::Multiply),
        ("/", BinaryOp::Divide),
        ("//", BinaryOp::FloorDivide),
        ("%", BinaryOp::Remainder),
    ],
    &[("**", BinaryOp::Power)],
];

/// From the loosest to the tightest.
impl Parser {
    pub(super) fn tuple_or_expression(&mut self) -> Parsed<Expr> {
        self.comma_separated(Self::expression)
    }

    /// One expression, or several without parentheses, which form a tuple.
    pub(super) fn comma_separated(&mut self, element: fn(&mut Self) -> Parsed<Expr>) -> Parsed<Expr> {
        let first = element(self)?;
        if !self.is_symbol(",") {
            return Ok(first);
        }
        let mut elements = Vec::from([first]);
        while self.eat_symbol(",") {
            if matches!(self.peek(), Token::BlockEnd | Token::OutputEnd) || self.is_symbol(")") {
                break;
            }
            elements.push(element(self)?);
        }
        Ok(Expr::Tuple(elements))
    }

    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.nested(|parser| {
            let then = parser.or_expression()?;
            if !parser.eat_name("if") {
                return Ok(then);
            }
            let condition = parser.or_expression()?;
            let otherwise = match parser.eat_name("else") {
                true => Some(parser.expression()?),
                false => None,
            };
            Ok(Expr::Conditional(Box::new(Conditional { condition, then, otherwise })))
        })
    }

    pub(super) fn or_expression(&mut self) -> Parsed<Expr> {
        let mut operands = Vec::from([self.and_expression()?]);
        while self.eat_name("or") {
            operands.push(self.and_expression()?);
        }
        Ok(only(operands).unwrap_or_else(Expr::Or))
    }

    fn and_expression(&mut self) -> Parsed<Expr> {
        let mut operands = Vec::from([self.not_expression()?]);
        while self.eat_name("and") {
            operands.push(self.not_expression()?);
        }
        Ok(only(operands).unwrap_or_else(Expr::And))
    }

    fn not_expression(&mut self) -> Parsed<Expr> {
        match self.eat_name("not") {
            true => self.nested(|parser| Ok(Expr::Not(Box::new(parser.not_expression()?)))),
            false => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        let first = self.binary(0)?;
        let mut rest = Vec::new();
        while let Some(op) = self.compare_op() {
            rest.push((op, self.binary(0)?));
        }
        if rest.is_empty() { Ok(first) } else { Ok(Expr::Compare(Box::new(first), rest)) }
    }

    fn compare_op(&mut self) -> Option<CompareOp> {
        let op = match self.peek() {
            Token::Symbol("==") => CompareOp::Equal,
            Token::Symbol("!=") => CompareOp::NotEqual,
            Token::Symbol("<") => CompareOp::Less,
            Token::Symbol("<=") => CompareOp::LessOrEqual,
            Token::Symbol(">") => CompareOp::Greater,
            Token::Symbol(">=") => CompareOp::GreaterOrEqual,
            Token::Name(name) if name == "in" => CompareOp::In,
            Token::Name(name) if name == "not" => {
                let follows_in =
                    matches!(self.tokens.get(self.next + 1), Some((Token::Name(n), _)) if n == "in");
                if !follows_in {
                    return None;
                }
                self.take();
                CompareOp::NotIn
            }
            _ => return None,
        };
        self.take();
        Some(op)
    }

    /// Operators of `level` and tighter.
    fn binary(&mut self, level: usize) -> Parsed<Expr> {
        let Some(operators) = BINARY_OPERATORS.get(level) else { return self.operand() };
        let first = self.binary(level + 1)?;
        let mut rest = Vec::new();
        while let Some(&(symbol, op)) = operators.iter().find(|(symbol, _)| self.is_symbol(symbol)) {
            self.eat_symbol(symbol);
            rest.push((op, self.binary(level + 1)?));
        }
        if rest.is_empty() { Ok(first) } else { Ok(Expr::Binary(Box::new(first), rest)) }
    }

    /// A value with everything that is applied to it.
    fn operand(&mut self) -> Parsed<Expr> {
        let value = match self.is_symbol("-") || self.is_symbol("+") {
            true => self.nested(Self::signed)?,
            false => self.primary()?,
        };
        let mut steps = Vec::new();
        loop {
            if self.eat_symbol("|") {
                steps.push(Step::Filter(self.filter_call()?));
            } else if self.eat_name("is") {
                steps.push(self.test()?);
            } else if let Some(step) = self.step()? {
                steps.push(step);
            } else {
                return Ok(chain(value, steps));
            }
        }
    }

    /// A value with its sign, which binds tighter than filters and tests.
    fn signed(&mut self) -> Parsed<Expr> {
        if self.eat_symbol("-") {
            self.nested(|parser| Ok(Expr::Negative(Box::new(parser.signed()?))))
        } else if self.eat_symbol("+") {
            self.nested(|parser| Ok(Expr::Positive(Box::new(parser.signed()?))))
        } else {
            self.unfiltered()
        }
    }

    /// A value with its attributes, elements and calls.
    fn unfiltered(&mut self) -> Parsed<Expr> {
        let value = self.primary()?;
        let mut steps = Vec::new();
        while let Some(step) = self.step()? {
            steps.push(step);
        }
        Ok(chain(value, steps))
    }

    pub(super) fn filter_call(&mut self) -> Parsed<FilterCall> {
        let name = self.name()?;
        let arguments = match self.eat_symbol("(") {
            true => self.arguments()?,
            false => Arguments::default(),
        };
        Ok(FilterCall { name, arguments })
    }

    /// A test after its `is`.
    fn test(&mut self) -> Parsed<Step> {
        let negated = self.eat_name("not");
        let name = self.name()?;
        let mut arguments = Arguments::default();
        if self.eat_symbol("(") {
            arguments = self.arguments()?;
        } else if self.begins_test_argument() {
            arguments.positional.push(self.nested(Self::unfiltered)?);
        }
        Ok(Step::Test { name, arguments, negated })
    }

    /// Whether an argument without parentheses follows the name of a test.
    fn begins_test_argument(&self) -> bool {
        match self.peek() {
            Token::Name(name) => !matches!(&**name, "else" | "or" | "and" | "is" | "if" | "in" | "not"),
            Token::String(_) | Token::Integer(_) | Token::Float(_) => true,
            Token::Symbol(symbol) => matches!(*symbol, "[" | "{"),
            _ => false,
        }
    }

    /// An attribute, an element or a call, if one follows.
    fn step(&mut self) -> Parsed<Option<Step>> {
        if self.eat_symbol(".") {
            return Ok(Some(match self.peek() {
                Token::Integer(index) => {
                    let index = Expr::Literal(Literal::Integer(*index));
                    self.take();
                    Step::Index(index)
                }
                _ => Step::Attribute(self.name()?),
            }));
        }
        if self.eat_symbol("[") {
            return self.subscript().map(Some);
        }
        if self.eat_symbol("(") {
            return Ok(Some(Step::Call(self.arguments()?)));
        }
        Ok(None)
    }

    /// An index or a slice after its `[`.
    fn subscript(&mut self) -> Parsed<Step> {
        let mut parts = [None, None, None];
        let mut n_colons = 0;
        loop {
            if self.eat_symbol(":") {
                n_colons += 1;
                if n_colons == parts.len() {
                    return self.expected("]");
                }
            } else if self.eat_symbol("]") {
                break;
            } else if parts[n_colons].is_none() {
                parts[n_colons] = Some(self.tuple_or_expression()?);
            } else {
                return self.expected("]");
            }
        }
        match parts {
            [Some(index), None, None] if n_colons == 0 => Ok(Step::Index(index)),
            _ if n_colons == 0 => self.expected("an index"),
            parts => Ok(Step::Slice(Box::new(parts))),
        }
    }

    /// Arguments after their `(`.
    fn arguments(&mut self) -> Parsed<Arguments> {
        let mut arguments = Arguments::default();
        let mut is_first = true;
        while !self.eat_symbol(")") {
            if !is_first {
                self.symbol(",")?;
                if self.eat_symbol(")") {
                    break;
                }
            }
            is_first = false;
            let is_named = matches!(self.peek(), Token::Name(_))
                && matches!(self.tokens.get(self.next + 1), Some((Token::Symbol("="), _)));
            if self.eat_symbol("**") {
                arguments.named_rest = Some(Box::new(self.expression()?));
            } else if self.eat_symbol("*") {
                arguments.positional_rest = Some(Box::new(self.expression()?));
            } else if is_named {
                let name = self.name()?;
                self.symbol("=")?;
                arguments.named.push((name, self.expression()?));
            } else {
                arguments.positional.push(self.expression()?);
            }
        }
        Ok(arguments)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        match self.peek() {
            Token::Name(_) => {
                let name = self.name()?;
                match &*name {
                    "varargs" => self.named.varargs = true,
                    "kwargs" => self.named.kwargs = true,
                    "caller" => self.named.caller = true,
                    _ => {}
                }
                Ok(match &*name {
                    "true" | "True" => Expr::Literal(Literal::Bool(true)),
                    "false" | "False" => Expr::Literal(Literal::Bool(false)),
                    "none" | "None" => Expr::Literal(Literal::None),
                    _ => Expr::Name(name),
                })
            }
            Token::String(_) => {
                let mut text = String::new();
                while let Token::String(part) = self.peek() {
                    text.push_str(part);
                    self.take();
                }
                Ok(Expr::Literal(Literal::String(text.into_boxed_str())))
            }
            Token::Integer(number) => {
                let number = *number;
                self.take();
                Ok(Expr::Literal(Literal::Integer(number)))
            }
            Token::Float(number) => {
                let number = *number;
                self.take();
                Ok(Expr::Literal(Literal::Float(number)))
            }
            Token::Symbol("(") => {
                self.take();
                if self.eat_symbol(")") {
                    return Ok(Expr::Tuple(Vec::new()));
                }
                let value = self.tuple_or_expression()?;
                self.symbol(")")?;
                Ok(value)
            }
            Token::Symbol("[") => {
                self.take();
                let mut elements = Vec::new();
                while !self.eat_symbol("]") {
                    if !elements.is_empty() {
                        self.symbol(",")?;
                        if self.eat_symbol("]") {
                            break;
                        }
                    }
                    elements.push(self.expression()?);
                }
                Ok(Expr::List(elements))
            }
            Token::Symbol("{") => {
                self.take();
                let mut entries = Vec::new();
                while !self.eat_symbol("}") {
                    if !entries.is_empty() {
                        self.symbol(",")?;
                        if self.eat_symbol("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.symbol(":")?;
                    entries.push((key, self.expression()?));
                }
                Ok(Expr::Dict(entries))
            }
            _ => self.expected("an expression"),
        }
    }
}

/// The only element; if there are several, returns them all as the error.
fn only(elements: Vec<Expr>) -> Result<Expr, Vec<Expr>> {
    let [element] = <[Expr; 1]>::try_from(elements)?;
    Ok(element)
}

fn chain(value: Expr, steps: Vec<Step>) -> Expr {
    if steps.is_empty() { value } else { Expr::Chain(Box::new(value), steps) }
}
