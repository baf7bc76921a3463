//! Expressions: names, elements, calls.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use super::operators::{position, slice_indices};
use super::{CallArguments, Evaluated, Interpreter};
use crate::ErrorKind;
use crate::ast::{Arguments, Expr, FilterCall, Literal, Step};
use crate::methods;
use crate::value::{Callable, Loop, Map, Number, Object, Value};

impl Interpreter<'_> {
    pub(super) fn eval(&mut self, expr: &Expr) -> Evaluated {
        self.budget.step()?;
        match expr {
            Expr::Literal(literal) => self.literal(literal),
            Expr::Name(name) => Ok(self.lookup(name)),
            _ => self.nested(|this| this.eval_compound(expr)),
        }
    }

    fn literal(&mut self, literal: &Literal) -> Evaluated {
        Ok(match literal {
            Literal::None => Value::None,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Integer(number) => Value::Integer(*number),
            Literal::Float(number) => Value::Float(*number),
            Literal::String(text) => {
                self.budget.bytes(text.len())?;
                Value::from(&**text)
            }
        })
    }

    fn eval_compound(&mut self, expr: &Expr) -> Evaluated {
        match expr {
            Expr::Literal(_) | Expr::Name(_) => self.eval(expr),
            Expr::List(elements) => Value::list(self.elements(elements)?),
            Expr::Tuple(elements) => Value::tuple(self.elements(elements)?),
            Expr::Dict(entries) => {
                let mut map = Map::new();
                self.budget.bytes(entries.len() * 2 * size_of::<Value>())?;
                for (key, value) in entries {
                    let key = self.eval(key)?;
                    map.insert(key, self.eval(value)?)?;
                }
                Ok(map.into())
            }
            Expr::Chain(base, steps) => self.chain(base, steps),
            Expr::Not(operand) => Ok(Value::Bool(!self.eval(operand)?.is_true())),
            Expr::Negative(operand) => {
                let value = self.eval(operand)?;
                match value.as_number() {
                    Some(Number::Integer(number)) => {
                        number.checked_neg().map(Value::Integer).ok_or(ErrorKind::Arithmetic)
                    }
                    Some(Number::Float(number)) => Ok(Value::Float(-number)),
                    None => Err(ErrorKind::WrongType { operation: "`-`", found: value.type_name() }),
                }
            }
            Expr::Positive(operand) => self.eval(operand),
            Expr::Binary(first, rest) => {
                let mut left = self.eval(first)?;
                for (op, right) in rest {
                    let right = self.eval(right)?;
                    left = self.binary(*op, &left, &right)?;
                }
                Ok(left)
            }
            Expr::Compare(first, rest) => {
                let mut left = self.eval(first)?;
                for (op, right) in rest {
                    let right = self.eval(right)?;
                    if !self.comparison(*op, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::And(operands) => self.first_where(operands, |value| !value.is_true()),
            Expr::Or(operands) => self.first_where(operands, Value::is_true),
            Expr::Conditional(conditional) => {
                if self.eval(&conditional.condition)?.is_true() {
                    return self.eval(&conditional.then);
                }
                conditional.otherwise.as_ref().map_or(Ok(Value::Undefined), |otherwise| self.eval(otherwise))
            }
        }
    }

    fn elements(&mut self, elements: &[Expr]) -> Evaluated<Vec<Value>> {
        self.budget.bytes(elements.len() * size_of::<Value>())?;
        elements.iter().map(|element| self.eval(element)).collect()
    }

    /// The first operand that decides the result, or else the last one.
    fn first_where(&mut self, operands: &[Expr], decides: impl Fn(&Value) -> bool) -> Evaluated {
        let mut value = Value::Undefined;
        for operand in operands {
            value = self.eval(operand)?;
            if decides(&value) {
                break;
            }
        }
        Ok(value)
    }

    pub(super) fn chain(&mut self, base: &Expr, steps: &[Step]) -> Evaluated {
        let mut value = self.eval(base)?;
        for (index, step) in steps.iter().enumerate() {
            self.budget.step()?;
            let name = || describe(base, &steps[..index]);
            value = match step {
                Step::Attribute(attribute) => self.attribute(&value, attribute, name)?,
                Step::Index(key) => {
                    let key = self.eval(key)?;
                    self.element(&value, &key, name)?
                }
                Step::Slice(parts) => self.slice(&value, parts, name)?,
                Step::Call(arguments) => {
                    let arguments = self.arguments(arguments)?;
                    self.call(&value, arguments, name)?
                }
                Step::Filter(filter) => self.apply_filter(filter, value)?,
                Step::Test { name, arguments, negated } => {
                    let arguments = self.arguments(arguments)?;
                    Value::Bool(self.test(name, &value, &arguments)? != *negated)
                }
            };
        }
        Ok(value)
    }

    fn attribute(&mut self, value: &Value, attribute: &str, name: impl Fn() -> String) -> Evaluated {
        match value {
            Value::Undefined => Err(ErrorKind::Undefined(name())),
            Value::Map(map) if !methods::exists(value, attribute) => {
                Ok(map.get(attribute).cloned().unwrap_or_default())
            }
            Value::Callable(Callable(Object::Namespace(namespace))) => {
                Ok(namespace.borrow().get(attribute).cloned().unwrap_or_default())
            }
            Value::Callable(Callable(Object::Loop(state))) => Ok(loop_attribute(state, attribute)),
            Value::Callable(Callable(Object::Cycler(cycler))) => Ok(match attribute {
                "current" => cycler.items.elements()[cycler.position.get()].clone(),
                "next" | "reset" => Value::object(Object::CyclerMethod(cycler.clone(), attribute == "next")),
                _ => Value::Undefined,
            }),
            Value::Callable(Callable(Object::Macro(index))) => self.macro_attribute(*index, attribute),
            Value::List(list) if list.named(attribute).is_some() => {
                Ok(list.named(attribute).cloned().unwrap_or_default())
            }
            _ if methods::exists(value, attribute) => {
                Ok(Value::object(Object::Method(Rc::new((value.clone(), Rc::from(attribute))))))
            }
            _ => Ok(Value::Undefined),
        }
    }

    /// `value[key]`
    pub(crate) fn element(&mut self, value: &Value, key: &Value, name: impl Fn() -> String) -> Evaluated {
        match (value, key) {
            (Value::Undefined, _) => Err(ErrorKind::Undefined(name())),
            (Value::Map(map), _) => match (map.get_value(key), key) {
                (Some(value), _) => Ok(value.clone()),
                (None, Value::String(key) | Value::Markup(key)) => self.attribute(value, key, name),
                (None, _) => Ok(Value::Undefined),
            },
            (_, Value::String(key) | Value::Markup(key)) => self.attribute(value, key, name),
            (Value::List(list), _) => {
                let index = key.as_integer().and_then(|index| position(index, list.elements().len()));
                Ok(index.map(|index| list.elements()[index].clone()).unwrap_or_default())
            }
            (Value::String(text) | Value::Markup(text), _) => {
                let len = text.chars().count();
                self.budget.steps(len)?;
                let index = key.as_integer().and_then(|index| position(index, len));
                let character = index.and_then(|index| text.chars().nth(index));
                let mut buffer = [0; 4];
                let character = character.map(|c| &*c.encode_utf8(&mut buffer));
                Ok(match (character, value.is_markup()) {
                    (None, _) => Value::Undefined,
                    (Some(character), true) => Value::markup(character),
                    (Some(character), false) => character.into(),
                })
            }
            _ => Ok(Value::Undefined),
        }
    }

    fn slice(&mut self, value: &Value, parts: &[Option<Expr>; 3], name: impl Fn() -> String) -> Evaluated {
        let mut numbers = [None; 3];
        for (number, part) in numbers.iter_mut().zip(parts) {
            let Some(part) = part else { continue };
            let bound = self.eval(part)?;
            *number = match bound {
                Value::None => None,
                _ => Some(bound.as_integer().ok_or(ErrorKind::BadArguments("a slice"))?),
            };
        }
        let len = match value {
            Value::Undefined => return Err(ErrorKind::Undefined(name())),
            Value::List(_) | Value::String(_) | Value::Markup(_) => value.len().unwrap_or(0),
            // A value without elements has no named elements.
            _ => return Ok(Value::Undefined),
        };
        let indices = slice_indices(numbers, len)?;
        let elements = value.iterate(&mut self.budget)?;
        let chosen: Vec<Value> = indices.map(|index| elements[index].clone()).collect();
        match value {
            Value::List(list) => list.with(chosen),
            _ => {
                let text: String = chosen.iter().filter_map(Value::as_str).collect();
                Ok(if value.is_markup() { Value::markup(text) } else { text.into() })
            }
        }
    }

    pub(crate) fn arguments(&mut self, arguments: &Arguments) -> Evaluated<CallArguments> {
        let positional = arguments.positional.iter().map(|argument| self.eval(argument));
        let mut positional: Vec<Value> = positional.collect::<Result<_, _>>()?;
        if let Some(rest) = &arguments.positional_rest {
            positional.extend(self.eval(rest)?.iterate(&mut self.budget)?);
        }
        let mut named = Vec::new();
        for (name, argument) in &arguments.named {
            named.push((Rc::from(&**name), self.eval(argument)?));
        }
        if let Some(rest) = &arguments.named_rest {
            let rest = self.eval(rest)?;
            let Value::Map(rest) = &rest else {
                return Err(ErrorKind::WrongType { operation: "`**`", found: rest.type_name() });
            };
            self.budget.bytes(size_of_val(rest.entries()))?;
            for (name, value) in rest.entries() {
                named.push((name.to_text(&mut self.budget)?, value.clone()));
            }
        }
        Ok(CallArguments { positional, named })
    }

    pub(super) fn apply_filter(&mut self, filter: &FilterCall, value: Value) -> Evaluated {
        let arguments = self.arguments(&filter.arguments)?;
        self.filter(&filter.name, value, &arguments)
    }

    pub(super) fn call(
        &mut self,
        callee: &Value,
        arguments: CallArguments,
        name: impl Fn() -> String,
    ) -> Evaluated {
        match callee {
            Value::Callable(Callable(object)) => match object {
                Object::Function(function) => self.function(*function, &arguments),
                Object::Method(method) => self.method(&method.0, &method.1, &arguments),
                Object::Macro(index) => {
                    let outer = core::mem::take(&mut self.scopes);
                    let text = self.call_macro(*index, arguments);
                    self.scopes = outer;
                    text
                }
                Object::Caller(index, scopes) => {
                    let outer = core::mem::replace(&mut self.scopes, (**scopes).clone());
                    let text = self.call_macro(*index, arguments);
                    self.scopes = outer;
                    text
                }
                Object::Cycle(index) => match arguments.positional.len() {
                    0 => Err(ErrorKind::BadArguments("loop.cycle")),
                    len => Ok(arguments.positional[index % len].clone()),
                },
                Object::Loop(state) => self.call_loop(state, &arguments),
                Object::Changed(state) => {
                    let asked = Value::tuple(arguments.positional)?;
                    let mut last = state.last_asked.borrow_mut();
                    let has_changed = !asked.equals(&last, &mut self.budget)?;
                    *last = asked;
                    Ok(Value::Bool(has_changed))
                }
                Object::CyclerMethod(cycler, is_next) => {
                    let (items, position) = (cycler.items.elements(), cycler.position.get());
                    cycler.position.set(if *is_next { (position + 1) % items.len() } else { 0 });
                    Ok(if *is_next { items[position].clone() } else { Value::None })
                }
                Object::Joiner(joiner) => Ok(match joiner.was_used.replace(true) {
                    true => Value::String(joiner.separator.clone()),
                    false => "".into(),
                }),
                Object::Cycler(_) | Object::Namespace(_) => {
                    Err(ErrorKind::WrongType { operation: "a call", found: callee.type_name() })
                }
            },
            Value::Undefined => Err(ErrorKind::Undefined(name())),
            _ => Err(ErrorKind::WrongType { operation: "a call", found: callee.type_name() }),
        }
    }

    /// Renders a macro inside the current scopes.
    fn call_macro(&mut self, index: usize, arguments: CallArguments) -> Evaluated {
        let template = self.template;
        let called = &template.macros[index];
        if arguments.positional.len() > called.parameters.len() && !called.takes_varargs {
            return Err(ErrorKind::BadArguments("a macro"));
        }
        let line = self.line;
        self.scopes.push(Vec::new());
        let mut positional = arguments.positional.into_iter();
        let mut named = arguments.named;
        for parameter in &called.parameters {
            let by_name = named.iter().position(|(name, _)| **name == *parameter.name);
            let value = match (positional.next(), by_name) {
                (Some(_), Some(_)) => return Err(ErrorKind::BadArguments("a macro")),
                (Some(value), None) => value,
                (None, Some(at)) => named.remove(at).1,
                (None, None) => match &parameter.default {
                    Some(default) => self.eval(default)?,
                    None => Value::Undefined,
                },
            };
            self.set(Rc::from(&*parameter.name), value);
        }
        if let Some(at) = named.iter().position(|(name, _)| **name == *"caller") {
            let (name, value) = named.remove(at);
            self.set(name, value);
        }
        if called.takes_varargs {
            self.set(Rc::from("varargs"), Value::tuple(positional.collect())?);
        }
        if called.takes_kwargs {
            let named = CallArguments { positional: Vec::new(), named };
            let map = self.dict(&named)?;
            self.set(Rc::from("kwargs"), map.into());
        } else if !named.is_empty() {
            return Err(ErrorKind::BadArguments("a macro"));
        }
        let mut text = String::new();
        let around = core::mem::replace(&mut self.output_escapes, called.escapes);
        self.statements(&called.body, &mut text)?;
        self.output_escapes = around;
        self.line = line;
        Ok(self.captured(text))
    }

    fn macro_attribute(&mut self, index: usize, attribute: &str) -> Evaluated {
        let known = &self.template.macros[index];
        Ok(match attribute {
            "name" => Value::from(&*known.name),
            "arguments" => {
                self.budget.bytes(known.parameters.len() * 2 * size_of::<Value>())?;
                Value::tuple(
                    known.parameters.iter().map(|parameter| Value::from(&*parameter.name)).collect(),
                )?
            }
            "catch_varargs" => known.takes_varargs.into(),
            "catch_kwargs" => known.takes_kwargs.into(),
            "caller" => known.takes_caller.into(),
            _ => Value::Undefined,
        })
    }

    /// A new namespace with the values of a dict and of named arguments.
    pub(crate) fn namespace(&mut self, arguments: &CallArguments) -> Evaluated {
        let map = self.dict(arguments)?;
        Ok(Value::object(Object::Namespace(Rc::new(RefCell::new(map)))))
    }

    pub(crate) fn dict(&mut self, arguments: &CallArguments) -> Evaluated<Map> {
        let mut map = match arguments.positional.first() {
            None => Map::new(),
            Some(Value::Map(map)) => (**map).clone(),
            Some(_) => return Err(ErrorKind::BadArguments("dict")),
        };
        self.budget.bytes((map.entries().len() + arguments.named.len()) * 2 * size_of::<Value>())?;
        for (name, value) in &arguments.named {
            map.insert(Value::String(name.clone()), value.clone())?;
        }
        Ok(map)
    }
}

/// The source of what precedes a step, for errors.
pub(super) fn describe(base: &Expr, steps: &[Step]) -> String {
    let mut text = match base {
        Expr::Name(name) => String::from(&**name),
        _ => String::from("…"),
    };
    for step in steps {
        match step {
            Step::Attribute(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Index(Expr::Literal(Literal::String(key))) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(_) | Step::Slice(_) => text.push_str("[…]"),
            Step::Call(_) => text.push_str("(…)"),
            Step::Filter(_) | Step::Test { .. } => text.push_str(" | …"),
        }
    }
    text
}

fn loop_attribute(state: &Rc<Loop>, attribute: &str) -> Value {
    let len = state.items.len();
    let number = |number: usize| Value::Integer(number as i64);
    match attribute {
        "index" => number(state.index0 + 1),
        "index0" => number(state.index0),
        "revindex" => number(len - state.index0),
        "revindex0" => number(len - state.index0 - 1),
        "first" => Value::Bool(state.index0 == 0),
        "last" => Value::Bool(state.index0 + 1 == len),
        "length" => number(len),
        "depth" => number(state.depth0 + 1),
        "depth0" => number(state.depth0),
        "previtem" => state.index0.checked_sub(1).map(|at| state.items[at].clone()).unwrap_or_default(),
        "nextitem" => state.items.get(state.index0 + 1).cloned().unwrap_or_default(),
        "cycle" => Value::object(Object::Cycle(state.index0)),
        "changed" => Value::object(Object::Changed(state.clone())),
        _ => Value::Undefined,
    }
}
