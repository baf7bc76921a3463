//! Turns the tree and a context into text.

mod budget;
mod expressions;
mod operators;

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

pub(crate) use budget::{Budget, ensure_room};

use crate::ast::{Expr, FilterCall, For, Node, Statement, Step, Target};
use crate::functions::Function;
use crate::value::{Callable, Loop, Map, Object, Scopes, Value};
use crate::{Error, ErrorKind, Limits, Template};
use expressions::describe;

/// How deep evaluation may recurse. The depth is the nesting of the template times the depth of macro calls.
const MAX_DEPTH: usize = 96;

pub(crate) fn render(template: &Template, context: &Map, limits: Limits) -> Result<String, Error> {
    let mut interpreter = Interpreter {
        template,
        context,
        globals: Vec::new(),
        scopes: Vec::new(),
        budget: Budget::new(&limits),
        now_seconds: limits.now_seconds,
        line: 1,
        depth: 0,
        escapes: false,
        output_escapes: Some(false),
    };
    let mut out = String::new();
    match interpreter.statements(&template.body, &mut out) {
        Ok(_) => Ok(out),
        Err(kind) => Err(Error { line: interpreter.line, kind }),
    }
}

/// The arguments of a call, evaluated.
#[derive(Debug, Default)]
pub(crate) struct CallArguments {
    pub positional: Vec<Value>,
    pub named: Vec<(Rc<str>, Value)>,
}

impl CallArguments {
    /// The argument at `index`, or the one with this name.
    pub fn get(&self, index: usize, name: &str) -> Option<&Value> {
        let by_name = || self.named.iter().find(|(known, _)| **known == *name).map(|(_, value)| value);
        self.positional.get(index).or_else(by_name)
    }

    pub fn get_str(&self, index: usize, name: &str) -> Option<&str> {
        self.get(index, name).and_then(Value::as_str)
    }

    /// A whole number; `default` if it is not given.
    pub fn integer_or(&self, index: usize, name: &str, default: i64) -> Result<i64, ErrorKind> {
        match self.get(index, name) {
            None => Ok(default),
            Some(value) => value.as_integer().ok_or(ErrorKind::BadArguments("a filter or method")),
        }
    }

    /// Whether the argument is given and true.
    pub fn is_set(&self, index: usize, name: &str) -> bool {
        self.get(index, name).is_some_and(Value::is_true)
    }
}

/// How a statement ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(crate) struct Interpreter<'t> {
    template: &'t Template,
    context: &'t Map,
    /// The variables that the template sets outside of all blocks with their own scope.
    globals: Vec<(Rc<str>, Value)>,
    scopes: Scopes,
    pub(crate) budget: Budget,
    pub(crate) now_seconds: Option<u64>,
    line: u32,
    depth: usize,
    /// Whether output is currently escaped.
    pub(crate) escapes: bool,
    /// Whether output is escaped at the current statement, as far as the template shows; if `None`, only [`Self::escapes`] tells.
    output_escapes: Option<bool>,
}

type Evaluated<T = Value> = Result<T, ErrorKind>;

