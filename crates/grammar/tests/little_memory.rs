//! Schemas with little memory: each is read or refused, and no allocation that cannot be refused exceeds the memory.

mod schemas;

use std::alloc::System;

use cap::Cap;
use grammar::Grammar;
use grammar::json_schema::{Options, SchemaError, Why};

/// Ends the process if an allocation that cannot be refused fails.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

#[test]
fn no_schema_takes_what_is_not_there() {
    let mut schemas = schemas::hostile();
    let usual = r#"{"type":"object","properties":{"name":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}}}}"#;
    schemas.push(("a usual one", usual.into()));

    for mib in [1, 2, 4, 8, 16, 32] {
        let (mut n_read, mut n_out_of_memory) = (0, 0);
        for (name, schema) in &schemas {
            ALLOCATOR.set_limit(ALLOCATOR.allocated() + (mib << 20)).unwrap();
            let result = Grammar::of_json_schema(schema, Options::GENERATED);
            ALLOCATOR.set_limit(usize::MAX).unwrap();
            n_read += usize::from(result.is_ok());
            let is_out = matches!(&result, Err(SchemaError::At { why: Why::OutOfMemory, .. }));
            n_out_of_memory += usize::from(is_out);
            assert!(!is_out || *name != "a usual one" || mib < 2, "{mib} MiB");
        }
        println!("{mib} MiB: {n_read} read, {n_out_of_memory} of {} for want of memory", schemas.len());
        assert!(n_read > 0 || mib < 2, "{mib} MiB");
    }
}
