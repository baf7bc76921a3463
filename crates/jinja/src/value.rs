//! The values of expressions, with Python's rules for truth, equality, order and text.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::cmp::Ordering;

use crate::ErrorKind;
use crate::functions::Function;
use crate::interpreter::Budget;

/// Most levels of nested lists and maps, so that visiting and dropping them needs little stack.
const MAX_HEIGHT: u8 = 64;

/// A value. Copies are cheap: texts, lists and maps are shared and never change.
#[derive(Debug, Clone, Default)]
pub enum Value {
    /// The value of a name or attribute that does not exist.
    #[default]
    Undefined,
    /// `none`
    None,
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    String(Rc<str>),
    /// A text that is already HTML, as returned by `safe` and `escape`.
    Markup(Rc<str>),
    /// A list or a tuple.
    List(Rc<List>),
    /// A dict.
    Map(Rc<Map>),
    /// Something that templates call or change: functions, methods, macros, namespaces.
    Callable(Callable),
}

/// A value that is not data and has no text.
#[derive(Debug, Clone)]
pub struct Callable(pub(crate) Object);

#[derive(Debug, Clone)]
pub(crate) enum Object {
    Function(Function),
    /// A macro of the template, given by its index.
    Macro(usize),
    /// The body of a `call` block, given by its index, with the variables around it.
    Caller(usize, Rc<Scopes>),
    /// A method of a value.
    Method(Rc<(Value, Rc<str>)>),
    Loop(Rc<Loop>),
    /// `loop.cycle` in the iteration with this index.
    Cycle(usize),
    /// `loop.changed`
    Changed(Rc<Loop>),
    Cycler(Rc<Cycler>),
    /// The method `next` or, if false, `reset` of a cycler.
    CyclerMethod(Rc<Cycler>, bool),
    Joiner(Rc<Joiner>),
    Namespace(Rc<RefCell<Map>>),
}

impl Object {
    /// Whether it refers to values, so that it could come to contain itself.
    fn holds_values(&self) -> bool {
        !matches!(self, Self::Function(_) | Self::Macro(_) | Self::Cycle(_) | Self::Joiner(_))
    }
}

/// The state of an iteration, which `loop` shows.
#[derive(Debug)]
pub(crate) struct Loop {
    pub items: Rc<Vec<Value>>,
    pub index0: usize,
    /// How many outer runs of the same loop statement are active.
    pub depth0: usize,
    /// For a recursive loop: its index in the template, and the variables around it.
    pub recursive: Option<(usize, Rc<Scopes>)>,
    /// The last argument of `loop.changed`, in any iteration.
    pub last_asked: Rc<RefCell<Value>>,
}

/// Values that are returned in turn.
#[derive(Debug)]
pub(crate) struct Cycler {
    /// The values, as a tuple.
    pub items: Rc<List>,
    pub position: Cell<usize>,
}

/// A text that is returned on every call but the first.
#[derive(Debug)]
pub(crate) struct Joiner {
    pub separator: Rc<str>,
    pub was_used: Cell<bool>,
}

/// Variables by name, the innermost last.
pub(crate) type Scopes = Vec<Vec<(Rc<str>, Value)>>;

/// The elements of a list or tuple.
#[derive(Debug, Default)]
pub struct List {
    elements: Vec<Value>,
    height: u8,
    kind: ListKind,
}

/// The kinds of sequences that Python distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ListKind {
    #[default]
    List,
    Tuple,
    /// A tuple made by `groupby`; its elements also have names.
    Group,
    /// A range with this start, stop and step.
    Range(i64, i64, i64),
    /// The result of a dict's method `keys`, `values` or `items`.
    View(&'static str),
}

impl List {
    pub(crate) fn kind(&self) -> ListKind {
        self.kind
    }

    pub(crate) fn elements(&self) -> &[Value] {
        &self.elements
    }

    pub(crate) fn is_tuple(&self) -> bool {
        matches!(self.kind, ListKind::Tuple | ListKind::Group)
    }

    /// A result of `groupby`: the value that its members have in common, and the members.
    pub(crate) fn group(grouper: Value, members: Value) -> Result<Value, ErrorKind> {
        let elements = Vec::from([grouper, members]);
        let height = height_above(&[&elements[0], &elements[1]])?;
        Ok(Value::List(Rc::new(Self { elements, height, kind: ListKind::Group })))
    }

    /// Whether two sequences of these kinds are equal if their elements are.
    fn is_like(&self, other: &Self) -> bool {
        self.is_tuple() == other.is_tuple()
            && matches!(self.kind, ListKind::Range(..)) == matches!(other.kind, ListKind::Range(..))
            && matches!(self.kind, ListKind::View(_)) == matches!(other.kind, ListKind::View(_))
    }

