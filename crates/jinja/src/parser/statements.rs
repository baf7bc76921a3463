//! Statements.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Named, Parsed, Parser};
use crate::ErrorKind;
use crate::ast::{Expr, FilterCall, For, Macro, Node, Parameter, Statement, Step, Target};
use crate::lexer::Token;

impl Parser {
    /// Statements up to a tag that begins with one of `ends`; the `{%` of that tag is consumed, but its name is not. If `ends` is
    /// empty, statements up to the end of the template.
    pub(super) fn statements(&mut self, ends: &[&str]) -> Parsed<Vec<Statement>> {
        let mut statements = Vec::new();
        loop {
            let line = self.line();
            let node = match self.peek() {
                Token::End if ends.is_empty() => return Ok(statements),
                Token::End => return self.error(ErrorKind::Unterminated("a block")),
                Token::Text(_) => match self.take() {
                    Token::Text(text) => Node::Text(text.into_boxed_str()),
                    _ => unreachable!("it was text"),
                },
                Token::OutputBegin => {
                    self.take();
                    let value = self.tuple_or_expression()?;
                    match self.peek() {
                        Token::OutputEnd => self.take(),
                        _ => return self.expected("}}"),
                    };
                    Node::Output(value)
                }
                Token::BlockBegin => {
                    self.take();
                    if ends.iter().any(|end| self.is_name(end)) {
                        return Ok(statements);
                    }
                    self.nested(Self::statement)?
                }
                _ => return self.expected("text or a tag"),
            };
            statements.push(Statement { line, node });
        }
    }

    /// The statements of a block, and its end tag.
    fn block(&mut self, end: &'static str) -> Parsed<Vec<Statement>> {
        let body = self.statements(&[end])?;
        self.keyword(end)?;
        self.block_end()?;
        Ok(body)
    }

    /// A statement after its `{%`, up to and including its last `%}`.
    fn statement(&mut self) -> Parsed<Node> {
        let name = self.name()?;
        match &*name {
            "if" => self.if_statement(),
            "for" => self.for_statement(),
            "set" => self.set_statement(),
            "macro" => {
                let index = self.macro_statement()?;
                Ok(Node::Macro(index))
            }
            "call" => self.call_statement(),
            "filter" => {
                let filters = self.filter_calls()?;
                self.block_end()?;
                Ok(Node::FilterBlock { filters, body: self.block("endfilter")? })
            }
            "with" => self.with_statement(),
            "generation" => {
                self.block_end()?;
                Ok(Node::Transparent(self.block("endgeneration")?))
            }
            "block" => self.block_statement(),
            "autoescape" => self.autoescape_statement(),
            "include" | "extends" | "import" | "from" => {
                self.error(ErrorKind::OtherTemplate(name.into_string()))
            }
            "break" => self.block_end().map(|()| Node::Break),
            "continue" => self.block_end().map(|()| Node::Continue),
            _ => self.error(ErrorKind::UnknownStatement(name.into_string())),
        }
    }

