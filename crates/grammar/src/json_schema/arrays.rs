//! Keywords for arrays.

use alloc::vec;
use alloc::vec::Vec;

use serde_json::Value;

use super::document::Literal;
use super::error::{SchemaError, Why};
use super::meaning::{Meanings, Place};
use super::union::{Array, Count, Union, also};

/// Most elements of an array that have their own schemas.
const MAX_PREFIX: usize = 512;

impl<'a> Meanings<'a> {
    /// The values that the keywords for arrays allow; `None` if the schema has none of these keywords.
    #[inline(never)]
    pub fn arrays(&mut self, place: Place<'a>) -> Result<Option<Union<'a>>, SchemaError> {
        let Place { node, map, holds, .. } = place;
        let mut array = Array::default();
        let mut others = Vec::new();

        // Older drafts had an array of schemas in `items` instead of `prefixItems`.
        let is_tuple = matches!(map.get("items"), Some(Value::Array(_)));
        let (prefix, rest) = if is_tuple { ("items", "additionalItems") } else { ("prefixItems", "items") };
        let prefix = self.inner_list(place, prefix)?;
        if prefix.len() > MAX_PREFIX {
            return self.at(node, "prefixItems", Err(Why::TooLarge));
        }
        let rest = self.inner(place, rest);
        for (index, literal) in prefix.iter().enumerate() {
            let mut elements = vec![Vec::new(); index + 1];
            also(&mut elements[index], literal.negated());
            if *literal != Literal::TRUE {
                others.push(Array { prefix: elements, min: index as u64 + 1, ..Array::default() });
            }
            let mut element = Vec::new();
            also(&mut element, *literal);
            array.prefix.push(element);
        }
        array.evaluated.first = prefix.len();
        if let Some(rest) = rest {
            array.evaluated.all = true;
            let from = prefix.len();
            if rest == Literal::FALSE {
                array.max = Some(from as u64);
                others.push(Array { min: from as u64 + 1, ..Array::default() });
            } else if rest != Literal::TRUE {
                also(&mut array.rest, rest);
                let counts = vec![Count { literal: rest.negated(), from, min: 1, max: None }];
                others.push(Array { counts, ..Array::default() });
            }
        }

        if let Some(min) = self.count(place, "minItems")? {
            array.min = min;
            others.extend(min.checked_sub(1).map(|max| Array { max: Some(max), ..Array::default() }));
        }
        if let Some(max) = self.count(place, "maxItems")? {
            array.max = Some(array.max.map_or(max, |other| other.min(max)));
            others.extend(max.checked_add(1).map(|min| Array { min, ..Array::default() }));
        }

        if let Some(literal) = self.inner(place, "contains") {
            let min = self.count(place, "minContains")?.unwrap_or(1);
            let max = self.count(place, "maxContains")?;
            let count =
                |min, max| Array { counts: vec![Count { literal, from: 0, min, max }], ..Array::default() };
            if min > 0 || max.is_some() {
                array.counts = count(min, max).counts;
            }
            also(&mut array.evaluated.matching, literal);
            array.evaluated.all |= literal == Literal::TRUE;
            others.extend(min.checked_sub(1).map(|max| count(0, Some(max))));
            others.extend(max.and_then(|max| max.checked_add(1)).map(|min| count(min, None)));
        }

        match map.get("uniqueItems") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) if holds => array.unique = true,
            Some(Value::Bool(true)) => {
                let why = Why::NotExpressible("that elements of an array are equal");
                return self.at(node, "uniqueItems", Err(why));
            }
            Some(_) => return self.expected(node, "uniqueItems", "true or false"),
        }

        if !holds {
            return Ok((!others.is_empty()).then(|| Union { arrays: others, ..Union::none() }));
        }
        if array == Array::default() {
            return Ok(None);
        }
        // If no value satisfies an element's schema, the array ends before that element.
        if let Some(end) = array.prefix.iter().position(|element| element.contains(&Literal::FALSE)) {
            array.max = Some(array.max.map_or(end as u64, |max| max.min(end as u64)));
            array.prefix.truncate(end);
        }
        let arrays = if array.max.is_some_and(|max| max < array.min) { Vec::new() } else { vec![array] };
        Ok(Some(Union { arrays, ..Union::all() }))
    }

    /// Applies `unevaluatedItems` to the elements that no other schema has evaluated.
    #[inline(never)]
    pub fn unevaluated_items(&mut self, place: Place<'a>, all: &mut Union<'a>) -> Result<(), SchemaError> {
        const KEYWORD: &str = "unevaluatedItems";
        let Some(literal) = self.inner(place, KEYWORD) else { return Ok(()) };
        if !place.holds {
            return self.not_unevaluated(place, KEYWORD, literal);
        }
        for array in &mut all.arrays {
            if !core::mem::replace(&mut array.evaluated.all, true) && literal != Literal::TRUE {
                let mut asked = literal;
                if !array.evaluated.matching.is_empty() {
                    let mut any = array.evaluated.matching.clone();
                    also(&mut any, literal);
                    asked = Literal { node: self.document.any(any, place.node), scope: 0, holds: true };
                }
                let first = array.evaluated.first;
                array.extend(first);
                array.prefix[first..].iter_mut().for_each(|element| also(element, asked));
                also(&mut array.rest, asked);
                if asked == Literal::FALSE {
                    array.prefix.truncate(first);
                    array.max = Some(array.max.map_or(first as u64, |max| max.min(first as u64)));
                }
            }
        }
        all.arrays.retain(|array| array.max.is_none_or(|max| array.min <= max));
        Ok(())
    }

    /// The opposite of a keyword that depends on what other schemas have evaluated.
    pub fn not_unevaluated(
        &self,
        place: Place<'a>,
        keyword: &str,
        literal: Literal,
    ) -> Result<(), SchemaError> {
        if literal == Literal::TRUE {
            return Ok(());
        }
        let why = Why::NotExpressible("the opposite of what depends on what other schemas have looked at");
        self.at(place.node, keyword, Err(why))
    }
}