    /// An element by its name.
    pub(crate) fn named(&self, name: &str) -> Option<&Value> {
        match name {
            "grouper" if self.kind == ListKind::Group => Some(&self.elements[0]),
            "list" if self.kind == ListKind::Group => Some(&self.elements[1]),
            _ => None,
        }
    }

    /// A list or tuple, of the same kind as this one, with new elements.
    pub(crate) fn with(&self, elements: Vec<Value>) -> Result<Value, ErrorKind> {
        if self.is_tuple() { Value::tuple(elements) } else { Value::list(elements) }
    }
}

/// A dict: keys and values in the order of insertion.
#[derive(Debug, Clone, Default)]
pub struct Map {
    entries: Vec<(Value, Value)>,
    height: u8,
}

impl Map {
    /// An empty dict.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a key, and replaces an existing value.
    ///
    /// # Errors
    /// If the value nests too deep or is a namespace, a method or the like.
    pub fn insert(&mut self, key: impl Into<Value>, value: impl Into<Value>) -> Result<(), ErrorKind> {
        let (key, value) = (key.into(), value.into());
        self.height = self.height.max(height_above(&[&key, &value])?);
        match self.entries.iter_mut().find(|(known, _)| known.is_same_key(&key)) {
            Some((_, slot)) => *slot = value,
            None => self.entries.push((key, value)),
        }
        Ok(())
    }

    /// The value of a key that is a text.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(known, _)| known.as_str() == Some(key)).map(|(_, value)| value)
    }

    pub(crate) fn get_value(&self, key: &Value) -> Option<&Value> {
        self.entries.iter().find(|(known, _)| known.is_same_key(key)).map(|(_, value)| value)
    }

    /// Keys and values, in their order.
    pub fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }
}

/// The height of a container of these values.
fn height_above(values: &[&Value]) -> Result<u8, ErrorKind> {
    let mut height = 0;
    for value in values {
        height = height.max(match value {
            Value::List(list) => list.height + 1,
            Value::Map(map) => map.height + 1,
            Value::Callable(Callable(object)) if object.holds_values() => {
                return Err(ErrorKind::WrongType { operation: "a list or dict", found: value.type_name() });
            }
            _ => 0,
        });
    }
    if height > MAX_HEIGHT { Err(ErrorKind::TooDeep) } else { Ok(height) }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(Rc::new(map))
    }
}

impl Value {
    /// A list.
    ///
    /// # Errors
    /// If the elements nest too deep or are namespaces, methods or the like.
    pub fn list(elements: Vec<Value>) -> Result<Self, ErrorKind> {
        Self::sequence(elements, ListKind::List)
    }

    /// A tuple: a list that has a different text, and is equal to no list.
    pub(crate) fn tuple(elements: Vec<Value>) -> Result<Self, ErrorKind> {
        Self::sequence(elements, ListKind::Tuple)
    }

    pub(crate) fn sequence(elements: Vec<Value>, kind: ListKind) -> Result<Self, ErrorKind> {
        let mut height = 0;
        for element in &elements {
            height = height.max(height_above(&[element])?);
        }
        Ok(Self::List(Rc::new(List { elements, height, kind })))
    }

    pub(crate) fn object(object: Object) -> Self {
        Self::Callable(Callable(object))
    }

