//! JSON-Schema-Test-Suite's required cases of draft 2020-12 (Julian Berman, MIT licence).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::println;

use serde_json::{Map, Value};

use super::matcher::accepts;
use super::{Options, SchemaError};
use crate::program::Grammar;

const SUITE: &str = include_str!("../../tests/json_schema_suite.json");

/// Reverses the members of all objects.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter().rev().map(|(name, value)| (name.clone(), reversed(value))).collect::<Map<_, _>>(),
        ),
        Value::Array(list) => Value::Array(list.iter().map(reversed).collect()),
        value => value.clone(),
    }
}

/// The text with white space wherever JSON allows it, and with all characters of strings escaped, except those of existing
/// escapes.
fn spread(text: &str) -> String {
    let mut result = String::new();
    let (mut in_string, mut is_escaped) = (false, 0);
    for c in text.chars() {
        if is_escaped > 0 {
            is_escaped = if c == 'u' { 4 } else { is_escaped - 1 };
            result.push(c);
        } else if c == '"' {
            in_string = !in_string;
            result.push(c);
        } else if in_string && c == '\\' {
            is_escaped = 1;
            result.push(c);
        } else if in_string {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                result.push_str(&format!("\\u{unit:04X}"));
            }
        } else {
            match c {
                ',' | ':' => result.push_str(&format!(" {c}\n\t")),
                '[' | '{' => result.push_str(&format!("{c}\r\n ")),
                ']' | '}' => result.push_str(&format!("  {c}")),
                _ => result.push(c),
            }
        }
    }
    result
}

#[test]
fn groups_that_are_not_refused() {
    let suite: Value = serde_json::from_str(SUITE).unwrap();
    let groups = suite["groups"].as_array().unwrap();
    let (mut refused, mut wrong, mut checked) = (Vec::new(), Vec::new(), 0);
    for group in groups {
        let name = group[0].as_str().unwrap();
        let grammar = match Grammar::of_json_schema(&group[1].to_string(), Options::VALID) {
            Ok(grammar) => Some(Arc::new(grammar)),
            Err(SchemaError::Unsatisfiable) => None,
            Err(error) => {
                refused.push(format!("{name}: {error}"));
                continue;
            }
        };
        for case in group[2].as_array().unwrap() {
            let (value, valid) = (&case[0], case[1].as_bool().unwrap());
            let compact = value.to_string();
            for text in [&compact, &reversed(value).to_string(), &spread(&compact)] {
                checked += 1;
                let accepted = grammar.as_ref().is_some_and(|grammar| accepts(grammar, text));
                if accepted != valid {
                    wrong.push(format!("{name}: {text} should be valid: {valid}; {}", group[1]));
                }
            }
        }
    }
    println!("{} groups, {checked} texts, {} refused:", groups.len(), refused.len());
    refused.iter().for_each(|line| println!("  {line}"));
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(refused.len() * 100 <= groups.len() * 15, "{} of {} refused", refused.len(), groups.len());
}
