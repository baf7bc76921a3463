//! The schema's document: its subschemas, and the targets of its references.
//!
//! A [`Document`] numbers the values that matter as nodes. It knows the resources (subschemas with an `$id`) and their anchors:
//! JSON Schema core, sections 8.2 and 9.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serde_json::Value;

use super::error::{SchemaError, Why};
use super::uri;

/// The schema that no value satisfies, and the one that every value satisfies.
static BOOLEANS: [Value; 2] = [Value::Bool(false), Value::Bool(true)];

/// The condition that a value is valid against a node or, if `holds` is false, that it is not. `scope` identifies the meaning of
/// `$dynamicRef` in the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Literal {
    pub node: u32,
    pub scope: u32,
    pub holds: bool,
}

impl Literal {
    /// Every value satisfies this.
    pub const TRUE: Self = Self { node: 1, scope: 0, holds: true };
    /// No value satisfies this.
    pub const FALSE: Self = Self { node: 0, scope: 0, holds: true };

    /// The opposite.
    pub fn negated(self) -> Self {
        match self {
            Self::TRUE => Self::FALSE,
            Self::FALSE => Self::TRUE,
            _ => Self { holds: !self.holds, ..self },
        }
    }
}

/// What a node requires of a value.
#[derive(Debug, Clone)]
pub(super) enum Content<'a> {
    /// The value must be valid against the schema.
    Schema(&'a Value),
    /// The value must be equal to this one.
    Constant(&'a Value),
    /// The value must satisfy one of these.
    Any(Vec<Literal>),
}

/// The last part of a node's pointer.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

#[derive(Debug)]
struct Node<'a> {
    content: Content<'a>,
    parent: u32,
    step: Step<'a>,
    resource: u32,
}

#[derive(Debug)]
struct Anchor<'a> {
    name: &'a str,
    node: u32,
    is_dynamic: bool,
}