    fn if_statement(&mut self) -> Parsed<Node> {
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let condition = self.tuple_or_expression()?;
            self.block_end()?;
            branches.push((condition, self.statements(&["elif", "else", "endif"])?));
            if self.eat_name("elif") {
                continue;
            }
            if self.eat_name("else") {
                self.block_end()?;
                otherwise = self.statements(&["endif"])?;
            }
            self.keyword("endif")?;
            self.block_end()?;
            return Ok(Node::If { branches, otherwise });
        }
    }

    fn for_statement(&mut self) -> Parsed<Node> {
        let target = self.target()?;
        self.keyword("in")?;
        // Without a conditional expression, because an `if` here belongs to the loop.
        let iterable = self.comma_separated(Self::or_expression)?;
        let condition = match self.eat_name("if") {
            true => Some(self.expression()?),
            false => None,
        };
        let is_recursive = self.eat_name("recursive");
        self.block_end()?;
        let body = self.statements(&["else", "endfor"])?;
        let otherwise = match self.eat_name("else") {
            true => {
                self.block_end()?;
                self.statements(&["endfor"])?
            }
            false => Vec::new(),
        };
        self.keyword("endfor")?;
        self.block_end()?;
        let node = For { target, iterable, condition, body, otherwise };
        if is_recursive {
            self.loops.push(node);
            return Ok(Node::RecursiveFor(self.loops.len() - 1));
        }
        Ok(Node::For(Box::new(node)))
    }

    fn set_statement(&mut self) -> Parsed<Node> {
        let target = self.target()?;
        if self.eat_symbol("=") {
            let value = self.tuple_or_expression()?;
            self.block_end()?;
            return Ok(Node::Set { target, value });
        }
        let filters = match self.eat_symbol("|") {
            true => self.filter_calls()?,
            false => Vec::new(),
        };
        self.block_end()?;
        Ok(Node::SetBlock { target, filters, body: self.block("endset")? })
    }

    fn with_statement(&mut self) -> Parsed<Node> {
        let mut bindings = Vec::new();
        while !matches!(self.peek(), Token::BlockEnd) {
            if !bindings.is_empty() {
                self.symbol(",")?;
            }
            let target = self.target()?;
            self.symbol("=")?;
            bindings.push((target, self.expression()?));
        }
        self.block_end()?;
        Ok(Node::With { bindings, body: self.block("endwith")? })
    }

    fn block_statement(&mut self) -> Parsed<Node> {
        let name = self.name()?;
        if !self.blocks.insert(name.clone()) {
            return self.expected("a block of another name");
        }
        let sees_scopes = self.eat_name("scoped");
        if self.is_name("required") {
            // Only another template could supply it.
            return self.error(ErrorKind::OtherTemplate("required".into()));
        }
        self.block_end()?;
        let around = self.escapes.replace(false);
        let body = self.statements(&["endblock"])?;
        self.escapes = around;
        self.keyword("endblock")?;
        self.eat_name(&name);
        self.block_end()?;
        Ok(Node::Block { sees_scopes, body })
    }

    fn autoescape_statement(&mut self) -> Parsed<Node> {
        let escapes = self.expression()?;
        self.block_end()?;
        let constant = match &escapes {
            Expr::Literal(literal) if self.escapes.is_some() => Some(literal.is_true()),
            _ => None,
        };
        let around = core::mem::replace(&mut self.escapes, constant);
        let body = self.block("endautoescape")?;
        self.escapes = around;
        Ok(Node::AutoEscape { escapes, is_constant: constant.is_some(), body })
    }

    fn macro_statement(&mut self) -> Parsed<usize> {
        let name = self.name()?;
        self.symbol("(")?;
        let parameters = self.parameters()?;
        self.block_end()?;
        self.macro_body(name, parameters, "endmacro")
    }

    /// The body of a macro or a `call` block, and its end tag; returns the index of the macro.
    fn macro_body(&mut self, name: Box<str>, parameters: Vec<Parameter>, end: &'static str) -> Parsed<usize> {
        let around = core::mem::take(&mut self.named);
        let body = self.block(end)?;
        let named = self.named;
        self.named = Named {
            varargs: around.varargs || named.varargs,
            kwargs: around.kwargs || named.kwargs,
            caller: around.caller || named.caller,
        };
        let Named { varargs: takes_varargs, kwargs: takes_kwargs, caller: takes_caller } = named;
        let escapes = self.escapes;
        self.macros.push(Macro {
            name,
            parameters,
            body,
            escapes,
            takes_varargs,
            takes_kwargs,
            takes_caller,
        });
        Ok(self.macros.len() - 1)
    }

    fn call_statement(&mut self) -> Parsed<Node> {
        let parameters = match self.eat_symbol("(") {
            true => self.parameters()?,
            false => Vec::new(),
        };
        let call = self.expression()?;
        if !matches!(&call, Expr::Chain(_, steps) if matches!(steps.last(), Some(Step::Call(_)))) {
            return self.expected("a call");
        }
        self.block_end()?;
        let body = self.macro_body("caller".into(), parameters, "endcall")?;
        Ok(Node::Call { call, body })
    }

    /// Parameters after their `(`.
    fn parameters(&mut self) -> Parsed<Vec<Parameter>> {
        let mut parameters = Vec::new();
        while !self.eat_symbol(")") {
            if !parameters.is_empty() {
                self.symbol(",")?;
            }
            let name = self.name()?;
            let default = match self.eat_symbol("=") {
                true => Some(self.expression()?),
                false => None,
            };
            parameters.push(Parameter { name, default });
        }
        Ok(parameters)
    }

    fn filter_calls(&mut self) -> Parsed<Vec<FilterCall>> {
        let mut filters = Vec::new();
        loop {
            filters.push(self.filter_call()?);
            if !self.eat_symbol("|") {
                return Ok(filters);
            }
        }
    }

    fn target(&mut self) -> Parsed<Target> {
        let first = self.single_target()?;
        if !self.is_symbol(",") {
            return Ok(first);
        }
        let mut targets = Vec::from([first]);
        while self.eat_symbol(",") {
            targets.push(self.single_target()?);
        }
        Ok(Target::Unpack(targets))
    }

    fn single_target(&mut self) -> Parsed<Target> {
        if self.eat_symbol("(") {
            let target = self.nested(Self::target)?;
            self.symbol(")")?;
            return Ok(target);
        }
        let name = self.name()?;
        match self.eat_symbol(".") {
            true => Ok(Target::Attribute(name, self.name()?)),
            false => Ok(Target::Name(name)),
        }
    }
}