    /// The name of its type, for errors.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::None => "none",
            Self::Bool(_) => "bool",
            Self::Integer(_) => "int",
            Self::Float(_) => "float",
            Self::String(_) | Self::Markup(_) => "text",
            Self::List(_) => "list",
            Self::Map(_) => "dict",
            Self::Callable(Callable(Object::Namespace(_))) => "namespace",
            Self::Callable(_) => "function",
        }
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined)
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(value) => *value,
            Self::Integer(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::String(text) | Self::Markup(text) => !text.is_empty(),
            Self::List(list) => !list.elements.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Callable(_) => true,
        }
    }

    /// Its value as a number in arithmetic: Python counts truth values as 0 and 1.
    pub(crate) fn as_number(&self) -> Option<Number> {
        match self {
            Self::Bool(value) => Some(Number::Integer((*value).into())),
            Self::Integer(number) => Some(Number::Integer(*number)),
            Self::Float(number) => Some(Number::Float(*number)),
            _ => None,
        }
    }

    pub(crate) fn as_integer(&self) -> Option<i64> {
        match self.as_number()? {
            Number::Integer(number) => Some(number),
            Number::Float(_) => None,
        }
    }

    /// The contents of a text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Markup(text) => Some(text),
            _ => None,
        }
    }

    /// Whether two keys of a dict are the same. Keys that are not scalars never are.
    fn is_same_key(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::String(a) | Self::Markup(a), Self::String(b) | Self::Markup(b)) => a == b,
            (Self::None, Self::None) => true,
            (a, b) => match (a.as_number(), b.as_number()) {
                (Some(a), Some(b)) => a.compare(b) == Some(Ordering::Equal),
                _ => false,
            },
        }
    }

    pub(crate) fn equals(&self, other: &Self, budget: &mut Budget) -> Result<bool, ErrorKind> {
        budget.step()?;
        Ok(match (self, other) {
            (Self::Undefined, Self::Undefined) | (Self::None, Self::None) => true,
            (Self::String(a) | Self::Markup(a), Self::String(b) | Self::Markup(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                if a.elements.len() != b.elements.len() || !a.is_like(b) {
                    return Ok(false);
                }
                for (a, b) in a.elements.iter().zip(&b.elements) {
                    if !a.equals(b, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(a), Self::Map(b)) => {
                if a.entries.len() != b.entries.len() {
                    return Ok(false);
                }
                for (key, value) in &a.entries {
                    budget.steps(b.entries.len())?;
                    match b.get_value(key) {
                        Some(other) if value.equals(other, budget)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (a, b) => match (a.as_number(), b.as_number()) {
                (Some(a), Some(b)) => a.compare(b) == Some(Ordering::Equal),
                _ => false,
            },
        })
    }

    /// Compares two values, if their types have an order.
    pub(crate) fn compare(&self, other: &Self, budget: &mut Budget) -> Result<Ordering, ErrorKind> {
        budget.step()?;
        let unordered = || ErrorKind::WrongType { operation: "a comparison", found: other.type_name() };
        match (self, other) {
            (Self::String(a) | Self::Markup(a), Self::String(b) | Self::Markup(b)) => Ok(a.cmp(b)),
            (Self::List(a), Self::List(b)) if a.is_like(b) => {
                for (a, b) in a.elements.iter().zip(&b.elements) {
                    // Values without an order may still be equal.
                    if !a.equals(b, budget)? {
                        return a.compare(b, budget);
                    }
                }
                Ok(a.elements.len().cmp(&b.elements.len()))
            }
            (a, b) => match (a.as_number(), b.as_number()) {
                (Some(a), Some(b)) => a.compare(b).ok_or_else(unordered),
                _ => Err(unordered()),
            },
        }
    }

    /// Whether `element in self`.
    pub(crate) fn contains(&self, element: &Self, budget: &mut Budget) -> Result<bool, ErrorKind> {
        match (self, element) {
            (Self::String(text) | Self::Markup(text), Self::String(part) | Self::Markup(part)) => {
                Ok(text.contains(&**part))
            }
            (Self::List(list), _) => {
                for known in &list.elements {
                    if known.equals(element, budget)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Self::Map(map), _) => Ok(map.get_value(element).is_some()),
            (Self::Undefined, _) => Ok(false),
            _ => Err(ErrorKind::WrongType { operation: "`in`", found: self.type_name() }),
        }
    }

    /// The elements that a loop over it visits.
    pub(crate) fn iterate(&self, budget: &mut Budget) -> Result<Vec<Value>, ErrorKind> {
        let len = self.len().unwrap_or(0);
        budget.bytes(len * size_of::<Value>())?;
        Ok(match self {
            Self::Undefined => Vec::new(),
            Self::List(list) => list.elements.clone(),
            Self::Map(map) => map.entries.iter().map(|(key, _)| key.clone()).collect(),
            Self::String(text) | Self::Markup(text) => {
                let mut buffer = [0; 4];
                text.chars().map(|character| Self::from(&*character.encode_utf8(&mut buffer))).collect()
            }
            _ => return Err(ErrorKind::WrongType { operation: "a loop", found: self.type_name() }),
        })
    }

    /// The length, for a text in characters; `None` for values that have no length.
    pub(crate) fn len(&self) -> Option<usize> {
        match self {
            Self::Undefined => Some(0),
            Self::String(text) | Self::Markup(text) => Some(text.chars().count()),
            Self::List(list) => Some(list.elements.len()),
            Self::Map(map) => Some(map.entries.len()),
            _ => None,
        }
    }
}

/// A number for arithmetic.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(&b)),
            (a, b) => a.as_f64().partial_cmp(&b.as_f64()),
        }
    }
}
