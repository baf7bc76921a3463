//! Rules for the values that a schema allows.
//!
//! Each conjunction of schemas that applies to nested values becomes one rule. Schemas that refer to themselves therefore become
//! rules that do. `write_arrays` and `write_objects` handle everything that is more than a choice.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Members;
use super::document::{Document, Literal};
use super::error::{SchemaError, Why};
use super::json_text::JsonText;
use super::meaning::Meanings;
use super::union::{Array, Conjunction, Object, also};
use crate::expression::{Builder, Expression, Rule};

/// See the module's documentation.
pub(super) struct Writer<'a, 'b> {
    pub meanings: Meanings<'a>,
    pub text: JsonText<'b>,
    /// How the members of the current object are written, if not as in JSON.
    pub members: Option<Members>,
    rules: BTreeMap<Conjunction, Rule>,
    open: Vec<Conjunction>,
    arrays: BTreeMap<Array, Expression>,
    objects: BTreeMap<Object<'a>, Expression>,
    /// The conjunction of the rule that is being written.
    pub at: Conjunction,
}

impl<'a, 'b> Writer<'a, 'b> {
    pub fn new(meanings: Meanings<'a>, builder: &'b mut Builder) -> Result<Self, SchemaError> {
        let text = JsonText::new(builder, meanings.options);
        let text = meanings.at(Document::ROOT, "", text)?;
        Ok(Self {
            meanings,
            text,
            members: None,
            rules: BTreeMap::new(),
            open: Vec::new(),
            arrays: BTreeMap::new(),
            objects: BTreeMap::new(),
            at: Vec::new(),
        })
    }

    /// The values of the whole schema, and how many steps are left. With `members`, the objects whose members are written in that
    /// form.
    pub fn whole(mut self, members: Option<Members>) -> (Result<Expression, SchemaError>, u32) {
        let all = self.root(members);
        (all, self.meanings.budget.left())
    }

    fn root(&mut self, members: Option<Members>) -> Result<Expression, SchemaError> {
        let mut root = Vec::new();
        also(&mut root, self.meanings.literal(Document::ROOT, 0));
        let all = match members {
            None => self.reference(&root)?,
            Some(written) => self.bare_object(&root, written)?,
        };
        if all == Expression::NEVER {
            return Err(SchemaError::Unsatisfiable);
        }
        while let Some(conjunction) = self.open.pop() {
            let expression = self.value(&conjunction)?;
            if let Some(rule) = self.rules.get(&conjunction) {
                self.text.builder.define(*rule, expression).map_err(SchemaError::Grammar)?;
            }
        }
        Ok(all)
    }

    /// Adds the current schema to an error as its place.
    pub fn here<T>(&self, result: Result<T, Why>) -> Result<T, SchemaError> {
        let node = self.at.first().map_or(Document::ROOT, |literal| literal.node);
        self.meanings.at(node, "", result)
    }

    /// The error that no grammar can express a keyword of the current schema.
    pub fn refused<T>(&self, keyword: &str, why: &'static str) -> Result<T, SchemaError> {
        let document = &self.meanings.document;
        let has = |literal: &&Literal| document.value(literal.node).get(keyword).is_some();
        match self.at.iter().find(has) {
            Some(literal) => self.meanings.at(literal.node, keyword, Err(Why::NotExpressible(why))),
            None => self.here(Err(Why::NotExpressible(why))),
        }
    }

    /// The values that are valid against all of these.
    pub fn reference(&mut self, conjunction: &Conjunction) -> Result<Expression, SchemaError> {
        if self.meanings.is_void_conjunction(conjunction, 0)? {
            return Ok(Expression::NEVER);
        }
        let rule = match self.rules.get(conjunction) {
            Some(rule) => *rule,
            None => {
                let spent = self.meanings.budget.spend(96 + conjunction.len());
                self.here(spent)?;
                let rule = self.text.builder.declare("value");
                let rule = self.here(rule.map_err(Why::from))?;
                self.rules.insert(conjunction.clone(), rule);
                self.open.push(conjunction.clone());
                rule
            }
        };
        let rule = self.text.builder.rule(rule);
        self.here(rule.map_err(Why::from))
    }

    /// The values that are valid against all of these and against one more condition.
    pub fn reference_with(
        &mut self,
        conjunction: &Conjunction,
        literal: Literal,
    ) -> Result<Expression, SchemaError> {
        let mut all = conjunction.clone();
        also(&mut all, literal);
        self.reference(&all)
    }

    fn value(&mut self, conjunction: &Conjunction) -> Result<Expression, SchemaError> {
        self.at.clone_from(conjunction);
        let union = self.meanings.conjunction(conjunction)?;
        let mut ways = Vec::new();
        for (is_there, text) in
            [(union.null, "null"), (union.booleans[0], "false"), (union.booleans[1], "true")]
        {
            if is_there {
                let constant = self.text.constant(text);
                ways.push(self.here(constant)?);
            }
        }
        if !union.numbers.is_empty() {
            let Meanings { integers, budget, .. } = &mut self.meanings;
            let number = self.text.number(&union.numbers, integers.as_ref(), budget);
            ways.push(self.here(number)?);
        }
        if !union.strings.is_empty() {
            let string = self.text.string(&union.strings, &mut self.meanings.budget);
            ways.push(self.here(string)?);
        }
        for array in &union.arrays {
            let known = self.arrays.get(array).copied();
            let expression = match known {
                Some(known) => known,
                None => {
                    let new = self.array(array)?;
                    let new = self.text.named("array", new);
                    self.here(new)?
                }
            };
            self.arrays.insert(array.clone(), expression);
            ways.push(expression);
        }
        for object in &union.objects {
            let known = self.objects.get(object).copied();
            let expression = match known {
                Some(known) => known,
                None => {
                    let new = self.object(object)?;
                    let new = self.text.named("object", new);
                    self.here(new)?
                }
            };
            self.objects.insert(object.clone(), expression);
            ways.push(expression);
        }
        let choice = self.text.choice(&ways);
        self.here(choice)
    }
}