/// A schema with its own URI.
#[derive(Debug)]
struct Resource<'a> {
    uri: String,
    root: u32,
    anchors: Vec<Anchor<'a>>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Document<'a> {
    nodes: Vec<Node<'a>>,
    /// Nodes by the address of the value, and whether it is a constant.
    known: BTreeMap<(usize, bool), u32>,
    resources: Vec<Resource<'a>>,
    /// The meanings of dynamic anchors. Of several with the same name, the first is the outermost.
    scopes: Vec<Vec<(&'a str, u32)>>,
}

/// The kind of value that a keyword has.
enum Holds {
    One,
    List,
    Map,
}

/// The keywords whose values contain schemas.
const KEYWORDS: [(&str, Holds); 21] = [
    ("$defs", Holds::Map),
    ("definitions", Holds::Map),
    ("properties", Holds::Map),
    ("patternProperties", Holds::Map),
    ("dependentSchemas", Holds::Map),
    ("allOf", Holds::List),
    ("anyOf", Holds::List),
    ("oneOf", Holds::List),
    ("prefixItems", Holds::List),
    ("items", Holds::List),
    ("items", Holds::One),
    ("additionalItems", Holds::One),
    ("contains", Holds::One),
    ("additionalProperties", Holds::One),
    ("propertyNames", Holds::One),
    ("not", Holds::One),
    ("if", Holds::One),
    ("then", Holds::One),
    ("else", Holds::One),
    ("unevaluatedItems", Holds::One),
    ("unevaluatedProperties", Holds::One),
];

fn address(value: &Value) -> usize {
    core::ptr::from_ref(value).addr()
}

impl<'a> Document<'a> {
    /// The node of the whole schema.
    pub const ROOT: u32 = 2;

    /// Finds the resources and anchors of `schema`.
    pub fn new(schema: &'a Value) -> Result<Self, SchemaError> {
        let boolean =
            |value| Node { content: Content::Schema(value), parent: 0, step: Step::Root, resource: 0 };
        let mut document = Self {
            nodes: vec![boolean(&BOOLEANS[0]), boolean(&BOOLEANS[1]), boolean(schema)],
            known: BTreeMap::new(),
            resources: vec![Resource { uri: String::new(), root: Self::ROOT, anchors: Vec::new() }],
            scopes: vec![Vec::new()],
        };
        document.known.insert((address(schema), false), Self::ROOT);
        document.survey(Self::ROOT)?;
        Ok(document)
    }

    /// Notes the resources and anchors in a schema. The recursion is bounded, because `serde_json` limits the nesting that it
    /// reads.
    fn survey(&mut self, node: u32) -> Result<(), SchemaError> {
        let Content::Schema(Value::Object(schema)) = self.nodes[node as usize].content else { return Ok(()) };
        let text = |keyword| match schema.get(keyword) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(keyword),
        };
        let texts = (|| Ok((text("$id")?, text("$anchor")?, text("$dynamicAnchor")?)))();
        let (id, anchor, dynamic) =
            texts.map_err(|keyword| self.at(node, keyword, Why::Expected("a string")))?;
        if let Some(id) = id {
            let base = &self.resources[self.nodes[node as usize].resource as usize].uri;
            let uri = uri::resolve(base, uri::split(id).0);
            if node == Self::ROOT {
                self.resources[0].uri = uri;
            } else {
                self.nodes[node as usize].resource = self.resources.len() as u32;
                self.resources.push(Resource { uri, root: node, anchors: Vec::new() });
            }
        }
        let resource = self.nodes[node as usize].resource as usize;
        for (name, is_dynamic) in [(anchor, false), (dynamic, true)] {
            if let Some(name) = name {
                self.resources[resource].anchors.push(Anchor { name, node, is_dynamic });
            }
        }
        for (keyword, holds) in &KEYWORDS {
            let Some(value) = schema.get(*keyword) else { continue };
            let here = self.child(node, keyword);
            match (holds, value) {
                (Holds::One, Value::Object(_)) => here.map_or(Ok(()), |here| self.survey(here))?,
                (Holds::List, Value::Array(list)) => {
                    for index in 0..list.len() {
                        if let Some(inner) = here.and_then(|here| self.element(here, index)) {
                            self.survey(inner)?;
                        }
                    }
                }
                (Holds::Map, Value::Object(map)) => {
                    for name in map.keys() {
                        if let Some(inner) = here.and_then(|here| self.child(here, name)) {
                            self.survey(inner)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What a node requires.
    pub fn content(&self, node: u32) -> &Content<'a> {
        &self.nodes[node as usize].content
    }

    /// The JSON value of a node, if it is one.
    pub fn value(&self, node: u32) -> &'a Value {
        match self.nodes[node as usize].content {
            Content::Schema(value) | Content::Constant(value) => value,
            Content::Any(_) => &BOOLEANS[1],
        }
    }

    fn node(&mut self, content: Content<'a>, parent: u32, step: Step<'a>) -> u32 {
        let key = match &content {
            Content::Schema(value) => Some((address(value), false)),
            Content::Constant(value) => Some((address(value), true)),
            Content::Any(_) => None,
        };
        if let Some(&node) = key.and_then(|key| self.known.get(&key)) {
            return node;
        }
        let number = self.nodes.len() as u32;
        self.known.extend(key.map(|key| (key, number)));
        let resource = self.nodes[parent as usize].resource;
        self.nodes.push(Node { content, parent, step, resource });
        number
    }

    /// The node of a member of a node's value.
    pub fn child(&mut self, node: u32, name: &str) -> Option<u32> {
        let Value::Object(map) = self.value(node) else { return None };
        let (name, value) = map.get_key_value(name)?;
        Some(self.node(Content::Schema(value), node, Step::Name(name)))
    }

    /// The node of an element of a node's value.
    pub fn element(&mut self, node: u32, index: usize) -> Option<u32> {
        let Value::Array(list) = self.value(node) else { return None };
        let value = list.get(index)?;
        Some(self.node(Content::Schema(value), node, Step::Index(index)))
    }

    /// A node that requires a value which is somewhere below the node `parent`.
    pub fn constant(&mut self, value: &'a Value, parent: u32) -> u32 {
        let step = self.nodes[parent as usize].step;
        let parent = self.nodes[parent as usize].parent;
        self.node(Content::Constant(value), parent, step)
    }

    /// A node that requires one of several conditions.
    pub fn any(&mut self, of: Vec<Literal>, parent: u32) -> u32 {
        let step = self.nodes[parent as usize].step;
        let parent = self.nodes[parent as usize].parent;
        self.node(Content::Any(of), parent, step)
    }

    /// JSON pointer to a node.
    pub fn pointer(&self, mut node: u32) -> String {
        let mut steps = Vec::new();
        loop {
            let Node { parent, step, .. } = &self.nodes[node as usize];
            match step {
                Step::Root => break,
                Step::Name(name) => steps.push(name.replace('~', "~0").replace('/', "~1")),
                Step::Index(index) => steps.push(index.to_string()),
            }
            node = *parent;
        }
        let mut pointer = String::new();
        for step in steps.iter().rev() {
            pointer.push('/');
            pointer.push_str(step);
        }
        pointer
    }

    /// An error about a keyword of a node, or about the node itself if the keyword is empty.
    pub fn at(&self, node: u32, keyword: &str, why: Why) -> SchemaError {
        let mut pointer = self.pointer(node);
        if !keyword.is_empty() {
            pointer.push('/');
            pointer.push_str(&keyword.replace('~', "~0").replace('/', "~1"));
        }
        SchemaError::At { pointer, why }
    }

    /// The scope inside a node that was reached with `scope`: it adds the dynamic anchors of the node's resource that are not
    /// hidden by others.
    pub fn scope(&mut self, node: u32, scope: u32) -> u32 {
        let resource = &self.resources[self.nodes[node as usize].resource as usize];
        let known = &self.scopes[scope as usize];
        let mut new: Vec<(&str, u32)> = Vec::new();
        for anchor in resource.anchors.iter().filter(|anchor| anchor.is_dynamic) {
            if !known.iter().chain(&new).any(|(name, _)| *name == anchor.name) {
                new.push((anchor.name, anchor.node));
            }
        }
        if new.is_empty() {
            return scope;
        }
        let mut all = known.clone();
        all.extend(new);
        sort::sort(&mut all);
        match self.scopes.iter().position(|scope| *scope == all) {
            Some(known) => known as u32,
            None => {
                self.scopes.push(all);
                self.scopes.len() as u32 - 1
            }
        }
    }

    /// The node that a reference in a node refers to.
    pub fn resolve(&mut self, node: u32, scope: u32, reference: &str, is_dynamic: bool) -> Result<u32, Why> {
        let (relative, fragment) = uri::split(reference);
        let base = self.nodes[node as usize].resource as usize;
        let resource = if relative.is_empty() {
            base
        } else {
            let uri = uri::resolve(&self.resources[base].uri, relative);
            self.resources.iter().position(|resource| resource.uri == uri).ok_or(Why::Unresolved)?
        };
        let fragment = uri::percent_decoded(fragment.unwrap_or_default()).ok_or(Why::Unresolved)?;
        let mut at = self.resources[resource].root;
        if fragment.is_empty() {
            return Ok(at);
        }
        let Some(pointer) = fragment.strip_prefix('/') else {
            let anchors = &self.resources[resource].anchors;
            let of_name = |anchor: &&Anchor<'_>| anchor.name == fragment;
            if is_dynamic && anchors.iter().filter(of_name).any(|anchor| anchor.is_dynamic) {
                let outermost = self.scopes[scope as usize].iter().find(|(name, _)| *name == fragment);
                if let Some((_, node)) = outermost {
                    return Ok(*node);
                }
            }
            return anchors.iter().find(of_name).map(|anchor| anchor.node).ok_or(Why::Unresolved);
        };
        for token in pointer.split('/') {
            let token = token.replace("~1", "/").replace("~0", "~");
            let next = match self.value(at) {
                Value::Array(_) => token.parse().ok().and_then(|index| self.element(at, index)),
                _ => self.child(at, &token),
            };
            at = next.ok_or(Why::Unresolved)?;
        }
        Ok(at)
    }
}