impl Interpreter<'_> {
    fn nested<T>(&mut self, evaluate: impl FnOnce(&mut Self) -> Evaluated<T>) -> Evaluated<T> {
        if self.depth == MAX_DEPTH {
            return Err(ErrorKind::TooDeep);
        }
        self.depth += 1;
        let evaluated = evaluate(self);
        self.depth -= 1;
        evaluated
    }

    fn statements(&mut self, statements: &[Statement], out: &mut String) -> Evaluated<Flow> {
        self.nested(|this| {
            for statement in statements {
                this.line = statement.line;
                this.budget.step()?;
                match this.statement(&statement.node, out)? {
                    Flow::Next => {}
                    flow => return Ok(flow),
                }
            }
            Ok(Flow::Next)
        })
    }

    /// Runs statements in their own scope.
    fn scoped(&mut self, statements: &[Statement], out: &mut String) -> Evaluated<Flow> {
        self.scopes.push(Vec::new());
        let flow = self.statements(statements, out);
        self.scopes.pop();
        flow
    }

    fn statement(&mut self, node: &Node, out: &mut String) -> Evaluated<Flow> {
        match node {
            Node::Text(text) => self.budget.append(out, text)?,
            Node::Output(expr) => {
                let value = self.eval(expr)?;
                if self.escapes_output() && !value.is_markup() {
                    let escaped = value.to_escaped(&mut self.budget)?;
                    return self.budget.append(out, &escaped).map(|()| Flow::Next);
                }
                value.write_text(out, &mut self.budget)?;
            }
            Node::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.eval(condition)?.is_true() {
                        return self.statements(body, out);
                    }
                }
                return self.statements(otherwise, out);
            }
            Node::For(node) => self.for_loop(node, out)?,
            Node::RecursiveFor(index) => self.recursive_loop(*index, out)?,
            Node::Set { target, value } => {
                let value = self.eval(value)?;
                self.assign(target, value)?;
            }
            Node::SetBlock { target, filters, body } => {
                let mut text = self.filtered_block(filters, body)?;
                if self.escapes {
                    text = Value::Markup(text.to_text(&mut self.budget)?);
                }
                self.assign(target, text)?;
            }
            Node::FilterBlock { filters, body } => {
                let text = self.filtered_block(filters, body)?;
                text.write_text(out, &mut self.budget)?;
            }
            Node::Macro(index) => {
                let name = Rc::from(&*self.template.macros[*index].name);
                self.set(name, Value::object(Object::Macro(*index)));
            }
            Node::Call { call, body } => {
                let text = self.call_block(call, *body)?;
                text.write_text(out, &mut self.budget)?;
            }
            Node::With { bindings, body } => {
                self.scopes.push(Vec::new());
                let flow = self.bind_all(bindings).and_then(|()| self.statements(body, out));
                self.scopes.pop();
                return flow;
            }
            Node::Transparent(body) => return self.scoped(body, out),
            Node::Block { sees_scopes, body } => {
                let outer = (!sees_scopes).then(|| core::mem::take(&mut self.scopes));
                let around = self.output_escapes.replace(false);
                self.scoped(body, out)?;
                self.output_escapes = around;
                if let Some(outer) = outer {
                    self.scopes = outer;
                }
            }
            Node::AutoEscape { escapes, is_constant, body } => {
                let escapes = self.eval(escapes)?.is_true();
                let around = (self.escapes, self.output_escapes);
                (self.escapes, self.output_escapes) = (escapes, is_constant.then_some(escapes));
                let flow = self.scoped(body, out)?;
                (self.escapes, self.output_escapes) = around;
                return Ok(flow);
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn escapes_output(&self) -> bool {
        self.output_escapes.unwrap_or(self.escapes)
    }

    /// Whether `~` with an HTML operand returns HTML: only if the template itself shows that output is escaped.
    fn joins_markup(&self) -> bool {
        self.output_escapes == Some(true)
    }

    /// Turns captured output into a value: if output is escaped, it is HTML.
    fn captured(&self, text: String) -> Value {
        if self.escapes { Value::markup(text) } else { text.into() }
    }

    fn bind_all(&mut self, bindings: &[(Target, Expr)]) -> Evaluated<()> {
        bindings.iter().try_for_each(|(target, value)| {
            let value = self.eval(value)?;
            self.assign(target, value)
        })
    }

    fn for_loop(&mut self, node: &For, out: &mut String) -> Evaluated<()> {
        let iterable = self.eval(&node.iterable)?;
        self.iterate(node, &iterable, 0, None, out)
    }

    /// Runs the recursive loop of this index over the iterable that its own statement names.
    fn recursive_loop(&mut self, index: usize, out: &mut String) -> Evaluated<()> {
        let node = &self.template.loops[index];
        let iterable = self.eval(&node.iterable)?;
        let around = Rc::new(self.scopes.clone());
        self.iterate(node, &iterable, 0, Some((index, around)), out)
    }

    /// `loop(iterable)`: runs the loop again, one level deeper, with the variables around it.
    fn call_loop(&mut self, state: &Loop, arguments: &CallArguments) -> Evaluated {
        let Some((index, around)) = &state.recursive else {
            return Err(ErrorKind::WrongType { operation: "a call", found: "loop that is not recursive" });
        };
        let [iterable] = &arguments.positional[..] else { return Err(ErrorKind::BadArguments("loop")) };
        let line = self.line;
        let outer = core::mem::replace(&mut self.scopes, (**around).clone());
        let mut text = String::new();
        let node = &self.template.loops[*index];
        let ended = self.nested(|this| {
            this.iterate(node, iterable, state.depth0 + 1, Some((*index, around.clone())), &mut text)
        });
        self.scopes = outer;
        self.line = line;
        ended.map(|()| self.captured(text))
    }

    fn iterate(
        &mut self,
        node: &For,
        iterable: &Value,
        depth0: usize,
        recursive: Option<(usize, Rc<Scopes>)>,
        out: &mut String,
    ) -> Evaluated<()> {
        let mut items = iterable.iterate(&mut self.budget)?;
        if let Some(condition) = &node.condition {
            let mut kept = Vec::new();
            for item in items {
                self.budget.step()?;
                self.scopes.push(Vec::new());
                let chosen = self.assign(&node.target, item.clone()).and_then(|()| self.eval(condition));
                self.scopes.pop();
                if chosen?.is_true() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            self.scoped(&node.otherwise, out)?;
            return Ok(());
        }
        let items = Rc::new(items);
        let last_asked = Rc::new(RefCell::new(Value::Undefined));
        for (index0, item) in items.iter().enumerate() {
            let (items, recursive, last_asked) = (items.clone(), recursive.clone(), last_asked.clone());
            let state = Loop { items, index0, depth0, recursive, last_asked };
            let variables = Vec::from([(Rc::from("loop"), Value::object(Object::Loop(Rc::new(state))))]);
            self.scopes.push(variables);
            let flow =
                self.assign(&node.target, item.clone()).and_then(|()| self.statements(&node.body, out));
            self.scopes.pop();
            if flow? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn filtered_block(&mut self, filters: &[FilterCall], body: &[Statement]) -> Evaluated {
        let mut text = String::new();
        self.scoped(body, &mut text)?;
        let text = if self.escapes_output() { Value::markup(text) } else { text.into() };
        filters.iter().try_fold(text, |value, filter| self.apply_filter(filter, value))
    }

    fn call_block(&mut self, call: &Expr, body: usize) -> Evaluated {
        let Expr::Chain(base, steps) = call else { return self.eval(call) };
        let Some((Step::Call(arguments), before)) = steps.split_last() else { return self.eval(call) };
        let callee = self.chain(base, before)?;
        let mut arguments = self.arguments(arguments)?;
        let scopes = Rc::new(self.scopes.clone());
        arguments.named.push((Rc::from("caller"), Value::object(Object::Caller(body, scopes))));
        self.call(&callee, arguments, || describe(base, before))
    }

    fn lookup(&self, name: &str) -> Value {
        let in_scope = |scope: &[(Rc<str>, Value)]| {
            scope.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.clone())
        };
        self.scopes
            .iter()
            .rev()
            .find_map(|scope| in_scope(scope))
            .or_else(|| in_scope(&self.globals))
            .or_else(|| self.context.get(name).cloned())
            .or_else(|| Some(Value::object(Object::Function(Function::named(name, self.now_seconds)?))))
            .unwrap_or_default()
    }

    fn set(&mut self, name: Rc<str>, value: Value) {
        let scope = self.scopes.last_mut().unwrap_or(&mut self.globals);
        match scope.iter_mut().find(|(known, _)| *known == name) {
            Some((_, slot)) => *slot = value,
            None => scope.push((name, value)),
        }
    }

    fn assign(&mut self, target: &Target, value: Value) -> Evaluated<()> {
        match target {
            Target::Name(name) => self.set(Rc::from(&**name), value),
            Target::Attribute(name, attribute) => match self.lookup(name) {
                Value::Callable(Callable(Object::Namespace(namespace))) => {
                    namespace.borrow_mut().insert(&**attribute, value)?;
                }
                other => {
                    return Err(ErrorKind::WrongType {
                        operation: "an assignment to an attribute",
                        found: other.type_name(),
                    });
                }
            },
            Target::Unpack(targets) => {
                let values = value.iterate(&mut self.budget)?;
                if values.len() != targets.len() {
                    return Err(ErrorKind::BadArguments("an assignment to several variables"));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value)?;
                }
            }
        }
        Ok(())
    }
}
